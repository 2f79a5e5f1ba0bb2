//! The nearest nodes have something the matter with them, each another thing: each is told why, none is chosen, and none
//! keeps the others from being measured.

use cbrowse_testkit::emulate::{Family, Fault, Scenario};

use crate::emulated::{Stage, number};

const NODES: usize = 100;
/// What is the matter with the nearest, and what is said of it.
const FAULTS: [(Fault, &str, &str); 6] = [
    (Fault::Tcp, "unreachable", "answers ping, its port does not"),
    (Fault::Closed, "unreachable", "nothing listens on its port"),
    (Fault::Dead, "unreachable", "no answer"),
    (Fault::NoRoute, "unreachable", "no route to it"),
    (Fault::NoName, "unreachable", "its name does not resolve"),
    (Fault::Mute, "not_serving", "does not serve: "),
];

fn stage(seed: u64) -> Stage {
    let stage = Stage::new(NODES, Scenario::Plain, Family::V4, seed).with("--node");
    stage.with_nearest(&FAULTS.map(|(fault, ..)| fault))
}

#[test]
fn each_has_its_own_reason_and_the_others_are_measured() {
    let Some(outcome) = stage(21).run(&["nodes", "probe"]) else { return };
    let nearest = outcome.world.nearest();
    for (number, (fault, code, message)) in nearest.iter().zip(FAULTS) {
        let node = outcome.node(*number);
        assert_eq!(node["verdict"], "rejected", "{fault:?}: {node}");
        let [reason] = node["reasons"].as_array().unwrap().as_slice() else { panic!("{node}") };
        assert_eq!(reason["code"], code, "{fault:?}");
        assert!(reason["message"].as_str().unwrap().starts_with(message), "{fault:?}: {reason}");
    }
    assert!(outcome.world.nodes[outcome.chosen()].fault.serves());
    for number in outcome.serving() {
        let node = outcome.node(number);
        assert_eq!(node["verdict"], "eligible", "{node}");
        assert!(node["samples"].as_u64() >= Some(3), "{node}");
    }
}

#[test]
fn a_session_begins_at_the_nearest_node_that_serves() {
    let picture = "page.png";
    let page = "http://cbrowse.internal/colours";
    let connect = ["connect", page, "--view", "none", "--screenshot", picture, "--size", "640x480"];
    let Some(outcome) = stage(22).run(&connect) else { return };
    let chosen = &outcome.world.nodes[number(&outcome.document["node"])];
    assert!(chosen.fault.serves(), "{}", outcome.document);
    let png = std::fs::read(outcome.home.path().join(picture)).unwrap();
    assert!(png.starts_with(b"\x89PNG"), "{} bytes", png.len());
}
