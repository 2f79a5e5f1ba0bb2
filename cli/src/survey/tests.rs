//! Who is probed first, who is drawn, who stays; over a simulated network.

mod fleet;
mod picking;

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use cbrowse_protocol::node::NodeRecord;

use super::{ground::likely_first, *};
use crate::{
    history::{
        content::{Content, Home, NodeName},
        fading::Found,
        store::{Addition, joined},
    },
    probe::{
        drive::{Arrival, Traffic},
        race::Probe,
        simulated::{Behaviour, Flow, Network},
    },
    select::{
        Strategy,
        draw::SystemDice,
        tests::{Scripted, known, node},
    },
};

const NOW: u64 = 1_800_000_000;

/// A network on which those told of answer after 10 ms, and that notes whoever was asked.
struct Simulated {
    network: Network,
    asked: Asked,
}

type Asked = Arc<Mutex<BTreeSet<SocketAddr>>>;

struct Watched {
    flow: Flow,
    asked: Asked,
}

impl Road for Simulated {
    type Traffic = Watched;

    fn has_icmp(&self) -> bool {
        true
    }

    fn begin(&self) -> Watched {
        Watched { flow: self.network.begin(), asked: Arc::clone(&self.asked) }
    }
}

impl Traffic for Watched {
    fn send(&mut self, to: SocketAddr, probe: Probe) {
        self.asked.lock().expect("whole").insert(to);
        self.flow.send(to, probe);
    }

    fn receive(&mut self) -> impl Future<Output = Arrival> + Send {
        self.flow.receive()
    }

    fn try_receive(&mut self) -> Option<Arrival> {
        self.flow.try_receive()
    }
}

impl Simulated {
    fn answering<'a>(records: impl IntoIterator<Item = &'a NodeRecord>) -> Self {
        let mut network = Network::new(true, 1);
        for record in records {
            let after = Some(Duration::from_millis(10));
            network.set(at(record).ip(), Behaviour { icmp: after, tcp: after, ..Behaviour::default() });
        }
        Self { network, asked: Asked::default() }
    }

    fn asked(&self) -> BTreeSet<SocketAddr> {
        self.asked.lock().expect("whole").clone()
    }
}

fn records(count: u8) -> Vec<NodeRecord> {
    let one = |index: u8| NodeRecord {
        address: format!("192.0.2.{index}"),
        ..node(&format!("n{index}"), "eu", 1).record
    };
    (1..=count).map(one).collect()
}

fn at(record: &NodeRecord) -> SocketAddr {
    record.endpoint().parse().expect("an address")
}

/// Known from before: each with its median, and whether it served; the first one is home if `home`.
fn recalled(known: &[(&NodeRecord, u64, bool)], home: bool) -> Recalled {
    let found = known.iter().map(|(record, p50, served)| {
        let mut probed = node(record.id.as_str(), "eu", *p50);
        (probed.record, probed.address) = ((*record).clone(), record.endpoint().parse().ok());
        probed.reach = if *served { Reach::Serving } else { Reach::PortSilent };
        Found::of(&probed).expect("probed")
    });
    let addition = Addition { found: found.collect(), ..Addition::default() };
    let mut content = joined(Content::default(), &addition, NOW);
    content.home =
        known.first().filter(|_| home).map(|(record, ..)| Home { node: NodeName::of(record), at: NOW });
    Recalled::new(content, NOW)
}

fn ids(records: &[NodeRecord]) -> Vec<&str> {
    records.iter().map(|record| record.id.as_str()).collect()
}

#[test]
fn the_present_node_is_probed_first_then_the_near_the_unknown_and_the_far() {
    let all = records(6);
    let known = [
        (&all[4], 60, true),
        (&all[1], 12, true),
        (&all[3], 10, true),
        (&all[0], 90, true),
        (&all[5], 5, false),
    ];
    assert_eq!(
        ids(&likely_first(all.clone(), &recalled(&known, true))),
        ["n5", "n4", "n2", "n3", "n6", "n1"]
    );
    assert_eq!(
        ids(&likely_first(all.clone(), &recalled(&known, false))),
        ["n4", "n2", "n3", "n6", "n5", "n1"]
    );
    assert_eq!(ids(&likely_first(all.clone(), &Recalled::default())), ids(&all), "as the catalog has them");
}

#[tokio::test(start_paused = true)]
async fn all_are_probed_at_once_with_what_is_known_of_each() {
    let all = records(5);
    let road = Simulated::answering(&all);
    let preference =
        Preference { recalled: recalled(&[(&all[3], 10, true)], false), ..Preference::default() };
    let mut ground = Ground::new(all, &preference, &road, &mut Scripted::new(&[]));
    assert!(ground.explore(|_, _| true).await);
    let nodes = &ground.report.nodes;
    assert_eq!(nodes[0].record.id.as_str(), "n4", "likely best first");
    assert!(nodes.iter().all(|node| node.rtt.is_some()));
    assert_eq!(nodes.iter().filter(|node| node.prior.is_some()).count(), 1);
    assert!(!ground.explore(|_, _| true).await, "nobody is left");
}

#[tokio::test(start_paused = true)]
async fn quiet_probing_asks_those_drawn_and_the_next_ones_only_when_it_must() {
    let all = records(7);
    let road = Simulated::answering(&all[..1]);
    let preference = Preference { probing: Probing::Quiet(3), ..Preference::default() };
    // Dice that always show 0 turn the list by one: n2 to n7, then n1.
    let mut ground = Ground::new(all.clone(), &preference, &road, &mut Scripted::new(&[]));
    assert!(ground.explore(|_, _| true).await);
    assert_eq!(road.asked(), all[1..4].iter().map(at).collect());
    let choice = preference.choose(&ground.report.nodes, &Constraints::default());
    assert!(choice.order.is_empty(), "those drawn are silent, and nobody else counts");
    let codes =
        |index: usize| choice.verdicts[index].reasons().iter().map(select::Reason::code).collect::<Vec<_>>();
    assert_eq!((codes(0), codes(3)), (vec!["unreachable"], vec!["not_drawn"]));
    assert!(ground.explore(|_, _| true).await);
    assert_eq!(road.asked(), all[1..7].iter().map(at).collect());
    assert!(ground.explore(|_, _| true).await);
    assert_eq!(ground.report.nodes[6].reach, Reach::Serving);
    assert_eq!(ids(&ground.report.nodes.iter().map(|node| node.record.clone()).collect::<Vec<_>>()).len(), 7);
    assert!(!ground.explore(|_, _| true).await);
}

#[tokio::test(start_paused = true)]
async fn quiet_probing_asks_the_present_node_too_and_draws_the_others_anew() {
    let all = records(40);
    let preference = Preference {
        probing: Probing::Quiet(4),
        recalled: recalled(&[(&all[30], 10, true)], true),
        ..Preference::default()
    };
    let mut draws = BTreeSet::new();
    for _ in 0..8 {
        let road = Simulated::answering(&all);
        Ground::new(all.clone(), &preference, &road, &mut SystemDice).explore(|_, _| true).await;
        assert_eq!(road.asked().len(), 4);
        assert!(road.asked().contains(&at(&all[30])));
        draws.insert(road.asked());
    }
    // Eight equal draws of three from 39 have a chance of one in 10^27.
    assert!(draws.len() > 1);
}

#[tokio::test]
async fn what_is_remembered_is_chosen_from_without_a_packet() {
    let mut all = records(4);
    all[2].address = "node.invalid".into();
    let known = [(&all[0], 30, true), (&all[1], 8, false)];
    let recalled = recalled(&known, true);
    let report = ground::remembered(all.clone(), |_, _| true, &recalled, true).await;
    let reaches: Vec<Reach> = report.nodes.iter().map(|node| node.reach).collect();
    assert_eq!(
        reaches,
        [Reach::Remembered, Reach::NotRemembered, Reach::NotRemembered, Reach::NotRemembered]
    );
    assert_eq!(report.nodes[0].address, Some(at(&all[0])));
    let preference =
        Preference { probing: Probing::Cached, recalled: recalled.clone(), ..Preference::default() };
    let choice = preference.choose(&report.nodes, &Constraints::default());
    assert_eq!((choice.order, choice.band), (vec![0], 1));
    let forbidden = ground::remembered(all.clone(), |_, _| false, &recalled, true).await;
    assert_eq!(forbidden.nodes[0].reach, Reach::Forbidden, "a catalog may not lead there any more");
    // A strategy that measures nothing takes whoever it draws; where its name does not resolve, it cannot.
    let drawn = ground::remembered(all, |_, _| true, &recalled, false).await;
    let reaches: Vec<Reach> = drawn.nodes.iter().map(|node| node.reach).collect();
    assert_eq!(reaches, [Reach::Remembered, Reach::NotProbed, Reach::Unresolved, Reach::NotProbed]);
    assert!(drawn.nodes[1].address.is_some());
}

fn at_home(nodes: &[Probed], home: usize, strategy: Strategy) -> Preference {
    Preference { recalled: recalled(&[(&nodes[home].record, 20, true)], true), ..Preference::from(strategy) }
}

fn chosen(preference: &Preference, nodes: &[Probed], constraints: &Constraints) -> (usize, bool) {
    let choice = preference.choose(nodes, constraints);
    (choice.chosen().expect("eligible"), choice.stayed.is_some())
}

#[test]
fn the_present_node_is_left_only_for_one_that_is_better_by_enough() {
    let anything = Constraints::default();
    for (home, best, stays) in
        [(20, 10, true), (21, 10, false), (40, 27, true), (39, 26, false), (40, 26, false)]
    {
        let nodes = [node("best", "eu", best), node("home", "eu", home)];
        let preference = at_home(&nodes, 1, Strategy::Latency);
        assert_eq!(
            chosen(&preference, &nodes, &anything),
            (usize::from(stays), stays),
            "{home} against {best}"
        );
    }
}

#[test]
fn the_present_node_is_left_when_it_is_not_eligible_not_measured_or_not_wanted() {
    let nodes = |change: fn(&mut Probed)| {
        let mut nodes = [node("best", "eu", 10), node("home", "eu", 12)];
        change(&mut nodes[1]);
        nodes
    };
    let anything = Constraints::default();
    let usual = nodes(|_| {});
    assert_eq!(chosen(&at_home(&usual, 1, Strategy::Latency), &usual, &anything), (1, true));
    let changes: [fn(&mut Probed); 3] = [
        |home| home.reach = Reach::PortSilent,
        |home| home.record.weight = 0,
        |home| (home.rtt, home.reach) = (None, Reach::NotAwaited),
    ];
    for change in changes {
        let nodes = nodes(change);
        assert_eq!(chosen(&at_home(&nodes, 1, Strategy::Latency), &nodes, &anything), (0, false));
    }
    let prefer = Constraints { prefer: Some("best".parse().expect("an id")), ..Constraints::default() };
    assert_eq!(chosen(&at_home(&usual, 1, Strategy::Latency), &usual, &prefer), (0, true), "the user's word");
    for strategy in
        [Strategy::LeastConnections, Strategy::P2c, Strategy::RoundRobin, Strategy::ConsistentHash]
    {
        assert!(!chosen(&at_home(&usual, 1, strategy), &usual, &anything).1, "{strategy}");
    }
}

/// A fleet of equals in one band, each with its load.
fn equals(loads: &[f64]) -> Vec<Probed> {
    let one = |(index, load): (usize, &f64)| {
        known(node(&format!("n{index}"), "eu", 20), |status| status.load = *load)
    };
    loads.iter().enumerate().map(one).collect()
}

#[test]
fn whoever_is_new_draws_two_and_whoever_has_a_place_keeps_it_while_it_is_good() {
    let anything = Constraints::default();
    let fleet = equals(&[0.2, 0.2, 0.2, 0.2]);
    let new: BTreeSet<usize> =
        (0..200).map(|_| chosen(&Preference::default(), &fleet, &anything).0).collect();
    assert_eq!(new.len(), 4, "drawn among all that are equally near");
    let settled = at_home(&fleet, 2, Strategy::Responsive);
    assert!((0..50).all(|_| chosen(&settled, &fleet, &anything) == (2, true)));
}

#[test]
fn staying_makes_no_herd_a_busy_present_node_is_left_and_those_who_leave_spread() {
    let anything = Constraints::default();
    let leaves = |load: f64| {
        let fleet = equals(&[0.1, 0.1, load, 0.1]);
        let settled = at_home(&fleet, 2, Strategy::Responsive);
        let taken: BTreeSet<usize> = (0..200).map(|_| chosen(&settled, &fleet, &anything).0).collect();
        taken
    };
    // 20 ms away and idle, the others answer after about 33 ms: beyond 50 ms, which is a load of 0.62, a third is gained.
    assert_eq!(leaves(0.6), BTreeSet::from([2]));
    assert_eq!(leaves(0.7), BTreeSet::from([0, 1, 3]));
}
