//! Watching by blocking queries: the question carries the index of the last answer and is answered when that is past.
//!
//! Rules from Consul's own documentation ("Blocking Queries"): an index that goes back starts over; 0 is never sent;
//! the client waits longer than it asks the server to, since the server adds up to a sixteenth; errors back off.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};

use super::{ConsulCatalog, LIST_DEADLINE};
use crate::{
    catalog::{Change, ChangeStream},
    changes::Known,
    error::{CatalogError, Cause},
    retry::Backoff,
};

/// How long the server may hold a question. Longer: a connection that died silently goes unnoticed for as long, and
/// middleboxes forget it (60 s is usual); shorter: more idle traffic.
const WAIT: Duration = Duration::from_secs(55);
/// What the answer may take beyond that: the server's jitter of a sixteenth, and the way.
const WAIT_DEADLINE: Duration = Duration::from_secs(WAIT.as_secs() + WAIT.as_secs() / 16 + 5);
/// Least time between two questions, so that a busy catalog cannot make this a busy loop. Longer: changes in quick
/// succession are seen later.
const LEAST_PAUSE: Duration = Duration::from_millis(10);
/// The same where the answer has no index (not Consul, or a proxy that drops it), so that nothing can be waited for.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// What the next question may wait past: `None` asks without waiting.
fn next_index(asked: Option<u64>, answered: Option<u64>) -> Option<u64> {
    match (asked, answered) {
        (Some(asked), Some(answered)) if answered < asked => None,
        (_, answered) => answered.map(|index| index.max(1)),
    }
}

struct Watch {
    catalog: ConsulCatalog,
    index: Option<u64>,
    known: Known,
    backoff: Backoff,
    pause: Duration,
}

pub(super) fn changes(catalog: ConsulCatalog) -> ChangeStream {
    let watch = Watch {
        catalog,
        index: None,
        known: Known::default(),
        backoff: Backoff::default(),
        pause: Duration::ZERO,
    };
    stream::unfold(watch, |mut watch| async move {
        tokio::time::sleep(watch.pause).await;
        let items = watch.step().await;
        Some((stream::iter(items), watch))
    })
    .flatten()
    .boxed()
}

impl Watch {
    async fn step(&mut self) -> Vec<Result<Change, CatalogError>> {
        match self.ask().await {
            Ok(changes) => {
                self.backoff.succeeded();
                changes.into_iter().map(Ok).collect()
            }
            Err(cause) => {
                // A registry that came back empty counts from the start: an old index would wait for nothing.
                self.index = None;
                self.pause = self.backoff.failed();
                vec![Err(cause.of(&self.catalog.uri))]
            }
        }
    }

    async fn ask(&mut self) -> Result<Vec<Change>, Cause> {
        let path = self.catalog.path();
        let answer = match self.index {
            None => self.catalog.agent.get(&path, LIST_DEADLINE).await?,
            Some(index) => {
                let path = format!("{path}&index={index}&wait={}s", WAIT.as_secs());
                self.catalog.agent.get_held(&path, WAIT_DEADLINE).await?
            }
        };
        let listing = self.catalog.understand(&answer)?;
        self.catalog.agent.meter().heard();
        let index = answer.header("X-Consul-Index").and_then(|text| text.parse().ok());
        self.index = next_index(self.index, index);
        self.pause = if index.is_some() { LEAST_PAUSE } else { POLL_INTERVAL };
        Ok(self.known.learn(listing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_goes_on_starts_over_and_is_never_zero() {
        assert_eq!(next_index(None, Some(7)), Some(7));
        assert_eq!(next_index(Some(7), Some(7)), Some(7));
        assert_eq!(next_index(Some(7), Some(9)), Some(9));
        assert_eq!(next_index(Some(7), Some(6)), None, "went back");
        assert_eq!(next_index(None, Some(0)), Some(1), "zero would not wait");
        assert_eq!(next_index(Some(1), Some(0)), None);
        assert_eq!(next_index(Some(7), None), None);
    }

    #[test]
    fn the_client_waits_longer_than_the_server() {
        assert!(WAIT_DEADLINE > WAIT + WAIT / 16);
    }
}
