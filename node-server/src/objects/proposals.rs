//! Saves that wait for their owner, in this node's own directory.

use std::{fs, io};

use cbrowse_protocol::{
    api::ProposalView,
    id::{ProfileId, SessionId},
};

use super::{
    ObjectError, Objects, check_name,
    directory::{UNFINISHED, disk, make_private, write_new},
    full,
};

/// Proposals kept per profile; an owner who never comes back does not fill the disk. The oldest go first.
pub(super) const MAX_PROPOSALS: usize = 16;
/// Longest proposal in bytes.
const MAX_PROPOSAL_LENGTH: usize = 256 * 1024;

impl Objects {
    fn waiting(&self, profile: &ProfileId) -> std::path::PathBuf {
        self.0.local.root().join(profile.as_str()).join("proposals")
    }

    /// Keeps a save until its owner has taken it.
    pub fn propose(
        &self,
        profile: &ProfileId,
        session: &SessionId,
        micros: u128,
        proposal: &[u8],
    ) -> Result<(), ObjectError> {
        if proposal.len() > MAX_PROPOSAL_LENGTH {
            return Err(ObjectError::TooLong(proposal.len()));
        }
        self.owner(profile)?.ok_or(ObjectError::Foreign)?;
        let directory = self.waiting(profile);
        make_private(&directory).map_err(disk("make a folder for proposals"))?;
        let path = directory.join(format!("{micros:020}-{session}"));
        write_new(&path, proposal).map_err(disk("write a proposal")).map_err(full)?;
        // Only now: on a full disk the old ones are all there is.
        let mut waiting = self.proposal_names(profile)?;
        waiting.sort();
        for old in waiting.iter().take(waiting.len().saturating_sub(MAX_PROPOSALS)) {
            let _ = fs::remove_file(directory.join(old));
        }
        Ok(())
    }

    fn proposal_names(&self, profile: &ProfileId) -> Result<Vec<String>, ObjectError> {
        let entries = match fs::read_dir(self.waiting(profile)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(disk("list proposals")(error).into()),
        };
        let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        Ok(names.filter(|name| !name.ends_with(UNFINISHED)).collect())
    }

    /// Whether any save waits: its objects are named by no list yet.
    pub(super) fn has_waiting(&self, profile: &ProfileId) -> Result<bool, ObjectError> {
        Ok(!self.proposal_names(profile)?.is_empty())
    }

    /// Waiting saves, oldest first.
    pub fn proposals(&self, profile: &ProfileId) -> Result<Vec<ProposalView>, ObjectError> {
        let mut names = self.proposal_names(profile)?;
        names.sort();
        let mut views = Vec::new();
        for file in names {
            let Some(session) = file.split_once('-').and_then(|(_, session)| session.parse().ok()) else {
                continue;
            };
            let proposal = fs::read(self.waiting(profile).join(&file)).map_err(disk("read a proposal"))?;
            views.push(ProposalView {
                name: blake3::hash(&proposal).to_hex().to_string(),
                session,
                proposal,
            });
        }
        Ok(views)
    }

    /// Forgets a save that its owner has taken; `false` if there is none of that name.
    pub fn forget(&self, profile: &ProfileId, name: &str) -> Result<bool, ObjectError> {
        check_name(name)?;
        for file in self.proposal_names(profile)? {
            let path = self.waiting(profile).join(&file);
            let bytes = fs::read(&path).map_err(disk("read a proposal"))?;
            if blake3::hash(&bytes).to_hex().as_str() == name {
                fs::remove_file(&path).map_err(disk("remove a proposal"))?;
                return Ok(true);
            }
        }
        Ok(false)
    }
}
