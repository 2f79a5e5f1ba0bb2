//! The lease under which a record stands, and who else may touch it.

use std::time::Duration;

use cbrowse_protocol::node::Health;
use cbrowse_registry::{Change, Check, Kept};

use super::{put, start, text};
use crate::support::{Seen, added, catalog, ids, list, next_change, record, registry};

const LONG: Check = Check::Heartbeat(Duration::from_secs(300));

#[tokio::test]
async fn the_server_decides_how_long_a_lease_lasts() {
    let etcd = start().await;
    let registry = registry(&etcd.uri());
    // etcd grants no less than one and a half election timeouts, in whole seconds.
    let short = Check::Heartbeat(Duration::from_millis(100));
    let registration = registry.register(&record("n1", 1), short).await.expect("registers");
    assert_eq!(registration.interval(), Duration::from_secs(2) / 3);
    for check in [Check::Https, Check::Http, Check::Tcp, Check::Grpc] {
        let registration = registry.register(&record("n2", 2), check).await.expect("registers");
        assert_eq!(registration.interval(), Duration::from_secs(5), "etcd asks no node: {check:?}");
    }
}

#[tokio::test]
async fn an_entry_that_somebody_removed_or_replaced_is_put_back() {
    let etcd = start().await;
    let node = record("n1", 1);
    let mut registration = registry(&etcd.uri()).register(&node, LONG).await.expect("registers");
    let (catalog, nodes) = (catalog(&etcd.uri()), [node]);
    for how in ["removed", "replaced", "lease revoked"] {
        match how {
            "removed" => drop(etcd.ctl(&["del", "browser-node/n1"]).await.expect("an operator removes it")),
            "replaced" => put(&etcd, "browser-node/n1", &text(&record("n1", 2))).await,
            _ => {
                let leases = etcd.ctl(&["lease", "list"]).await.expect("an operator looks");
                let lease = leases.lines().last().expect("one lease");
                etcd.ctl(&["lease", "revoke", lease]).await.expect("an operator revokes it");
            }
        }
        assert_ne!(list(&*catalog).await.nodes, nodes, "{how}");
        assert_eq!(registration.keep_alive().await, Ok(Kept::Again), "{how}");
        assert_eq!(list(&*catalog).await.nodes, nodes, "{how}");
        assert_eq!(registration.keep_alive().await, Ok(Kept::Alive), "{how}");
    }
}

#[tokio::test]
async fn a_farewell_takes_nothing_that_another_put_in_its_place() {
    let etcd = start().await;
    let registry = registry(&etcd.uri());
    let mut first = registry.register(&record("n1", 1), LONG).await.expect("registers");
    let _second = registry.register(&record("n1", 2), LONG).await.expect("registers in its place");
    first.deregister().await.expect("deregisters");
    assert_eq!(list(&*catalog(&etcd.uri())).await.nodes, [record("n1", 2)]);
}

#[tokio::test]
async fn an_update_brings_back_what_was_gone_and_carries_health() {
    let etcd = start().await;
    let mut node = record("n1", 1);
    let mut registration = registry(&etcd.uri()).register(&node, LONG).await.expect("registers");
    let mut changes = catalog(&etcd.uri()).watch();
    assert!(matches!(next_change(&mut changes).await, Change::Reset(listing) if ids(&listing) == ["n1"]));
    node.health = Health::Warning;
    registration.update(&node).await.expect("updates");
    assert_eq!(next_change(&mut changes).await, added(&node));
    node.health = Health::Critical;
    registration.update(&node).await.expect("updates");
    assert_eq!(next_change(&mut changes).await, Change::Remove(vec![node.id.clone()]), "it does not serve");

    let leases = etcd.ctl(&["lease", "list"]).await.expect("an operator looks");
    etcd.ctl(&["lease", "revoke", leases.lines().last().expect("one")])
        .await
        .expect("an operator revokes it");
    node.health = Health::Passing;
    registration.update(&node).await.expect("updates, under a new lease");
    Seen::default().follow(&mut changes, |nodes| nodes.get("n1") == Some(&node)).await;
    assert_eq!(registration.keep_alive().await, Ok(Kept::Alive));
}
