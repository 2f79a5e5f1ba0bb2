//! This node's copies of what a shared store holds: bounded, the least recently used go first. Losing one costs a question.

use std::sync::Mutex;

use cbrowse_protocol::id::ProfileId;

use super::{
    directory::Directory,
    figures::Figures,
    quota::LEAST_FREE,
    shelf::{Clearable as _, Folder, Shelf as _, ShelfError},
};

/// What a cache may hold where nobody says otherwise: a few large profiles.
pub const DEFAULT_CACHE: u64 = 8 << 30;
/// A full cache is emptied to this many hundredths, so that not every object brings an eviction with it.
const KEPT_PERCENT: u64 = 90;

/// Copies in a directory.
#[derive(Debug)]
pub(super) struct Cache {
    directory: Directory,
    limit: u64,
    used: Mutex<u64>,
    figures: Figures,
}

impl Cache {
    pub(super) fn open(directory: Directory, limit: u64, figures: Figures) -> Result<Self, ShelfError> {
        let (bytes, objects) = directory.total()?;
        figures.set(bytes, objects);
        let cache = Self { directory, limit, used: Mutex::new(bytes), figures };
        cache.evict();
        Ok(cache)
    }

    /// The bytes under a name, whether they are right or not: whoever asks compares.
    pub(super) fn get(&self, profile: &ProfileId, name: &str, limit: usize) -> Option<Vec<u8>> {
        let key = Folder::objects(profile).with(name);
        let bytes = self.directory.get(&key, limit).ok().flatten()?;
        self.directory.touch(&key);
        Some(bytes)
    }

    /// Best effort: the shared store has it.
    pub(super) fn put(&self, profile: &ProfileId, name: &str, bytes: &[u8]) {
        let length = bytes.len() as u64;
        let has_room = self.directory.free().is_none_or(|free| free > length.saturating_add(LEAST_FREE));
        if !has_room || length > self.limit {
            return;
        }
        let key = Folder::objects(profile).with(name);
        if matches!(self.directory.put_new(&key, bytes), Ok(true)) {
            // The kernel's own stamp is coarser than the one of whatever was used a moment ago.
            self.directory.touch(&key);
            self.figures.added(length);
            let over = {
                let mut used = self.used.lock().expect("no holder panics");
                *used = used.saturating_add(length);
                *used > self.limit
            };
            if over {
                self.evict();
            }
        }
    }

    /// A copy that is not what it should be.
    pub(super) fn drop_one(&self, profile: &ProfileId, name: &str, length: u64) {
        if matches!(self.directory.remove(&Folder::objects(profile).with(name)), Ok(true)) {
            let mut used = self.used.lock().expect("no holder panics");
            *used = used.saturating_sub(length);
            self.figures.removed(length);
        }
    }

    /// Removes what was not used for longest, until there is room.
    fn evict(&self) {
        let mut used = self.used.lock().expect("no holder panics");
        if *used <= self.limit {
            return;
        }
        let mut copies = Vec::new();
        for profile in self.directory.profiles().unwrap_or_default() {
            let folder = Folder::objects(&profile);
            let entries = self.directory.list(&folder).unwrap_or_default();
            copies.extend(
                entries.into_iter().map(|entry| (entry.touched, entry.length, folder.with(&entry.name))),
            );
        }
        copies.sort();
        let enough = self.limit / 100 * KEPT_PERCENT;
        let mut left: u64 = copies.iter().map(|(_, length, _)| length).sum();
        for (_, length, key) in copies {
            if left <= enough {
                break;
            }
            if matches!(self.directory.remove(&key), Ok(true)) {
                self.figures.evicted(length);
                left -= length;
            }
        }
        *used = left;
    }
}
