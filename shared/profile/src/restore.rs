//! Restoring: a snapshot's files written into an empty directory, each judged again as if a stranger had sent it.
//!
//! Paths and modes are ours (0600, directories 0700), links are never made or followed, whatever is not on the
//! allowlist is left out and named, and settings lose what could execute. A path that climbs refuses the whole
//! snapshot: no honest writer made it.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use crate::{
    allowlist::{self, Class, PathError},
    extensions::{self, Carried},
    files,
    manifest::{ChunkRef, FileEntry},
    meter::Meter,
    object::ObjectStore,
    pack::{self, ReadError},
    sanitize::{self, MAX_SETTINGS_LENGTH, Settings},
    scan::{LeftBehind, Reason},
    seal::Kind,
    snapshot::Snapshot,
};

/// Why nothing usable was restored. The target directory is then to be thrown away.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// A path climbs, is absolute, or cannot be shown.
    #[error("refuse the profile")]
    Path(#[from] PathError),
    /// The target holds something already.
    #[error("{0} is not empty")]
    NotEmpty(PathBuf),
    /// A pack or chunk is missing or wrong.
    #[error("read the profile's contents")]
    Read(#[from] ReadError),
    /// The disk said no; a full tmpfs shows so.
    #[error("write {path}")]
    Disk {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What was restored.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Files written.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What the snapshot lists and was not written, or not in full.
    pub stripped: Vec<LeftBehind>,
}

/// Writes `snapshot` into `target`, which is made if it is not there and must be empty if it is.
pub fn restore(
    snapshot: &Snapshot,
    store: &dyn ObjectStore,
    target: &Path,
) -> Result<Restored, RestoreError> {
    restore_metered(snapshot, store, target, &Meter::default())
}

/// The same; `meter` counts the files and bytes that are written.
pub fn restore_metered(
    snapshot: &Snapshot,
    store: &dyn ObjectStore,
    target: &Path,
    meter: &Meter,
) -> Result<Restored, RestoreError> {
    restore_carrying(snapshot, store, target, meter, &Carried::of(snapshot, store)?)
}

/// The same without any extension, whatever the user let travel: for a node whose operator wants none.
pub fn restore_without_extensions(
    snapshot: &Snapshot,
    store: &dyn ObjectStore,
    target: &Path,
    meter: &Meter,
) -> Result<Restored, RestoreError> {
    restore_carrying(snapshot, store, target, meter, &Carried::default())
}

fn restore_carrying(
    snapshot: &Snapshot,
    store: &dyn ObjectStore,
    target: &Path,
    meter: &Meter,
    carried: &Carried,
) -> Result<Restored, RestoreError> {
    let (accepted, stripped) = judge(snapshot, carried)?;
    make_empty(target)?;
    meter.expect(accepted.len() as u64, accepted.iter().map(|(file, _)| file.size).sum());
    let mut restored = Restored { stripped, ..Restored::default() };
    for (file, _) in &accepted {
        create(target, file)?;
        restored.files += 1;
        restored.bytes += file.size;
    }
    for (slot, places) in by_pack(&accepted) {
        write_from_pack(snapshot, slot, &places, store, target)?;
        meter.done(0, places.iter().map(|(_, _, chunk)| u64::from(chunk.clear)).sum());
    }
    for (file, class) in &accepted {
        meter.done(1, 0);
        if let Class::Cleaned(settings) = class {
            clean(target, file, *settings, &mut restored)?;
        }
    }
    restored.stripped.extend(extensions::check_written(target, carried));
    Ok(restored)
}

type Accepted<'a> = Vec<(&'a FileEntry, Class)>;

fn judge<'a>(
    snapshot: &'a Snapshot,
    carried: &Carried,
) -> Result<(Accepted<'a>, Vec<LeftBehind>), PathError> {
    let (mut accepted, mut stripped) = (Vec::new(), Vec::new());
    for file in snapshot.manifest.files() {
        let reason = match allowlist::classify(&file.path)? {
            Class::Cleaned(_) if file.size > MAX_SETTINGS_LENGTH => Reason::Settings,
            class @ (Class::Carried | Class::Cleaned(_)) => {
                accepted.push((file, class));
                continue;
            }
            Class::Executable if carried.admits(&file.path) => {
                accepted.push((file, Class::Carried));
                continue;
            }
            // Read already, and of no use to a browser.
            Class::Executable if file.path == allowlist::LISTING_FILE => continue,
            Class::Executable => Reason::Executable,
            Class::Ignored => Reason::NotListed,
        };
        stripped.push(LeftBehind { path: file.path.clone(), reason });
    }
    Ok((accepted, stripped))
}

fn make_empty(target: &Path) -> Result<(), RestoreError> {
    let failed = |source| RestoreError::Disk { path: target.into(), source };
    files::make_directory(target).map_err(failed)?;
    let is_directory = fs::symlink_metadata(target).map_err(failed)?.is_dir();
    if !is_directory || fs::read_dir(target).map_err(failed)?.next().is_some() {
        return Err(RestoreError::NotEmpty(target.into()));
    }
    Ok(())
}

/// A file at a path that is a directory of another, or that a case-folding file system holds already, fails here.
fn create(target: &Path, file: &FileEntry) -> Result<(), RestoreError> {
    let path = target.join(&file.path);
    let parent = path.parent().expect("paths lie below the target");
    files::make_directory(parent)
        .and_then(|()| files::create_new(&path)?.set_len(file.size))
        .map_err(|source| RestoreError::Disk { path, source })
}

/// For each pack the places its chunks go to: each pack is fetched once and one is in memory at a time.
fn by_pack<'a>(accepted: &Accepted<'a>) -> BTreeMap<u32, Vec<(&'a FileEntry, u64, &'a ChunkRef)>> {
    let mut places: BTreeMap<u32, Vec<_>> = BTreeMap::new();
    for (file, _) in accepted {
        let mut at = 0;
        for chunk in &file.chunks {
            places.entry(chunk.pack).or_default().push((*file, at, chunk));
            at += u64::from(chunk.clear);
        }
    }
    places
}

fn write_from_pack(
    snapshot: &Snapshot,
    slot: u32,
    places: &[(&FileEntry, u64, &ChunkRef)],
    store: &dyn ObjectStore,
    target: &Path,
) -> Result<(), RestoreError> {
    let entry = snapshot.manifest.packs.get(slot).expect("the decoder checked the slot");
    let clear = pack::read_pack(store, entry, Kind::Pack, &snapshot.head().profile)?;
    let mut open: Option<(&str, File)> = None;
    for (file, at, chunk) in places {
        let bytes = pack::read_chunk(&clear, chunk, &snapshot.id_key).ok_or(ReadError::Chunk(entry.name))?;
        let path = target.join(&file.path);
        let failed = |source| RestoreError::Disk { path: path.clone(), source };
        if open.as_ref().is_none_or(|(held, _)| *held != file.path) {
            open = Some((&file.path, open_own(&path).map_err(failed)?));
        }
        let (_, handle) = open.as_ref().expect("it was just opened");
        handle.write_all_at(&bytes, *at).map_err(failed)?;
    }
    Ok(())
}

/// A file that [`create`] made; a link that somebody put in its place meanwhile is not followed.
fn open_own(path: &Path) -> io::Result<File> {
    const O_NOFOLLOW: i32 = 0o400_000;
    OpenOptions::new().write(true).custom_flags(O_NOFOLLOW).open(path)
}

fn clean(
    target: &Path,
    file: &FileEntry,
    settings: Settings,
    restored: &mut Restored,
) -> Result<(), RestoreError> {
    let path = target.join(&file.path);
    let failed = |source| RestoreError::Disk { path: path.clone(), source };
    let clear = files::read_limited(&path, MAX_SETTINGS_LENGTH).map_err(failed)?;
    let cleaned = sanitize::sanitize(settings, &clear);
    if cleaned.as_deref() == Some(clear.as_slice()) {
        return Ok(());
    }
    restored.stripped.push(LeftBehind { path: file.path.clone(), reason: Reason::Settings });
    match cleaned {
        Some(cleaned) => files::replace(&path, &cleaned).map_err(failed),
        None => fs::remove_file(&path).map_err(failed),
    }
}
