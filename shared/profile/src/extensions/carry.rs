//! Sealing extensions: by the user's word from this machine's files, or as the generation before carries them.

use std::{collections::BTreeSet, path::Path};

use super::{
    Allowed, Carried, ExtensionId, LISTING_VERSION, Listed, Listing, Word,
    code::{Code, Hasher},
};
use crate::{
    allowlist::{self, LISTING_FILE, PROFILE_DIRECTORY, Part},
    chunk::{Cutter, SplitError},
    manifest::{ChunkRef, FileEntry, Manifest},
    pack::WriteError,
    scan::{LeftBehind, Reason},
};

/// What of extensions a save carries.
pub(crate) enum Carry<'a> {
    /// What the generation before carries, byte for byte. A worker can do nothing else.
    AsBase,
    /// What the user's word allows; beside it what the generation before lists.
    Allowed(&'a Word, Carried),
}

impl Carry<'_> {
    /// Whose state is looked for on the disk, by what the browser there calls them.
    pub(crate) fn known_ids(&self, base: Option<&Manifest>) -> BTreeSet<ExtensionId> {
        match self {
            Self::AsBase => base.map(|base| carried_ids(&base.files)).unwrap_or_default(),
            Self::Allowed(word, _) => word.allowed.iter().map(|allowed| allowed.known_as.clone()).collect(),
        }
    }

    /// Whether there is nothing to carry, and nothing to take away.
    pub(crate) fn is_idle(&self, base: Option<&Manifest>, files: &[FileEntry]) -> bool {
        let concerns =
            |file: &FileEntry| file.path == LISTING_FILE || allowlist::extension(&file.path).is_some();
        matches!(self, Self::AsBase)
            && !files.iter().any(concerns)
            && !base.is_some_and(|base| base.files.iter().any(concerns))
    }

    /// Where a file that was found on the disk belongs; `None` where it cannot travel under the extension's new id.
    fn travelling_path(&self, path: &str) -> Option<String> {
        let (Self::Allowed(word, _), Some((id, Part::State))) = (self, allowlist::extension(path)) else {
            return Some(path.to_owned());
        };
        let allowed = word.allowed.iter().find(|allowed| allowed.known_as.as_str() == id)?;
        if allowed.known_as == allowed.listed.id {
            return Some(path.to_owned());
        }
        // A database of IndexedDB holds its origin in many places and would not be found again.
        let movable = !path.starts_with("Default/IndexedDB/");
        movable.then(|| path.replacen(id, allowed.listed.id.as_str(), 1))
    }
}

/// The ids whose code is among these files.
pub(crate) fn carried_ids(files: &[FileEntry]) -> BTreeSet<ExtensionId> {
    let code = files.iter().filter_map(|file| match allowlist::extension(&file.path) {
        Some((id, Part::Code)) => id.parse().ok(),
        _ => None,
    });
    code.collect()
}

/// Seals what `carry` says through `add`, which gives a chunk its place, into `files`, which hold the rest of the save in order.
/// Gives what was allowed and could not come along.
pub(crate) fn seal(
    carry: &Carry<'_>,
    data_directory: &Path,
    base: Option<&Manifest>,
    files: &mut Vec<FileEntry>,
    mut add: impl FnMut(&[u8]) -> Result<ChunkRef, WriteError>,
) -> Result<Vec<LeftBehind>, WriteError> {
    files.retain_mut(|file| carry.travelling_path(&file.path).map(|path| file.path = path).is_some());
    let (mut listing, mut left_behind) = (Vec::new(), Vec::new());
    match (carry, base) {
        (Carry::AsBase, None) => {}
        (Carry::AsBase, Some(base)) => {
            let of_user = |file: &&FileEntry| is_code(file) || file.path == LISTING_FILE;
            files.extend(base.files.iter().filter(of_user).cloned());
        }
        (Carry::Allowed(word, before), base) => {
            for allowed in &word.allowed {
                let base = base.map(|base| (base, before));
                match seal_one(allowed, data_directory, base, &mut add)? {
                    Some(code) => {
                        files.extend(code);
                        listing.push(allowed.listed.clone());
                    }
                    None => left_behind.push(missing(&allowed.listed.id)),
                }
            }
        }
    }
    files.extend(seal_listing(listing, &mut add)?);
    settle_state(base, files);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(left_behind)
}

/// The extension's files from this machine if they still are what was allowed, else as the generation before has them.
fn seal_one(
    allowed: &Allowed,
    data_directory: &Path,
    base: Option<(&Manifest, &Carried)>,
    add: &mut impl FnMut(&[u8]) -> Result<ChunkRef, WriteError>,
) -> Result<Option<Vec<FileEntry>>, WriteError> {
    let root = data_directory.join(&allowed.path);
    if let Ok(code) = Code::read(&root, &allowed.known_as)
        && let Some(files) = seal_code(&allowed.listed, &code, add)?
    {
        return Ok(Some(files));
    }
    let version = format!("{}{}/", directory(&allowed.listed.id), allowed.listed.version);
    // The same bytes, whatever became of them here.
    let Some((base, _)) = base.filter(|(_, listed)| listed.has(&allowed.listed)) else { return Ok(None) };
    let old = base.files.iter().filter(|file| file.path.starts_with(&version));
    let files: Vec<FileEntry> = old.cloned().collect();
    Ok((!files.is_empty()).then_some(files))
}

fn seal_code(
    listed: &Listed,
    code: &Code,
    add: &mut impl FnMut(&[u8]) -> Result<ChunkRef, WriteError>,
) -> Result<Option<Vec<FileEntry>>, WriteError> {
    let (mut files, mut hasher) = (Vec::new(), Hasher::new());
    if code.id != listed.id || !matches!(code.hash(), Ok(hash) if hash == listed.hash) {
        return Ok(None);
    }
    for path in code.paths() {
        let Ok(bytes) = code.bytes(path) else { return Ok(None) };
        hasher.add(path, &bytes);
        let stored = format!("{}{}/{path}", directory(&listed.id), listed.version);
        files.push(entry(stored, &bytes, add)?);
    }
    // It may have changed between two looks.
    Ok((hasher.finish() == listed.hash).then_some(files))
}

fn seal_listing(
    extensions: Vec<Listed>,
    add: &mut impl FnMut(&[u8]) -> Result<ChunkRef, WriteError>,
) -> Result<Option<FileEntry>, WriteError> {
    if extensions.is_empty() {
        return Ok(None);
    }
    let listing = Listing { version: LISTING_VERSION, extensions };
    entry(LISTING_FILE.to_owned(), &listing.encode(), add).map(Some)
}

fn entry(
    path: String,
    bytes: &[u8],
    add: &mut impl FnMut(&[u8]) -> Result<ChunkRef, WriteError>,
) -> Result<FileEntry, WriteError> {
    let mut chunks = Vec::new();
    let cut = Cutter::new().split(bytes, |clear| add(clear).map(|chunk| chunks.push(chunk)));
    match cut {
        Ok(()) => Ok(FileEntry { path, size: bytes.len() as u64, chunks }),
        Err(SplitError::Sink(error)) => Err(error),
        Err(SplitError::Read(error)) => unreachable!("bytes in memory are always read: {error}"),
    }
}

/// State goes with its extension. One that is carried and has no state on the disk was not loaded there: what it had stays.
fn settle_state(base: Option<&Manifest>, files: &mut Vec<FileEntry>) {
    let carried = carried_ids(files);
    let is_carried = |id: &str| carried.iter().any(|carried| carried.as_str() == id);
    files.retain(|file| state_of(file).is_none_or(is_carried));
    let Some(base) = base else { return };
    let on_disk: BTreeSet<String> = files.iter().filter_map(state_of).map(str::to_owned).collect();
    let kept = base
        .files
        .iter()
        .filter(|file| state_of(file).is_some_and(|id| is_carried(id) && !on_disk.contains(id)));
    files.extend(kept.cloned());
}

fn state_of(file: &FileEntry) -> Option<&str> {
    match allowlist::extension(&file.path) {
        Some((id, Part::State)) => Some(id),
        _ => None,
    }
}

fn is_code(file: &FileEntry) -> bool {
    matches!(allowlist::extension(&file.path), Some((_, Part::Code)))
}

fn missing(id: &ExtensionId) -> LeftBehind {
    LeftBehind { path: directory(id).trim_end_matches('/').to_owned(), reason: Reason::NotAsAllowed }
}

fn directory(id: &ExtensionId) -> String {
    format!("{PROFILE_DIRECTORY}/Extensions/{id}/")
}
