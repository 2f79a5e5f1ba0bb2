//! Threads and memory of a save: the same profile comes back, failures stop it, and no change is overlooked.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    time::SystemTime,
};

use super::{work::write_on, *};
use crate::{
    authority::Authority,
    directory::DirectoryStore,
    files::tests::crash_after,
    keys::{AccountKey, ProfileKeys},
    restore::{Restoring, is_essential, restore},
    scan::Reason,
    secret::SystemRandom,
    snapshot::open_snapshot,
};

struct Ground {
    directory: tempfile::TempDir,
    keys: ProfileKeys,
    store: DirectoryStore,
}

impl Ground {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let keys = ProfileKeys::derive(&AccountKey::from_bytes([1; 32]), &"p1".parse().unwrap());
        let store = DirectoryStore::open(directory.path().join("store")).unwrap();
        fs::create_dir_all(directory.path().join("data/Default")).unwrap();
        Self { directory, keys, store }
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn plant(&self, path: &str, bytes: &[u8]) {
        let path = self.data().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Files of all kinds, enough for several packs of several threads.
    fn plant_much(&self) {
        let mut database = noise("database", 12_000_000);
        database[..16].copy_from_slice(b"SQLite format 3\0");
        self.plant("Default/History", &database);
        self.plant("Default/Web Data", &vec![7; 3_000_000]);
        self.plant("Default/Preferences", br#"{"kept":1}"#);
        self.plant("Default/Local Storage/leveldb/000003.log", &noise("log", 5_000_000));
        self.plant("Default/Sessions/Empty", b"");
        for site in 0..40 {
            let path = format!("Default/IndexedDB/https_site{site}.example_0.indexeddb.leveldb/000003.log");
            self.plant(&path, &noise(&path, 250_000));
        }
    }

    fn save_on(&self, workers: usize, store: &dyn ObjectStore) -> Result<Saved, SaveError> {
        let (keys, meta, meter) = (self.keys.sealing(), meta(0), Meter::default());
        let saving = Saving { keys: &keys, base: None, store, meta: &meta, meter: &meter };
        let found = scan::scan(&self.data()).unwrap().files;
        let nothing = (PackTable::default(), Known::new());
        let output = write_on(workers, &self.data(), &found, saving, nothing, &mut SystemRandom)?;
        assert!(output.left_behind.is_empty(), "{:?}", output.left_behind);
        let (files, _) = in_order(Vec::new(), output.files);
        let manifest = Manifest { packs: output.table, files };
        Ok(saving.finish(manifest, None, output.written, Vec::new(), &mut SystemRandom)?.0)
    }

    fn save_again(&self, base: Option<&Snapshot>, memory: &mut Memory, meta: &SaveMeta) -> Saved {
        let (keys, meter) = (self.keys.sealing(), Meter::default());
        let saving = Saving { keys: &keys, base, store: &self.store, meta, meter: &meter };
        let saved = save_again(&self.data(), saving, memory, &mut SystemRandom).unwrap();
        let read = meter.read();
        assert_eq!((read.files, read.bytes), (read.all_files, read.all_bytes), "the meter counts all files");
        saved
    }

    fn open(&self, saved: &Saved) -> Snapshot {
        open_snapshot(&saved.name, &self.store, &self.keys.access()).unwrap()
    }

    fn history_of(&self, saved: &Saved, out: &str) -> Vec<u8> {
        let out = self.directory.path().join(out);
        restore(&self.open(saved), &self.store, &out).unwrap();
        fs::read(out.join("Default/History")).unwrap()
    }
}

/// So many seconds after now: what lies on the disk is settled by then.
fn meta(later: u64) -> SaveMeta {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() + later;
    SaveMeta { now, device: "d".into(), browser_version: "156".into(), closing: Closing::Crash }
}

fn noise(seed: &str, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(seed.as_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn tree(root: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let (mut files, mut waiting) = (Vec::new(), vec![root.to_path_buf()]);
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            let bytes = fs::read(&path).unwrap();
            files.push((path.strip_prefix(root).unwrap().to_owned(), bytes));
        }
    }
    files.sort();
    files
}

/// Hands everything on, and does something else at the given put.
struct Trap<'a> {
    store: &'a DirectoryStore,
    puts: AtomicUsize,
    at: usize,
    spring: fn() -> StoreError,
}

impl ObjectStore for Trap<'_> {
    fn missing(&self, names: &[ObjectName]) -> Result<Vec<ObjectName>, StoreError> {
        self.store.missing(names)
    }
    fn get(&self, name: &ObjectName) -> Result<Vec<u8>, StoreError> {
        self.store.get(name)
    }
    fn put(&self, name: &ObjectName, object: &[u8]) -> Result<(), StoreError> {
        if self.puts.fetch_add(1, SeqCst) == self.at {
            return Err((self.spring)());
        }
        self.store.put(name, object)
    }
}

#[test]
fn many_threads_save_what_one_saves() {
    let ground = Ground::new();
    ground.plant_much();
    for workers in [1, 2, 5] {
        let saved = ground.save_on(workers, &ground.store).unwrap();
        let out = ground.directory.path().join(format!("out{workers}"));
        let restored = restore(&ground.open(&saved), &ground.store, &out).unwrap();
        assert_eq!(restored.files, 45);
        assert_eq!(tree(&out), tree(&ground.data()), "{workers} threads");
        assert!(saved.stats.new_objects <= 7 + u64::try_from(workers).unwrap(), "{:?}", saved.stats);
    }
}

#[test]
fn a_failing_store_stops_all_threads_and_nothing_is_named() {
    let ground = Ground::new();
    ground.plant_much();
    for at in 0..4 {
        let spring = || StoreError::Remote { message: "full".into(), retryable: false };
        let store = Trap { store: &ground.store, puts: AtomicUsize::new(0), at, spring };
        let refused = ground.save_on(3, &store).unwrap_err();
        assert!(matches!(refused, SaveError::Store(StoreError::Remote { .. })), "{refused:?}");
        assert!(store.puts.load(SeqCst) <= at + 4, "the others stop soon");
    }
}

#[test]
fn a_panic_in_one_thread_is_the_callers() {
    let ground = Ground::new();
    ground.plant_much();
    let store =
        Trap { store: &ground.store, puts: AtomicUsize::new(0), at: 1, spring: || panic!("in a thread") };
    let panic = catch_unwind(AssertUnwindSafe(|| ground.save_on(3, &store))).unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"in a thread"));
}

#[test]
fn a_crash_in_any_thread_leaves_no_head_and_nothing_half_written() {
    let ground = Ground::new();
    ground.plant_much();
    let mut steps = 0;
    loop {
        let store = DirectoryStore::open(ground.store.root()).unwrap();
        crash_after(steps);
        let saved = ground.save_on(3, &store);
        crash_after(u32::MAX);
        drop(store);
        if let Ok(saved) = saved {
            ground.open(&saved);
            break;
        }
        let mut names = Vec::new();
        for (path, bytes) in tree(ground.store.root()) {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            assert_eq!(name, ObjectName::of(&bytes).to_string(), "after {steps} steps");
            names.push(name);
        }
        // Few steps come one after another; the threads' own come in any order.
        steps += 3;
        fs::remove_dir_all(ground.store.root()).unwrap();
        fs::create_dir_all(ground.store.root()).unwrap();
    }
    assert!(steps > 20, "{steps}");
}

#[test]
fn what_is_remembered_is_not_read_and_a_change_is_seen() {
    let ground = Ground::new();
    ground.plant("Default/History", &noise("a", 300_000));
    ground.plant("Default/Cookies", &noise("b", 30_000));
    let mut memory = Memory::default();
    let base = ground.save_again(None, &mut memory, &meta(10));
    let base = ground.open(&base);
    // Other bytes, and notes that say that the file looks as it did: nobody notices, so nobody read it.
    ground.plant("Default/History", &noise("c", 300_000));
    let stamps = scan::scan(&ground.data()).unwrap().files.into_iter().map(|found| Some(found.stamp));
    let mut deceived =
        Memory { stats: StatCache::note(base.name(), meta(10).now, stamps.collect()), latest: None };
    assert!(!ground.save_again(Some(&base), &mut deceived, &meta(10)).stats.changed);
    // With the notes of the save it is seen.
    let mut honest = Memory { latest: None, ..memory };
    let changed = ground.save_again(Some(&base), &mut honest, &meta(10));
    assert!(changed.stats.changed);
    assert_eq!(ground.history_of(&changed, "changed"), noise("c", 300_000));
}

#[test]
fn a_change_of_the_same_length_right_after_a_save_is_seen() {
    let ground = Ground::new();
    let mut memory = Memory::default();
    let mut base = None;
    for round in 0..20_u8 {
        ground.plant("Default/History", &[round; 5_000]);
        let saved = ground.save_again(base.as_ref(), &mut memory, &meta(0));
        assert!(saved.stats.changed, "round {round}");
        base = Some(ground.open(&saved));
    }
}

#[test]
fn saves_of_one_session_follow_one_another_and_send_a_change_once() {
    let ground = Ground::new();
    ground.plant("Default/History", &noise("a", 300_000));
    let base = ground.save_again(None, &mut Memory::default(), &meta(10));
    let base = ground.open(&base);
    let mut memory = Memory::default();
    let log = noise("log", 2_000_000);
    ground.plant("Default/Local Storage/leveldb/000003.log", &log);
    let first = ground.save_again(Some(&base), &mut memory, &meta(10));
    assert!(first.stats.sent_bytes > 2_000_000);
    let same = ground.save_again(Some(&base), &mut memory, &meta(10));
    assert_eq!((same.name, same.stats.changed), (first.name, false));
    ground.plant("Default/Cookies", b"cookies");
    let second = ground.save_again(Some(&base), &mut memory, &meta(10));
    assert!(second.stats.sent_bytes < 20_000, "{:?}", second.stats);
    assert_eq!(second.generation, 2, "upon the base, as the first");
    assert_eq!(ground.open(&second).head().previous, Some(base.name()));
    let clean = SaveMeta { closing: Closing::Clean, ..meta(10) };
    assert!(
        ground.save_again(Some(&base), &mut memory, &clean).stats.changed,
        "a clean close is worth a head"
    );
    assert_eq!(ground.history_of(&second, "out"), noise("a", 300_000));
    // Back to what the session began with, which is a change, too.
    fs::remove_file(ground.data().join("Default/Cookies")).unwrap();
    fs::remove_file(ground.data().join("Default/Local Storage/leveldb/000003.log")).unwrap();
    let back = ground.save_again(Some(&base), &mut memory, &meta(10));
    assert!(back.stats.changed && ground.open(&back).manifest().has_same_files(base.manifest()));
}

#[test]
fn a_link_or_a_pipe_that_takes_a_files_place_is_not_read() {
    let ground = Ground::new();
    ground.plant("Default/History", b"history");
    ground.plant("secret", b"secret");
    let found = scan::scan(&ground.data()).unwrap().files.remove(0);
    let path = ground.data().join("Default/History");
    let read = || {
        let mut sink = |_: &[u8]| -> Result<crate::manifest::ChunkRef, work::Halt> { panic!("it was read") };
        read::read_file(&path, &found, &mut chunk::Cutter::new(), &mut sink).unwrap()
    };
    fs::remove_file(&path).unwrap();
    assert_eq!(read().unwrap_err(), Reason::Changing, "removed");
    std::os::unix::fs::symlink(ground.data().join("secret"), &path).unwrap();
    assert_eq!(read().unwrap_err(), Reason::Changing, "a link");
    fs::remove_file(&path).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
    assert_eq!(read().unwrap_err(), Reason::Changing, "a socket");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_eq!(read().unwrap_err(), Reason::Changing, "a directory");
}

#[test]
fn what_a_browser_needs_first_is_whole_before_the_rest_is_there() {
    let ground = Ground::new();
    ground.plant_much();
    let saved = ground.save_on(2, &ground.store).unwrap();
    let (snapshot, meter) = (ground.open(&saved), Meter::default());
    let out = ground.directory.path().join("out");
    let mut restoring = Restoring::begin(&snapshot, &ground.store, &out, &meter).unwrap();
    assert!(tree(&out).is_empty(), "only judged");
    restoring.essential().unwrap();
    let essential = |files: Vec<(PathBuf, Vec<u8>)>| -> Vec<_> {
        files.into_iter().filter(|(path, _)| is_essential(path.to_str().unwrap())).collect()
    };
    assert_eq!(essential(tree(&out)), essential(tree(&ground.data())));
    assert!(tree(&out).len() < tree(&ground.data()).len(), "something is left to do");
    let restored = restoring.rest().unwrap();
    assert_eq!(tree(&out), tree(&ground.data()));
    assert_eq!((restored.files, restored.stripped.len()), (45, 0));
    let read = meter.read();
    assert_eq!((read.files, read.bytes), (read.all_files, read.all_bytes));
}

#[test]
fn notes_on_disk_name_no_path_and_whatever_is_wrong_with_them_all_is_read() {
    let ground = Ground::new();
    ground.plant("Default/History", &noise("a", 50_000));
    ground.plant("Default/IndexedDB/https_planted.example_0/000003.log", b"log");
    let account = AccountKey::from_bytes([1; 32]);
    let root = ground.directory.path().join("profiles");
    let make = |name: &str| {
        let made = Authority::create(&root, &name.parse().unwrap(), &account, 1, &mut SystemRandom).unwrap();
        let keys = made.keys(&account).unwrap();
        (made, keys)
    };
    let ((one, keys), (other, other_keys)) = (make("one"), make("other"));
    let sync = || one.sync(&ground.data(), &keys, &meta(10), &mut SystemRandom).unwrap();
    let notes = |authority: &Authority| authority.directory().join("stat-cache");
    let first = sync();
    other.sync(&ground.data(), &other_keys, &meta(10), &mut SystemRandom).unwrap();
    let (good, foreign) = (fs::read(notes(&one)).unwrap(), fs::read(notes(&other)).unwrap());
    for planted in ["History", "planted"] {
        assert!(!good.windows(planted.len()).any(|window| window == planted.as_bytes()), "{planted}");
    }
    let mut flipped = good.clone();
    flipped[60] ^= 1;
    for bad in [Vec::new(), b"no notes".to_vec(), good[..good.len() - 1].to_vec(), flipped, foreign] {
        fs::write(notes(&one), bad).unwrap();
        assert_eq!(sync().head, first.head, "read again, and nothing changed");
        assert_eq!(fs::read(notes(&one)).unwrap().len(), good.len(), "and noted again");
    }
    fs::remove_file(notes(&one)).unwrap();
    fs::create_dir(notes(&one)).unwrap();
    ground.plant("Default/History", &noise("b", 50_000));
    assert_eq!(sync().head.generation, 2, "where no notes can be kept, too");
}
