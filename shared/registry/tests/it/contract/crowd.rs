//! Many nodes, and what is left of one that ended in a hurry.

use std::{collections::BTreeMap, time::Duration};

use cbrowse_registry::{Change, stay_registered};
use futures_util::{StreamExt as _, stream};
use tokio::sync::watch;

use super::{LONG, SHORT, Server};
use crate::support::{Seen, catalog, ids, list, list_until, next_change, record, registry};

/// As many writes at once as a fleet that starts may cause.
const CONCURRENT: usize = 32;

pub(crate) async fn a_node_killed_without_a_farewell_leaves(server: impl Server) {
    let uri = server.uri();
    let mut changes = catalog(&uri).watch();
    assert!(matches!(next_change(&mut changes).await, Change::Reset(_)));
    let (_records, receiver) = watch::channel(record("n1", 1));
    let node = tokio::spawn(async move {
        stay_registered(&*registry(&uri), receiver, SHORT, std::future::pending()).await
    });
    let mut seen = Seen::default();
    seen.follow(&mut changes, |nodes| nodes.contains_key("n1")).await;
    // Several times its heartbeat: it stays for as long as it says that it lives.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(ids(&list(&*catalog(&server.uri())).await), ["n1"]);
    node.abort();
    seen.follow(&mut changes, BTreeMap::is_empty).await;
    assert_eq!(list(&*catalog(&server.uri())).await.nodes, []);
}

pub(crate) async fn a_restarted_node_outlives_its_former_self(server: impl Server) {
    let (catalog, registry) = (catalog(&server.uri()), registry(&server.uri()));
    drop(registry.register(&record("n1", 1), SHORT).await.expect("registers"));
    let mut again = registry.register(&record("n1", 2), LONG).await.expect("registers in its place");
    tokio::time::sleep(Duration::from_secs(5)).await;
    let listing = list(&*catalog).await;
    assert_eq!(listing.nodes, [record("n1", 2)], "what the former one left has run out by now");
    again.deregister().await.expect("deregisters");
    list_until(&*catalog, |listing| listing.nodes.is_empty()).await;
}

pub(crate) async fn a_thousand_nodes_are_listed_and_watched(server: impl Server) {
    const COUNT: u16 = 1_000;
    let (catalog, registry) = (catalog(&server.uri()), registry(&server.uri()));
    let mut changes = catalog.watch();
    assert!(matches!(next_change(&mut changes).await, Change::Reset(_)));
    let nodes: Vec<_> = (1..=COUNT).map(|port| record(&format!("n{port:04}"), port)).collect();
    let mut seen = Seen::default();
    let registering = stream::iter(&nodes).map(|node| registry.register(node, LONG)).buffered(CONCURRENT);
    let (registrations, _) = tokio::join!(
        registering.map(|registered| registered.expect("registers")).collect::<Vec<_>>(),
        seen.follow(&mut changes, |nodes| nodes.len() == usize::from(COUNT)),
    );
    assert!(seen.0.values().eq(&nodes), "each as it was registered");
    let mut listing = list_until(&*catalog, |listing| listing.nodes.len() == usize::from(COUNT)).await;
    listing.nodes.sort_by(|a, b| a.id.cmp(&b.id));
    assert_eq!(listing.nodes, nodes);
    assert_eq!((listing.rejected, listing.warnings), (vec![], vec![]));
    let mut last = registrations.into_iter().next_back().expect("a thousand");
    last.deregister().await.expect("deregisters");
    let told = seen.follow(&mut changes, |nodes| nodes.len() < usize::from(COUNT)).await;
    let removed = Change::Remove(vec![nodes.last().expect("a thousand").id.clone()]);
    assert!(told.contains(&Ok(removed)), "{told:?}");
}
