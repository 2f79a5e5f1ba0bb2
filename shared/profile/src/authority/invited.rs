//! A profile that another device of the same account told of: its record, and the newest head that device knew.
//!
//! The head lies in `INVITED` beside HEAD: who fetches the profile from a store must not take an older one for the newest.

use std::path::Path;

use cbrowse_protocol::{
    id::{ProfileId, ProfileName},
    identity::IdentityKey,
};

use super::{Authority, AuthorityError, HeadRef, LAYOUT_VERSION, ProfileRecord, list, state};

/// What an invitation says of one profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvitedProfile {
    /// Its id.
    pub id: ProfileId,
    /// What its owner calls it.
    pub name: ProfileName,
    /// Verifies its heads.
    pub verifying_key: IdentityKey,
    /// Those of earlier epochs, oldest first.
    pub earlier_verifying_keys: Vec<IdentityKey>,
    /// Seconds since the Unix epoch.
    pub created: u64,
    /// The newest head that the inviting device had; `None` for a profile that was never saved there.
    pub head: Option<HeadRef>,
}

impl Authority {
    /// What another device needs to know of this profile.
    pub fn invite(&self) -> Result<InvitedProfile, AuthorityError> {
        let record = self.record.clone();
        let newest = [self.head()?, self.invited()?].into_iter().flatten().max_by_key(|head| head.generation);
        Ok(InvitedProfile {
            id: record.id,
            name: record.name,
            verifying_key: record.verifying_key,
            earlier_verifying_keys: record.earlier_verifying_keys,
            created: record.created,
            head: newest,
        })
    }

    /// Makes the profile's directory on a device that was invited, or brings the keys of one that is there up to date. A name
    /// that another profile has gets the beginning of the id behind it. The caller has checked that the keys are the account's.
    pub fn welcome(root: &Path, invited: &InvitedProfile) -> Result<Self, AuthorityError> {
        let known = list(root)?;
        let authority = if let Some(record) = known.iter().find(|record| record.id == invited.id) {
            let mut authority = Self::at(root.join(record.id.as_str()), record.clone())?;
            if authority.record.verifying_key != invited.verifying_key {
                authority.trust(invited.verifying_key)?;
            }
            authority
        } else {
            let taken = known.iter().any(|record| record.name == invited.name);
            let name = if taken { beside(invited) } else { invited.name.clone() };
            let record = ProfileRecord {
                version: LAYOUT_VERSION,
                id: invited.id.clone(),
                name,
                verifying_key: invited.verifying_key,
                earlier_verifying_keys: invited.earlier_verifying_keys.clone(),
                created: invited.created,
            };
            let directory = root.join(record.id.as_str());
            state::write_json(&directory, "profile.json", &record)?;
            Self::at(directory, record)?
        };
        let newest = authority.invited()?.map_or(0, |head| head.generation);
        if let Some(head) = invited.head.as_ref().filter(|head| head.generation > newest) {
            state::write_json(&authority.directory, "INVITED", head)?;
        }
        Ok(authority)
    }

    /// The newest head that another device vouched for: an older one, or another of the same generation, is not the newest.
    pub fn invited(&self) -> Result<Option<HeadRef>, AuthorityError> {
        state::read_json(&self.directory, "INVITED")
    }
}

fn beside(invited: &InvitedProfile) -> ProfileName {
    let suffix: String = invited.id.as_str().chars().take(8).collect();
    let room = cbrowse_protocol::id::MAX_ID_LENGTH - suffix.len() - 1;
    let name: String = invited.name.as_str().chars().take(room).collect();
    format!("{name}-{suffix}").parse().unwrap_or_else(|_| invited.name.clone())
}
