//! Where `connect` starts: from the last answers, while the registries are asked beside.

use std::{collections::HashMap, time::Duration};

use cbrowse_registry::{Catalog, CatalogUri, Listing, Options, Query, merge};
use futures_util::{FutureExt as _, future::BoxFuture};
use tokio_util::task::AbortOnDropHandle;

use super::{Cache, catalogs, list, open_cached, recall, remark};
use crate::{
    context::Globals,
    failure::{Exit, Failure},
    output::Output,
};

/// What is known at once.
pub struct Start {
    /// The nodes to begin with.
    pub listing: Listing,
    /// What the registries say to that; `None` where they have just said it.
    pub refresh: Option<Refresh>,
}

/// The registries' own answer, which is kept for the next time.
pub struct Refresh {
    /// Not asked yet: what is known is young.
    ask: Option<BoxFuture<'static, Result<Listing, Failure>>>,
    running: Option<AbortOnDropHandle<Result<Listing, Failure>>>,
}

/// Begins with the last answers where every registry has one that is young enough, else with what they say now. A file
/// of the user's own is read, not remembered.
pub async fn start(globals: &Globals) -> Result<Start, Failure> {
    let (uris, cache) = (catalogs(globals)?, Cache::of(globals));
    let options = Options::of_process();
    let catalogs = open_cached(&uris, &cache, &options)?;
    match known(&uris, &catalogs, &cache).await {
        Some((listing, age)) => {
            let is_young = age < cache.rules().refresh;
            let ask = async move { list(&catalogs).await }.boxed();
            let mut refresh = Refresh { ask: Some(ask), running: None };
            if !is_young {
                refresh.begin();
            }
            Ok(Start { listing, refresh: Some(refresh) })
        }
        None => Ok(Start { listing: list(&catalogs).await?, refresh: None }),
    }
}

/// Begins with the last answers alone, however old they are; no registry is asked, and no refresh follows. A file of the
/// user's own is read.
pub async fn remembered(globals: &Globals) -> Result<Listing, Failure> {
    let (uris, cache) = (catalogs(globals)?, Cache::of(globals));
    let own: Vec<CatalogUri> = uris.iter().filter(|uri| uri.is_own_file()).cloned().collect();
    if own.is_empty() {
        return recall(globals, &Query::default()).map(|(listing, _)| listing);
    }
    let mut answers = Vec::new();
    let opened = open_cached(&own, &cache, &Options::of_process())?;
    for (uri, catalog) in own.iter().zip(&opened) {
        let listing = catalog.list().await.unwrap_or_else(|error| without_nodes(&error));
        answers.push((uri.to_string(), listing));
    }
    for uri in uris.iter().filter(|uri| !uri.is_own_file()) {
        let cached = cache.load(uri, &Query::default()).map(|cached| cached.listing);
        answers.push((uri.to_string(), cached.unwrap_or_else(|error| without_nodes(&error))));
    }
    Ok(merge(answers.iter_mut().map(|(name, listing)| (&**name, std::mem::take(listing)))))
}

fn without_nodes(error: &impl ToString) -> Listing {
    Listing { warnings: vec![error.to_string()], ..Listing::default() }
}

/// What can be begun with, and the age of the oldest answer in it.
async fn known(
    uris: &[CatalogUri],
    catalogs: &[Box<dyn Catalog>],
    cache: &Cache,
) -> Option<(Listing, Duration)> {
    let (mut answers, mut oldest) = (Vec::new(), None);
    for (uri, catalog) in uris.iter().zip(catalogs) {
        let listing = if uri.is_own_file() {
            catalog.list().await.ok()?
        } else {
            let cached = cache.load(uri, &Query::default()).ok()?;
            if !cached.is_younger(cache.rules().ttl) {
                return None;
            }
            oldest = oldest.max(Some(cached.age()));
            cached.listing
        };
        answers.push((uri.to_string(), listing));
    }
    let listing = merge(answers.iter_mut().map(|(name, listing)| (&**name, std::mem::take(listing))));
    oldest.filter(|_| !listing.nodes.is_empty()).map(|age| (listing, age))
}

impl Refresh {
    /// Whether the registries are being asked.
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    fn begin(&mut self) {
        self.running = self.ask.take().map(|ask| AbortOnDropHandle::new(tokio::spawn(ask)));
    }

    /// Their answer, asked for now unless it was before. Cancel safe; must not be called again once it has ended.
    pub async fn wait(&mut self) -> Result<Listing, Failure> {
        if self.running.is_none() {
            self.begin();
        }
        let gone = || Failure::new(Exit::Bug, "panic", "the catalogs were asked twice");
        let ended = self.running.as_mut().ok_or_else(gone)?.await;
        self.running = None;
        ended.unwrap_or_else(|error| {
            Err(Failure::new(Exit::Bug, "panic", format!("a task ended early: {error}")))
        })
    }
}

/// What a refreshed listing changes: `None` when the nodes are those that were known. Warnings that are new are said.
pub fn news(output: &Output, known: &Listing, fresh: Result<Listing, Failure>) -> Option<Listing> {
    let fresh = match fresh {
        Ok(fresh) => fresh,
        Err(failure) => {
            output.warn(format_args!("{failure}; using what the catalogs said before"));
            return None;
        }
    };
    let mut said = fresh.clone();
    said.warnings.retain(|warning| !known.warnings.contains(warning));
    remark(output, &said);
    changes(known, &fresh).then_some(fresh)
}

/// An empty answer with a warning, or of rejected entries alone, is one that was cut short or spoilt, or of a registry
/// that has just restarted; nobody who was known is gone by that.
fn changes(known: &Listing, fresh: &Listing) -> bool {
    let says_nothing = fresh.nodes.is_empty() && !(fresh.warnings.is_empty() && fresh.rejected.is_empty());
    !says_nothing && !has_same_nodes(known, fresh)
}

/// Order says nothing.
fn has_same_nodes(one: &Listing, other: &Listing) -> bool {
    let known: HashMap<_, _> = one.nodes.iter().map(|record| (&record.id, record)).collect();
    one.nodes.len() == other.nodes.len()
        && other.nodes.iter().all(|record| known.get(&record.id) == Some(&record))
        && one.names == other.names
}

#[cfg(test)]
mod tests {
    use std::slice;

    use cbrowse_protocol::node::NodeRecord;

    use super::*;
    use crate::discover::cache;

    fn listing(nodes: &[(&str, u16)]) -> Listing {
        let record = |(id, port): &(&str, u16)| -> NodeRecord {
            serde_json::from_value(serde_json::json!({"id": id, "address": "127.0.0.1", "port": port}))
                .expect("a record")
        };
        Listing { nodes: nodes.iter().map(record).collect(), ..Listing::default() }
    }

    #[test]
    fn only_nodes_that_differ_are_news() {
        let known = listing(&[("a", 1), ("b", 1)]);
        assert!(!changes(&known, &listing(&[("b", 1), ("a", 1)])), "order is none");
        assert!(changes(&known, &listing(&[("a", 1)])), "one is gone");
        assert!(changes(&known, &listing(&[("a", 1), ("b", 2)])), "one has moved");
        assert!(changes(&known, &listing(&[("a", 1), ("b", 1), ("c", 1)])), "one is new");
        assert!(changes(&known, &Listing::default()), "all are gone");
        let hidden = Listing { warnings: vec!["a policy hides some nodes".into()], ..Listing::default() };
        assert!(!changes(&known, &hidden));
        let reason = cbrowse_registry::Rejected { catalog: None, entry: "a".into(), reason: "port 0".into() };
        let spoilt = Listing { rejected: vec![reason], ..Listing::default() };
        assert!(!changes(&known, &spoilt));
    }

    #[tokio::test]
    async fn a_copy_from_the_future_is_not_young_for_ever() {
        let directory = tempfile::tempdir().expect("a directory");
        let rules =
            cache::Rules { ttl: Duration::from_secs(3600), refresh: Duration::from_secs(10), size: 1 << 20 };
        let cache = Cache::new(directory.path().to_owned(), rules);
        let uri: CatalogUri = "consul://127.0.0.1:1".parse().expect("a catalog");
        let catalogs = open_cached(slice::from_ref(&uri), &cache, &Options::default()).expect("opened");
        let store = |time| cache.store(&uri, &Query::default(), &listing(&[("a", 1)]), time).expect("stored");
        store(cache::now());
        assert!(known(slice::from_ref(&uri), &catalogs, &cache).await.is_some());
        // Kept while the clock was a day ahead.
        store(cache::now() + 86_400);
        assert!(
            known(slice::from_ref(&uri), &catalogs, &cache).await.is_none(),
            "nobody knows how old it is"
        );
    }

    #[tokio::test]
    async fn an_answer_that_nobody_waits_for_is_asked_for_when_somebody_does() {
        let ask = async { Ok(Listing::default()) }.boxed();
        let mut refresh = Refresh { ask: Some(ask), running: None };
        assert!(!refresh.is_running());
        assert_eq!(refresh.wait().await, Ok(Listing::default()));
        assert!(!refresh.is_running());
        assert!(refresh.wait().await.is_err());
    }
}
