//! What no honest writer makes, sealed and signed with the right keys: refused or stripped wherever it arrives.
//!
//! A worker meets such heads when a user's machine was taken over, a user's machine when a node was.

use std::{collections::HashMap, fs, path::Path};

use cbrowse_protocol::id::NodeId;

use crate::{
    allowlist::PathError,
    authority::{AcceptError, Accepted, Authority},
    directory::DirectoryStore,
    examine::ExamineError,
    grant::{Grant, SessionSecret},
    head::Closing,
    keys::{AccountKey, ProfileKeys, SealingKeys},
    manifest::{FileEntry, Manifest, PackTable},
    object::{ObjectName, ObjectStore, copy_objects},
    proposal::{Proposal, sign},
    restore::{RestoreError, Restored, restore},
    save::{SaveMeta, Saving, save, store_head},
    scan::Reason,
    seal::Kind,
    secret::{Randomness, SystemRandom},
    snapshot::{Snapshot, open_snapshot},
};

pub(crate) struct Ground {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) authority: Authority,
    pub(crate) keys: ProfileKeys,
    pub(crate) node: DirectoryStore,
}

pub(crate) fn meta() -> SaveMeta {
    SaveMeta { now: 1, device: "d".into(), browser_version: "156".into(), closing: Closing::Clean }
}

pub(crate) fn ground() -> Ground {
    let directory = tempfile::tempdir().unwrap();
    let account = AccountKey::from_bytes([1; 32]);
    let root = directory.path().join("profiles");
    let authority =
        Authority::create(&root, &"work".parse().unwrap(), &account, 1, &mut SystemRandom).unwrap();
    let keys = authority.keys(&account).unwrap();
    let node = DirectoryStore::open(directory.path().join("node")).unwrap();
    Ground { directory, authority, keys, node }
}

/// A head over exactly these files, whatever they are called.
pub(crate) fn forge(
    files: &[(&str, &[u8])],
    keys: &SealingKeys,
    base: Option<&Snapshot>,
    store: &dyn ObjectStore,
    spoil: impl FnOnce(&mut Manifest),
) -> ObjectName {
    let meta = meta();
    let saving = Saving { keys, base, store, meta: &meta, meter: &crate::meter::Meter::default() };
    let mut writer = saving.writer(Kind::Pack, PackTable::default(), HashMap::default()).unwrap();
    let mut entries: Vec<FileEntry> = files
        .iter()
        .map(|(path, bytes)| FileEntry {
            path: (*path).into(),
            size: bytes.len() as u64,
            chunks: vec![writer.add(bytes, &mut SystemRandom).unwrap()],
        })
        .collect();
    writer.finish(&mut SystemRandom).unwrap();
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    let mut manifest = Manifest { packs: writer.table, files: entries };
    spoil(&mut manifest);
    let (root, _) = saving.write_manifest(&manifest, &mut SystemRandom).unwrap();
    let head = saving.head(&manifest, root);
    store_head(&head, keys, store, &mut SystemRandom).unwrap().0
}

fn restored(ground: &Ground, files: &[(&str, &[u8])]) -> Result<Restored, RestoreError> {
    let name = forge(files, &ground.keys.sealing(), None, &ground.node, |_| {});
    let snapshot = open_snapshot(&name, &ground.node, &ground.keys.access()).unwrap();
    restore(&snapshot, &ground.node, &ground.directory.path().join("a/b/target"))
}

#[test]
fn a_worker_refuses_paths_that_climb() {
    for path in
        ["../escaped", "/etc/escaped", "Default/../../escaped", "Default//x", "a\\b", "Default/\u{1b}[2J"]
    {
        let ground = ground();
        let refused = restored(&ground, &[("Default/Cookies", b"c"), (path, b"x")]);
        assert!(matches!(refused, Err(RestoreError::Path(PathError(_)))), "{path:?}: {refused:?}");
        assert!(!ground.directory.path().join("a").exists(), "nothing was written");
    }
}

#[test]
fn a_worker_strips_what_executes_and_what_is_not_listed() {
    let ground = ground();
    let files: &[(&str, &[u8])] = &[
        ("Default/Cookies", b"c"),
        ("Default/Extensions/a/1/manifest.json", b"{}"),
        ("Default/Preferences", br#"{"extensions":{"settings":{"a":{"path":"/x"}}},"kept":1}"#),
        ("Default/Secure Preferences", b"no settings at all"),
        ("Local State", br#"{"browser":{"enabled_labs_experiments":["no-sandbox"]}}"#),
        ("NativeMessagingHosts/x.json", br#"{"path":"/bin/sh"}"#),
        ("SingletonSocket", b"x"),
    ];
    let restored = restored(&ground, files).unwrap();
    let target = ground.directory.path().join("a/b/target");
    let names: Vec<_> = restored.stripped.iter().map(|left| (left.path.as_str(), left.reason)).collect();
    assert_eq!(
        names,
        [
            ("Default/Extensions/a/1/manifest.json", Reason::Executable),
            ("NativeMessagingHosts/x.json", Reason::Executable),
            ("SingletonSocket", Reason::NotListed),
            ("Default/Preferences", Reason::Settings),
            ("Default/Secure Preferences", Reason::Settings),
            ("Local State", Reason::Settings),
        ]
    );
    assert_eq!(fs::read(target.join("Default/Preferences")).unwrap(), br#"{"kept":1}"#);
    assert_eq!(fs::read(target.join("Local State")).unwrap(), b"{}");
    assert!(!target.join("Default/Secure Preferences").exists());
    assert!(!target.join("NativeMessagingHosts").exists() && !target.join("Default/Extensions").exists());
    assert!(modes(&target).iter().all(|(directory, mode)| *mode == if *directory { 0o700 } else { 0o600 }));
}

#[test]
fn a_target_that_holds_something_is_not_written_into() {
    let ground = ground();
    let target = ground.directory.path().join("a/b/target");
    fs::create_dir_all(target.join("Default")).unwrap();
    assert!(matches!(restored(&ground, &[("Default/Cookies", b"c")]), Err(RestoreError::NotEmpty(_))));
    fs::remove_dir_all(&target).unwrap();
    std::os::unix::fs::symlink(ground.directory.path(), &target).unwrap();
    assert!(restored(&ground, &[("Default/Cookies", b"c")]).is_err(), "a link is no directory");
}

#[test]
fn a_file_where_a_directory_must_be_is_an_error_and_no_panic() {
    let ground = ground();
    let files: &[(&str, &[u8])] =
        &[("Default/IndexedDB", b"file"), ("Default/IndexedDB/https_x_0/CURRENT", b"inside")];
    assert!(matches!(restored(&ground, files), Err(RestoreError::Disk { .. })));
}

/// What the user's machine says to files that a node proposes upon a good base.
fn proposed(files: &[(&str, &[u8])], spoil: impl FnOnce(&mut Manifest)) -> Result<Accepted, ExamineError> {
    let ground = ground();
    let data = ground.directory.path().join("data");
    for (path, bytes) in GOOD {
        fs::create_dir_all(data.join(path).parent().unwrap()).unwrap();
        fs::write(data.join(path), bytes).unwrap();
    }
    ground.authority.sync(&data, &ground.keys, &meta(), &mut SystemRandom).unwrap();
    let base = ground.authority.snapshot(&ground.keys).unwrap().unwrap();
    copy_objects(&base.objects(), ground.authority.store(), &ground.node).unwrap();
    let (_, public) = SessionSecret::generate(&mut SystemRandom);
    let node: NodeId = "n".parse().unwrap();
    let grant = Grant::new(&ground.keys, &public, node, Some(&base), 100);
    let head = forge(files, &grant.sealing(), Some(&base), &ground.node, spoil);
    let proposal = Proposal {
        profile: grant.profile.clone(),
        session: grant.session.clone(),
        base_generation: 1,
        base: Some(base.name()),
        head,
        time: 1,
        closing: Closing::Clean,
        new_objects: 1,
        sent_bytes: 1,
    };
    let bytes = sign(&proposal, &grant.sealing());
    let before = ground.authority.head().unwrap();
    match ground.authority.accept(&bytes, &ground.keys, &ground.node, &mut SystemRandom) {
        Ok(accepted) => Ok(accepted),
        Err(AcceptError::Examine { source, .. }) => {
            assert_eq!(ground.authority.head().unwrap(), before, "what was good stays");
            Err(source)
        }
        Err(other) => panic!("{other:?}"),
    }
}

const GOOD: &[(&str, &[u8])] = &[("Default/Cookies", b"cookies"), ("Default/Preferences", b"{}")];

fn with<'a>(path: &'a str, bytes: &'a [u8]) -> Vec<(&'a str, &'a [u8])> {
    let others = GOOD.iter().filter(|(good, _)| *good != path).copied();
    others.chain([(path, bytes)]).collect()
}

#[test]
fn a_user_takes_an_honest_change() {
    let accepted = proposed(&with("Default/Cookies", b"more cookies"), |_| {}).unwrap();
    assert!(matches!(accepted, Accepted::Current(head) if head.generation == 2));
}

#[test]
fn a_user_refuses_planted_code() {
    for (path, bytes) in [
        ("Default/Extensions/a/1/manifest.json", "{}"),
        ("Default/Local Extension Settings/a/CURRENT", "x"),
        ("NativeMessagingHosts/x.json", "{}"),
        ("Default/Preferences", r#"{"extensions":{"settings":{}}}"#),
        ("Default/Preferences", r#"{"proxy":{"mode":"fixed_servers"}}"#),
        ("Default/Preferences", "not settings"),
        ("Default/Secure Preferences", r#"{"extensions.settings":{}}"#),
        ("Local State", r#"{"browser":{"enabled_labs_experiments":["x@1"]}}"#),
        ("Default/Bookmarks", r#"{"roots":{"x":[{"url":" javascript:1"}]}}"#),
        ("Default/Bookmarks", "not bookmarks"),
    ] {
        let refused = proposed(&with(path, bytes.as_bytes()), |_| {});
        assert!(matches!(refused, Err(ExamineError::Executable(_))), "{path} {bytes}: {refused:?}");
    }
}

#[test]
fn a_user_refuses_strange_and_climbing_files() {
    let refused = proposed(&with("../../.bashrc", b"x"), |_| {});
    assert!(matches!(refused, Err(ExamineError::Path(_))), "{refused:?}");
    let refused = proposed(&with("Default/Anything", b"x"), |_| {});
    assert!(matches!(refused, Err(ExamineError::NotListed(_))), "{refused:?}");
}

#[test]
fn a_user_refuses_chunks_that_are_not_what_they_are_called() {
    let spoilers: [fn(&mut Manifest); 4] = [
        |manifest| manifest.files[0].chunks[0].offset += 1,
        |manifest| manifest.files[0].chunks[0].offset = u32::MAX,
        |manifest| manifest.files[0].chunks[0].id.0[0] ^= 1,
        |manifest| {
            let (stored, clear) = (manifest.files[0].chunks[0].stored, manifest.files[0].chunks[0].clear);
            manifest.files[0].chunks[0].stored = stored - 1;
            manifest.files[0].chunks[0].clear = clear - 1;
            manifest.files[0].size -= 1;
        },
    ];
    for (number, spoil) in spoilers.into_iter().enumerate() {
        let refused = proposed(GOOD, spoil);
        assert!(matches!(refused, Err(ExamineError::Read(_))), "{number}: {refused:?}");
    }
}

#[test]
fn a_user_refuses_a_profile_that_lost_its_cookies() {
    let refused = proposed(&[("Default/Preferences", b"{}")], |_| {});
    assert!(matches!(&refused, Err(ExamineError::Emptier(path)) if path == "Default/Cookies"), "{refused:?}");
}

/// Random bytes that change a file the first time they are asked for, which is while it is being read.
struct Meddling<'a>(Option<&'a Path>);

impl Randomness for Meddling<'_> {
    fn fill(&mut self, bytes: &mut [u8]) {
        if let Some(path) = self.0.take() {
            fs::write(path, vec![2; 900_000]).unwrap();
        }
        SystemRandom.fill(bytes);
    }
}

#[test]
fn a_file_that_changes_while_it_is_read_is_read_again() {
    let ground = ground();
    let data = ground.directory.path().join("data");
    fs::create_dir_all(data.join("Default")).unwrap();
    let history = data.join("Default/History");
    fs::write(&history, vec![1; 1_000_000]).unwrap();
    let (sealing, meta) = (ground.keys.sealing(), meta());
    let saving = Saving {
        keys: &sealing,
        base: None,
        store: &ground.node,
        meta: &meta,
        meter: &crate::meter::Meter::default(),
    };
    let saved = save(&data, saving, &mut Meddling(Some(&history))).unwrap();
    let snapshot = open_snapshot(&saved.name, &ground.node, &ground.keys.access()).unwrap();
    let target = ground.directory.path().join("target");
    restore(&snapshot, &ground.node, &target).unwrap();
    assert_eq!(fs::read(target.join("Default/History")).unwrap(), vec![2; 900_000]);
}

fn modes(root: &Path) -> Vec<(bool, u32)> {
    use std::os::unix::fs::PermissionsExt as _;
    let mut found = Vec::new();
    let mut waiting = vec![root.to_path_buf()];
    while let Some(path) = waiting.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        found.push((metadata.is_dir(), metadata.permissions().mode() & 0o777));
        if metadata.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    found
}
