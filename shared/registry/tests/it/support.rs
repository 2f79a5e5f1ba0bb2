//! Records to register, and how long to wait for what a registry does by itself.

pub(crate) mod authority;
pub(crate) mod rubbish;

use std::{collections::BTreeMap, time::Duration};

use cbrowse_protocol::node::NodeRecord;
use cbrowse_registry::{
    Catalog, CatalogError, CatalogUri, Change, ChangeStream, Listing, Options, Registry, open, open_registry,
};
use futures_util::StreamExt as _;
use serde_json::json;

/// Longest wait for anything in these tests; only a failure takes it.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) fn record(id: &str, port: u16) -> NodeRecord {
    serde_json::from_value(json!({
        "id": id, "address": "127.0.0.1", "port": port, "region": "eu-central", "zone": "eu-central-1a",
        "version": "0.1.0", "tags": ["fast", "größe-日本"], "weight": 5, "capacity": 4,
        "browser_version": "156.0.8078.79", "meta": {"rack": "r1 – ünïcode"}
    }))
    .expect("a record")
}

pub(crate) fn catalog(uri: &str) -> Box<dyn Catalog> {
    open(&uri.parse::<CatalogUri>().expect(uri), &Options::default()).expect(uri)
}

pub(crate) fn registry(uri: &str) -> Box<dyn Registry> {
    open_registry(&uri.parse::<CatalogUri>().expect(uri), &Options::default()).expect(uri)
}

pub(crate) fn added(node: &NodeRecord) -> Change {
    Change::Add(Listing { nodes: vec![node.clone()], ..Listing::default() })
}

/// In the order of their ids, which is no catalog's promise.
pub(crate) fn ids(listing: &Listing) -> Vec<&str> {
    let mut ids: Vec<_> = listing.nodes.iter().map(|node| node.id.as_str()).collect();
    ids.sort_unstable();
    ids
}

pub(crate) async fn list(catalog: &dyn Catalog) -> Listing {
    catalog.list().await.expect("a listing")
}

/// Asks until `done`: for what a registry does in its own time.
pub(crate) async fn list_until(catalog: &dyn Catalog, done: impl Fn(&Listing) -> bool) -> Listing {
    let waiting = async {
        loop {
            let listing = list(catalog).await;
            if done(&listing) {
                return listing;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(DEADLINE, waiting).await.expect("the catalog never came to say so")
}

pub(crate) async fn next_change(stream: &mut ChangeStream) -> Change {
    let next = tokio::time::timeout(DEADLINE, stream.next()).await.expect("no change came");
    next.expect("a watch has no end").expect("the registry answers")
}

/// What a watcher knows, by id.
#[derive(Debug, Default)]
pub(crate) struct Seen(pub(crate) BTreeMap<String, NodeRecord>);

impl Seen {
    pub(crate) fn take(&mut self, change: Change) {
        match change {
            Change::Reset(listing) => {
                self.0.clear();
                self.add(listing);
            }
            Change::Add(listing) => self.add(listing),
            Change::Remove(ids) => ids.iter().for_each(|id| drop(self.0.remove(id.as_str()))),
            Change::DoesNotExist => self.0.clear(),
        }
    }

    fn add(&mut self, listing: Listing) {
        self.0.extend(listing.nodes.into_iter().map(|node| (node.id.to_string(), node)));
    }

    /// Follows the watch, past errors, until `done`; what was told on the way.
    pub(crate) async fn follow(
        &mut self,
        stream: &mut ChangeStream,
        done: impl Fn(&BTreeMap<String, NodeRecord>) -> bool,
    ) -> Vec<Result<Change, CatalogError>> {
        let mut told = Vec::new();
        let following = async {
            while !done(&self.0) {
                let item = stream.next().await.expect("a watch has no end");
                if let Ok(change) = &item {
                    self.take(change.clone());
                }
                told.push(item);
            }
        };
        let in_time = tokio::time::timeout(DEADLINE, following).await;
        assert!(in_time.is_ok(), "the watch never came to say so: {told:?}");
        told
    }
}
