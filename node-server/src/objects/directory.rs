//! A shelf in a directory. A file appears whole or not at all, is never overwritten, and is on the disk before anybody is told so.

use std::{
    fs, io,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use cbrowse_protocol::id::ProfileId;
use nix::{
    fcntl::{Flock, FlockArg},
    sys::statvfs::statvfs,
};

use super::{
    random,
    shelf::{Clearable, Entry, Folder, Key, MAX_LISTED, Shelf, ShelfError, profile_of},
};

/// How a file is called while it is written, and a profile's folder while it is removed.
pub(super) const UNFINISHED: &str = ".unfinished";
/// Longest note of a profile's owner in bytes.
const MAX_OWNER_LENGTH: usize = 4096;

/// Where a kill may fall: tests stand still here until they are killed.
#[cfg(not(test))]
fn step() {}

#[cfg(test)]
use super::kills::step;

pub(super) fn disk(step: &'static str) -> impl FnOnce(io::Error) -> ShelfError {
    move |source| ShelfError::Disk { step, source }
}

/// `DATA_DIR/profiles`, shared among the servers on one directory.
#[derive(Debug, Clone)]
pub struct Directory {
    root: PathBuf,
    /// Held alone only to clear up.
    _lock: Option<Arc<Flock<fs::File>>>,
}

impl Directory {
    /// Opens it, and clears what a killed server left half written, unless another server writes there now.
    pub fn open(root: &Path) -> Result<Self, ShelfError> {
        make_private(root).map_err(disk("make the profile store"))?;
        let folders = fs::read_dir(root).map_err(disk("list profiles"))?;
        let file = || fs::File::open(root).map_err(disk("open the profile store"));
        if let Ok(_alone) = Flock::lock(file()?, FlockArg::LockExclusiveNonblock) {
            remove_unfinished(root);
            for folder in folders.flatten().map(|folder| folder.path()) {
                remove_unfinished(&folder);
                for inner in fs::read_dir(&folder).into_iter().flatten().flatten() {
                    remove_unfinished(&inner.path());
                }
            }
        }
        // A file system without locks has no second server either.
        let lock = Flock::lock(file()?, FlockArg::LockSharedNonblock).ok().map(Arc::new);
        Ok(Self { root: root.to_owned(), _lock: lock })
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn path(&self, key: &Key) -> PathBuf {
        self.root.join(key.as_str())
    }

    /// Removes all that is here of a profile. It goes by name first: killed midway, it is whole or gone, and never without an
    /// owner who could remove the rest.
    pub(super) fn remove_profile(&self, profile: &ProfileId) -> Result<(), ShelfError> {
        let going = self.root.join(format!("{:016x}{UNFINISHED}", u64::from_le_bytes(random())));
        step();
        match fs::rename(self.root.join(profile.as_str()), &going) {
            Err(error) if is_absent(&error) => return Ok(()),
            renamed => renamed.map_err(disk("remove a profile"))?,
        }
        step();
        sync(&self.root).map_err(disk("flush the profile store"))?;
        step();
        fs::remove_dir_all(&going).map_err(disk("remove a profile"))
    }

    /// It counts as just used. Where that cannot be noted, it only looks older than it is.
    pub(super) fn touch(&self, key: &Key) {
        if let Ok(file) = fs::File::open(self.path(key)) {
            let _ = file.set_modified(SystemTime::now());
        }
    }
}

impl Shelf for Directory {
    fn get(&self, key: &Key, limit: usize) -> Result<Option<Vec<u8>>, ShelfError> {
        let file = match fs::File::open(self.path(key)) {
            Ok(file) => file,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(disk("open a file of the store")(error)),
        };
        let mut bytes = Vec::new();
        let read = file.take(limit as u64 + 1).read_to_end(&mut bytes);
        read.map_err(disk("read a file of the store"))?;
        if bytes.len() > limit { Err(ShelfError::Overfull(key.to_string())) } else { Ok(Some(bytes)) }
    }

    fn put_new(&self, key: &Key, bytes: &[u8]) -> Result<bool, ShelfError> {
        let path = self.path(key);
        let folder = path.parent().expect("keys have a folder");
        if !folder.is_dir() {
            step();
            make_private(folder).map_err(disk("make a folder of the store"))?;
            step();
            sync(folder.parent().unwrap_or(&self.root)).map_err(disk("flush a folder of the store"))?;
        }
        write_new(&path, bytes).map_err(disk("write to the store"))
    }

    fn list(&self, folder: &Folder) -> Result<Vec<Entry>, ShelfError> {
        let files = match fs::read_dir(self.root.join(folder.as_str())) {
            Ok(files) => files,
            Err(error) if is_absent(&error) => return Ok(Vec::new()),
            Err(error) => return Err(disk("list a folder of the store")(error)),
        };
        let mut entries = Vec::new();
        for file in files.flatten() {
            let name = file.file_name().to_string_lossy().into_owned();
            // What vanished meanwhile is not there.
            let Some(metadata) = file.metadata().ok().filter(fs::Metadata::is_file) else { continue };
            if !name.ends_with(UNFINISHED) {
                entries.push(Entry {
                    name,
                    length: metadata.len(),
                    touched: since_epoch(metadata.modified()),
                });
            }
            if entries.len() > MAX_LISTED {
                return Err(ShelfError::Overfull(folder.as_str().to_owned()));
            }
        }
        entries.sort();
        Ok(entries)
    }

    fn missing(&self, folder: &Folder, names: &[String]) -> Result<Vec<String>, ShelfError> {
        let is_here = |name: &str| {
            let key = folder.with(name);
            let found = self.path(&key).is_file();
            if found {
                // Whoever asked counts on it from now on: it must outlast the upload of the rest.
                self.touch(&key);
            }
            found
        };
        Ok(names.iter().filter(|name| !is_here(name)).cloned().collect())
    }

    fn profiles_of(&self, subject: &str) -> Result<Vec<ProfileId>, ShelfError> {
        let mut owned = self.profiles()?;
        let mut failed = None;
        owned.retain(|profile| match self.get(&Key::owner(profile), MAX_OWNER_LENGTH) {
            Ok(owner) => owner.is_some_and(|owner| owner == subject.as_bytes()),
            Err(error) => {
                failed = Some(error);
                false
            }
        });
        failed.map_or(Ok(owned), Err)
    }

    fn profiles(&self) -> Result<Vec<ProfileId>, ShelfError> {
        let folders = fs::read_dir(&self.root).map_err(disk("list profiles"))?;
        let names = folders.flatten().map(|folder| folder.file_name().to_string_lossy().into_owned());
        let mut profiles: Vec<_> = names.filter_map(|name| profile_of(&name)).collect();
        profiles.sort();
        Ok(profiles)
    }

    fn free(&self) -> Option<u64> {
        let found = statvfs(&self.root).ok()?;
        Some(found.blocks_available().saturating_mul(found.fragment_size()))
    }

    fn describe(&self) -> String {
        "this node's disk".into()
    }
}

impl Clearable for Directory {
    fn remove(&self, key: &Key) -> Result<bool, ShelfError> {
        step();
        match fs::remove_file(self.path(key)) {
            Ok(()) => Ok(true),
            Err(error) if is_absent(&error) => Ok(false),
            Err(error) => Err(disk("remove a file of the store")(error)),
        }
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// A file system that notes no times makes everything look new, so that nothing is removed for its age.
fn since_epoch(time: io::Result<SystemTime>) -> Duration {
    let since = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).ok();
    time.ok().and_then(since).unwrap_or_else(|| Duration::from_secs(crate::node::unix_now()))
}

/// Writes a file that appears whole, durable, mode 0600; `false` if it is there already.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    use std::os::unix::fs::OpenOptionsExt as _;
    if path.exists() {
        return Ok(false);
    }
    let nonce = u64::from_le_bytes(random());
    let temporary = path.with_file_name(format!("{nonce:016x}{UNFINISHED}"));
    step();
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    step();
    let written = file
        .write_all(bytes)
        .inspect(|()| step())
        .and_then(|()| file.sync_all())
        .inspect(|()| step())
        // A link refuses to replace, a rename would not.
        .and_then(|()| fs::hard_link(&temporary, path));
    step();
    let _ = fs::remove_file(&temporary);
    step();
    match written {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        Err(error) => return Err(error),
    }
    path.parent().map_or(Ok(()), sync)?;
    Ok(true)
}

fn sync(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

pub(super) fn make_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn remove_unfinished(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().ends_with(UNFINISHED) {
            continue;
        }
        // A folder is what is left of a profile that was being removed.
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let _ = if is_folder { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) };
    }
}
