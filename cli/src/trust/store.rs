//! What the user trusts, in one file of their data directory: fleet keys, pinned nodes, nodes accepted at first use.
//!
//! The file is JSON, mode 0600, replaced as a whole under a lock. A damaged one is an error, never an empty store: an
//! attacker who can spoil it must not be able to make every changed identity a first use.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use cbrowse_protocol::{id::NodeId, identity::IdentityKey};
use serde::{Deserialize, Serialize};

use crate::{
    context::Paths,
    failure::{Exit, Failure},
    private_file::{self, FileError},
};

/// The store's file in the user's data directory.
const FILE: &str = "trust.json";
/// Largest file in bytes: room for tens of thousands of nodes.
const MAX_LENGTH: u64 = 16 * 1024 * 1024;
/// Longest key file in bytes: a key, and perhaps a remark after it.
const MAX_KEY_FILE_LENGTH: u64 = 4096;
const VERSION: u32 = 1;

/// Fleets and nodes that the user trusts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustStore {
    version: u32,
    fleets: BTreeMap<String, IdentityKey>,
    nodes: BTreeMap<NodeId, KnownNode>,
}

/// A node that was pinned or accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownNode {
    /// Its identity.
    pub identity: IdentityKey,
    /// Where it answered when it was accepted; empty for a pinned one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub endpoint: String,
    /// Seconds since the Unix epoch.
    pub first_seen: u64,
    /// Named by the user out of band, so that nothing else may replace it.
    pub pinned: bool,
}

impl Default for TrustStore {
    fn default() -> Self {
        Self { version: VERSION, fleets: BTreeMap::new(), nodes: BTreeMap::new() }
    }
}

/// Why the store cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Not what cbrowse writes.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file system.
    #[error(transparent)]
    File(#[from] FileError),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let failure = Self::new(Exit::Trust, "trust_store", error.to_string());
        match error {
            StoreError::Damaged { .. } => {
                failure.hint("restore it from a backup; moving it away forgets every known node and fleet")
            }
            StoreError::File(_) => failure,
        }
    }
}

/// A name that is taken by another key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the fleet name {name:?} already stands for the key {held}")]
pub struct NameTaken {
    /// The name.
    pub name: String,
    /// What it stands for.
    pub held: IdentityKey,
}

impl TrustStore {
    /// The user's store; empty when there is none yet.
    pub fn load(paths: &Paths) -> Result<Self, StoreError> {
        let path = paths.data.join(FILE);
        let Some(bytes) = private_file::read(&path, MAX_LENGTH)? else { return Ok(Self::default()) };
        let damaged = |reason: String| StoreError::Damaged { path: path.clone(), reason };
        let store: Self = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if store.version != VERSION {
            return Err(damaged(format!("version {} is not known to this cbrowse", store.version)));
        }
        Ok(store)
    }

    /// With the fleet key that the settings name in a file besides, for this run only.
    pub fn with_fleet_file(mut self, path: &Path) -> Result<Self, Failure> {
        let key = read_fleet_key(path)?;
        if !self.fleets.values().any(|held| *held == key) {
            self.fleets.insert(path.display().to_string(), key);
        }
        Ok(self)
    }

    /// Reads, changes and writes the store under its lock; blocks for seconds at most.
    pub fn update<T>(paths: &Paths, change: impl FnOnce(&mut Self) -> T) -> Result<T, StoreError> {
        let path = paths.data.join(FILE);
        let _held = private_file::lock(&path)?;
        let mut store = Self::load(paths)?;
        let before = store.clone();
        let result = change(&mut store);
        if store != before {
            let text = serde_json::to_vec_pretty(&store).expect("plain data serializes");
            private_file::replace(&path, &text)?;
        }
        Ok(result)
    }

    /// Fleets by name.
    pub fn fleets(&self) -> impl Iterator<Item = (&str, &IdentityKey)> {
        self.fleets.iter().map(|(name, key)| (name.as_str(), key))
    }

    /// Known nodes by id.
    pub fn nodes(&self) -> impl Iterator<Item = (&NodeId, &KnownNode)> {
        self.nodes.iter()
    }

    /// Trusts a fleet under a name. The same again is no error.
    pub fn add_fleet(&mut self, name: &str, key: IdentityKey) -> Result<(), NameTaken> {
        match self.fleets.get(name) {
            Some(held) if *held != key => Err(NameTaken { name: name.to_owned(), held: *held }),
            _ => {
                self.fleets.insert(name.to_owned(), key);
                Ok(())
            }
        }
    }

    /// Pins a node, replacing what was known about it: the user said so.
    pub fn pin(&mut self, id: &NodeId, identity: IdentityKey, now: u64) {
        let node = KnownNode { identity, endpoint: String::new(), first_seen: now, pinned: true };
        self.nodes.insert(id.clone(), node);
    }

    /// Remembers an accepted node; a pinned one stays as it is.
    pub fn remember(&mut self, id: &NodeId, endpoint: &str, identity: &IdentityKey, now: u64) {
        let node =
            KnownNode { identity: *identity, endpoint: endpoint.to_owned(), first_seen: now, pinned: false };
        self.nodes.entry(id.clone()).or_insert(node);
    }

    /// Forgets a fleet by name or a node by id; how many entries went.
    pub fn forget(&mut self, name: &str) -> usize {
        let fleets = usize::from(self.fleets.remove(name).is_some());
        let node = name.parse::<NodeId>().ok().and_then(|id| self.nodes.remove(&id));
        fleets + usize::from(node.is_some())
    }

    pub(super) fn pinned(&self, id: &NodeId) -> Option<&IdentityKey> {
        self.nodes.get(id).filter(|node| node.pinned).map(|node| &node.identity)
    }

    /// What was accepted under this id or at this endpoint, with the name by which it is known.
    pub(super) fn known<'a>(
        &'a self,
        id: &'a NodeId,
        endpoint: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a IdentityKey)> {
        self.nodes.iter().filter(|(_, node)| !node.pinned).filter_map(move |(known, node)| {
            let name = if known == id {
                known.as_str()
            } else if node.endpoint == endpoint {
                endpoint
            } else {
                return None;
            };
            Some((name, &node.identity))
        })
    }
}

/// The public key that is the first word of a file.
pub fn read_fleet_key(path: &Path) -> Result<IdentityKey, Failure> {
    let bytes = private_file::read(path, MAX_KEY_FILE_LENGTH);
    let found = bytes.map_err(|error| error.to_string()).and_then(|bytes| {
        let bytes = bytes.ok_or_else(|| "there is no such file".to_owned())?;
        let word =
            String::from_utf8_lossy(&bytes).split_whitespace().next().and_then(|word| word.parse().ok());
        word.ok_or_else(|| "its first word is no public key (43 characters of base64url)".to_owned())
    });
    found.map_err(|reason| {
        let message = format!("no fleet key in {}: {reason}", path.display());
        Failure::new(Exit::Configuration, "fleet_key", message)
            .hint("cbrowse-node fleet init prints the key; put it into the file, or give it itself")
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use cbrowse_protocol::identity::SigningKey;

    use super::*;

    fn paths() -> (tempfile::TempDir, Paths) {
        let directory = tempfile::tempdir().expect("a directory");
        let paths = Paths::below(directory.path());
        (directory, paths)
    }

    #[test]
    fn what_is_written_is_read_again_by_its_owner_alone() {
        let (_directory, paths) = paths();
        assert_eq!(TrustStore::load(&paths).expect("none yet"), TrustStore::default());
        let key = SigningKey::generate().public();
        TrustStore::update(&paths, |store| store.add_fleet("main", key).expect("new")).expect("written");
        let id = "n1".parse().expect("id");
        TrustStore::update(&paths, |store| store.remember(&id, "192.0.2.1:1", &key, 7)).expect("written");
        let store = TrustStore::load(&paths).expect("read");
        assert_eq!(store.fleets().collect::<Vec<_>>(), [("main", &key)]);
        assert_eq!(store.nodes().next().expect("a node").1.first_seen, 7);
        let mode = fs::metadata(paths.data.join(FILE)).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_store_is_an_error_and_stays_as_it_is() {
        let (_directory, paths) = paths();
        fs::create_dir_all(&paths.data).expect("directory");
        let cut = br#"{"version":1,"fleets":{"#;
        let newer = br#"{"version":2,"fleets":{},"nodes":{}}"#;
        for damaged in [&b""[..], cut, newer, b"\xff\xff"] {
            fs::write(paths.data.join(FILE), damaged).expect("write");
            assert!(matches!(TrustStore::load(&paths), Err(StoreError::Damaged { .. })));
            let refused = TrustStore::update(&paths, |store| store.forget("x"));
            assert!(matches!(refused, Err(StoreError::Damaged { .. })));
            assert_eq!(fs::read(paths.data.join(FILE)).expect("read"), damaged);
        }
    }

    #[test]
    fn writers_do_not_lose_each_others_words() {
        let (_directory, paths) = paths();
        std::thread::scope(|scope| {
            for index in 0..8 {
                let paths = &paths;
                scope.spawn(move || {
                    let key = SigningKey::generate().public();
                    TrustStore::update(paths, |store| {
                        store.add_fleet(&format!("f{index}"), key).expect("new");
                    })
                    .expect("written");
                });
            }
        });
        assert_eq!(TrustStore::load(&paths).expect("read").fleets().count(), 8);
    }

    #[test]
    fn a_fleet_name_is_not_silently_given_to_another_key() {
        let mut store = TrustStore::default();
        let (first, second) = (SigningKey::generate().public(), SigningKey::generate().public());
        assert_eq!(store.add_fleet("main", first), Ok(()));
        assert_eq!(store.add_fleet("main", first), Ok(()));
        assert_eq!(store.add_fleet("main", second), Err(NameTaken { name: "main".into(), held: first }));
        assert_eq!((store.forget("main"), store.forget("main")), (1, 0));
    }

    #[test]
    fn the_settings_may_name_a_fleet_for_one_run() {
        let (directory, paths) = paths();
        let key = SigningKey::generate().public();
        let file = directory.path().join("fleet.pub");
        fs::write(&file, format!("{key} main\n")).expect("written");
        let store = TrustStore::load(&paths).expect("none yet").with_fleet_file(&file).expect("a key");
        assert_eq!(store.fleets().map(|(_, key)| *key).collect::<Vec<_>>(), [key]);
        fs::write(&file, "nonsense").expect("written");
        let refused = store.clone().with_fleet_file(&file).expect_err("no key");
        assert_eq!(refused.exit, Exit::Configuration);
        assert!(store.with_fleet_file(&directory.path().join("none")).is_err());
    }
}
