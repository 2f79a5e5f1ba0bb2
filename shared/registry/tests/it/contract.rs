//! What every registry that can be written to has to keep, whatever it is made of.
//!
//! An adapter joins by naming how its server starts: `contract!(Server::start)`. Its server answers `uri`, a catalog
//! that nodes can register in, and `restart_empty`, which makes it forget everything.

mod crowd;
mod trouble;

use std::{net::SocketAddr, time::Duration};

use cbrowse_registry::{CatalogError, Change, Check, Kept, list_all, stay_registered};
use futures_util::{StreamExt as _, future::join_all};
use tokio::sync::{oneshot, watch};

use crate::support::{DEADLINE, added, catalog, ids, list, list_until, next_change, record, registry};

/// Longer than any test, so that only those that mean to let it run out do.
const LONG: Check = Check::Heartbeat(Duration::from_secs(300));
/// Short, and long enough for a loaded machine to keep.
const SHORT: Check = Check::Heartbeat(Duration::from_secs(3));

pub(crate) use self::{crowd::*, trouble::*};

pub(crate) trait Server {
    fn uri(&self) -> String;
    async fn restart_empty(&mut self);
    fn kill(&mut self);

    /// Where it listens.
    fn address(&self) -> SocketAddr {
        let uri = self.uri();
        let (_, rest) = uri.split_once("://").expect(&uri);
        rest.split(['/', '?']).next().and_then(|address| address.parse().ok()).expect(&uri)
    }

    /// The same catalog, as if the server listened at `address`.
    fn uri_at(&self, address: SocketAddr) -> String {
        self.uri().replacen(&self.address().to_string(), &address.to_string(), 1)
    }
}

pub(crate) async fn a_registered_node_is_listed_whole(server: impl Server) {
    let node = record("n1", 7443);
    registry(&server.uri()).register(&node, LONG).await.expect("registers");
    let listing = list_until(&*catalog(&server.uri()), |listing| !listing.nodes.is_empty()).await;
    assert_eq!(listing.nodes, [node]);
    assert_eq!((listing.rejected, listing.warnings), (vec![], vec![]));
}

pub(crate) async fn a_deregistered_node_is_gone_and_gone_twice_is_no_error(server: impl Server) {
    let catalog = catalog(&server.uri());
    let registry = registry(&server.uri());
    let mut kept = registry.register(&record("kept", 1), LONG).await.expect("registers");
    let mut ended = registry.register(&record("ended", 2), LONG).await.expect("registers");
    list_until(&*catalog, |listing| listing.nodes.len() == 2).await;
    ended.deregister().await.expect("deregisters");
    let listing = list_until(&*catalog, |listing| listing.nodes.len() == 1).await;
    assert_eq!(ids(&listing), ["kept"]);
    ended.deregister().await.expect("what is gone is gone");
    assert_eq!(kept.keep_alive().await, Ok(Kept::Alive));
}

pub(crate) async fn a_watch_sees_add_update_and_remove(server: impl Server) {
    let mut changes = catalog(&server.uri()).watch();
    let Change::Reset(listing) = next_change(&mut changes).await else {
        panic!("a watch begins with all there is")
    };
    assert_eq!(ids(&listing), [""; 0]);
    let registry = registry(&server.uri());
    let node = record("n1", 7443);
    let mut registration = registry.register(&node, LONG).await.expect("registers");
    assert_eq!(next_change(&mut changes).await, added(&node));
    let mut updated = node.clone();
    updated.region = "us-east".into();
    updated.tags = vec!["slow".into()];
    registration.update(&updated).await.expect("updates");
    assert_eq!(next_change(&mut changes).await, added(&updated), "an update leaves no gap");
    registration.deregister().await.expect("deregisters");
    assert_eq!(next_change(&mut changes).await, Change::Remove(vec![node.id]));
}

pub(crate) async fn a_node_that_falls_silent_leaves_and_comes_back(server: impl Server) {
    let catalog = catalog(&server.uri());
    let registry = registry(&server.uri());
    let mut registration = registry.register(&record("n1", 1), SHORT).await.expect("registers");
    assert!(registration.interval() < Duration::from_secs(2), "a lost heartbeat is not the end");
    list_until(&*catalog, |listing| listing.nodes.len() == 1).await;
    list_until(&*catalog, |listing| listing.nodes.is_empty()).await;
    registration.keep_alive().await.expect("is heard again");
    list_until(&*catalog, |listing| listing.nodes.len() == 1).await;
}

pub(crate) async fn a_registry_that_forgot_gets_the_node_again(mut server: impl Server) {
    let catalog = catalog(&server.uri());
    let node = record("n1", 7443);
    let mut registration = registry(&server.uri()).register(&node, LONG).await.expect("registers");
    assert_eq!(registration.keep_alive().await, Ok(Kept::Alive));
    server.restart_empty().await;
    assert_eq!(list(&*catalog).await.nodes, []);
    assert_eq!(registration.keep_alive().await, Ok(Kept::Again));
    assert_eq!(list_until(&*catalog, |listing| !listing.nodes.is_empty()).await.nodes, [node]);
    assert_eq!(registration.keep_alive().await, Ok(Kept::Alive));
}

pub(crate) async fn a_watch_survives_a_restart(mut server: impl Server) {
    let node = record("n1", 1);
    registry(&server.uri()).register(&node, LONG).await.expect("registers");
    list_until(&*catalog(&server.uri()), |listing| listing.nodes.len() == 1).await;
    let mut changes = catalog(&server.uri()).watch();
    assert!(
        matches!(next_change(&mut changes).await, Change::Reset(listing) if listing.nodes == [node.clone()])
    );
    server.kill();
    let error = tokio::time::timeout(DEADLINE, changes.next()).await.expect("in time").expect("goes on");
    assert!(error.expect_err("nobody is there").is_transient());
    server.restart_empty().await;
    let other = record("n2", 2);
    registry(&server.uri()).register(&other, LONG).await.expect("registers");
    let mut seen = Vec::new();
    while !seen.contains(&added(&other)) {
        let change = tokio::time::timeout(DEADLINE, changes.next()).await.expect("in time").expect("goes on");
        seen.extend(change.ok());
    }
    assert!(seen.contains(&Change::Remove(vec![node.id])), "{seen:?}");
}

pub(crate) async fn staying_registered_outlives_a_restart_and_ends_with_a_farewell(mut server: impl Server) {
    let uri = server.uri();
    let catalog = catalog(&uri);
    let (records, receiver) = watch::channel(record("n1", 1));
    let (stop, stopped) = oneshot::channel::<()>();
    let staying = tokio::spawn(async move {
        let stopped = async { drop(stopped.await) };
        stay_registered(&*registry(&uri), receiver, SHORT, stopped).await
    });
    list_until(&*catalog, |listing| listing.nodes.len() == 1).await;
    records.send(record("n1", 2)).expect("somebody listens");
    list_until(&*catalog, |listing| listing.nodes.iter().any(|node| node.port == 2)).await;
    server.restart_empty().await;
    list_until(&*catalog, |listing| listing.nodes.iter().any(|node| node.port == 2)).await;
    stop.send(()).expect("somebody listens");
    staying.await.expect("no panic").expect("deregisters");
    assert_eq!(list_until(&*catalog, |listing| listing.nodes.is_empty()).await.nodes, []);
}

pub(crate) async fn many_register_at_once(server: impl Server) {
    const COUNT: u16 = 100;
    let registry = registry(&server.uri());
    let nodes: Vec<_> = (1..=COUNT).map(|port| record(&format!("n{port:03}"), port)).collect();
    let registrations = join_all(nodes.iter().map(|node| registry.register(node, LONG))).await;
    assert!(registrations.iter().all(Result::is_ok));
    let mut listing =
        list_until(&*catalog(&server.uri()), |listing| listing.nodes.len() == usize::from(COUNT)).await;
    listing.nodes.sort_by(|a, b| a.id.cmp(&b.id));
    assert_eq!(listing.nodes, nodes);
}

pub(crate) async fn a_dead_registry_is_named_with_its_cause(mut server: impl Server) {
    server.kill();
    let uri = server.uri();
    let catalogs = [catalog(&uri)];
    let error = catalogs[0].list().await.expect_err("nobody is there");
    assert!(error.is_transient(), "{error}");
    let text = error.to_string();
    assert!(text.contains(&uri) && text.contains("refused"), "{text}");
    assert_eq!(list_all(&catalogs).await, Err(error));
    let error = registry(&uri).register(&record("n1", 1), LONG).await.err().expect("nobody is there");
    assert!(error.is_transient() && error.to_string().contains(&uri), "{error}");
    assert!(
        matches!(list_all(&[catalog(&uri), catalog(&uri)]).await, Err(CatalogError::All(errors)) if errors.len() == 2)
    );
}

/// One test a promise, each with a server of its own; with `#[ignore = "…"]` after the server where that one is not
/// everywhere.
macro_rules! contract {
    ($start:path $(, #[$attribute:meta])?) => {
        $crate::contract::contract!($start, [$(#[$attribute])?]:
            a_registered_node_is_listed_whole,
            a_deregistered_node_is_gone_and_gone_twice_is_no_error,
            a_watch_sees_add_update_and_remove,
            a_node_that_falls_silent_leaves_and_comes_back,
            a_registry_that_forgot_gets_the_node_again,
            a_watch_survives_a_restart,
            staying_registered_outlives_a_restart_and_ends_with_a_farewell,
            many_register_at_once,
            a_dead_registry_is_named_with_its_cause,
            a_node_killed_without_a_farewell_leaves,
            a_restarted_node_outlives_its_former_self,
            a_thousand_nodes_are_listed_and_watched,
            what_begins_before_the_server_works_once_it_is_up,
            a_slow_server_is_waited_for_and_a_silent_one_holds_up_nobody,
            rubbish_is_named_and_harms_nothing,
        );
    };
    ($start:path: $($promise:ident),* $(,)?) => {
        $crate::contract::contract!($start, []: $($promise),*);
    };
    ($start:path, $attributes:tt: $($promise:ident),* $(,)?) => {
        $($crate::contract::contract!(@test $start, $attributes, $promise);)*
    };
    (@test $start:path, [$($attribute:tt)*], $promise:ident) => {
        #[tokio::test]
        $($attribute)*
        async fn $promise() {
            $crate::contract::$promise($start().await).await;
        }
    };
}
pub(crate) use contract;
