//! A node killed at every single step of what it does to its store: opened again, the old state or the new one is there, never
//! neither, nothing half done is left lying, and the work can be done over.
//!
//! The child process is this test program, told to do one work and to stand still at one step; there it is killed.

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use cbrowse_profile::{
    authority::HeadRef,
    keys::{AccountKey, ProfileKeys},
    object::ObjectName,
    pointer::Pointer,
    retain::{RetainList, sign_next_key},
    secret::SystemRandom,
};
use cbrowse_protocol::api::{KeyRequest, PointerView, RetainRequest};

use super::{directory::UNFINISHED, heads::keys_of, *};

const ROOT: &str = "CBROWSE_NODE_KILL_ROOT";
const WORK: &str = "CBROWSE_NODE_KILL_WORK";
const STEPS: &str = "CBROWSE_NODE_KILL_STEPS";
const DAY: u64 = 24 * 3600;
const KEPT: &[u8] = b"an object that a list names";
const GONE: &[u8] = b"an object that no list names";
const NEW: &[u8] = b"an object that comes";
const SAVE: &[u8] = b"a save that waits";

/// Steps left until this process stands still, to be killed. Only the child of these tests ever does.
static STANDS_AFTER: AtomicU32 = AtomicU32::new(u32::MAX);

pub(super) fn step() {
    if STANDS_AFTER.load(Relaxed) != u32::MAX && STANDS_AFTER.fetch_sub(1, Relaxed) == 0 {
        eprintln!("stands");
        loop {
            std::thread::park();
        }
    }
}

fn profile() -> ProfileId {
    "0123456789abcdef0123456789abcdef".parse().expect("id")
}

fn keys(of: u8) -> ProfileKeys {
    ProfileKeys::derive(&AccountKey::from_bytes([of; 32]), &profile())
}

fn head(generation: u64) -> HeadRef {
    HeadRef { generation, name: ObjectName::of(&generation.to_le_bytes()) }
}

fn pointer(generation: u64, replaced: Option<u64>) -> PointerView {
    let (keys, name) = (keys(1), "work".parse().expect("a name"));
    let pointer =
        Pointer::new(&keys, head(generation), replaced.map(head), 1, &name, &mut SystemRandom).sign(&keys);
    PointerView { pointer, verifying_key: keys.verifying_key() }
}

fn list() -> RetainRequest {
    let list = RetainList::new(profile(), 3, 1, vec![ObjectName::of(KEPT)]).expect("a list");
    RetainRequest { list: list.sign(&keys(1)), verifying_key: keys(1).verifying_key() }
}

fn put(objects: &Objects, bytes: &[u8]) -> Result<bool, ObjectError> {
    objects.put(&profile(), &ObjectName::of(bytes).to_string(), bytes)
}

fn held(objects: &Objects, bytes: &[u8]) -> bool {
    match objects.get(&profile(), &ObjectName::of(bytes).to_string()) {
        Ok(found) => {
            assert_eq!(found, bytes);
            true
        }
        Err(ObjectError::Missing) => false,
        Err(other) => panic!("{other:?}"),
    }
}

fn current(objects: &Objects) -> Option<u64> {
    let view = objects.head(&profile()).expect("a head")?;
    let pointer = Pointer::read(&view.pointer, &profile(), &view.verifying_key).expect("a pointer");
    Some(pointer.head.generation)
}

/// What a node does to its store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Claim,
    Put,
    Propose,
    Forget,
    Advance,
    HandOver,
    Retain,
    Remove,
}

const WORKS: [Work; 8] = [
    Work::Claim,
    Work::Put,
    Work::Propose,
    Work::Forget,
    Work::Advance,
    Work::HandOver,
    Work::Retain,
    Work::Remove,
];

impl Work {
    /// What is there before.
    fn prepare(self, objects: &Objects) {
        if self == Self::Claim {
            return;
        }
        objects.claim(&profile(), "ada").expect("claim");
        put(objects, KEPT).expect("put");
        put(objects, GONE).expect("put");
        objects.advance(&profile(), &pointer(1, None)).expect("the first head");
        if self == Self::Forget {
            Self::Propose.run(objects).expect("propose");
        }
    }

    fn run(self, objects: &Objects) -> Result<(), ObjectError> {
        let id = profile();
        match self {
            Self::Claim => objects.claim(&id, "ada"),
            Self::Put => put(objects, NEW).map(drop),
            Self::Propose => objects.propose(&id, &"s1".parse().expect("id"), 1, SAVE),
            Self::Forget => objects.forget(&id, blake3::hash(SAVE).to_hex().as_str()).map(drop),
            Self::Advance => objects.advance(&id, &pointer(2, Some(1))),
            Self::HandOver => {
                let next = keys(2).verifying_key();
                let handed_over = sign_next_key(&keys(1), &next);
                objects.hand_over(&id, &KeyRequest { verifying_key: next, handed_over })
            }
            Self::Retain => objects.retain(&id, &list(), false, unix_now() + 2 * DAY).map(drop),
            Self::Remove => objects.remove(&id, None).map(drop),
        }
    }

    /// Whether it is done: it is in full, or not at all. Panics on anything in between.
    fn is_done(self, objects: &Objects) -> bool {
        let id = profile();
        match self {
            Self::Claim => match objects.check_owner(&id, "ada") {
                Ok(()) => true,
                Err(ObjectError::Foreign) => false,
                Err(other) => panic!("{other:?}"),
            },
            Self::Put => held(objects, NEW),
            Self::Propose | Self::Forget => {
                let waiting = objects.proposals(&id).expect("a list");
                assert!(waiting.iter().all(|view| view.proposal == SAVE) && waiting.len() <= 1);
                waiting.is_empty() == (self == Self::Forget)
            }
            Self::Advance => current(objects).expect("old or new") == 2,
            Self::HandOver => keys_of(&*objects.0.shelf, &id).expect("keys").len() == 2,
            Self::Retain => !held(objects, GONE),
            Self::Remove => objects.check_owner(&id, "ada").is_err(),
        }
    }

    /// What this work must not touch is as it was.
    fn check_rest(self, objects: &Objects, is_done: bool) {
        if self == Self::Claim || (self == Self::Remove && is_done) {
            assert_eq!(objects.0.shelf.total().expect("a total"), (0, 0));
            return;
        }
        assert!(held(objects, KEPT), "{self:?}");
        assert!(held(objects, GONE) || self == Self::Retain, "{self:?}");
        assert!(matches!(objects.claim(&profile(), "mallory"), Err(ObjectError::Foreign)), "{self:?}");
        if self != Self::Advance {
            assert_eq!(current(objects), Some(1), "{self:?}");
        }
    }
}

/// Not a test by itself: the process that is killed.
#[test]
fn works_until_killed() {
    let Ok(root) = env::var(ROOT) else { return };
    let named = env::var(WORK).expect("a work");
    let work = WORKS.into_iter().find(|work| format!("{work:?}") == named).expect("a work");
    let objects = Objects::open(Path::new(&root)).expect("a store");
    STANDS_AFTER.store(env::var(STEPS).expect("steps").parse().expect("a number"), Relaxed);
    work.run(&objects).expect("it works until it is killed");
    eprintln!("finished");
}

/// Whether it finished before it was killed.
fn killed_at(root: &Path, work: Work, steps: u32) -> bool {
    let mut child = Command::new(env::current_exe().expect("this program"))
        .args(["objects::kills::works_until_killed", "--exact", "--nocapture"])
        .env(ROOT, root)
        .env(WORK, format!("{work:?}"))
        .env(STEPS, steps.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a child");
    let lines = BufReader::new(child.stderr.take().expect("its words")).lines();
    let last = lines.map_while(Result::ok).find(|line| line == "stands" || line == "finished");
    child.kill().expect("kill");
    child.wait().expect("reap");
    last.expect("it stands or finishes") == "finished"
}

fn unfinished(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries
        .map(|path| {
            let own = usize::from(path.to_string_lossy().ends_with(UNFINISHED));
            if path.is_dir() { own + unfinished(&path) } else { own }
        })
        .sum()
}

/// Kills `work` at each of its steps, each time upon a fresh store; gives how many steps there are and how often something
/// half done was left for the next start.
fn killed_everywhere(work: Work) -> (u32, u32) {
    let mut littered = 0;
    for steps in 0.. {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path();
        work.prepare(&Objects::open(root).expect("a store"));
        let finished = killed_at(root, work, steps);
        littered += u32::from(unfinished(root) > 0);
        let objects = Objects::open(root).expect("the store opens after a kill");
        assert_eq!(unfinished(root), 0, "{work:?} at {steps}: what was left is cleared away");
        let is_done = work.is_done(&objects);
        assert!(is_done || !finished, "{work:?}: what was finished is there");
        work.check_rest(&objects, is_done);
        // A removed profile has no owner, so there is nothing to do over.
        if work != Work::Remove || !is_done {
            work.run(&objects).expect("it can be done over");
        }
        assert!(work.is_done(&objects), "{work:?} at {steps}: done over");
        work.check_rest(&objects, true);
        if finished {
            return (steps, littered);
        }
    }
    unreachable!("it finishes")
}

#[test]
fn a_node_killed_at_every_step_has_the_old_or_the_new_and_clears_up() {
    for work in WORKS {
        let (steps, littered) = killed_everywhere(work);
        match work {
            // One name is taken away, in one step.
            Work::Forget => {
                assert!(littered == 0, "{work:?}: {steps} steps, {littered} times left something")
            }
            _ => assert!(steps >= 3 && littered >= 2, "{work:?}: {steps} steps, {littered} left"),
        }
    }
}
