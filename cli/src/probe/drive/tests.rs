//! Races over a simulated network, under a paused clock.

use cbrowse_protocol::node::NodeRecord;

use super::*;
use crate::probe::{
    Probed, Report, Search,
    plan::{DEADLINE, PICKED_DEADLINE, budget},
    probe, probe_picked, probe_rest,
    simulated::{Behaviour, Network},
    statistics::Measurement,
    track::{Method, Reach},
};

const fn ms(value: u64) -> Duration {
    Duration::from_millis(value)
}

/// A network without chance, for somebody who may send echo requests, or may not.
fn network(icmp: bool) -> Network {
    Network::new(icmp, 1)
}

/// Adds a node that answers after its own delay, by each method; `None` never does.
fn add(network: &mut Network, icmp: Option<u64>, tcp: Option<u64>) -> SocketAddr {
    network.add(Behaviour { icmp: icmp.map(ms), tcp: tcp.map(ms), ..Behaviour::default() })
}

fn targets(addresses: &[SocketAddr]) -> Vec<Target> {
    addresses.iter().copied().map(Target::from).collect()
}

async fn decide(road: &Network, nodes: &[SocketAddr]) -> Outcome {
    drive(road, &targets(nodes), Goal::Decide, DEADLINE, |_| {}).await
}

fn reaches(outcome: &Outcome) -> Vec<Reach> {
    outcome.found.iter().map(|(_, track)| track.reach()).collect()
}

fn p50(outcome: &Outcome, index: usize) -> Option<Duration> {
    outcome.found[index].1.measure().map(|measured| measured.p50)
}

fn best(outcome: &Outcome) -> Option<usize> {
    (0..outcome.found.len()).min_by_key(|index| p50(outcome, *index).unwrap_or(Duration::MAX))
}

fn record(address: SocketAddr) -> NodeRecord {
    let (host, port) = (address.ip(), address.port());
    serde_json::from_value(serde_json::json!({"id": format!("n{host}"), "address": host, "port": port}))
        .expect("record")
}

#[tokio::test(start_paused = true)]
async fn whoever_finds_nobody_near_gets_to_know_the_far_ones() {
    use Reach::{NotAwaited, Serving, Silent};
    let mut road = network(true);
    let delays = [5, 100, 101, 700];
    let mut nodes: Vec<_> = delays.map(|delay| record(add(&mut road, Some(delay), Some(delay)))).into();
    nodes.push(record(add(&mut road, None, None)));
    let mut report = probe(nodes, |_, _| true, &road, Search::new(Goal::Decide), |_| {}).await;
    let reaches = |report: &Report| report.nodes.iter().map(|node| node.reach).collect::<Vec<_>>();
    assert_eq!(reaches(&report), [Serving, NotAwaited, NotAwaited, NotAwaited, NotAwaited]);
    assert!(probe_rest(&mut report, &road, DEADLINE).await);
    assert_eq!(reaches(&report), [Serving, Serving, Serving, NotAwaited, NotAwaited]);
    // By the time 700 ms have been measured well, the dead one has been waited for.
    assert!(probe_rest(&mut report, &road, DEADLINE).await);
    assert_eq!(reaches(&report), [Serving, Serving, Serving, Serving, Silent]);
    assert!(!probe_rest(&mut report, &road, DEADLINE).await);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_nodes_are_decided_by_the_nearest_ones_within_the_budget() {
    let mut road = network(true);
    let nodes: Vec<_> = (0..1000).map(|i| add(&mut road, Some(20 + i % 280), Some(20 + i % 280))).collect();
    let outcome = decide(&road, &nodes).await;
    // Section 11 of the design: three times the best round trip, and 130 ms.
    assert!(outcome.took <= ms(3 * 20 + 130), "{:?}", outcome.took);
    let best = best(&outcome).expect("nodes");
    assert_eq!(best % 280, 0, "node {best} is not among the nearest");
    assert_eq!(outcome.found[best].1.reach(), Reach::Serving);
    let tally = road.take_tally();
    assert_eq!(tally.packets(), outcome.sent);
    assert!(tally.packets() <= budget(1000), "{tally:?}");
    // Nobody but leaders, 32 at most and each twice, is asked for a connection.
    assert!(tally.connections <= 64, "{tally:?}");
}

#[tokio::test(start_paused = true)]
async fn without_icmp_connections_decide_alone() {
    let mut road = network(false);
    let nodes: Vec<_> = (0..200).map(|i| add(&mut road, None, Some(300 - i))).collect();
    let outcome = decide(&road, &nodes).await;
    assert!(outcome.took <= ms(3 * 101 + 130), "{:?}", outcome.took);
    assert_eq!(p50(&outcome, 199), Some(ms(101)));
    assert_eq!(outcome.found[199].1.method(), "tcp");
    assert!(outcome.sent <= budget(200), "{}", outcome.sent);
}

#[tokio::test(start_paused = true)]
async fn a_silent_node_does_not_delay_and_a_refusing_one_is_not_serving() {
    use Reach::{NoRoute, NotAwaited, PortSilent, Refused, Serving};
    let mut road = network(true);
    let refusing = Behaviour { icmp: Some(ms(5)), tcp: Some(ms(5)), refuses: true, ..Behaviour::default() };
    let nodes = [
        road.add(refusing),
        add(&mut road, Some(30), Some(30)),
        add(&mut road, None, None),
        add(&mut road, Some(20), None),
        road.add(Behaviour { is_unreachable: true, ..Behaviour::default() }),
    ];
    let outcome = decide(&road, &nodes).await;
    assert!(outcome.took < ms(400), "{:?}", outcome.took);
    assert_eq!(reaches(&outcome), [Refused, Serving, NotAwaited, PortSilent, NoRoute]);
}

#[tokio::test(start_paused = true)]
async fn a_far_node_is_not_called_dead_because_nobody_waited_for_it() {
    let mut road = network(true);
    let nodes =
        [add(&mut road, Some(5), Some(5)), add(&mut road, Some(250), Some(250)), add(&mut road, None, None)];
    let outcome = decide(&road, &nodes).await;
    assert!(outcome.took < ms(250), "{:?}", outcome.took);
    assert_eq!(reaches(&outcome), [Reach::Serving, Reach::NotAwaited, Reach::NotAwaited]);
    // Asked again among themselves, the far one answers; the dead one has still not been waited for.
    let outcome = decide(&road, &nodes[1..]).await;
    assert_eq!(reaches(&outcome)[0], Reach::Serving);
    let outcome = decide(&road, &nodes[2..]).await;
    assert_eq!(reaches(&outcome), [Reach::Silent]);
    assert!(outcome.took < DEADLINE, "{:?}", outcome.took);
}

#[tokio::test(start_paused = true)]
async fn where_icmp_is_filtered_connections_get_their_chance_within_the_budget() {
    for count in [100, 1000] {
        let mut road = network(true);
        let nodes: Vec<_> = (0..count).map(|i| add(&mut road, None, Some(40 + i % 280))).collect();
        let outcome = decide(&road, &nodes).await;
        assert_eq!(outcome.found[0].1.reach(), Reach::Serving);
        assert!(outcome.took <= (ms(3 * 40 + 130) * 3) / 2, "{:?}", outcome.took);
        assert!(outcome.sent <= budget(nodes.len()), "{} of {count}", outcome.sent);
    }
}

#[tokio::test(start_paused = true)]
async fn a_fleet_that_is_merely_far_is_decided_within_the_budget() {
    let mut road = network(true);
    let nodes: Vec<_> = (0..1000).map(|i| add(&mut road, Some(170 + i % 280), Some(170 + i % 280))).collect();
    let outcome = decide(&road, &nodes).await;
    assert_eq!(best(&outcome).expect("nodes") % 280, 0);
    assert!(outcome.took <= ms(4 * 170 + 250), "{:?}", outcome.took);
    assert!(outcome.sent <= budget(1000), "{}", outcome.sent);
}

#[tokio::test(start_paused = true)]
async fn a_survey_measures_every_node_and_counts_what_is_lost() {
    let mut road = network(true);
    let nodes = [
        add(&mut road, Some(5), Some(6)),
        add(&mut road, None, Some(250)),
        add(&mut road, None, None),
        add(&mut road, Some(9), None),
    ];
    let mut heard = Vec::new();
    let outcome =
        drive(&road, &targets(&nodes), Goal::Survey(5), DEADLINE, |answered| heard.push(answered)).await;
    assert!(outcome.took >= ms(1300) && outcome.took < ms(1500), "{:?}", outcome.took);
    let tracks: Vec<&Track> = outcome.found.iter().map(|(_, track)| track).collect();
    let counts: Vec<_> =
        tracks.iter().map(|track| (track.icmp.replies.len(), track.tcp.replies.len())).collect();
    assert_eq!(counts, [(5, 1), (0, 1), (0, 0), (5, 0)]);
    assert_eq!(tracks[3].reach(), Reach::PortSilent);
    assert_eq!(tracks[2].reach(), Reach::Silent);
    assert_eq!(tracks[0].measure().map(|measured| (measured.p50, measured.lost)), Some((ms(5), 0)));
    assert_eq!(heard.last().map(|now| (now.answered, now.best)), Some((3, Some((0, ms(5))))));
}

#[tokio::test(start_paused = true)]
async fn one_lost_packet_makes_no_port_silent() {
    let mut road = network(true);
    let behaviour = Behaviour { icmp: Some(ms(40)), tcp: Some(ms(40)), loss: 0.005, ..Behaviour::default() };
    let nodes: Vec<_> = (0..1000).map(|_| road.add(behaviour)).collect();
    let outcome = drive(&road, &targets(&nodes), Goal::Survey(3), ms(5000), |_| {}).await;
    let lost = outcome.found.iter().filter(|(_, track)| track.tcp.lost > 0).count();
    assert!(lost > 0, "the network loses some");
    assert!(outcome.found.iter().all(|(_, track)| track.reach() == Reach::Serving));
}

#[tokio::test(start_paused = true)]
async fn nothing_out_there_ends_at_once_and_silence_by_the_deadline() {
    let outcome = decide(&network(false), &[]).await;
    assert_eq!(outcome.took, Duration::ZERO);
    let mut road = network(true);
    let nodes: Vec<_> = (0..3).map(|_| add(&mut road, None, None)).collect();
    let outcome = drive(&road, &targets(&nodes), Goal::Decide, ms(700), |_| {}).await;
    assert_eq!(outcome.took, ms(700));
    assert_eq!(reaches(&outcome), [Reach::Silent; 3]);
}

#[tokio::test(start_paused = true)]
async fn a_network_that_repeats_and_a_node_that_poses_as_another_are_counted_and_change_nothing() {
    let mut road = network(true);
    let own = add(&mut road, Some(20), Some(20));
    let repeating = Behaviour { icmp: Some(ms(30)), tcp: Some(ms(30)), copies: 3, ..Behaviour::default() };
    let repeating = road.add(repeating);
    let posing = Behaviour { icmp: Some(ms(1)), poses_as: Some(own.ip()), ..Behaviour::default() };
    let posing = road.add(posing);
    let outcome = drive(&road, &targets(&[own, repeating, posing]), Goal::Survey(2), DEADLINE, |_| {}).await;
    assert_eq!(reaches(&outcome), [Reach::Serving, Reach::Serving, Reach::Silent]);
    assert_eq!(outcome.oddities, Oddities { duplicates: 4, late: 0, strangers: 2 });
    assert_eq!(outcome.found[1].1.icmp.replies.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_late_is_no_loss() {
    let mut road = network(true);
    let nodes = [add(&mut road, Some(1200), Some(5)), add(&mut road, Some(1600), None)];
    let outcome = drive(&road, &targets(&nodes), Goal::Survey(60), DEADLINE, |_| {}).await;
    let measured = outcome.found[1].1.measure().expect("late answers");
    let Measurement { answered, lost, min, .. } = measured;
    // Sixty requests within 1.475 s; those of the first 0.8 s are answered before the race ends.
    assert!(min == ms(1600) && answered >= 1, "{measured:?}");
    assert_eq!(outcome.found[1].1.icmp.lost + answered, 60);
    assert!(outcome.oddities.late >= u64::from(answered), "{:?}", outcome.oddities);
    assert!(lost < 60);
}

#[tokio::test(start_paused = true)]
async fn the_shorter_of_two_ways_is_taken_and_the_longer_costs_only_leaders() {
    let mut road = network(true);
    let mut targets: Vec<Target> = Vec::new();
    for index in 0..200 {
        let first = add(&mut road, Some(20 + index), Some(20 + index));
        let second = add(&mut road, Some(15 + index), Some(15 + index));
        targets.push(Target { second: Some(second), ..first.into() });
    }
    let outcome = drive(&road, &targets, Goal::Decide, DEADLINE, |_| {}).await;
    assert_eq!(outcome.found[0].0, targets[0].second.expect("two ways"));
    assert_eq!(p50(&outcome, 0), Some(ms(15)));
    assert_eq!(outcome.found[199].0, targets[199].first);
    assert!(outcome.sent <= budget(200), "{}", outcome.sent);
}

#[tokio::test(start_paused = true)]
async fn where_one_family_has_no_way_the_other_is_taken_at_once() {
    let mut road = network(true);
    let mut targets: Vec<Target> = Vec::new();
    for index in 0..100 {
        let first = road.add(Behaviour { is_unreachable: true, ..Behaviour::default() });
        let second = add(&mut road, Some(20 + index), Some(20 + index));
        targets.push(Target { second: Some(second), ..first.into() });
    }
    let outcome = drive(&road, &targets, Goal::Decide, DEADLINE, |_| {}).await;
    assert_eq!(outcome.found[0].0, targets[0].second.expect("two ways"));
    assert_eq!(outcome.found[0].1.reach(), Reach::Serving);
    assert!(outcome.took <= ms(3 * 20 + 130), "{:?}", outcome.took);
}

fn prior(p50: u64) -> Prior {
    let measured = Measurement { min: ms(p50), p50: ms(p50), jitter: ms(1), answered: 5, lost: 0 };
    Prior { measured, method: Method::Icmp, served: true, age: Duration::from_secs(60) }
}

/// A fleet with distances of today, remembered with others.
fn remembered(distances: impl Iterator<Item = (u64, u64)>) -> (Network, Vec<Target>) {
    let mut road = network(true);
    let targets = distances
        .map(|(now, then)| Target { prior: Some(prior(then)), ..add(&mut road, Some(now), Some(now)).into() })
        .collect();
    (road, targets)
}

#[tokio::test(start_paused = true)]
async fn with_history_the_likely_ones_decide() {
    let (road, targets) = remembered((0..1000).map(|i| (20 + i % 280, 20 + i % 280)));
    let outcome = drive(&road, &targets, Goal::Decide, DEADLINE, |_| {}).await;
    assert!(outcome.took <= ms(2 * 20 + 30), "{:?}", outcome.took);
    assert_eq!(best(&outcome).expect("nodes") % 280, 0);
    assert!(outcome.sent < 300, "{}", outcome.sent);
    let not_awaited = reaches(&outcome).iter().filter(|reach| **reach == Reach::NotAwaited).count();
    assert!(not_awaited > 900, "{not_awaited}");
}

#[tokio::test(start_paused = true)]
async fn history_that_is_wrong_is_noticed() {
    // The leaders are now far, and silent, and somebody unlikely is near.
    let far = remembered((0..500).map(|i| (if i < 40 { 250 } else { 20 + i }, 20 + i)));
    let reversed = remembered((0..500).map(|i| (520 - i, 20 + i)));
    for (road, targets) in [far, reversed] {
        let outcome = drive(&road, &targets, Goal::Decide, DEADLINE, |_| {}).await;
        let truly = targets.iter().map(|target| p50_of(&road, target.first)).min();
        assert_eq!(best(&outcome).and_then(|best| p50(&outcome, best)), truly.flatten());
        assert!(outcome.sent <= budget(500), "{}", outcome.sent);
    }
}

fn p50_of(road: &Network, address: SocketAddr) -> Option<Duration> {
    road.behaviour(address.ip()).and_then(|behaviour| behaviour.icmp)
}

#[tokio::test(start_paused = true)]
async fn leaders_that_have_died_since_do_not_end_the_race() {
    let (mut road, targets) = remembered((0..300).map(|i| (20 + i, 20 + i)));
    for target in &targets[..60] {
        road.set(target.first.ip(), Behaviour::default());
    }
    let outcome = drive(&road, &targets, Goal::Decide, DEADLINE, |_| {}).await;
    assert_eq!(best(&outcome), Some(60));
    assert_eq!(outcome.found[60].1.reach(), Reach::Serving);
    assert!(outcome.took <= ms(4 * 80 + 250), "{:?}", outcome.took);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_new_or_was_remembered_as_farther_can_still_win() {
    let (mut road, mut targets) = remembered((0..300).map(|i| (40 + i, 40 + i)));
    targets.push(add(&mut road, Some(10), Some(10)).into());
    let outcome = drive(&road, &targets, Goal::Decide, DEADLINE, |_| {}).await;
    assert_eq!(best(&outcome), Some(300));
    assert_eq!(outcome.found[300].1.reach(), Reach::Serving);
}

#[tokio::test(start_paused = true)]
async fn the_present_node_is_measured_however_far_it_is() {
    let (road, mut targets) = remembered((0..300).map(|i| (20 + i, 20 + i)));
    targets[200].is_present = true;
    let outcome = drive(&road, &targets, Goal::Decide, DEADLINE, |_| {}).await;
    assert_eq!(best(&outcome), Some(0));
    let (_, track) = &outcome.found[200];
    assert!(track.measure().is_some() || track.asked.iter().sum::<u32>() > 1, "{track:?}");
}

#[tokio::test(start_paused = true)]
async fn where_everybody_refuses_nobody_waits() {
    let mut road = network(true);
    let refusing = Behaviour { icmp: Some(ms(10)), tcp: Some(ms(10)), refuses: true, ..Behaviour::default() };
    let nodes: Vec<_> = (0..40).map(|_| road.add(refusing)).collect();
    for goal in [Goal::Survey(5), Goal::Decide] {
        let outcome = drive(&road, &targets(&nodes), goal, DEADLINE, |_| {}).await;
        assert!(outcome.took <= ms(200), "{goal:?}: {:?}", outcome.took);
        assert!(outcome.found.iter().all(|(_, track)| track.reach() == Reach::Refused));
    }
}

#[tokio::test(start_paused = true)]
async fn who_does_not_rank_by_distance_probes_only_what_was_picked() {
    let mut road = network(true);
    let mut nodes: Vec<_> = (0..50).map(|i| record(add(&mut road, Some(20 + i), Some(20 + i)))).collect();
    nodes.push(record(add(&mut road, None, None)));
    let nodes = nodes.into_iter().map(Probed::unprobed).collect();
    let mut report = Report { nodes, ..Report::default() };
    probe_picked(&mut report, &[7, 50, 3], |_, _| true, &road).await;
    assert_eq!(report.nodes.len(), 51);
    assert_eq!(report.nodes[7].rtt.map(|rtt| rtt.p50), Some(ms(27)));
    assert_eq!(report.nodes[3].reach, Reach::Serving);
    assert_eq!(report.nodes[50].reach, Reach::Silent);
    assert_eq!(report.nodes.iter().filter(|node| node.reach == Reach::NotProbed).count(), 48);
    // The silent one was tried by a second connection.
    assert_eq!(road.take_tally().packets(), 7);
    assert!(report.elapsed <= PICKED_DEADLINE, "{:?}", report.elapsed);
}

#[tokio::test(start_paused = true)]
async fn a_picked_node_has_its_time_and_no_more() {
    let millisecond = ms(1);
    for (rtt, reach) in [
        (PICKED_DEADLINE.saturating_sub(millisecond), Reach::Serving),
        (PICKED_DEADLINE, Reach::Serving),
        (PICKED_DEADLINE + millisecond, Reach::Silent),
    ] {
        let mut road = network(false);
        let node = record(road.add(Behaviour { tcp: Some(rtt), ..Behaviour::default() }));
        let mut report = Report { nodes: vec![Probed::unprobed(node)], ..Report::default() };
        probe_picked(&mut report, &[0], |_, _| true, &road).await;
        assert_eq!(report.nodes[0].reach, reach, "{rtt:?}");
    }
}
