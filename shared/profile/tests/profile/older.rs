//! An older program's store: everything of a profile as the first program with format version 1 wrote it, committed under
//! `tests/store-v1` and opened by every later program, for ever.
//!
//! ```text
//! account/          membership log, what was seen of it, passphrase slot
//! profiles/<id>/    a profile of two generations: HEAD, SEEN, records, objects, the word about extensions
//! node/             the objects that a session added; with the profile's own, what a node holds
//! grant  proposal  pointer  retain  deletion  next-key  invitation  sealed.cbx
//! ```
//! The files never change. For a new format version, make another directory beside this one: change [`STORE`], then run
//! `cargo nextest run -p cbrowse-profile --run-ignored only writes_the_store_of_today`. All keys and random bytes come from
//! seeds below, so the same program writes the same files.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use cbrowse_profile::{
    account::{
        Account, AccountDirectory, Change, Standing,
        device::{DeviceName, DeviceSecret},
        invitation::{open_invitation, seal_invitation},
    },
    authority::{Accepted, Authority, HeadRef},
    bundle::{Bundle, Passphrase, write_bundle},
    directory::DirectoryStore,
    extensions,
    grant::{Grant, SessionSecret, seal_grant},
    keys::{AccountKey, ProfileKeys},
    meter::Meter,
    object::{ObjectStore as _, copy_objects},
    pointer::Pointer,
    proposal::propose,
    restore::restore,
    retain::{Deletion, RetainList, is_next_key, sign_next_key},
    secret::Randomness,
    slot::{Cost, open_slot, seal_slot},
    snapshot::{Snapshot, open_snapshot},
};
use cbrowse_protocol::id::NodeId;

use crate::world::{meta, noise, plant, tree};

const STORE: &str = "tests/store-v1";
/// BLAKE3 over the names and bytes of all files: nobody writes over the fixture without noticing.
const SUM: &str = "to be written";
const PASSPHRASE: &str = "correct horse battery staple";
/// Cheap, so that the test stays fast; what a guess costs is written in the slot.
const CHEAP: Cost = Cost { memory_kib: 64, passes: 1, lanes: 1 };
const NOW: u64 = 1_800_000_000;
/// The public half of a key, and the extension's id that Chromium makes of it.
const EXTENSION_KEY: &str = "Y2Jyb3dzZSBvbGRlciBzdG9yZSB0ZXN0IGtleQ==";

/// The same bytes every time.
struct Seeded(blake3::OutputReader);

impl Seeded {
    fn new(seed: &str) -> Self {
        Self(blake3::Hasher::new().update(seed.as_bytes()).finalize_xof())
    }
}

impl Randomness for Seeded {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }
}

fn account() -> AccountKey {
    AccountKey::from_bytes([0x51; 32])
}

fn laptop() -> DeviceSecret {
    DeviceSecret::from_bytes([0x52; 32])
}

fn node() -> NodeId {
    "node-1".parse().unwrap()
}

fn session() -> (SessionSecret, [u8; 32]) {
    SessionSecret::generate(&mut Seeded::new("session"))
}

fn extension_id() -> String {
    let hash = <sha2::Sha256 as sha2::Digest>::digest(
        base64::Engine::decode(&base64::engine::general_purpose::STANDARD, EXTENSION_KEY).unwrap(),
    );
    hash[..16].iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|half| char::from(b'a' + half)).collect()
}

/// What the browser of a generation leaves, and what is expected back.
fn browser(root: &Path, generation: u64) {
    let id = extension_id();
    plant(root, "Last Version", b"156.0.1");
    plant(root, "Local State", br#"{"intl":{"app_locale":"de"}}"#);
    plant(root, "Default/Preferences", br#"{"profile":{"name":"Ada"}}"#);
    let settings =
        format!(r#"{{"extensions":{{"settings":{{"{id}":{{"location":1,"path":"{id}/1_0"}}}}}}}}"#);
    plant(root, "Default/Secure Preferences", settings.as_bytes());
    plant(root, "Default/Cookies", format!("cookies of generation {generation}").as_bytes());
    plant(root, "Default/History", &noise("history", 6000));
    plant(root, "Default/Bookmarks", "bookmark ".repeat(300).as_bytes());
    let manifest = format!(r#"{{"name":"Clock","version":"1","key":"{EXTENSION_KEY}"}}"#);
    plant(root, &format!("Default/Extensions/{id}/1_0/manifest.json"), manifest.as_bytes());
    plant(root, &format!("Default/Extensions/{id}/1_0/clock.js"), b"tick()");
    plant(root, &format!("Default/Local Extension Settings/{id}/000003.log"), b"ticks");
}

/// Files that a restore writes in other words than they were read in, or of its own.
fn essentials(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = tree(root);
    all.retain(|path, _| {
        !path.ends_with("Preferences") && path != "Local State" && !path.starts_with("cbrowse")
    });
    all
}

fn restored(snapshot: &Snapshot, store: &DirectoryStore) -> BTreeMap<String, Vec<u8>> {
    let out = tempfile::tempdir().unwrap();
    let done = restore(snapshot, store, out.path()).unwrap();
    assert_eq!(done.stripped, [], "nothing is left out");
    essentials(out.path())
}

fn expected(generation: u64) -> BTreeMap<String, Vec<u8>> {
    let out = tempfile::tempdir().unwrap();
    browser(out.path(), generation);
    essentials(out.path())
}

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(STORE)
}

fn sum(root: &Path) -> String {
    let mut hasher = blake3::Hasher::new();
    for (name, bytes) in tree(root) {
        hasher.update(blake3::hash(name.as_bytes()).as_bytes());
        hasher.update(blake3::hash(&bytes).as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

fn write(root: &Path) {
    let data = tempfile::tempdir().unwrap();
    browser(data.path(), 1);
    let account_directory = AccountDirectory::at(root.join("account"));
    let desk: DeviceName = "desk".parse().unwrap();
    let owner = Account::of_one_key(account())
        .found(&desk, DeviceSecret::from_bytes([0x53; 32]).public(), NOW)
        .change(&desk, NOW, Change::AddPassphrase)
        .and_then(|account| {
            let name = "laptop".parse().unwrap();
            account.change(&desk, NOW, Change::AddDevice { name, key: laptop().public() })
        })
        .unwrap();
    let held = account_directory.hold().unwrap();
    account_directory.keep_log(owner.log().unwrap()).unwrap();
    let slot = seal_slot(&account(), PASSPHRASE, CHEAP, &mut Seeded::new("slot")).unwrap();
    account_directory.keep_passphrase_slot(&slot).unwrap();
    drop(held);

    let random = &mut Seeded::new("profile");
    let (profiles, name) = (root.join("profiles"), "work".parse().unwrap());
    let authority = Authority::create(&profiles, &name, &account(), NOW, random).unwrap();
    let found = extensions::find(data.path(), |id, error| panic!("{id}: {error}"));
    let chosen = extensions::choose(&found, &extensions::Choice::All).unwrap();
    assert_eq!(chosen.word.allowed.len(), 1);
    authority.allow_extensions(&chosen.word).unwrap();
    let keys = authority.keys(&account()).unwrap();
    authority.sync(data.path(), &keys, &meta(NOW + 1), random).unwrap();
    browser(data.path(), 2);
    let head = authority.sync(data.path(), &keys, &meta(NOW + 2), random).unwrap().head;
    let base = authority.snapshot(&keys).unwrap().unwrap();
    write_session(root, &authority, &keys, &base);
    write_words(root, &keys, &head, &base);
    let invited = [authority.invite().unwrap()];
    let invitation =
        seal_invitation(&owner, &invited, &laptop().public(), NOW, &mut Seeded::new("invitation")).unwrap();
    fs::write(root.join("invitation"), invitation).unwrap();
    let passphrase = Some(Passphrase { text: PASSPHRASE, cost: CHEAP });
    let mut file = fs::File::create(root.join("sealed.cbx")).unwrap();
    let (store, seed) = (authority.store(), &mut Seeded::new("sealed"));
    write_bundle(&base, &keys, store, passphrase, &mut file, &Meter::default(), seed).unwrap();
    // How this machine's files looked, and empty files of locks: nothing that another machine could read.
    for hint in ["stat-cache", "lock"] {
        let _ = fs::remove_file(authority.directory().join(hint));
    }
    let _ = fs::remove_file(root.join("account/lock"));
}

/// A grant for a session upon `base`, and what it proposes.
fn write_session(root: &Path, authority: &Authority, keys: &ProfileKeys, base: &Snapshot) {
    let (_, public) = session();
    let grant = Grant::new(keys, &public, node(), Some(base), NOW + 100);
    fs::write(root.join("grant"), seal_grant(&public, &grant, &mut Seeded::new("grant")).unwrap()).unwrap();
    let (scratch, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = DirectoryStore::open(scratch.path()).unwrap();
    copy_objects(&base.objects(), authority.store(), &store).unwrap();
    restore(base, &store, &data.path().join("data")).unwrap();
    browser(&data.path().join("data"), 3);
    let random = &mut Seeded::new("proposal");
    let (proposal, _) =
        propose(&data.path().join("data"), &grant, Some(base), &store, &meta(NOW + 3), random).unwrap();
    fs::write(root.join("proposal"), proposal).unwrap();
    for (path, bytes) in tree(scratch.path()) {
        if !authority.store().root().join(&path).exists() {
            plant(&root.join("node"), &path, &bytes);
        }
    }
}

/// What the owner signs for stores.
fn write_words(root: &Path, keys: &ProfileKeys, head: &HeadRef, base: &Snapshot) {
    let (profile, name) = (keys.profile().clone(), "work".parse().unwrap());
    let before = HeadRef { generation: 1, name: base.head().previous.unwrap() };
    let pointer = Pointer::new(keys, head.clone(), Some(before), NOW + 2, &name, &mut Seeded::new("label"));
    fs::write(root.join("pointer"), pointer.sign(keys)).unwrap();
    let list = RetainList::new(profile.clone(), 2, NOW + 2, base.objects()).unwrap();
    fs::write(root.join("retain"), list.sign(keys)).unwrap();
    let deletion = Deletion { profile: profile.clone(), time: NOW + 4 };
    fs::write(root.join("deletion"), deletion.sign(keys)).unwrap();
    fs::write(root.join("next-key"), sign_next_key(keys, &next_keys(keys).verifying_key())).unwrap();
}

fn next_keys(keys: &ProfileKeys) -> ProfileKeys {
    ProfileKeys::derive(&AccountKey::from_bytes([0x54; 32]), keys.profile())
}

/// Not a test: it writes what the tests below read. See the top of this file.
#[test]
#[ignore = "writes the fixture of a format version, once"]
fn writes_the_store_of_today() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(one.path());
    write(two.path());
    assert_eq!(tree(one.path()), tree(two.path()), "the same program writes the same");
    assert!(!fixture().exists(), "a fixture never changes: name another directory");
    for (path, bytes) in tree(one.path()) {
        plant(&fixture(), &path, &bytes);
    }
    panic!("written; its sum is {}", sum(&fixture()));
}

/// The fixture, copied to where it may be written to, and its profile.
struct Older {
    directory: tempfile::TempDir,
    authority: Authority,
    keys: ProfileKeys,
}

fn older() -> Older {
    let directory = tempfile::tempdir().unwrap();
    for (path, bytes) in tree(&fixture()) {
        plant(directory.path(), &path, &bytes);
    }
    let authority = Authority::open(&directory.path().join("profiles"), "work").unwrap();
    let slot = AccountDirectory::at(directory.path().join("account")).passphrase_slot().unwrap().unwrap();
    let key = open_slot(&slot, PASSPHRASE).unwrap();
    let keys = authority.keys(&key).unwrap();
    Older { directory, authority, keys }
}

impl Older {
    fn file(&self, name: &str) -> Vec<u8> {
        fs::read(self.directory.path().join(name)).unwrap()
    }

    /// What the node of the session holds.
    fn node(&self) -> DirectoryStore {
        let node = DirectoryStore::open(self.directory.path().join("node")).unwrap();
        let base = self.authority.snapshot(&self.keys).unwrap().unwrap();
        copy_objects(&base.objects(), self.authority.store(), &node).unwrap();
        node
    }
}

#[test]
fn the_fixture_is_what_was_committed() {
    assert_eq!(sum(&fixture()), SUM);
}

#[test]
fn both_generations_open_and_come_back_with_their_extension() {
    let Older { authority, keys, directory } = older();
    let history = authority.history().unwrap();
    assert_eq!(history.iter().map(|record| record.head.generation).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(authority.extensions().unwrap().unwrap().allowed[0].listed.name, "Clock");
    for record in &history {
        let snapshot = authority.snapshot_at(&record.head.name, &keys).unwrap();
        assert_eq!(snapshot.head().generation, record.head.generation);
        assert!(authority.store().missing(&snapshot.objects()).unwrap().is_empty());
        assert_eq!(restored(&snapshot, authority.store()), expected(record.head.generation));
    }
    // And goes on from there.
    let data = directory.path().join("data");
    browser(&data, 4);
    let synced = authority.sync(&data, &keys, &meta(NOW + 9), &mut Seeded::new("later")).unwrap();
    assert_eq!(synced.head.generation, 3);
    let next = authority.snapshot(&keys).unwrap().unwrap();
    assert_eq!(restored(&next, authority.store()), expected(4));
}

#[test]
fn its_account_log_and_invitation_open() {
    let older = older();
    let directory = AccountDirectory::at(older.directory.path().join("account"));
    let Standing::Whole(account) = directory.open(account()).unwrap() else { panic!("no rotation began") };
    let log = account.log().unwrap();
    assert_eq!((log.entries().len(), log.members().active().count()), (3, 2));
    assert_eq!(log.members().passphrase, Some(NOW));
    let invitation = open_invitation(&older.file("invitation"), &laptop(), None, NOW + 60).unwrap();
    assert_eq!(invitation.account.key().expose(), account.key().expose());
    assert_eq!(invitation.profiles, [older.authority.invite().unwrap()]);
}

#[test]
fn its_grant_opens_one_head_and_its_proposal_is_taken_over() {
    let older = older();
    let (node_store, profile) = (older.node(), older.keys.profile());
    let grant = session().0.open(&older.file("grant"), &node(), profile, NOW).unwrap();
    let granted = open_snapshot(&grant.head.as_ref().unwrap().name, &node_store, &grant.access().unwrap());
    assert_eq!(restored(&granted.unwrap(), &node_store), expected(2));
    let proposal = older.file("proposal");
    let accepted =
        older.authority.accept(&proposal, &older.keys, &node_store, &mut Seeded::new("accept")).unwrap();
    assert!(matches!(accepted, Accepted::Current(_)), "{accepted:?}");
    let current = older.authority.snapshot(&older.keys).unwrap().unwrap();
    assert_eq!((current.head().generation, restored(&current, older.authority.store())), (3, expected(3)));
}

#[test]
fn its_signed_words_count() {
    let older = older();
    let (profile, key) = (older.keys.profile(), older.keys.verifying_key());
    let pointer = Pointer::read(&older.file("pointer"), profile, &key).unwrap();
    assert_eq!(Some(pointer.head.clone()), older.authority.head().unwrap());
    assert_eq!(pointer.name(&older.keys).unwrap().as_str(), "work");
    assert_eq!((pointer.replaced.unwrap().generation, pointer.time), (1, NOW + 2));
    let list = RetainList::read(&older.file("retain"), profile, &key).unwrap();
    let current = older.authority.snapshot(&older.keys).unwrap().unwrap();
    assert!(current.objects().iter().all(|name| list.retains(name)));
    assert_eq!((list.generation, list.names().len()), (2, current.objects().len()));
    assert_eq!(Deletion::read(&older.file("deletion"), profile, &key).unwrap().time, NOW + 4);
    let next = next_keys(&older.keys).verifying_key();
    assert!(is_next_key(profile, &key, &next, &older.file("next-key")));
    assert!(!is_next_key(profile, &next, &key, &older.file("next-key")));
}

#[test]
fn its_sealed_file_opens_with_the_account_key_and_without_its_extension_with_the_passphrase() {
    let older = older();
    let path = older.directory.path().join("sealed.cbx");
    let bundle = Bundle::open(&path, &Meter::default()).unwrap();
    let snapshot = bundle.snapshot(&older.keys.access()).unwrap();
    assert!(bundle.is_exactly(&snapshot));
    let out = tempfile::tempdir().unwrap();
    assert_eq!(restore(&snapshot, &bundle, out.path()).unwrap().stripped, []);
    assert_eq!(essentials(out.path()), expected(2));

    let snapshot = bundle.snapshot(&bundle.access(PASSPHRASE).unwrap()).unwrap();
    let out = tempfile::tempdir().unwrap();
    let done = restore(&snapshot, &bundle, out.path()).unwrap();
    let id = extension_id();
    assert!(
        !done.stripped.is_empty() && done.stripped.iter().all(|left| left.path.contains(&id)),
        "{done:?}"
    );
    let mut without = expected(2);
    without.retain(|path, _| !path.contains(&id));
    assert_eq!(essentials(out.path()), without);
}
