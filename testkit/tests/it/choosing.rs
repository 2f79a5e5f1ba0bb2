//! With echo requests and without, the choice is a near node, and no figure is better than the network allows.

use cbrowse_testkit::emulate::{Family, Scenario};

use crate::emulated::{Outcome, Stage, number};

/// Enough that one by one or by chance would not do, few enough for a debug build on a machine with other things to do.
const NODES: usize = 120;
/// How much farther than the best node the chosen one may be. Of all nodes, a sixth is as near: whoever measured nothing
/// would choose another five times of six, and a machine that stops for some milliseconds does not fail this.
const FARTHER_MS: f64 = 50.0;

fn survey(stage: Stage) -> Option<Outcome> {
    stage.with("--node").run(&["nodes", "probe"])
}

/// How much sooner than its distance permits an echo may seem to come back: the prober's clock starts once the request is
/// sent, and a busy machine may do other things between the two.
const SOONER_MS: f64 = 30.0;

/// What holds however busy this machine is: nothing answers sooner than its distance permits, whoever answers is
/// measured, and the choice is among the near.
fn check(outcome: &Outcome) {
    for node in outcome.nodes() {
        let truth = &outcome.world.nodes[number(&node["id"])];
        let base = truth.base.as_secs_f64() * 1e3;
        if let Some(min) = node["rtt_ms"]["min"].as_f64() {
            let sooner = if node["method"] == "tcp" { 0.0 } else { SOONER_MS };
            assert!(min >= base - sooner, "{node} is {base} ms away");
        } else {
            // Only what is dead, or lost each of its five packets, has no figure.
            assert!(!truth.fault.serves(), "{node}");
        }
    }
    let median = |number: usize| outcome.world.nodes[number].median().as_secs_f64() * 1e3;
    let best = outcome.serving().into_iter().map(median).fold(f64::INFINITY, f64::min);
    let chosen = outcome.chosen();
    assert!(outcome.world.nodes[chosen].fault.serves(), "node {chosen} was chosen");
    assert!(median(chosen) <= best + FARTHER_MS, "{} ms, and {best} were to be had", median(chosen));
}

fn methods(outcome: &Outcome) -> Vec<&str> {
    let measured = outcome.nodes().iter().filter(|node| !node["rtt_ms"].is_null());
    measured.map(|node| node["method"].as_str().unwrap()).collect()
}

#[test]
fn where_echo_requests_are_not_permitted_connections_alone_choose_as_well() {
    let stage = Stage::new(NODES, Scenario::Plain, Family::V4, 11).with("--no-ping");
    let Some(outcome) = survey(stage) else { return };
    check(&outcome);
    assert_eq!(outcome.document["icmp"], false);
    assert_eq!(outcome.counts["echoes"], 0);
    assert!(methods(&outcome).iter().all(|method| *method == "tcp"));
}

#[test]
fn where_they_are_permitted_both_measure() {
    let Some(outcome) = survey(Stage::new(NODES, Scenario::Plain, Family::V4, 12)) else { return };
    check(&outcome);
    assert_eq!(outcome.document["icmp"], true);
    let methods = methods(&outcome);
    let both = methods.iter().filter(|method| **method == "icmp+tcp").count();
    assert!(both * 10 >= NODES * 9, "{both} of {NODES} answered both");
}

#[test]
fn nodes_that_filter_echo_requests_are_measured_by_connections() {
    let Some(outcome) = survey(Stage::new(NODES, Scenario::IcmpFiltered, Family::V4, 13)) else { return };
    check(&outcome);
    assert_eq!(outcome.document["icmp"], true);
    assert!(outcome.counts["echoes"].as_u64() >= Some(NODES as u64));
    assert!(methods(&outcome).iter().all(|method| *method == "tcp"));
}

#[test]
fn the_dead_are_told_by_their_silence_and_everybody_else_is_measured() {
    let Some(outcome) = survey(Stage::new(NODES, Scenario::Dead, Family::V4, 14)) else { return };
    check(&outcome);
    let dead = NODES - outcome.serving().len();
    assert!(dead >= 5, "this seed has {dead}");
    for number in (0..NODES).filter(|number| !outcome.world.nodes[*number].fault.serves()) {
        let node = outcome.node(number);
        assert_eq!(node["verdict"], "rejected");
        assert_eq!(node["reasons"][0]["message"], "no answer", "{node}");
    }
}

#[test]
fn ipv6_is_measured_alike() {
    let Some(outcome) = survey(Stage::new(NODES, Scenario::Plain, Family::V6, 15)) else { return };
    check(&outcome);
    assert!(outcome.nodes().iter().all(|node| node["address"].as_str().unwrap().starts_with("fd00:")));
}
