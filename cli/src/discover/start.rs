//! Where `connect` starts: from the last answers, while the registries are asked beside.

use std::{collections::HashMap, time::Duration};

use cbrowse_registry::{Catalog, CatalogUri, Listing, Options, Query, merge};
use futures_util::{FutureExt as _, future::BoxFuture};
use tokio_util::task::AbortOnDropHandle;

use super::{Cache, catalogs, list, open_cached, remark};
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
            let age = cached.age();
            if age >= cache.rules().ttl {
                return None;
            }
            oldest = oldest.max(Some(age));
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
    let is_same = has_same_nodes(known, &fresh);
    (!is_same).then_some(fresh)
}

/// Order says nothing.
fn has_same_nodes(one: &Listing, other: &Listing) -> bool {
    let known: HashMap<_, _> = one.nodes.iter().map(|record| (&record.id, record)).collect();
    one.nodes.len() == other.nodes.len()
        && other.nodes.iter().all(|record| known.get(&record.id) == Some(&record))
        && one.names == other.names
}
