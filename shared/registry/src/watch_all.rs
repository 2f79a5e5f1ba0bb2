//! Several catalogs watched side by side: one table of nodes, told as events, and whether each catalog can be asked.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Instant,
};

use cbrowse_protocol::{id::NodeId, node::NodeRecord};
use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream, SelectAll},
};

use crate::{
    catalog::{Catalog, Change, Listing},
    error::{CatalogError, Cause},
    figures::{Figures, Meter},
    merge::merge,
    screen::by_id,
};

/// Without end. Nothing is asked unless it is polled.
pub type EventStream = BoxStream<'static, Event>;

/// What happened in the merged catalogs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Every catalog has answered, or failed to, for the first time: what was added until now is what there was.
    Ready {
        /// How many nodes there are.
        nodes: usize,
    },
    /// A node is new.
    Added(Box<NodeRecord>),
    /// A known node's record differs.
    Updated {
        /// As it is now.
        node: Box<NodeRecord>,
        /// Names of the fields that differ.
        changed: Vec<&'static str>,
    },
    /// A node is gone; this is what it was.
    Removed(Box<NodeRecord>),
    /// A catalog answers, for the first time or again.
    SourceUp {
        /// Its name.
        catalog: String,
    },
    /// A catalog cannot be asked, or no longer. What is known of it stays; it is asked again and again.
    SourceDown {
        /// Its name.
        catalog: String,
        /// Why.
        error: CatalogError,
    },
    /// What the user should know: a conflict between catalogs, nodes that a policy hides.
    Warning(String),
    /// A warning, in the same words, that holds no longer.
    Resolved(String),
}

/// Watches all of them. `figures` are those that the catalogs were opened with: they tell that a catalog answers again
/// although nothing changed in it.
pub fn watch_all(catalogs: &[Box<dyn Catalog>], figures: &Figures) -> EventStream {
    let numbered = catalogs.iter().enumerate();
    let streams = numbered.map(|(index, catalog)| catalog.watch().map(move |told| (index, told)).boxed());
    let watching = Watching {
        told: stream::select_all(streams),
        board: Board::new(catalogs.iter().map(|catalog| catalog.uri().to_string())),
        meters: catalogs.iter().map(|catalog| figures.meter(catalog.uri())).collect(),
        figures: figures.clone(),
    };
    let events = stream::unfold(watching, |mut watching| async move {
        let events = watching.next().await?;
        Some((stream::iter(events), watching))
    });
    events.flatten().boxed()
}

struct Watching {
    told: SelectAll<BoxStream<'static, (usize, Result<Change, CatalogError>)>>,
    board: Board,
    meters: Vec<Meter>,
    figures: Figures,
}

impl Watching {
    async fn next(&mut self) -> Option<Vec<Event>> {
        let word = self.figures.word();
        tokio::select! {
            told = self.told.next() => told.map(|(index, told)| self.board.learn(index, told, Instant::now())),
            () = word, if self.board.is_any_down() => {
                Some(self.board.recover(|index| self.meters[index].last_heard()))
            }
        }
    }
}

/// What every catalog said last, and what that comes to.
struct Board {
    sources: Vec<Source>,
    nodes: BTreeMap<NodeId, NodeRecord>,
    warnings: BTreeSet<String>,
    is_ready: bool,
}

struct Source {
    name: String,
    listing: Listing,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Unheard,
    Up,
    Down { since: Instant, error: CatalogError },
}

impl Board {
    fn new(names: impl Iterator<Item = String>) -> Self {
        let source = |name| Source { name, listing: Listing::default(), state: State::Unheard };
        let sources = names.map(source).collect();
        Self { sources, nodes: BTreeMap::new(), warnings: BTreeSet::new(), is_ready: false }
    }

    fn is_any_down(&self) -> bool {
        self.sources.iter().any(|source| matches!(source.state, State::Down { .. }))
    }

    /// Takes in what one catalog said.
    fn learn(&mut self, index: usize, told: Result<Change, CatalogError>, now: Instant) -> Vec<Event> {
        let source = &mut self.sources[index];
        let mut events = Vec::new();
        match told {
            Ok(Change::DoesNotExist) => {
                source.listing = Listing::default();
                let cause = Cause::DoesNotExist("there is nothing of that name; waiting for it".into());
                events.extend(source.fail(cause.of(&source.name), now));
            }
            Ok(change) => {
                events.extend(source.rise());
                source.change(change);
            }
            // What is known stays, so nothing has to be merged.
            Err(error) => {
                events.extend(source.fail(error, now));
                events.extend(self.get_ready());
                return events;
            }
        }
        self.settle(&mut events);
        events.extend(self.get_ready());
        events
    }

    /// The catalogs that had word after they failed.
    fn recover(&mut self, last_heard: impl Fn(usize) -> Option<Instant>) -> Vec<Event> {
        let mut events = Vec::new();
        for (index, source) in self.sources.iter_mut().enumerate() {
            if let State::Down { since, .. } = source.state
                && last_heard(index).is_some_and(|heard| heard > since)
            {
                events.extend(source.rise());
            }
        }
        events
    }

    /// Merges again, and tells what differs from before.
    fn settle(&mut self, events: &mut Vec<Event>) {
        let answers = self.sources.iter().map(|source| (&*source.name, source.listing.clone()));
        let Listing { nodes, warnings, .. } = merge(answers);
        let before = std::mem::replace(&mut self.nodes, by_id(nodes));
        let gone = before.values().filter(|record| !self.nodes.contains_key(&record.id));
        events.extend(gone.map(|record| Event::Removed(Box::new(record.clone()))));
        for record in self.nodes.values() {
            match before.get(&record.id) {
                None => events.push(Event::Added(Box::new(record.clone()))),
                Some(known) if known != record => {
                    let changed = differences(known, record);
                    events.push(Event::Updated { node: Box::new(record.clone()), changed });
                }
                Some(_) => {}
            }
        }
        let warnings: BTreeSet<String> = warnings.into_iter().collect();
        let resolved = self.warnings.difference(&warnings);
        events.extend(resolved.cloned().map(Event::Resolved));
        let new = warnings.difference(&self.warnings);
        events.extend(new.cloned().map(Event::Warning));
        self.warnings = warnings;
    }

    fn get_ready(&mut self) -> Option<Event> {
        let is_first =
            !self.is_ready && self.sources.iter().all(|source| !matches!(source.state, State::Unheard));
        self.is_ready |= is_first;
        is_first.then_some(Event::Ready { nodes: self.nodes.len() })
    }
}

impl Source {
    fn rise(&mut self) -> Option<Event> {
        let was_up = std::mem::replace(&mut self.state, State::Up) == State::Up;
        (!was_up).then(|| Event::SourceUp { catalog: self.name.clone() })
    }

    /// A failure that goes on is told once, and again when its cause is another one.
    fn fail(&mut self, error: CatalogError, now: Instant) -> Option<Event> {
        let known = matches!(&self.state, State::Down { error: known, .. } if *known == error);
        self.state = State::Down { since: now, error: error.clone() };
        (!known).then(|| Event::SourceDown { catalog: self.name.clone(), error })
    }

    fn change(&mut self, change: Change) {
        match change {
            Change::Reset(listing) => self.listing = listing,
            Change::Add(fresh) => self.add(fresh),
            Change::Remove(ids) => {
                let gone: BTreeSet<NodeId> = ids.into_iter().collect();
                self.listing.nodes.retain(|record| !gone.contains(&record.id));
                self.listing.names.retain(|id, _| !gone.contains(id));
            }
            Change::DoesNotExist => self.listing = Listing::default(),
        }
    }

    fn add(&mut self, fresh: Listing) {
        let nodes = &mut self.listing.nodes;
        let places: HashMap<NodeId, usize> =
            nodes.iter().enumerate().map(|(place, record)| (record.id.clone(), place)).collect();
        for record in fresh.nodes {
            self.listing.names.remove(&record.id);
            match places.get(&record.id) {
                Some(place) => nodes[*place] = record,
                None => nodes.push(record),
            }
        }
        self.listing.names.extend(fresh.names);
    }
}

/// The names of the fields in which two records of one node differ, as the JSON form calls them.
fn differences(before: &NodeRecord, after: &NodeRecord) -> Vec<&'static str> {
    let fields = [
        ("address", before.address != after.address),
        ("port", before.port != after.port),
        ("region", before.region != after.region),
        ("zone", before.zone != after.zone),
        ("version", before.version != after.version),
        ("tags", before.tags != after.tags),
        ("weight", before.weight != after.weight),
        ("capacity", before.capacity != after.capacity),
        ("browser_version", before.browser_version != after.browser_version),
        ("identity", before.identity != after.identity),
        ("statement", before.statement != after.statement),
        ("health", before.health != after.health),
        ("meta", before.meta != after.meta),
    ];
    fields.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests;
