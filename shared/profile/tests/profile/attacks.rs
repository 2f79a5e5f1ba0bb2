//! Stores and nodes that lie: every case is refused, with its own error, and what was good stays.

use std::sync::Mutex;

use cbrowse_profile::{
    authority::{AcceptError, Accepted, AuthorityError},
    examine::ExamineError,
    grant::{Grant, GrantError, SessionSecret, seal_grant},
    head::HeadError,
    keys::{AccountKey, ProfileKeys},
    object::{ObjectName, ObjectStore, StoreError},
    pack::ReadError,
    proposal::{Proposal, ReadProposalError, propose},
    restore::restore,
    save::SaveError,
    secret::SystemRandom,
    snapshot::{OpenError, open_snapshot},
};
use cbrowse_protocol::id::NodeId;

use crate::world::{World, database, meta, noise, plant, tree};

/// A store that answers with other bytes than those it was given.
struct Lying<'a, F: Fn(&ObjectName, Vec<u8>) -> Vec<u8> + Send + Sync>(&'a dyn ObjectStore, F);

impl<F: Fn(&ObjectName, Vec<u8>) -> Vec<u8> + Send + Sync> ObjectStore for Lying<'_, F> {
    fn missing(&self, names: &[ObjectName]) -> Result<Vec<ObjectName>, StoreError> {
        self.0.missing(names)
    }
    fn get(&self, name: &ObjectName) -> Result<Vec<u8>, StoreError> {
        self.0.get(name).map(|object| (self.1)(name, object))
    }
    fn put(&self, name: &ObjectName, object: &[u8]) -> Result<(), StoreError> {
        self.0.put(name, object)
    }
}

fn synced() -> World {
    let world = World::new();
    world.authority.sync(&world.browser("browser"), &world.keys(), &meta(10), &mut SystemRandom).unwrap();
    world
}

#[test]
fn a_store_that_changes_cuts_or_swaps_is_noticed() {
    let world = synced();
    let keys = world.keys();
    let snapshot = world.authority.snapshot(&keys).unwrap().unwrap();
    let names = snapshot.objects();
    let other = world.authority.store().get(&names[1]).unwrap();
    for victim in &names {
        let changes: [&(dyn Fn(Vec<u8>) -> Vec<u8> + Send + Sync); 4] = [
            &|mut object| {
                let middle = object.len() / 2;
                object[middle] ^= 1;
                object
            },
            &|object| object[..object.len() - 1].to_vec(),
            &|_| Vec::new(),
            &|object| if object == other { noise("x", 5000) } else { other.clone() },
        ];
        for (number, change) in changes.iter().enumerate() {
            let lying = Lying(
                world.authority.store(),
                |name: &ObjectName, object| {
                    if name == victim { change(object) } else { object }
                },
            );
            let out = world.path(&format!("out-{victim}-{number}"));
            let opened = open_snapshot(&snapshot.name(), &lying, &keys.access());
            match opened {
                Err(OpenError::Head(HeadError::Corrupt(name))) => assert_eq!(name, *victim),
                Err(OpenError::Manifest(ReadError::Store(StoreError::Corrupt(name)))) => {
                    assert_eq!(name, *victim);
                }
                Ok(opened) => assert!(restore(&opened, &lying, &out).is_err(), "{victim} {number}"),
                Err(error) => panic!("{error:?}"),
            }
        }
    }
}

#[test]
fn another_accounts_key_is_told_from_damage() {
    let world = synced();
    let name = world.authority.head().unwrap().unwrap().name;
    let stranger = AccountKey::generate(&mut SystemRandom);
    let keys = ProfileKeys::derive(&stranger, world.keys().profile());
    let refused = open_snapshot(&name, world.authority.store(), &keys.access()).unwrap_err();
    assert!(matches!(refused, OpenError::Head(HeadError::WrongKey)), "{refused:?}");
}

#[test]
fn another_profiles_head_is_refused() {
    let (world, other) = (synced(), synced());
    let name = other.authority.head().unwrap().unwrap().name;
    let refused = open_snapshot(&name, other.authority.store(), &world.keys().access()).unwrap_err();
    assert!(matches!(refused, OpenError::Head(HeadError::WrongKey)), "{refused:?}");
    // The same account, another profile.
    let keys = ProfileKeys::derive(&world.account, other.keys().profile());
    let name = world.authority.head().unwrap().unwrap().name;
    assert!(open_snapshot(&name, world.authority.store(), &keys.access()).is_err());
}

#[test]
fn a_rolled_back_or_forked_directory_is_refused() {
    let world = synced();
    let directory = world.authority.store().root().parent().unwrap().to_path_buf();
    let old = std::fs::read(directory.join("HEAD")).unwrap();
    plant(&world.path("browser"), "Default/Cookies", &database(3, "second"));
    world.authority.sync(&world.path("browser"), &world.keys(), &meta(11), &mut SystemRandom).unwrap();
    let new = std::fs::read_to_string(directory.join("HEAD")).unwrap();
    std::fs::write(directory.join("HEAD"), &old).unwrap();
    assert!(matches!(world.authority.head(), Err(AuthorityError::RolledBack { found: 1, seen: 2 })));
    std::fs::remove_file(directory.join("HEAD")).unwrap();
    assert!(matches!(world.authority.head(), Err(AuthorityError::RolledBack { found: 0, seen: 2 })));
    let forked = String::from_utf8(old).unwrap().replace("\"generation\": 1", "\"generation\": 2");
    std::fs::write(directory.join("HEAD"), forked).unwrap();
    assert!(matches!(world.authority.head(), Err(AuthorityError::Forked(2))));
    std::fs::write(directory.join("HEAD"), "{").unwrap();
    assert!(matches!(world.authority.head(), Err(AuthorityError::Damaged(_))));
    std::fs::write(directory.join("HEAD"), new).unwrap();
    assert_eq!(world.authority.head().unwrap().unwrap().generation, 2);
}

#[test]
fn a_grant_opens_for_its_worker_node_profile_and_time_only() {
    let world = synced();
    let keys = world.keys();
    let base = world.authority.snapshot(&keys).unwrap();
    let node: NodeId = "node-1".parse().unwrap();
    let attempt = |node_name: &str, profile: &str, now: u64, flip: Option<usize>| {
        let (secret, public) = SessionSecret::generate(&mut SystemRandom);
        let grant = Grant::new(&keys, &public, node.clone(), base.as_ref(), 100);
        let mut sealed = seal_grant(&public, &grant, &mut SystemRandom).unwrap();
        if let Some(at) = flip {
            sealed[at] ^= 1;
        }
        secret.open(&sealed, &node_name.parse().unwrap(), &profile.parse().unwrap(), now).err()
    };
    let profile = keys.profile().to_string();
    assert_eq!(attempt("node-1", &profile, 100, None), None);
    assert_eq!(attempt("node-1", &profile, 101, None), Some(GrantError::Expired(1)));
    assert_eq!(attempt("node-2", &profile, 1, None), Some(GrantError::Opening));
    assert_eq!(attempt("node-1", "p", 1, None), Some(GrantError::Opening));
    for at in (0..816).step_by(53) {
        assert_eq!(attempt("node-1", &profile, 1, Some(at)), Some(GrantError::Opening), "flipped at {at}");
    }
    let (secret, _) = SessionSecret::generate(&mut SystemRandom);
    let (_, public) = SessionSecret::generate(&mut SystemRandom);
    let grant = Grant::new(&keys, &public, node.clone(), base.as_ref(), 100);
    let sealed = seal_grant(&public, &grant, &mut SystemRandom).unwrap();
    assert_eq!(secret.open(&sealed, &node, keys.profile(), 1).err(), Some(GrantError::Opening));
    assert_eq!(seal_grant(&[0; 32], &grant, &mut SystemRandom), Err(GrantError::PublicKey));
}

#[test]
fn a_grant_opens_no_other_generation() {
    let world = synced();
    let keys = world.keys();
    let first = world.authority.snapshot(&keys).unwrap().unwrap();
    plant(&world.path("browser"), "Default/Cookies", &database(3, "second"));
    world.authority.sync(&world.path("browser"), &keys, &meta(11), &mut SystemRandom).unwrap();
    let second = world.authority.head().unwrap().unwrap();
    let (_, public) = SessionSecret::generate(&mut SystemRandom);
    let grant = Grant::new(&keys, &public, "n".parse().unwrap(), Some(&first), 100);
    let access = grant.access().unwrap();
    assert!(open_snapshot(&first.name(), world.authority.store(), &access).is_ok());
    assert!(open_snapshot(&second.name, world.authority.store(), &access).is_err());
}

#[test]
fn a_changed_cut_or_foreign_proposal_is_refused() {
    let world = synced();
    let proposal = world.session("s", |data| plant(data, "Default/History", b"new"));
    let keys = world.keys();
    assert!(Proposal::read(&proposal, &keys).is_ok());
    for at in 0..proposal.len() {
        let mut changed = proposal.clone();
        changed[at] ^= 1;
        assert!(Proposal::read(&changed, &keys).is_err(), "flipped at {at}");
        assert!(Proposal::read(&proposal[..at], &keys).is_err(), "cut at {at}");
    }
    let other = synced();
    let refused = Proposal::read(&proposal, &other.keys()).unwrap_err();
    assert!(matches!(refused, ReadProposalError::OtherProfile(_)));
}

#[test]
fn a_session_that_found_nothing_proposes_nothing() {
    let world = synced();
    let node: NodeId = "n".parse().unwrap();
    let (_, public) = SessionSecret::generate(&mut SystemRandom);
    let base = world.authority.snapshot(&world.keys()).unwrap();
    let grant = Grant::new(&world.keys(), &public, node, base.as_ref(), 100);
    let empty = world.path("empty");
    std::fs::create_dir(&empty).unwrap();
    let refused = propose(&empty, &grant, base.as_ref(), &world.node, &meta(1), &mut SystemRandom);
    assert!(matches!(refused, Err(SaveError::Empty)));
}

fn refusal(world: &World, proposal: &[u8]) -> ExamineError {
    let before = world.authority.head().unwrap();
    let refused =
        world.authority.accept(proposal, &world.keys(), &world.node, &mut SystemRandom).unwrap_err();
    assert_eq!(world.authority.head().unwrap(), before, "what was good stays");
    match refused {
        AcceptError::Examine { source, .. } => source,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_emptier_profile_never_replaces_a_good_one() {
    let world = synced();
    let proposal = world.session("s", |data| std::fs::remove_file(data.join("Default/Cookies")).unwrap());
    let refused = refusal(&world, &proposal);
    assert!(matches!(&refused, ExamineError::Emptier(path) if path == "Default/Cookies"), "{refused:?}");
}

#[test]
fn a_planted_bookmark_that_runs_script_is_refused_and_an_old_one_is_not() {
    let script = br#"{"roots":{"bar":{"url":"javascript:alert(1)"}}}"#;
    let world = synced();
    let proposal = world.session("s", |data| plant(data, "Default/Bookmarks", script));
    let refused = refusal(&world, &proposal);
    assert!(matches!(&refused, ExamineError::Executable(found) if found.len() == 1), "{refused:?}");

    plant(&world.path("browser"), "Default/Bookmarks", script);
    world.authority.sync(&world.path("browser"), &world.keys(), &meta(11), &mut SystemRandom).unwrap();
    let proposal = world.session("s2", |data| plant(data, "Default/History", b"x"));
    assert!(matches!(world.accept(&proposal), Accepted::Current(_)), "the user's own bookmarklet stays");
}

#[test]
fn a_proposal_upon_a_head_that_never_was_is_refused() {
    let world = synced();
    let keys = world.keys();
    // Another directory of the same profile, as a restored backup would be: its second head is unknown here.
    let backup = world.path("backup");
    copy(&world.path("profiles"), &backup);
    let other = cbrowse_profile::authority::Authority::open(&backup, "work").unwrap();
    plant(&world.path("browser"), "Default/Cookies", &database(3, "elsewhere"));
    other.sync(&world.path("browser"), &keys, &meta(11), &mut SystemRandom).unwrap();
    let base = other.snapshot(&keys).unwrap().unwrap();
    cbrowse_profile::object::copy_objects(&base.objects(), other.store(), &world.node).unwrap();
    let (_, public) = SessionSecret::generate(&mut SystemRandom);
    let grant = Grant::new(&keys, &public, "n".parse().unwrap(), Some(&base), 100);
    let data = world.path("browser");
    let (proposal, _) =
        propose(&data, &grant, Some(&base), &world.node, &meta(12), &mut SystemRandom).unwrap();
    let refused = world.authority.accept(&proposal, &keys, &world.node, &mut SystemRandom);
    assert!(matches!(refused, Err(AcceptError::UnknownBase(_))), "{refused:?}");
}

#[test]
fn a_node_that_withholds_or_damages_a_proposed_object_is_refused() {
    let world = synced();
    let proposal = world.session("s", |data| plant(data, "Default/History", &noise("new", 300_000)));
    let seen = Mutex::new(Vec::new());
    let watching = Lying(&world.node, |name: &ObjectName, object| {
        seen.lock().unwrap().push(*name);
        object
    });
    let before = tree(&world.path("profiles"));
    for victim in 0..3 {
        let count = Mutex::new(0);
        let lying = Lying(&world.node, |_: &ObjectName, object| {
            let mut count = count.lock().unwrap();
            *count += 1;
            if *count == victim + 1 { noise("swapped", object.len()) } else { object }
        });
        let refused = world.authority.accept(&proposal, &world.keys(), &lying, &mut SystemRandom);
        assert!(matches!(refused, Err(AcceptError::Examine { .. })), "object {victim}: {refused:?}");
    }
    let head = |files: &std::collections::BTreeMap<String, Vec<u8>>| {
        files.iter().find(|(name, _)| name.ends_with("/HEAD")).map(|(_, bytes)| bytes.clone())
    };
    assert_eq!(head(&tree(&world.path("profiles"))), head(&before));
    let accepted = world.authority.accept(&proposal, &world.keys(), &watching, &mut SystemRandom).unwrap();
    assert!(matches!(accepted, Accepted::Current(_)));
    assert!(!seen.lock().unwrap().is_empty());
}

#[test]
fn the_sizes_of_objects_say_little() {
    let sizes = |extra: usize| {
        let world = World::new();
        let browser = world.path("browser");
        plant(&browser, "Default/Cookies", &noise("c", 3_000_000 + extra));
        world.authority.sync(&browser, &world.keys(), &meta(1), &mut SystemRandom).unwrap();
        let mut sizes: Vec<_> = tree(world.authority.store().root()).values().map(Vec::len).collect();
        sizes.sort_unstable();
        sizes
    };
    assert_eq!(sizes(0), sizes(10_000), "inside one Padmé step");
    assert_eq!(sizes(6_000_000).last(), sizes(6_500_000).last(), "full packs are of one size");
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    for (name, bytes) in tree(from) {
        plant(to, &name, &bytes);
    }
}
