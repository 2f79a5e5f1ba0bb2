//! The right to write: one session at a time holds a profile's lease; any number of others may read.
//!
//! ```text
//! ROOT/<profile id>/lease.json   {version, held: who writes, if anybody; beside: sessions whose right was ended}
//! ```
//! A lease is given back at the end of a command. One whose process is gone (its number, its start, the boot it belongs to)
//! is free at once, whatever any clock says; one of this machine whose process runs is held, whatever any clock says. Only for
//! a holder that cannot be looked at, on another machine that shares this directory, its age counts: by the file system's own
//! time, which both see, so that a clock that is wrong by a day neither locks anybody out nor makes two writers.
//!
//! It is a courtesy, not a wall: without it a conflict keeps both versions ([`super::Accepted::KeptAs`]), and nothing is lost.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

use cbrowse_protocol::id::SessionId;
use serde::{Deserialize, Serialize};

use super::{Authority, AuthorityError, lock, state};
use crate::{
    files,
    secret::{Randomness, random_array},
};

/// Seconds after which a holder on another machine that has not renewed its lease is believed to be gone. Shorter than a few
/// [`RENEW_EVERY`], and a machine that was busy loses its right; longer, and whoever waits for a dead one waits longer.
pub const LIFETIME: i64 = 90;
/// Seconds between two renewals.
pub const RENEW_EVERY: u64 = 20;
/// Version of the file.
const VERSION: u32 = 1;
const FILE: &str = "lease.json";
/// Most sessions that are remembered to have lost their right; a node offers its saves within days, not years.
const MAX_BESIDE: usize = 64;
/// Most sessions of one lease: a new one at each move to another node.
const MAX_SESSIONS: usize = 16;

/// Where and as what a process runs, so that another one can tell whether it still does.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Process {
    /// The machine, by a hash of its id; empty where it has none.
    pub machine: String,
    /// The boot.
    pub boot: String,
    /// The namespace in which its number holds.
    pub namespace: String,
    /// Its number.
    pub pid: u32,
    /// When it started, in clock ticks since the boot.
    pub start: u64,
}

/// Who writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Random; tells this holder from a later one.
    pub id: String,
    /// The process.
    pub process: Process,
    /// What its user calls the machine.
    pub device: String,
    /// The node that it works with, once there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Sessions inside its grants, oldest first.
    #[serde(default)]
    pub sessions: Vec<SessionId>,
    /// Seconds since the Unix epoch, by its own clock; for people to read only.
    pub taken: u64,
}

/// What became of asking for the right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// It is ours.
    Given(Lease),
    /// Somebody else has it.
    Held(Lease),
}

/// What to do about a holder that lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Leave it alone.
    Polite,
    /// End its right: what its sessions save from now on is kept beside.
    TakeOver,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Book {
    version: u32,
    #[serde(default)]
    held: Option<Lease>,
    #[serde(default)]
    beside: Vec<SessionId>,
}

impl Authority {
    /// Asks for the right to write, for the process that asks. `now` in seconds since the Unix epoch.
    pub fn take_lease(
        &self,
        manner: Manner,
        device: &str,
        now: u64,
        random: &mut dyn Randomness,
    ) -> Result<Asked, AuthorityError> {
        let _held = lock::hold(&self.directory)?;
        let mut book = read(&self.directory)?;
        let holder = book.held.take().filter(|held| self.is_held_by(held));
        if let Some(holder) = holder {
            if manner == Manner::Polite {
                return Ok(Asked::Held(holder));
            }
            book.beside.extend(holder.sessions);
            let surplus = book.beside.len().saturating_sub(MAX_BESIDE);
            book.beside.drain(..surplus);
        }
        let lease = Lease {
            id: format!("{:032x}", u128::from_be_bytes(random_array(random))),
            process: Process::own(),
            device: device.to_owned(),
            node: None,
            sessions: Vec::new(),
            taken: now,
        };
        book.held = Some(lease.clone());
        write(&self.directory, book)?;
        Ok(Asked::Given(lease))
    }

    /// Who writes, if anybody does.
    pub fn lease(&self) -> Result<Option<Lease>, AuthorityError> {
        let held = read(&self.directory)?.held;
        Ok(held.filter(|held| self.is_held_by(held)))
    }

    fn is_held_by(&self, lease: &Lease) -> bool {
        holds(lease, &Process::own(), runs(&lease.process), age(&self.directory))
    }

    /// Says that the holder lives, and what it works with. `false`: somebody else has ended its right.
    pub fn renew_lease(&self, lease: &Lease) -> Result<bool, AuthorityError> {
        let _held = lock::hold(&self.directory)?;
        let mut book = read(&self.directory)?;
        if book.held.as_ref().is_none_or(|held| held.id != lease.id) {
            return Ok(false);
        }
        let mut renewed = lease.clone();
        let surplus = renewed.sessions.len().saturating_sub(MAX_SESSIONS);
        renewed.sessions.drain(..surplus);
        book.held = Some(renewed);
        write(&self.directory, book).map(|()| true)
    }

    /// Gives it back; nothing happens where somebody else has it.
    pub fn give_back_lease(&self, lease: &Lease) -> Result<(), AuthorityError> {
        let _held = lock::hold(&self.directory)?;
        let mut book = read(&self.directory)?;
        if book.held.as_ref().is_some_and(|held| held.id == lease.id) {
            book.held = None;
            write(&self.directory, book)?;
        }
        Ok(())
    }

    /// Whether this session's right to write was ended. Under the lock.
    pub(super) fn is_beside(&self, session: &SessionId) -> Result<bool, AuthorityError> {
        Ok(read(&self.directory)?.beside.contains(session))
    }
}

fn read(directory: &Path) -> Result<Book, AuthorityError> {
    match state::read_json::<Book>(directory, FILE) {
        Ok(Some(book)) if book.version <= VERSION => Ok(book),
        Ok(Some(book)) => Err(AuthorityError::Version(book.version)),
        // A damaged one keeps nobody from their profile: the worst that follows is a version that is kept beside.
        Ok(None) | Err(AuthorityError::Damaged(_)) => Ok(Book::default()),
        Err(error) => Err(error),
    }
}

fn write(directory: &Path, book: Book) -> Result<(), AuthorityError> {
    state::write_json(directory, FILE, &Book { version: VERSION, ..book })
}

/// Whether a lease still holds. `runs`: its process does, which only those in its own namespace can tell; `age` in seconds, by
/// the file system's time.
fn holds(lease: &Lease, own: &Process, runs: bool, age: Option<i64>) -> bool {
    let their = &lease.process;
    let is_this_machine = !own.machine.is_empty() && their.machine == own.machine;
    if is_this_machine && their.boot != own.boot {
        // No process outlives a boot.
        return false;
    }
    if is_this_machine && their.namespace == own.namespace && !own.boot.is_empty() {
        return runs;
    }
    // One that renews is never as old as this, nor ever younger than now for long.
    age.is_none_or(|age| age < LIFETIME)
}

/// Seconds since the lease was written, by the clock of the file system that holds it.
fn age(directory: &Path) -> Option<i64> {
    let written = fs::metadata(directory.join(FILE)).ok()?.mtime();
    let probe = directory.join(format!("{}now", files::UNFINISHED));
    let _left_by_a_crash = fs::remove_file(&probe);
    let made = files::create_new(&probe).and_then(|file| file.metadata());
    let _harmless = fs::remove_file(&probe);
    Some(made.ok()?.mtime() - written)
}

/// Whether this very process still exists, as far as `/proc` tells (proc_pid_stat(5)).
fn runs(process: &Process) -> bool {
    started(process.pid) == Some(process.start)
}

fn started(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may itself hold blanks and brackets; what follows it begins with the state, the third field.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let is_dead = matches!(*fields.first()?, "Z" | "X");
    fields.get(19)?.parse().ok().filter(|_| !is_dead)
}

impl Process {
    /// The one that asks.
    pub fn own() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let machine = Some(read("/etc/machine-id")).filter(|id| !id.is_empty());
        let namespace = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        let pid = std::process::id();
        Self {
            // The id itself is nobody's business (machine-id(5)). A machine without one is told by its boot.
            machine: machine
                .or_else(|| Some(read("/proc/sys/kernel/random/boot_id")).filter(|boot| !boot.is_empty()))
                .map(|id| blake3::derive_key("cbrowse lease machine v1", id.as_bytes()))
                .map(|hash| blake3::Hash::from(hash).to_hex()[..16].to_owned())
                .unwrap_or_default(),
            boot: read("/proc/sys/kernel/random/boot_id"),
            namespace: namespace.to_string_lossy().into_owned(),
            pid,
            start: started(pid).unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;
    use crate::{keys::AccountKey, secret::SystemRandom};

    fn authority(root: &Path) -> Authority {
        let account = AccountKey::generate(&mut SystemRandom);
        Authority::create(root, &"work".parse().unwrap(), &account, 1, &mut SystemRandom).unwrap()
    }

    fn ask(authority: &Authority, manner: Manner) -> Asked {
        authority.take_lease(manner, "laptop", 1, &mut SystemRandom).unwrap()
    }

    fn given(asked: Asked) -> Lease {
        let Asked::Given(lease) = asked else { panic!("{asked:?}") };
        lease
    }

    /// The lease file, as another process would have written it.
    fn rewrite(authority: &Authority, change: impl FnOnce(&mut Process)) {
        let mut book = read(authority.directory()).unwrap();
        change(&mut book.held.as_mut().unwrap().process);
        write(authority.directory(), book).unwrap();
    }

    #[test]
    fn one_writes_until_it_gives_the_right_back() {
        let root = tempfile::tempdir().unwrap();
        let authority = authority(root.path());
        let lease = given(ask(&authority, Manner::Polite));
        assert_eq!(ask(&authority, Manner::Polite), Asked::Held(lease.clone()));
        assert_eq!(authority.lease().unwrap(), Some(lease.clone()));
        assert!(authority.renew_lease(&lease).unwrap());
        authority.give_back_lease(&lease).unwrap();
        assert_eq!(authority.lease().unwrap(), None);
        assert!(!authority.renew_lease(&lease).unwrap(), "what was given back is gone");
        given(ask(&authority, Manner::Polite));
    }

    #[test]
    fn who_is_taken_over_from_learns_it_and_its_sessions_are_kept_beside() {
        let root = tempfile::tempdir().unwrap();
        let authority = authority(root.path());
        let mut first = given(ask(&authority, Manner::Polite));
        first.sessions.push("s1".parse().unwrap());
        assert!(authority.renew_lease(&first).unwrap());
        let second = given(ask(&authority, Manner::TakeOver));
        assert!(!authority.renew_lease(&first).unwrap());
        authority.give_back_lease(&first).unwrap();
        assert_eq!(authority.lease().unwrap(), Some(second.clone()), "not the loser's to give back");
        assert!(authority.is_beside(&"s1".parse().unwrap()).unwrap());
        assert!(!authority.is_beside(&"s2".parse().unwrap()).unwrap());
        authority.give_back_lease(&second).unwrap();
        assert!(authority.is_beside(&"s1".parse().unwrap()).unwrap(), "for as long as its saves may come");
    }

    #[test]
    fn a_process_that_is_gone_holds_nothing_whatever_the_clock_says() {
        let root = tempfile::tempdir().unwrap();
        let authority = authority(root.path());
        given(ask(&authority, Manner::Polite));
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let (pid, start) = (child.id(), started(child.id()).unwrap());
        rewrite(&authority, |process| (process.pid, process.start) = (pid, start));
        assert!(matches!(ask(&authority, Manner::Polite), Asked::Held(_)));
        // Years old, or written in years to come: the process is there.
        for seconds in [1, 10_000_000_000] {
            let file = fs::File::options().write(true).open(authority.directory().join(FILE)).unwrap();
            let then = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
            file.set_modified(then).unwrap();
            assert!(matches!(ask(&authority, Manner::Polite), Asked::Held(_)));
        }
        // Its number alone proves nothing.
        rewrite(&authority, |process| process.start += 1);
        assert_eq!(authority.lease().unwrap(), None);
        rewrite(&authority, |process| process.start -= 1);
        drop(child.stdin.take());
        child.wait().unwrap();
        given(ask(&authority, Manner::Polite));
    }

    #[test]
    fn only_who_cannot_be_looked_at_is_judged_by_age() {
        let own = Process { machine: "m".into(), boot: "b".into(), namespace: "n".into(), pid: 1, start: 1 };
        let lease = |process: Process| Lease {
            id: "x".into(),
            process,
            device: "d".into(),
            node: None,
            sessions: Vec::new(),
            taken: 0,
        };
        let (here, rebooted) = (lease(own.clone()), lease(Process { boot: "c".into(), ..own.clone() }));
        let (contained, away) = (
            lease(Process { namespace: "o".into(), ..own.clone() }),
            lease(Process { machine: "k".into(), boot: "c".into(), ..own.clone() }),
        );
        for age in [None, Some(-86_400), Some(0), Some(LIFETIME), Some(86_400)] {
            assert!(holds(&here, &own, true, age) && !holds(&here, &own, false, age));
            assert!(!holds(&rebooted, &own, true, age));
            for lease in [&contained, &away] {
                assert_eq!(holds(lease, &own, false, age), age.is_none_or(|age| age < LIFETIME), "{age:?}");
            }
        }
        assert!(holds(&away, &own, false, Some(LIFETIME - 1)));
    }

    #[test]
    fn a_damaged_lease_locks_nobody_out() {
        let root = tempfile::tempdir().unwrap();
        let authority = authority(root.path());
        for bytes in [&b""[..], b"{", b"[]", b"{\"version\":1,\"held\":{}}"] {
            fs::write(authority.directory().join(FILE), bytes).unwrap();
            let lease = given(ask(&authority, Manner::Polite));
            authority.give_back_lease(&lease).unwrap();
        }
        fs::write(authority.directory().join(FILE), b"{\"version\":2}").unwrap();
        assert!(matches!(authority.lease(), Err(AuthorityError::Version(2))));
        let left: Vec<_> =
            fs::read_dir(authority.directory()).unwrap().flatten().map(|e| e.file_name()).collect();
        assert!(!left.iter().any(|name| name.to_string_lossy().starts_with(files::UNFINISHED)), "{left:?}");
    }
}
