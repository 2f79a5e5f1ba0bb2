//! A link that broke: the same session again, or the next best node.

use std::time::Duration;

use cbrowse_protocol::id::SessionId;
use tokio::time::Instant;

use super::{Journey, RESUME_FOR, Surveyed, check_welcome, lost, tabs::tabs_to_carry};
use crate::{
    attach::{
        connection::ConnectionError,
        finalist::{Interview, interview},
        session::{Attachment, Seen, Target, attach},
    },
    breaker::Key,
    failure::{Exit, Failure},
    probe::Probed,
};

/// A machine that refuses connections at once is gone, not slow; it gets this long for a server that restarts.
const REFUSED_FOR: Duration = Duration::from_millis(600);
/// While no node at all answers, the session is tried for again this long; nodes keep one without a client for 300 s.
const OUTAGE: Duration = Duration::from_secs(240);
/// Between two looks whether the network is back.
const OUTAGE_PAUSE: Duration = Duration::from_secs(2);
/// Between two tries.
const RESUME_PAUSE: Duration = Duration::from_millis(200);
/// Nodes that may die under one session before something else is wrong.
const MAX_MOVES: usize = 5;
/// Links in a row that broke sooner before their node counts as gone: it takes the session back and drops it again.
pub(super) const MAX_FLAPS: u32 = 8;

/// What came of trying for the same session again.
enum Resumed {
    /// Attached to it.
    Same(Box<Attachment>),
    /// The node, or its machine, says that it is not there.
    Gone,
    /// Nobody answers.
    Unreachable,
}

impl Journey<'_> {
    /// The same session again, or the next best node with the profile's last save and the open tabs.
    pub(super) async fn mend(&mut self, attachment: &Attachment, seen: &Seen) -> Result<Attachment, Failure> {
        let mut resumed = Resumed::Gone;
        if self.flaps <= MAX_FLAPS {
            tokio::time::sleep(RESUME_PAUSE * self.flaps).await;
            resumed = self.resume(&attachment.session).await;
        }
        if let Resumed::Same(attachment) = resumed {
            return Ok(*attachment);
        }
        let (left, listed) = (attachment.node.clone(), self.listed.take());
        // Taken and dropped again within seconds. A node that served for long and then died is only gone.
        if self.flaps > 0
            && let Some(record) = self.surveyed.as_ref().and_then(Surveyed::taken)
        {
            self.suspects.push(Key::of(record));
        }
        self.gone.push(listed.clone().unwrap_or_else(|| left.clone()));
        self.flaps = 0;
        if self.gone.len() > MAX_MOVES {
            return Err(lost(&format!("{MAX_MOVES} nodes were lost one after another; the last was {left}")));
        }
        let (active, others) = tabs_to_carry(&seen.tabs);
        self.plan.request.url = active.or(self.plan.request.url.take());
        self.plan.request.tabs = others;
        self.plan.request.replace_tabs = true;
        self.output.warn(format_args!("{left} is gone; looking for the next best node"));
        let until = Instant::now() + OUTAGE;
        loop {
            let failure = match self.begin().await {
                Ok(moved) => return Ok(self.tell_moved(moved)),
                Err(failure) => failure,
            };
            if !matches!(resumed, Resumed::Unreachable) || Instant::now() > until {
                let hint = "the profile's last save is safe on this machine";
                return Err(Failure { exit: Exit::SessionLost, ..failure }.hint(hint));
            }
            // Neither the old node nor any other answers: it is this machine that is cut off, and the session waits.
            self.output.warn("no node answers; the session is kept, trying again");
            tokio::time::sleep(OUTAGE_PAUSE).await;
            resumed = self.resume(&attachment.session).await;
            if let Resumed::Same(attachment) = resumed {
                self.gone.pop();
                self.listed = listed;
                return Ok(*attachment);
            }
        }
    }

    fn tell_moved(&self, moved: Attachment) -> Attachment {
        let kept = if self.plan.profile.is_some() {
            "the profile as last saved and the open tabs"
        } else {
            "the open tabs"
        };
        self.output.warn(format_args!(
            "moved to {} ({}) with {kept}; what was typed and not sent is lost",
            moved.node, moved.region
        ));
        moved
    }

    async fn resume(&self, session: &SessionId) -> Resumed {
        let Some(record) = self.at.clone() else { return Resumed::Gone };
        let started = Instant::now();
        let (node, judge) = (Probed::unprobed(record), self.plan.judge.of_own_record());
        while started.elapsed() < RESUME_FOR {
            match interview(&node, &judge).await {
                Interview::Trusted(finalist) => {
                    let target = Target::Running(session.clone());
                    match attach(finalist.connection, &self.plan.credentials, target).await {
                        Ok(attachment) => {
                            let is_same = attachment.session == *session
                                && check_welcome(&attachment, &finalist.status).is_ok();
                            return if is_same { Resumed::Same(Box::new(attachment)) } else { Resumed::Gone };
                        }
                        // A server that was just replaced may not have its workers back yet.
                        Err(error @ ConnectionError::Refused { .. }) if !error.is_retryable() => {
                            return Resumed::Gone;
                        }
                        Err(_) => {}
                    }
                }
                Interview::FirstUse(_) | Interview::Refused(_) => return Resumed::Gone,
                Interview::Failed(unanswered)
                    if unanswered.reason.contains("refused") && started.elapsed() > REFUSED_FOR =>
                {
                    return Resumed::Gone;
                }
                Interview::Failed(_) => {}
            }
            tokio::time::sleep(RESUME_PAUSE).await;
        }
        Resumed::Unreachable
    }
}
