//! Bodies of the node's HTTP interface.
//!
//! `GET /health`, `/ready`, `/status`, `/metrics` need no login. Everything under `/v1` and `/ws` needs a token and a proof
//! (see [`crate::token`]). Errors are RFC 9457 problem documents.

use std::{num::NonZeroU16, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    encoding,
    id::{NodeId, ProfileId, SessionId},
    identity::IdentityKey,
    statement::SignedStatement,
    wire::Viewport,
};

/// Longest JSON request body in bytes.
pub const MAX_BODY_LENGTH: usize = 1024 * 1024;
/// Largest object (a pack with its padding and seal) in bytes that a node takes.
pub const MAX_OBJECT_LENGTH: usize = 16 * 1024 * 1024;
/// Most object names in one question.
pub const MAX_OBJECT_NAMES: usize = 4096;
/// Context of the signature in [`SessionKey`]; the message is the node's id, a zero byte, and the raw public key.
pub const SESSION_KEY_CONTEXT: &str = "cbrowse session key v1";

/// `GET /status`: what changes by the second, and who the node is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The node's id.
    pub id: NodeId,
    /// The node's identity; the same that certifies its TLS key.
    pub identity: IdentityKey,
    /// The fleet's word about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statement: Option<SignedStatement>,
    /// Region.
    pub region: String,
    /// Zone; may be empty.
    #[serde(default)]
    pub zone: String,
    /// Tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Version of `cbrowse-node`.
    pub version: String,
    /// Version of its Chromium; empty when none was found.
    pub browser_version: String,
    /// Sessions running.
    pub sessions: u32,
    /// Sessions it admits at most.
    pub capacity: u32,
    /// Places kept for sessions that have not begun; they count against the capacity.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub reserved: u32,
    /// 0 idle to 1 saturated: the largest of its seats' and the shares below.
    pub load: f64,
    /// Busy share of all processors over the last seconds, 0 to 1.
    pub cpu: f64,
    /// Used share of memory, 0 to 1.
    pub memory: f64,
    /// Used share of its line over the last seconds, 0 to 1, in the busier direction; absent where the operator did not say
    /// how fast the line is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<f64>,
    /// Bytes a second over the last seconds, sent and received together; absent where they cannot be counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<u64>,
    /// Admits no new session, and will end.
    pub draining: bool,
    /// Age of the figures in milliseconds.
    pub age_ms: u64,
    /// The key to seal a profile's session grant to; absent when no worker waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_key: Option<SessionKey>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A one-use HPKE public key, made by the waiting worker that will take the session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionKey {
    /// X25519 public key, 32 bytes.
    #[serde(with = "encoding::bytes")]
    pub public: Vec<u8>,
    /// The node identity's signature over [`session_key_message`].
    #[serde(with = "encoding::bytes")]
    pub signature: Vec<u8>,
}

/// What a node signs to vouch for a session key.
pub fn session_key_message(node: &NodeId, public: &[u8]) -> Vec<u8> {
    [node.as_str().as_bytes(), &[0], public].concat()
}

impl SessionKey {
    /// Whether `identity`, as node `node`, vouches for this key.
    pub fn is_vouched(&self, identity: &IdentityKey, node: &NodeId) -> bool {
        identity.verifies(SESSION_KEY_CONTEXT, &session_key_message(node, &self.public), &self.signature)
    }
}

/// `POST /v1/sessions`, and `GET /ws/new` in a header.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionRequest {
    /// The first page; the node's start page when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Further tabs, in order, for a session that continues elsewhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tabs: Vec<String>,
    /// The tabs above replace those that the profile had open, instead of joining them: the session moves.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replace_tabs: bool,
    /// Size of the page area.
    #[serde(default)]
    pub viewport: Viewport,
    /// The profile to open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<ProfileGrant>,
}

/// The right to open one head of one profile in one session, readable by one worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileGrant {
    /// Which profile.
    pub profile: ProfileId,
    /// The [`SessionKey::public`] it is sealed to.
    #[serde(with = "encoding::bytes")]
    pub session_key: Vec<u8>,
    /// HPKE encapsulated key, then ciphertext, as `cbrowse-profile` writes them.
    #[serde(with = "encoding::bytes")]
    pub sealed: Vec<u8>,
}

/// Where a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionState {
    /// Chromium is being started, the profile restored.
    Starting,
    /// Pictures can flow.
    Running,
    /// The worker owns the close: saves and ends by itself.
    Closing,
    /// Over; nothing is left of it.
    Closed,
    /// Over, with an error.
    Failed,
}

/// A session as its owner sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionView {
    /// Its id.
    pub id: SessionId,
    /// State.
    pub state: SessionState,
    /// Why, in words for a person.
    pub reason: String,
    /// Seconds since the Unix epoch.
    pub created: u64,
    /// The profile opened in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<ProfileId>,
    /// Attached clients.
    pub attached: u32,
    /// Address of the active tab.
    pub url: String,
    /// Title of the active tab; a stranger's text.
    pub title: String,
}

/// `DELETE /v1/sessions/{id}` takes `?save=true|false` and answers with this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloseReceipt {
    /// The session.
    pub id: SessionId,
    /// Whether a save is under way; the worker owns it durably.
    pub saving: bool,
}

/// `POST /v1/profiles/{profile}/missing`: which of these objects does the node lack?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectNames {
    /// Hexadecimal BLAKE3 of each object's ciphertext, 64 digits.
    pub names: Vec<String>,
}

/// `GET /v1/profiles/{profile}/proposals`: saves that the user's machine has not taken yet, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposals {
    /// What the worker signed, opaque to the node.
    pub proposals: Vec<ProposalView>,
    /// Sessions of this profile that are closing, so more comes soon.
    pub closing: u32,
    /// Sessions of this profile that run, so more comes some day.
    #[serde(default)]
    pub running: u32,
}

/// One waiting save.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProposalView {
    /// Name for `DELETE /v1/profiles/{profile}/proposals/{name}`, once taken: BLAKE3 of the bytes, 64 digits.
    pub name: String,
    /// The session that made it.
    pub session: SessionId,
    /// The signed proposal, as `cbrowse-profile` writes it.
    #[serde(with = "encoding::bytes")]
    pub proposal: Vec<u8>,
}

/// `GET /v1/profiles`: the caller's profiles that this store holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileList {
    /// In the order of their ids; at most [`MAX_PROFILES`].
    pub profiles: Vec<ProfileView>,
}

/// Most profiles of one owner that are listed, or kept.
pub const MAX_PROFILES: usize = 256;

/// One profile in a [`ProfileList`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileView {
    /// Its id.
    pub profile: ProfileId,
    /// What is current; absent where nothing was ever made current.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<PointerView>,
}

/// `GET|PUT /v1/profiles/{profile}/head`: which head is current, by its owner's signed word. A store takes a pointer only as
/// the successor of the one it has; 409 `head_conflict` otherwise, and `GET` tells which that is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PointerView {
    /// The signed pointer, as `cbrowse-profile` writes it.
    #[serde(with = "encoding::bytes")]
    pub pointer: Vec<u8>,
    /// The key that signed it. The first that an owner brings is the profile's, until that one hands over to another.
    pub verifying_key: IdentityKey,
}

/// `PUT /v1/profiles/{profile}/retain`: what has to be kept of the profile; everything else may go, once it is old.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetainRequest {
    /// The signed list, as `cbrowse-profile` writes it.
    #[serde(with = "encoding::bytes")]
    pub list: Vec<u8>,
    /// The key that signed it; see [`PointerView::verifying_key`].
    pub verifying_key: IdentityKey,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retained {
    /// Listed objects that the store lacks; whoever has them sends them again.
    pub missing: Vec<String>,
    /// Objects that were removed at once. A store that several nodes share is cleared by its operator instead.
    pub removed: u64,
}

/// `PUT /v1/profiles/{profile}/key`: another key speaks for the profile from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRequest {
    /// The new key.
    pub verifying_key: IdentityKey,
    /// The word of the key so far, as `cbrowse-profile` writes it; empty for the first key of a profile.
    #[serde(default, with = "encoding::bytes")]
    pub handed_over: Vec<u8>,
}

/// Body of `DELETE /v1/profiles/{profile}`; without one, a store that several nodes share refuses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletionRequest {
    /// The signed deletion, as `cbrowse-profile` writes it.
    #[serde(with = "encoding::bytes")]
    pub deletion: Vec<u8>,
    /// The key that signed it; see [`PointerView::verifying_key`].
    pub verifying_key: IdentityKey,
}

/// Answer to `DELETE /v1/profiles/{profile}` with status 202, where objects lie in a store that several nodes share: nothing
/// is given out any more, and the store's operator removes it with the next sweep. 204 means that all is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletionReceipt {
    /// Always `marked`.
    pub outcome: String,
    /// Where the marked objects lie, in words for a person.
    pub store: String,
}

/// RFC 9457 problem document, with a stable `code` for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Always `about:blank`; `code` tells which problem it is.
    #[serde(rename = "type", default = "blank")]
    pub kind: String,
    /// The HTTP status.
    pub status: u16,
    /// Stable, such as `unauthenticated`, `full`, `not_found`.
    pub code: String,
    /// One short line.
    pub title: String,
    /// What happened, with the value, and what to try.
    pub detail: String,
    /// The request's field that was wrong. Boxed to keep a `Result` with a problem in it small.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<Box<str>>,
    /// Whole seconds after which asking again may help; the same as the header `Retry-After`. Small for the same reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<NonZeroU16>,
}

fn blank() -> String {
    "about:blank".into()
}

impl Problem {
    /// A problem with its status, code and words.
    pub fn new(status: u16, code: &str, title: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: blank(),
            status,
            code: code.into(),
            title: title.into(),
            detail: detail.into(),
            field: None,
            retry_after: None,
        }
    }

    /// Says when asking again may help; a begun second counts as a whole one.
    #[must_use]
    pub fn after(mut self, wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        self.retry_after = Some(u16::try_from(seconds).ok().map_or(NonZeroU16::MAX, nonzero));
        self
    }

    /// How long to wait before asking again, if that was said.
    pub fn wait(&self) -> Option<Duration> {
        self.retry_after.map(|seconds| Duration::from_secs(seconds.get().into()))
    }

    /// Names the field that was wrong.
    #[must_use]
    pub fn at(mut self, field: &str) -> Self {
        self.field = Some(field.into());
        self
    }
}

fn nonzero(seconds: u16) -> NonZeroU16 {
    NonZeroU16::new(seconds).unwrap_or(NonZeroU16::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_told_in_whole_seconds_and_never_none() {
        let wait = |wait| Problem::new(503, "full", "Full", "").after(wait).wait();
        let (seconds, millis) = (Duration::from_secs, Duration::from_millis);
        for (told, heard) in
            [(0, 1000), (1, 1000), (999, 1000), (1000, 1000), (1001, 2000), (u64::MAX, 65_535_000)]
        {
            assert_eq!(wait(millis(told)), Some(millis(heard)), "{told}");
        }
        assert_eq!(wait(seconds(65_536)), Some(seconds(65_535)));
        assert_eq!(Problem::new(503, "full", "Full", "").wait(), None);
    }
}
