//! A crash at every single step of a save on the user's machine: the old head or the new one is there, never neither.

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use cbrowse_protocol::id::NodeId;

use crate::{
    authority::{Authority, HeadRef, Reverting},
    directory::DirectoryStore,
    extensions::Word,
    files::{
        UNFINISHED,
        tests::{crash_after, stand_after},
    },
    grant::{Grant, SessionSecret},
    head::Closing,
    keys::{AccountKey, ProfileKeys},
    object::copy_objects,
    pointer::Pointer,
    proposal::propose,
    restore::restore,
    save::SaveMeta,
    secret::SystemRandom,
};

const ROOT: &str = "CBROWSE_CRASH_TEST_ROOT";
const WORK: &str = "CBROWSE_CRASH_TEST_WORK";
const STEPS: &str = "CBROWSE_CRASH_TEST_STEPS";
const KEY: [u8; 32] = [3; 32];

#[test]
fn old_or_new_after_a_crash_at_any_step() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("profiles");
    let data = directory.path().join("data");
    fs::create_dir_all(data.join("Default")).unwrap();
    let account = AccountKey::from_bytes([3; 32]);
    let meta =
        SaveMeta { now: 1, device: "d".into(), browser_version: "156".into(), closing: Closing::Clean };
    Authority::create(&root, &"work".parse().unwrap(), &account, 1, &mut SystemRandom).unwrap();

    let (mut value, mut steps) = (0_u32, 0_u32);
    let (mut old_seen, mut new_seen) = (0, 0);
    loop {
        // The next save would write this value; it crashes after `steps` steps.
        fs::write(data.join("Default/Cookies"), (value + 1).to_string()).unwrap();
        let authority = Authority::open(&root, "work").unwrap();
        let keys = authority.keys(&account).unwrap();
        crash_after(steps);
        let finished = authority.sync(&data, &keys, &meta, &mut SystemRandom).is_ok();
        crash_after(u32::MAX);
        let found = current_value(&root, &account, &directory.path().join(format!("out{steps}")));
        assert!(
            found == value || found == value + 1,
            "{found} after a crash at step {steps}, {value} before"
        );
        assert!(!finished || found == value + 1, "a finished save is there");
        if found == value {
            old_seen += 1;
        } else {
            new_seen += 1;
        }
        value = found;
        steps += 1;
        if finished {
            break;
        }
    }
    assert!(old_seen >= 8 && new_seen >= 2, "{old_seen} old, {new_seen} new in {steps} steps");
}

fn current_value(root: &std::path::Path, account: &AccountKey, out: &std::path::Path) -> u32 {
    let authority = Authority::open(root, "work").unwrap();
    let keys = authority.keys(account).unwrap();
    let Some(snapshot) = authority.snapshot(&keys).unwrap() else { return 0 };
    restore(&snapshot, authority.store(), out).unwrap();
    fs::read_to_string(out.join("Default/Cookies")).unwrap().parse().unwrap()
}

fn meta() -> SaveMeta {
    SaveMeta { now: 1, device: "d".into(), browser_version: "156".into(), closing: Closing::Clean }
}

/// Not a test by itself: the process that is killed.
#[test]
fn works_until_killed() {
    let Ok(root) = env::var(ROOT) else { return };
    let root = Path::new(&root);
    let authority = Authority::open(&root.join("profiles"), "work").unwrap();
    let keys = authority.keys(&AccountKey::from_bytes(KEY)).unwrap();
    let node = DirectoryStore::open(root.join("node")).unwrap();
    stand_after(env::var(STEPS).unwrap().parse().unwrap());
    match env::var(WORK).unwrap().as_str() {
        "sync" => drop(authority.sync(&root.join("data"), &keys, &meta(), &mut SystemRandom).unwrap()),
        "accept" => {
            let proposal = fs::read(root.join("proposal")).unwrap();
            authority.accept(&proposal, &keys, &node, &mut SystemRandom).unwrap();
        }
        "allow" => authority.allow_extensions(&Word::new(Vec::new())).unwrap(),
        "revert" => revert(&authority, &keys),
        "pull" => pull(root, &keys),
        // A worker with its own store, as a node has one.
        "propose" => drop(make_proposal(root, &authority)),
        other => panic!("{other}"),
    }
    eprintln!("finished");
}

fn make_proposal(root: &Path, authority: &Authority) -> Vec<u8> {
    let keys = authority.keys(&AccountKey::from_bytes(KEY)).unwrap();
    let node = DirectoryStore::open(root.join("node")).unwrap();
    let base = authority.snapshot(&keys).unwrap();
    copy_objects(&base.as_ref().unwrap().objects(), authority.store(), &node).unwrap();
    let (_, public) = SessionSecret::generate(&mut SystemRandom);
    let id: NodeId = "n".parse().unwrap();
    let grant = Grant::new(&keys, &public, id, base.as_ref(), 100);
    propose(&root.join("data"), &grant, base.as_ref(), &node, &meta(), &mut SystemRandom).unwrap().0
}

/// Whether it finished before it was killed.
fn killed_at(root: &Path, work: &str, steps: u32) -> bool {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["crash::works_until_killed", "--exact", "--nocapture"])
        .envs([(ROOT, root.to_str().unwrap()), (WORK, work), (STEPS, &steps.to_string())])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let last = lines.map_while(Result::ok).find(|line| line == "stands" || line == "finished");
    child.kill().unwrap();
    child.wait().unwrap();
    last.expect("it stands or finishes") == "finished"
}

/// Kills the work at each of its steps, one after another, until it finishes; old or new is there after each, and the work that
/// was killed can be done over.
fn killed_everywhere(work: &str) {
    let (directory, account) = (tempfile::tempdir().unwrap(), AccountKey::from_bytes(KEY));
    let root = directory.path();
    let profiles = root.join("profiles");
    let authority =
        Authority::create(&profiles, &"work".parse().unwrap(), &account, 1, &mut SystemRandom).unwrap();
    let keys = authority.keys(&account).unwrap();
    let save = |value: u32| {
        fs::create_dir_all(root.join("data/Default")).unwrap();
        fs::write(root.join("data/Default/Cookies"), value.to_string()).unwrap();
    };
    save(0);
    authority.sync(&root.join("data"), &keys, &meta(), &mut SystemRandom).unwrap();
    let mut value = 0;
    for steps in 0.. {
        save(value + 1);
        if work == "accept" {
            fs::write(root.join("proposal"), make_proposal(root, &authority)).unwrap();
        }
        let finished = killed_at(root, work, steps);
        let found = current_value(&profiles, &account, &root.join(format!("out{steps}")));
        assert!(found == value || found == value + 1, "{work}: {found} after a kill at step {steps}");
        if matches!(work, "sync" | "accept") {
            assert!(!finished || found == value + 1, "{work}: what was finished is there");
        }
        value = found;
        if finished {
            assert!(steps >= 3, "{work} took {steps} steps");
            return;
        }
    }
}

/// Back to the oldest version with other contents than the current one.
fn revert(authority: &Authority, keys: &ProfileKeys) {
    let current = authority.snapshot(keys).unwrap().unwrap();
    let versions = authority.history().unwrap().into_iter();
    let mut versions = versions.map(|record| authority.snapshot_at(&record.head.name, keys).unwrap());
    let other = versions.find(|version| !version.manifest().has_same_files(current.manifest())).unwrap();
    let by = Reverting { now: 2, device: "d".into() };
    authority.revert(&other, authority.head().unwrap().as_ref(), keys, &by, &mut SystemRandom).unwrap();
}

/// The second device takes what the first one pointed to.
fn pull(root: &Path, keys: &ProfileKeys) {
    let second = Authority::open(&root.join("second"), "work").unwrap();
    let pointer = fs::read(root.join("pointer")).unwrap();
    let pointer = Pointer::read(&pointer, keys.profile(), &keys.verifying_key()).unwrap();
    let shared = DirectoryStore::open(root.join("shared")).unwrap();
    let lacking = second.fetch_offer(&pointer, keys, &shared).unwrap();
    copy_objects(&lacking, &shared, second.store()).unwrap();
    second.pull(&pointer, keys, &mut SystemRandom).unwrap();
}

/// A machine whose profile has the cookies 0.
fn machine(root: &Path) -> (Authority, ProfileKeys) {
    let account = AccountKey::from_bytes(KEY);
    let name = "work".parse().unwrap();
    let authority = Authority::create(&root.join("profiles"), &name, &account, 1, &mut SystemRandom).unwrap();
    let keys = authority.keys(&account).unwrap();
    save(root, &authority, &keys, 0);
    (authority, keys)
}

fn save(root: &Path, authority: &Authority, keys: &ProfileKeys, value: u32) -> HeadRef {
    fs::create_dir_all(root.join("data/Default")).unwrap();
    fs::write(root.join("data/Default/Cookies"), value.to_string()).unwrap();
    authority.sync(&root.join("data"), keys, &meta(), &mut SystemRandom).unwrap().head
}

#[test]
fn going_back_killed_at_every_step_leaves_one_version_or_the_other() {
    let (directory, account) = (tempfile::tempdir().unwrap(), AccountKey::from_bytes(KEY));
    let root = directory.path();
    let (authority, keys) = machine(root);
    save(root, &authority, &keys, 1);
    let mut value = 1;
    for steps in 0.. {
        let finished = killed_at(root, "revert", steps);
        let found = current_value(&root.join("profiles"), &account, &root.join(format!("out{steps}")));
        assert!(found <= 1, "{found} after a kill at step {steps}");
        assert!(!finished || found == 1 - value, "what was finished is there");
        value = found;
        if finished {
            assert!(steps >= 8, "{steps} steps");
            break;
        }
    }
    // What was current before is in the history still.
    let versions = authority.history().unwrap();
    assert!(versions.iter().all(|record| authority.snapshot_at(&record.head.name, &keys).is_ok()));
}

#[test]
fn a_pull_killed_at_every_step_leaves_old_or_new() {
    let (directory, account) = (tempfile::tempdir().unwrap(), AccountKey::from_bytes(KEY));
    let root = directory.path();
    let (first, keys) = machine(root);
    let name = "work".parse().unwrap();
    Authority::receive(&root.join("second"), &name, &keys, 1).unwrap();
    let shared = DirectoryStore::open(root.join("shared")).unwrap();
    let mut value = 0;
    let mut replaced = None;
    for steps in 0.. {
        let offered = steps + 1;
        let head = save(root, &first, &keys, offered);
        let snapshot = first.snapshot(&keys).unwrap().unwrap();
        copy_objects(&snapshot.objects(), first.store(), &shared).unwrap();
        let pointer = Pointer::new(&keys, head.clone(), replaced.replace(head), 1, &name, &mut SystemRandom);
        fs::write(root.join("pointer"), pointer.sign(&keys)).unwrap();
        let finished = killed_at(root, "pull", steps);
        let found = current_value(&root.join("second"), &account, &root.join(format!("out{steps}")));
        assert!(found == value || found == offered, "{found} after a kill at step {steps}, {value} before");
        assert!(!finished || found == offered, "what was finished is there");
        value = found;
        if finished {
            assert!(steps >= 8, "{steps} steps");
            return;
        }
    }
}

#[test]
fn what_killed_processes_left_goes_with_the_next_change_once_it_is_a_day_old() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let (authority, keys) = machine(root);
    let place = authority.directory().to_owned();
    let leave = |folder: &str, age: u64| {
        let path = place.join(folder).join(format!("{UNFINISHED}{age:016x}"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let file = fs::File::create(&path).unwrap();
        let written = fs::metadata(place.join("HEAD")).unwrap().modified().unwrap();
        file.set_modified(written - Duration::from_secs(age)).unwrap();
        path
    };
    let folders = ["", "heads", "objects/00"];
    let old = folders.map(|folder| leave(folder, 2 * 24 * 3600));
    let young = folders.map(|folder| leave(folder, 3600));
    // One that is killed takes nothing of it away.
    fs::write(root.join("data/Default/Cookies"), "1").unwrap();
    assert!(!killed_at(root, "sync", 2));
    assert!(old.iter().chain(&young).all(|path| path.exists()));
    save(root, &authority, &keys, 1);
    assert!(!old.iter().any(|path| path.exists()), "{old:?}");
    assert!(young.iter().all(|path| path.exists()), "another process may be writing them");
    assert_eq!(current_value(&root.join("profiles"), &AccountKey::from_bytes(KEY), &root.join("out")), 1);
}

#[test]
fn a_sync_killed_at_every_step_leaves_old_or_new() {
    killed_everywhere("sync");
}

#[test]
fn taking_a_proposal_over_killed_at_every_step_leaves_old_or_new() {
    killed_everywhere("accept");
}

#[test]
fn a_worker_killed_at_every_step_of_its_save_changes_nothing_at_home() {
    killed_everywhere("propose");
}

#[test]
fn a_word_about_extensions_killed_at_every_step_leaves_the_profile_whole() {
    killed_everywhere("allow");
}
