//! What stands below the prefix: by hand, wrong, in the wrong place, and in masses.

use std::collections::BTreeMap;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use cbrowse_protocol::node::NodeRecord;
use cbrowse_registry::Change;
use cbrowse_testkit::etcd::Etcd;
use serde_json::json;

use super::{put, start, text};
use crate::support::{Seen, catalog, ids, list, next_change, record};

#[tokio::test]
async fn an_operator_can_put_a_node_by_hand() {
    let etcd = start().await;
    put(&etcd, "browser-node/n1", r#"{"id": "n1", "address": "10.0.0.1", "port": 7443}"#).await;
    let listing = list(&*catalog(&etcd.uri())).await;
    let node = &listing.nodes[0];
    assert_eq!((node.endpoint().as_str(), node.weight), ("10.0.0.1:7443", 1));
    assert_eq!(listing.warnings, [""; 0]);
}

#[tokio::test]
async fn garbage_is_skipped_with_a_reason_and_the_others_serve() {
    let etcd = start().await;
    let spoiled = |id: &str, field: &str, value: serde_json::Value| {
        let mut entry = json!({"id": id, "address": "127.0.0.1", "port": 7443});
        entry[field] = value;
        (format!("browser-node/{id}"), entry.to_string())
    };
    let good = text(&record("good", 1));
    let entries = [
        spoiled("no-port", "port", json!(0)),
        spoiled("negative", "weight", json!(-1)),
        spoiled("escape", "region", json!("\u{1b}[2J")),
        spoiled("large", "meta", json!({"k": "v".repeat(1 << 20)})),
        spoiled("metadata-address", "address", json!("169.254.169.254")),
        ("browser-node/other-id".to_owned(), good.clone()),
        ("browser-node/below/good".to_owned(), good.clone()),
        ("browser-node/\u{1b}]0;title\u{7}".to_owned(), good.clone()),
        ("browser-node/".to_owned(), good.clone()),
        ("browser-node/html".to_owned(), "<html>".to_owned()),
        ("browser-node/good".to_owned(), good),
        ("browser-nodes/not-ours".to_owned(), "ours?".to_owned()),
    ];
    for (key, value) in &entries {
        // A megabyte is more than an argument may have.
        let body = json!({"key": BASE64_STANDARD.encode(key), "value": BASE64_STANDARD.encode(value)});
        etcd.request("/v3/kv/put", &body).await.expect("etcd takes anything");
    }
    let listing = list(&*catalog(&etcd.uri())).await;
    assert_eq!((ids(&listing), listing.rejected.len()), (vec!["good"], 10));
    let reason = |part: &str| {
        let found = listing.rejected.iter().find(|rejected| rejected.entry.contains(part));
        found.unwrap_or_else(|| panic!("{part} in {:?}", listing.rejected)).reason.as_str()
    };
    assert!(reason("no-port").contains("port 0"));
    assert!(reason("negative").contains("-1"));
    assert!(reason("escape").contains("control character"));
    assert!(reason("large").contains("bytes"));
    assert!(reason("metadata-address").contains("link-local"));
    assert!(reason("other-id").contains("\"good\""));
    assert!(reason("below/good").contains("\"below/good\""));
    assert!(reason("html").contains("nodes list --json"));
    let text = serde_json::to_string(&listing).expect("a listing");
    assert!(!text.contains("\\u001b") && !text.contains('\u{1b}'), "{text}");
}

#[tokio::test]
async fn an_entry_that_becomes_garbage_is_gone_until_it_is_mended() {
    let etcd = start().await;
    let node = record("n1", 1);
    put(&etcd, "browser-node/n1", &text(&node)).await;
    let mut changes = catalog(&etcd.uri()).watch();
    assert!(matches!(next_change(&mut changes).await, Change::Reset(listing) if ids(&listing) == ["n1"]));
    put(&etcd, "browser-node/n1", "{").await;
    assert_eq!(next_change(&mut changes).await, Change::Remove(vec![node.id.clone()]));
    put(&etcd, "browser-node/n2", "{").await;
    put(&etcd, "browser-nodes/n3", &text(&record("n3", 3))).await;
    put(&etcd, "browser-node/n1", &text(&node)).await;
    let Change::Add(listing) = next_change(&mut changes).await else { panic!("it is there again") };
    assert_eq!(listing.nodes, [node]);
}

#[tokio::test]
async fn the_wrong_prefix_says_which_uri_to_write() {
    let etcd = start().await;
    for (key, wrong) in [
        ("/browser-node/n1", etcd.uri()),
        ("fleets/a/n1", format!("{}//fleets/a", etcd.uri())),
        ("fleets/b/n1", format!("{}/fleets/b/n1", etcd.uri())),
    ] {
        put(&etcd, key, &text(&record("n1", 1))).await;
        let listing = list(&*catalog(&wrong)).await;
        let [warning] = &*listing.warnings else { panic!("{wrong}: {listing:?}") };
        let (_, right) = warning.split_once("write ").expect(warning);
        assert_eq!(ids(&list(&*catalog(right)).await), ["n1"], "{warning}");
    }
    let listing = list(&*catalog(&format!("{}/nothing", etcd.uri()))).await;
    assert!(listing.warnings[0].contains("\"nothing/\""), "{:?}", listing.warnings);
}

/// Many at once, past what one command of an operator could do.
async fn put_all(etcd: &Etcd, nodes: &[NodeRecord], at_once: usize) {
    for nodes in nodes.chunks(at_once) {
        let operations: Vec<_> = nodes
            .iter()
            .map(|node| {
                let key = BASE64_STANDARD.encode(format!("browser-node/{}", node.id));
                json!({"request_put": {"key": key, "value": BASE64_STANDARD.encode(text(node))}})
            })
            .collect();
        etcd.request("/v3/kv/txn", &json!({"success": operations})).await.expect("etcd takes them");
    }
}

#[tokio::test]
async fn thousands_come_in_pages() {
    let etcd = start().await;
    let nodes: Vec<_> = (1..=2_500).map(|port| record(&format!("n{port:04}"), port)).collect();
    put_all(&etcd, &nodes, 125).await;
    assert_eq!(list(&*catalog(&etcd.uri())).await.nodes, nodes, "in the order of their keys");
}

#[tokio::test]
async fn records_beyond_what_the_gateway_passes_on_at_once_come_all_the_same() {
    let etcd = start().await;
    let meta: BTreeMap<_, _> = (0..64).map(|index| (format!("k{index}"), "v".repeat(512))).collect();
    let large =
        |port: u16| NodeRecord { meta: BTreeMap::clone(&meta), ..record(&format!("n{port:03}"), port) };
    let nodes: Vec<_> = (1..=200).map(large).collect();
    assert!(nodes.iter().map(|node| text(node).len()).sum::<usize>() > 4 << 20);
    let mut changes = catalog(&etcd.uri()).watch();
    assert!(matches!(next_change(&mut changes).await, Change::Reset(_)));
    put_all(&etcd, &nodes, 20).await;
    assert_eq!(list(&*catalog(&etcd.uri())).await.nodes, nodes);
    let mut seen = Seen::default();
    let told = seen.follow(&mut changes, |known| known.len() == nodes.len()).await;
    assert!(told.iter().all(|item| matches!(item, Ok(Change::Add(_)))), "each of them, and no listing");
}
