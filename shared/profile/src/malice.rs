//! What a malicious node can make of a profile, as one matrix: every row is refused by the user's machine with an error of its
//! own, and stripped or refused by the next honest worker, should the user's machine have been fooled into signing it.

use std::{collections::BTreeMap, fmt::Debug, fs};

use cbrowse_protocol::id::NodeId;

use crate::{
    allowlist::LISTING_FILE,
    authority::{AcceptError, Accepted, HeadRecord, HeadRef},
    extensions::forge_listing,
    grant::{Grant, SessionSecret},
    head::Closing,
    hostile::{Ground, forge, ground, meta},
    keys::{AccountKey, ProfileKeys},
    manifest::{Coding, FileEntry, MAX_CHUNK_LENGTH, Manifest, PackTable},
    object::{ObjectName, copy_objects},
    proposal::{Proposal, sign},
    restore::{RestoreError, restore},
    save::SaveStats,
    secret::SystemRandom,
    snapshot::{Snapshot, open_snapshot},
};

/// What `key` below makes.
const ID: &str = "peaepfnnedhobpjhedhjcppdomfnmbkm";
const OTHER: &str = "abcdefghijklmnopabcdefghijklmnop";
const EXTENSION_MANIFEST: &[u8] =
    br#"{"name":"x","version":"1.0","key":"Y2Jyb3dzZSB1bnBhY2tlZCBleHRlbnNpb24gdjEgZXhwZXJpbWVudA=="}"#;
const SCRIPT: &[u8] = b"background()";

type Files = BTreeMap<String, Vec<u8>>;

/// A profile with an extension that the user let travel.
fn good() -> Files {
    let code: [(&str, &[u8]); 2] = [("background.js", SCRIPT), ("manifest.json", EXTENSION_MANIFEST)];
    let mut files: Files = [
        ("Default/Cookies", &b"cookies"[..]),
        ("Default/Preferences", b"{}"),
        ("Default/Bookmarks", br#"{"roots":{}}"#),
        ("Default/IndexedDB/https_example.org_0.indexeddb.leveldb/CURRENT", b"x"),
    ]
    .map(|(path, bytes)| (path.to_owned(), bytes.to_vec()))
    .into();
    for (path, bytes) in code {
        files.insert(format!("Default/Extensions/{ID}/1.0/{path}"), bytes.to_vec());
    }
    files.insert(format!("Default/Local Extension Settings/{ID}/000003.log"), b"state".to_vec());
    files.insert(LISTING_FILE.into(), forge_listing(&ID.parse().unwrap(), "1.0", &code));
    files
}

/// What the node does to the good profile, and what becomes of it.
struct Row {
    name: &'static str,
    files: fn(&mut Files),
    spoil: fn(&mut Manifest),
    /// The variant of `ExamineError`.
    client: &'static str,
    worker: Worker,
}

enum Worker {
    /// This path is not written, and named; everything else is there.
    Strips(&'static str),
    /// This variant of `RestoreError`, or of the error that opened it.
    Refuses(&'static str),
    /// Data, which a worker takes as it is: only the user's machine knows what was there before.
    Takes,
}

use Worker::{Refuses, Strips, Takes};

fn honest(_: &mut Manifest) {}

fn row(name: &'static str, files: fn(&mut Files), client: &'static str, worker: Worker) -> Row {
    Row { name, files, spoil: honest, client, worker }
}

fn spoiled(name: &'static str, spoil: fn(&mut Manifest), client: &'static str, worker: &'static str) -> Row {
    Row { name, files: |_| {}, spoil, client, worker: Refuses(worker) }
}

macro_rules! plant {
    ($path:expr, $bytes:expr) => {
        |files: &mut Files| {
            drop(files.insert($path.replace("ID", ID).replace("OTHER", OTHER), $bytes.to_vec()))
        }
    };
}

fn code_rows() -> Vec<Row> {
    let of_id = "Default/Extensions/peaepfnnedhobpjhedhjcppdomfnmbkm";
    vec![
        row(
            "plants an extension",
            plant!("Default/Extensions/OTHER/1/manifest.json", b"{}"),
            "Executable",
            Strips("Default/Extensions/abcdefghijklmnopabcdefghijklmnop/1/manifest.json"),
        ),
        row(
            "changes a byte of an extension",
            plant!("Default/Extensions/ID/1.0/background.js", b"Background()"),
            "Executable",
            Strips(of_id),
        ),
        row(
            "adds a file to an extension",
            plant!("Default/Extensions/ID/1.0/x.js", b"x"),
            "Executable",
            Strips(of_id),
        ),
        row(
            "takes a file out of an extension",
            |files| drop(files.remove(&format!("Default/Extensions/{ID}/1.0/background.js"))),
            "Executable",
            Strips(of_id),
        ),
        row(
            "adds a version of an extension",
            plant!("Default/Extensions/ID/2.0/manifest.json", EXTENSION_MANIFEST),
            "Executable",
            Strips("Default/Extensions/peaepfnnedhobpjhedhjcppdomfnmbkm/2.0/manifest.json"),
        ),
        row(
            "lists an extension that is not the one",
            |files| {
                let forged = forge_listing(&ID.parse().unwrap(), "1.0", &[("background.js", b"evil()")]);
                files.insert(LISTING_FILE.into(), forged);
            },
            "Executable",
            Strips(of_id),
        ),
        row(
            "plants state of an extension that is not there",
            plant!("Default/Local Extension Settings/OTHER/CURRENT", b"x"),
            "Executable",
            Strips("Default/Local Extension Settings/abcdefghijklmnopabcdefghijklmnop/CURRENT"),
        ),
        row(
            "plants a script that an extension registered",
            plant!("Default/Extension Scripts/CURRENT", b"x"),
            "Executable",
            Strips("Default/Extension Scripts/CURRENT"),
        ),
        row(
            "plants a native messaging host",
            plant!("NativeMessagingHosts/x.json", br#"{"path":"/bin/sh"}"#),
            "Executable",
            Strips("NativeMessagingHosts/x.json"),
        ),
        row(
            "plants a web app",
            plant!("Default/Web Applications/x", b"x"),
            "Executable",
            Strips("Default/Web Applications/x"),
        ),
    ]
}

fn settings_rows() -> Vec<Row> {
    vec![
        row(
            "plants a startup flag",
            plant!("Local State", br#"{"browser":{"enabled_labs_experiments":["no-sandbox"]}}"#),
            "Executable",
            Strips("Local State"),
        ),
        row(
            "remembers an extension in the preferences",
            plant!("Default/Secure Preferences", br#"{"extensions":{"settings":{}}}"#),
            "Executable",
            Strips("Default/Secure Preferences"),
        ),
        row(
            "sets a proxy",
            plant!("Default/Preferences", br#"{"proxy":{"mode":"fixed_servers"}}"#),
            "Executable",
            Strips("Default/Preferences"),
        ),
        row(
            "sets where downloads go",
            plant!("Default/Preferences", br#"{"download":{"default_directory":"/etc"}}"#),
            "Executable",
            Strips("Default/Preferences"),
        ),
        row(
            "starts with a script",
            plant!("Default/Preferences", br#"{"session":{"startup_urls":["javascript:1"]}}"#),
            "Executable",
            Strips("Default/Preferences"),
        ),
        row(
            "breaks the preferences",
            plant!("Default/Preferences", b"\xff"),
            "Executable",
            Strips("Default/Preferences"),
        ),
        row(
            "plants a bookmark that runs script",
            plant!("Default/Bookmarks", br#"{"roots":{"x":{"url":"java\nscript:1"}}}"#),
            "Executable",
            Takes,
        ),
    ]
}

fn path_rows() -> Vec<Row> {
    vec![
        row("climbs", plant!("../escaped", b"x"), "Path", Refuses("Path")),
        row(
            "climbs from inside",
            plant!("Default/IndexedDB/../../../escaped", b"x"),
            "Path",
            Refuses("Path"),
        ),
        row("is absolute", plant!("/etc/cron.d/x", b"x"), "Path", Refuses("Path")),
        row("has a backslash", plant!("Default\\Cookies", b"x"), "Path", Refuses("Path")),
        row("has a NUL", plant!("Default/Sessions/a\0b", b"x"), "Path", Refuses("Path")),
        row("drives a terminal", plant!("Default/Sessions/\u{1b}[2J", b"x"), "Path", Refuses("Path")),
        row("has an empty part", plant!("Default//Cookies", b"x"), "Path", Refuses("Path")),
        row("has a dot", plant!("Default/./Cookies", b"x"), "Path", Refuses("Path")),
        row(
            "is too long",
            |files| drop(files.insert(format!("Default/Sessions/{}", "a".repeat(1024)), b"x".to_vec())),
            "Open",
            Refuses("Manifest"),
        ),
        row("is not listed", plant!("Default/Anything", b"x"), "NotListed", Strips("Default/Anything")),
        row(
            "is a lock that a browser follows",
            plant!("SingletonSocket", b"x"),
            "NotListed",
            Strips("SingletonSocket"),
        ),
        row(
            "differs in case only",
            plant!("Default/IndexedDB/HTTPS_example.org_0.indexeddb.leveldb/CURRENT", b"x"),
            "Clash",
            Takes,
        ),
        row("is a file where a directory is", plant!("Default/IndexedDB", b"x"), "Clash", Refuses("Disk")),
    ]
}

fn manifest_rows() -> Vec<Row> {
    vec![
        spoiled("points elsewhere in a pack", |m| m.files[0].chunks[0].offset += 1, "Read", "Read"),
        spoiled("points past a pack", |m| m.files[0].chunks[0].offset = u32::MAX, "Read", "Read"),
        spoiled("gives a chunk another id", |m| m.files[0].chunks[0].id.0[0] ^= 1, "Read", "Read"),
        spoiled(
            "swaps two chunks",
            |m| {
                let (first, second) = (m.files[0].chunks[0], m.files[1].chunks[0]);
                m.files[0].chunks[0].offset = second.offset;
                m.files[1].chunks[0].offset = first.offset;
            },
            "Read",
            "Read",
        ),
        spoiled(
            "calls clear bytes compressed",
            |m| {
                let chunk = &mut m.files[0].chunks[0];
                (chunk.coding, chunk.clear) = (Coding::Zstd, MAX_CHUNK_LENGTH);
                m.files[0].size = u64::from(MAX_CHUNK_LENGTH);
            },
            "Read",
            "Read",
        ),
        spoiled(
            "claims a chunk of 4 GiB",
            |m| {
                m.files[0].chunks[0].clear = u32::MAX;
                m.files[0].size = u64::from(u32::MAX);
            },
            "Open",
            "Manifest",
        ),
        spoiled("claims a file of 2^63 bytes", |m| m.files[0].size = 1 << 63, "Open", "Manifest"),
        spoiled(
            "names a pack that is not in the table",
            |m| m.files[0].chunks[0].pack = u32::MAX,
            "Open",
            "Manifest",
        ),
        spoiled(
            "lists one path twice",
            |m| m.files.push(m.files[m.files.len() - 1].clone()),
            "Open",
            "Manifest",
        ),
        spoiled(
            "lists a pack that nothing needs",
            |m| {
                let pack = m.packs.duplicate().0.remove(0);
                m.packs.0.push(pack);
            },
            "Open",
            "Manifest",
        ),
        spoiled(
            "lists a pack that nobody has",
            |m| {
                m.packs.0[0].as_mut().unwrap().name = ObjectName::of(b"nothing");
            },
            "Store",
            "Read",
        ),
        spoiled(
            "lists a pack with another key",
            |m| {
                m.packs.0[0].as_mut().unwrap().key = crate::secret::Secret::from_bytes([1; 32]);
            },
            "Read",
            "Read",
        ),
    ]
}

#[test]
fn code_that_a_node_plants_or_changes_runs_nowhere() {
    hold(code_rows());
}

#[test]
fn settings_that_start_or_divert_something_come_through_nowhere() {
    hold(settings_rows());
}

#[test]
fn paths_lead_nowhere_but_into_the_profile() {
    hold(path_rows());
}

#[test]
fn a_manifest_that_lies_is_found_out() {
    hold(manifest_rows());
}

fn hold(rows: Vec<Row>) {
    for row in rows {
        let said = client(&row);
        assert_eq!(variant(&said), row.client, "{}: the user's machine says {said:?}", row.name);
        worker(&row);
    }
}

/// The name of an error's variant.
fn variant(error: &impl Debug) -> String {
    let text = format!("{error:?}");
    text.split(['(', ' ', '{']).next().unwrap_or_default().to_owned()
}

fn forged(
    ground: &Ground,
    row: &Row,
    keys: &crate::keys::SealingKeys,
    base: Option<&Snapshot>,
) -> ObjectName {
    let mut files = good();
    (row.files)(&mut files);
    let files: Vec<(&str, &[u8])> =
        files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    forge(&files, keys, base, &ground.node, row.spoil)
}

/// A ground whose current generation is the good profile, known to the node.
fn standing() -> (Ground, Snapshot) {
    let ground = ground();
    let files = good();
    let files: Vec<(&str, &[u8])> =
        files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    let name = forge(&files, &ground.keys.sealing(), None, ground.authority.store(), honest);
    let record = HeadRecord::of(HeadRef { generation: 1, name }, &meta(), &SaveStats::default());
    ground.authority.adopt(None, &record).unwrap();
    let base = ground.authority.snapshot(&ground.keys).unwrap().unwrap();
    copy_objects(&base.objects(), ground.authority.store(), &ground.node).unwrap();
    (ground, base)
}

fn granted(ground: &Ground, base: &Snapshot) -> Grant {
    let (_, public) = SessionSecret::generate(&mut SystemRandom);
    let node: NodeId = "n".parse().unwrap();
    Grant::new(&ground.keys, &public, node, Some(base), 100)
}

fn proposal(grant: &Grant, base: &Snapshot, head: ObjectName) -> Proposal {
    Proposal {
        profile: grant.profile.clone(),
        session: grant.session.clone(),
        base_generation: base.head().generation,
        base: Some(base.name()),
        head,
        time: 1,
        closing: Closing::Clean,
        new_objects: 1,
        sent_bytes: 1,
    }
}

fn accept(ground: &Ground, bytes: &[u8]) -> Result<Accepted, AcceptError> {
    ground.authority.accept(bytes, &ground.keys, &ground.node, &mut SystemRandom)
}

fn client(row: &Row) -> crate::examine::ExamineError {
    let (ground, base) = standing();
    let grant = granted(&ground, &base);
    let head = forged(&ground, row, &grant.sealing(), Some(&base));
    let said = accept(&ground, &sign(&proposal(&grant, &base, head), &grant.sealing()));
    assert_eq!(
        ground.authority.head().unwrap().unwrap().name,
        base.name(),
        "{}: what was good stays",
        row.name
    );
    match said {
        Err(AcceptError::Examine { source, .. }) => source,
        other => panic!("{}: {other:?}", row.name),
    }
}

fn worker(row: &Row) {
    let ground = ground();
    let name = forged(&ground, row, &ground.keys.sealing(), None);
    let target = ground.directory.path().join("in/session/data");
    let opened = open_snapshot(&name, &ground.node, &ground.keys.access());
    let restored = match opened {
        Ok(snapshot) => restore(&snapshot, &ground.node, &target),
        Err(error) => {
            assert!(
                matches!(row.worker, Refuses(expected) if expected == variant(&error)),
                "{}: {error:?}",
                row.name
            );
            return;
        }
    };
    match (&row.worker, restored) {
        (Strips(path), Ok(restored)) => {
            assert!(
                restored.stripped.iter().any(|left| left.path == *path),
                "{}: {:?}",
                row.name,
                restored.stripped
            );
            assert!(target.join("Default/Cookies").is_file(), "{}", row.name);
            let left = target.join(path);
            let is_cleaned = path.ends_with("Preferences") || *path == "Local State";
            assert!(is_cleaned || !left.exists(), "{}: {path} was written", row.name);
        }
        (Refuses(expected), Err(error)) => assert_eq!(variant(&error), *expected, "{}: {error:?}", row.name),
        (Takes, Ok(restored)) => {
            assert!(restored.stripped.is_empty(), "{}: {:?}", row.name, restored.stripped);
        }
        (_, said) => panic!("{}: {said:?}", row.name),
    }
    let outside: Vec<_> =
        fs::read_dir(ground.directory.path()).unwrap().flatten().map(|e| e.file_name()).collect();
    assert!(
        outside.iter().all(|name| ["in", "node", "profiles"].iter().any(|known| name == known)),
        "{}: {outside:?}",
        row.name
    );
}

#[test]
fn the_good_profile_itself_is_taken_and_written_in_full() {
    let row = row("nothing", plant!("Default/Cookies", b"more"), "", Takes);
    let (ground, base) = standing();
    let grant = granted(&ground, &base);
    let head = forged(&ground, &row, &grant.sealing(), Some(&base));
    let taken = accept(&ground, &sign(&proposal(&grant, &base, head), &grant.sealing()));
    assert!(matches!(taken, Ok(Accepted::Current(_))), "{taken:?}");
    worker(&row);
    // An extension may go as a whole; its state then stays behind, too.
    let gone = |files: &mut Files| files.retain(|path, _| !path.contains(ID));
    let row = Row { files: gone, ..row };
    let base = ground.authority.snapshot(&ground.keys).unwrap().unwrap();
    copy_objects(&base.objects(), ground.authority.store(), &ground.node).unwrap();
    let grant = granted(&ground, &base);
    let head = forged(&ground, &row, &grant.sealing(), Some(&base));
    let taken = accept(&ground, &sign(&proposal(&grant, &base, head), &grant.sealing()));
    assert!(matches!(taken, Ok(Accepted::Current(_))), "{taken:?}");
}

#[test]
fn heads_and_proposals_that_are_not_what_they_pretend_are_refused_each_in_its_own_words() {
    let (ground, base) = standing();
    let grant = granted(&ground, &base);
    let changed = row("", plant!("Default/Cookies", b"more"), "", Takes);
    let head = forged(&ground, &changed, &grant.sealing(), Some(&base));
    let good = proposal(&grant, &base, head);
    let sealing = grant.sealing();
    let say = |proposal: &Proposal| match accept(&ground, &sign(proposal, &sealing)) {
        Err(AcceptError::Examine { source, .. }) => variant(&source),
        Err(error) => variant(&error),
        Ok(accepted) => variant(&accepted),
    };
    let other = granted(&ground, &base);
    let foreign = ProfileKeys::derive(&AccountKey::from_bytes([2; 32]), &"f".repeat(32).parse().unwrap());
    let of_other_profile = forged(&ground, &changed, &foreign.sealing(), None);
    let of_other_session = forged(&ground, &changed, &other.sealing(), Some(&base));
    let without_base = forged(&ground, &changed, &grant.sealing(), None);
    let nothing = |manifest: &mut Manifest| {
        manifest.packs = PackTable::default();
        manifest.files[0] = FileEntry { size: 0, chunks: Vec::new(), ..manifest.files[0].clone() };
    };
    let empty = forge(&[("Default/Cookies", b"x")], &grant.sealing(), Some(&base), &ground.node, nothing);
    let emptier =
        forge(&[("Default/Preferences", b"{}")], &grant.sealing(), Some(&base), &ground.node, honest);
    let with = |change: &dyn Fn(&mut Proposal)| {
        let mut changed = good.clone();
        change(&mut changed);
        changed
    };
    for (name, proposal, expected) in [
        ("a head that is nowhere", with(&|p| p.head = ObjectName::of(b"x")), "Open"),
        ("another profile's head", with(&|p| p.head = of_other_profile), "Open"),
        ("another session's head", with(&|p| p.head = of_other_session), "Open"),
        ("a head upon no base", with(&|p| p.head = without_base), "Contradiction"),
        ("a close that was a crash", with(&|p| p.closing = Closing::Crash), "Contradiction"),
        ("an empty head", with(&|p| p.head = empty), "Emptier"),
        ("an emptier head", with(&|p| p.head = emptier), "Emptier"),
        ("a base that never was", with(&|p| p.base = Some(ObjectName::of(b"x"))), "UnknownBase"),
        ("a base of another generation", with(&|p| p.base_generation = 7), "UnknownBase"),
        ("another session's name", with(&|p| p.session = other.session.clone()), "Proposal"),
        ("another profile's name", with(&|p| p.profile = foreign.profile().clone()), "Proposal"),
    ] {
        assert_eq!(say(&proposal), expected, "{name}");
        assert_eq!(
            ground.authority.head().unwrap().unwrap().name,
            base.name(),
            "{name}: what was good stays"
        );
    }
    assert_eq!(say(&good), "Current");
    assert_eq!(say(&good), "Already", "replayed");
    let late = granted(&ground, &base);
    let head = forged(
        &ground,
        &row("", plant!("Default/Cookies", b"late"), "", Takes),
        &late.sealing(),
        Some(&base),
    );
    let kept = accept(&ground, &sign(&proposal(&late, &base, head), &late.sealing())).unwrap();
    assert!(matches!(kept, Accepted::KeptAs(_)), "an older base is no reason to lose either: {kept:?}");
    assert_eq!(ground.authority.head().unwrap().unwrap().generation, 2);
}

#[test]
fn packs_of_another_profile_are_of_no_use_to_a_head() {
    let (ground, base) = standing();
    let foreign = ProfileKeys::derive(&AccountKey::from_bytes([1; 32]), &"f".repeat(32).parse().unwrap());
    let files: &[(&str, &[u8])] = &[("Default/Cookies", b"of another profile")];
    let name = forge(files, &foreign.sealing(), None, &ground.node, honest);
    let stolen = open_snapshot(&name, &ground.node, &foreign.access()).unwrap();
    let grant = granted(&ground, &base);
    let smuggle = |manifest: &mut Manifest| {
        let at = manifest.files.iter().position(|file| file.path == "Default/Cookies").unwrap();
        let slot = u32::try_from(manifest.packs.0.len()).unwrap();
        manifest.packs.0.push(stolen.manifest().packs.duplicate().0.remove(0));
        manifest.files[at] = stolen.manifest().files()[0].clone();
        manifest.files[at].chunks[0].pack = slot;
    };
    let good = good();
    let good: Vec<(&str, &[u8])> =
        good.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    let head = forge(&good, &grant.sealing(), Some(&base), &ground.node, smuggle);
    let said = accept(&ground, &sign(&proposal(&grant, &base, head), &grant.sealing()));
    assert!(
        matches!(&said, Err(AcceptError::Examine { source, .. }) if variant(source) == "Read"),
        "{said:?}"
    );
    let head = forge(&good, &ground.keys.sealing(), None, &ground.node, smuggle);
    let snapshot = open_snapshot(&head, &ground.node, &ground.keys.access()).unwrap();
    let restored = restore(&snapshot, &ground.node, &ground.directory.path().join("out"));
    assert!(matches!(restored, Err(RestoreError::Read(_))), "{restored:?}");
}
