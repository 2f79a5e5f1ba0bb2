//! A session from the first choice to the last save, over as many nodes as it takes.
//!
//! ```text
//! survey -> seat on the best node that takes it -> relay -> link lost? the same session again -> node gone? the next best node
//! ```

mod choosing;
mod mending;
mod refusals;
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

use super::{
    connection::{ConnectionError, TrustedConnection},
    finalist::{Finalist, Interview, Judge, interview},
    session::{Attachment, End, Seen, Target, attach},
};
use crate::{
    context::Paths,
    credentials::{Credentials, seconds},
    discover::start::Refresh,
    failure::{Exit, Failure},
    output::Output,
    pending::{self, Pending},
    probe::{Probed, Report},
    profile::{CarryError, OpenProfile, Settled, Uploaded, chain, settle},
    select::{Choice, Constraints, Strategy},
    timeline::{self, Stage},
    view::{Event, Hub, Inputs},
};

/// A lost link is tried again this long before the node counts as gone; the node keeps the session longer than that.
const RESUME_FOR: Duration = Duration::from_secs(8);
/// A grant is sealed to the one worker that waits. It may be taken meanwhile, and the next one needs a moment.
const KEY_TRIES: u32 = 5;
/// A worker's room stands after some 50 ms.
const KEY_PAUSE: Duration = Duration::from_millis(150);
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
}

/// A survey without its connections.
pub struct Surveyed {
    /// Every node.
    pub report: Report,
    /// Verdicts and order; the node that took the session comes first.
    pub choice: Choice,
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
        }
    }

    /// The listing is one of the past; this is what the registries say to it.
    #[must_use]
    pub fn refreshed_by(mut self, refresh: Option<Refresh>) -> Self {
        self.refresh = refresh;
        self
    }

    /// The node of the present, or last, attachment.
    pub fn node(&self) -> Option<&NodeRecord> {
        self.at.as_ref()
    }

    /// The present, or last, session.
    pub fn session(&self) -> Option<&SessionId> {
        self.session.as_ref()
    }

    /// Attaches, and asks again where somebody else was faster to take the worker that the profile is sealed for.
    async fn attach_to(&mut self, mut finalist: Finalist, node: &Probed) -> Result<Attachment, Failure> {
        let mut tries = KEY_TRIES;
        loop {
            tries -= 1;
            match self.try_to_attach(finalist, node).await {
                Err(error) if error.is_about_the_key() && tries > 0 => {
                    tokio::time::sleep(KEY_PAUSE).await;
                    finalist = self.finalist(node, None).await?;
                }
                outcome => return Ok(outcome?),
            }
        }
    }

    async fn try_to_attach(&mut self, finalist: Finalist, node: &Probed) -> Result<Attachment, CarryError> {
        let Finalist { mut status, mut connection, .. } = finalist;
        let identity = *connection.identity();
        let mut request = self.plan.request.clone();
        if let Some(profile) = self.plan.profile.clone() {
            timeline::enter_with(Stage::Profile, &node.record.id);
            self.uploaded = Some(self.upload(&profile, &mut connection).await?);
            // Uploading took its time; the worker behind the old key may be taken by now.
            if self.uploaded.is_some_and(|uploaded| uploaded.objects > 0) {
                status = connection.get_status(RESUME_FOR).await?;
            }
            request.profile = Some(profile.grant(&status, &identity)?);
        }
        timeline::enter_with(Stage::Seat, &node.record.id);
        let attachment = attach(connection, &self.plan.credentials, Target::New(Box::new(request))).await?;
        check_welcome(&attachment, &status)?;
        let mut record = node.record.clone();
        if let Some(address) = node.address {
            (record.address, record.port) = (address.ip().to_string(), address.port());
        }
        record.id = attachment.node.clone();
        record.identity = Some(identity);
        self.note(&attachment.session, &record);
        self.at = Some(record);
        self.listed = Some(node.record.id.clone());
        self.session = Some(attachment.session.clone());
        Ok(attachment)
    }

    async fn upload(
        &self,
        profile: &OpenProfile,
        connection: &mut TrustedConnection,
    ) -> Result<Uploaded, CarryError> {
        let mut bar = None;
        let progress = |now: Uploaded, total: u64| {
            let length = usize::try_from(total).unwrap_or(usize::MAX);
            let bar = bar.get_or_insert_with(|| self.output.progress(length, "sending the profile"));
            bar.at(usize::try_from(now.objects).unwrap_or(usize::MAX));
        };
        profile.upload(connection, &self.plan.credentials, progress).await
    }

    /// From now on a save of this session may wait on that node.
    fn note(&self, session: &SessionId, node: &NodeRecord) {
        let Some(profile) = &self.plan.profile else { return };
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
                End::Over { reason, saving } => return Ok(Arrival { reason, saving }),
                End::Unconfirmed => {
                    let reason =
                        "the node did not confirm the end in time; it ends the session by itself".into();
                    return Ok(Arrival { reason, saving: self.plan.profile.is_some() });
                }
                End::Lost { reason } => reason,
            };
            self.flaps = flaps(self.flaps, began.elapsed());
            let _only_media_is_refused = hub.publish(Event::Lost { reason });
            let mended = tokio::select! {
                mended = self.mend(&attachment, seen) => mended?,
                () = stop.cancelled() => {
                    return Ok(Arrival { reason: "ended while the link was down".into(), saving: self.plan.profile.is_some() });
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
                        self.output.warn(format_args!("an autosave was refused: {}", chain(refused)));
                    }
                }
                Err(failure) => {
                    self.output.warn(format_args!("an autosave is not home yet: {}", failure.message));
                }
            }
        }
    }

    /// Takes the present session's save home. `wait`: how long the worker may still need.
    pub async fn settle(&self, wait: Duration) -> Result<Option<Settled>, Failure> {
        let (Some(profile), Some(node), Some(session)) =
            (self.plan.profile.clone(), self.at.clone(), self.session.clone())
        else {
            return Ok(None);
        };
        let pending = Pending { session, profile: profile.id().clone(), node, started: 0 };
        settle_one(self.paths, &self.plan.judge, profile, &self.plan.credentials, &pending, wait)
            .await
            .map(Some)
    }
}

/// Takes home what waits on one node; forgets the session when nothing more can come.
pub async fn settle_one(
    paths: &Paths,
    judge: &Judge,
    profile: Arc<OpenProfile>,
    credentials: &Arc<Credentials>,
    pending: &Pending,
    wait: Duration,
) -> Result<Settled, Failure> {
    // The identity was trusted when the session began, and is written down in the user's own file.
    match interview(&Probed::unprobed(pending.node.clone()), &judge.of_own_record()).await {
        Interview::Trusted(mut finalist) => {
            let settled = settle(profile, &mut finalist.connection, credentials, wait).await?;
            if settled.closing + settled.running == 0 && settled.refused.is_empty() {
                pending::forget(paths, &pending.session);
            }
            Ok(settled)
        }
        Interview::FirstUse(stranger) => {
            Err(lost(&format!("{} is not trusted any more", stranger.status.id)))
        }
        Interview::Refused(failure) => Err(*failure),
        Interview::Failed(reason) => Err(lost(&reason)),
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
