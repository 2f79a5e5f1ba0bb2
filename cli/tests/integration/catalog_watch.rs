//! `cbrowse nodes watch` on a real Consul: what it tells, across a restart of the registry.

use std::time::{Duration, Instant};

use cbrowse_testkit::consul::Consul;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::user::{Running, User};

pub(crate) async fn register(consul: &Consul, id: &str, more: Value) {
    let mut service = json!({"ID": id, "Name": "browser-node", "Address": "127.0.0.1", "Port": 7443,
        "Meta": {"region": "eu-central", "zone": "a", "version": "0.1.0", "rack": "r1"}});
    service.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    consul.request("PUT", "/v1/agent/service/register", Some(&service)).await.expect("an operator registers");
}

/// The next event of this name; those before it do not matter.
async fn event(watch: &mut Running, name: &str) -> Value {
    loop {
        let event = watch.next_document().await;
        assert!(event["time"].as_f64().is_some_and(|time| time > 1e9), "{event}");
        if event["event"] == name {
            return event;
        }
    }
}

#[tokio::test]
async fn every_change_is_one_line_of_json_across_a_restart_of_the_registry() {
    let mut consul = Consul::start().await.unwrap();
    register(&consul, "one", json!({})).await;
    let user = User::new().with_catalog(consul.http_uri());
    let mut watch = user.start(&["nodes", "watch", "--json", "--metrics-file", "watch.prom"]).await;
    assert_eq!(event(&mut watch, "source_up").await["catalog"], consul.http_uri());
    let added = watch.next_document().await;
    assert_eq!((&added["event"], &added["node"]["id"]), (&"added".into(), &"one".into()));
    assert_eq!(added["node"]["health"], "passing");
    assert_eq!(event(&mut watch, "ready").await["nodes"], 1);

    register(&consul, "one", json!({"Tags": ["fast"]})).await;
    let updated = event(&mut watch, "updated").await;
    assert!(updated["changed"].as_array().unwrap().contains(&"tags".into()), "{updated}");
    assert_eq!(updated["node"]["tags"], json!(["fast"]));
    register(&consul, "two", json!({})).await;
    assert_eq!(event(&mut watch, "added").await["node"]["id"], "two");
    consul.request("PUT", "/v1/agent/service/deregister/two", None).await.unwrap();
    assert_eq!(event(&mut watch, "removed").await["node"]["id"], "two");

    consul.kill();
    let down = event(&mut watch, "source_down").await;
    assert_eq!(down["catalog"], consul.http_uri());
    consul.restart().await.unwrap();
    event(&mut watch, "source_up").await;
    register(&consul, "three", json!({})).await;
    assert_eq!(event(&mut watch, "added").await["node"]["id"], "three");

    watch.signal(Signal::SIGINT);
    let asked = Instant::now();
    let ended = watch.end().await;
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    let figures = std::fs::read_to_string(user.file("watch.prom")).unwrap();
    let labels = format!("{{registry=\"{}\"}}", consul.http_uri());
    assert!(figures.contains(&format!("cbrowse_registry_instances{labels} 1\n")), "{figures}");
    for name in ["requests_total", "failures_total", "watch_lag_seconds"] {
        assert!(figures.contains(&format!("cbrowse_registry_{name}{{registry=")), "{name}:\n{figures}");
    }
    assert!(figures.ends_with("# EOF\n"), "{figures}");
}

#[tokio::test]
async fn a_pipe_gets_a_line_for_each_event_and_several_catalogs_are_one() {
    let consul = Consul::start().await.unwrap();
    register(&consul, "one", json!({})).await;
    let user = User::new();
    user.write_catalog(&[json!({"id": "one", "address": "127.0.0.1", "port": 7443, "region": "eu-central"})]);
    let catalog = format!("{},file:nodes.json,file:missing.json", consul.http_uri());
    let user = user.with_catalog(catalog);
    let mut watch = user.start(&["nodes", "watch"]).await;
    let said = watch.lines_until("Z ready: ").await;
    watch.signal(Signal::SIGTERM);
    assert_eq!(watch.end().await.code, Some(130));
    let count = |words: &str| said.lines().filter(|line| line.contains(words)).count();
    assert_eq!(count("Z added one in eu-central at 127.0.0.1:7443 (passing)"), 1, "{said}");
    assert_eq!((count("Z ready: 1 node"), count("Z connected to ")), (1, 2), "{said}");
    assert_eq!(count("file:missing.json there is nothing of that name"), 1, "{said}");
    assert!(!said.contains('\u{1b}'), "{said}");
}
