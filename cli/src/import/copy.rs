//! Copying a profile's files out from under a browser that may be writing them.
//!
//! Databases go through SQLite ([`super::database`]). A LevelDB directory is one unit: its log may grow while it is read,
//! nothing else in it may change, appear or go. Every other file is read until it held still. What never does is named.

use std::{
    collections::BTreeMap,
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    thread,
    time::{Duration, SystemTime},
};

use cbrowse_profile::{
    allowlist::{self, Class, PROFILE_DIRECTORY},
    manifest::{MAX_FILE_LENGTH, MAX_FILES, MAX_PROFILE_LENGTH},
    meter::Meter,
};
use nix::fcntl::OFlag;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::{
    ImportError,
    database::{self, DatabaseError},
    make_below,
};

/// How often a file or a LevelDB directory that does not hold still is read again. A browser writes in bursts.
const ATTEMPTS: u32 = 5;
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(40);
/// A file has to be at rest for so long before it is read: two writes within one tick of the file system's clock look like
/// one.
const QUIET: Duration = Duration::from_millis(20);
/// Bytes in memory at once.
const BUFFER: usize = 256 * 1024;
/// Longest file that is read in one piece, in bytes.
const MAX_SMALL: u64 = 16 * 1024 * 1024;
/// What every SQLite database begins with.
const SQLITE: &[u8; 16] = b"SQLite format 3\0";
const COMPANIONS: [&str; 2] = ["-journal", "-wal"];

/// A file that does not come along.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Left {
    /// Relative to the profile's directory, `/` between parts.
    pub path: String,
    /// Why.
    pub reason: Why,
}

/// Why a file does not come along.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// A symbolic link.
    Link,
    /// A socket, a pipe or a device.
    Special,
    /// Code, or the state of code.
    Executable,
    /// Its name cannot be stored.
    Name,
    /// It kept changing.
    Changing,
    /// A database that is damaged.
    Damaged,
    /// A database that was locked all the time.
    Locked,
    /// It cannot be read.
    Unreadable,
    /// Encrypted with a key that is not at hand.
    Encrypted,
}

impl Why {
    /// For a person.
    pub fn words(self) -> &'static str {
        match self {
            Self::Link => "a symbolic link; links are never followed",
            Self::Special => "a socket, pipe or device",
            Self::Executable => "belongs to an extension or another program; code does not travel",
            Self::Name => "its name cannot be stored",
            Self::Changing => "it kept changing while it was read; close the browser and import again",
            Self::Damaged => "the database is damaged",
            Self::Locked => "the browser kept it locked; close the browser and import again",
            Self::Unreadable => "it cannot be read",
            Self::Encrypted => "it is encrypted with a key that is not at hand",
        }
    }
}

/// What is to be copied, and what stays.
#[derive(Debug, Default)]
pub struct Plan {
    files: BTreeMap<String, u64>,
    left: Vec<Left>,
}

impl Plan {
    /// Bytes that would be read.
    pub fn bytes(&self) -> u64 {
        self.files.values().sum()
    }

    /// Files that would be read.
    pub fn files(&self) -> usize {
        self.files.len()
    }
}

/// What was copied.
#[derive(Debug, Default)]
pub struct Copied {
    /// What was not.
    pub left: Vec<Left>,
    /// A database was locked by somebody, so a browser is at work even if no lock of its own says so.
    pub was_locked: bool,
}

/// Looks through a profile's directory for what travels.
pub fn plan(profile: &Path) -> Result<Plan, ImportError> {
    let mut plan = Plan::default();
    enter(profile, "", &mut plan)?;
    if plan.files.len() > MAX_FILES {
        return Err(ImportError::TooLarge(format!("{} with more than {MAX_FILES} files", profile.display())));
    }
    if plan.bytes() > MAX_PROFILE_LENGTH {
        return Err(ImportError::TooLarge(format!("{} with more than 16 GiB", profile.display())));
    }
    plan.left.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(plan)
}

fn enter(profile: &Path, inside: &str, plan: &mut Plan) -> Result<(), ImportError> {
    let directory = profile.join(inside);
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(_) if !inside.is_empty() => {
            plan.leave(inside.into(), Why::Unreadable);
            return Ok(());
        }
        Err(source) => return Err(ImportError::Read { path: directory, source }),
    };
    for entry in entries.flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = if inside.is_empty() { name } else { format!("{inside}/{name}") };
        // What is gone by now was temporary.
        let Ok(metadata) = entry.metadata() else { continue };
        let travelling = format!("{PROFILE_DIRECTORY}/{path}");
        if metadata.is_dir() {
            if allowlist::is_entered(&travelling) {
                enter(profile, &path, plan)?;
            }
            continue;
        }
        match judge(&travelling, &metadata) {
            Verdict::Take if metadata.len() > MAX_FILE_LENGTH => {
                return Err(ImportError::TooLarge(format!("{path} with more than 4 GiB")));
            }
            Verdict::Take => _ = plan.files.insert(path, metadata.len()),
            Verdict::Leave(why) => plan.leave(path, why),
            Verdict::Ignore => {}
        }
    }
    Ok(())
}

enum Verdict {
    Take,
    Leave(Why),
    Ignore,
}

fn judge(travelling: &str, metadata: &Metadata) -> Verdict {
    match allowlist::classify(travelling) {
        Err(_) => Verdict::Leave(Why::Name),
        // Extensions are reported by their names, see `extensions`.
        Ok(Class::Ignored | Class::Executable) => Verdict::Ignore,
        Ok(_) if metadata.is_symlink() => Verdict::Leave(Why::Link),
        Ok(_) if !metadata.is_file() => Verdict::Leave(Why::Special),
        Ok(_) => Verdict::Take,
    }
}

impl Plan {
    fn leave(&mut self, path: String, reason: Why) {
        self.left.push(Left { path, reason });
    }
}

/// What is copied together.
#[derive(Debug, PartialEq, Eq)]
enum Unit {
    File(String),
    Database(String),
    /// The directory and its files.
    LevelDb(String, Vec<String>),
}

/// Copies what was planned into `target`, which is made; its parent is there.
pub fn copy(
    profile: &Path,
    plan: Plan,
    target: &Path,
    meter: &Meter,
    stop: &CancellationToken,
) -> Result<Copied, ImportError> {
    meter.expect(plan.files.len() as u64, plan.bytes());
    let mut copied = Copied { left: plan.left, was_locked: false };
    let writing = |source| ImportError::Write { path: target.to_owned(), source };
    let (parent, name) =
        target.parent().zip(target.file_name()).expect("a directory in the staging directory");
    make_below(parent, Path::new(name)).map_err(writing)?;
    for unit in units(profile, &plan.files) {
        let one = Copying { profile, target, stop };
        let (path, outcome) = match &unit {
            Unit::File(path) => (path, one.file(path)),
            Unit::Database(path) => (path, one.database(path, &mut copied.was_locked)),
            Unit::LevelDb(path, files) => (path, one.level_db(files)),
        };
        match outcome {
            Ok(()) => {}
            Err(Trouble::Left(reason)) => copied.left.push(Left { path: path.clone(), reason }),
            Err(Trouble::Ended(error)) => return Err(error),
        }
        let (files, bytes) = measure(&unit, &plan.files);
        meter.done(files, bytes);
    }
    Ok(copied)
}

fn measure(unit: &Unit, sizes: &BTreeMap<String, u64>) -> (u64, u64) {
    let size = |path: &String| sizes.get(path).copied().unwrap_or(0);
    match unit {
        Unit::File(path) => (1, size(path)),
        Unit::LevelDb(_, files) => (files.len() as u64, files.iter().map(size).sum()),
        Unit::Database(path) => {
            let companions = COMPANIONS.map(|suffix| format!("{path}{suffix}"));
            let there = companions.iter().filter(|companion| sizes.contains_key(*companion));
            there.fold((1, size(path)), |(files, bytes), companion| (files + 1, bytes + size(companion)))
        }
    }
}

/// Databases take their journals with them; a directory with a file `CURRENT` is a LevelDB.
fn units(profile: &Path, files: &BTreeMap<String, u64>) -> Vec<Unit> {
    let parent = |path: &str| path.rsplit_once('/').map_or(String::new(), |(parent, _)| parent.to_owned());
    let level = |path: &str| files.contains_key(&format!("{}/CURRENT", parent(path)));
    let mut units = Vec::new();
    let mut directories: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for path in files.keys() {
        let main = COMPANIONS.iter().find_map(|suffix| path.strip_suffix(suffix));
        if level(path) {
            directories.entry(parent(path)).or_default().push(path.clone());
        } else if main.is_some_and(|main| files.contains_key(main)) {
            // It goes with its database, or is of no use without one.
        } else if is_database(&profile.join(path)) {
            units.push(Unit::Database(path.clone()));
        } else {
            units.push(Unit::File(path.clone()));
        }
    }
    units.extend(directories.into_iter().map(|(directory, files)| Unit::LevelDb(directory, files)));
    units
}

fn is_database(path: &Path) -> bool {
    let mut first = [0; SQLITE.len()];
    open_own(path).and_then(|mut file| file.read_exact(&mut first)).is_ok() && first == *SQLITE
}

enum Trouble {
    Left(Why),
    Ended(ImportError),
}

struct Copying<'a> {
    profile: &'a Path,
    target: &'a Path,
    stop: &'a CancellationToken,
}

impl Copying<'_> {
    fn file(&self, path: &str) -> Result<(), Trouble> {
        for attempt in 0..ATTEMPTS {
            self.wait(attempt)?;
            if !is_quiet(&self.profile.join(path)) {
                continue;
            }
            let before = self.read(path)?;
            let after = look(&self.profile.join(path));
            if after.is_ok_and(|after| after == before) {
                return Ok(());
            }
        }
        self.forget(&[path.to_owned()]);
        Err(Trouble::Left(Why::Changing))
    }

    fn database(&self, path: &str, was_locked: &mut bool) -> Result<(), Trouble> {
        let target = self.prepare(path)?;
        let outcome = database::copy(&self.profile.join(path), &target, self.stop);
        let (why, locked) = match outcome {
            Ok(copied) => {
                *was_locked |= copied.was_locked;
                return Ok(());
            }
            Err(DatabaseError::Interrupted) => return Err(Trouble::Ended(ImportError::Interrupted)),
            Err(DatabaseError::Write(source)) => return Err(self.cannot_write(path, source)),
            Err(DatabaseError::Link) => (Why::Link, false),
            Err(DatabaseError::Busy) => (Why::Locked, true),
            Err(DatabaseError::Damaged) => (Why::Damaged, false),
            Err(DatabaseError::Read(_)) => (Why::Unreadable, false),
        };
        *was_locked |= locked;
        self.forget(&[path.to_owned()]);
        Err(Trouble::Left(why))
    }

    /// LevelDB plays its log back as far as it is whole; all its other files are written once and never again.
    fn level_db(&self, files: &[String]) -> Result<(), Trouble> {
        for attempt in 0..ATTEMPTS {
            self.wait(attempt)?;
            let mut held_still = true;
            for path in files {
                held_still = held_still && self.part(path)?;
            }
            // A compaction in between has taken away or added files.
            if held_still && self.holds_exactly(files) {
                return Ok(());
            }
        }
        self.forget(files);
        Err(Trouble::Left(Why::Changing))
    }

    /// One file of a LevelDB; whether it held still.
    fn part(&self, path: &str) -> Result<bool, Trouble> {
        let source = self.profile.join(path);
        if !is_log(path) && !is_quiet(&source) {
            return Ok(false);
        }
        let before = match self.read(path) {
            Err(Trouble::Left(Why::Changing)) => return Ok(false),
            before => before?,
        };
        Ok(look(&source).is_ok_and(|after| after == before || is_grown_log(path, &before, &after)))
    }

    fn holds_exactly(&self, files: &[String]) -> bool {
        let Some((directory, _)) = files.first().and_then(|file| file.rsplit_once('/')) else { return true };
        let mut plan = Plan::default();
        let listed = enter(self.profile, directory, &mut plan).is_ok();
        let here = |path: &&String| path.rsplit_once('/').is_some_and(|(parent, _)| parent == directory);
        listed && plan.files.keys().filter(here).eq(files)
    }

    /// Copies once; what the file was when it was opened.
    fn read(&self, path: &str) -> Result<Stamp, Trouble> {
        let target = self.prepare(path)?;
        let mut file = open_own(&self.profile.join(path)).map_err(|error| left(&error))?;
        let metadata = file.metadata().map_err(|error| left(&error))?;
        let mut out = create(&target).map_err(|source| self.cannot_write(path, source))?;
        let mut buffer = vec![0; BUFFER];
        let mut room = MAX_FILE_LENGTH;
        loop {
            self.go_on()?;
            let read = file.read(&mut buffer).map_err(|error| left(&error))?;
            if read == 0 {
                return Ok(stamp(&metadata));
            }
            room = room.checked_sub(read as u64).ok_or(Trouble::Left(Why::Changing))?;
            out.write_all(&buffer[..read]).map_err(|source| self.cannot_write(path, source))?;
        }
    }

    fn prepare(&self, path: &str) -> Result<PathBuf, Trouble> {
        self.go_on()?;
        let inside = Path::new(path);
        make_below(self.target, inside.parent().unwrap_or(Path::new("")))
            .map_err(|source| self.cannot_write(path, source))?;
        Ok(self.target.join(inside))
    }

    fn wait(&self, attempt: u32) -> Result<(), Trouble> {
        if attempt > 0 {
            thread::sleep(PAUSE);
        }
        self.go_on()
    }

    fn go_on(&self) -> Result<(), Trouble> {
        if self.stop.is_cancelled() { Err(Trouble::Ended(ImportError::Interrupted)) } else { Ok(()) }
    }

    fn cannot_write(&self, path: &str, source: io::Error) -> Trouble {
        Trouble::Ended(ImportError::Write { path: self.target.join(path), source })
    }

    /// Half a file is worse than none.
    fn forget(&self, files: &[String]) {
        for path in files {
            let _not_written_at_all = fs::remove_file(self.target.join(path));
        }
    }
}

fn left(error: &io::Error) -> Trouble {
    Trouble::Left(match error.kind() {
        io::ErrorKind::NotFound => Why::Changing,
        _ if error.raw_os_error() == Some(nix::libc::ELOOP) => Why::Link,
        _ => Why::Unreadable,
    })
}

/// A regular file, and no link; a pipe in its place is not waited for.
pub(super) fn open_own(path: &Path) -> io::Result<File> {
    let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("not a regular file")) }
}

pub(super) fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// All of a small file.
pub(super) fn read_small(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_own(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
}

/// Copies a file that the browser only ever replaces as a whole.
pub(super) fn copy_small(from: &Path, to: &Path) -> io::Result<()> {
    let bytes = read_small(from, MAX_SMALL)?;
    create(to)?.write_all(&bytes)
}

/// What changes when a file does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    file: (u64, u64),
    length: u64,
    modified: (i64, i64),
}

pub(super) fn look(path: &Path) -> io::Result<Stamp> {
    let metadata = fs::symlink_metadata(path)?;
    if metadata.is_file() { Ok(stamp(&metadata)) } else { Err(io::Error::other("not a regular file")) }
}

fn stamp(metadata: &Metadata) -> Stamp {
    Stamp {
        file: (metadata.dev(), metadata.ino()),
        length: metadata.len(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
    }
}

/// Whether nobody wrote to it a moment ago, or it is not there.
pub(super) fn is_quiet(path: &Path) -> bool {
    let modified = fs::symlink_metadata(path).and_then(|metadata| metadata.modified());
    // A clock that was set back makes nothing wait for ever.
    modified.map_or(true, |modified| {
        SystemTime::now().duration_since(modified).map_or(true, |since| since >= QUIET)
    })
}

fn is_log(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension == "log")
}

fn is_grown_log(path: &str, before: &Stamp, after: &Stamp) -> bool {
    is_log(path) && before.file == after.file && after.length >= before.length
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plant(root: &Path, path: &str, bytes: &[u8]) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn run(profile: &Path, target: &Path) -> Copied {
        copy(profile, plan(profile).unwrap(), target, &Meter::default(), &CancellationToken::new()).unwrap()
    }

    #[test]
    fn what_travels_is_copied_and_links_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let (profile, target) = (directory.path().join("Profile 1"), directory.path().join("Default"));
        for path in [
            "Bookmarks",
            "Cache/data_0",
            "Extensions/a/1/manifest.json",
            "Local Storage/leveldb/CURRENT",
            "Local Storage/leveldb/000003.log",
            "Local Storage/leveldb/LOCK",
            "Sessions/Session_1",
        ] {
            plant(&profile, path, path.as_bytes());
        }
        std::os::unix::fs::symlink("/etc/passwd", profile.join("History")).unwrap();
        nix::unistd::mkfifo(&profile.join("Cookies"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        let copied = run(&profile, &target);
        let left: Vec<_> = copied.left.iter().map(|left| (left.path.as_str(), left.reason)).collect();
        assert_eq!(left, [("Cookies", Why::Special), ("History", Why::Link)]);
        for there in ["Bookmarks", "Local Storage/leveldb/000003.log", "Sessions/Session_1"] {
            assert_eq!(fs::read(target.join(there)).unwrap(), there.as_bytes());
        }
        for absent in ["Cache", "Extensions", "Local Storage/leveldb/LOCK", "History", "Cookies"] {
            assert!(!target.join(absent).exists(), "{absent}");
        }
        assert_eq!(fs::metadata(&target).unwrap().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(target.join("Bookmarks")).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_database_goes_with_its_journals_and_a_level_db_as_one() {
        let directory = tempfile::tempdir().unwrap();
        plant(directory.path(), "History", SQLITE);
        let files: BTreeMap<String, u64> = [
            "Bookmarks",
            "History",
            "History-journal",
            "History-wal",
            "IndexedDB/a.leveldb/000001.log",
            "IndexedDB/a.leveldb/CURRENT",
            "Local Storage/leveldb/CURRENT",
        ]
        .into_iter()
        .map(|path| (path.to_owned(), 10))
        .collect();
        let units = units(directory.path(), &files);
        let inner = |path: &str| format!("IndexedDB/a.leveldb/{path}");
        assert_eq!(
            units,
            [
                Unit::File("Bookmarks".into()),
                Unit::Database("History".into()),
                Unit::LevelDb("IndexedDB/a.leveldb".into(), vec![inner("000001.log"), inner("CURRENT")]),
                Unit::LevelDb("Local Storage/leveldb".into(), vec!["Local Storage/leveldb/CURRENT".into()]),
            ]
        );
        assert_eq!(measure(&units[1], &files), (3, 30));
    }

    #[test]
    fn a_log_may_grow_and_nothing_else_may_change() {
        let directory = tempfile::tempdir().unwrap();
        plant(directory.path(), "a.log", b"1");
        let path = directory.path().join("a.log");
        let before = look(&path).unwrap();
        fs::write(&path, b"12").unwrap();
        let after = look(&path).unwrap();
        assert_ne!(before, after);
        assert!(is_grown_log("x/a.log", &before, &after));
        assert!(!is_grown_log("x/a.ldb", &before, &after));
        assert!(!is_grown_log("x/a.log", &after, &before), "it became shorter");
    }

    #[test]
    fn a_file_that_never_holds_still_is_left_behind_and_no_half_of_it_stays() {
        let directory = tempfile::tempdir().unwrap();
        let (profile, target) = (directory.path().join("p"), directory.path().join("Default"));
        plant(&profile, "Sessions/Session_1", b"x");
        plant(&profile, "Bookmarks", b"{}");
        let planned = plan(&profile).unwrap();
        let (path, stop) = (profile.join("Sessions/Session_1"), CancellationToken::new());
        let writing = stop.clone();
        let writer = thread::spawn(move || {
            let mut length = 0_usize;
            while !writing.is_cancelled() {
                length = (length + 1) % 50_000;
                fs::write(&path, vec![7; length]).unwrap();
            }
        });
        let copied = copy(&profile, planned, &target, &Meter::default(), &CancellationToken::new()).unwrap();
        stop.cancel();
        writer.join().unwrap();
        // A lucky pause of the writer is allowed: then the file is there in full.
        let there = target.join("Sessions/Session_1");
        match copied.left.as_slice() {
            [] => assert!(fs::read(there).unwrap().iter().all(|byte| *byte == 7)),
            [left] => assert_eq!((left.reason, there.exists()), (Why::Changing, false)),
            more => panic!("{more:?}"),
        }
        assert!(target.join("Bookmarks").exists());
    }

    #[test]
    fn ctrl_c_ends_it_and_nothing_comes_back_once_it_is_wiped() {
        let directory = tempfile::tempdir().unwrap();
        let profile = directory.path().join("p");
        plant(&profile, "Bookmarks", b"{}");
        let stop = CancellationToken::new();
        stop.cancel();
        let ended = copy(
            &profile,
            plan(&profile).unwrap(),
            &directory.path().join("Default"),
            &Meter::default(),
            &stop,
        );
        assert!(matches!(ended, Err(ImportError::Interrupted)));
        let wiped = directory.path().join("wiped/Default");
        let ended =
            copy(&profile, plan(&profile).unwrap(), &wiped, &Meter::default(), &CancellationToken::new());
        assert!(matches!(ended, Err(ImportError::Write { .. })));
        assert!(!directory.path().join("wiped").exists());
    }
}
