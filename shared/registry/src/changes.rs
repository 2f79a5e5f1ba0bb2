//! What differs between two listings, and how an adapter that can only list becomes a watch.

use std::{collections::BTreeMap, future::Future, time::Duration};

use cbrowse_protocol::{id::NodeId, node::NodeRecord};
use futures_util::stream::{self, BoxStream, StreamExt as _};

use crate::{
    catalog::{Change, ChangeStream, Listing},
    error::{CatalogError, Cause},
    reach::Reach,
    retry::Backoff,
    screen::by_id,
};

/// What a watcher has told so far.
#[derive(Debug, Default)]
pub(crate) enum Known {
    #[default]
    Nothing,
    Absent,
    Nodes(BTreeMap<NodeId, NodeRecord>),
}

impl Known {
    /// What to tell after a fresh listing; empty when nothing changed.
    pub(crate) fn learn(&mut self, listing: Listing) -> Vec<Change> {
        let Self::Nodes(known) = self else {
            *self = Self::Nodes(by_id(listing.nodes.clone()));
            return vec![Change::Reset(listing)];
        };
        let fresh = by_id(listing.nodes);
        let gone = known.keys().filter(|id| !fresh.contains_key(*id)).cloned().collect();
        let new = fresh.values().filter(|record| known.get(&record.id) != Some(record)).cloned().collect();
        *known = fresh;
        differences(gone, new, listing.names)
    }

    /// What to tell after only `fresh` and `gone` changed. Before a first listing there is nothing to amend.
    pub(crate) fn amend(&mut self, fresh: Listing, mut gone: Vec<NodeId>) -> Vec<Change> {
        let Self::Nodes(known) = self else { return Vec::new() };
        gone.retain(|id| known.remove(id).is_some());
        let mut new = fresh.nodes;
        new.retain(|record| known.insert(record.id.clone(), record.clone()).as_ref() != Some(record));
        differences(gone, new, fresh.names)
    }

    /// The nodes told of.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &NodeRecord> {
        let nodes = if let Self::Nodes(known) = self { Some(known.values()) } else { None };
        nodes.into_iter().flatten()
    }

    /// What to tell when the catalog is not there.
    pub(crate) fn learn_absence(&mut self) -> Vec<Change> {
        if matches!(self, Self::Absent) {
            return Vec::new();
        }
        *self = Self::Absent;
        vec![Change::DoesNotExist]
    }
}

fn differences(gone: Vec<NodeId>, new: Vec<NodeRecord>, mut names: BTreeMap<NodeId, Reach>) -> Vec<Change> {
    let mut changes = Vec::new();
    if !gone.is_empty() {
        changes.push(Change::Remove(gone));
    }
    if !new.is_empty() {
        names.retain(|id, _| new.iter().any(|record| record.id == *id));
        changes.push(Change::Add(Listing { nodes: new, names, ..Listing::default() }));
    }
    changes
}

/// A watch that goes on by steps for ever.
pub(crate) trait Stepping: Send + 'static {
    /// What a step tells of.
    type Item: Send + 'static;
    /// How long to wait before the next step.
    fn take_pause(&mut self) -> Duration;
    /// Waits for what comes next; errors are told, too, and the watch goes on after them.
    fn step(&mut self) -> impl Future<Output = Vec<Result<Self::Item, CatalogError>>> + Send;
}

/// What the steps of `watch` tell, one after another.
pub(crate) fn steps<W: Stepping>(watch: W) -> BoxStream<'static, Result<W::Item, CatalogError>> {
    stream::unfold(watch, |mut watch| async move {
        let pause = watch.take_pause();
        // Even a sleep of no time lasts until the timer's next tick.
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        let items = watch.step().await;
        Some((stream::iter(items), watch))
    })
    .flatten()
    .boxed()
}

/// Lists again and again: `list` answers with a listing and the pause until the next one.
pub(crate) fn poll<List, Answer>(list: List) -> ChangeStream
where
    List: Fn() -> Answer + Send + 'static,
    Answer: Future<Output = Result<(Listing, Duration), CatalogError>> + Send + 'static,
{
    let start = (list, Known::default(), Backoff::default(), Duration::ZERO);
    stream::unfold(start, |(list, mut known, mut backoff, pause)| async move {
        tokio::time::sleep(pause).await;
        let (items, pause) = match list().await {
            Ok((listing, pause)) => {
                backoff.succeeded();
                (known.learn(listing).into_iter().map(Ok).collect(), pause)
            }
            Err(CatalogError::One { cause: Cause::DoesNotExist(_), .. }) => {
                (known.learn_absence().into_iter().map(Ok).collect(), backoff.failed())
            }
            Err(error) => (vec![Err(error)], backoff.failed()),
        };
        Some((stream::iter::<Vec<_>>(items), (list, known, backoff, pause)))
    })
    .flatten()
    .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str, port: u16) -> NodeRecord {
        serde_json::from_value(serde_json::json!({"id": id, "address": "127.0.0.1", "port": port}))
            .expect("a record")
    }

    fn listing<const COUNT: usize>(nodes: [&NodeRecord; COUNT]) -> Listing {
        Listing { nodes: nodes.map(NodeRecord::clone).to_vec(), ..Listing::default() }
    }

    #[test]
    fn only_what_changed_is_told() {
        let (a, b, moved) = (record("a", 1), record("b", 1), record("b", 2));
        let mut known = Known::default();
        assert_eq!(known.learn(listing([&a])), [Change::Reset(listing([&a]))]);
        assert_eq!(known.learn(listing([&a])), []);
        assert_eq!(known.learn(listing([&a, &b])), [Change::Add(listing([&b]))]);
        assert_eq!(known.learn(listing([&b, &a])), [], "order is no change");
        let expected = [Change::Remove(vec![a.id.clone()]), Change::Add(listing([&moved]))];
        assert_eq!(known.learn(listing([&moved])), expected);
        assert_eq!(known.learn_absence(), [Change::DoesNotExist]);
        assert_eq!(known.learn_absence(), []);
        assert_eq!(known.learn(listing([])), [Change::Reset(listing([]))]);
    }

    #[test]
    fn an_amendment_leaves_the_others_alone() {
        let (a, b, moved) = (record("a", 1), record("b", 1), record("b", 2));
        let mut known = Known::default();
        assert_eq!(known.amend(listing([&a]), vec![]), [], "nothing was told yet");
        known.learn(listing([&a, &b]));
        assert_eq!(known.amend(listing([&b]), vec![]), []);
        assert_eq!(known.amend(listing([&moved]), vec![]), [Change::Add(listing([&moved]))]);
        let gone = vec![a.id.clone()];
        assert_eq!(known.amend(listing([]), gone.clone()), [Change::Remove(gone.clone())]);
        assert_eq!(known.amend(listing([]), gone), [], "it is gone already");
        assert_eq!(known.learn(listing([&moved])), [], "the next listing says the same");
    }

    #[tokio::test(start_paused = true)]
    async fn a_poll_survives_errors_and_keeps_what_is_known() {
        let answers = std::sync::Mutex::new(vec![
            Ok((listing([&record("b", 1)]), Duration::from_secs(1))),
            Err(Cause::Unreachable("down".into()).of(&"test")),
            Ok((listing([&record("a", 1)]), Duration::from_secs(1))),
        ]);
        let mut stream =
            poll(move || std::future::ready(answers.lock().unwrap().pop().expect("not asked again")));
        assert!(matches!(stream.next().await, Some(Ok(Change::Reset(_)))));
        assert!(matches!(stream.next().await, Some(Err(_))));
        assert_eq!(stream.next().await, Some(Ok(Change::Remove(vec![record("a", 1).id]))));
        assert_eq!(stream.next().await, Some(Ok(Change::Add(listing([&record("b", 1)])))));
    }
}
