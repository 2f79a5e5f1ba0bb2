//! Several catalogs at once: asked side by side, each with its own deadline, merged by node id, first named wins.

use std::{collections::HashMap, time::Duration};

use cbrowse_protocol::{
    id::NodeId,
    node::{NodeRecord, printable},
};
use futures_util::future::join_all;

use crate::{
    catalog::{Catalog, Listing},
    error::{CatalogError, Cause},
};

/// Longest one catalog may keep the others waiting. Longer: one that hangs delays every connect; shorter: a far
/// registry that answers is dropped. The adapters' own deadlines are shorter and name their cause better.
const LIST_DEADLINE: Duration = Duration::from_secs(10);

/// How much of a catalog's name stands beside an entry, in characters.
const SHOWN_LENGTH: usize = 200;

/// Lists all of them. One that fails costs a warning; when all do, the error names each with its cause.
pub async fn list_all(catalogs: &[Box<dyn Catalog>]) -> Result<Listing, CatalogError> {
    let answers = join_all(catalogs.iter().map(|catalog| list_in_time(&**catalog))).await;
    let mut heard = Vec::new();
    let mut errors = Vec::new();
    for (catalog, answer) in catalogs.iter().zip(answers) {
        match answer {
            Ok(listing) => heard.push((catalog.uri().to_string(), listing)),
            Err(error) => errors.push(error),
        }
    }
    if errors.len() == catalogs.len() && !errors.is_empty() {
        return Err(if errors.len() == 1 { errors.remove(0) } else { CatalogError::All(errors) });
    }
    let mut listing = merge(heard.iter_mut().map(|(catalog, listing)| (&**catalog, std::mem::take(listing))));
    listing.warnings.extend(errors.iter().map(ToString::to_string));
    Ok(listing)
}

/// One listing of several, each under its catalog's name; the first to name a node wins.
pub fn merge<'a>(answers: impl IntoIterator<Item = (&'a str, Listing)>) -> Listing {
    let mut merged = Merged::default();
    for (catalog, listing) in answers {
        merged.add(catalog, listing);
    }
    merged.finish()
}

async fn list_in_time(catalog: &dyn Catalog) -> Result<Listing, CatalogError> {
    let answer = tokio::time::timeout(LIST_DEADLINE, catalog.list()).await;
    answer.unwrap_or_else(|_| Err(Cause::Deadline(LIST_DEADLINE).of(catalog.uri())))
}

#[derive(Default)]
struct Merged {
    listing: Listing,
    /// Which catalog named an id, and where in the listing its record stands.
    origins: HashMap<NodeId, (String, usize)>,
}

impl Merged {
    fn add(&mut self, catalog: &str, mut listing: Listing) {
        for rejected in &mut listing.rejected {
            rejected.catalog = Some(printable(catalog, SHOWN_LENGTH));
        }
        self.listing.rejected.append(&mut listing.rejected);
        self.listing.warnings.extend(listing.warnings.iter().map(|warning| format!("{catalog}: {warning}")));
        for record in listing.nodes {
            let Some((first, index)) = self.origins.get(&record.id) else {
                let reach = listing.names.remove(&record.id);
                self.listing.names.extend(reach.map(|reach| (record.id.clone(), reach)));
                self.origins.insert(record.id.clone(), (catalog.to_owned(), self.listing.nodes.len()));
                self.listing.nodes.push(record);
                continue;
            };
            let known = &self.listing.nodes[*index];
            let warning = conflict(first, known, catalog, &record);
            self.listing.warnings.extend(warning);
        }
    }

    /// Plain DNS knows no names: an entry named by its endpoint is the node that another catalog names properly.
    fn finish(mut self) -> Listing {
        let nameless = |record: &NodeRecord| record.id.as_str() == record.endpoint();
        let named: std::collections::HashSet<String> =
            self.listing.nodes.iter().filter(|record| !nameless(record)).map(NodeRecord::endpoint).collect();
        self.listing.nodes.retain(|record| !nameless(record) || !named.contains(record.id.as_str()));
        self.listing
    }
}

fn conflict(first: &str, known: &NodeRecord, second: &str, other: &NodeRecord) -> Option<String> {
    if known.endpoint() != other.endpoint() {
        let (known_at, other_at) = (known.endpoint(), other.endpoint());
        return Some(format!(
            "node {} is at {known_at} in {first} and at {other_at} in {second}; the first is used",
            known.id
        ));
    }
    if known.identity.is_some() && other.identity.is_some() && known.identity != other.identity {
        return Some(format!(
            "node {} has another identity in {first} than in {second}; the first is used",
            known.id
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture};

    use super::*;
    use crate::{catalog::ChangeStream, reach::Reach, uri::CatalogUri};

    struct Fixed(CatalogUri, Option<Result<Listing, CatalogError>>);

    impl Catalog for Fixed {
        fn uri(&self) -> &CatalogUri {
            &self.0
        }
        fn list(&self) -> BoxFuture<'_, Result<Listing, CatalogError>> {
            match &self.1 {
                Some(answer) => std::future::ready(answer.clone()).boxed(),
                None => std::future::pending().boxed(),
            }
        }
        fn watch(&self) -> ChangeStream {
            futures_util::stream::pending().boxed()
        }
    }

    fn record(id: &str, address: &str) -> NodeRecord {
        serde_json::from_value(serde_json::json!({"id": id, "address": address, "port": 7443}))
            .expect("a record")
    }

    fn holding(name: &str, nodes: &[NodeRecord]) -> Box<dyn Catalog> {
        let listing = Listing { nodes: nodes.to_vec(), ..Listing::default() };
        Box::new(Fixed(CatalogUri::File(name.into()), Some(Ok(listing))))
    }

    fn down(name: &str) -> Box<dyn Catalog> {
        let uri = CatalogUri::File(name.into());
        let error = Cause::Unreachable("connection refused".into()).of(&uri);
        Box::new(Fixed(uri, Some(Err(error))))
    }

    #[tokio::test]
    async fn the_first_wins_and_a_conflict_is_said() {
        let first = holding("x", &[record("a", "10.0.0.1"), record("b", "10.0.0.2")]);
        let second =
            holding("y", &[record("b", "10.0.0.2"), record("a", "10.0.0.9"), record("c", "10.0.0.3")]);
        let listing = list_all(&[first, second]).await.unwrap();
        let found: Vec<_> = listing.nodes.iter().map(|n| (n.id.as_str(), n.address.as_str())).collect();
        assert_eq!(found, [("a", "10.0.0.1"), ("b", "10.0.0.2"), ("c", "10.0.0.3")]);
        assert_eq!(listing.warnings.len(), 1);
        for part in ["node a", "10.0.0.1", "file:x", "10.0.0.9", "file:y"] {
            assert!(listing.warnings[0].contains(part), "{part}: {}", listing.warnings[0]);
        }
    }

    #[tokio::test]
    async fn an_entry_named_by_its_endpoint_is_the_node_that_has_a_name() {
        let dns = holding("dns", &[record("10.0.0.1:7443", "10.0.0.1"), record("10.0.0.2:7443", "10.0.0.2")]);
        let consul = holding("consul", &[record("a", "10.0.0.1")]);
        let listing = list_all(&[dns, consul]).await.unwrap();
        let found: Vec<_> = listing.nodes.iter().map(|node| node.id.as_str()).collect();
        assert_eq!(found, ["10.0.0.2:7443", "a"]);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_down_or_hangs_costs_a_warning() {
        let hanging = Box::new(Fixed(CatalogUri::File("hang".into()), None));
        let listing =
            list_all(&[down("x"), hanging, holding("y", &[record("a", "10.0.0.1")])]).await.unwrap();
        assert_eq!((listing.nodes.len(), listing.warnings.len()), (1, 2));
        assert!(listing.warnings[0].contains("file:x") && listing.warnings[0].contains("connection refused"));
        assert!(listing.warnings[1].contains("file:hang") && listing.warnings[1].contains("10 s"));
    }

    #[tokio::test]
    async fn when_all_are_down_the_error_names_each() {
        let CatalogError::All(errors) = list_all(&[down("x"), down("y")]).await.unwrap_err() else {
            panic!("two errors are more than one");
        };
        assert_eq!(errors.len(), 2);
        assert!(matches!(list_all(&[down("x")]).await, Err(CatalogError::One { .. })));
        assert_eq!(list_all(&[]).await, Ok(Listing::default()));
    }

    #[tokio::test]
    async fn the_reach_of_a_name_is_that_of_the_catalog_that_won() {
        let with_reach = |name: &str, reach| -> Box<dyn Catalog> {
            let node = record("a", "node.example.com");
            let names = [(node.id.clone(), reach)].into();
            let listing = Listing { nodes: vec![node], names, ..Listing::default() };
            Box::new(Fixed(CatalogUri::File(name.into()), Some(Ok(listing))))
        };
        let listing =
            list_all(&[with_reach("x", Reach::Public), with_reach("y", Reach::Loopback)]).await.unwrap();
        assert!(!listing.permits(&listing.nodes[0].id, "127.0.0.1".parse().unwrap()));
    }
}
