//! A proposal: a worker's save, offered to the user's machine, which alone makes heads.
//!
//! ```text
//! "cbv1", profile, session (texts), u64 base generation, u8 0 or u8 1 and base name 32,
//! proposed head's name 32, u64 time, u8 closing (0 clean, 1 crash), u64 new objects, u64 sent bytes,
//! Ed25519 signature 64 by the session's delegated key, context "cbrowse profile proposal v1", over all before it
//! ```
//! The proposed head is an ordinary head, signed with the delegated key, its own key wrapped so that the user alone
//! finds it. What the profile holds is said inside it, not here, where a node's server can read.

use std::path::Path;

use cbrowse_protocol::{
    id::{ProfileId, SessionId},
    identity::SIGNATURE_LENGTH,
};

use crate::{
    codec::{Malformed, Put as _, Take},
    grant::Grant,
    head::Closing,
    keys::{ProfileKeys, SealingKeys},
    meter::Meter,
    object::{ObjectName, ObjectStore},
    save::{Memory, SaveError, SaveMeta, Saved, Saving, save_again},
    secret::Randomness,
    snapshot::Snapshot,
};

/// Longest proposal in bytes.
pub const MAX_PROPOSAL_LENGTH: usize = 1024;
const CONTEXT: &str = "cbrowse profile proposal v1";
const MAGIC: [u8; 4] = *b"cbv1";
const MAX_ID_LENGTH: usize = cbrowse_protocol::id::MAX_ID_LENGTH;

/// What a worker says of its save.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// Whose.
    pub profile: ProfileId,
    /// The session inside the grant that allowed it.
    pub session: SessionId,
    /// The generation it was made from; 0 for none.
    pub base_generation: u64,
    /// That generation's head.
    pub base: Option<ObjectName>,
    /// The proposed head.
    pub head: ObjectName,
    /// Seconds since the Unix epoch, by the node's clock.
    pub time: u64,
    /// How the browser ended.
    pub closing: Closing,
    /// Objects it added to the node's store.
    pub new_objects: u64,
    /// Their bytes.
    pub sent_bytes: u64,
}

/// Why bytes are no proposal for this profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadProposalError {
    /// Not of this form.
    #[error("not a proposal")]
    Malformed(#[from] Malformed),
    /// Of another profile.
    #[error("the proposal is for profile {0}")]
    OtherProfile(ProfileId),
    /// Not signed with a key that this profile delegated to that session.
    #[error("the proposal is not signed by session {0}")]
    Signature(SessionId),
    /// Signed with a key that was delegated before the account key was rotated. Whoever has the old key could have made it.
    #[error(
        "session {0} began before the account key was rotated, so its save is not taken over; it stays on its node, sealed \
         under the earlier key"
    )]
    BeforeRotation(SessionId),
}

/// Saves `data_directory` on the worker's side and signs the proposal. `base` is what the grant's head opened to.
/// Where nothing changed the proposed head is the base itself. An empty directory is [`SaveError::Empty`]: it is never proposed.
pub fn propose(
    data_directory: &Path,
    grant: &Grant,
    base: Option<&Snapshot>,
    store: &dyn ObjectStore,
    meta: &SaveMeta,
    random: &mut dyn Randomness,
) -> Result<(Vec<u8>, Saved), SaveError> {
    propose_again(data_directory, grant, base, store, meta, &mut Memory::default(), random)
}

/// The same for a worker that saves again and again, with what its last save left in `memory`: files that did not change since
/// are not read, and what went out with an earlier proposal is not written again. Where nothing changed since the last
/// proposal, its head is proposed once more.
pub fn propose_again(
    data_directory: &Path,
    grant: &Grant,
    base: Option<&Snapshot>,
    store: &dyn ObjectStore,
    meta: &SaveMeta,
    memory: &mut Memory,
    random: &mut dyn Randomness,
) -> Result<(Vec<u8>, Saved), SaveError> {
    let keys = grant.sealing();
    let meter = Meter::default();
    let saving = Saving { keys: &keys, base, store, meta, meter: &meter };
    let saved = save_again(data_directory, saving, memory, random)?;
    let proposal = Proposal {
        profile: grant.profile.clone(),
        session: grant.session.clone(),
        base_generation: base.map_or(0, |base| base.head().generation),
        base: base.map(Snapshot::name),
        head: saved.name,
        time: meta.now,
        closing: meta.closing,
        new_objects: saved.stats.new_objects,
        sent_bytes: saved.stats.sent_bytes,
    };
    Ok((sign(&proposal, &keys), saved))
}

/// The proposal's bytes, signed.
pub(crate) fn sign(proposal: &Proposal, keys: &SealingKeys) -> Vec<u8> {
    let mut bytes = proposal.encode();
    bytes.extend_from_slice(&keys.signing.sign(CONTEXT, &bytes));
    bytes
}

impl Proposal {
    /// Reads a proposal and checks its signature on the user's side.
    pub fn read(bytes: &[u8], keys: &ProfileKeys) -> Result<Self, ReadProposalError> {
        let start = bytes.len().checked_sub(SIGNATURE_LENGTH).ok_or(Malformed { at: 0 })?;
        let (signed, signature) = bytes.split_at(start);
        let proposal = Self::decode(signed)?;
        if proposal.profile != *keys.profile() {
            return Err(ReadProposalError::OtherProfile(proposal.profile));
        }
        let is_delegated = |keys: &ProfileKeys| {
            keys.for_session(&proposal.session).verifying_key().verifies(CONTEXT, signed, signature)
        };
        match keys.epochs().position(is_delegated) {
            Some(0) => Ok(proposal),
            Some(_) => Err(ReadProposalError::BeforeRotation(proposal.session)),
            None => Err(ReadProposalError::Signature(proposal.session)),
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.put_text(self.profile.as_str());
        out.put_text(self.session.as_str());
        out.put_u64(self.base_generation);
        match &self.base {
            None => out.put_u8(0),
            Some(base) => {
                out.put_u8(1);
                out.put_bytes(base.as_bytes());
            }
        }
        out.put_bytes(self.head.as_bytes());
        out.put_u64(self.time);
        out.put_u8(match self.closing {
            Closing::Clean => 0,
            Closing::Crash => 1,
        });
        out.put_u64(self.new_objects);
        out.put_u64(self.sent_bytes);
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut take = Take::new(bytes);
        if bytes.len() > MAX_PROPOSAL_LENGTH || take.array::<4>()? != MAGIC {
            return Err(take.malformed());
        }
        let proposal = Self {
            profile: take.text(MAX_ID_LENGTH)?.parse().map_err(|_| take.malformed())?,
            session: take.text(MAX_ID_LENGTH)?.parse().map_err(|_| take.malformed())?,
            base_generation: take.u64()?,
            base: match take.u8()? {
                0 => None,
                1 => Some(ObjectName::from_bytes(take.array()?)),
                _ => return Err(take.malformed()),
            },
            head: ObjectName::from_bytes(take.array()?),
            time: take.u64()?,
            closing: match take.u8()? {
                0 => Closing::Clean,
                1 => Closing::Crash,
                _ => return Err(take.malformed()),
            },
            new_objects: take.u64()?,
            sent_bytes: take.u64()?,
        };
        if proposal.base.is_some() != (proposal.base_generation > 0) {
            return Err(take.malformed());
        }
        take.finish()?;
        Ok(proposal)
    }
}
