//! A node's health as everybody can ask for it.

use cbrowse_testkit::node::{Node, Options};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::stage::{get, open_directory, save, send, until};

fn document((status, body): &(u16, String)) -> (u16, Value) {
    (*status, serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}")))
}

#[tokio::test]
async fn a_node_that_is_not_well_says_so_to_all_but_those_who_would_restart_it() {
    let directory = open_directory();
    let settings = directory.path().join("node.toml");
    save(&settings, "health_memory = '0%,off'\nhealth_cpu = 'off'\nhealth_disk = 'off'\n");
    let options = Options::default().with("--config", settings.display()).with("--max-sessions", 2);
    let node = Node::start(options).await.expect("a node");
    let ask = async |path: &str| document(&get(node.endpoint(), path).await);

    let (status, report) = ask("/health?consul").await;
    assert_eq!((status, &report["status"]), (429, &json!("warning")), "{report}");
    let names: Vec<_> =
        report["checks"].as_array().expect("checks").iter().map(|c| c["name"].clone()).collect();
    assert_eq!(names, ["cpu", "memory", "disk", "draining"]);
    let memory = &report["checks"][1];
    assert_eq!((&memory["status"], &memory["threshold"]), (&json!("warning"), &json!(0.0)));
    assert!(memory["value"].as_f64().is_some_and(|value| (0.0..=1.0).contains(&value)), "{memory}");
    let (status, report) = ask("/health?format=json").await;
    assert_eq!((status, &report["status"]), (200, &json!("warning")));
    assert_eq!(ask("/health").await, (200, json!({"status": "ok", "id": node.id()})));
    assert_eq!(ask("/ready").await, (200, json!({"status": "ready"})), "a warning serves");

    save(&settings, "health_memory = '0%,0%'\nhealth_cpu = 'off'\nhealth_disk = 'off'\n");
    send(node.pid(), Signal::SIGHUP);
    let consul = || async { ask("/health?consul").await };
    until("critical", consul, |(status, report)| *status == 503 && report["status"] == "critical").await;
    assert_eq!(ask("/health").await.0, 200, "a busy node is no dead one");
    let (status, problem) = ask("/ready").await;
    assert_eq!(status, 503);
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("critical")), "{problem}");
    let (_, metrics) = get(node.endpoint(), "/metrics").await;
    for line in ["cbrowse_node_health{check=\"memory\"} 2", "cbrowse_node_health{check=\"cpu\"} 0"] {
        assert!(metrics.lines().any(|found| found == line), "{line} in\n{metrics}");
    }

    save(&settings, "health_memory = 'garbage'\n");
    send(node.pid(), Signal::SIGHUP);
    let log = || async { node.log() };
    until("a complaint", log, |log| log.contains("left as they were") && log.contains("garbage")).await;
    assert_eq!(ask("/health?consul").await.0, 503);

    save(&settings, "health_memory = 'off'\nhealth_cpu = 'off'\nhealth_disk = 'off'\n");
    send(node.pid(), Signal::SIGHUP);
    until("passing", consul, |(status, report)| *status == 200 && report["status"] == "passing").await;
}
