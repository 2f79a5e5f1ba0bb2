//! From a node's registration in a real Consul to the table of nodes on the user's machine, and back out of it.

use std::time::Duration;

use cbrowse_testkit::{
    consul::Consul,
    fleet::Fleet,
    node::{Node, Options},
};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::user::User;

/// Consul asks a node after its health every few seconds, and believes it critical after a failed check.
const CONSUL_PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);

fn ids(listing: &Value) -> Vec<&str> {
    let mut ids: Vec<_> =
        listing.as_array().expect("a list").iter().filter_map(|node| node["id"].as_str()).collect();
    ids.sort_unstable();
    ids
}

/// Asks the catalog again and again until it names exactly these nodes.
async fn until_listed(user: &User, catalog: &str, wanted: &[&str]) -> Value {
    let deadline = Instant::now() + CONSUL_PATIENCE;
    loop {
        let ended = user.run(&["nodes", "list", "--json", "--catalog", catalog]).await;
        let listing = ended.document();
        if ids(&listing) == wanted {
            return listing;
        }
        assert!(Instant::now() < deadline, "{catalog} names {listing} instead of {wanted:?}");
        sleep(POLL).await;
    }
}

#[tokio::test]
async fn a_registered_node_is_listed_and_probed_over_http_and_over_dns() {
    let (consul, fleet) = (Consul::start().await.unwrap(), Fleet::new().unwrap());
    let options = Options::of(&fleet, "fra-1", "eu-central").with("--register", consul.http_uri());
    let node = Node::start(options.with("--tag", "fast").with("--zone", "a")).await.unwrap();
    let user = User::of(&fleet).await;

    let listing = until_listed(&user, &consul.http_uri(), &["fra-1"]).await;
    let (entry, record) = (&listing[0], node.record());
    for field in ["id", "address", "port", "region", "identity"] {
        assert_eq!(entry[field], record[field], "{field} of {entry}");
    }
    assert_eq!((entry["zone"].as_str(), &entry["tags"][0]), (Some("a"), &"fast".into()));

    // Plain DNS knows addresses and ports; names and identities come from the node itself.
    let dns = format!("dns+srv://browser-node.service.consul?server={}", consul.dns_server());
    let listing = user.run(&["nodes", "list", "--json", "--catalog", &dns]).await.document();
    assert_eq!(listing.as_array().map(Vec::len), Some(1), "{listing}");
    assert_eq!((&listing[0]["address"], &listing[0]["port"]), (&record["address"], &record["port"]));

    for catalog in [consul.http_uri(), dns] {
        let probed = user.run(&["nodes", "probe", "--json", "--catalog", &catalog]).await.document();
        assert_shape_of_probe(&probed);
        let found = &probed["nodes"][0];
        assert_eq!(found["verdict"], "eligible", "{catalog}: {found}");
        assert_eq!(found["region"], "eu-central", "{catalog}");
        assert_eq!(probed["chosen"], found["id"]);
    }
}

/// The interface of `nodes probe --json`, field by field.
fn assert_shape_of_probe(probed: &Value) {
    let fields = |value: &Value| value.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
    assert_eq!(fields(probed), ["chosen", "elapsed_ms", "icmp", "nodes"]);
    assert!(probed["icmp"].is_boolean() && probed["elapsed_ms"].as_f64().is_some_and(|ms| ms > 0.0));
    let node = &probed["nodes"][0];
    assert_eq!(
        fields(node),
        [
            "address",
            "age_s",
            "capacity",
            "from",
            "id",
            "in_band",
            "jitter_ms",
            "load",
            "loss",
            "method",
            "port",
            "reasons",
            "region",
            "remark",
            "rtt_ms",
            "samples",
            "score_ms",
            "score_parts_ms",
            "sessions",
            "trust",
            "verdict"
        ]
    );
    let (min, p50) = (&node["rtt_ms"]["min"], &node["rtt_ms"]["p50"]);
    // On loopback a reply can be noted before its request, and counts as no time at all.
    assert!(min.as_f64().is_some_and(|min| min >= 0.0 && min <= p50.as_f64().unwrap()), "{node}");
    assert!(node["jitter_ms"].as_f64().is_some_and(|ms| ms >= 0.0), "{node}");
    assert_eq!(node["loss"], 0.0, "{node}");
    assert!(node["samples"].as_u64().is_some_and(|samples| samples > 0), "{node}");
    assert!(node["method"].is_string() && node["load"].is_number(), "{node}");
    assert_eq!((&node["sessions"], &node["capacity"]), (&0.into(), &8.into()), "{node}");
    assert_eq!(node["reasons"], serde_json::json!([]), "{node}");
}

#[tokio::test]
async fn a_killed_node_leaves_the_catalog_and_one_that_ends_leaves_it_at_once() {
    let (consul, fleet) = (Consul::start().await.unwrap(), Fleet::new().unwrap());
    let uri = consul.http_uri();
    let start = |id| Node::start(Options::of(&fleet, id, "eu-central").with("--register", &uri));
    let (killed, ended) = tokio::join!(start("killed"), start("ended"));
    let (mut killed, mut ended) = (killed.unwrap(), ended.unwrap());
    let user = User::new();
    until_listed(&user, &uri, &["ended", "killed"]).await;

    let status = ended.terminate().await.unwrap();
    assert!(status.success(), "{status}\n{}", ended.log());
    // No waiting: a node that ends has said so before it is gone.
    let listing = user.run(&["nodes", "list", "--json", "--catalog", &uri]).await.document();
    assert_eq!(ids(&listing), ["killed"]);

    killed.kill();
    until_listed(&user, &uri, &[]).await;
}

#[tokio::test]
async fn a_registry_that_is_down_is_answered_for_by_its_last_answer_and_its_age() {
    let (mut consul, fleet) = (Consul::start().await.unwrap(), Fleet::new().unwrap());
    let uri = consul.http_uri();
    let node = Node::start(Options::of(&fleet, "fra-1", "eu-central").with("--register", &uri)).await;
    let node = node.unwrap();
    let (user, stranger) = (User::of(&fleet).await.with_catalog(&uri), User::new().with_catalog(&uri));
    until_listed(&user, &uri, &["fra-1"]).await;
    consul.kill();

    let cached = user.run(&["nodes", "probe", "--json"]).await;
    assert_eq!(cached.document()["chosen"], "fra-1");
    assert!(
        cached.stderr.contains("using its answer of") && cached.stderr.contains(" ago"),
        "{}",
        cached.stderr
    );

    let (exit, code, error) = stranger.run(&["nodes", "probe", "--json"]).await.error();
    assert_eq!((exit, code.as_str()), (4, "catalog_unavailable"));
    assert!(error["message"].as_str().unwrap().contains(&consul.http_address().to_string()), "{error}");
    drop(node);
}
