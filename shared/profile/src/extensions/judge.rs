//! Judging extensions: what a worker writes of a generation, and what the user's machine says to a proposal.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use super::{ExtensionId, Listed, Listing, MAX_LISTING_LENGTH, carry::carried_ids, code};
use crate::{
    allowlist::{self, LISTING_FILE, PROFILE_DIRECTORY, Part},
    examine::read_small,
    manifest::{FileEntry, Manifest},
    object::ObjectStore,
    pack::ReadError,
    scan::{LeftBehind, Reason},
    snapshot::Snapshot,
};

/// The extensions that a generation may bring along.
#[derive(Debug, Default)]
pub(crate) struct Carried(BTreeMap<ExtensionId, Listed>);

impl Carried {
    /// Whether none comes along.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that a generation lists, if the user signed it. A worker's own save brings none, whatever it lists.
    pub(crate) fn of(snapshot: &Snapshot, store: &dyn ObjectStore) -> Result<Self, ReadError> {
        let listing = snapshot.manifest.files.iter().find(|file| file.path == LISTING_FILE);
        let Some(listing) = listing.filter(|_| snapshot.is_users()) else { return Ok(Self::default()) };
        let bytes = read_small(snapshot, listing, MAX_LISTING_LENGTH, store)?;
        Ok(Self(bytes.map(|bytes| Listing::decode(&bytes)).unwrap_or_default()))
    }

    /// Whether this file is written.
    pub(crate) fn admits(&self, path: &str) -> bool {
        match allowlist::extension(path) {
            Some((id, Part::State)) => self.lists(id).is_some(),
            Some((id, Part::Code)) => self.lists(id).is_some_and(|listed| {
                let inside = path.strip_prefix(&directory(&listed.id));
                inside
                    .and_then(|rest| rest.strip_prefix(listed.version.as_str()))
                    .is_some_and(|r| r.starts_with('/'))
            }),
            None => false,
        }
    }

    pub(super) fn has(&self, listed: &Listed) -> bool {
        self.0.get(&listed.id) == Some(listed)
    }

    fn lists(&self, id: &str) -> Option<&Listed> {
        self.0.values().find(|listed| listed.id.as_str() == id)
    }
}

/// Looks at what was written below `target`, and takes away every extension whose files are not the listed ones.
pub(crate) fn check_written(target: &Path, carried: &Carried) -> Vec<LeftBehind> {
    let mut stripped = Vec::new();
    for listed in carried.0.values() {
        let root = target.join(directory(&listed.id)).join(&listed.version);
        let is_there = root.is_dir();
        if is_there && code::written(&root) == Some((listed.id.clone(), listed.hash)) {
            continue;
        }
        for place in places(target, &listed.id) {
            let _ = fs::remove_dir_all(place);
        }
        if is_there {
            let path = directory(&listed.id).trim_end_matches('/').to_owned();
            stripped.push(LeftBehind { path, reason: Reason::Executable });
        }
    }
    stripped
}

/// Everywhere that something of an extension lies.
fn places(target: &Path, id: &ExtensionId) -> [std::path::PathBuf; 5] {
    let profile = target.join(PROFILE_DIRECTORY);
    [
        profile.join("Extensions").join(id.as_str()),
        profile.join("Local Extension Settings").join(id.as_str()),
        profile.join("Sync Extension Settings").join(id.as_str()),
        profile.join(format!("IndexedDB/chrome-extension_{id}_0.indexeddb.leveldb")),
        profile.join(format!("IndexedDB/chrome-extension_{id}_0.indexeddb.blob")),
    ]
}

/// The files of a proposal that a node may not have made: code that the base lacks or has otherwise, an extension of which
/// only some files are left, state of an extension that is not there. Files that no extension owns are not judged here.
pub(crate) fn changed_by_node(proposed: &Manifest, base: Option<&Manifest>) -> BTreeSet<String> {
    let none = Manifest::default();
    let base = base.unwrap_or(&none);
    let old: BTreeMap<&str, &FileEntry> = of_user(base).map(|file| (file.path.as_str(), file)).collect();
    let same = |file: &FileEntry| {
        let ids = |file: &FileEntry| file.chunks.iter().map(|chunk| chunk.id).collect::<Vec<_>>();
        old.get(file.path.as_str()).is_some_and(|old| old.size == file.size && ids(old) == ids(file))
    };
    let mut changed: BTreeSet<String> =
        of_user(proposed).filter(|file| !same(file)).map(|file| file.path.clone()).collect();
    let carried = carried_ids(&proposed.files);
    for id in &carried {
        if count(proposed, id) != count(base, id) {
            changed.insert(directory(id));
        }
    }
    let orphans = proposed.files.iter().filter(|file| match allowlist::extension(&file.path) {
        Some((id, Part::State)) => !carried.iter().any(|carried| carried.as_str() == id),
        _ => false,
    });
    changed.extend(orphans.map(|file| file.path.clone()));
    changed
}

/// Code and listing: the user's word alone.
fn of_user(manifest: &Manifest) -> impl Iterator<Item = &FileEntry> {
    manifest.files.iter().filter(|file| {
        file.path == LISTING_FILE || matches!(allowlist::extension(&file.path), Some((_, Part::Code)))
    })
}

fn count(manifest: &Manifest, id: &ExtensionId) -> usize {
    let of_id = |file: &&FileEntry| allowlist::extension(&file.path) == Some((id.as_str(), Part::Code));
    manifest.files.iter().filter(of_id).count()
}

fn directory(id: &ExtensionId) -> String {
    format!("{PROFILE_DIRECTORY}/Extensions/{id}/")
}
