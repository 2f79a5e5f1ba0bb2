//! What the copies of catalogs are good for: a registry that is down, slow, or not asked; two commands at once; no room.

use std::process::Command;

use cbrowse_testkit::{
    consul::Consul,
    fleet::Fleet,
    node::{Node, Options},
    ports::free_ports,
    relay::{Pace, Relay},
};
use serde_json::json;

use crate::{
    catalog_watch::register,
    user::{Ended, User},
};

/// Every start of these tests asks the registries beside, however young what is known is.
const REFRESH: &str = "CBROWSE_CACHE_REFRESH";

async fn register_node(consul: &Consul, node: &Node) {
    let record = node.record();
    let meta = json!({"region": record["region"], "identity": record["identity"]});
    let more = json!({"Address": record["address"], "Port": record["port"], "Meta": meta});
    register(consul, record["id"].as_str().unwrap(), more).await;
}

async fn connect(user: &User) -> Ended {
    let page = "http://cbrowse.internal/colours";
    user.run(&["connect", page, "--json", "--view", "none", "--screenshot", "page.png"]).await
}

#[tokio::test]
async fn a_session_begins_while_the_registry_is_silent_or_gone() {
    let (mut consul, fleet) = (Consul::start().await.unwrap(), Fleet::new().unwrap());
    let node = Node::start(Options::of(&fleet, "fra-1", "eu-central")).await.unwrap();
    register_node(&consul, &node).await;
    let relay = Relay::to(consul.http_address(), Pace::Free).await.expect("loopback works");
    let user = User::of(&fleet).await.with_catalog(format!("consul://{}", relay.address)).with(REFRESH, "0");
    user.run(&["nodes", "list"]).await.succeeded();

    relay.set(Pace::Silent);
    let before = relay.asked().len();
    let ended = connect(&user).await;
    assert_eq!(ended.document()["node"], "fra-1");
    assert!(relay.asked().len() > before, "the registry is asked beside");
    // Whoever waits for the registry first says so after its deadline.
    assert!(!ended.stderr.contains("using its answer"), "{}", ended.stderr);
    let waiting = user.run(&["nodes", "list"]).await;
    assert!(waiting.stderr.contains("no answer within") && waiting.stderr.contains("using its answer of"));

    consul.kill();
    let ended = connect(&user).await;
    assert_eq!(ended.document()["node"], "fra-1", "{}", ended.stderr);
}

#[tokio::test]
async fn where_nobody_who_is_known_serves_the_registry_is_asked_before_that_is_a_failure() {
    let (consul, fleet) = (Consul::start().await.unwrap(), Fleet::new().unwrap());
    let [dead] = free_ports().unwrap();
    register(&consul, "gone", json!({"Port": dead})).await;
    let user = User::of(&fleet).await.with_catalog(consul.http_uri()).with(REFRESH, "1h");
    user.run(&["nodes", "list"]).await.succeeded();
    let (exit, code, _) = connect(&user).await.error();
    assert_eq!((exit, code.as_str()), (5, "no_eligible_node"), "what is known is what there is");

    let node = Node::start(Options::of(&fleet, "fra-1", "eu-central")).await.unwrap();
    register_node(&consul, &node).await;
    // Known answers are young enough not to be asked for again, until they lead nowhere.
    assert_eq!(connect(&user).await.document()["node"], "fra-1");
    // A name that is not known is asked for.
    let other = Node::start(Options::of(&fleet, "fra-2", "eu-west")).await.unwrap();
    register_node(&consul, &other).await;
    let found =
        user.run(&["connect", "--json", "--node", "fra-2", "--view", "none", "--screenshot", "page.png"]);
    assert_eq!(found.await.document()["node"], "fra-2");
}

#[tokio::test]
async fn what_the_registry_says_in_time_counts() {
    let (consul, fleet) = (Consul::start().await.unwrap(), Fleet::new().unwrap());
    let [dead] = free_ports().unwrap();
    register(&consul, "gone", json!({"Port": dead})).await;
    let user = User::of(&fleet).await.with_catalog(consul.http_uri()).with(REFRESH, "0");
    user.run(&["nodes", "list"]).await.succeeded();
    consul.request("PUT", "/v1/agent/service/deregister/gone", None).await.unwrap();
    let node = Node::start(Options::of(&fleet, "fra-1", "eu-central")).await.unwrap();
    register_node(&consul, &node).await;
    let page = ["connect", "--json", "--explain", "--view", "none", "--screenshot", "page.png"];
    let document = user.run(&page).await.document();
    assert_eq!(document["node"], "fra-1");
    let judged = document["choice"]["nodes"].as_array().unwrap();
    let ids: Vec<_> = judged.iter().map(|node| node["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["fra-1"], "whoever is gone is not judged");
    // What the registry said is kept for the next time.
    let kept = user.run(&["nodes", "list", "--cached", "--json"]).await.document();
    assert_eq!((kept.as_array().map(Vec::len), &kept[0]["id"]), (Some(1), &"fra-1".into()));
}

#[tokio::test]
async fn the_copies_alone_answer_without_asking_anybody() {
    let mut consul = Consul::start().await.unwrap();
    register(&consul, "one", json!({"Tags": ["fast"]})).await;
    register(&consul, "two", json!({})).await;
    let relay = Relay::to(consul.http_address(), Pace::Free).await.expect("loopback works");
    let user = User::new().with_catalog(format!("consul://{}", relay.address));
    let (exit, code, _) = user.run(&["nodes", "list", "--cached", "--json"]).await.error();
    assert_eq!((exit, code.as_str()), (4, "not_cached"));
    assert_eq!(relay.asked(), [""; 0]);

    let listing = user.run(&["nodes", "list", "--json"]).await.document();
    let before = relay.asked().len();
    consul.kill();
    let cached = user.run(&["nodes", "list", "--cached", "--json"]).await;
    assert_eq!(cached.document(), listing);
    let fast = user.run(&["nodes", "list", "--cached", "--json", "--tag", "fast"]).await.document();
    assert_eq!((fast.as_array().map(Vec::len), &fast[0]["id"]), (Some(1), &"one".into()));
    let told = user.run(&["nodes", "list", "--cached"]).await;
    assert!(told.stderr.contains("its answer of") && told.stderr.contains(" ago"), "{}", told.stderr);
    assert_eq!(relay.asked().len(), before);
    let off = user.with("CBROWSE_CACHE_SIZE", "0");
    assert_eq!(off.run(&["nodes", "list", "--cached", "--json"]).await.error().1, "not_cached");
}

/// Two that write and one that reads, again and again, with too little room for all that is written.
#[tokio::test]
async fn commands_at_once_never_see_a_broken_copy() {
    let user = User::new();
    let node = |index: usize| {
        let region = ["eu", "us", "ap"][index % 3];
        json!({"id": format!("n{index}"), "address": "127.0.0.1", "port": 7443, "region": region})
    };
    user.write_catalog(&(0..300).map(node).collect::<Vec<_>>());
    // The whole takes some 55 kB, a region a third of that.
    let user = user.with_catalog("file:nodes.json").with("CBROWSE_CACHE_SIZE", "90kB");
    user.run(&["nodes", "list"]).await.succeeded();
    for round in 0..8 {
        let region = ["eu", "us", "ap"][round % 3];
        let narrow = ["nodes", "list", "--json", "--region", region];
        let (all, again, some, cached) = tokio::join!(
            user.run(&["nodes", "list", "--json"]),
            user.run(&["nodes", "list", "--json"]),
            user.run(&narrow),
            user.run(&["nodes", "list", "--json", "--cached"]),
        );
        for (ended, count) in [(&all, 300), (&again, 300), (&some, 100)] {
            assert_eq!(ended.document().as_array().map(Vec::len), Some(count));
            assert_eq!(ended.stderr, "", "round {round}");
        }
        // The whole answer is the newest or was written while this one read.
        assert_eq!(cached.document().as_array().map(Vec::len), Some(300), "round {round}");
    }
    let names = std::fs::read_dir(user.file(".cache/cbrowse/catalogs")).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!names.iter().any(|name| name.contains("corrupt") || name.contains("draft")), "{names:?}");
}

#[tokio::test]
async fn a_corrupt_copy_is_said_and_a_full_disk_costs_a_warning() {
    let user = User::new();
    user.write_catalog(&[json!({"id": "one", "address": "127.0.0.1", "port": 1})]);
    let user = user.with_catalog("file:nodes.json");
    user.run(&["nodes", "list"]).await.succeeded();
    let directory = user.file(".cache/cbrowse/catalogs");
    let copy = std::fs::read_dir(&directory).unwrap().next().unwrap().unwrap().path();
    std::fs::write(&copy, "{\"version\":1,\"nodes\":[").unwrap();
    let (exit, code, error) = user.run(&["nodes", "list", "--cached", "--json"]).await.error();
    assert_eq!((exit, code.as_str()), (4, "not_cached"));
    assert!(error["message"].as_str().unwrap().contains("corrupt, and is set aside as"), "{error}");
    assert!(copy.with_extension("corrupt").exists() && !copy.exists());

    // No file may grow by a byte, as on a full disk.
    let script = "trap '' XFSZ; ulimit -f 0; exec \"$0\" nodes list --json --catalog file:nodes.json";
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", script, env!("CARGO_BIN_EXE_cbrowse")]);
    shell.env_clear().env("HOME", user.home()).env("PATH", "/usr/bin:/bin").current_dir(user.home());
    let ended = Ended::from(shell.output().unwrap());
    assert_eq!(ended.document()[0]["id"], "one");
    assert!(ended.stderr.contains("its copy cannot be kept"), "{}", ended.stderr);
    assert!(!copy.exists());
}
