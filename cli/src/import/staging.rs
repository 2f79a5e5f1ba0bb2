//! Where a profile lies in the clear while it is imported: a directory in memory-backed storage, for its owner alone, that is
//! wiped on every way out. What a kill leaves is wiped by the next import.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use nix::sys::{
    statfs::{TMPFS_MAGIC, statfs},
    statvfs::statvfs,
};

use super::ImportError;

/// What such directories are called.
const PREFIX: &str = "cbrowse-import-";
/// Held for as long as the directory is in use.
const LOCK: &str = "lock";
/// What is in it.
const DATA: &str = "data";
/// A writer that has not noticed yet may still add a file; it cannot after the directory is gone.
const WIPE_ATTEMPTS: u32 = 50;
const WIPE_PAUSE: Duration = Duration::from_millis(5);
/// Room beyond the files' own bytes: blocks that are not full, and databases that are recovered.
const SPARE: u64 = 16 * 1024 * 1024;

/// The directory. It is gone when this is dropped.
#[derive(Debug)]
pub struct Staging {
    path: PathBuf,
    in_memory: bool,
    /// Locked until then.
    _lock: File,
}

impl Staging {
    /// Makes one with room for `needed` bytes: at `wished`, or in memory, or where there is no such storage among temporary
    /// files.
    pub fn make(wished: Option<&Path>, needed: u64) -> Result<Self, ImportError> {
        let needed = needed + SPARE;
        if let Some(wished) = wished {
            return Self::make_in(wished, needed);
        }
        let mut full = None;
        for place in memory_places() {
            sweep(&place);
            match Self::make_in(&place, needed) {
                Ok(staging) => return Ok(staging),
                Err(error) => {
                    full = full.or(Some(error).filter(|error| matches!(error, ImportError::NoRoom { .. })));
                }
            }
        }
        match full {
            // Memory there is: nobody has said that the disk may see this.
            Some(error) => Err(error),
            None => Self::make_in(&std::env::temp_dir(), needed),
        }
    }

    fn make_in(place: &Path, needed: u64) -> Result<Self, ImportError> {
        let failed = |source| ImportError::Write { path: place.to_owned(), source };
        let free = free(place).map_err(failed)?;
        if free < needed {
            return Err(ImportError::NoRoom { place: place.to_owned(), free, needed });
        }
        let made = tempfile::Builder::new()
            .prefix(PREFIX)
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir_in(place)
            .map_err(failed)?;
        let lock = lock(&made.path().join(LOCK)).map_err(failed)?;
        fs::create_dir(made.path().join(DATA)).map_err(failed)?;
        Ok(Self { path: made.keep(), in_memory: is_memory(place), _lock: lock })
    }

    /// The empty directory inside.
    pub fn data(&self) -> PathBuf {
        self.path.join(DATA)
    }

    /// Whether nothing of it reaches a disk of files.
    pub fn is_in_memory(&self) -> bool {
        self.in_memory
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        for _ in 0..WIPE_ATTEMPTS {
            match fs::remove_dir_all(&self.path) {
                Ok(()) => return,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return,
                Err(_) => thread::sleep(WIPE_PAUSE),
            }
        }
    }
}

/// The session's own first, then what every machine has.
fn memory_places() -> Vec<PathBuf> {
    let own = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    own.into_iter().chain([PathBuf::from("/dev/shm")]).filter(|place| is_memory(place)).collect()
}

fn is_memory(place: &Path) -> bool {
    statfs(place).is_ok_and(|found| found.filesystem_type() == TMPFS_MAGIC)
}

fn free(place: &Path) -> io::Result<u64> {
    let found = statvfs(place)?;
    Ok(found.blocks_available().saturating_mul(found.fragment_size()))
}

fn lock(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    file.try_lock().map_err(io::Error::from)?;
    Ok(file)
}

/// Wipes what processes left that were killed: their locks are free.
fn sweep(place: &Path) {
    let own = nix::unistd::getuid().as_raw();
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        let is_ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX))
            && entry.metadata().is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == own);
        if is_ours && is_abandoned(&entry.path()) {
            let _another_sweeps_it = fs::remove_dir_all(entry.path());
        }
    }
}

/// One without a lock file is being made at this moment.
fn is_abandoned(directory: &Path) -> bool {
    let Ok(file) = OpenOptions::new().write(true).open(directory.join(LOCK)) else { return false };
    file.try_lock().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_private_and_gone_when_dropped_also_in_a_panic() {
        let place = tempfile::tempdir().unwrap();
        let staging = Staging::make(Some(place.path()), 1).unwrap();
        let path = staging.path().to_owned();
        fs::write(staging.data().join("Cookies"), "clear").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        let panicked = std::panic::catch_unwind(move || {
            let _held = staging;
            panic!("on the way");
        });
        assert!(panicked.is_err() && !path.exists());
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
    }

    #[test]
    fn without_a_wish_it_lies_in_memory_where_there_is_some() {
        let staging = Staging::make(None, 1).unwrap();
        assert_eq!(staging.is_in_memory(), !memory_places().is_empty());
    }

    #[test]
    fn too_little_room_is_said_before_anything_is_written() {
        let place = tempfile::tempdir().unwrap();
        let refused = Staging::make(Some(place.path()), u64::MAX / 2).unwrap_err();
        assert!(matches!(refused, ImportError::NoRoom { .. }));
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_a_kill_left_is_wiped_and_what_is_in_use_is_not() {
        let place = tempfile::tempdir().unwrap();
        let used = Staging::make(Some(place.path()), 1).unwrap();
        let abandoned = place.path().join(format!("{PREFIX}x"));
        fs::create_dir(&abandoned).unwrap();
        fs::write(abandoned.join(LOCK), "").unwrap();
        let starting = place.path().join(format!("{PREFIX}y"));
        fs::create_dir(&starting).unwrap();
        sweep(place.path());
        assert!(used.data().exists() && starting.exists() && !abandoned.exists());
    }
}
