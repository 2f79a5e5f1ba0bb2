//! A catalog of which only the nodes asked for are told: the same rule after every adapter, whatever its registry
//! filtered already.

use std::collections::BTreeSet;

use cbrowse_protocol::id::NodeId;
use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream};

use crate::{
    catalog::{Catalog, Change, ChangeStream, Listing},
    error::CatalogError,
    figures::Meter,
    query::Query,
    uri::CatalogUri,
};

/// An adapter and what is asked for.
pub(crate) struct Narrowed {
    catalog: Box<dyn Catalog>,
    query: Query,
    meter: Meter,
}

impl Narrowed {
    pub(crate) fn new(catalog: Box<dyn Catalog>, query: Query, meter: Meter) -> Self {
        Self { catalog, query, meter }
    }
}

impl Catalog for Narrowed {
    fn uri(&self) -> &CatalogUri {
        self.catalog.uri()
    }

    fn list(&self) -> BoxFuture<'_, Result<Listing, CatalogError>> {
        async {
            let listing = narrow(self.catalog.list().await?, &self.query);
            self.meter.knows(listing.nodes.len());
            Ok(listing)
        }
        .boxed()
    }

    fn watch(&self) -> ChangeStream {
        let mut told = Told { query: self.query.clone(), ids: BTreeSet::new() };
        let meter = self.meter.clone();
        let changes = self.catalog.watch().map(move |change| {
            let changes = match change {
                Ok(change) => told.tell(change).into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error)],
            };
            meter.knows(told.ids.len());
            stream::iter(changes)
        });
        changes.flatten().boxed()
    }
}

fn narrow(mut listing: Listing, query: &Query) -> Listing {
    listing.nodes.retain(|record| query.admits(record));
    if !listing.names.is_empty() {
        let ids: BTreeSet<&NodeId> = listing.nodes.iter().map(|record| &record.id).collect();
        listing.names.retain(|id, _| ids.contains(id));
    }
    listing
}

/// What a watcher was told of, so that a node which no longer meets the query is gone for it.
struct Told {
    query: Query,
    ids: BTreeSet<NodeId>,
}

impl Told {
    fn tell(&mut self, change: Change) -> Vec<Change> {
        match change {
            Change::Reset(listing) => {
                let listing = narrow(listing, &self.query);
                self.ids = listing.nodes.iter().map(|record| record.id.clone()).collect();
                vec![Change::Reset(listing)]
            }
            Change::Add(listing) => {
                let lost = listing.nodes.iter().filter(|record| !self.query.admits(record));
                let lost: Vec<NodeId> = lost
                    .filter(|record| self.ids.remove(&record.id))
                    .map(|record| record.id.clone())
                    .collect();
                let listing = narrow(listing, &self.query);
                self.ids.extend(listing.nodes.iter().map(|record| record.id.clone()));
                let removed = Some(lost).filter(|lost| !lost.is_empty()).map(Change::Remove);
                let added = Some(listing).filter(|listing| !listing.nodes.is_empty()).map(Change::Add);
                removed.into_iter().chain(added).collect()
            }
            Change::Remove(mut ids) => {
                ids.retain(|id| self.ids.remove(id));
                if ids.is_empty() { Vec::new() } else { vec![Change::Remove(ids)] }
            }
            Change::DoesNotExist => {
                self.ids.clear();
                vec![Change::DoesNotExist]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use cbrowse_protocol::node::NodeRecord;

    use super::*;

    fn record(id: &str, region: &str) -> NodeRecord {
        serde_json::from_value(
            serde_json::json!({"id": id, "address": "127.0.0.1", "port": 1, "region": region}),
        )
        .expect("a record")
    }

    fn listing<const COUNT: usize>(nodes: [&NodeRecord; COUNT]) -> Listing {
        Listing { nodes: nodes.map(NodeRecord::clone).to_vec(), ..Listing::default() }
    }

    #[test]
    fn a_node_that_leaves_the_query_is_gone_and_one_that_enters_it_is_new() {
        let (inside, outside) = (record("a", "eu"), record("a", "us"));
        let other = record("b", "us");
        let query = Query { regions: vec!["eu".into()], ..Query::default() };
        let mut told = Told { query, ids: BTreeSet::new() };
        assert_eq!(told.tell(Change::Reset(listing([&inside, &other]))), [Change::Reset(listing([&inside]))]);
        assert_eq!(told.tell(Change::Add(listing([&other]))), []);
        assert_eq!(told.tell(Change::Remove(vec![other.id.clone()])), []);
        assert_eq!(told.tell(Change::Add(listing([&outside]))), [Change::Remove(vec![inside.id.clone()])]);
        assert_eq!(told.tell(Change::Remove(vec![inside.id.clone()])), [], "it is gone already");
        assert_eq!(told.tell(Change::Add(listing([&inside]))), [Change::Add(listing([&inside]))]);
        assert_eq!(told.tell(Change::DoesNotExist), [Change::DoesNotExist]);
        assert_eq!(told.tell(Change::Remove(vec![inside.id])), []);
    }
}
