//! Watches whose connection breaks: resumed where they stopped, or listed again, and told as differences only.

use std::time::Duration;

use cbrowse_registry::{CatalogError, Change, ChangeStream};
use cbrowse_testkit::{
    etcd::Etcd,
    relay::{Pace, Relay},
};
use futures_util::StreamExt as _;

use super::{put, start, text};
use crate::{
    contract::Server as _,
    support::{DEADLINE, Seen, added, catalog, ids, next_change, record},
};

/// A watch over a road that can be cut, which knows `kept` and `leaves`.
async fn watched(etcd: &Etcd) -> (Relay, ChangeStream, Seen) {
    for (id, port) in [("kept", 1), ("leaves", 2)] {
        put(etcd, &format!("browser-node/{id}"), &text(&record(id, port))).await;
    }
    let relay = Relay::to(etcd.address(), Pace::Free).await.expect("loopback works");
    let mut changes = catalog(&etcd.uri_at(relay.address)).watch();
    let mut seen = Seen::default();
    let first = next_change(&mut changes).await;
    assert!(matches!(&first, Change::Reset(listing) if ids(listing) == ["kept", "leaves"]));
    seen.take(first);
    // The stream itself is open once it told something.
    put(etcd, "browser-node/late", &text(&record("late", 3))).await;
    seen.follow(&mut changes, |nodes| nodes.contains_key("late")).await;
    (relay, changes, seen)
}

/// How many ranges of keys it was asked for: one to recognize the cluster, another one for a listing.
async fn ranges(etcd: &Etcd) -> u64 {
    etcd.metric("grpc_server_started_total", "grpc_method=\"Range\"").await.expect("etcd counts")
}

/// What was told, errors aside, of which there is at least one.
fn without_errors(told: Vec<Result<Change, CatalogError>>) -> Vec<Change> {
    assert!(told.iter().any(Result::is_err), "the cut is said: {told:?}");
    told.into_iter().filter_map(Result::ok).collect()
}

async fn changes_meanwhile(etcd: &Etcd) {
    etcd.ctl(&["del", "browser-node/leaves"]).await.expect("it leaves");
    put(etcd, "browser-node/new", &text(&record("new", 4))).await;
}

#[tokio::test]
async fn a_broken_watch_goes_on_from_where_it_stopped() {
    let etcd = start().await;
    let (relay, mut changes, mut seen) = watched(&etcd).await;
    relay.set(Pace::Broken);
    changes_meanwhile(&etcd).await;
    let asked = ranges(&etcd).await;
    relay.set(Pace::Free);
    let told = without_errors(seen.follow(&mut changes, |nodes| nodes.contains_key("new")).await);
    assert_eq!(told, [Change::Remove(vec!["leaves".parse().expect("an id")]), added(&record("new", 4))]);
    assert_eq!(ranges(&etcd).await - asked, 1, "nothing was listed again");
}

#[tokio::test]
async fn after_a_compaction_the_differences_are_told() {
    let etcd = start().await;
    let (relay, mut changes, mut seen) = watched(&etcd).await;
    relay.set(Pace::Broken);
    changes_meanwhile(&etcd).await;
    let answer = etcd.request("/v3/kv/range", &serde_json::json!({"key": "AA=="})).await.expect("answers");
    let revision = answer["header"]["revision"].as_str().expect("a revision").to_owned();
    etcd.ctl(&["compact", &revision]).await.expect("an operator compacts");
    let asked = ranges(&etcd).await;
    relay.set(Pace::Free);
    let told = without_errors(seen.follow(&mut changes, |nodes| nodes.contains_key("new")).await);
    assert_eq!(told, [Change::Remove(vec!["leaves".parse().expect("an id")]), added(&record("new", 4))]);
    assert_eq!(ranges(&etcd).await - asked, 2, "one to recognize the cluster, one to list");
    // And on it goes.
    put(&etcd, "browser-node/newer", &text(&record("newer", 5))).await;
    assert_eq!(next_change(&mut changes).await, added(&record("newer", 5)));
}

#[tokio::test]
async fn a_restart_that_keeps_everything_tells_nothing() {
    let mut etcd = start().await;
    let (_proxy, mut changes, mut seen) = watched(&etcd).await;
    etcd.restart().await.expect("etcd comes back");
    put(&etcd, "browser-node/new", &text(&record("new", 4))).await;
    let told = without_errors(seen.follow(&mut changes, |nodes| nodes.contains_key("new")).await);
    assert_eq!(told, [added(&record("new", 4))]);
}

#[tokio::test]
async fn another_cluster_at_the_same_address_is_noticed_although_it_counts_further() {
    let mut etcd = start().await;
    let (relay, mut changes, mut seen) = watched(&etcd).await;
    relay.set(Pace::Broken);
    etcd.restart_empty().await.expect("etcd comes back");
    // The new history is longer than the old one, and its revisions mean something else.
    for port in 1..=10 {
        put(&etcd, "browser-node/kept", &text(&record("kept", port))).await;
    }
    put(&etcd, "browser-node/new", &text(&record("new", 4))).await;
    relay.set(Pace::Free);
    let told = without_errors(seen.follow(&mut changes, |nodes| nodes.contains_key("new")).await);
    assert_eq!(seen.0.keys().collect::<Vec<_>>(), ["kept", "new"], "{told:?}");
    assert_eq!(seen.0["kept"].port, 10);
    assert!(!told.iter().any(|change| matches!(change, Change::Reset(_))), "{told:?}");
}

/// How many watches were opened.
async fn watches(etcd: &Etcd) -> u64 {
    etcd.metric("grpc_server_started_total", "grpc_method=\"Watch\"").await.expect("etcd counts")
}

#[tokio::test]
async fn a_watch_that_is_quiet_for_long_is_opened_anew_and_misses_nothing() {
    let etcd = start().await;
    let (_proxy, mut changes, _seen) = watched(&etcd).await;
    let opened = watches(&etcd).await;
    let following = tokio::spawn(async move { changes.next().await });
    // It is waiting for the next line before the clock moves.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(56)).await;
    tokio::time::resume();
    let reopening = async {
        while watches(&etcd).await == opened {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(DEADLINE, reopening).await.expect("it is opened anew");
    put(&etcd, "browser-node/new", &text(&record("new", 4))).await;
    let told = tokio::time::timeout(DEADLINE, following).await.expect("in time").expect("no panic");
    assert_eq!(told, Some(Ok(added(&record("new", 4)))), "and nothing but that");
}
