//! What goes: objects that no list of their owner names, and profiles that their owner deletes.
//!
//! A node removes from its own directory alone. In a store that several nodes share it leaves the owner's signed word, and
//! the operator's sweep acts on it.

use cbrowse_profile::retain::{Deletion, GRACE_SECONDS, MAX_RETAINED, RetainList};
use cbrowse_protocol::{
    api::{DeletionRequest, RetainRequest, Retained},
    id::ProfileId,
    identity::IdentityKey,
};

use super::{
    ObjectError, Objects, WordError,
    shelf::{Clearable, Folder, Key, Shelf, ShelfError},
};

/// Longest stored list in bytes: names as base64, and what is around them.
const MAX_LIST_LENGTH: usize = MAX_RETAINED * 44 + 4096;
/// Longest stored deletion in bytes.
pub(super) const MAX_MARKER_LENGTH: usize = 4096;

/// What became of a profile that its owner deletes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// Nothing of it is here any more.
    Gone,
    /// It lies where several nodes share it, and the operator removes it.
    Marked,
}

/// What a collection did, or would do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Objects removed.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Objects that no list names and that are too young to go.
    pub young: u64,
}

/// Removes the objects that `list` does not name, and that nobody has asked for in `grace` seconds.
pub(super) fn collect(
    shelf: &(impl Clearable + ?Sized),
    list: &RetainList,
    now: u64,
    grace: u64,
    mut remove: impl FnMut(&Key, u64) -> Result<(), ShelfError>,
) -> Result<Collected, ShelfError> {
    let folder = Folder::objects(&list.profile);
    let mut collected = Collected::default();
    for entry in shelf.list(&folder)? {
        // A name that no list can hold is no object's.
        let retained = entry.name.parse().is_ok_and(|name| list.retains(&name));
        if retained {
            continue;
        }
        if now.saturating_sub(entry.touched.as_secs()) <= grace {
            collected.young += 1;
            continue;
        }
        remove(&folder.with(&entry.name), entry.length)?;
        collected.objects += 1;
        collected.bytes += entry.length;
    }
    Ok(collected)
}

/// The newest list that counts, and its name; a forged one in front of it does not.
pub(super) fn newest_list(
    shelf: &(impl Shelf + ?Sized),
    profile: &ProfileId,
    key: &IdentityKey,
) -> Result<Option<(RetainList, String)>, ShelfError> {
    let folder = Folder::retain(profile);
    for entry in shelf.list(&folder)?.into_iter().rev() {
        let Some(bytes) = shelf.get(&folder.with(&entry.name), MAX_LIST_LENGTH)? else { continue };
        let Ok(request) = serde_json::from_slice::<RetainRequest>(&bytes) else { continue };
        if let Ok(list) = RetainList::read(&request.list, profile, key) {
            return Ok(Some((list, entry.name)));
        }
    }
    Ok(None)
}

/// The name under which a list is kept: the last one counts.
pub(super) fn list_name(list: &RetainList) -> String {
    format!("{:020}-{:020}", list.generation, list.time)
}

impl Objects {
    /// Keeps the owner's list. In the node's own directory, what it does not name goes at once, unless a session works with
    /// the profile, or a save waits: those have objects that no list can name yet.
    pub fn retain(
        &self,
        profile: &ProfileId,
        request: &RetainRequest,
        is_in_use: bool,
        now: u64,
    ) -> Result<Retained, ObjectError> {
        self.check_key(profile, &request.verifying_key)?;
        let list = RetainList::read(&request.list, profile, &request.verifying_key)
            .map_err(|error| WordError::Unsigned(error.to_string()))?;
        let (folder, own) = (Folder::retain(profile), list_name(&list));
        let newest = newest_list(&*self.0.shelf, profile, &request.verifying_key)?;
        if let Some((newest, _)) = newest.filter(|(newest, _)| newest.supersedes(&list)) {
            return Err(WordError::Older { offered: list.generation, current: newest.generation }.into());
        }
        self.0
            .shelf
            .put_new(&folder.with(&own), &serde_json::to_vec(request).expect("plain data serializes"))?;
        let names: Vec<String> = list.names().iter().map(ToString::to_string).collect();
        let missing = self.missing(profile, &names)?;
        let mut removed = 0;
        if !self.is_shared() && !is_in_use && !self.has_waiting(profile)? {
            removed = self.collect_here(&list, &own, now)?;
        }
        Ok(Retained { missing, removed })
    }

    fn collect_here(&self, list: &RetainList, newest: &str, now: u64) -> Result<u64, ObjectError> {
        let local = &self.0.local;
        let collected = collect(local, list, now, GRACE_SECONDS, |key, length| {
            if local.remove(key)? {
                self.0.figures.collected(length);
            }
            Ok(())
        })?;
        let folder = Folder::retain(&list.profile);
        for older in local.list(&folder)?.into_iter().filter(|entry| entry.name != newest) {
            local.remove(&folder.with(&older.name))?;
        }
        if collected.objects > 0 {
            self.ledger().forget();
        }
        Ok(collected.objects)
    }

    /// Removes all that this node holds of a profile; in a shared store, leaves its owner's word that all may go.
    pub fn remove(
        &self,
        profile: &ProfileId,
        word: Option<&DeletionRequest>,
    ) -> Result<Removal, ObjectError> {
        if self.is_shared() {
            let word = word.ok_or(WordError::NoDeletion)?;
            self.check_key(profile, &word.verifying_key)?;
            Deletion::read(&word.deletion, profile, &word.verifying_key)
                .map_err(|error| WordError::Unsigned(error.to_string()))?;
            let bytes = serde_json::to_vec(word).expect("plain data serializes");
            self.0.shelf.put_new(&Key::deleted(profile), &bytes)?;
        }
        self.owners().remove(profile);
        let (bytes, objects) = self
            .0
            .local
            .list(&Folder::objects(profile))?
            .iter()
            .fold((0, 0), |sum, entry| (sum.0 + entry.length, sum.1 + 1_u64));
        self.0.local.remove_profile(profile)?;
        tracing::info!("removed {objects} objects of a profile ({bytes} bytes) by its owner's word");
        let (bytes, objects) = self.0.local.total()?;
        self.0.figures.set(bytes, objects);
        self.ledger().forget();
        Ok(if self.is_shared() { Removal::Marked } else { Removal::Gone })
    }
}
