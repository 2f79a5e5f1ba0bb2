//! Three members: one that dies, one that hangs, and two that are gone.

use std::{collections::BTreeMap, time::Duration};

use cbrowse_registry::{Change, Check, Environment, open, open_registry, stay_registered};
use cbrowse_testkit::etcd::Etcd;
use futures_util::StreamExt as _;
use tokio::sync::{oneshot, watch};

use crate::support::{DEADLINE, Seen, catalog, ids, list, record, registry};

const SHORT: Check = Check::Heartbeat(Duration::from_secs(5));

async fn start() -> [Etcd; 3] {
    Etcd::start_cluster(&[]).await.expect("etcd starts")
}

/// All members, the one at `first` before the others.
fn uri(members: &[Etcd; 3], first: usize) -> String {
    let address = |step: usize| members[(first + step) % 3].address().to_string();
    format!("etcd://{},{},{}", address(0), address(1), address(2))
}

async fn leader(members: &[Etcd; 3]) -> usize {
    for (index, member) in members.iter().enumerate() {
        let status = member.ctl(&["endpoint", "status", "-w", "json"]).await.expect("it answers");
        let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
        let status = &status[0]["Status"];
        if status["leader"] == status["header"]["member_id"] {
            return index;
        }
    }
    panic!("nobody leads");
}

#[tokio::test]
async fn when_the_leader_dies_watch_and_registration_go_on() {
    let mut members = start().await;
    let leader = leader(&members).await;
    let uri = uri(&members, leader);
    let mut changes = catalog(&uri).watch();
    let (records, receiver) = watch::channel(record("n1", 1));
    let (stop, stopped) = oneshot::channel::<()>();
    let at = uri.clone();
    let staying = tokio::spawn(async move {
        stay_registered(&*registry(&at), receiver, SHORT, async { drop(stopped.await) }).await
    });
    let mut seen = Seen::default();
    seen.follow(&mut changes, |nodes| nodes.contains_key("n1")).await;

    members[leader].kill();
    records.send(record("n1", 2)).expect("somebody listens");
    let mut told =
        seen.follow(&mut changes, |nodes| nodes.get("n1").is_some_and(|node| node.port == 2)).await;
    // Longer than the lease: it is renewed at another member.
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(list(&*catalog(&uri)).await.nodes, [record("n1", 2)]);
    records.send(record("n1", 3)).expect("somebody listens");
    told.extend(seen.follow(&mut changes, |nodes| nodes["n1"].port == 3).await);
    assert!(!told.iter().any(|item| matches!(item, Ok(Change::Remove(_) | Change::Reset(_)))), "{told:?}");

    stop.send(()).expect("somebody listens");
    staying.await.expect("no panic").expect("deregisters");
    seen.follow(&mut changes, BTreeMap::is_empty).await;
}

#[tokio::test]
async fn a_member_that_hangs_holds_up_neither_reading_nor_writing() {
    let members = start().await;
    let follower = (leader(&members).await + 1) % 3;
    let uri = uri(&members, follower);
    members[follower].pause().expect("it stops");
    let started = std::time::Instant::now();
    registry(&uri).register(&record("n1", 1), SHORT).await.expect("another member takes it");
    assert_eq!(ids(&list(&*catalog(&uri)).await), ["n1"]);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    members[follower].resume().expect("it goes on");
}

#[tokio::test]
async fn a_watch_at_a_member_without_a_leader_is_not_left_in_the_dark() {
    let mut members = start().await;
    // Only this one is known, and it stays.
    let uri = members[0].uri();
    super::put(&members[0], "browser-node/n1", &super::text(&record("n1", 1))).await;
    let mut changes = catalog(&uri).watch();
    let mut seen = Seen::default();
    seen.follow(&mut changes, |nodes| nodes.contains_key("n1")).await;
    let [_, second, third] = &mut members;
    second.kill();
    third.kill();
    let error = tokio::time::timeout(DEADLINE, changes.next()).await.expect("in time").expect("goes on");
    assert!(error.expect_err("two of three are gone").is_transient());
    let (second, third) = tokio::join!(second.restart(), third.restart());
    second.and(third).expect("they come back");
    super::put(&members[0], "browser-node/n2", &super::text(&record("n2", 2))).await;
    let told = seen.follow(&mut changes, |nodes| nodes.contains_key("n2")).await;
    assert!(!told.iter().any(|item| matches!(item, Ok(Change::Remove(_) | Change::Reset(_)))), "{told:?}");
}

#[tokio::test]
async fn endpoints_come_from_the_environment_where_the_uri_names_none() {
    let members = start().await;
    let endpoints = members.each_ref().map(|member| format!("http://{}", member.address())).join(",");
    let options = Environment::default().with("ETCDCTL_ENDPOINTS", &endpoints).into();
    let uri = "etcd:///fleet".parse().expect("a catalog");
    let registry = open_registry(&uri, &options).expect("opens");
    registry.register(&record("n1", 1), SHORT).await.expect("registers");
    assert_eq!(ids(&list(&*open(&uri, &options).expect("opens")).await), ["n1"]);
}
