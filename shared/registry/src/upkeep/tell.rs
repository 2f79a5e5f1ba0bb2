//! What of a registration is worth a line in the log: that it changed, not that it was tried again.

use std::time::{Duration, Instant};

use cbrowse_protocol::node::NodeRecord;
use tokio::sync::watch;
use tracing::{debug, info, warn};

use super::Done;
use crate::{
    error::{Cause, RegistryError},
    registry::Kept,
};

/// How often a registration that stays broken is mentioned again. Shorter: a registry that is down for a night fills
/// the log; longer: whoever reads the end of it does not learn that something is wrong.
const REMINDER: Duration = Duration::from_secs(600);

/// How a registration stands.
#[derive(Debug, Default)]
pub(super) enum Standing {
    /// Not asked for yet.
    #[default]
    New,
    Well,
    Broken {
        since: Instant,
        told: Instant,
        /// [`Cause::code`]: another word is another trouble.
        code: &'static str,
    },
}

/// What to say.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Word {
    Nothing,
    Registered,
    Updated,
    Again,
    Broken,
    StillBroken(Duration),
    Whole(Duration),
}

impl Standing {
    /// What to say of a call that ended so at `now`.
    pub(super) fn learn(&mut self, outcome: Result<Done, &RegistryError>, now: Instant) -> Word {
        match outcome {
            Ok(done) => self.succeeded(done, now),
            Err(error) => self.failed(&error.cause, now),
        }
    }

    fn succeeded(&mut self, done: Done, now: Instant) -> Word {
        match (std::mem::replace(self, Self::Well), done) {
            (Self::Broken { since, .. }, _) => Word::Whole(now - since),
            (_, Done::Registered) => Word::Registered,
            (_, Done::Updated) => Word::Updated,
            (_, Done::Kept(Kept::Again)) => Word::Again,
            (_, Done::Kept(Kept::Alive)) => Word::Nothing,
        }
    }

    fn failed(&mut self, cause: &Cause, now: Instant) -> Word {
        match self {
            Self::Broken { since, told, code } if *code == cause.code() => {
                if now - *told < REMINDER {
                    return Word::Nothing;
                }
                *told = now;
                Word::StillBroken(now - *since)
            }
            Self::Broken { told, code, .. } => {
                (*told, *code) = (now, cause.code());
                Word::Broken
            }
            Self::New | Self::Well => {
                *self = Self::Broken { since: now, told: now, code: cause.code() };
                Word::Broken
            }
        }
    }
}

impl Word {
    /// Says it; an error names its registry by itself.
    pub(super) fn log(
        &self,
        registry: &str,
        records: &watch::Receiver<NodeRecord>,
        error: Option<&RegistryError>,
    ) {
        let node = records.borrow().id.clone();
        match (self, error) {
            (Self::Broken, Some(error)) => {
                warn!(%node, "not registered as it should be, and trying again: {error}");
            }
            (Self::StillBroken(out), Some(error)) => {
                warn!(%node, "still not registered as it should be after {}: {error}", seconds(*out));
            }
            (_, Some(error)) => debug!(%node, "{error}"),
            (Self::Registered, None) => info!(%node, "registered in {registry}"),
            (Self::Updated, None) => debug!(%node, "told {registry} what changed"),
            (Self::Again, None) => {
                warn!(%node, "{registry} had forgotten this node; registered again");
            }
            (Self::Whole(out), None) => {
                info!(%node, "registered in {registry}, after {} without", seconds(*out));
            }
            (Self::Nothing | Self::Broken | Self::StillBroken(_), None) => {}
        }
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(cause: Cause) -> RegistryError {
        RegistryError { registry: "consul://".into(), cause }
    }

    #[test]
    fn a_change_is_told_once_and_a_trouble_that_stays_now_and_then() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let down = error(Cause::Unreachable("refused".into()));
        let refused = error(Cause::Status { status: 500, message: "no leader".into() });
        let mut standing = Standing::default();
        let reminder = REMINDER.as_secs();
        for (outcome, seconds, word) in [
            (Err(&down), 0, Word::Broken),
            (Err(&down), 1, Word::Nothing),
            (Err(&down), reminder - 1, Word::Nothing),
            (Err(&down), reminder, Word::StillBroken(REMINDER)),
            (Err(&down), reminder + 1, Word::Nothing),
            (Err(&refused), reminder + 2, Word::Broken),
            (Ok(Done::Registered), reminder + 3, Word::Whole(REMINDER + Duration::from_secs(3))),
            (Ok(Done::Kept(Kept::Alive)), reminder + 4, Word::Nothing),
            (Ok(Done::Kept(Kept::Again)), reminder + 5, Word::Again),
            (Ok(Done::Updated), reminder + 6, Word::Updated),
            (Err(&down), reminder + 7, Word::Broken),
            (Ok(Done::Kept(Kept::Alive)), reminder + 9, Word::Whole(Duration::from_secs(2))),
        ] {
            assert_eq!(standing.learn(outcome, at(seconds)), word, "at {seconds}");
        }
        assert_eq!(Standing::default().learn(Ok(Done::Registered), start), Word::Registered);
    }
}
