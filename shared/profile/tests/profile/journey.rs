//! A profile's whole journey: saved, granted, restored, changed, proposed, taken over, and again.

use std::{
    fs,
    sync::{
        Barrier,
        atomic::{AtomicBool, Ordering},
    },
};

use cbrowse_profile::{
    authority::{Accepted, Authority, AuthorityError, list},
    head::Closing,
    keys::AccountKey,
    object::{ObjectName, ObjectStore, StoreError, copy_objects},
    proposal::propose,
    restore::restore,
    save::SaveMeta,
    scan::Reason,
    secret::SystemRandom,
};

use crate::world::{PLANTED, World, database, meta, plant, tree};

#[test]
fn what_is_saved_comes_back_and_caches_do_not() {
    let world = World::new();
    let browser = world.browser("browser");
    let synced = world.authority.sync(&browser, &world.keys(), &meta(10), &mut SystemRandom).unwrap();
    assert_eq!((synced.head.generation, synced.stats.changed), (1, true));
    let snapshot = world.authority.snapshot(&world.keys()).unwrap().unwrap();
    assert!(world.holds_everything(&snapshot));
    let restored = restore(&snapshot, world.authority.store(), &world.path("target")).unwrap();
    assert!(restored.stripped.is_empty(), "{:?}", restored.stripped);

    let mut expected = tree(&browser);
    expected.remove("SingletonLock");
    expected.remove("Default/Cache/Cache_Data/f_000001");
    expected.insert("Local State".into(), br#"{"intl":{"app_locale":"de"}}"#.to_vec());
    assert_eq!(tree(&world.path("target")), expected);
}

#[test]
fn nothing_changed_makes_no_generation_and_one_row_sends_little() {
    let world = World::new();
    let browser = world.browser("browser");
    plant(&browser, "Default/Cookies", &database(256, "before"));
    let keys = world.keys();
    let first = world.authority.sync(&browser, &keys, &meta(10), &mut SystemRandom).unwrap();
    let same = world.authority.sync(&browser, &keys, &meta(11), &mut SystemRandom).unwrap();
    assert_eq!((same.head.clone(), same.stats.changed), (first.head, false));
    assert_eq!((same.stats.new_objects, same.stats.sent_bytes), (0, 0));

    plant(&browser, "Default/Cookies", &database(256, "after!"));
    let second = world.authority.sync(&browser, &keys, &meta(12), &mut SystemRandom).unwrap();
    assert_eq!(second.head.generation, 2);
    assert!(second.stats.sent_bytes <= 64 * 1024, "{} bytes for one row", second.stats.sent_bytes);
    let snapshot = world.authority.snapshot(&keys).unwrap().unwrap();
    assert_eq!(snapshot.head().previous, Some(same.head.name));
}

#[test]
fn a_session_changes_the_profile_and_the_next_one_sees_it() {
    let world = World::new();
    world.authority.sync(&world.browser("browser"), &world.keys(), &meta(10), &mut SystemRandom).unwrap();
    let proposal = world.session("s1", |data| plant(data, "Default/Cookies", &database(40, "set in s1")));
    let Accepted::Current(head) = world.accept(&proposal) else { panic!("a good proposal is taken") };
    assert_eq!(head.generation, 2);
    assert_eq!(world.accept(&proposal), Accepted::Already(head), "a proposal is taken once");
    let proposal = world.session("s2", |data| {
        assert_eq!(fs::read(data.join("Default/Cookies")).unwrap(), database(40, "set in s1"));
    });
    assert!(matches!(world.accept(&proposal), Accepted::Unchanged(_)));
    assert_eq!(world.authority.history().unwrap().len(), 2);
}

#[test]
fn the_first_session_of_an_empty_profile_makes_it() {
    let world = World::new();
    assert!(world.authority.snapshot(&world.keys()).unwrap().is_none());
    let proposal = world.session("s1", |data| {
        plant(data, "Default/Preferences", b"{}");
        plant(data, "Default/Cookies", &database(2, "first"));
    });
    let Accepted::Current(head) = world.accept(&proposal) else { panic!("a first save is taken") };
    assert_eq!(head.generation, 1);
    let snapshot = world.authority.snapshot(&world.keys()).unwrap().unwrap();
    restore(&snapshot, world.authority.store(), &world.path("out")).unwrap();
    assert_eq!(fs::read(world.path("out/Default/Cookies")).unwrap(), database(2, "first"));
}

#[test]
fn two_sessions_from_one_head_are_both_kept() {
    let world = World::new();
    let keys = world.keys();
    world.authority.sync(&world.browser("browser"), &keys, &meta(10), &mut SystemRandom).unwrap();
    let one = world.session("s1", |data| plant(data, "Default/History", b"one"));
    let two = world.session("s2", |data| plant(data, "Default/History", b"two"));
    assert!(matches!(world.accept(&one), Accepted::Current(_)));
    let Accepted::KeptAs(kept_as) = world.accept(&two) else { panic!("the loser is kept") };
    assert_eq!(world.accept(&two), Accepted::KeptAs(kept_as.clone()));
    let history = world.authority.history().unwrap();
    let kept = history.iter().find(|record| record.kept_as.as_ref() == Some(&kept_as)).unwrap();
    let snapshot = world.authority.snapshot_at(&kept.head.name, &keys).unwrap();
    restore(&snapshot, world.authority.store(), &world.path("kept")).unwrap();
    assert_eq!(fs::read(world.path("kept/Default/History")).unwrap(), b"two");
    assert_eq!(world.authority.head().unwrap().unwrap().generation, 2);
}

/// The node's store, whose first object everybody waits for: by then each has looked at the history.
struct Starter<'a> {
    store: &'a dyn ObjectStore,
    line: &'a Barrier,
    waits: AtomicBool,
}

impl ObjectStore for Starter<'_> {
    fn missing(&self, names: &[ObjectName]) -> Result<Vec<ObjectName>, StoreError> {
        self.store.missing(names)
    }

    fn get(&self, name: &ObjectName) -> Result<Vec<u8>, StoreError> {
        if self.waits.swap(false, Ordering::Relaxed) {
            self.line.wait();
        }
        self.store.get(name)
    }

    fn put(&self, name: &ObjectName, object: &[u8]) -> Result<(), StoreError> {
        self.store.put(name, object)
    }
}

#[test]
fn processes_that_take_the_same_proposal_at_once_make_one_generation() {
    let world = World::new();
    world.authority.sync(&world.browser("browser"), &world.keys(), &meta(10), &mut SystemRandom).unwrap();
    let proposal = world.session("s1", |data| plant(data, "Default/History", b"one"));
    let line = Barrier::new(4);
    let take = || {
        let authority = Authority::open(&world.path("profiles"), "work").unwrap();
        let node = Starter { store: &world.node, line: &line, waits: AtomicBool::new(true) };
        authority.accept(&proposal, &world.keys(), &node, &mut SystemRandom).unwrap()
    };
    let taken: Vec<Accepted> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let head = world.authority.head().unwrap().unwrap();
    assert_eq!(head.generation, 2);
    let current = taken.iter().filter(|one| **one == Accepted::Current(head.clone())).count();
    let already = taken.iter().filter(|one| **one == Accepted::Already(head.clone())).count();
    assert_eq!((current, already), (1, 3), "{taken:?}");
    assert_eq!(world.authority.history().unwrap().len(), 2, "nothing is kept beside");
}

#[test]
fn a_clean_close_is_taken_though_the_nodes_clock_was_set_back() {
    let world = World::new();
    let keys = world.keys();
    let data = world.browser("browser");
    world.authority.sync(&data, &keys, &meta(10), &mut SystemRandom).unwrap();
    let base = world.authority.snapshot(&keys).unwrap();
    copy_objects(&base.as_ref().unwrap().objects(), world.authority.store(), &world.node).unwrap();
    let session = world.granted(base.as_ref());
    let save = |text: &str, now, closing| {
        plant(&data, "Default/History", text.as_bytes());
        let meta = SaveMeta { closing, ..meta(now) };
        propose(&data, &session, base.as_ref(), &world.node, &meta, &mut SystemRandom).unwrap().0
    };
    let autosave = save("1", 5000, Closing::Crash);
    let last = save("2", 1400, Closing::Clean);
    assert!(matches!(world.accept(&autosave), Accepted::Current(head) if head.generation == 2));
    assert!(matches!(world.accept(&last), Accepted::Current(head) if head.generation == 3));
}

#[test]
fn autosaves_of_one_session_follow_one_another() {
    let world = World::new();
    let keys = world.keys();
    world.authority.sync(&world.browser("browser"), &keys, &meta(10), &mut SystemRandom).unwrap();
    let base = world.authority.snapshot(&keys).unwrap();
    let session = world.granted(base.as_ref());
    let data = world.path("browser");
    let save = |text: &str, now| {
        plant(&data, "Default/History", text.as_bytes());
        propose(&data, &session, base.as_ref(), &world.node, &meta(now), &mut SystemRandom).unwrap().0
    };
    copy_objects(&base.as_ref().unwrap().objects(), world.authority.store(), &world.node).unwrap();
    let (first, second, third) = (save("1", 20), save("2", 30), save("3", 40));
    assert!(matches!(world.accept(&first), Accepted::Current(head) if head.generation == 2));
    let Accepted::Current(newest) = world.accept(&third) else { panic!("the session's next save is taken") };
    assert_eq!(newest.generation, 3);
    assert_eq!(world.accept(&second), Accepted::Already(newest), "an older one of the same session is not");
    // Another session from the same first head has lost.
    let other = world.session_upon(base.as_ref(), "s2", |data| plant(data, "Default/History", b"other"));
    assert!(matches!(world.accept(&other), Accepted::KeptAs(_)));
}

#[test]
fn many_small_saves_are_merged_into_few_packs() {
    let world = World::new();
    let keys = world.keys();
    let browser = world.browser("browser");
    for round in 0..80_u64 {
        let path = format!("Default/Local Storage/leveldb/{round:06}.ldb");
        plant(&browser, &path, format!("value {round}").as_bytes());
        world.authority.sync(&browser, &keys, &meta(round), &mut SystemRandom).unwrap();
    }
    let snapshot = world.authority.snapshot(&keys).unwrap().unwrap();
    assert_eq!(snapshot.head().generation, 80);
    assert!(snapshot.objects().len() <= 2 * 33 + 1, "{}", snapshot.objects().len());
    let again = world.authority.sync(&browser, &keys, &meta(99), &mut SystemRandom).unwrap();
    assert!(!again.stats.changed, "merging does not go on by itself");
    restore(&snapshot, world.authority.store(), &world.path("out")).unwrap();
    assert_eq!(fs::read(world.path("out/Default/Local Storage/leveldb/000000.ldb")).unwrap(), b"value 0");
}

#[test]
fn a_wrong_account_key_is_noticed_before_anything_is_written() {
    let world = World::new();
    let other = AccountKey::generate(&mut SystemRandom);
    assert!(matches!(world.authority.keys(&other), Err(AuthorityError::WrongKey(_))));
}

#[test]
fn names_are_unique_and_found_again() {
    let world = World::new();
    let root = world.path("profiles");
    let again = Authority::create(&root, &"work".parse().unwrap(), &world.account, 1, &mut SystemRandom);
    assert!(matches!(again, Err(AuthorityError::Exists(_))));
    assert!(matches!(Authority::open(&root, "play"), Err(AuthorityError::Unknown(_))));
    let opened = Authority::open(&root, "work").unwrap();
    assert_eq!(opened.record(), world.authority.record());
    assert_eq!(list(&root).unwrap(), [opened.record().clone()]);
}

#[test]
fn extensions_stay_behind_and_are_named() {
    let world = World::new();
    let browser = world.browser("browser");
    plant(&browser, "Default/Extensions/abc/1/manifest.json", b"{}");
    let synced = world.authority.sync(&browser, &world.keys(), &meta(10), &mut SystemRandom).unwrap();
    assert_eq!(synced.left_behind.len(), 1);
    assert_eq!(synced.left_behind[0].reason, Reason::Executable);
}

#[test]
fn no_store_shows_a_clear_byte_or_a_name() {
    let world = World::new();
    world.authority.sync(&world.browser("browser"), &world.keys(), &meta(10), &mut SystemRandom).unwrap();
    let proposal =
        world.session("s1", |data| plant(data, "Default/Local Storage/leveldb/9.log", PLANTED.as_bytes()));
    world.accept(&proposal);
    let mut files = tree(&world.path("node"));
    files.extend(tree(world.authority.store().root()));
    assert!(files.len() > 6);
    files.insert("proposal".into(), proposal);
    for (name, bytes) in files {
        for planted in [PLANTED, "Cookies", "Default", "leveldb", "SQLite format", "laptop", "example.org"] {
            let shown = bytes.windows(planted.len()).any(|window| window == planted.as_bytes());
            assert!(!shown, "{planted} in {name}");
        }
    }
}
