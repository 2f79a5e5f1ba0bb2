//! One candidate is asked to take the session: interview, seat, profile, upgrade. Several may be asked side by side.

use std::time::Duration;

use cbrowse_protocol::{node::NodeRecord, seat::Seat};

use super::{Plan, RESUME_FOR, check_welcome, patience::Pulse};
use crate::{
    attach::{
        connection::{Fault, TrustedConnection},
        finalist::{Finalist, Interview, Unanswered, interview},
        seat,
        session::{Attachment, Target, attach},
    },
    context::Paths,
    failure::{Exit, Failure},
    output::Output,
    probe::Probed,
    profile::{CarryError, OpenProfile, Travel, Uploaded},
    timeline::{self, Stage},
};

/// A grant is sealed to the one worker that waits. It may be taken meanwhile, and the next one needs a moment.
const KEY_TRIES: u32 = 5;
/// A worker's room stands after some 50 ms.
const KEY_PAUSE: Duration = Duration::from_millis(150);

/// Bytes of the one object that travels in no more than a round trip: TCP's first window (RFC 6928). More objects than one take
/// a round trip each, and then it pays to hold the place.
const FIRST_WINDOW: usize = 14_600;

/// What every candidate is asked with.
#[derive(Clone, Copy)]
pub(super) struct Asker<'a> {
    pub(super) plan: &'a Plan,
    pub(super) paths: &'a Paths,
    pub(super) output: &'a Output,
}

/// A session that has begun.
pub(super) struct Seated {
    pub(super) attachment: Attachment,
    /// Where it runs, as that is written down.
    pub(super) record: NodeRecord,
    /// What went up.
    pub(super) uploaded: Option<Uploaded>,
}

/// Why a candidate did not take it.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) failure: Failure,
    pub(super) fault: Fault,
}

impl From<CarryError> for Refusal {
    fn from(error: CarryError) -> Self {
        let fault = match &error {
            CarryError::Node(error) => error.fault(),
            CarryError::Answer(_) => Fault::Broken,
            _ => Fault::Innocent,
        };
        Self { failure: error.into(), fault }
    }
}

impl From<Unanswered> for Refusal {
    fn from(unanswered: Unanswered) -> Self {
        let Unanswered { reason, fault, .. } = unanswered;
        Self { failure: Failure::new(Exit::SessionLost, "connection", reason), fault }
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self { failure, fault: Fault::Innocent }
    }
}

impl Asker<'_> {
    /// Asks one candidate, and again where somebody else was faster to take the worker that the profile is sealed for.
    /// Dropped midway, it leaves nothing behind: the node ends a session whose client never came.
    pub(super) async fn ask(
        &self,
        node: &Probed,
        interviewed: Option<Interview>,
        pulse: &Pulse,
    ) -> Result<Seated, Refusal> {
        let mut finalist = self.finalist(node, interviewed, pulse).await?;
        let mut tries = KEY_TRIES;
        loop {
            tries -= 1;
            match self.begin(finalist, node, pulse).await {
                Err(error) if error.is_about_the_key() && tries > 0 => {
                    pulse.ours();
                    tokio::time::sleep(KEY_PAUSE).await;
                    finalist = self.finalist(node, None, pulse).await?;
                }
                outcome => return Ok(outcome?),
            }
        }
    }

    async fn finalist(
        &self,
        node: &Probed,
        interviewed: Option<Interview>,
        pulse: &Pulse,
    ) -> Result<Finalist, Refusal> {
        pulse.asked();
        let outcome = if let Some(outcome) = interviewed {
            outcome
        } else {
            timeline::enter_with(Stage::Tls, &node.record.id);
            interview(node, &self.plan.judge).await
        };
        match outcome {
            Interview::Trusted(finalist) => Ok(*finalist),
            Interview::FirstUse(stranger) => {
                pulse.ours();
                Ok(stranger.introduce(self.paths).await?)
            }
            Interview::Refused(failure) => Err((*failure).into()),
            Interview::Failed(unanswered) => Err(unanswered.into()),
        }
    }

    async fn begin(&self, finalist: Finalist, node: &Probed, pulse: &Pulse) -> Result<Seated, CarryError> {
        let Finalist { mut status, mut connection, .. } = finalist;
        let identity = *connection.identity();
        let mut request = self.plan.request.clone();
        let (mut seat, mut uploaded) = (None, None);
        if let Some(profile) = &self.plan.profile {
            timeline::enter_with(Stage::Profile, &node.record.id);
            pulse.asked();
            let missing = profile.missing(&mut connection, &self.plan.credentials).await?;
            let objects = missing.len();
            if objects > 1 || profile.exceed(&missing, FIRST_WINDOW)? {
                pulse.asked();
                // The place is held while they travel.
                seat = seat::reserve(&mut connection, &self.plan.credentials, &status).await?;
                pulse.ours();
            }
            uploaded = Some(self.send(profile, &mut connection, missing).await?);
            // Uploading took its time; the worker behind the old key may be taken by now.
            if objects > 0 {
                pulse.asked();
                status = connection.get_status(RESUME_FOR).await?;
            }
            request.profile = Some(profile.grant(&status, &identity)?);
        }
        timeline::enter_with(Stage::Seat, &node.record.id);
        pulse.asked();
        let attachment = self.upgrade(connection, request, seat).await?;
        check_welcome(&attachment, &status)?;
        let mut record = node.record.clone();
        if let Some(address) = node.address {
            (record.address, record.port) = (address.ip().to_string(), address.port());
        }
        record.id = attachment.node.clone();
        record.identity = Some(identity);
        Ok(Seated { attachment, record, uploaded })
    }

    async fn upgrade(
        &self,
        connection: TrustedConnection,
        request: cbrowse_protocol::api::SessionRequest,
        seat: Option<Seat>,
    ) -> Result<Attachment, CarryError> {
        let target = Target::New { request: Box::new(request), seat };
        Ok(attach(connection, &self.plan.credentials, target).await?)
    }

    async fn send(
        &self,
        profile: &OpenProfile,
        connection: &mut TrustedConnection,
        missing: Vec<cbrowse_profile::object::ObjectName>,
    ) -> Result<Uploaded, CarryError> {
        let travel = Travel::default();
        let _drawn = self.output.follow("sending", "objects", travel.meter.clone());
        profile.send_through(connection, &self.plan.credentials, missing, &travel, |_| {}).await
    }
}
