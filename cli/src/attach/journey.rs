//! A session from the first choice to the last save, over as many nodes as it takes.
//!
//! ```text
//! survey -> seat on the best node that takes it -> relay -> link lost? the same session again -> node gone? the next best node
//! ```

mod refusals;
mod tabs;
#[cfg(test)]
mod tests;

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use cbrowse_protocol::{
    api::{SessionRequest, Status},
    id::{NodeId, SessionId},
    node::NodeRecord,
};
use cbrowse_registry::Listing;
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use self::{
    refusals::{all_refused, ends_the_search},
    tabs::tabs_to_carry,
};
use super::{
    connection::{ConnectionError, TrustedConnection},
    finalist::{Finalist, Interview, Judge, interview},
    session::{Attachment, End, Seen, Target, attach},
};
use crate::{
    context::Paths,
    credentials::{Credentials, seconds},
    discover::start::{Refresh, news},
    failure::{Exit, Failure},
    output::Output,
    pending::{self, Pending},
    probe::{Probed, Report},
    profile::{CarryError, OpenProfile, Settled, Uploaded, chain, settle},
    remembered,
    select::{Choice, Constraints, Strategy},
    survey::{Preference, Survey, survey},
    view::{Event, Hub, Inputs},
};

/// A lost link is tried again this long before the node counts as gone; the node keeps the session longer than that.
const RESUME_FOR: Duration = Duration::from_secs(8);
/// A machine that refuses connections at once is gone, not slow; it gets this long for a server that restarts.
const REFUSED_FOR: Duration = Duration::from_millis(600);
/// While no node at all answers, the session is tried for again this long; nodes keep one without a client for 300 s.
const OUTAGE: Duration = Duration::from_secs(240);
/// Between two looks whether the network is back.
const OUTAGE_PAUSE: Duration = Duration::from_secs(2);
/// Between two tries.
const RESUME_PAUSE: Duration = Duration::from_millis(200);
/// A grant is sealed to the one worker that waits. It may be taken meanwhile, and the next one needs a moment.
const KEY_TRIES: u32 = 5;
/// A worker's room stands after some 50 ms.
const KEY_PAUSE: Duration = Duration::from_millis(150);
/// Nodes that may die under one session before something else is wrong.
const MAX_MOVES: usize = 5;
/// A link that held this long was a good one, and is mended at once.
const STEADY: Duration = Duration::from_secs(10);
/// Links in a row that broke sooner before their node counts as gone: it takes the session back and drops it again.
const MAX_FLAPS: u32 = 8;
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

/// What came of trying for the same session again.
enum Resumed {
    /// Attached to it.
    Same(Box<Attachment>),
    /// The node, or its machine, says that it is not there.
    Gone,
    /// Nobody answers.
    Unreachable,
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

    /// Surveys, and attaches to the best node that takes the session. Where none of the nodes known does, the
    /// registries' own answer is waited for before that is a failure.
    pub async fn begin(&mut self) -> Result<Attachment, Failure> {
        let failure = match self.try_known().await {
            Err(failure) if failure.exit != Exit::Authentication => failure,
            outcome => return outcome,
        };
        let Some(mut refresh) = self.refresh.take() else { return Err(failure) };
        match news(self.output, &self.plan.listing, refresh.wait().await) {
            Some(fresh) => {
                self.plan.listing = fresh;
                self.try_known().await
            }
            None => Err(failure),
        }
    }

    async fn try_known(&mut self) -> Result<Attachment, Failure> {
        let survey = self.survey().await;
        if survey.choice.order.is_empty() {
            return Err(survey.nobody());
        }
        self.take_seat(survey).await
    }

    /// Surveys what is known; starts over when the registries say something else before that is done.
    async fn survey(&mut self) -> Survey {
        loop {
            let mut listing = self.plan.listing.clone();
            listing.nodes.retain(|node| !self.gone.contains(&node.id));
            let preference = self.preference();
            let plan = &mut self.plan;
            let mut surveying = pin!(survey(listing, &plan.constraints, preference, &plan.judge));
            let fresh = tokio::select! {
                survey = &mut surveying => return survey,
                fresh = arrival(self.refresh.as_mut()) => fresh,
            };
            self.refresh = None;
            match news(self.output, &plan.listing, fresh) {
                Some(fresh) => plan.listing = fresh,
                None => return surveying.await,
            }
        }
    }

    fn preference(&self) -> Preference {
        let profile = self.plan.profile.as_ref().map(|profile| profile.id().to_string());
        Preference {
            strategy: self.plan.strategy,
            key: Some(profile.unwrap_or_else(|| self.plan.credentials.public_key().to_string())),
            memory: remembered::load(self.paths, self.plan.strategy),
        }
    }

    /// Tells where the session went, if that is not where it was wanted, and remembers it for the next choice.
    fn took(&self, surveyed: &Surveyed) {
        let Surveyed { report, choice } = surveyed;
        let wanted = &self.plan.constraints.regions;
        let region = choice.chosen().map(|index| report.nodes[index].region()).unwrap_or_default();
        if !wanted.is_empty() && !region.is_empty() && !wanted.iter().any(|wanted| wanted == region) {
            self.output.warn(format_args!(
                "no node in {} is eligible: {region} is the nearest other region",
                wanted.join(" or ")
            ));
        }
        if let Err(error) = remembered::note(self.paths, self.plan.strategy, &report.nodes, choice) {
            self.output.warn(format_args!("the next choice will not know of this one: {error}"));
        }
    }

    /// Asks one candidate after another; remembers why each refused.
    async fn take_seat(&mut self, mut survey: Survey) -> Result<Attachment, Failure> {
        let mut refusals: Vec<(NodeId, Failure)> = Vec::new();
        for index in survey.choice.order.clone() {
            let record = survey.report.nodes[index].record.clone();
            let finalist =
                match self.finalist(&survey.report.nodes[index], survey.interviews.remove(&index)).await {
                    Ok(finalist) => finalist,
                    Err(failure) => {
                        refusals.push((record.id, failure));
                        continue;
                    }
                };
            match self.attach_to(finalist, &survey.report.nodes[index]).await {
                Ok(attachment) => {
                    let Survey { report, mut choice, .. } = survey;
                    choice.order.retain(|other| *other != index);
                    choice.order.insert(0, index);
                    let surveyed = Surveyed { report, choice };
                    self.took(&surveyed);
                    self.surveyed = Some(surveyed);
                    return Ok(attachment);
                }
                Err(failure) if ends_the_search(&failure, refusals.len()) => return Err(failure),
                Err(failure) => refusals.push((record.id, failure)),
            }
        }
        Err(all_refused(refusals))
    }

    async fn finalist(&mut self, node: &Probed, interviewed: Option<Interview>) -> Result<Finalist, Failure> {
        let outcome = match interviewed {
            Some(outcome) => outcome,
            None => interview(node, &self.plan.judge).await,
        };
        match outcome {
            Interview::Trusted(finalist) => Ok(*finalist),
            Interview::FirstUse(stranger) => stranger.introduce(self.paths).await,
            Interview::Refused(failure) => Err(*failure),
            Interview::Failed(reason) => Err(Failure::new(Exit::SessionLost, "connection", reason)),
        }
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
            self.uploaded = Some(self.upload(&profile, &mut connection).await?);
            // Uploading took its time; the worker behind the old key may be taken by now.
            if self.uploaded.is_some_and(|uploaded| uploaded.objects > 0) {
                status = connection.get_status(RESUME_FOR).await?;
            }
            request.profile = Some(profile.grant(&status, &identity)?);
        }
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

    /// The same session again, or the next best node with the profile's last save and the open tabs.
    async fn mend(&mut self, attachment: &Attachment, seen: &Seen) -> Result<Attachment, Failure> {
        let mut resumed = Resumed::Gone;
        if self.flaps <= MAX_FLAPS {
            tokio::time::sleep(RESUME_PAUSE * self.flaps).await;
            resumed = self.resume(&attachment.session).await;
        }
        if let Resumed::Same(attachment) = resumed {
            return Ok(*attachment);
        }
        let (left, listed) = (attachment.node.clone(), self.listed.take());
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
                Interview::Failed(reason)
                    if reason.contains("refused") && started.elapsed() > REFUSED_FOR =>
                {
                    return Resumed::Gone;
                }
                Interview::Failed(_) => {}
            }
            tokio::time::sleep(RESUME_PAUSE).await;
        }
        Resumed::Unreachable
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

/// Never ends while nobody is being asked.
async fn arrival(refresh: Option<&mut Refresh>) -> Result<Listing, Failure> {
    match refresh.filter(|refresh| refresh.is_running()) {
        Some(refresh) => refresh.wait().await,
        None => std::future::pending().await,
    }
}

fn flaps(before: u32, lasted: Duration) -> u32 {
    if lasted < STEADY { before + 1 } else { 0 }
}

fn lost(message: &str) -> Failure {
    Failure::new(Exit::SessionLost, "session_lost", message)
}
