//! A session from the first choice to the last save, over as many nodes as it takes.
//!
//! ```text
//! survey -> seat on the best node that takes it -> relay -> link lost? the same session again -> node gone? the next best node
//! ```

mod choosing;
mod mending;
mod patience;
mod refusals;
mod seating;
mod settling;
mod tabs;
#[cfg(test)]
mod tests;

use std::{convert::Infallible, sync::Arc, time::Duration};

use cbrowse_protocol::{
    api::{SessionRequest, Status},
    id::{NodeId, SessionId},
    node::NodeRecord,
};
use cbrowse_registry::Listing;
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

pub use self::settling::{settle_met, settle_one};
use super::{
    connection::ConnectionError,
    finalist::Judge,
    session::{Attachment, End, Seen},
};
use crate::{
    breaker::{Breakers, Key},
    context::Paths,
    credentials::{Credentials, seconds},
    discover::start::Refresh,
    failure::{Exit, Failure},
    history::History,
    output::Output,
    pending::{self, Pending},
    probe::Report,
    profile::{OpenProfile, Uploaded, chain},
    select::{Choice, Constraints, Strategy},
    survey::Probing,
    view::{Event, Hub, Inputs},
};

/// A lost link is tried again this long before the node counts as gone; the node keeps the session longer than that.
const RESUME_FOR: Duration = Duration::from_secs(8);
/// A link that held this long was a good one, and is mended at once.
const STEADY: Duration = Duration::from_secs(10);
/// What a journey needs.
pub struct Plan {
    /// Nodes to choose from.
    pub listing: Listing,
    /// By what nodes are judged.
    pub judge: Judge,
    /// What the user asks of a node.
    pub constraints: Constraints,
    /// How nodes are ordered.
    pub strategy: Strategy,
    /// Whom to probe.
    pub probing: Probing,
    /// What earlier probings found; `None` where that is no help.
    pub history: Option<Arc<History>>,
    /// What is asked of the node, profile apart.
    pub request: SessionRequest,
    /// The profile to bring along.
    pub profile: Option<Arc<OpenProfile>>,
    /// Who we are.
    pub credentials: Arc<Credentials>,
}

/// Where a journey stands.
pub struct Journey<'a> {
    plan: Plan,
    paths: &'a Paths,
    output: &'a Output,
    /// Nodes that were lost, as the listing calls them.
    gone: Vec<NodeId>,
    /// The node of the present attachment.
    at: Option<NodeRecord>,
    /// What the listing calls it.
    listed: Option<NodeId>,
    /// The present session; another one after each move.
    session: Option<SessionId>,
    /// Links in a row that did not hold for [`STEADY`].
    flaps: u32,
    /// What the last survey found, for reports.
    pub surveyed: Option<Surveyed>,
    /// What went up to the present node.
    pub uploaded: Option<Uploaded>,
    /// What the registries say to the listing, while that is one of the past.
    refresh: Option<Refresh>,
    /// How long to go on asking where every node that fits is full.
    patience: Duration,
    /// Whom to leave alone.
    breakers: Breakers,
    /// Nodes that failed and have not been held responsible yet: as long as nobody answers, it is this machine that is cut off.
    suspects: Vec<Key>,
    /// The last try failed because every node that fits is full; the shortest time that one of them asked for.
    busy: Option<Duration>,
}

/// A survey without its connections.
pub struct Surveyed {
    /// Every node.
    pub report: Report,
    /// Verdicts and order; the node that took the session comes first.
    pub choice: Choice,
}

impl Surveyed {
    /// What the listing says of the node that took the session.
    fn taken(&self) -> Option<&NodeRecord> {
        self.choice.chosen().map(|index| &self.report.nodes[index].record)
    }
}

/// How a journey ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// In words for a person; a stranger's text.
    pub reason: String,
    /// The worker owns a save that is not complete yet.
    pub saving: bool,
}

impl<'a> Journey<'a> {
    /// Nothing is asked of any node yet.
    pub fn new(plan: Plan, paths: &'a Paths, output: &'a Output) -> Self {
        Self {
            plan,
            paths,
            output,
            gone: Vec::new(),
            at: None,
            listed: None,
            session: None,
            flaps: 0,
            surveyed: None,
            uploaded: None,
            refresh: None,
            patience: Duration::ZERO,
            breakers: Breakers::of(paths),
            suspects: Vec::new(),
            busy: None,
        }
    }

    /// Where every node that fits is full, goes on asking for this long.
    #[must_use]
    pub fn waiting(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The listing is one of the past; this is what the registries say to it.
    #[must_use]
    pub fn refreshed_by(mut self, refresh: Option<Refresh>) -> Self {
        self.refresh = refresh;
        self
    }

    /// Waits until what this journey found out is written down for the next one.
    pub async fn settle_history(&self) {
        if let Some(history) = &self.plan.history {
            history.settle().await;
        }
    }

    /// The node of the present, or last, attachment.
    pub fn node(&self) -> Option<&NodeRecord> {
        self.at.as_ref()
    }

    /// The present, or last, session.
    pub fn session(&self) -> Option<&SessionId> {
        self.session.as_ref()
    }

    /// The profile that is brought along.
    pub fn profile(&self) -> Option<&Arc<OpenProfile>> {
        self.plan.profile.as_ref()
    }

    /// Whether anything that a session changes is to come home.
    pub fn is_kept(&self) -> bool {
        self.plan.profile.as_ref().is_some_and(|profile| profile.is_kept())
    }

    /// From now on a save of this session may wait on that node.
    fn note(&self, session: &SessionId, node: &NodeRecord) {
        let Some(profile) = self.plan.profile.as_ref().filter(|profile| profile.is_kept()) else { return };
        let pending = Pending {
            session: session.clone(),
            profile: profile.id().clone(),
            node: node.clone(),
            started: seconds(std::time::SystemTime::now()),
        };
        if let Err(error) = pending::note(self.paths, &pending) {
            self.output.warn(format_args!(
                "cannot note where this session runs ({error}); a save that does not come home at its end stays on {}",
                node.id
            ));
        }
    }

    /// Relays until the session is over, mending links and changing nodes on the way.
    pub async fn travel(
        &mut self,
        mut attachment: Attachment,
        hub: &Hub,
        inputs: &mut Inputs,
        seen: &mut Seen,
        stop: &CancellationToken,
    ) -> Result<Arrival, Failure> {
        loop {
            let (began, saved) = (Instant::now(), seen.saved.clone());
            let end = tokio::select! {
                end = attachment.relay(hub, inputs, seen, stop) => end,
                never = self.take_home(&saved) => match never {},
            };
            let reason = match end {
                End::Over { reason, saving } => {
                    return Ok(Arrival { reason, saving: saving && self.is_kept() });
                }
                End::Unconfirmed => {
                    let reason =
                        "the node did not confirm the end in time; it ends the session by itself".into();
                    return Ok(Arrival { reason, saving: self.is_kept() });
                }
                End::Lost { reason } => reason,
            };
            self.flaps = flaps(self.flaps, began.elapsed());
            let _only_media_is_refused = hub.publish(Event::Lost { reason });
            let mended = tokio::select! {
                mended = self.mend(&attachment, seen) => mended?,
                () = stop.cancelled() => {
                    return Ok(Arrival { reason: "ended while the link was down".into(), saving: self.is_kept() });
                }
            };
            attachment = mended;
        }
    }

    /// Takes every autosave home as it is told of, so that a node that dies takes little with it.
    async fn take_home(&self, saved: &Notify) -> Infallible {
        loop {
            saved.notified().await;
            match self.settle(Duration::ZERO).await {
                Ok(settled) => {
                    for refused in settled.iter().flat_map(|settled| &settled.refused) {
                        self.output.warn(format_args!("an autosave was refused: {}", chain(&refused.error)));
                    }
                }
                Err(failure) => {
                    self.output.warn(format_args!("an autosave is not home yet: {}", failure.message));
                }
            }
        }
    }
}

/// The welcome speaks for the node that was judged: under another name it would keep itself in, and others out, when it
/// is left.
fn check_welcome(attachment: &Attachment, status: &Status) -> Result<(), ConnectionError> {
    if attachment.node == status.id && attachment.region == status.region {
        return Ok(());
    }
    let reason = "its welcome names another node or region than its status".into();
    Err(ConnectionError::Protocol { endpoint: status.id.to_string(), reason })
}

fn flaps(before: u32, lasted: Duration) -> u32 {
    if lasted < STEADY { before + 1 } else { 0 }
}

fn lost(message: &str) -> Failure {
    Failure::new(Exit::SessionLost, "session_lost", message)
}
