//! What one save leaves for the next.

use super::{LeftBehind, SaveMeta, SaveStats, Saved};
use crate::{
    head::{Head, Root},
    keys::SealingKeys,
    manifest::{ChunkRef, Manifest},
    object::ObjectName,
    snapshot::Snapshot,
    stat_cache::StatCache,
};

/// What a save leaves for the next one: how files looked when they were read, and, for a worker that saves again and again
/// upon the one head that it was granted, what it saved last. Belongs to one profile and one data directory; with any other
/// it is of no use and does no harm.
#[derive(Debug, Default)]
pub struct Memory {
    pub(super) stats: StatCache,
    pub(super) latest: Option<Latest>,
}

/// A save that is in the store, and perhaps nobody's current head yet.
#[derive(Debug)]
pub(super) struct Latest {
    pub(super) name: ObjectName,
    pub(super) head: Head,
    pub(super) manifest: Manifest,
}

/// What a save is compared with.
#[derive(Clone, Copy)]
pub(super) struct Upon<'a> {
    pub(super) name: ObjectName,
    head: &'a Head,
    pub(super) manifest: &'a Manifest,
    pub(super) root: &'a Root,
    /// It is what the next generation is made upon, and no earlier save upon that.
    is_base: bool,
}

impl Memory {
    /// What the profile's directory on the user's machine remembers.
    pub(crate) fn load(directory: &std::path::Path, keys: &SealingKeys) -> Self {
        Self { stats: StatCache::load(directory, keys), latest: None }
    }

    /// Leaves it there.
    pub(crate) fn keep(&self, directory: &std::path::Path, keys: &SealingKeys) {
        self.stats.keep(directory, keys);
    }

    /// The last save, if it was made upon the same base; otherwise the base.
    pub(super) fn upon<'a>(&'a self, base: Option<&'a Snapshot>) -> Option<Upon<'a>> {
        let base_name = base.map(Snapshot::name);
        match (&self.latest, base) {
            (Some(latest), _) if latest.head.previous == base_name => Some(Upon {
                name: latest.name,
                head: &latest.head,
                manifest: &latest.manifest,
                root: &latest.head.root,
                is_base: false,
            }),
            (_, Some(base)) => Some(Upon {
                name: base.name(),
                head: base.head(),
                manifest: &base.manifest,
                root: &base.head().root,
                is_base: true,
            }),
            (_, None) => None,
        }
    }
}

impl<'a> Upon<'a> {
    pub(super) fn chunks(&self) -> impl Iterator<Item = &'a ChunkRef> + Clone + use<'a> {
        self.manifest.files.iter().flat_map(|file| &file.chunks)
    }

    /// Whether a save of these files would say nothing new. Of one session the clean close is worth a head of its own.
    pub(super) fn is_as_good_as(&self, manifest: &Manifest, meta: &SaveMeta) -> bool {
        (self.is_base || self.head.closing == meta.closing) && self.manifest.has_same_files(manifest)
    }

    pub(super) fn unchanged(&self, left_behind: Vec<LeftBehind>) -> Saved {
        let Head { files, bytes, generation, .. } = *self.head;
        let stats = SaveStats { files, bytes, ..SaveStats::default() };
        Saved { name: self.name, generation, stats, left_behind }
    }
}
