//! What the server filters by itself, and that no value can make it filter by something else.

use std::time::Duration;

use cbrowse_protocol::node::{Health, NodeRecord};
use cbrowse_registry::{Check, Options, Query, open};
use cbrowse_testkit::consul::Consul;

use super::{
    fake::{Scripted, good},
    start,
};
use crate::support::{catalog, ids, list, list_until, record, registry};

const LONG: Check = Check::Heartbeat(Duration::from_secs(300));

async fn found(uri: &str, query: &Query) -> Vec<String> {
    let options = Options::default().with_query(query.clone());
    let catalog = open(&uri.parse().expect(uri), &options).expect("opens");
    let listing = catalog.list().await.expect("an answer");
    ids(&listing).into_iter().map(str::to_owned).collect()
}

/// Nodes with everything that could be mistaken for a part of an expression.
async fn hostile(consul: &Consul) -> Vec<NodeRecord> {
    let texts = [
        "eu",
        "\"",
        "\\",
        "`",
        "\\\"",
        "a\" or \"x\" != \"",
        "größe-日本-\u{10ffff}",
        "a and b",
        "%22",
        "eu\\u0022",
    ];
    let mut nodes = Vec::new();
    for (port, text) in (1..).zip(texts) {
        let mut node = record(&format!("n{port}"), port);
        (node.region, node.zone, node.tags) = (text.into(), format!("z{text}"), vec![format!("t{text}")]);
        node.meta = [("ra-ck".to_owned(), format!("m{text}"))].into();
        registry(&consul.http_uri()).register(&node, LONG).await.expect("registers");
        nodes.push(node);
    }
    list_until(&*catalog(&consul.http_uri()), |listing| listing.nodes.len() == texts.len()).await;
    nodes
}

#[tokio::test]
async fn every_value_finds_its_own_node_and_no_other() {
    let consul = start().await;
    for node in hostile(&consul).await {
        for query in [
            Query { regions: vec![node.region.clone()], ..Query::default() },
            Query { zones: vec!["nowhere".into(), node.zone.clone()], ..Query::default() },
            Query { tags: node.tags.clone(), ..Query::default() },
            Query { meta: node.meta.clone().into_iter().collect(), ..Query::default() },
        ] {
            assert_eq!(found(&consul.http_uri(), &query).await, [node.id.to_string()], "{query}");
        }
    }
}

#[tokio::test]
async fn the_server_leaves_out_what_it_is_asked_to() {
    let consul = start().await;
    hostile(&consul).await;
    // What the adapter sends, seen by a server of our own, and given to the real one as it is.
    let mut query = Query { tags: vec!["ta\" or \"x\" != \"".into()], ..Query::default() };
    query.regions = vec!["eu".into(), "a\" or \"x\" != \"".into()];
    let fake = Scripted::start(|_, _| Some(good("", "[]"))).await;
    found(&fake.uri(), &query).await;
    let line = fake.asked()[0].clone();
    let path = line.split(' ').nth(1).expect("a path").to_owned();
    assert!(path.contains("filter="), "{path}");
    let answer = consul.request("GET", &path, None).await.expect("Consul takes the expression");
    let answered: Vec<_> =
        answer.as_array().expect("a list").iter().map(|entry| &entry["Service"]["ID"]).collect();
    assert_eq!(answered, ["n6"]);
}

#[tokio::test]
async fn the_users_own_filter_holds_with_the_query_and_a_bad_one_is_explained() {
    let consul = start().await;
    hostile(&consul).await;
    let own = format!("{}?filter=Service.Port%20%3C%203%20or%20Service.Port%20==%202", consul.http_uri());
    let error = catalog(&own).list().await.expect_err("Consul compares for equality only");
    // Consul 1.8 says 500 to it, which asking again would not help.
    assert!(!error.is_transient(), "{error}");
    let bad = error.to_string();
    for part in ["the filter Service.Port < 3", "expression", &consul.http_uri()] {
        assert!(bad.contains(part), "{part}: {bad}");
    }
    let own = format!("{}?filter=Service.Port%20==%201%20or%20Service.Port%20==%202", consul.http_uri());
    assert_eq!(ids(&list(&*catalog(&own)).await), ["n1", "n2"]);
    let query = Query { regions: vec!["\"".into()], ..Query::default() };
    assert_eq!(found(&own, &query).await, ["n2"]);
    let nothing = Query { regions: vec!["mars".into()], ..Query::default() };
    let options = Options::default().with_query(nothing);
    let listing =
        open(&own.parse().expect("a catalog"), &options).expect("opens").list().await.expect("answers");
    let warning = &listing.warnings[0];
    for part in ["10 nodes", "region=\"mars\"", "Service.Port == 1"] {
        assert!(warning.contains(part), "{part}: {warning}");
    }
}

#[tokio::test]
async fn versions_and_health_are_applied_here() {
    let fake = Scripted::start(|_, _| Some(good("", "[]"))).await;
    let mut query = Query { version: Some(">=0.1".parse().expect("a range")), ..Query::default() };
    found(&fake.uri(), &query).await;
    query.health = [Health::Passing].into();
    found(&fake.uri(), &query).await;
    let asked = fake.asked();
    let has = |index: usize, part: &str| asked[index].contains(part);
    // Each listing is followed by the question why it is empty.
    assert!(!has(0, "filter") && !has(0, "passing") && !has(2, "filter") && has(2, "passing=1"), "{asked:?}");
}
