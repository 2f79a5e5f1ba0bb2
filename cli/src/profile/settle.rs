//! Saves that wait on a node come home: each is judged here, and forgotten there once it was taken.

use std::{collections::HashSet, sync::Arc, time::Duration};

use cbrowse_profile::{
    authority::{AcceptError, Accepted, HeadRef},
    object::ObjectName,
    secret::SystemRandom,
};
use cbrowse_protocol::{
    api::{Proposals, SessionState, SessionView},
    id::{ProfileId, SessionId},
    node::printable,
};
use http::Method;

use super::{
    CarryError, OpenProfile,
    ask::get_proposals,
    remote::{self, RemoteStore},
};
use crate::{
    attach::connection::{Ask, TrustedConnection},
    credentials::Credentials,
};

/// Between two looks whether a closing session has proposed its save.
const POLL: Duration = Duration::from_millis(150);
/// Most saves that one look at a node judges; an honest one keeps a few dozen.
const MAX_JUDGED: usize = 256;
/// Longest reason of a node that is shown, in bytes.
const MAX_REASON: usize = 500;

/// A save that was not taken. It stays on its node: another version of this program may understand it.
#[derive(Debug)]
pub struct Refusal {
    /// The session that made it, by the node's word.
    pub session: SessionId,
    /// Why not.
    pub error: AcceptError,
}

/// What became of the saves that waited on a node.
#[derive(Debug, Default)]
pub struct Settled {
    /// The generation that is current now, if a save was taken.
    pub current: Option<HeadRef>,
    /// Names under which conflicting saves were kept.
    pub kept: Vec<String>,
    /// Saves that were refused, and why.
    pub refused: Vec<Refusal>,
    /// Why the session that was asked about ended with an error, in the node's words, cleaned. Its last save is lost.
    pub failed: Option<String>,
    /// Why the store of that node does not point to what came home, where it should.
    pub unpublished: Option<String>,
    /// Sessions of this profile that are closing on that node.
    pub closing: u32,
    /// Sessions of this profile that run on that node.
    pub running: u32,
}

/// Takes over every save that waits on a node. With `wait`, first gives sessions that close there the time to finish.
pub async fn settle(
    profile: Arc<OpenProfile>,
    connection: &mut TrustedConnection,
    credentials: &Arc<Credentials>,
    wait: Duration,
) -> Result<Settled, CarryError> {
    let until = tokio::time::Instant::now() + wait;
    let mut settled = Settled::default();
    let mut judged = HashSet::new();
    loop {
        let waiting = ask_proposals(connection, credentials, profile.id()).await?;
        (settled.closing, settled.running) = (waiting.closing, waiting.running);
        // What was refused waits on; it is no other at the next look.
        for view in waiting.proposals.into_iter().take(MAX_JUDGED) {
            if !judged.insert(ObjectName::of(&view.proposal)) {
                continue;
            }
            let accepted = accept(&profile, connection, credentials, &view.proposal).await;
            let taken = match accepted {
                Ok(Accepted::Current(head)) => {
                    settled.current = Some(head);
                    true
                }
                Ok(Accepted::KeptAs(name)) => {
                    settled.kept.push(name);
                    true
                }
                Ok(Accepted::Already(_) | Accepted::Unchanged(_)) => true,
                Err(error) => {
                    settled.refused.push(Refusal { session: view.session, error });
                    false
                }
            };
            if taken {
                let path = format!("/v1/profiles/{}/proposals/{}", profile.id(), view.name);
                let _already_gone = connection.request(Ask::new(Method::DELETE, &path), credentials).await;
            }
        }
        let is_enough = judged.len() >= MAX_JUDGED || tokio::time::Instant::now() >= until;
        if settled.closing == 0 || is_enough {
            return Ok(settled);
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Why a session ended with an error, if it did and the node still knows. A node says so for ten minutes.
pub async fn why_failed(
    connection: &mut TrustedConnection,
    credentials: &Credentials,
    session: &SessionId,
) -> Option<String> {
    let path = format!("/v1/sessions/{session}");
    let answer = connection.request(Ask::new(Method::GET, &path), credentials).await.ok()?;
    let view: SessionView = serde_json::from_slice(&answer.body).ok()?;
    (view.state == SessionState::Failed).then(|| printable(&view.reason, MAX_REASON))
}

async fn ask_proposals(
    connection: &mut TrustedConnection,
    credentials: &Credentials,
    profile: &ProfileId,
) -> Result<Proposals, CarryError> {
    let told = get_proposals(connection, credentials, profile).await?;
    // A node that never saw the profile holds no saves of it.
    Ok(told.unwrap_or(Proposals { proposals: Vec::new(), closing: 0, running: 0 }))
}

/// Accepting reads the node's objects from a blocking thread; the thread asks, this side of the channel answers.
async fn accept(
    profile: &Arc<OpenProfile>,
    connection: &mut TrustedConnection,
    credentials: &Arc<Credentials>,
    proposal: &[u8],
) -> Result<Accepted, AcceptError> {
    let (store, questions) = RemoteStore::new();
    let (inner, bytes) = (profile.clone(), proposal.to_vec());
    let judging = tokio::task::spawn_blocking(move || {
        inner.authority.accept(&bytes, &inner.keys, &store, &mut SystemRandom)
    });
    remote::answer(questions, connection, credentials, profile.id()).await;
    judging.await.expect("accepting does not panic")
}
