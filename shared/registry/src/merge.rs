//! Several catalogs at once: asked side by side, each with its own deadline, merged by node id and identity.

mod union;

use std::time::Duration;

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::time::{Instant, sleep_until, timeout};

use self::union::Union;
use crate::{
    catalog::{Catalog, Listing},
    error::{CatalogError, Cause},
};

/// Longest one catalog may take while nobody else has named a node. Longer: one that hangs delays every connect;
/// shorter: a far registry that answers is dropped. The adapters' own deadlines are shorter and name their cause better.
const LIST_DEADLINE: Duration = Duration::from_secs(10);
/// How long the others are waited for once one catalog has named nodes. Longer: a registry that hangs is felt at every
/// connect; shorter: one on another continent, with TLS to agree on first, is left out of every list.
const GRACE: Duration = Duration::from_millis(1500);

/// Lists all of them. One that fails, or hangs while another has named nodes, costs a warning; when all fail, the error
/// names each with its cause.
pub async fn list_all(catalogs: &[Box<dyn Catalog>]) -> Result<Listing, CatalogError> {
    let mut errors = Vec::new();
    let mut listings = Vec::new();
    for (catalog, answer) in catalogs.iter().zip(ask_all(catalogs).await) {
        match answer {
            Ok(listing) => listings.push((catalog.uri().to_string(), listing)),
            Err(error) => errors.push(error),
        }
    }
    if errors.len() == catalogs.len() && !errors.is_empty() {
        return Err(if errors.len() == 1 { errors.remove(0) } else { CatalogError::All(errors) });
    }
    let mut merged =
        merge(listings.iter_mut().map(|(catalog, listing)| (&**catalog, std::mem::take(listing))));
    merged.warnings.extend(errors.iter().map(ToString::to_string));
    Ok(merged)
}

/// One listing out of several, each with its catalog's name, the preferred one first. Nothing of a catalog that could
/// not be read is in it.
pub fn merge<'a>(answers: impl IntoIterator<Item = (&'a str, Listing)>) -> Listing {
    let mut union = Union::default();
    for (catalog, listing) in answers {
        union.add(catalog, listing);
    }
    union.finish()
}

/// What each of them says, in their order.
async fn ask_all(catalogs: &[Box<dyn Catalog>]) -> Vec<Result<Listing, CatalogError>> {
    let started = Instant::now();
    let mut answers: Vec<Option<Result<Listing, CatalogError>>> = catalogs.iter().map(|_| None).collect();
    let mut asking: FuturesUnordered<_> = (0..)
        .zip(catalogs)
        .map(|(index, catalog)| async move { (index, list_in_time(&**catalog).await) })
        .collect();
    let mut end = None;
    loop {
        let answered = match end {
            None => asking.next().await,
            Some(end) => tokio::select! {
                biased;
                answered = asking.next() => answered,
                () = sleep_until(end) => None,
            },
        };
        let Some((index, answer)) = answered else { break };
        if end.is_none() && answer.as_ref().is_ok_and(|listing: &Listing| !listing.nodes.is_empty()) {
            end = Some(Instant::now() + GRACE);
        }
        let slot: &mut Option<_> = &mut answers[index];
        *slot = Some(answer);
    }
    drop(asking);
    let waited = in_tenths(started.elapsed());
    let late = |catalog: &dyn Catalog| catalog.without_answer(Cause::Deadline(waited).of(catalog.uri()));
    answers
        .into_iter()
        .zip(catalogs)
        .map(|(answer, catalog)| answer.unwrap_or_else(|| late(&**catalog)))
        .collect()
}

async fn list_in_time(catalog: &dyn Catalog) -> Result<Listing, CatalogError> {
    let answer = timeout(LIST_DEADLINE, catalog.list()).await;
    answer.unwrap_or_else(|_| catalog.without_answer(Cause::Deadline(LIST_DEADLINE).of(catalog.uri())))
}

/// Of seconds, as people are told it.
fn in_tenths(duration: Duration) -> Duration {
    Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX) / 100 * 100)
}

#[cfg(test)]
mod tests {
    use cbrowse_protocol::node::NodeRecord;
    use futures_util::{FutureExt as _, future::BoxFuture};

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
        assert_eq!(found, ["a", "10.0.0.2:7443"]);
    }

    fn hanging(name: &str) -> Box<dyn Catalog> {
        Box::new(Fixed(CatalogUri::File(name.into()), None))
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_down_or_hangs_costs_a_warning_and_the_grace() {
        let started = Instant::now();
        let catalogs = [down("x"), hanging("hang"), holding("y", &[record("a", "10.0.0.1")])];
        let listing = list_all(&catalogs).await.unwrap();
        assert_eq!(started.elapsed(), GRACE);
        assert_eq!((listing.nodes.len(), listing.warnings.len()), (1, 2));
        assert!(listing.warnings[0].contains("file:x") && listing.warnings[0].contains("connection refused"));
        assert!(listing.warnings[1].contains("file:hang") && listing.warnings[1].contains("1.5 s"));
    }

    /// Answers with one node, after a while.
    struct Late(CatalogUri, NodeRecord, Duration);

    impl Catalog for Late {
        fn uri(&self) -> &CatalogUri {
            &self.0
        }
        fn list(&self) -> BoxFuture<'_, Result<Listing, CatalogError>> {
            let answer = Listing { nodes: vec![self.1.clone()], ..Listing::default() };
            tokio::time::sleep(self.2).map(|()| Ok(answer)).boxed()
        }
        fn watch(&self) -> ChangeStream {
            futures_util::stream::pending().boxed()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_grace_holds_below_and_above() {
        let instant = Duration::from_millis(1);
        for (late, nodes) in [(GRACE.saturating_sub(instant), 2), (GRACE + instant, 1)] {
            let late = Late(CatalogUri::File("x".into()), record("b", "10.0.0.2"), late);
            let catalogs = [Box::new(late) as Box<dyn Catalog>, holding("y", &[record("a", "10.0.0.1")])];
            let listing = list_all(&catalogs).await.unwrap();
            assert_eq!((listing.nodes.len(), listing.warnings.len()), (nodes, 2 - nodes));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_have_answered_nothing_is_waited_for() {
        let started = Instant::now();
        list_all(&[down("x"), holding("y", &[record("a", "10.0.0.1")])]).await.unwrap();
        assert_eq!(started.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn an_empty_or_failed_catalog_does_not_hurry_the_others() {
        let started = Instant::now();
        let listing = list_all(&[hanging("hang"), holding("y", &[]), down("x")]).await.unwrap();
        assert_eq!((started.elapsed(), listing.warnings.len()), (LIST_DEADLINE, 2));
        assert!(listing.warnings[0].contains("10 s"), "{:?}", listing.warnings);
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
