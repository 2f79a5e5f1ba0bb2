//! What bad input gets, on real nodes: a clear error with its own exit code, and nothing that goes on regardless.

use cbrowse_testkit::{
    fleet::Fleet,
    node::{Node, Options},
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::user::User;

const PICTURE: [&str; 6] =
    ["connect", "http://cbrowse.internal/colours", "--view", "none", "--screenshot", "page.png"];

fn connect<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&PICTURE[..], more, &["--json"]].concat()
}

async fn fleet_of_one() -> (Fleet, Node, User) {
    let fleet = Fleet::new().unwrap();
    let node = Node::start(Options::of(&fleet, "fra-1", "eu-central")).await.unwrap();
    let user = User::of(&fleet).await.knowing(&[&node]);
    (fleet, node, user)
}

fn reasons<'a>(error: &'a Value, node: &str) -> Vec<&'a str> {
    let nodes = error["details"]["nodes"].as_array().expect("nodes");
    let entry = nodes.iter().find(|entry| entry["id"] == node).expect("the node");
    entry["reasons"]
        .as_array()
        .expect("reasons")
        .iter()
        .filter_map(|reason| reason["code"].as_str())
        .collect()
}

#[tokio::test]
async fn an_unknown_region_and_nodes_that_may_not_be_chosen_are_named_with_reasons() {
    let (_fleet, node, user) = fleet_of_one().await;
    let gone = json!({ "id": "gone", "address": "127.0.0.1", "port": 1, "region": "us-east" });
    user.write_catalog(&[node.record(), gone]);

    let (exit, code, error) = user.run(&connect(&["--region", "mars"])).await.error();
    assert_eq!((exit, code.as_str()), (5, "unknown_region"));
    assert_eq!(error["details"]["regions"], json!(["eu-central", "us-east"]));

    let (exit, code, error) = user.run(&connect(&["--tag", "fast"])).await.error();
    assert_eq!((exit, code.as_str()), (5, "no_eligible_node"));
    assert_eq!((reasons(&error, "fra-1"), reasons(&error, "gone")), (vec!["tag"], vec!["tag"]));

    let (exit, code, error) = user.run(&connect(&["--region", "us-east"])).await.error();
    assert_eq!((exit, code.as_str()), (5, "no_eligible_node"));
    assert_eq!((reasons(&error, "fra-1"), reasons(&error, "gone")), (vec!["region"], vec!["unreachable"]));
    assert!(!user.file("page.png").exists());
}

#[tokio::test]
async fn without_the_right_token_nobody_is_let_in() {
    let (fleet, node, _) = fleet_of_one().await;
    let unused = node.workers();
    let foreign = Fleet::new().unwrap().token("ada").unwrap();
    for (token, code) in
        [("", "not_logged_in"), ("nonsense", "token_malformed"), (foreign.as_str(), "unauthenticated")]
    {
        let user = User::of(&fleet).await.with_token(token).knowing(&[&node]);
        let (exit, got, error) = user.run(&connect(&[])).await.error();
        assert_eq!((exit, got.as_str()), (6, code), "{error}");
    }
    assert_eq!(node.workers(), unused);
}

#[tokio::test]
async fn a_node_that_is_not_known_is_refused_until_somebody_vouches_for_it() {
    let node = Node::start(Options::default()).await.unwrap();
    let unused = node.workers();
    // Not from the user's own file, which would vouch for the identity it names.
    let mut record = node.record();
    record.as_object_mut().unwrap().remove("identity");
    let user = User::new().with_token(node.token("ada").unwrap()).with_catalog("file:nodes.json");
    user.write_catalog(std::slice::from_ref(&record));
    let (exit, code, error) = user.run(&connect(&[])).await.error();
    assert_eq!((exit, code.as_str()), (7, "unknown_identity"), "{error}");
    assert_eq!(error["details"]["identity"], node.identity());
    assert!(error["hint"].as_str().unwrap().contains("cbrowse trust add --node"), "{error}");
    assert_eq!(node.workers(), unused);

    // Named as the catalog names it, as which it was judged: its own word may be the name of a node that is known.
    let mut renamed = record.clone();
    renamed["id"] = "listed-as".into();
    user.write_catalog(&[renamed]);
    let (_, _, error) = user.run(&connect(&[])).await.error();
    assert_eq!(error["details"]["node"], "listed-as", "{error}");
    user.write_catalog(&[record]);

    user.run(&["trust", "add", "--node", node.id(), node.identity()]).await.succeeded();
    assert_eq!(user.run(&connect(&[])).await.document()["node"], node.id());
}

#[tokio::test]
async fn a_node_that_answers_with_another_identity_is_refused() {
    let (_fleet, node, _) = fleet_of_one().await;
    // The same name, set up anew: somebody else as far as anybody can tell.
    let other = Node::start(Options { id: Some("fra-1"), ..Options::default() }).await.unwrap();
    let unused = other.workers();
    let user = User::new().with_token("").knowing(&[&node]);
    user.run(&["trust", "add", "--node", "fra-1", node.identity()]).await.succeeded();
    let mut record = other.record();
    record.as_object_mut().unwrap().remove("identity");
    user.write_catalog(&[record]);
    let user = user.with_token(other.token("ada").unwrap());
    let (exit, code, error) = user.run(&connect(&[])).await.error();
    assert_eq!((exit, code.as_str()), (7, "identity_changed"), "{error}");
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains(node.identity()) || error["details"].to_string().contains(node.identity()),
        "{error}"
    );
    assert_eq!(other.workers(), unused);
}

#[tokio::test]
async fn an_identity_that_the_fleet_never_signed_is_refused_even_with_another_nodes_statement() {
    let (fleet, node, user) = fleet_of_one().await;
    let forger = Options { id: Some("fra-1"), ..Options::default() };
    let key = format!("--token-key={}", fleet.issuer_key());
    let forger = Node::start(Options { arguments: vec![key], ..forger }).await.unwrap();
    let unused = forger.workers();
    let statement = fleet.sign(node.identity(), "fra-1", "eu-central").unwrap();
    let mut record = forger.record();
    record["statement"] = std::fs::read_to_string(statement).unwrap().trim().into();
    record.as_object_mut().unwrap().remove("identity");
    user.write_catalog(&[record]);
    let (exit, code, error) = user.run(&connect(&[])).await.error();
    assert_eq!((exit, code.as_str()), (7, "not_trusted"), "{error}");
    assert_eq!(forger.workers(), unused);
}

#[tokio::test]
async fn a_full_node_refuses_and_the_next_one_is_taken() {
    let fleet = Fleet::new().unwrap();
    let full =
        Node::start(Options::of(&fleet, "full", "eu-central").with("--max-sessions", 1)).await.unwrap();
    let user = User::of(&fleet).await.knowing(&[&full]);
    let mut running = user.start(&["connect", "--view", "web", "--no-open"]).await;
    running.until("open this file in your browser").await;

    let (exit, code, error) = user.run(&connect(&[])).await.error();
    assert_eq!((exit, code.as_str()), (10, "full"), "{error}");

    let free = Node::start(Options::of(&fleet, "free", "us-east")).await.unwrap();
    user.write_catalog(&[full.record(), free.record()]);
    assert_eq!(user.run(&connect(&[])).await.document()["node"], "free");
    running.signal(Signal::SIGINT);
    assert_eq!(running.end().await.code, Some(130));
}

#[tokio::test]
async fn who_waits_gets_the_seat_that_somebody_leaves() {
    let fleet = Fleet::new().unwrap();
    let node =
        Node::start(Options::of(&fleet, "full", "eu-central").with("--max-sessions", 1)).await.unwrap();
    let user = User::of(&fleet).await.knowing(&[&node]);
    let mut first = user.start(&["connect", "--view", "web", "--no-open"]).await;
    first.until("open this file in your browser").await;
    let waits = [&PICTURE[..], &["--wait", "80s"]].concat();
    let mut second = user.start(&waits).await;
    second.until("asking again in").await;
    first.signal(Signal::SIGINT);
    assert_eq!(first.end().await.code, Some(130));
    let ended = second.end().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("connected to full"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_node_that_cannot_serve_says_why_and_ends() {
    let missing = Node::start(Options::default().with("--chromium", "/nonexistent/chromium")).await;
    let words = format!("{:#}", missing.unwrap_err());
    assert!(words.contains("ERROR") && words.contains("/nonexistent/chromium"), "{words}");

    let first = Node::start(Options::default()).await.unwrap();
    let second = Node::start(Options::default().with("--listen", first.endpoint())).await;
    let words = format!("{:#}", second.unwrap_err());
    assert!(words.contains("in use") && words.contains(first.endpoint()), "{words}");
}

#[tokio::test]
async fn a_garbage_entry_is_skipped_and_the_others_serve() {
    let (_fleet, node, user) = fleet_of_one().await;
    let garbage = json!({ "id": "bad\u{1b}[31m", "address": "", "port": 70000, "region": 5 });
    user.write_catalog(&[garbage, node.record()]);
    let ended = user.run(&connect(&[])).await;
    assert_eq!(ended.document()["node"], "fra-1");
    assert!(ended.stderr.contains("is skipped"), "{}", ended.stderr);
    assert!(!ended.stderr.contains('\u{1b}'), "{:?}", ended.stderr);

    std::fs::write(user.file("nodes.json"), "[\n  {\"id\": \"a\"},\n  {\"id\" \"b\"}\n]\n").unwrap();
    let (exit, code, error) = user.run(&connect(&[])).await.error();
    assert_eq!((exit, code.as_str()), (4, "catalog_unavailable"), "{error}");
    assert!(error["message"].as_str().unwrap().contains("line 3"), "{error}");
}
