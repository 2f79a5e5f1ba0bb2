//! Strategies that do not ask for distance: only whom they pick is probed, and only who was probed is dialled.

use std::{cell::RefCell, net::TcpListener};

use cbrowse_protocol::id::NodeId;

use super::*;
use crate::{
    context::{Globals, Paths},
    output::Output,
    settings::{Flags, Settings},
    survey::ground::dialable,
};

/// Those that do not rank by measurement.
const PICKING: [Strategy; 5] = [
    Strategy::Random,
    Strategy::RoundRobin,
    Strategy::WeightedRoundRobin,
    Strategy::ConsistentHash,
    Strategy::Srv,
];

fn by(strategy: Strategy) -> Preference {
    Preference { key: Some("work".into()), ..Preference::from(strategy) }
}

fn picking<'a>(
    all: &[NodeRecord],
    preference: &'a Preference,
    constraints: &'a Constraints,
    road: &'a Simulated,
) -> Ground<'a, Simulated> {
    Ground::begin(all.to_vec(), preference, constraints, false, road)
}

/// Whom an interview may go to now.
fn may_be_asked(ground: &Ground<'_, Simulated>, choice: &Choice) -> Vec<usize> {
    let nodes = &ground.report.nodes;
    choice.order.iter().copied().filter(|index| ground.may_be_asked(&nodes[*index])).collect()
}

#[tokio::test(start_paused = true)]
async fn only_those_picked_are_probed() {
    let (all, anything) = (records(40), Constraints::default());
    for strategy in PICKING {
        let (road, preference) = (Simulated::answering(&all), by(strategy));
        let mut ground = picking(&all, &preference, &anything, &road);
        assert!(ground.explore(|_, _| true).await);
        assert_eq!(road.asked().len(), INTERVIEWED, "{strategy}");
        let choice = preference.choose(&ground.report.nodes, &anything);
        let askable: BTreeSet<SocketAddr> =
            may_be_asked(&ground, &choice).into_iter().map(|index| at(&all[index])).collect();
        assert_eq!(askable, road.asked(), "{strategy}");
        assert_eq!(choice.order.len(), 40, "the others are not rejected: they were spared");
    }
}

#[tokio::test(start_paused = true)]
async fn when_those_picked_do_not_serve_the_next_ones_are_picked() {
    let (all, anything) = (records(12), Constraints::default());
    for strategy in PICKING {
        let (road, preference) = (Simulated::answering(&all[7..8]), by(strategy));
        let mut ground = picking(&all, &preference, &anything, &road);
        for turn in 1.. {
            assert!(ground.explore(|_, _| true).await, "{strategy}: somebody is left");
            assert_eq!(road.asked().len(), turn * INTERVIEWED, "{strategy}");
            let choice = preference.choose(&ground.report.nodes, &anything);
            for (node, verdict) in ground.report.nodes.iter().zip(&choice.verdicts) {
                let codes: Vec<&str> = verdict.reasons().iter().map(select::Reason::code).collect();
                let is_silent = road.asked().contains(&at(&node.record)) && node.record.id.as_str() != "n8";
                assert_eq!(codes, if is_silent { vec!["unreachable"] } else { vec![] }, "{strategy}");
            }
            if may_be_asked(&ground, &choice) == [7] {
                break;
            }
            assert_eq!(may_be_asked(&ground, &choice), [0; 0], "{strategy}");
        }
    }
    let (road, preference) = (Simulated::answering([]), by(Strategy::Random));
    let mut ground = picking(&all, &preference, &anything, &road);
    for _ in 0..3 {
        assert!(ground.explore(|_, _| true).await);
    }
    assert!(!ground.explore(|_, _| true).await, "all were asked, once");
}

#[tokio::test(start_paused = true)]
async fn a_profile_finds_the_node_that_the_whole_fleets_table_gives() {
    let (all, anything) = (records(40), Constraints::default());
    for key in ["work", "home", "bank", "school"] {
        let preference = Preference { key: Some(key.into()), ..Preference::from(Strategy::ConsistentHash) };
        let of_table = |records: &[NodeRecord]| {
            let nodes: Vec<Probed> = records.iter().cloned().map(Probed::unprobed).collect();
            let chosen = preference.choose(&nodes, &anything).chosen().expect("somebody");
            records[chosen].clone()
        };
        let (home, road) = (of_table(&all), Simulated::answering(&all));
        let mut ground = picking(&all, &preference, &anything, &road);
        ground.explore(|_, _| true).await;
        let choice = preference.choose(&ground.report.nodes, &anything);
        assert_eq!(all[may_be_asked(&ground, &choice)[0]].id, home.id, "{key}");
        // Without it, whoever lists the fleet without it chooses the same.
        let rest: Vec<NodeRecord> = all.iter().filter(|record| record.id != home.id).cloned().collect();
        let (next, road) = (of_table(&rest), Simulated::answering(&rest));
        let mut ground = picking(&all, &preference, &anything, &road);
        ground.explore(|_, _| true).await;
        let choice = preference.choose(&ground.report.nodes, &anything);
        assert_eq!(all[choice.order[0]].id, next.id, "{key}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_that_was_not_looked_up_is_neither_asked_nor_dialled() {
    let (all, anything) = (records(8), Constraints::default());
    let named = |record: NodeRecord| NodeRecord { address: "localhost".into(), ..record };
    let all: Vec<NodeRecord> = all.into_iter().map(named).collect();
    for is_permitted in [true, false] {
        let (road, preference) = (Simulated::answering([]), by(Strategy::Random));
        let mut ground = picking(&all, &preference, &anything, &road);
        let nodes = &ground.report.nodes;
        assert!(nodes.iter().all(|node| !ground.may_be_asked(node)), "nobody's turn has come");
        assert_eq!(dialable((0..8).collect(), nodes), [0; 0]);
        let gate: RefCell<BTreeSet<NodeId>> = RefCell::default();
        let permits = |id: &NodeId, _| {
            gate.borrow_mut().insert(id.clone());
            is_permitted
        };
        ground.explore(permits).await;
        let picked = gate.into_inner();
        assert_eq!(picked.len(), INTERVIEWED, "only whoever was picked is looked up");
        assert_eq!(road.asked().is_empty(), !is_permitted, "the catalog may not lead there");
        for node in &ground.report.nodes {
            let is_picked = picked.contains(&node.record.id);
            assert_eq!(node.address.is_some(), is_picked && is_permitted);
            assert_eq!(node.reach == Reach::Forbidden, is_picked && !is_permitted);
            assert!(is_picked || !ground.may_be_asked(node));
        }
        let order = dialable((0..8).collect(), &ground.report.nodes);
        assert_eq!(order.len(), if is_permitted { INTERVIEWED } else { 0 });
    }
}

#[tokio::test(start_paused = true)]
async fn where_distance_counts_all_are_measured_but_in_quiet() {
    let (all, anything) = (records(40), Constraints::default());
    let near = Constraints { max_latency: Some(Duration::from_millis(50)), ..Constraints::default() };
    let quiet = |count| Preference { probing: Probing::Quiet(count), ..by(Strategy::Random) };
    for (preference, constraints, regions_count, asked) in [
        (by(Strategy::Random), &near, false, 40),
        (by(Strategy::Random), &anything, true, 40),
        (by(Strategy::Srv), &anything, false, INTERVIEWED),
        (quiet(3), &near, false, 3),
        (quiet(3), &anything, true, 3),
        (quiet(2), &anything, false, 2),
        (quiet(16), &anything, false, INTERVIEWED),
    ] {
        let road = Simulated::answering(&all);
        Ground::begin(all.clone(), &preference, constraints, regions_count, &road).explore(|_, _| true).await;
        assert_eq!(road.asked().len(), asked, "{preference:?}, {regions_count}");
    }
}

/// The road says that they serve; the real ports behind it accept and say nothing.
#[tokio::test(start_paused = true)]
async fn those_that_fail_over_tls_make_room_for_the_next_ones() {
    let directory = tempfile::tempdir().expect("a directory");
    let paths = Paths::below(directory.path());
    let flags = Flags { catalogs: vec!["file:nodes.json".into()], ..Flags::default() };
    let settings = Settings::resolve(&flags, &|_| None, &paths.settings()).expect("settings");
    let globals = Globals::new(Output::new(false, true, true), paths, settings);
    let judge = Judge::of(&globals).expect("a judge");
    let open = |_| TcpListener::bind("127.0.0.1:0").expect("bound");
    let doors: Vec<TcpListener> = (0..6).map(open).collect();
    let behind = |(record, door): (NodeRecord, &TcpListener)| {
        let address = door.local_addr().expect("bound");
        NodeRecord { address: address.ip().to_string(), port: address.port(), ..record }
    };
    let all: Vec<NodeRecord> = records(6).into_iter().zip(&doors).map(behind).collect();
    let (road, preference, anything) =
        (Simulated::answering(&all), by(Strategy::RoundRobin), Constraints::default());
    let mut ground = picking(&all, &preference, &anything, &road);
    ground.explore(|_, _| true).await;
    let asker =
        Asker { constraints: &anything, preference: &preference, judge: &judge, started: Instant::now() };
    let survey = settle(ground, |_, _| true, &asker).await;
    assert_eq!((survey.interviews.len(), road.asked().len()), (6, 6));
    assert_eq!(survey.choice.order, [0; 0]);
    for verdict in &survey.choice.verdicts {
        assert_eq!(verdict.reasons().iter().map(select::Reason::code).collect::<Vec<_>>(), ["not_serving"]);
    }
}
