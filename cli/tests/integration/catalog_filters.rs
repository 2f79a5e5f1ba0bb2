//! `cbrowse nodes list` and its filters: on a real Consul, on files, and on several catalogs at once.

use cbrowse_testkit::{
    consul::Consul,
    ports::free_ports,
    relay::{Pace, Relay},
};
use serde_json::{Value, json};

use crate::{catalog_watch::register, user::User};

fn ids(listing: &Value) -> Vec<&str> {
    listing.as_array().expect("a list").iter().filter_map(|node| node["id"].as_str()).collect()
}

#[tokio::test]
async fn filters_narrow_and_the_whole_is_asked_for_only_to_explain_an_empty_answer() {
    let consul = Consul::start().await.unwrap();
    register(&consul, "eu-1", json!({"Tags": ["fast", "gpu"]})).await;
    let meta = json!({"region": "us-east", "zone": "b", "version": "0.3.1", "rack": "r2"});
    register(&consul, "us-1", json!({"Tags": ["fast"], "Meta": meta})).await;
    let relay = Relay::to(consul.http_address(), Pace::Free).await.expect("loopback works");
    let user = User::new().with_catalog(format!("consul://{}", relay.address));
    for (filters, wanted) in [
        (&["--region", "eu-central"][..], &["eu-1"][..]),
        (&["--region", "eu-central", "--region", "us-east"], &["eu-1", "us-1"]),
        (&["--zone", "b"], &["us-1"]),
        (&["--tag", "fast", "--tag", "gpu"], &["eu-1"]),
        (&["--version", ">=0.2, <1"], &["us-1"]),
        (&["--meta", "rack=r1", "--health", "passing"], &["eu-1"]),
    ] {
        let before = relay.asked().len();
        let listing = user.run(&[&["nodes", "list", "--json"], filters].concat()).await.document();
        assert_eq!(ids(&listing), wanted, "{filters:?}");
        assert_eq!(relay.asked().len(), before + 1, "{filters:?}: {:?}", relay.asked());
    }
    let (exit, code, error) = user.run(&["nodes", "list", "--json", "--region", "mars"]).await.error();
    assert_eq!((exit, code.as_str()), (5, "unknown_region"));
    assert_eq!(error["details"], json!({"region": "mars", "known": ["eu-central", "us-east"]}));
    let (exit, code, error) = user.run(&["nodes", "list", "--json", "--zone", "c"]).await.error();
    assert_eq!((exit, code.as_str(), &error["details"]["known"]), (5, "unknown_zone", &json!(["a", "b"])));
    // Each exists, and no node has both: an answer, not an error.
    let none = user.run(&["nodes", "list", "--json", "--region", "us-east", "--tag", "gpu"]).await;
    assert_eq!(none.document(), json!([]));

    let probed = user.run(&["nodes", "probe", "--json", "--zone", "b", "--meta", "rack=r3"]).await.document();
    let reasons = |id: &str| {
        let node = probed["nodes"].as_array().unwrap().iter().find(|node| node["id"] == id).unwrap();
        node["reasons"].as_array().unwrap().iter().map(|reason| reason["code"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(reasons("eu-1"), ["zone", "meta"]);
    assert_eq!(reasons("us-1"), ["meta"]);
}

#[tokio::test]
async fn health_is_shown_where_it_is_not_passing() {
    let user = User::new();
    let node =
        |id: &str, health: &str| json!({"id": id, "address": "127.0.0.1", "port": 1, "health": health});
    user.write_catalog(&[node("well", "passing"), node("short", "warning"), node("ill", "critical")]);
    let user = user.with_catalog("file:nodes.json");
    let list = async |health: &[&str]| {
        let ended = user.run(&[&["nodes", "list"], health].concat()).await;
        ended.succeeded();
        ended.stdout
    };
    let usual = list(&[]).await;
    assert!(usual.contains("warning") && !usual.contains("ill"), "{usual}");
    assert!(!list(&["--health", "passing"]).await.contains("HEALTH"));
    assert_eq!(list(&["--health", "all"]).await.lines().count(), 4);
    let ill = list(&["--health", "critical,warning"]).await;
    assert!(ill.contains("ill") && ill.contains("short") && !ill.contains("well"), "{ill}");
}

#[tokio::test]
async fn several_catalogs_are_one_and_the_one_that_is_down_costs_a_warning() {
    let consul = Consul::start().await.unwrap();
    register(&consul, "both", json!({})).await;
    register(&consul, "moved", json!({})).await;
    let user = User::new();
    let node = |id: &str, port: u16| json!({"id": id, "address": "127.0.0.1", "port": port});
    user.write_catalog(&[node("both", 7443), node("moved", 7444), node("own", 7445)]);
    let [dead] = free_ports().unwrap();
    let catalog = format!("{} file:nodes.json consul://127.0.0.1:{dead}", consul.http_uri());
    let ended = user.with_catalog(catalog).run(&["nodes", "list", "--json"]).await;
    let listing = ended.document();
    let mut found = ids(&listing);
    found.sort_unstable();
    assert_eq!(found, ["both", "moved", "own"]);
    let of = |words: &str| ended.stderr.lines().filter(|line| line.contains(words)).count();
    assert_eq!(of(&format!("consul://127.0.0.1:{dead}: cannot be reached")), 1, "{}", ended.stderr);
    assert_eq!(of("node moved is at 127.0.0.1:7443"), 1, "{}", ended.stderr);
}

#[tokio::test]
async fn what_is_rejected_is_told_with_its_catalog_and_drives_no_terminal() {
    let user = User::new();
    let node = |id: &str, region: &str, port: u32| json!({"id": id, "address": "127.0.0.1", "port": port, "region": region});
    user.write_catalog(&[
        node("\u{1b}]0;owned\u{7}", "eu", 1),
        node("escape", "\u{1b}[2J\u{9b}31m\u{202e}", 1),
        node("no-port", "eu", 0),
        node("good", "eu", 1),
    ]);
    let user = user.with_catalog("file:nodes.json");
    let table = user.run(&["nodes", "list", "--rejected"]).await;
    table.succeeded();
    let listing = user.run(&["nodes", "list"]).await;
    let json = user.run(&["nodes", "list", "--rejected", "--json"]).await;
    for text in [&table.stdout, &table.stderr, &listing.stdout, &listing.stderr, &json.stdout] {
        let harmless =
            |character: char| character == '\n' || !cbrowse_protocol::node::is_unprintable(character);
        assert!(text.chars().all(harmless), "{text:?}");
    }
    let rejected = json.document();
    assert_eq!(rejected.as_array().map(Vec::len), Some(3), "{rejected}");
    for entry in rejected.as_array().unwrap() {
        let fields: Vec<_> = entry.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(fields, ["catalog", "entry", "reason"]);
        assert_eq!(entry["catalog"], "file:nodes.json");
    }
    assert!(table.stdout.contains("port 0"), "{}", table.stdout);
}
