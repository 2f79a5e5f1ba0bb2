//! A consistent copy of an SQLite database that a browser may have open.
//!
//! Most are copied by SQLite itself through a read-only connection, the write-ahead log included. Some Chromium keeps locked
//! for as long as it runs (its history): those are copied as they lie, with their journal, while they hold still, and then
//! recovered and checked as after a crash. A database whose log nobody shares is copied that way too, because SQLite would
//! have to write beside it in order to read it.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use rusqlite::{
    Connection, ErrorCode, OpenFlags,
    backup::{Backup, StepResult},
};
use tokio_util::sync::CancellationToken;

use super::copy::{create, is_quiet, look, open_own};

/// How often a locked database is tried before it is copied as it lies: a browser's own transactions take milliseconds.
const BUSY_ATTEMPTS: u32 = 10;
/// How often it is copied as it lies before it is given up.
const RAW_ATTEMPTS: u32 = 8;
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(30);
/// Where the header says that a write-ahead log belongs to it, and how.
const WAL_AT: usize = 18;
const WAL: u8 = 2;

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copied {
    /// Somebody held it locked.
    pub was_locked: bool,
}

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The database or its journal is a link.
    #[error("a symbolic link")]
    Link,
    /// It never held still.
    #[error("it was locked or written all the time")]
    Busy,
    /// It is no sound database.
    #[error("it is damaged")]
    Damaged,
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Read(io::Error),
    /// The copy cannot be written.
    #[error("its copy cannot be written: {0}")]
    Write(io::Error),
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

/// Copies `from` to `to`, where nothing is; one file without journals comes of it.
pub fn copy(from: &Path, to: &Path, stop: &CancellationToken) -> Result<Copied, DatabaseError> {
    for path in [from.to_owned(), beside(from, "-journal"), beside(from, "-wal")] {
        if fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_symlink()) {
            return Err(DatabaseError::Link);
        }
    }
    let backed_up = if has_unshared_log(from)? { Backed::NotThisWay } else { back_up(from, to, stop)? };
    let was_locked = backed_up == Backed::Locked;
    if backed_up != Backed::Done {
        copy_as_it_lies(from, to, stop)?;
    }
    check(to)?;
    Ok(Copied { was_locked })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Backed {
    Done,
    Locked,
    NotThisWay,
}

fn has_unshared_log(path: &Path) -> Result<bool, DatabaseError> {
    let mut header = [0; WAL_AT + 1];
    let mut file = open_own(path).map_err(DatabaseError::Read)?;
    let is_short = io::Read::read_exact(&mut file, &mut header).is_err();
    Ok(!is_short && header[WAL_AT] == WAL && !beside(path, "-shm").exists())
}

/// All pages in one step: in several, each write of the browser would start it over.
fn back_up(from: &Path, to: &Path, stop: &CancellationToken) -> Result<Backed, DatabaseError> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    // Without its own patience: how often to try is decided below.
    let opened = Connection::open_with_flags(from, flags).and_then(|source| {
        source.busy_timeout(Duration::ZERO)?;
        Ok(source)
    });
    let Ok(source) = opened else { return Ok(Backed::NotThisWay) };
    create(to).map_err(DatabaseError::Write)?;
    let mut target = Connection::open(to).map_err(|error| wrote(&error))?;
    light(&target).map_err(|error| wrote(&error))?;
    for _ in 0..BUSY_ATTEMPTS {
        if stop.is_cancelled() {
            return Err(DatabaseError::Interrupted);
        }
        let Ok(backup) = Backup::new(&source, &mut target) else { return Ok(Backed::NotThisWay) };
        match backup.step(-1) {
            Ok(StepResult::Done) => return Ok(Backed::Done),
            Ok(_) => {}
            Err(error) if is_full(&error) => return Err(wrote(&error)),
            Err(_) => return Ok(Backed::NotThisWay),
        }
        drop(backup);
        thread::sleep(PAUSE);
    }
    Ok(Backed::Locked)
}

fn copy_as_it_lies(from: &Path, to: &Path, stop: &CancellationToken) -> Result<(), DatabaseError> {
    let parts = |path: &Path| [path.to_owned(), beside(path, "-journal"), beside(path, "-wal")];
    let (sources, targets) = (parts(from), parts(to));
    let look_all = || sources.each_ref().map(|path| look(path).ok());
    let mut outcome = DatabaseError::Busy;
    for _ in 0..RAW_ATTEMPTS {
        if stop.is_cancelled() {
            return Err(DatabaseError::Interrupted);
        }
        let before = look_all();
        if before[0].is_none() {
            return Err(DatabaseError::Read(io::ErrorKind::NotFound.into()));
        }
        if sources.iter().all(|path| is_quiet(path)) {
            for (source, target) in sources.iter().zip(&targets) {
                copy_part(source, target)?;
            }
            if before != look_all() {
                outcome = DatabaseError::Busy;
            } else if recover(to)? {
                return Ok(());
            } else {
                outcome = DatabaseError::Damaged;
            }
        }
        thread::sleep(PAUSE);
    }
    for target in targets {
        let _not_written_at_all = fs::remove_file(target);
    }
    Err(outcome)
}

fn copy_part(from: &Path, to: &Path) -> Result<(), DatabaseError> {
    let mut source = match open_own(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return match fs::remove_file(to) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(DatabaseError::Write(error)),
                _ => Ok(()),
            };
        }
        opened => opened.map_err(DatabaseError::Read)?,
    };
    let mut target = create(to).map_err(DatabaseError::Write)?;
    io::copy(&mut source, &mut target).map(drop).map_err(|error| match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            DatabaseError::Write(error)
        }
        _ => DatabaseError::Read(error),
    })
}

/// Plays the journal or the log back, as the browser would after a crash; whether a database came of it.
fn recover(path: &Path) -> Result<bool, DatabaseError> {
    let recovered = Connection::open(path).and_then(|connection| {
        connection.pragma_update_and_check(None, "journal_mode", "DELETE", |row| row.get::<_, String>(0))?;
        is_sound(&connection)
    });
    match recovered {
        Ok(sound) => Ok(sound),
        Err(error) if is_full(&error) => Err(wrote(&error)),
        Err(_) => Ok(false),
    }
}

fn check(path: &Path) -> Result<(), DatabaseError> {
    match Connection::open(path)
        .and_then(|connection| light(&connection).and_then(|()| is_sound(&connection)))
    {
        Ok(true) => {
            for suffix in ["-journal", "-wal", "-shm"] {
                let _never_there = fs::remove_file(beside(path, suffix));
            }
            Ok(())
        }
        Err(error) if is_full(&error) => Err(wrote(&error)),
        Ok(false) | Err(_) => Err(DatabaseError::Damaged),
    }
}

fn is_sound(connection: &Connection) -> rusqlite::Result<bool> {
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    Ok(verdict == "ok")
}

/// A copy in memory needs no journal, and leaves no clear pages elsewhere.
pub(super) fn light(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "synchronous", "OFF")?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "secure_delete", "ON")?;
    connection.pragma_update_and_check(None, "journal_mode", "MEMORY", |_| Ok(()))
}

fn is_full(error: &rusqlite::Error) -> bool {
    error
        .sqlite_error()
        .is_some_and(|error| error.code == ErrorCode::DiskFull || is_write_failure(error.extended_code))
}

/// `SQLITE_IOERR_WRITE`, `_FSYNC` and `_TRUNCATE`: what a full or limited file system answers.
fn is_write_failure(extended: i32) -> bool {
    const IO_ERROR: i32 = 10;
    matches!((extended & 0xff, extended >> 8), (IO_ERROR, 3 | 4 | 6))
}

/// SQLite's error as the file system's, so that what to do about it is said in one place.
pub(super) fn wrote(error: &rusqlite::Error) -> DatabaseError {
    let kind = if is_full(error) { io::ErrorKind::StorageFull } else { io::ErrorKind::Other };
    DatabaseError::Write(io::Error::new(kind, error.to_string()))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path.as_os_str());
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct World {
        directory: tempfile::TempDir,
    }

    impl World {
        fn new() -> Self {
            Self { directory: tempfile::tempdir().unwrap() }
        }

        fn from(&self) -> PathBuf {
            self.directory.path().canonicalize().unwrap().join("from")
        }

        fn open(&self, mode: &str) -> Connection {
            let connection = Connection::open(self.from()).unwrap();
            connection.pragma_update_and_check(None, "journal_mode", mode, |_| Ok(())).unwrap();
            connection.execute_batch("CREATE TABLE IF NOT EXISTS t(a); INSERT INTO t VALUES (1)").unwrap();
            connection
        }

        fn copy(&self) -> Result<Copied, DatabaseError> {
            let to = self.directory.path().join("to");
            let _ = fs::remove_file(&to);
            copy(&self.from(), &to, &CancellationToken::new())
        }

        fn sum(&self) -> i64 {
            let copy = Connection::open(self.directory.path().join("to")).unwrap();
            copy.query_row("SELECT sum(a) FROM t", [], |row| row.get(0)).unwrap()
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(self.directory.path()).unwrap().flatten();
            let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }
    }

    #[test]
    fn a_database_is_copied_while_it_is_open_in_either_way() {
        for mode in ["DELETE", "TRUNCATE", "WAL"] {
            let world = World::new();
            let open = world.open(mode);
            let before = world.names();
            assert!(!world.copy().unwrap().was_locked, "{mode}");
            assert_eq!(world.sum(), 1, "{mode}");
            let added: Vec<_> = world.names().into_iter().filter(|name| !before.contains(name)).collect();
            assert_eq!(added, ["to"], "{mode}");
            drop(open);
        }
    }

    /// What Chromium does with its history: it holds the lock for as long as it runs, and commits now and then.
    #[test]
    fn a_database_that_is_locked_for_good_is_copied_as_it_was_committed() {
        let world = World::new();
        let open = world.open("TRUNCATE");
        open.pragma_update_and_check(None, "locking_mode", "EXCLUSIVE", |_| Ok(())).unwrap();
        open.execute_batch("INSERT INTO t VALUES (10)").unwrap();
        assert!(world.copy().unwrap().was_locked);
        assert_eq!(world.sum(), 11);
        // A transaction that spilled to the disk and is not committed is rolled back in the copy.
        open.pragma_update(None, "cache_size", 1).unwrap();
        open.execute_batch("BEGIN; UPDATE t SET a = a + 100").unwrap();
        open.execute_batch(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
             INSERT INTO t SELECT 1000 FROM n",
        )
        .unwrap();
        assert!(fs::metadata(beside(&world.from(), "-journal")).unwrap().len() > 512, "it spilled");
        assert!(world.copy().unwrap().was_locked);
        assert_eq!(world.sum(), 11);
        open.execute_batch("ROLLBACK").unwrap();
    }

    #[test]
    fn a_log_that_nobody_shares_is_read_and_nothing_is_written_beside_it() {
        let world = World::new();
        let open = world.open("WAL");
        open.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
        open.execute_batch("INSERT INTO t VALUES (30)").unwrap();
        // As a crash leaves it: the log and no shared memory.
        let crashed = World::new();
        for suffix in ["", "-wal"] {
            fs::copy(beside(&world.from(), suffix), beside(&crashed.from(), suffix)).unwrap();
        }
        let before = crashed.names();
        crashed.copy().unwrap();
        assert_eq!(crashed.sum(), 31);
        let added: Vec<_> = crashed.names().into_iter().filter(|name| !before.contains(name)).collect();
        assert_eq!(added, ["to"]);
    }

    #[test]
    fn damage_links_and_what_cannot_be_read_are_told_apart() {
        let world = World::new();
        drop(world.open("DELETE"));
        let mut bytes = fs::read(world.from()).unwrap();
        for byte in &mut bytes[100..3000] {
            *byte = 0xa5;
        }
        fs::write(world.from(), &bytes).unwrap();
        assert!(matches!(world.copy(), Err(DatabaseError::Damaged)));
        fs::write(world.from(), b"SQLite format 3\0 and nothing more").unwrap();
        assert!(matches!(world.copy(), Err(DatabaseError::Damaged)));

        let linked = World::new();
        drop(linked.open("DELETE"));
        std::os::unix::fs::symlink("/etc/passwd", beside(&linked.from(), "-wal")).unwrap();
        assert!(matches!(linked.copy(), Err(DatabaseError::Link)));
        fs::remove_file(linked.from()).unwrap();
        std::os::unix::fs::symlink(world.from(), linked.from()).unwrap();
        assert!(matches!(linked.copy(), Err(DatabaseError::Link)));
        fs::remove_file(linked.from()).unwrap();
        fs::remove_file(beside(&linked.from(), "-wal")).unwrap();
        assert!(matches!(linked.copy(), Err(DatabaseError::Read(_))));
    }

    #[test]
    fn one_that_is_written_all_the_time_is_given_up_or_copied_whole() {
        let world = World::new();
        let open = world.open("TRUNCATE");
        open.pragma_update_and_check(None, "locking_mode", "EXCLUSIVE", |_| Ok(())).unwrap();
        open.pragma_update(None, "synchronous", "OFF").unwrap();
        let (stop, path) = (CancellationToken::new(), world.from());
        let writing = stop.clone();
        let writer = thread::spawn(move || {
            while !writing.is_cancelled() {
                open.execute_batch("BEGIN; INSERT INTO t VALUES (7); INSERT INTO t VALUES (-7); COMMIT")
                    .unwrap();
            }
            drop(path);
        });
        let copied = world.copy();
        stop.cancel();
        writer.join().unwrap();
        match copied {
            Ok(_) => assert_eq!(world.sum(), 1),
            Err(error) => assert!(matches!(error, DatabaseError::Busy | DatabaseError::Damaged), "{error}"),
        }
    }
}
