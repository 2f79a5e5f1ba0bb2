//! Taking over what a node proposes: examined, signed again with the user's own key, made current.

use cbrowse_protocol::id::SessionId;

use super::{Authority, AuthorityError, HeadRecord, HeadRef, lock, state};
use crate::{
    examine::{ExamineError, examine},
    head::{Closing, Head},
    keys::ProfileKeys,
    object::ObjectStore,
    proposal::{Proposal, ReadProposalError},
    save::store_head,
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
    /// It holds what is current already, or nothing new; this is what it leaves current.
    Unchanged(HeadRef),
    /// The profile moved on meanwhile, or the session's right to write was ended; it is kept under this name, and nothing
    /// else changed.
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
    /// Later saves of one session, all made from the head it was granted, follow one another.
    pub fn accept(
        &self,
        proposal: &[u8],
        keys: &ProfileKeys,
        from: &dyn ObjectStore,
        random: &mut dyn Randomness,
    ) -> Result<Accepted, AcceptError> {
        let proposal = Proposal::read(proposal, keys)?;
        if let Judged::Done(accepted) = judge(&proposal, &self.history()?)? {
            return Ok(accepted);
        }
        let base = proposal.base.map(|name| self.snapshot_at(&name, keys)).transpose()?;
        let proposed = examine(&proposal, keys, base.as_ref(), from, self.store())
            .map_err(|source| AcceptError::Examine { session: proposal.session.clone(), source })?;
        // Fetching took its time. What another process took over meanwhile, this proposal perhaps, counts from here on.
        let _held = lock::hold(&self.directory)?;
        let upon = match judge(&proposal, &self.history()?)? {
            Judged::Done(accepted) => return Ok(accepted),
            Judged::Next(upon) => upon,
        };
        if let Some(upon) = &upon
            && self.snapshot_at(&upon.name, keys)?.manifest().has_same_files(proposed.manifest())
        {
            return Ok(Accepted::Unchanged(upon.clone()));
        }
        let next = self.sign_again(&proposed, &proposal, upon.as_ref(), keys, random)?;
        if state::current(&self.directory)? != upon || self.is_beside(&proposal.session)? {
            return Ok(Accepted::KeptAs(state::keep_beside(&self.directory, &next)?));
        }
        state::advance(&self.directory, &next)?;
        Ok(Accepted::Current(next.head))
    }

    /// The same contents under the user's own signature and a fresh head key.
    fn sign_again(
        &self,
        proposed: &Snapshot,
        proposal: &Proposal,
        upon: Option<&HeadRef>,
        keys: &ProfileKeys,
        random: &mut dyn Randomness,
    ) -> Result<HeadRecord, AuthorityError> {
        let from = proposed.head();
        let head = Head {
            profile: from.profile.clone(),
            generation: upon.map_or(0, |upon| upon.generation) + 1,
            previous: upon.map(|upon| upon.name),
            time: from.time,
            closing: from.closing,
            device: from.device.clone(),
            browser_version: from.browser_version.clone(),
            files: from.files,
            bytes: from.bytes,
            root: from.root.duplicate(),
        };
        let (name, _) = store_head(&head, &keys.sealing(), self.store(), random)?;
        Ok(HeadRecord {
            head: HeadRef { generation: head.generation, name },
            time: head.time,
            device: head.device,
            browser_version: head.browser_version,
            closing: head.closing,
            files: head.files,
            bytes: head.bytes,
            proposed: Some(proposed.name()),
            session: Some(proposal.session.clone()),
            kept_as: None,
        })
    }
}

/// What the history alone says about a proposal.
enum Judged {
    /// Nothing is left to do.
    Done(Accepted),
    /// It belongs after this head; beside it, where that is not the current one.
    Next(Option<HeadRef>),
}

fn judge(proposal: &Proposal, history: &[HeadRecord]) -> Result<Judged, AcceptError> {
    if let Some(record) = history.iter().find(|record| record.proposed == Some(proposal.head)) {
        return Ok(Judged::Done(already(record)));
    }
    let upon = match place(proposal, history)? {
        Place::Upon(upon) => upon,
        Place::Superseded(newer) => return Ok(Judged::Done(Accepted::Already(newer))),
    };
    if proposal.base == Some(proposal.head) {
        let base = HeadRef { generation: proposal.base_generation, name: proposal.head };
        return Ok(Judged::Done(Accepted::Unchanged(upon.unwrap_or(base))));
    }
    Ok(Judged::Next(upon))
}

/// Where a proposal belongs in the history.
enum Place {
    /// After this head, if it is still current.
    Upon(Option<HeadRef>),
    /// Nowhere: a later save of the same session is there.
    Superseded(HeadRef),
}

fn place(proposal: &Proposal, history: &[HeadRecord]) -> Result<Place, AcceptError> {
    let base = proposal.base.map(|name| HeadRef { generation: proposal.base_generation, name });
    let is_known = |base: &HeadRef| history.iter().any(|record| record.head == *base);
    if !base.as_ref().is_none_or(is_known) {
        return Err(AcceptError::UnknownBase(proposal.session.clone()));
    }
    // The newest generations, as long as they come from this session, and what was before them.
    let mut line = history.iter().rev().filter(|record| record.kept_as.is_none()).peekable();
    let newest = line.peek().copied();
    let before = line.find(|record| record.session.as_ref() != Some(&proposal.session));
    let follows = before.map(|record| &record.head) == base.as_ref();
    Ok(match newest.filter(|_| follows) {
        Some(newest) if newest.session.as_ref() == Some(&proposal.session) && is_later(newest, proposal) => {
            Place::Superseded(newest.head.clone())
        }
        Some(newest) => Place::Upon(Some(newest.head.clone())),
        None => Place::Upon(base),
    })
}

/// Of two saves of one session. A clean close comes last, whatever the node's clock said: it may have been set back.
fn is_later(taken: &HeadRecord, proposal: &Proposal) -> bool {
    let closes = |closing| closing == Closing::Clean;
    taken.time > proposal.time && (closes(taken.closing) || !closes(proposal.closing))
}

fn already(record: &HeadRecord) -> Accepted {
    match &record.kept_as {
        Some(kept_as) => Accepted::KeptAs(kept_as.clone()),
        None => Accepted::Already(record.head.clone()),
    }
}
