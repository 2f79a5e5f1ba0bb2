//! Files that are there in full or not at all: written beside, flushed, then renamed or linked into place.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// For the owner alone.
const FILE_MODE: u32 = 0o600;
/// For the owner alone.
const DIRECTORY_MODE: u32 = 0o700;

/// Makes `path` and its parents, for the owner alone.
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path)
}

/// Makes `path` below a parent that is there, and its entry durable.
pub(crate) fn make_durable_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    make_directory(path)?;
    flush_parent(path)
}

/// Creates a file that must not be there yet; a link in its place is an error.
pub(crate) fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path)
}

/// Where a crash may fall; tests blow a fuse here, and every later step fails too, as after a kill.
#[cfg(not(test))]
#[expect(clippy::unnecessary_wraps, reason = "fails in tests only")]
fn step() -> io::Result<()> {
    Ok(())
}

/// The fuse of this thread, for threads that work for it. There is one in tests only.
#[cfg(not(test))]
#[derive(Clone)]
pub(crate) struct Fuse;

#[cfg(not(test))]
impl Fuse {
    pub(crate) fn here() -> Self {
        Self
    }

    pub(crate) fn hold(_: Self) {}
}

#[cfg(test)]
pub(crate) use tests::{Fuse, step};

/// Puts `bytes` at `path`, replacing what is there. After a crash the old or the new bytes are there.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = write_beside(path, bytes)?;
    step()?;
    fs::rename(&beside, path).inspect_err(|_| forget(&beside))?;
    flush_parent(path)
}

/// Puts `bytes` at `path` unless something is there; `false` when it was.
pub(crate) fn put_new(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    let linked = Unlinked::write(path, bytes)?.link()?;
    if linked {
        flush_parent(path)?;
    }
    Ok(linked)
}

/// A file's bytes, durable and yet without their name. Dropped without [`Unlinked::link`], they are gone.
#[derive(Debug)]
pub(crate) struct Unlinked {
    beside: PathBuf,
    path: PathBuf,
}

impl Unlinked {
    pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<Self> {
        Ok(Self { beside: write_beside(path, bytes)?, path: path.to_owned() })
    }

    /// Gives them their name unless something has it; `false` when it was so. The name is durable once the directory was
    /// flushed.
    pub(crate) fn link(&self) -> io::Result<bool> {
        step()?;
        match fs::hard_link(&self.beside, &self.path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Unlinked {
    fn drop(&mut self) {
        forget(&self.beside);
    }
}

/// What a crash left of [`write_beside`] is named so, and may be removed under the directory's lock.
pub(crate) const UNFINISHED: &str = ".unfinished-";

fn write_beside(path: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
    step()?;
    let beside = beside(path)?;
    let mut file = create_new(&beside)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).inspect_err(|_| forget(&beside))?;
    Ok(beside)
}

fn flush_parent(path: &Path) -> io::Result<()> {
    flush_directory(path.parent().ok_or(io::ErrorKind::InvalidInput)?)
}

/// Makes the names in a directory durable.
pub(crate) fn flush_directory(path: &Path) -> io::Result<()> {
    step()?;
    File::open(path)?.sync_all()
}

/// Puts `bytes` at `path` without waiting for the disk: after a crash the old bytes, the new ones or fewer are there.
/// For what is checked when it is read and can be done without.
pub(crate) fn replace_carelessly(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = beside(path)?;
    let written = create_new(&beside).and_then(|mut file| file.write_all(bytes));
    written.and_then(|()| fs::rename(&beside, path)).inspect_err(|_| forget(&beside))
}

/// Opens a regular file to be read. A link in its place is an error, and a pipe does not block.
pub(crate) fn open_regular(path: &Path) -> io::Result<(File, fs::Metadata)> {
    const O_NOFOLLOW: i32 = 0o400_000;
    const O_NONBLOCK: i32 = 0o4_000;
    let file = OpenOptions::new().read(true).custom_flags(O_NOFOLLOW | O_NONBLOCK).open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file() {
        Ok((file, metadata))
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidData, "not a regular file"))
    }
}

fn beside(path: &Path) -> io::Result<PathBuf> {
    let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    Ok(parent.join(format!("{UNFINISHED}{:016x}", u64::from_le_bytes(random))))
}

fn forget(path: &Path) {
    // A leftover is harmless and has its own name; the first error is the one to report.
    let _ = fs::remove_file(path);
}

/// Reads at most `limit` bytes of a file; more is an error, and so is a link.
pub(crate) fn read_limited(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    let (file, metadata) = open_regular(path)?;
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len().min(limit)).unwrap_or(0));
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than allowed"));
    }
    Ok(bytes)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{
        cell::RefCell,
        os::unix::fs::PermissionsExt as _,
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering::Relaxed},
        },
    };

    use super::*;

    thread_local! {
        static FUSE: RefCell<Fuse> = RefCell::new(Fuse(Arc::new(AtomicU32::new(u32::MAX))));
    }

    /// Steps left until the crash, for this thread and all that hold the same.
    #[derive(Clone)]
    pub(crate) struct Fuse(Arc<AtomicU32>);

    impl Fuse {
        pub(crate) fn here() -> Self {
            FUSE.with_borrow(Clone::clone)
        }

        pub(crate) fn hold(fuse: Self) {
            FUSE.replace(fuse);
        }
    }

    /// From now on the files of this thread, and of those that work for it, fail after `steps` more steps.
    pub(crate) fn crash_after(steps: u32) {
        Fuse::here().0.store(steps, Relaxed);
    }

    pub(crate) fn step() -> io::Result<()> {
        let less = |left: u32| Some(left.saturating_sub(u32::from(left != u32::MAX)));
        match Fuse::here().0.fetch_update(Relaxed, Relaxed, less) {
            Ok(1..) => Ok(()),
            _ => Err(io::Error::other("crashed here")),
        }
    }

    #[test]
    fn files_are_whole_private_and_leave_nothing_beside() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b");
        make_directory(path.parent().unwrap()).unwrap();
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert!(!put_new(&path, b"three").unwrap(), "never overwrites");
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn reading_stops_at_the_limit_and_at_links() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        fs::write(&path, b"12345").unwrap();
        assert_eq!(read_limited(&path, 5).unwrap(), b"12345");
        assert!(read_limited(&path, 4).is_err());
        let link = directory.path().join("l");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(read_limited(&link, 5).is_err());
    }
}
