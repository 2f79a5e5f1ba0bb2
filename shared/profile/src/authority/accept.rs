//! Taking over what a node proposes: examined, signed again with the user's own key, made current.

use cbrowse_protocol::id::SessionId;

use super::{Authority, AuthorityError, HeadRecord, HeadRef, head_ref};
use crate::{
    examine::{ExamineError, examine},
    head::{Head, Root},
    keys::ProfileKeys,
    object::{ObjectName, ObjectStore},
    proposal::{Proposal, ReadProposalError},
    save::{SaveMeta, SaveStats, Saving, store_head},
    secret::Randomness,
    snapshot::Snapshot,
};

/// What became of a proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// It is the current generation now.
    Current(HeadRef),
    /// It was taken over before.
    Already(HeadRef),
    /// It holds what is current already.
    Unchanged(HeadRef),
    /// The profile moved on meanwhile; it is kept under this name, and nothing else changed.
    KeptAs(String),
}

/// Why a proposal was refused. The profile is as it was.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// No proposal of this profile.
    #[error("read the proposal")]
    Proposal(#[from] ReadProposalError),
    /// Made from a head that was never this profile's.
    #[error("session {0} proposes a change of a head that was never this profile's")]
    UnknownBase(SessionId),
    /// Its contents were refused.
    #[error("examine what session {session} proposes")]
    Examine {
        /// Which session.
        session: SessionId,
        /// Why.
        source: ExamineError,
    },
    /// This side failed.
    #[error("take over the proposal")]
    Authority(#[from] AuthorityError),
}

impl Authority {
    /// Checks a proposal, fetches what it adds from `from` (the node's store), and makes it the next generation.
    pub fn accept(
        &self,
        proposal: &[u8],
        keys: &ProfileKeys,
        from: &dyn ObjectStore,
        random: &mut dyn Randomness,
    ) -> Result<Accepted, AcceptError> {
        let proposal = Proposal::read(proposal, keys)?;
        let history = self.history()?;
        if let Some(record) = history.iter().find(|record| record.proposed == Some(proposal.head)) {
            return Ok(already(record));
        }
        let base = self.base_of(&proposal, &history, keys)?;
        let proposed = examine(&proposal, keys, base.as_ref(), from, self.store())
            .map_err(|source| AcceptError::Examine { session: proposal.session.clone(), source })?;
        if let Some(base) = &base
            && base.manifest().files() == proposed.manifest().files()
        {
            return Ok(Accepted::Unchanged(head_ref(base)));
        }
        let next = self.sign_again(&proposed, base.as_ref(), keys, random)?;
        match self.adopt(base.as_ref().map(head_ref).as_ref(), &next) {
            Ok(head) => Ok(Accepted::Current(head)),
            Err(AuthorityError::Conflict { kept_as }) => Ok(Accepted::KeptAs(kept_as)),
            Err(error) => Err(error.into()),
        }
    }

    fn base_of(
        &self,
        proposal: &Proposal,
        history: &[HeadRecord],
        keys: &ProfileKeys,
    ) -> Result<Option<Snapshot>, AcceptError> {
        let Some(name) = proposal.base else { return Ok(None) };
        let claimed = HeadRef { generation: proposal.base_generation, name };
        if !history.iter().any(|record| record.head == claimed) {
            return Err(AcceptError::UnknownBase(proposal.session.clone()));
        }
        Ok(Some(self.snapshot_at(&name, keys)?))
    }

    /// The same contents under the user's own signature and a fresh head key.
    fn sign_again(
        &self,
        proposed: &Snapshot,
        base: Option<&Snapshot>,
        keys: &ProfileKeys,
        random: &mut dyn Randomness,
    ) -> Result<HeadRecord, AuthorityError> {
        let from = proposed.head();
        let head = Head {
            profile: from.profile.clone(),
            generation: base.map_or(0, |base| base.head().generation) + 1,
            previous: base.map(Snapshot::name),
            time: from.time,
            closing: from.closing,
            device: from.device.clone(),
            browser_version: from.browser_version.clone(),
            files: from.files,
            bytes: from.bytes,
            root: Root {
                length: from.root.length,
                packs: from.root.packs.duplicate(),
                chunks: from.root.chunks.clone(),
            },
        };
        let meta = SaveMeta {
            now: from.time,
            device: from.device.clone(),
            browser_version: from.browser_version.clone(),
            closing: from.closing,
        };
        let sealing = keys.sealing();
        let saving = Saving { keys: &sealing, base, store: self.store(), meta: &meta };
        let (name, _) = store_head(&head, saving, random)?;
        let stats = SaveStats { files: head.files, bytes: head.bytes, ..SaveStats::default() };
        let next = HeadRef { generation: head.generation, name };
        Ok(HeadRecord::of(next, &meta, &stats, Some::<ObjectName>(proposed.name())))
    }
}

fn already(record: &HeadRecord) -> Accepted {
    match &record.kept_as {
        Some(kept_as) => Accepted::KeptAs(kept_as.clone()),
        None => Accepted::Already(record.head.clone()),
    }
}
