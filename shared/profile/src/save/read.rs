//! One file, read and cut; again if it changed meanwhile.

use std::{fs, io, path::Path};

use super::{SaveError, work::Halt};
use crate::{
    chunk::{Cutter, SplitError},
    files,
    manifest::{ChunkRef, FileEntry, MAX_FILE_LENGTH},
    sanitize::{self, MAX_SETTINGS_LENGTH, Settings},
    scan::{Found, Reason},
    stat_cache::Stamp,
};

/// How often a file that changes while it is read is read again. A browser writes its files in bursts; three
/// misses in a row mean that it is at work, and the file is then missing from this save rather than torn.
pub const READ_ATTEMPTS: u32 = 4;
/// What Linux answers when a link is to be opened as no link may be.
const ELOOP: i32 = 40;
/// What it answers when a socket is opened.
const ENXIO: i32 = 6;

/// A file with its chunks, or why it does not come along.
pub(super) type Entry = Result<(FileEntry, Option<Stamp>), Reason>;

/// Where each chunk went.
pub(super) type Sink<'s> = dyn FnMut(&[u8]) -> Result<ChunkRef, Halt> + 's;

/// A database and its journal are separate files here: both are read after the browser has closed, or both
/// belong to a save that is marked as a crash, which SQLite recovers from.
pub(super) fn read_file(
    path: &Path,
    found: &Found,
    cutter: &mut Cutter,
    sink: &mut Sink<'_>,
) -> Result<Entry, Halt> {
    for _ in 0..READ_ATTEMPTS {
        let (file, opened) = match files::open_regular(path) {
            Ok(opened) => opened,
            Err(error) if is_gone(&error) => return Ok(Err(Reason::Changing)),
            Err(source) => return Err(unreadable(&found.path, source)),
        };
        let mut entry = FileEntry { path: found.path.clone(), size: 0, chunks: Vec::new() };
        cutter
            .split(io::Read::take(file, MAX_FILE_LENGTH), |clear| {
                entry.size += clear.len() as u64;
                sink(clear).map(|chunk| entry.chunks.push(chunk))
            })
            .map_err(|error| in_file(&found.path, error))?;
        let opened = Stamp::of(&opened);
        // By its path: a file that was replaced while it was read is another one.
        let is_same = fs::symlink_metadata(path)
            .is_ok_and(|after| after.is_file() && Stamp::of(&after) == opened && entry.size == after.len());
        if is_same {
            return Ok(Ok((entry, Some(opened))));
        }
    }
    Ok(Err(Reason::Changing))
}

pub(super) fn read_settings(
    path: &Path,
    found: &Found,
    settings: Settings,
    cutter: &mut Cutter,
    sink: &mut Sink<'_>,
) -> Result<Entry, Halt> {
    // Chromium replaces its settings files as a whole, so one read sees one version.
    let clear = files::read_limited(path, MAX_SETTINGS_LENGTH).ok().map(zeroize::Zeroizing::new);
    let Some(clean) = clear.and_then(|clear| sanitize::sanitize(settings, &clear)) else {
        return Ok(Err(Reason::Settings));
    };
    let mut entry = FileEntry { path: found.path.clone(), size: clean.len() as u64, chunks: Vec::new() };
    cutter
        .split(clean.as_slice(), |clear| sink(clear).map(|chunk| entry.chunks.push(chunk)))
        .map_err(|error| in_file(&found.path, error))?;
    Ok(Ok((entry, None)))
}

/// Removed since it was found, or another kind of thing took its place.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData)
        || matches!(error.raw_os_error(), Some(ELOOP | ENXIO))
}

fn unreadable(path: &str, source: io::Error) -> Halt {
    Halt::Failed(SaveError::Read { path: path.to_owned(), source })
}

fn in_file(path: &str, error: SplitError<Halt>) -> Halt {
    match error {
        SplitError::Read(source) => unreadable(path, source),
        SplitError::Sink(halt) => halt,
    }
}
