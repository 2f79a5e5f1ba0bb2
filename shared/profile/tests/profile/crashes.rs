//! Processes that are killed in the middle of a save, for real, and two that save at once.

use std::{
    env,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use cbrowse_profile::{
    authority::{Authority, AuthorityError},
    grant::{Grant, GrantError, SessionSecret, seal_grant},
    keys::AccountKey,
    restore::restore,
    secret::SystemRandom,
};
use cbrowse_protocol::id::NodeId;

use crate::world::{meta, noise, plant, tree};

const ROOT: &str = "CBROWSE_PROFILE_TEST_ROOT";
const KEY: [u8; 32] = [5; 32];

/// Not a test by itself: the process that [`a_killed_process_leaves_a_readable_head`] kills.
#[test]
fn saves_until_killed() {
    let Ok(root) = env::var(ROOT) else { return };
    let root = std::path::PathBuf::from(root);
    let account = AccountKey::from_bytes(KEY);
    let authority = Authority::open(&root.join("profiles"), "work").unwrap();
    let keys = authority.keys(&account).unwrap();
    for round in 0..u64::MAX {
        plant(&root, "data/Default/Cookies", &noise(&format!("{}-{round}", std::process::id()), 200_000));
        authority.sync(&root.join("data"), &keys, &meta(round), &mut SystemRandom).unwrap();
        eprintln!("saved");
    }
}

#[test]
fn a_killed_process_leaves_a_readable_head() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let account = AccountKey::from_bytes(KEY);
    let profiles = root.join("profiles");
    Authority::create(&profiles, &"work".parse().unwrap(), &account, 1, &mut SystemRandom).unwrap();
    let mut generation = 0;
    for round in 0..12_u64 {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["crashes::saves_until_killed", "--exact", "--nocapture"])
            .env(ROOT, root)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "saved");
        // Not a wait for readiness: the kill must fall anywhere in the next save.
        thread::sleep(Duration::from_micros(700 * round));
        child.kill().unwrap();
        child.wait().unwrap();

        let authority = Authority::open(&profiles, "work").unwrap();
        let keys = authority.keys(&account).unwrap();
        let snapshot = authority.snapshot(&keys).unwrap().unwrap();
        assert!(snapshot.head().generation > generation, "what was said to be saved is there");
        generation = snapshot.head().generation;
        restore(&snapshot, authority.store(), &root.join(format!("out{round}"))).unwrap();
        assert_eq!(authority.history().unwrap().len() as u64, generation);
    }
}

#[test]
fn two_writers_at_once_lose_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let profiles = directory.path().join("profiles");
    let account = AccountKey::from_bytes(KEY);
    Authority::create(&profiles, &"work".parse().unwrap(), &account, 1, &mut SystemRandom).unwrap();
    let outcomes = thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let (profiles, root) = (&profiles, directory.path());
                scope.spawn(move || {
                    let authority = Authority::open(profiles, "work").unwrap();
                    let keys = authority.keys(&AccountKey::from_bytes(KEY)).unwrap();
                    let data = root.join(format!("data{writer}"));
                    let (mut won, mut kept) = (0, 0);
                    for round in 0..5 {
                        plant(&data, "Default/Cookies", format!("{writer}-{round}").as_bytes());
                        // On a slow disk the others may hold the lock for longer than anybody waits: then once more.
                        let save = || authority.sync(&data, &keys, &meta(1), &mut SystemRandom);
                        let mut outcomes = std::iter::repeat_with(save);
                        match outcomes.find(|outcome| !matches!(outcome, Err(AuthorityError::Busy))).unwrap()
                        {
                            Ok(_) => won += 1,
                            Err(AuthorityError::Conflict { .. }) => kept += 1,
                            Err(error) => panic!("{error:?}"),
                        }
                    }
                    (won, kept)
                })
            })
            .collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect::<Vec<(usize, usize)>>()
    });
    let authority = Authority::open(&profiles, "work").unwrap();
    let won: usize = outcomes.iter().map(|(won, _)| won).sum();
    let history = authority.history().unwrap();
    assert_eq!(authority.head().unwrap().unwrap().generation, won as u64);
    assert_eq!(history.len(), 20, "every save is a generation or a kept version");
}

const LIMITED: &str = "CBROWSE_PROFILE_TEST_LIMITED";

/// Not a test by itself: the process whose files may not grow.
#[test]
fn saves_within_a_limit() {
    let Ok(root) = env::var(LIMITED) else { return };
    let root = std::path::PathBuf::from(root);
    let authority = Authority::open(&root.join("profiles"), "work").unwrap();
    let keys = authority.keys(&AccountKey::from_bytes(KEY)).unwrap();
    let error = authority.sync(&root.join("data"), &keys, &meta(2), &mut SystemRandom).unwrap_err();
    let mut words = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        words = format!("{words}: {cause}");
        source = cause.source();
    }
    eprintln!("refused: {words}");
}

/// The kernel itself refuses to write on, as on a full disk: the error says where, nothing is left lying, and the old
/// generation stays.
#[test]
fn a_disk_that_takes_no_more_leaves_the_old_generation_and_no_litter() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let profiles = root.join("profiles");
    let account = AccountKey::from_bytes(KEY);
    let authority =
        Authority::create(&profiles, &"work".parse().unwrap(), &account, 1, &mut SystemRandom).unwrap();
    let keys = authority.keys(&account).unwrap();
    plant(root, "data/Default/Cookies", b"old");
    let old = authority.sync(&root.join("data"), &keys, &meta(1), &mut SystemRandom).unwrap().head;
    plant(root, "data/Default/History", &noise("large", 300_000));
    // Files of at most 64 blocks of 512 bytes; the signal that would end the process is ignored.
    let script = "trap '' XFSZ; ulimit -f 64; exec \"$0\" crashes::saves_within_a_limit --exact --nocapture";
    let said = Command::new("sh")
        .args(["-c", script])
        .arg(env::current_exe().unwrap())
        .env(LIMITED, root)
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&said.stderr);
    assert!(words.contains("refused: ") && words.contains("objects"), "{words}");
    assert_eq!(authority.head().unwrap(), Some(old));
    let left = tree(root).into_keys().filter(|name| name.contains(".unfinished")).collect::<Vec<_>>();
    assert_eq!(left, Vec::<String>::new());
    let again = authority.sync(&root.join("data"), &keys, &meta(3), &mut SystemRandom).unwrap();
    assert_eq!(again.head.generation, 2, "once there is room it goes through");
}

/// Generations are numbered and chained; no clock decides what is newer.
#[test]
fn a_clock_that_is_a_day_off_loses_nothing() {
    const DAY: u64 = 24 * 3600;
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let account = AccountKey::from_bytes(KEY);
    let name = "work".parse().unwrap();
    let authority =
        Authority::create(&root.join("profiles"), &name, &account, 30 * DAY, &mut SystemRandom).unwrap();
    let keys = authority.keys(&account).unwrap();
    // Today, tomorrow, yesterday, and a clock that begins at 1970.
    for (number, now) in [30 * DAY, 31 * DAY, 29 * DAY, 0].into_iter().enumerate() {
        plant(root, "data/Default/Cookies", format!("save {number}").as_bytes());
        let synced = authority.sync(&root.join("data"), &keys, &meta(now), &mut SystemRandom).unwrap();
        assert_eq!(synced.head.generation, number as u64 + 1);
    }
    let times: Vec<u64> = authority.history().unwrap().iter().map(|record| record.time).collect();
    assert_eq!(times, [30 * DAY, 31 * DAY, 29 * DAY, 0], "in the order they were made");
    let snapshot = authority.snapshot(&keys).unwrap().unwrap();
    let out = root.join("out");
    restore(&snapshot, authority.store(), &out).unwrap();
    assert_eq!(std::fs::read(out.join("Default/Cookies")).unwrap(), b"save 3");
}

/// A grant whose end one clock has passed and the other has not says so; the words name both clocks.
#[test]
fn a_grant_says_whose_clocks_disagree() {
    let world = crate::world::World::new();
    let (secret, public) = SessionSecret::generate(&mut SystemRandom);
    let node: NodeId = "node-1".parse().unwrap();
    let (keys, users_now) = (world.keys(), 1_000_000);
    let grant = Grant::new(&keys, &public, node.clone(), None, users_now + 60);
    let sealed = seal_grant(&public, &grant, &mut SystemRandom).unwrap();
    let error = secret.open(&sealed, &node, keys.profile(), users_now + 24 * 3600).unwrap_err();
    assert_eq!(error, GrantError::Expired(24 * 3600 - 60));
    let words = error.to_string();
    assert!(words.contains("this node's clock") && words.contains("the user's machine"), "{words}");
}

/// Whoever finds the profile held for longer than it is patient changes nothing and says so; afterwards it goes through.
#[test]
fn a_profile_that_another_process_holds_is_said_to_be_busy() {
    let directory = tempfile::tempdir().unwrap();
    let profiles = directory.path().join("profiles");
    let account = AccountKey::from_bytes(KEY);
    let name = "work".parse().unwrap();
    let mut authority = Authority::create(&profiles, &name, &account, 1, &mut SystemRandom).unwrap();
    let held = std::fs::File::create(authority.directory().join("lock")).unwrap();
    held.lock().unwrap();
    let refused = authority.rename(&profiles, &"job".parse().unwrap()).unwrap_err();
    assert!(matches!(refused, AuthorityError::Busy), "{refused:?}");
    assert!(refused.to_string().contains("try again when it is done"), "{refused}");
    assert_eq!(Authority::open(&profiles, "work").unwrap().record().name, name);
    drop(held);
    authority.rename(&profiles, &"job".parse().unwrap()).unwrap();
}
