//! `cbrowse profile sync` and `delete` with real nodes: what travels, what comes home, what stays where.

#![expect(clippy::unwrap_used, reason = "a test's helpers are tests")]

use std::path::PathBuf;

use cbrowse_testkit::{
    fleet::Fleet,
    node::{Node, Options},
};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{
    profile_sealing::{files, holding, make_source, planted, profile},
    user::User,
};

struct World {
    fleet: Fleet,
    node: Node,
    user: User,
    source: String,
}

impl World {
    /// A node, and a user with a profile that no node has seen.
    async fn new() -> Self {
        let fleet = Fleet::new().unwrap();
        let node = Node::start(Options::of(&fleet, "fra-1", "eu-central")).await.unwrap();
        let user = User::of(&fleet).await.knowing(&[&node]);
        let source = make_source(&user);
        profile(&user, &["create", "work", "--from", &source]).await.succeeded();
        Self { fleet, node, user, source }
    }

    async fn sync(&self, more: &[&str]) -> Value {
        profile(&self.user, &[&["sync", "work"], more].concat()).await.document()
    }

    /// What the node keeps of profiles.
    fn kept(&self) -> Vec<PathBuf> {
        files(&self.node.data_dir().join("profiles"))
    }
}

#[tokio::test]
async fn the_best_node_gets_what_it_lacks_and_cannot_read_it() {
    let world = World::new().await;
    let would = world.sync(&["--dry-run"]).await;
    assert_eq!(would["sent"]["objects"], 3, "{would}");
    assert_eq!(world.kept(), Vec::<PathBuf>::new(), "a dry run leaves the node as it is");
    let sent = world.sync(&[]).await;
    for figure in ["node", "objects", "bytes"] {
        assert_eq!(sent["sent"][figure], would["sent"][figure], "{sent}");
    }
    assert_eq!(sent["changed"], true);
    assert_eq!(sent["sent"]["node"], "fra-1");
    let again = world.sync(&[]).await;
    assert_eq!((&again["sent"]["objects"], &again["changed"]), (&0.into(), &false.into()));
    assert_eq!(holding(&world.node.data_dir(), planted()), Vec::<PathBuf>::new());
    assert_eq!(holding(&world.node.data_dir(), "work"), Vec::<PathBuf>::new(), "nor does it know the name");
    let status = world.user.run(&["profile", "status", "work", "--json"]).await.document();
    assert_eq!(status["copies"][0]["node"], "fra-1");
}

#[tokio::test]
async fn a_sent_profile_connects_without_sending_and_its_save_comes_home() {
    let world = World::new().await;
    world.sync(&[]).await;
    let connect = ["connect", "--profile", "work", "--passphrase-fd", "0", "--view", "web", "--no-open"];
    let mut running = world.user.start(&connect).await;
    running.until("the node has all of it").await;
    running.until("Ctrl-C ends the session").await;
    running.signal(Signal::SIGINT);
    assert_eq!(running.end().await.code, Some(130));
    let status = world.user.run(&["profile", "status", "work", "--json"]).await.document();
    assert_eq!(status["waiting"][0]["node"], "fra-1", "{status}");

    let home = world.sync(&[]).await;
    assert!(home["taken_home"][0]["generation"].as_u64().unwrap() > 1, "{home}");
    assert_eq!(home["taken_home"][0]["waits"], Value::Null, "{home}");
    // The directory would hide what the session saved; it is looked at when it is named.
    assert_eq!((&home["passed_over"], &home["sealed"]), (&world.source.clone().into(), &Value::Null));
    assert_eq!(world.sync(&[]).await["changed"], false);
    let generation = home["generation"].as_u64().unwrap();
    let named = world.sync(&["--from", &world.source]).await;
    assert_eq!(named["generation"], generation + 1);
}

#[tokio::test]
async fn a_deletion_reaches_the_nodes_that_answer_and_names_the_others() {
    let mut world = World::new().await;
    world.sync(&[]).await;
    let mut other = Node::start(Options::of(&world.fleet, "nyc-1", "us-east")).await.unwrap();
    world.user = world.user.knowing(&[&other]);
    // The one that confirmed it is not in the catalog any more.
    assert_eq!(world.sync(&[]).await["sent"]["node"], "nyc-1");
    other.kill();
    let gone = profile(&world.user, &["delete", "work", "--yes"]).await.document();
    let outcomes: Vec<_> = gone["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| (node["node"].as_str().unwrap(), node["outcome"].as_str().unwrap()))
        .collect();
    assert_eq!(outcomes, [("fra-1", "deleted"), ("nyc-1", "kept")]);
    assert_eq!(world.kept(), Vec::<PathBuf>::new());
    assert_ne!(files(&other.data_dir().join("profiles")), Vec::<PathBuf>::new());
    let (exit, code, _) = profile(&world.user, &["sync", "work"]).await.error();
    assert_eq!((exit, code.as_str()), (8, "no_profile"));
}

#[tokio::test]
async fn what_fails_on_the_way_to_nodes_says_that_the_profile_is_safe() {
    let world = World::new().await;
    let stranger = world.user.with_token("");
    let (exit, code, error) = profile(&stranger, &["sync", "work"]).await.error();
    assert_eq!((exit, code.as_str()), (6, "not_logged_in"));
    assert!(error["message"].as_str().unwrap().contains("safe on this machine as generation 1"), "{error}");
    assert_eq!(error["details"]["generation"], 1);
    let nowhere = stranger.with_catalog("local:");
    assert_eq!(profile(&nowhere, &["sync", "work"]).await.document()["sent"], Value::Null);
}
