//! Nodes in real registries: every kind of check, health that comes and goes, and several registries at once.

use std::time::{Duration, Instant};

use cbrowse_testkit::{
    consul::Consul,
    node::{Node, Options},
};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::stage::{check, entry, get, open_directory, save, send, until, until_gone, until_status};

#[tokio::test]
async fn consul_passes_a_node_by_every_kind_of_check() {
    let consul = Consul::start().await.expect("Consul");
    for (kind, proof) in [("https", "200 OK"), ("tcp", "Success"), ("grpc", "success"), ("ttl", "")] {
        // Well by itself, so that only the check decides.
        let options = Options { id: Some(kind), ..Options::default() };
        let well = ["--health-cpu", "--health-memory", "--health-disk"];
        let options = well.iter().fold(options, |options, flag| options.with(flag, "off"));
        let options =
            options.with("--register", consul.http_uri()).with("--check", kind).with("--meta", "rack=r1");
        let mut node = Node::start(options).await.expect("a node");
        // Every entry begins as passing; what Consul found by itself is what its agent has as the check's output.
        let passes = |checks: &Value| {
            let check = &checks[format!("service:{kind}")];
            assert_ne!(check["Status"], "critical", "{check}");
            check["Status"] == "passing"
                && check["Output"].as_str().is_some_and(|output| output.contains(proof))
        };
        let checks = || async { consul.request("GET", "/v1/agent/checks", None).await.expect("an answer") };
        until(kind, checks, passes).await;
        let entry = entry(&consul, kind).await.expect("it is there");
        assert_eq!(entry["Service"]["Meta"]["rack"], "r1", "{entry}");
        let status = node.terminate().await.expect("it ends");
        assert!(status.success(), "{status}");
        until_gone(&consul, kind).await;
    }
}

/// Under either kind of check Consul learns of a threshold that was reached, and that it no longer is; tags, weight and
/// facts change with the settings, and at no time is the node missing.
async fn health_and_tags_come_and_go(kind: &str) {
    let consul = Consul::start().await.expect("Consul");
    let directory = open_directory();
    let settings = directory.path().join("node.toml");
    let write = |memory: &str, more: &str| {
        let head = format!("check = '{kind}'\nregister = ['{}']\n", consul.http_uri());
        save(
            &settings,
            &format!("{head}health_cpu = 'off'\nhealth_disk = 'off'\nhealth_memory = '{memory}'\n{more}"),
        );
    };
    write("off", "tags = ['slow']\n");
    let options = Options { id: Some("n1"), ..Options::default() };
    let node = Node::start(options.with("--config", settings.display())).await.expect("a node");
    let first = until_status(&consul, "n1", "passing").await;
    assert_eq!(first["Service"]["Tags"][0], "slow");

    write("0%,off", "tags = ['fast', 'new']\nweight = 7\nmeta = { rack = 'r2' }\n");
    send(node.pid(), Signal::SIGHUP);
    let changed = |entry: &Option<Value>| {
        let entry = entry.as_ref().expect("never missing");
        check(entry)["Status"] == "warning" && entry["Service"]["Tags"][0] == "fast"
    };
    let warned = until("a warning", || entry(&consul, "n1"), changed).await.expect("it is there");
    assert_eq!(warned["Service"]["Weights"]["Passing"], 7, "{warned}");
    assert_eq!(warned["Service"]["Meta"]["rack"], "r2", "{warned}");
    let (_, status) = get(node.endpoint(), "/status").await;
    assert!(status.contains(r#""tags":["fast","new"]"#), "{status}");

    write("0%,0%", "tags = ['fast']\n");
    send(node.pid(), Signal::SIGHUP);
    until_status(&consul, "n1", "critical").await;
    write("off", "tags = ['fast']\n");
    send(node.pid(), Signal::SIGHUP);
    until_status(&consul, "n1", "passing").await;
}

#[tokio::test]
async fn consul_hears_of_a_threshold_by_its_own_check() {
    health_and_tags_come_and_go("https").await;
}

#[tokio::test]
async fn consul_hears_of_a_threshold_by_heartbeat() {
    health_and_tags_come_and_go("ttl").await;
}

#[tokio::test]
async fn a_registry_that_is_down_stands_in_nobodys_way() {
    let (up, mut down) = (Consul::start().await.expect("Consul"), Consul::start().await.expect("Consul"));
    down.kill();
    let options = Options { id: Some("n1"), ..Options::default() };
    let options = options.with("--register", down.http_uri()).with("--register", up.http_uri());
    let mut node = Node::start(options.with("--check", "ttl")).await.expect("a node");
    until("it is there", || entry(&up, "n1"), Option::is_some).await;
    let log = || async { node.log() };
    let trouble = "not registered as it should be";
    until("a complaint", log, |log| log.contains(trouble) && log.contains(&down.http_uri())).await;

    down.restart().await.expect("Consul");
    until("it is there, too", || entry(&down, "n1"), Option::is_some).await;
    let recovered = format!("registered in {}", down.http_uri());
    let log = until("recovered", log, |log| log.contains(&recovered)).await;
    let line = log.lines().find(|line| line.contains(&recovered)).expect("a line");
    assert!(line.contains(" s without"), "it says for how long: {line}");
    // Trouble of one kind is said once, however often it was tried; while it starts, Consul has another kind.
    assert!((1..=2).contains(&log.matches(trouble).count()), "{log}");
    let (_, metrics) = get(node.endpoint(), "/metrics").await;
    for registry in [&up, &down] {
        let name = registry.http_uri();
        let held = metrics
            .lines()
            .find(|line| line.starts_with("cbrowse_registry_registered") && line.contains(&name));
        assert!(held.is_some_and(|line| line.ends_with(" 1")), "{name} in\n{metrics}");
    }
    let failures = metrics.lines().find(|line| line.starts_with("cbrowse_registry_failures_total"));
    assert!(failures.is_some_and(|line| line.contains(&down.http_uri())), "{metrics}");

    down.kill();
    let started = Instant::now();
    let status = node.terminate().await.expect("it ends");
    assert!(
        status.success() && started.elapsed() < Duration::from_secs(20),
        "{status}, {:?}",
        started.elapsed()
    );
    assert!(entry(&up, "n1").await.is_none(), "no waiting: a node that ends has said so");
}
