//! An operator's sweep of a store that several nodes share: what owners deleted, and what no list of theirs names.
//!
//! Everything that decides is a signed word, checked here again: a node that means no good can add words to a store, and
//! none that count. Right before anything of a profile is removed, its newest list is read.

use cbrowse_profile::retain::Deletion;
use cbrowse_protocol::{api::DeletionRequest, id::ProfileId, identity::IdentityKey};

use super::{
    garbage::{Collected, MAX_MARKER_LENGTH, collect, newest_list},
    heads::{KEPT_POINTERS, keys_of},
    shelf::{Clearable, Folder, Key, ShelfError},
};

/// Whether things are removed, or only counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Removed.
    Act,
    /// Counted.
    DryRun,
}

/// What a sweep did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// Profiles that were looked at.
    pub profiles: u64,
    /// Profiles that their owners deleted.
    pub deleted: u64,
    /// Profiles without a list that counts; nothing of them is touched.
    pub unlisted: u64,
    /// Objects.
    pub collected: Collected,
    /// Lists and pointers that later ones replace.
    pub words: u64,
}

/// Sweeps. `grace` in seconds; `now` since the Unix epoch.
pub fn sweep(shelf: &dyn Clearable, now: u64, grace: u64, mode: Mode) -> Result<Swept, ShelfError> {
    let mut swept = Swept::default();
    for profile in shelf.profiles()? {
        swept.profiles += 1;
        let Some(key) = keys_of(shelf, &profile)?.pop() else {
            swept.unlisted += 1;
            continue;
        };
        if is_deleted(shelf, &profile, &key)? {
            clear(shelf, &profile, mode, &mut swept)?;
            continue;
        }
        let Some((list, name)) = newest_list(shelf, &profile, &key)? else {
            swept.unlisted += 1;
            continue;
        };
        let collected = collect(shelf, &list, now, grace, |key, _| remove(shelf, key, mode))?;
        swept.collected.objects += collected.objects;
        swept.collected.bytes += collected.bytes;
        swept.collected.young += collected.young;
        forget_words(shelf, &profile, &name, mode, &mut swept)?;
    }
    Ok(swept)
}

fn remove(shelf: &dyn Clearable, key: &Key, mode: Mode) -> Result<(), ShelfError> {
    match mode {
        Mode::Act => shelf.remove(key).map(drop),
        Mode::DryRun => Ok(()),
    }
}

fn is_deleted(shelf: &dyn Clearable, profile: &ProfileId, key: &IdentityKey) -> Result<bool, ShelfError> {
    let Some(bytes) = shelf.get(&Key::deleted(profile), MAX_MARKER_LENGTH)? else { return Ok(false) };
    let word: Option<DeletionRequest> = serde_json::from_slice(&bytes).ok();
    Ok(word.is_some_and(|word| Deletion::read(&word.deletion, profile, key).is_ok()))
}

/// The marker, the owner and the keys stay: nobody else gets the id, and no device brings the profile back unknowingly.
fn clear(
    shelf: &dyn Clearable,
    profile: &ProfileId,
    mode: Mode,
    swept: &mut Swept,
) -> Result<(), ShelfError> {
    swept.deleted += 1;
    let objects = Folder::objects(profile);
    for entry in shelf.list(&objects)? {
        remove(shelf, &objects.with(&entry.name), mode)?;
        swept.collected.objects += 1;
        swept.collected.bytes += entry.length;
    }
    for folder in [Folder::heads(profile), Folder::retain(profile)] {
        for entry in shelf.list(&folder)? {
            remove(shelf, &folder.with(&entry.name), mode)?;
            swept.words += 1;
        }
    }
    if let Some(owner) = shelf.get(&Key::owner(profile), MAX_MARKER_LENGTH)? {
        remove(shelf, &Key::of_owner(&String::from_utf8_lossy(&owner), profile), mode)?;
    }
    Ok(())
}

fn forget_words(
    shelf: &dyn Clearable,
    profile: &ProfileId,
    newest: &str,
    mode: Mode,
    swept: &mut Swept,
) -> Result<(), ShelfError> {
    let lists = Folder::retain(profile);
    for entry in shelf.list(&lists)?.into_iter().filter(|entry| entry.name.as_str() < newest) {
        remove(shelf, &lists.with(&entry.name), mode)?;
        swept.words += 1;
    }
    let heads = Folder::heads(profile);
    let all = shelf.list(&heads)?;
    for entry in all.iter().take(all.len().saturating_sub(KEPT_POINTERS)) {
        remove(shelf, &heads.with(&entry.name), mode)?;
        swept.words += 1;
    }
    Ok(())
}
