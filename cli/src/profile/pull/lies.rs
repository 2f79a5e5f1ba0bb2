//! A store that lies, in front of one that holds everything: every lie is refused by its own code, nothing here changes, and a
//! worker does not open what it is given either.
//!
//! The lying store is a fake: no real one can be made to lie. What stands before it, the comparison of bytes and names, is
//! what both real clients do ([`RemoteStore`] here and on the node).

use std::{collections::BTreeMap, path::Path};

use cbrowse_profile::{
    authority::{Authority, HeadRef},
    grant::{Grant, SessionSecret},
    head::Closing,
    keys::AccountKey,
    object::{ObjectStore, check_object, copy_objects},
    restore::restore,
    save::SaveMeta,
    snapshot::{Snapshot, open_snapshot},
};

use super::*;
use crate::failure::Failure;

const PROFILE_NAME: &str = "work";

/// What it does instead of the truth.
#[derive(Debug, Clone, Copy)]
enum Lie {
    /// It has not got it.
    Drop,
    /// It gives another object of the same profile.
    Swap,
    /// It gives all but the last byte.
    Truncate,
    /// It turns one bit over.
    Flip,
    /// It gives an object of another profile.
    Foreign,
    /// It gives far too much.
    Flood,
}

const LIES: [Lie; 6] = [Lie::Drop, Lie::Swap, Lie::Truncate, Lie::Flip, Lie::Foreign, Lie::Flood];

/// Lies about one object, and says that it lacks nothing.
struct Lying<'a> {
    truth: &'a DirectoryStore,
    about: ObjectName,
    lie: Lie,
    instead: ObjectName,
    foreign: &'a [u8],
}

impl ObjectStore for Lying<'_> {
    fn missing(&self, _: &[ObjectName]) -> Result<Vec<ObjectName>, StoreError> {
        Ok(Vec::new())
    }

    fn get(&self, name: &ObjectName) -> Result<Vec<u8>, StoreError> {
        let mut object = self.truth.get(name)?;
        if *name == self.about {
            match self.lie {
                Lie::Drop => return Err(StoreError::Missing(*name)),
                Lie::Swap => object = self.truth.get(&self.instead)?,
                Lie::Truncate => drop(object.pop()),
                Lie::Flip => object[100] ^= 1,
                Lie::Foreign => object = self.foreign.to_vec(),
                Lie::Flood => object.resize(cbrowse_profile::object::MAX_OBJECT_LENGTH + 1, 0),
            }
        }
        check_object(name, &object)?;
        Ok(object)
    }

    fn put(&self, _: &ObjectName, _: &[u8]) -> Result<(), StoreError> {
        Ok(())
    }
}

struct World {
    directory: tempfile::TempDir,
    account: AccountKey,
    shared: DirectoryStore,
    first: Authority,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let account = AccountKey::from_bytes([1; 32]);
        let shared = DirectoryStore::open(directory.path().join("shared")).unwrap();
        let root = directory.path().join("first");
        let first =
            Authority::create(&root, &PROFILE_NAME.parse().unwrap(), &account, 1, &mut SystemRandom).unwrap();
        Self { directory, account, shared, first }
    }

    fn keys(&self) -> ProfileKeys {
        self.first.keys(&self.account).unwrap()
    }

    /// Saves and sends everything; gives what was saved.
    fn save(&self, cookies: &str) -> Snapshot {
        let data = self.directory.path().join("data");
        std::fs::create_dir_all(data.join("Default")).unwrap();
        std::fs::write(data.join("Default/Cookies"), cookies).unwrap();
        let meta = SaveMeta {
            now: 7,
            device: "laptop".into(),
            browser_version: "156".into(),
            closing: Closing::Clean,
        };
        self.first.sync(&data, &self.keys(), &meta, &mut SystemRandom).unwrap();
        let snapshot = self.first.snapshot(&self.keys()).unwrap().unwrap();
        copy_objects(&snapshot.objects(), self.first.store(), &self.shared).unwrap();
        snapshot
    }

    fn pointer(&self, generation: u64, name: ObjectName) -> Pointer {
        let head = HeadRef { generation, name };
        Pointer::new(&self.keys(), head, None, 7, &PROFILE_NAME.parse().unwrap(), &mut SystemRandom)
    }

    fn second(&self) -> Authority {
        Authority::receive(
            &self.directory.path().join("second"),
            &PROFILE_NAME.parse().unwrap(),
            &self.keys(),
            1,
        )
        .unwrap()
    }
}

/// As [`super::pull`] does it, with a store at hand instead of a connection.
fn take(
    device: &Authority,
    pointer: &Pointer,
    keys: &ProfileKeys,
    from: &dyn ObjectStore,
) -> Result<Pulled, PullError> {
    for name in device.fetch_offer(pointer, keys, from)? {
        device.store().put(&name, &from.get(&name)?)?;
    }
    device.pull(pointer, keys, &mut SystemRandom)
}

/// Every small file of a profile's directory: what is current, what was seen, and the history.
fn state(device: &Authority) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for folder in [device.directory().to_owned(), device.directory().join("heads")] {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Ok(bytes) = std::fs::read(entry.path())
                && name != "lock"
            {
                found.insert(name, bytes);
            }
        }
    }
    found
}

fn code(error: PullError) -> &'static str {
    let failure = Failure::from(error);
    assert!(failure.hint.is_some_and(|hint| hint.contains("nothing was changed")), "{}", failure.message);
    failure.code
}

#[test]
fn every_lie_about_every_object_is_refused_by_its_code_and_changes_nothing() {
    let (world, other) = (World::new(), World::new());
    let (snapshot, foreign) = (world.save("one"), other.save("theirs"));
    let foreign = other.shared.get(&foreign.name()).unwrap();
    let objects = snapshot.objects();
    assert_eq!(objects.len(), 3, "a pack, a manifest pack and a head");
    let offer = world.pointer(1, snapshot.name());
    for (at, about) in objects.iter().enumerate() {
        for lie in LIES {
            let instead = objects[(at + 1) % objects.len()];
            let lying = Lying { truth: &world.shared, about: *about, lie, instead, foreign: &foreign };
            let second = world.second();
            let before = state(&second);
            let told = code(take(&second, &offer, &world.keys(), &lying).unwrap_err());
            let expected = if matches!(lie, Lie::Drop) { "store_incomplete" } else { "store_damaged" };
            assert_eq!(told, expected, "{lie:?} about object {at}");
            assert_eq!(state(&second), before, "{lie:?} about object {at}");
            // The truth afterwards is taken: nothing bad was kept on the way.
            take(&second, &offer, &world.keys(), &world.shared).unwrap();
            second.delete().unwrap();
        }
    }
}

#[test]
fn old_pointers_forks_and_foreign_heads_are_refused_by_their_codes() {
    let (world, other) = (World::new(), World::new());
    let (one, theirs) = (world.save("one"), other.save("theirs"));
    let (second, keys) = (world.second(), world.keys());
    take(&second, &world.pointer(1, one.name()), &keys, &world.shared).unwrap();
    let two = world.save("two");
    take(&second, &world.pointer(2, two.name()), &keys, &world.shared).unwrap();
    copy_objects(&theirs.objects(), &other.shared, &world.shared).unwrap();
    let before = state(&second);
    for (what, pointer, expected) in [
        ("a replayed pointer", world.pointer(1, one.name()), "store_rolled_back"),
        ("two heads of one generation", world.pointer(2, one.name()), "store_forked"),
        ("a number that is not the head's", world.pointer(9, one.name()), "pointer_mismatch"),
        ("another profile's head", world.pointer(9, theirs.name()), "store_foreign"),
        ("a pack in the place of a head", world.pointer(9, two.objects()[0]), "store_foreign"),
        ("a head that is nowhere", world.pointer(9, ObjectName::of(b"nothing")), "store_incomplete"),
    ] {
        assert_eq!(code(take(&second, &pointer, &keys, &world.shared).unwrap_err()), expected, "{what}");
        assert_eq!(state(&second), before, "{what}");
    }
}

/// A worker opens what was granted through the same comparison; what it wrote before it noticed ends with its room.
#[test]
fn a_worker_opens_nothing_that_a_store_lies_about() {
    let (world, other) = (World::new(), World::new());
    let (snapshot, foreign) = (world.save("one"), other.save("theirs"));
    let foreign = other.shared.get(&foreign.name()).unwrap();
    let objects = snapshot.objects();
    let node: cbrowse_protocol::id::NodeId = "fra-1".parse().unwrap();
    let open = |store: &dyn ObjectStore, target: &Path| -> Result<(), String> {
        let (secret, public) = SessionSecret::generate(&mut SystemRandom);
        let grant = Grant::new(&world.keys(), &public, node.clone(), Some(&snapshot), 100);
        let sealed = cbrowse_profile::grant::seal_grant(&public, &grant, &mut SystemRandom).unwrap();
        let grant = secret.open(&sealed, &node, world.keys().profile(), 1).unwrap();
        let access = grant.access().unwrap();
        let head = grant.head.as_ref().unwrap().name;
        let opened = open_snapshot(&head, store, &access).map_err(|error| crate::profile::chain(&error))?;
        restore(&opened, store, target).map(drop).map_err(|error| crate::profile::chain(&error))
    };
    let target = |of: String| world.directory.path().join(of);
    open(&world.shared, &target("truth".into())).unwrap();
    for (at, about) in objects.iter().enumerate() {
        for lie in LIES {
            let instead = objects[(at + 1) % objects.len()];
            let lying = Lying { truth: &world.shared, about: *about, lie, instead, foreign: &foreign };
            let told = open(&lying, &target(format!("{at}-{lie:?}"))).unwrap_err();
            let (short, expected) =
                (&about.to_string()[..8], if matches!(lie, Lie::Drop) { "lacks" } else { "object" });
            assert!(told.contains(expected) && told.contains(short), "{lie:?} about object {at}: {told}");
        }
    }
}
