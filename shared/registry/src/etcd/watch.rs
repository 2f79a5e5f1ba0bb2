//! Watching: list at a revision, then hear what happens from the next one on.
//!
//! | what happens | what is done |
//! |---|---|
//! | the connection breaks | heard again from the last revision on, at whichever member answers |
//! | nothing for a while | the same: what looks quiet may be a connection that died in silence |
//! | the revision is compacted away | listed again, and only the differences are told |
//! | it is another cluster at the same address | the same |
//! | a cap of the catalog is reached | the same: who fits is a matter of the whole |

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    time::Duration,
};

use cbrowse_protocol::{id::NodeId, node::NodeRecord};

use super::{
    EtcdCatalog, Revision,
    answer::{self, Entry, Event, Events, Word},
    client::{Deadline, Part, Range},
    entry,
    list::Anchor,
};
use crate::{
    catalog::{Change, ChangeStream, Listing},
    changes::{Known, Stepping, steps},
    error::{CatalogError, Cause},
    http::Lines,
    reach::Reach,
    retry::{Backoff, spread},
    screen::{MAX_NODES, MAX_NODES_PER_ADDRESS, screen},
};

/// How long a watch may be quiet before it is opened anew. Longer: a connection that died silently goes unnoticed for as
/// long, and middleboxes forget it (60 s is usual); shorter: more idle traffic.
const SPAN: Duration = Duration::from_secs(55);
/// Longest wait for the answer whether this is still the same cluster.
const ANCHOR_DEADLINE: Duration = Duration::from_secs(5);
/// Pause before a listing that no failure asked for. Shorter: a catalog at its caps is listed at every change.
const RELIST_PAUSE: Duration = Duration::from_secs(1);

struct Watch {
    catalog: EtcdCatalog,
    known: Known,
    /// The first revision that was not heard of; `None` when only a listing can tell.
    next: Option<Revision>,
    /// A listing was made just now, so that nobody else can have taken the cluster's place.
    is_fresh: bool,
    anchor: Option<Anchor>,
    lines: Option<Lines>,
    backoff: Backoff,
    pause: Duration,
}

pub(super) fn changes(catalog: EtcdCatalog) -> ChangeStream {
    let watch = Watch {
        catalog,
        known: Known::default(),
        next: None,
        is_fresh: false,
        anchor: None,
        lines: None,
        backoff: Backoff::default(),
        pause: Duration::ZERO,
    };
    steps(watch)
}

impl Stepping for Watch {
    type Item = Change;

    fn take_pause(&mut self) -> Duration {
        std::mem::take(&mut self.pause)
    }

    async fn step(&mut self) -> Vec<Result<Change, CatalogError>> {
        match self.advance().await {
            Ok(changes) => changes.into_iter().map(Ok).collect(),
            Err(cause) => {
                self.lines = None;
                self.pause = self.backoff.failed();
                vec![Err(cause.of(&self.catalog.uri))]
            }
        }
    }
}

impl Watch {
    async fn advance(&mut self) -> Result<Vec<Change>, Cause> {
        let Some(next) = self.next else { return self.list().await };
        if self.lines.is_none() {
            if !std::mem::take(&mut self.is_fresh) && !self.is_same_cluster().await? {
                self.next = None;
                return Ok(Vec::new());
            }
            let range = entry::below(&self.catalog.settings.prefix);
            self.lines = Some(self.catalog.client.watch(&range, next).await?);
        }
        self.hear().await
    }

    async fn list(&mut self) -> Result<Vec<Change>, Cause> {
        let snapshot = self.catalog.snapshot().await?;
        self.catalog.client.meter().heard();
        self.next = Some(snapshot.revision.next());
        self.anchor = snapshot.anchor;
        self.is_fresh = true;
        Ok(self.known.learn(snapshot.listing))
    }

    /// Whether what was written last is still there. Where it is not, the cluster may be another one whose revisions
    /// count from the start, and an old revision would wait for nothing or skip what went.
    async fn is_same_cluster(&self) -> Result<bool, Cause> {
        let Some(anchor) = &self.anchor else { return Ok(false) };
        let range = Range { key: anchor.key.clone(), part: Part::Keys, ..Range::default() };
        let (page, _) = self.catalog.client.range(&range, Deadline::within(ANCHOR_DEADLINE)).await?;
        Ok(page.entries.first().is_some_and(|entry| entry.mark == anchor.mark))
    }

    async fn hear(&mut self) -> Result<Vec<Change>, Cause> {
        let Some(lines) = &mut self.lines else { return Ok(Vec::new()) };
        let peer = lines.peer();
        match tokio::time::timeout(SPAN, lines.next()).await {
            Err(_) => {
                self.lines = None;
                Ok(Vec::new())
            }
            Ok(Ok(Some(line))) if line.is_empty() => Ok(Vec::new()),
            Ok(Ok(Some(line))) => self.understand(&line, peer),
            Ok(Ok(None)) => Err(self.counted(Cause::Unreachable("the watch ended".to_owned()))),
            Ok(Err(cause)) => Err(self.counted(cause)),
        }
    }

    fn understand(&mut self, line: &[u8], peer: Option<IpAddr>) -> Result<Vec<Change>, Cause> {
        let word = answer::watch_line(line).map_err(|cause| self.counted(cause))?;
        if let Word::Over(fault) = word {
            // What ends one watch may end the next one at the same place.
            self.next = None;
            return Err(self.counted(fault.cause()));
        }
        self.backoff.succeeded();
        self.catalog.client.meter().heard();
        match word {
            Word::Created | Word::Over(_) => Ok(Vec::new()),
            Word::Progress(revision) => {
                self.next = self.next.max(Some(revision.next()));
                Ok(Vec::new())
            }
            Word::Compacted => Ok(self.list_again()),
            Word::Events(events) => Ok(self.take(events, self.catalog.reach(peer))),
        }
    }

    fn take(&mut self, events: Events, reach: Reach) -> Vec<Change> {
        if let Some(revision) = events.revision {
            self.next = self.next.max(Some(revision.next()));
        }
        let prefix = &self.catalog.settings.prefix;
        let mut news = BTreeMap::new();
        for event in events.events {
            let (id, entry) = match event {
                Event::Put(entry) => (entry::id(prefix, &entry.key), Some(entry)),
                Event::Delete(key) => (entry::id(prefix, &key), None),
            };
            if let Some(entry) = &entry {
                let anchor = Anchor { key: entry.key.clone(), mark: entry.mark };
                self.anchor = Some(anchor.later(self.anchor.take()));
            }
            // A key that no node can have was never told of.
            if let Some(id) = id {
                news.insert(id, entry);
            }
        }
        let candidates = news.values().flatten().map(|entry| entry::candidate(prefix, entry));
        let fresh = screen(candidates, reach);
        if is_crowded(&self.known, &news, &fresh, reach) {
            return self.list_again();
        }
        let used: Vec<&NodeId> = fresh.nodes.iter().map(|record| &record.id).collect();
        let gone = news.into_keys().filter(|id| used.binary_search(&id).is_err()).collect();
        self.known.amend(fresh, gone)
    }

    fn list_again(&mut self) -> Vec<Change> {
        self.lines = None;
        self.next = None;
        self.pause = spread(RELIST_PAUSE);
        Vec::new()
    }

    /// What broke in an answer that was counted as a good one when it began.
    fn counted(&self, cause: Cause) -> Cause {
        self.catalog.client.meter().failed(&cause);
        cause
    }
}

/// Whether the caps of a catalog bear on what changed, so that the entries cannot be judged each by itself.
fn is_crowded(known: &Known, news: &BTreeMap<NodeId, Option<Entry>>, fresh: &Listing, reach: Reach) -> bool {
    if known.nodes().count() + fresh.nodes.len() > MAX_NODES {
        return true;
    }
    if reach >= Reach::Loopback {
        return false;
    }
    let mut at: HashMap<&str, usize> = HashMap::new();
    for record in known.nodes().chain(&fresh.nodes) {
        *at.entry(&record.address).or_default() += 1;
    }
    let touched = known.nodes().filter(|record| news.contains_key(&record.id)).chain(&fresh.nodes);
    touched.map(|record: &NodeRecord| at[record.address.as_str()]).any(|count| count >= MAX_NODES_PER_ADDRESS)
}

#[cfg(test)]
mod tests;
