//! Sessions whose saves may still wait on a node: one small file each, so that the next command can take them home.

use std::{
    fs::{self, DirBuilder},
    os::unix::fs::DirBuilderExt as _,
    path::PathBuf,
};

use cbrowse_protocol::{
    id::{ProfileId, SessionId},
    node::NodeRecord,
};
use serde::{Deserialize, Serialize};

use crate::{
    context::Paths,
    private_file::{self, FileError},
};

/// Longest file in bytes; a record with all its metadata fits.
const MAX_LENGTH: u64 = 256 * 1024;

/// One session that worked with a profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// The session.
    pub session: SessionId,
    /// Which profile it had.
    pub profile: ProfileId,
    /// Where it ran; its identity is the one that was trusted then.
    pub node: NodeRecord,
    /// Seconds since the Unix epoch when it began.
    pub started: u64,
}

fn directory(paths: &Paths) -> PathBuf {
    paths.data.join("pending")
}

fn file(paths: &Paths, session: &SessionId) -> PathBuf {
    directory(paths).join(format!("{session}.json"))
}

/// Notes a session, before it can make a save.
pub fn note(paths: &Paths, pending: &Pending) -> Result<(), FileError> {
    let path = directory(paths);
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
    made.map_err(|source| FileError::Io { verb: "create", path, source })?;
    let bytes = serde_json::to_vec(pending).expect("plain data serializes");
    private_file::replace(&file(paths, &pending.session), &bytes)
}

/// Sessions of a profile, oldest first. A file that cannot be read is passed over: it names no save that is known.
pub fn of_profile(paths: &Paths, profile: &ProfileId) -> Vec<Pending> {
    let Ok(entries) = fs::read_dir(directory(paths)) else { return Vec::new() };
    let read = |entry: fs::DirEntry| -> Option<Pending> {
        let bytes = private_file::read(&entry.path(), MAX_LENGTH).ok().flatten()?;
        let pending: Pending = serde_json::from_slice(&bytes).ok()?;
        // A draft that a killed process left would be found for ever: nobody forgets it.
        (entry.path() == file(paths, &pending.session)).then_some(pending)
    };
    let mut found: Vec<Pending> =
        entries.flatten().filter_map(read).filter(|one| one.profile == *profile).collect();
    found.sort_by_key(|one| one.started);
    found
}

/// Nothing of this session waits any more.
pub fn forget(paths: &Paths, session: &SessionId) {
    let _ = fs::remove_file(file(paths, session));
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn sessions_are_noted_found_by_profile_and_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let paths = Paths::below(directory.path());
        let node = serde_json::from_str(r#"{"id":"n","address":"192.0.2.1","port":1}"#).unwrap();
        let pending =
            Pending { session: "s1".parse().unwrap(), profile: "p1".parse().unwrap(), node, started: 5 };
        note(&paths, &pending).unwrap();
        note(&paths, &Pending { session: "s2".parse().unwrap(), started: 1, ..pending.clone() }).unwrap();
        let found: Vec<_> = of_profile(&paths, &pending.profile).into_iter().map(|one| one.session).collect();
        assert_eq!(found, ["s2".parse().unwrap(), "s1".parse().unwrap()]);
        assert!(of_profile(&paths, &"other".parse().unwrap()).is_empty());
        // What a process that was killed while writing leaves behind.
        let notes = directory.path().join("data/pending");
        fs::copy(notes.join("s1.json"), notes.join(".tmpXyZ")).unwrap();
        assert_eq!(of_profile(&paths, &pending.profile).len(), 2);
        let mode = |name: &str| fs::metadata(notes.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("."), mode("s1.json")), (0o700, 0o600));
        forget(&paths, &pending.session);
        assert_eq!(of_profile(&paths, &pending.profile).len(), 1);
    }
}
