//! A user's machine, a node with its own store, and browsers' data directories made of known bytes.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use cbrowse_profile::{
    authority::{Accepted, Authority},
    directory::DirectoryStore,
    grant::{Grant, SessionSecret, seal_grant},
    head::Closing,
    keys::{AccountKey, ProfileKeys},
    object::{ObjectStore as _, copy_objects},
    proposal::propose,
    restore::restore,
    save::SaveMeta,
    secret::SystemRandom,
    snapshot::{Snapshot, open_snapshot},
};
use cbrowse_protocol::id::NodeId;

/// A string that no store may ever show.
pub(crate) const PLANTED: &str = "planted-in-the-clear-0123456789";

pub(crate) struct World {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) account: AccountKey,
    pub(crate) authority: Authority,
    pub(crate) node: DirectoryStore,
}

pub(crate) fn meta(now: u64) -> SaveMeta {
    SaveMeta { now, device: "laptop".into(), browser_version: "156.0.1".into(), closing: Closing::Clean }
}

impl World {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let account = AccountKey::generate(&mut SystemRandom);
        let root = directory.path().join("profiles");
        let name = "work".parse().unwrap();
        let authority = Authority::create(&root, &name, &account, 1, &mut SystemRandom).unwrap();
        let node = DirectoryStore::open(directory.path().join("node")).unwrap();
        Self { directory, account, authority, node }
    }

    pub(crate) fn keys(&self) -> ProfileKeys {
        self.authority.keys(&self.account).unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A data directory as a browser leaves it, written below `name`.
    pub(crate) fn browser(&self, name: &str) -> PathBuf {
        let root = self.path(name);
        plant(&root, "Last Version", b"156.0.1");
        plant(
            &root,
            "Local State",
            br#"{"intl":{"app_locale":"de"},"browser":{"enabled_labs_experiments":["x"]}}"#,
        );
        plant(&root, "Default/Preferences", format!(r#"{{"profile":{{"name":"{PLANTED}"}}}}"#).as_bytes());
        plant(&root, "Default/Cookies", &database(40, PLANTED));
        plant(&root, "Default/History", &noise("history", 900_000));
        plant(&root, "Default/Bookmarks", br#"{"roots":{"bar":{"url":"https://example.org/"}}}"#);
        plant(&root, "Default/Local Storage/leveldb/000003.log", PLANTED.repeat(500).as_bytes());
        plant(&root, "Default/Cache/Cache_Data/f_000001", b"cached");
        plant(&root, "SingletonLock", b"host-1");
        root
    }

    /// One session on the node: grant, restore, `change`, propose. Gives the proposal's bytes.
    pub(crate) fn session(&self, target: &str, change: impl FnOnce(&Path)) -> Vec<u8> {
        let base = self.authority.snapshot(&self.keys()).unwrap();
        self.session_upon(base.as_ref(), target, change)
    }

    /// A grant as the worker holds it, after its journey.
    pub(crate) fn granted(&self, base: Option<&Snapshot>) -> Grant {
        let node: NodeId = "node-1".parse().unwrap();
        let (secret, public) = SessionSecret::generate(&mut SystemRandom);
        let grant = Grant::new(&self.keys(), &public, node.clone(), base, 1000);
        let sealed = seal_grant(&public, &grant, &mut SystemRandom).unwrap();
        secret.open(&sealed, &node, self.keys().profile(), 999).unwrap()
    }

    pub(crate) fn session_upon(
        &self,
        base: Option<&Snapshot>,
        target: &str,
        change: impl FnOnce(&Path),
    ) -> Vec<u8> {
        if let Some(base) = base {
            copy_objects(&base.objects(), self.authority.store(), &self.node).unwrap();
        }
        let grant = self.granted(base);
        let directory = self.path(target);
        let base = match (&grant.head, grant.access()) {
            (Some(head), Some(access)) => Some(open_snapshot(&head.name, &self.node, &access).unwrap()),
            _ => None,
        };
        if let Some(base) = &base {
            restore(base, &self.node, &directory).unwrap();
        }
        change(&directory);
        propose(&directory, &grant, base.as_ref(), &self.node, &meta(50), &mut SystemRandom).unwrap().0
    }

    pub(crate) fn accept(&self, proposal: &[u8]) -> Accepted {
        self.authority.accept(proposal, &self.keys(), &self.node, &mut SystemRandom).unwrap()
    }

    pub(crate) fn holds_everything(&self, snapshot: &Snapshot) -> bool {
        self.authority.store().missing(&snapshot.objects()).unwrap().is_empty()
    }
}

pub(crate) fn plant(root: &Path, path: &str, bytes: &[u8]) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Every file below `root` and its bytes.
pub(crate) fn tree(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![root.to_path_buf()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// Bytes that look random and are always the same.
pub(crate) fn noise(seed: &str, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(seed.as_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Something that begins as SQLite does, of `pages` chunks, with `text` in the middle of it.
pub(crate) fn database(pages: usize, text: &str) -> Vec<u8> {
    let mut bytes = noise("database", pages * 16384);
    bytes[..16].copy_from_slice(b"SQLite format 3\0");
    let middle = bytes.len() / 2;
    bytes[middle..middle + text.len()].copy_from_slice(text.as_bytes());
    bytes
}
