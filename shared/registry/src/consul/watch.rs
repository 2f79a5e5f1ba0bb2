//! Watching by blocking queries: the question carries the index of the last answer and is answered when that is past.
//!
//! Rules from Consul's own documentation ("Blocking Queries"): an index that goes back starts over; 0 is never sent;
//! the client waits longer than it asks the server to, since the server adds up to a sixteenth; errors back off.
//! An index is also the word of the agent that gave it: another one may be behind, or of another cluster's making, and
//! would hold the question until it caught up. So another agent is asked without waiting.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, warn};

use super::{
    ConsulCatalog, LIST_DEADLINE, age_warning,
    agent::{Agent, Path},
};
use crate::{
    catalog::{Change, ChangeStream},
    changes::{Known, Stepping, steps},
    error::{CatalogError, Cause},
    http::Answer,
    retry::Backoff,
};

/// How long the server may hold a question. Longer: a connection that died silently goes unnoticed for as long, and
/// middleboxes forget it (60 s is usual); shorter: more idle traffic.
const WAIT: Duration = Duration::from_secs(55);
/// What the answer may take beyond that: the server's jitter of a sixteenth, and the way.
const WAIT_DEADLINE: Duration = Duration::from_secs(WAIT.as_secs() + WAIT.as_secs() / 16 + 5);
/// Least time between two questions, so that a busy catalog cannot make this a busy loop. Longer: changes in quick
/// succession are seen later.
pub(super) const LEAST_PAUSE: Duration = Duration::from_millis(10);
/// The same where the answer has no index (not Consul, or a proxy that drops it), so that nothing can be waited for.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// How long to wait before the next question: after one that asked from `asked` on and was answered with `answered`
/// after `took`. Whoever answers at once that nothing happened (a proxy that keeps answers, a server that knows no
/// `wait`) holds nothing back, and is polled.
pub(super) fn pause_after(asked: Option<u64>, answered: Option<u64>, took: Duration) -> Duration {
    match answered {
        None => POLL_INTERVAL,
        // 0 was asked for as 1.
        Some(index) if asked == Some(index.max(1)) && took < POLL_INTERVAL => POLL_INTERVAL,
        Some(_) => LEAST_PAUSE,
    }
}

/// What the next question may wait past: `None` asks without waiting.
pub(super) fn next_index(asked: Option<u64>, answered: Option<u64>) -> Option<u64> {
    match (asked, answered) {
        (Some(asked), Some(answered)) if answered < asked => None,
        (_, answered) => answered.map(|index| index.max(1)),
    }
}

/// The header that carries it.
pub(super) fn index_of(answer: &Answer) -> Option<u64> {
    answer.header("X-Consul-Index")?.parse().ok()
}

/// Asks the agent that gave the index for what comes after it; when that one cannot be spoken to any more, or there is
/// no index yet, whichever agent answers for all there is. `true` when the answer is one to a question that waited.
pub(super) async fn follow(
    agent: &Agent,
    path: &Path,
    place: Option<Place>,
    deadline: Duration,
) -> Result<(Answer, bool), Cause> {
    if let Some(Place { agent: at, index }) = place {
        let held =
            path.clone().with("index", &index.to_string()).with("wait", &format!("{}s", WAIT.as_secs()));
        match agent.get_held_at(at, &held, WAIT_DEADLINE).await {
            Err(cause) if cause.is_transient() && agent.order().len() > 1 => {
                debug!(agent = agent.base(at), %cause, "asking another agent");
            }
            outcome => return Ok((outcome?, true)),
        }
    }
    Ok((agent.get(path, deadline).await?, false))
}

/// How far a watch is, and with whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) agent: usize,
    pub(super) index: u64,
}

struct Watch {
    catalog: ConsulCatalog,
    place: Option<Place>,
    known: Known,
    backoff: Backoff,
    pause: Duration,
    /// Whether the last answer was too old to be trusted: said once.
    is_old: bool,
}

pub(super) fn changes(catalog: ConsulCatalog) -> ChangeStream {
    let watch = Watch {
        catalog,
        place: None,
        known: Known::default(),
        backoff: Backoff::default(),
        pause: Duration::ZERO,
        is_old: false,
    };
    steps(watch)
}

impl Stepping for Watch {
    type Item = Change;

    fn take_pause(&mut self) -> Duration {
        std::mem::take(&mut self.pause)
    }

    async fn step(&mut self) -> Vec<Result<Change, CatalogError>> {
        match self.ask().await {
            Ok(changes) => {
                self.backoff.succeeded();
                changes.into_iter().map(Ok).collect()
            }
            Err(cause) => {
                // A registry that came back empty counts from the start: an old index would wait for nothing.
                self.place = None;
                self.pause = self.backoff.failed();
                vec![Err(self.catalog.explain(cause).of(&self.catalog.uri))]
            }
        }
    }
}

impl Watch {
    async fn ask(&mut self) -> Result<Vec<Change>, Cause> {
        let (agent, path) = (&self.catalog.agent, self.catalog.path());
        let started = Instant::now();
        let (mut answer, waited) = follow(agent, &path, self.place, LIST_DEADLINE).await?;
        let took = started.elapsed();
        let listing = self.catalog.understand(&mut answer)?;
        agent.meter().heard();
        let asked = self.place.filter(|_| waited).map(|place| place.index);
        let index = index_of(&answer);
        self.place = next_index(asked, index).map(|index| Place { agent: answer.endpoint, index });
        self.pause = pause_after(asked, index, took);
        self.say_age(&answer);
        Ok(self.known.learn(listing))
    }

    /// Only a watch's first listing carries warnings.
    fn say_age(&mut self, answer: &Answer) {
        let warning = age_warning(answer);
        if let Some(warning) = warning.as_ref().filter(|_| !self.is_old) {
            warn!(catalog = %self.catalog.uri, "{warning}");
        }
        self.is_old = warning.is_some();
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
    fn who_holds_nothing_back_is_polled() {
        let (at_once, late) = (Duration::ZERO, POLL_INTERVAL);
        assert_eq!(pause_after(None, Some(7), at_once), LEAST_PAUSE);
        assert_eq!(pause_after(Some(7), Some(8), at_once), LEAST_PAUSE);
        assert_eq!(pause_after(Some(7), Some(7), late), LEAST_PAUSE, "it was held");
        assert_eq!(pause_after(Some(7), Some(7), at_once), POLL_INTERVAL);
        assert_eq!(pause_after(Some(1), Some(0), at_once), POLL_INTERVAL);
        assert_eq!(pause_after(Some(7), None, late), POLL_INTERVAL);
    }

    #[test]
    fn the_client_waits_longer_than_the_server() {
        assert!(WAIT_DEADLINE > WAIT + WAIT / 16);
    }
}
