//! Room for answers: the oldest files go when all together are larger than they may be.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use tempfile::NamedTempFile;

/// How the names of unfinished files begin.
const DRAFT: &str = ".draft-";
/// A draft older than this was left behind by a command that was killed; writing one takes milliseconds.
const ABANDONED: Duration = Duration::from_secs(600);

/// A file that becomes an answer when it is complete.
pub(super) fn draft(directory: &Path) -> io::Result<NamedTempFile> {
    tempfile::Builder::new().prefix(DRAFT).tempfile_in(directory)
}

struct Kept {
    path: PathBuf,
    length: u64,
    written: SystemTime,
}

/// Removes abandoned drafts, then the oldest files until the rest has at most `limit` bytes; never `newest`. A file that
/// another command removes meanwhile is no error.
pub(super) fn make_room(directory: &Path, limit: u64, newest: &Path) -> io::Result<()> {
    let now = SystemTime::now();
    let (mut kept, mut total) = (Vec::new(), 0);
    for entry in fs::read_dir(directory)? {
        let Ok((entry, metadata)) = entry.and_then(|entry| entry.metadata().map(|data| (entry, data))) else {
            continue;
        };
        if !metadata.is_file() {
            continue;
        }
        let written = metadata.modified().unwrap_or(now);
        let is_draft = entry.file_name().to_string_lossy().starts_with(DRAFT);
        if is_draft {
            if now.duration_since(written).is_ok_and(|age| age > ABANDONED) {
                let _ = fs::remove_file(entry.path());
            }
            continue;
        }
        total += metadata.len();
        kept.push(Kept { path: entry.path(), length: metadata.len(), written });
    }
    kept.sort_by_key(|file| file.written);
    for file in kept.iter().filter(|file| file.path != newest) {
        if total <= limit {
            break;
        }
        total -= file.length;
        let _ = fs::remove_file(&file.path);
    }
    Ok(())
}
