//! Format version 1, frozen: these bytes never change. A new format is a new version with vectors of its own.
//!
//! Every object is made from known keys and a known stream of random bytes, so its name is known too.

use std::path::Path;

use cbrowse_protocol::id::NodeId;

use crate::{
    extensions::forge_listing,
    grant::{Grant, SessionSecret, seal_grant},
    head::Closing,
    keys::{AccountKey, ProfileKeys},
    object::{ObjectName, ObjectStore, StoreError},
    proposal::propose,
    save::{SaveMeta, Saved, Saving, save},
    secret::tests::Seeded,
    snapshot::open_snapshot,
};

/// Objects in memory, in the order they came.
#[derive(Default)]
struct MemoryStore(std::sync::Mutex<Vec<(ObjectName, Vec<u8>)>>);

impl ObjectStore for MemoryStore {
    fn missing(&self, names: &[ObjectName]) -> Result<Vec<ObjectName>, StoreError> {
        let held = self.0.lock().unwrap();
        Ok(names.iter().filter(|name| !held.iter().any(|(held, _)| held == *name)).copied().collect())
    }
    fn get(&self, name: &ObjectName) -> Result<Vec<u8>, StoreError> {
        let held = self.0.lock().unwrap();
        let found = held.iter().find(|(held, _)| held == name);
        found.map(|(_, object)| object.clone()).ok_or(StoreError::Missing(*name))
    }
    fn put(&self, name: &ObjectName, object: &[u8]) -> Result<(), StoreError> {
        self.0.lock().unwrap().push((*name, object.to_vec()));
        Ok(())
    }
}

fn keys() -> ProfileKeys {
    let account = AccountKey::from_bytes([1; 32]);
    ProfileKeys::derive(&account, &"0123456789abcdef0123456789abcdef".parse().unwrap())
}

fn meta() -> SaveMeta {
    SaveMeta { now: 7, device: "laptop".into(), browser_version: "156".into(), closing: Closing::Clean }
}

fn data(root: &Path) {
    std::fs::create_dir_all(root.join("Default")).unwrap();
    std::fs::write(root.join("Last Version"), "156").unwrap();
    std::fs::write(root.join("Default/Cookies"), "cookies").unwrap();
    std::fs::write(root.join("Default/History"), vec![7; 40_000]).unwrap();
}

fn saved(store: &MemoryStore, root: &Path) -> Saved {
    let (sealing, meta) = (keys().sealing(), meta());
    let saving =
        Saving { keys: &sealing, base: None, store, meta: &meta, meter: &crate::meter::Meter::default() };
    save(root, saving, &mut Seeded::new("frozen")).unwrap()
}

#[test]
fn pack_manifest_pack_and_head() {
    let directory = tempfile::tempdir().unwrap();
    data(directory.path());
    let store = MemoryStore::default();
    saved(&store, directory.path());
    let names: Vec<String> = store.0.lock().unwrap().iter().map(|(name, _)| name.to_string()).collect();
    assert_eq!(
        names,
        [
            "2ee8df83839efaa48a0d2cd3aa3a80398cb809a2240cb1d6f98821edf5851c04",
            "3ae37304ef3cfb28ee6850e9d1bd04c8d7029e6c2ebf5fda1aad51f9cb014f77",
            "62331d61c2dc1739415317717a0f7fac2c33775a2ce26a461a4bfecab4094f89"
        ]
    );
}

#[test]
fn grant_and_proposal() {
    let directory = tempfile::tempdir().unwrap();
    data(directory.path());
    let store = MemoryStore::default();
    let base = open_snapshot(&saved(&store, directory.path()).name, &store, &keys().access()).unwrap();
    let node: NodeId = "node-1".parse().unwrap();
    let (secret, public) = SessionSecret::generate(&mut Seeded::new("worker"));
    let grant = Grant::new(&keys(), &public, node.clone(), Some(&base), 100);
    let sealed = seal_grant(&public, &grant, &mut Seeded::new("seal")).unwrap();
    let opened = secret.open(&sealed, &node, keys().profile(), 100).unwrap();
    std::fs::write(directory.path().join("Default/Cookies"), "biscuits").unwrap();
    let (proposal, saved) =
        propose(directory.path(), &opened, Some(&base), &store, &meta(), &mut Seeded::new("propose"))
            .unwrap();
    assert_eq!(
        [ObjectName::of(&sealed), ObjectName::of(&proposal), saved.name].map(|name| name.to_string()),
        [
            "cdf976fd3453f7aa25a61169c42d84283c947d335ec2939029206debdc1423a7",
            "423daa8126efd6b787a17fb07633adf4531322831fa3734e6c3411e6311c3f0b",
            "b54b79521b3cae8a2478b5548cd2021c2ae69e9954be81950a4a4ccbb333109b"
        ]
    );
}

#[test]
fn listing_of_extensions_with_the_hash_of_their_files() {
    let id = "abcdefghijklmnopabcdefghijklmnop".parse().unwrap();
    let files: [(&str, &[u8]); 2] = [("a.js", b"a()"), ("manifest.json", b"{}")];
    let listing = String::from_utf8(forge_listing(&id, "1.2", &files)).unwrap();
    assert_eq!(
        listing,
        concat!(
            r#"{"version":1,"extensions":[{"id":"abcdefghijklmnopabcdefghijklmnop","version":"1.2","name":"x","#,
            r#""hash":"bbff1e96279c6d6b73767c9bdda9db8e90cf53b46e4ef8fde586ab37be4da6cc"}]}"#
        )
    );
}
