//! Saves on their way home from a node: taken, forgotten there, and what the node's store is told of it.

use std::{sync::Arc, time::Duration};

use super::{Journey, lost};
use crate::{
    attach::{
        connection::TrustedConnection,
        finalist::{Interview, Judge, interview},
    },
    context::Paths,
    credentials::Credentials,
    failure::Failure,
    pending::{self, Pending},
    probe::Probed,
    profile::{OpenProfile, Settled, chain, settle, why_failed},
};

/// How long a command that is over waits for a store to hear what is current. Longer: a slow store holds up every script;
/// shorter: over a slow link another device hears of a save only after the next sync.
const PUBLISH_PATIENCE: Duration = Duration::from_secs(5);

impl Journey<'_> {
    /// Takes the present session's save home. `wait`: how long the worker may still need.
    pub async fn settle(&self, wait: Duration) -> Result<Option<Settled>, Failure> {
        let Some((profile, pending)) = self.own_pending() else { return Ok(None) };
        let (judge, credentials) = (&self.plan.judge, &self.plan.credentials);
        settle_one(self.paths, judge, profile, credentials, &pending, wait).await.map(Some)
    }

    /// The same at the end of the session: what came home is then what the node's store points to.
    pub async fn settle_last(&self, wait: Duration) -> Result<Option<Settled>, Failure> {
        let Some((profile, pending)) = self.own_pending() else { return Ok(None) };
        let credentials = &self.plan.credentials;
        let mut connection = meet(&self.plan.judge, &pending).await?;
        let mut settled =
            settle_on(&mut connection, self.paths, profile.clone(), credentials, &pending, wait).await?;
        if settled.current.is_some() {
            let told = profile.publish_save(&mut connection, credentials, PUBLISH_PATIENCE).await;
            settled.unpublished = told.err().map(|error| chain(&error));
        }
        Ok(Some(settled))
    }

    fn own_pending(&self) -> Option<(Arc<OpenProfile>, Pending)> {
        let profile = self.plan.profile.clone().filter(|profile| profile.is_kept())?;
        let (node, session) = (self.at.clone()?, self.session.clone()?);
        let pending = Pending { session, profile: profile.id().clone(), node, started: 0 };
        Some((profile, pending))
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
    let mut connection = meet(judge, pending).await?;
    settle_on(&mut connection, paths, profile, credentials, pending, wait).await
}

/// The same, where the node was met already.
pub async fn settle_met(
    met: Interview,
    paths: &Paths,
    profile: Arc<OpenProfile>,
    credentials: &Arc<Credentials>,
    pending: &Pending,
    wait: Duration,
) -> Result<Settled, Failure> {
    settle_on(&mut trusted(met)?, paths, profile, credentials, pending, wait).await
}

async fn meet(judge: &Judge, pending: &Pending) -> Result<TrustedConnection, Failure> {
    // The identity was trusted when the session began, and is written down in the user's own file.
    trusted(interview(&Probed::unprobed(pending.node.clone()), &judge.of_own_record()).await)
}

fn trusted(met: Interview) -> Result<TrustedConnection, Failure> {
    match met {
        Interview::Trusted(finalist) => Ok(finalist.connection),
        Interview::FirstUse(stranger) => {
            Err(lost(&format!("{} is not trusted any more", stranger.status.id)))
        }
        Interview::Refused(failure) => Err(*failure),
        Interview::Failed(unanswered) => Err(lost(&unanswered.reason)),
    }
}

async fn settle_on(
    connection: &mut TrustedConnection,
    paths: &Paths,
    profile: Arc<OpenProfile>,
    credentials: &Arc<Credentials>,
    pending: &Pending,
    wait: Duration,
) -> Result<Settled, Failure> {
    let mut settled = settle(profile, connection, credentials, wait).await?;
    if settled.closing + settled.running == 0 {
        settled.failed = why_failed(connection, credentials, &pending.session).await;
        if settled.refused.is_empty() {
            pending::forget(paths, &pending.session);
        }
    }
    Ok(settled)
}
