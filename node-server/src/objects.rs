//! Sealed profiles as the node sees them: named ciphertext, and saves that wait for their owner.
//!
//! ```text
//! DATA_DIR/profiles/PROFILE/owner            subject of the token that brought the profile
//! DATA_DIR/profiles/PROFILE/objects/NAME     NAME = BLAKE3 of the bytes
//! DATA_DIR/profiles/PROFILE/proposals/TIME-SESSION
//! ```
//! A file appears whole or not at all, is never overwritten, and is on the disk before anybody is told so.

use std::{
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use cbrowse_protocol::{
    api::{MAX_OBJECT_LENGTH, ProposalView},
    id::{ProfileId, SessionId},
};
use nix::fcntl::{Flock, FlockArg};

/// Proposals kept per profile; an owner who never comes back does not fill the disk. The oldest go first.
const MAX_PROPOSALS: usize = 16;
/// Longest proposal in bytes.
const MAX_PROPOSAL_LENGTH: usize = 256 * 1024;

/// Why the store refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// Not 64 hexadecimal digits.
    #[error("{0:?} is not an object name (64 lower-case hexadecimal digits)")]
    Name(String),
    /// The bytes do not hash to the name.
    #[error("the bytes sent are not those of object {0}")]
    Mismatch(String),
    /// Too large.
    #[error("an object of {0} bytes is over the limit of {MAX_OBJECT_LENGTH}")]
    TooLong(usize),
    /// The profile belongs to somebody else, or is unknown: a stranger is not told which.
    #[error("no such profile on this node")]
    Foreign,
    /// No such object.
    #[error("no such object on this node")]
    Missing,
    /// The disk.
    #[error("{step}: {source}")]
    Disk {
        /// A bare verb phrase.
        step: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

fn disk(step: &'static str) -> impl FnOnce(io::Error) -> ObjectError {
    move |source| ObjectError::Disk { step, source }
}

/// All profiles of a node. All calls block on the disk.
#[derive(Debug, Clone)]
pub struct Objects {
    root: PathBuf,
    /// Shared among the servers on one directory; held alone only to clear up.
    _lock: Option<Arc<Flock<fs::File>>>,
}

impl Objects {
    /// Opens `DATA_DIR/profiles`, and clears what a killed server left half written, unless another server writes there now.
    pub fn open(data_dir: &Path) -> Result<Self, ObjectError> {
        let root = data_dir.join("profiles");
        make_private(&root).map_err(disk("make the profile store"))?;
        let profiles = fs::read_dir(&root).map_err(disk("list profiles"))?;
        let file = || fs::File::open(&root).map_err(disk("open the profile store"));
        if let Ok(_alone) = Flock::lock(file()?, FlockArg::LockExclusiveNonblock) {
            for folder in profiles.flatten().map(|profile| profile.path()) {
                remove_unfinished(&folder);
                remove_unfinished(&folder.join("objects"));
                remove_unfinished(&folder.join("proposals"));
            }
        }
        // A file system without locks has no second server either.
        let lock = Flock::lock(file()?, FlockArg::LockSharedNonblock).ok().map(Arc::new);
        Ok(Self { root, _lock: lock })
    }

    fn directory(&self, profile: &ProfileId) -> PathBuf {
        self.root.join(profile.as_str())
    }

    /// Makes `subject` the owner of a profile that nobody has yet; refuses anybody but its owner afterwards.
    pub fn claim(&self, profile: &ProfileId, subject: &str) -> Result<(), ObjectError> {
        let directory = self.directory(profile);
        for folder in ["objects", "proposals"] {
            make_private(&directory.join(folder)).map_err(disk("make the profile's directory"))?;
        }
        match write_new(&directory.join("owner"), subject.as_bytes()) {
            Ok(_) => {}
            Err(error) => return Err(disk("note the profile's owner")(error)),
        }
        self.check_owner(profile, subject)
    }

    /// Refuses anybody but the owner.
    pub fn check_owner(&self, profile: &ProfileId, subject: &str) -> Result<(), ObjectError> {
        match fs::read(self.directory(profile).join("owner")) {
            Ok(owner) if owner == subject.as_bytes() => Ok(()),
            Ok(_) => Err(ObjectError::Foreign),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(ObjectError::Foreign),
            Err(error) => Err(disk("read the profile's owner")(error)),
        }
    }

    fn object(&self, profile: &ProfileId, name: &str) -> Result<PathBuf, ObjectError> {
        check_name(name)?;
        Ok(self.directory(profile).join("objects").join(name))
    }

    /// Those of `names` that are not here.
    pub fn missing(&self, profile: &ProfileId, names: &[String]) -> Result<Vec<String>, ObjectError> {
        let mut missing = Vec::new();
        for name in names {
            if !self.object(profile, name)?.is_file() {
                missing.push(name.clone());
            }
        }
        Ok(missing)
    }

    /// One object's bytes.
    pub fn get(&self, profile: &ProfileId, name: &str) -> Result<Vec<u8>, ObjectError> {
        let path = self.object(profile, name)?;
        fs::read(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ObjectError::Missing,
            _ => disk("read an object")(error),
        })
    }

    /// Keeps one object, durably; `false` if it was here already.
    pub fn put(&self, profile: &ProfileId, name: &str, bytes: &[u8]) -> Result<bool, ObjectError> {
        if bytes.len() > MAX_OBJECT_LENGTH {
            return Err(ObjectError::TooLong(bytes.len()));
        }
        let path = self.object(profile, name)?;
        if blake3::hash(bytes).to_hex().as_str() != name {
            return Err(ObjectError::Mismatch(name.to_owned()));
        }
        write_new(&path, bytes).map_err(disk("write an object"))
    }

    /// Keeps a save until its owner has taken it.
    pub fn propose(
        &self,
        profile: &ProfileId,
        session: &SessionId,
        micros: u128,
        proposal: &[u8],
    ) -> Result<(), ObjectError> {
        if proposal.len() > MAX_PROPOSAL_LENGTH {
            return Err(ObjectError::TooLong(proposal.len()));
        }
        let directory = self.directory(profile).join("proposals");
        let path = directory.join(format!("{micros:020}-{session}"));
        write_new(&path, proposal).map_err(disk("write a proposal"))?;
        // Only now: on a full disk the old ones are all there is.
        let mut waiting = self.proposal_names(profile)?;
        waiting.sort();
        for old in waiting.iter().take(waiting.len().saturating_sub(MAX_PROPOSALS)) {
            let _ = fs::remove_file(directory.join(old));
        }
        Ok(())
    }

    fn proposal_names(&self, profile: &ProfileId) -> Result<Vec<String>, ObjectError> {
        let entries = match fs::read_dir(self.directory(profile).join("proposals")) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(disk("list proposals")(error)),
        };
        let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        Ok(names.filter(|name| !name.ends_with(UNFINISHED)).collect())
    }

    /// Waiting saves, oldest first.
    pub fn proposals(&self, profile: &ProfileId) -> Result<Vec<ProposalView>, ObjectError> {
        let mut names = self.proposal_names(profile)?;
        names.sort();
        let mut views = Vec::new();
        for file in names {
            let Some(session) = file.split_once('-').and_then(|(_, session)| session.parse().ok()) else {
                continue;
            };
            let path = self.directory(profile).join("proposals").join(&file);
            let proposal = fs::read(path).map_err(disk("read a proposal"))?;
            views.push(ProposalView {
                name: blake3::hash(&proposal).to_hex().to_string(),
                session,
                proposal,
            });
        }
        Ok(views)
    }

    /// Forgets a save that its owner has taken; `false` if there is none of that name.
    pub fn forget(&self, profile: &ProfileId, name: &str) -> Result<bool, ObjectError> {
        check_name(name)?;
        for file in self.proposal_names(profile)? {
            let path = self.directory(profile).join("proposals").join(&file);
            let bytes = fs::read(&path).map_err(disk("read a proposal"))?;
            if blake3::hash(&bytes).to_hex().as_str() == name {
                fs::remove_file(&path).map_err(disk("remove a proposal"))?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Removes all that this node holds of a profile.
    pub fn remove(&self, profile: &ProfileId) -> Result<(), ObjectError> {
        match fs::remove_dir_all(self.directory(profile)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(disk("remove a profile")(error)),
            _ => Ok(()),
        }
    }
}

fn check_name(name: &str) -> Result<(), ObjectError> {
    let digits = name.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    if name.len() == 64 && digits { Ok(()) } else { Err(ObjectError::Name(name.chars().take(80).collect())) }
}

const UNFINISHED: &str = ".unfinished";

/// Writes a file that appears whole, durable, mode 0600; `false` if it is there already.
fn write_new(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    use std::os::unix::fs::OpenOptionsExt as _;
    if path.exists() {
        return Ok(false);
    }
    let nonce = u64::from_le_bytes(random());
    let temporary = path.with_file_name(format!("{nonce:016x}{UNFINISHED}"));
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    let written = file
        .write_all(bytes)
        .and_then(|()| file.sync_all())
        // A link refuses to replace, a rename would not.
        .and_then(|()| fs::hard_link(&temporary, path));
    let _ = fs::remove_file(&temporary);
    match written {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        Err(error) => return Err(error),
    }
    if let Some(parent) = path.parent() {
        fs::File::open(parent)?.sync_all()?;
    }
    Ok(true)
}

/// Random bytes from the crypto provider.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system's random source answers");
    bytes
}

fn make_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn remove_unfinished(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().ends_with(UNFINISHED) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Objects, ProfileId) {
        let directory = tempfile::tempdir().expect("a directory");
        let objects = Objects::open(directory.path()).expect("a store");
        (directory, objects, "0123456789abcdef0123456789abcdef".parse().expect("id"))
    }

    #[test]
    fn an_object_is_what_its_name_says_and_its_owners_only() {
        let (_directory, objects, profile) = store();
        objects.claim(&profile, "alice").expect("first claim");
        objects.claim(&profile, "alice").expect("again");
        assert!(matches!(objects.claim(&profile, "mallory"), Err(ObjectError::Foreign)));
        let name = blake3::hash(b"x").to_hex().to_string();
        assert_eq!(objects.missing(&profile, std::slice::from_ref(&name)).expect("names").len(), 1);
        assert!(objects.put(&profile, &name, b"x").expect("put"));
        assert!(!objects.put(&profile, &name, b"x").expect("again"));
        assert_eq!(objects.get(&profile, &name).expect("get"), b"x");
        assert!(matches!(objects.put(&profile, &name, b"y"), Err(ObjectError::Mismatch(_))));
        assert!(matches!(objects.get(&profile, "../owner"), Err(ObjectError::Name(_))));
        assert!(matches!(objects.get(&profile, &"0".repeat(64)), Err(ObjectError::Missing)));
    }

    #[test]
    fn proposals_wait_in_order_and_are_bounded() {
        let (_directory, objects, profile) = store();
        objects.claim(&profile, "alice").expect("claim");
        let session: SessionId = "s1".parse().expect("id");
        for number in 0..=MAX_PROPOSALS {
            let bytes = format!("p{number}");
            objects.propose(&profile, &session, number as u128, bytes.as_bytes()).expect("propose");
        }
        let waiting = objects.proposals(&profile).expect("list");
        assert_eq!(waiting.len(), MAX_PROPOSALS);
        assert_eq!(waiting[0].proposal, b"p1");
        assert!(objects.forget(&profile, &waiting[0].name).expect("forget"));
        assert!(!objects.forget(&profile, &waiting[0].name).expect("again"));
        assert_eq!(objects.proposals(&profile).expect("list").len(), MAX_PROPOSALS - 1);
    }

    #[test]
    fn what_a_killed_server_left_half_written_goes() {
        let (directory, objects, profile) = store();
        objects.claim(&profile, "alice").expect("claim");
        let left = directory.path().join(format!("profiles/{profile}/objects/00{UNFINISHED}"));
        fs::write(&left, "half").expect("write");
        let beside = Objects::open(directory.path()).expect("a second server");
        assert!(left.exists(), "the first server may still be writing it");
        drop((objects, beside));
        Objects::open(directory.path()).expect("reopen");
        assert!(!left.exists());
    }
}
