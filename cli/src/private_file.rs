//! Files that only their owner may read: replaced as a whole, under a lock, never half written.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};
use tempfile::NamedTempFile;

/// Longest wait for another command that writes the same file. Writing takes milliseconds, stretching a passphrase tenths
/// of a second.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause between two tries for the lock.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Why such a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Longer than anything that cbrowse writes there.
    #[error("{} has more than {limit} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// Another command holds the lock.
    #[error("another cbrowse keeps {} locked", .0.display())]
    Locked(PathBuf),
    /// The file system.
    #[error("cannot {verb} {}: {source}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// On which file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

fn failed(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    move |source| FileError::Io { verb, path: path.to_owned(), source }
}

/// All bytes of a file; `None` where there is none.
pub fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, FileError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed("open", path))?,
    };
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(failed("read", path))?;
    if bytes.len() as u64 > limit {
        return Err(FileError::TooLong { path: path.to_owned(), limit });
    }
    Ok(Some(bytes))
}

/// Replaces a file, or makes it: mode 0600, synced, seen whole or not at all.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let draft = draft(path, bytes)?;
    draft.as_file().sync_all().map_err(failed("write", path))?;
    put(draft, path)?;
    sync(directory_of(path))
}

/// The same without waiting for the disk: for what is worth less than the wait. After a power cut the file may be empty.
pub fn replace_lightly(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    put(draft(path, bytes)?, path)
}

/// A new temporary file has mode 0600.
fn draft(path: &Path, bytes: &[u8]) -> Result<NamedTempFile, FileError> {
    let mut draft = NamedTempFile::new_in(directory_of(path)).map_err(failed("create", path))?;
    draft.write_all(bytes).map_err(failed("write", path))?;
    Ok(draft)
}

fn put(draft: NamedTempFile, path: &Path) -> Result<(), FileError> {
    draft.persist(path).map(drop).map_err(|error| failed("replace", path)(error.error))
}

/// Removes a file; whether it was there.
pub fn remove(path: &Path) -> Result<bool, FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        removed => {
            removed.map_err(failed("remove", path)).and_then(|()| sync(directory_of(path))).map(|()| true)
        }
    }
}

fn sync(directory: &Path) -> Result<(), FileError> {
    File::open(directory).and_then(|opened| opened.sync_all()).map_err(failed("sync", directory))
}

fn directory_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

/// Held while a file is read, changed and replaced.
#[derive(Debug)]
pub struct Held {
    _lock: Flock<File>,
}

/// Takes the lock that lies beside `path` (and is never removed), making the directory (0700) where it is missing.
/// Blocks for at most [`LOCK_TIMEOUT`].
pub fn lock(path: &Path) -> Result<Held, FileError> {
    let directory = directory_of(path);
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed("create", directory))?;
    let path = path.with_extension("lock");
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(failed("open", &path))?;
    let until = Instant::now() + LOCK_TIMEOUT;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(Held { _lock: lock }),
            Err((_, error)) if error != Errno::EWOULDBLOCK => {
                return Err(failed("lock", &path)(error.into()));
            }
            Err(_) if Instant::now() >= until => return Err(FileError::Locked(path)),
            Err((back, _)) => file = back,
        }
        std::thread::sleep(LOCK_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_is_its_owners_and_replaced_as_a_whole() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("deep/file.json");
        let _held = lock(&path).expect("locked");
        assert_eq!(read(&path, 10).expect("none"), None);
        replace(&path, b"one").expect("written");
        replace(&path, b"two").expect("written");
        assert_eq!(read(&path, 3).expect("read").as_deref(), Some(&b"two"[..]));
        assert!(matches!(read(&path, 2), Err(FileError::TooLong { limit: 2, .. })));
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(directory_of(&path))), (0o600, 0o700));
        assert!(remove(&path).expect("removed"));
        assert!(!remove(&path).expect("gone"));
    }
}
