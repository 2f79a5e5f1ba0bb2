//! Choosing again and again among a thousand nodes, each time by what the times before left behind.

use super::*;
use crate::{
    history::content::Entry,
    probe::{plan, simulated::Chance},
    select::Choice,
};

const NODES: u32 = 1000;
/// What happens on the network differs from run to run; where the nodes stand does not.
const RUNS: u64 = 6;
const HOUR: u64 = 3600;

/// A fleet 8 to 300 ms away, with jitter and loss by `seed`, and how far each node is.
fn fleet(seed: u64) -> (Vec<NodeRecord>, Network, Vec<Duration>) {
    let mut places = Chance(7);
    let mut network = Network::new(true, seed);
    let (mut records, mut truth) = (Vec::new(), Vec::new());
    for index in 0..NODES {
        let distance = Duration::from_secs_f64((8.0 + 292.0 * places.unit()) / 1e3);
        let jitter = Duration::from_millis(2);
        let behaviour = Behaviour {
            icmp: Some(distance),
            tcp: Some(distance),
            jitter,
            loss: 0.005,
            ..Behaviour::default()
        };
        let address = network.add(behaviour);
        let record = node(&format!("n{index}"), "eu", 1).record;
        records.push(NodeRecord { address: address.ip().to_string(), port: address.port(), ..record });
        truth.push(distance);
    }
    (records, network, truth)
}

/// A choice by the survey's own steps, up to the interviews; and what is remembered once it is noted.
async fn chosen_by(content: &Content, run: u64) -> (Report, Choice, Content, Duration) {
    let now = NOW + run * HOUR;
    let (records, network, truth) = fleet(run + 1);
    let recalled = Recalled::new(content.clone(), now);
    // No dice: what a seed gives, it gives each time.
    let preference = Preference { recalled, ..Preference::from(Strategy::Latency) };
    let anything = Constraints::default();
    let mut ground = Ground::begin(records.clone(), &preference, &anything, false, &network);
    assert!(ground.explore(|_, _| true).await);
    let choice = preference.choose(&ground.report.nodes, &anything);
    let found = ground.report.nodes.iter().filter_map(Found::of).collect();
    let content = joined(content.clone(), &Addition { found, ..Addition::default() }, now);
    let id = &ground.report.nodes[choice.chosen().expect("somebody")].record.id;
    let place = records.iter().position(|record| record.id == *id).expect("there");
    (ground.report, choice, content, truth[place])
}

#[tokio::test(start_paused = true)]
async fn the_second_choice_among_a_thousand_is_quicker_and_spares_the_nodes() {
    let (first, _, mut content, _) = chosen_by(&Content::default(), 0).await;
    assert!(first.sent >= first.nodes.len(), "at first, all are asked");
    assert!(content.nodes.len() > 500, "{} are remembered", content.nodes.len());
    assert!(content.nodes.iter().any(Entry::is_bound), "most never answered in time");
    let nearest = fleet(1).2.into_iter().min().expect("many");
    for run in 1..RUNS {
        let (report, choice, next, distance) = chosen_by(&content, run).await;
        println!("run {run}: {:?}, {} packets; the first {:?}", report.elapsed, report.sent, first.elapsed);
        assert!(report.sent * 2 < report.nodes.len(), "run {run}: {} packets", report.sent);
        assert!(
            report.elapsed * 2 < first.elapsed,
            "run {run}: {:?} and {:?}",
            first.elapsed,
            report.elapsed
        );
        assert!(distance <= plan::band_top(nearest), "run {run}: {distance:?} away, the nearest {nearest:?}");
        assert!(choice.order.len() > 900, "nobody is called dead");
        content = next;
    }
}
