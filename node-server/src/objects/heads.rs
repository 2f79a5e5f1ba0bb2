//! Which head of a profile is current, by its owner's signed word, and which key speaks for the profile.
//!
//! A node reads nothing of a profile, but it can tell whose word it has: the first key that an owner brings is kept, and no
//! other counts until that one hands over to it. A pointer is taken as the successor of the one that is here, and of no
//! other: the owner's devices find out here that they moved on side by side.

use cbrowse_profile::{
    pointer::{MAX_POINTER_LENGTH, Pointer},
    retain::is_next_key,
};
use cbrowse_protocol::{
    api::{KeyRequest, MAX_PROFILES, PointerView, ProfileList, ProfileView},
    id::ProfileId,
    identity::IdentityKey,
};

use super::{
    ObjectError, Objects,
    shelf::{Clearable as _, Folder, Key, Shelf, ShelfError},
};

/// Longest note of a key in bytes.
const MAX_KEY_LENGTH: usize = 1024;
/// Pointers that stay in a node's own directory: the current one, and a few for whoever looks into what happened.
pub(super) const KEPT_POINTERS: usize = 8;
/// Things in the place of pointers that are passed over; more are an operator's matter.
const MOST_PASSED_OVER: usize = 16;
/// Keys that a profile may have had. Each is one rotation; a longer chain is not of this program's making.
const MAX_KEYS: usize = 1000;

/// Why a signed word of the owner does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WordError {
    /// Another key speaks for this profile.
    #[error("another key speaks for this profile; it has to hand over to the new one")]
    OtherKey,
    /// Unreadable, of another profile, or with a wrong signature.
    #[error("{0}")]
    Unsigned(String),
    /// A pointer that does not follow the current one.
    #[error("generation {current} is current here, and this pointer does not follow it")]
    Conflict {
        /// What is current.
        current: u64,
    },
    /// A pointer or list that is older than what is here.
    #[error("generation {offered} is older than generation {current}, which is here")]
    Older {
        /// What came.
        offered: u64,
        /// What is here.
        current: u64,
    },
    /// A shared store takes away nothing without one.
    #[error("a store that several nodes share deletes a profile by its owner's signed word only")]
    NoDeletion,
}

/// The keys that have spoken for a profile, each handed over by the one before; the last one speaks now.
pub(super) fn keys_of(
    shelf: &(impl Shelf + ?Sized),
    profile: &ProfileId,
) -> Result<Vec<IdentityKey>, ShelfError> {
    let folder = Folder::keys(profile);
    let mut chain: Vec<IdentityKey> = Vec::new();
    for entry in shelf.list(&folder)?.iter().take(MAX_KEYS) {
        let bytes = shelf.get(&folder.with(&entry.name), MAX_KEY_LENGTH)?.unwrap_or_default();
        let Ok(next) = serde_json::from_slice::<KeyRequest>(&bytes) else { break };
        let is_next = |key: &IdentityKey| is_next_key(profile, key, &next.verifying_key, &next.handed_over);
        if !chain.last().is_none_or(is_next) {
            break;
        }
        chain.push(next.verifying_key);
    }
    Ok(chain)
}

fn number(of: usize) -> String {
    format!("{of:08}")
}

impl Objects {
    /// Refuses a key that does not speak for the profile; the first one does from now on.
    pub(super) fn check_key(&self, profile: &ProfileId, key: &IdentityKey) -> Result<(), ObjectError> {
        let first = KeyRequest { verifying_key: *key, handed_over: Vec::new() };
        match keys_of(&*self.0.shelf, profile)?.last() {
            Some(known) if known == key => Ok(()),
            Some(_) => Err(WordError::OtherKey.into()),
            None if self.note_key(profile, &first, 0)? => Ok(()),
            // Somebody was faster; whose it was counts.
            None => self.check_key(profile, key),
        }
    }

    fn note_key(&self, profile: &ProfileId, key: &KeyRequest, at: usize) -> Result<bool, ObjectError> {
        let bytes = serde_json::to_vec(key).expect("plain data serializes");
        Ok(self.0.shelf.put_new(&Folder::keys(profile).with(&number(at)), &bytes)?)
    }

    /// Another key speaks for the profile from now on, by the word of the one that did.
    pub fn hand_over(&self, profile: &ProfileId, next: &KeyRequest) -> Result<(), ObjectError> {
        let chain = keys_of(&*self.0.shelf, profile)?;
        let Some(key) = chain.last() else {
            return self.check_key(profile, &next.verifying_key);
        };
        if *key == next.verifying_key {
            return Ok(());
        }
        if !is_next_key(profile, key, &next.verifying_key, &next.handed_over) {
            return Err(WordError::OtherKey.into());
        }
        if self.note_key(profile, next, chain.len())? { Ok(()) } else { self.hand_over(profile, next) }
    }

    /// What is current; `None` where nothing was ever made current. What is no word of the owner is passed over: whoever may
    /// write to a shared store may put anything there.
    pub fn head(&self, profile: &ProfileId) -> Result<Option<PointerView>, ObjectError> {
        let folder = Folder::heads(profile);
        let entries = self.0.shelf.list(&folder)?;
        if entries.is_empty() {
            return Ok(None);
        }
        let keys = keys_of(&*self.0.shelf, profile)?;
        for entry in entries.iter().rev().take(MOST_PASSED_OVER) {
            let Some(bytes) = self.0.shelf.get(&folder.with(&entry.name), MAX_POINTER_LENGTH * 2)? else {
                continue;
            };
            let view: Option<PointerView> = serde_json::from_slice(&bytes).ok();
            let is_word = |view: &PointerView| {
                keys.contains(&view.verifying_key) && read_pointer(profile, view).is_ok()
            };
            if let Some(view) = view.filter(is_word) {
                return Ok(Some(view));
            }
        }
        Ok(None)
    }

    /// Makes a pointer the current one, if it follows the one that is; the same one again is no error.
    pub fn advance(&self, profile: &ProfileId, view: &PointerView) -> Result<(), ObjectError> {
        self.check_key(profile, &view.verifying_key)?;
        let next = read_pointer(profile, view)?;
        let current = self.head(profile)?.map(|current| read_pointer(profile, &current)).transpose()?;
        match &current {
            Some(current) if current.head == next.head => return Ok(()),
            Some(current) if current.head.generation > next.head.generation => {
                let (offered, current) = (next.head.generation, current.head.generation);
                return Err(WordError::Older { offered, current }.into());
            }
            Some(current) if next.replaced.as_ref() != Some(&current.head) => {
                return Err(WordError::Conflict { current: current.head.generation }.into());
            }
            // Whoever saw something here that is here no more has seen another store, or one that lost it: its pointer is as
            // good as any, since nothing stands against it.
            _ => {}
        }
        let replaced = current.as_ref().map_or(0, |current| current.head.generation);
        let bytes = serde_json::to_vec(view).expect("plain data serializes");
        if self.0.shelf.put_new(&Folder::heads(profile).with(&format!("{replaced:020}")), &bytes)? {
            self.forget_old_pointers(profile);
            return Ok(());
        }
        // Another device was faster. It may have been this very pointer.
        let current = self.head(profile)?.map(|current| read_pointer(profile, &current)).transpose()?;
        match current {
            Some(current) if current.head == next.head => Ok(()),
            Some(current) => Err(WordError::Conflict { current: current.head.generation }.into()),
            None => Err(ObjectError::Missing),
        }
    }

    fn forget_old_pointers(&self, profile: &ProfileId) {
        if self.is_shared() {
            return;
        }
        let folder = Folder::heads(profile);
        let all = self.0.local.list(&folder).unwrap_or_default();
        for old in all.iter().take(all.len().saturating_sub(KEPT_POINTERS)) {
            let _ = self.0.local.remove(&folder.with(&old.name));
        }
    }

    /// An owner's profiles, and what is current of each.
    pub fn profiles_of(&self, subject: &str) -> Result<ProfileList, ObjectError> {
        let mut profiles = Vec::new();
        for profile in self.0.shelf.profiles_of(subject)?.into_iter().take(MAX_PROFILES) {
            match self.check_owner(&profile, subject) {
                Err(ObjectError::Deleted | ObjectError::Foreign) => continue,
                checked => checked?,
            }
            let current = self.head(&profile)?;
            profiles.push(ProfileView { profile, current });
        }
        Ok(ProfileList { profiles })
    }

    pub(super) fn is_deleted(&self, profile: &ProfileId) -> Result<bool, ObjectError> {
        // In a directory of its own the node removes the profile itself.
        Ok(self.is_shared() && self.0.shelf.get(&Key::deleted(profile), MAX_KEY_LENGTH)?.is_some())
    }
}

fn read_pointer(profile: &ProfileId, view: &PointerView) -> Result<Pointer, ObjectError> {
    Pointer::read(&view.pointer, profile, &view.verifying_key)
        .map_err(|error| WordError::Unsigned(error.to_string()).into())
}
