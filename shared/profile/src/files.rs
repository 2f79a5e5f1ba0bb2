//! Files that are there in full or not at all: written beside, flushed, then renamed or linked into place.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    panic::resume_unwind,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread,
    time::{Duration, SystemTime},
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
    let beside = Beside::write(path, bytes)?;
    beside.flush()?;
    beside.replace()?;
    flush_parent(path)
}

/// A file's bytes, written without their name. Dropped before they get it, they are gone.
#[derive(Debug)]
pub(crate) struct Beside {
    place: PathBuf,
    path: PathBuf,
    file: File,
}

impl Beside {
    /// For `path`.
    pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<Self> {
        step()?;
        let beside = beside(path)?;
        let file = create_new(&beside)?;
        let mut written = Self { place: beside, path: path.to_owned(), file };
        written.file.write_all(bytes)?;
        Ok(written)
    }

    /// Makes the bytes durable; to be done before they get their name.
    pub(crate) fn flush(&self) -> io::Result<()> {
        step()?;
        self.file.sync_all()
    }

    /// Gives them their name unless something has it. The name is durable once its directory was flushed.
    pub(crate) fn link(&self) -> io::Result<()> {
        step()?;
        match fs::hard_link(&self.place, &self.path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    }

    /// Gives them their name, whatever had it. The name is durable once its directory was flushed.
    pub(crate) fn replace(&self) -> io::Result<()> {
        step()?;
        fs::rename(&self.place, &self.path)
    }

    /// Where they belong.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        forget(&self.place);
    }
}

/// Removes `path` for good; whether it was there.
pub(crate) fn remove(path: &Path) -> io::Result<bool> {
    step()?;
    match fs::remove_file(path) {
        Ok(()) => flush_parent(path).map(|()| true),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Threads that wait for the disk at the same time: a journal takes what several ask for in one go.
const FLUSHING: usize = 4;

/// Does `work` for all of `items`, several at once. All are tried; the error is one of theirs.
pub(crate) fn at_once<T: Sync>(items: &[T], work: impl Fn(&T) -> io::Result<()> + Sync) -> io::Result<()> {
    if items.len() <= 1 {
        return items.iter().try_for_each(work);
    }
    let (next, fuse) = (AtomicUsize::new(0), Fuse::here());
    let take = || {
        Fuse::hold(fuse.clone());
        let mut result = Ok(());
        while let Some(item) = items.get(next.fetch_add(1, Relaxed)) {
            result = result.and(work(item));
        }
        result
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..FLUSHING.min(items.len())).map(|_| scope.spawn(take)).collect();
        let mut result = Ok(());
        for thread in threads {
            result = result.and(thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        result
    })
}

/// What a crash left of [`Beside`] is named so.
pub(crate) const UNFINISHED: &str = ".unfinished-";
/// What is unfinished for so long is nobody's: no save takes a day. Less, and a save that is under way in another process, which
/// writes its objects without a lock, could lose them.
const LEFT_AFTER: Duration = Duration::from_secs(24 * 3600);

/// Removes what crashes left of [`Beside`] in `directory`. `now` is when a file beside it was written, so that two clocks are
/// never compared. What cannot be removed is harmless.
pub(crate) fn clear_unfinished(directory: &Path, now: SystemTime) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if !entry.file_name().as_encoded_bytes().starts_with(UNFINISHED.as_bytes()) {
            continue;
        }
        let written = entry.metadata().and_then(|metadata| metadata.modified());
        if written.is_ok_and(|written| now.duration_since(written).is_ok_and(|age| age > LEFT_AFTER)) {
            forget(&entry.path());
        }
    }
}

/// Makes the name of a file durable.
pub(crate) fn flush_parent(path: &Path) -> io::Result<()> {
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

    /// Steps left until this process stands still, to be killed.
    static STANDS_AFTER: AtomicU32 = AtomicU32::new(u32::MAX);

    /// After `steps` more steps of any thread, the one that takes the next says "stands" and goes no further.
    pub(crate) fn stand_after(steps: u32) {
        STANDS_AFTER.store(steps, Relaxed);
    }

    pub(crate) fn step() -> io::Result<()> {
        if STANDS_AFTER.load(Relaxed) != u32::MAX && STANDS_AFTER.fetch_sub(1, Relaxed) == 0 {
            eprintln!("stands");
            loop {
                std::thread::park();
            }
        }
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
        let third = Beside::write(&path, b"three").unwrap();
        third.link().unwrap();
        drop(third);
        assert_eq!(fs::read(&path).unwrap(), b"two", "a link never overwrites");
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
