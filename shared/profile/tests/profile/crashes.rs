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
    keys::AccountKey,
    restore::restore,
    secret::SystemRandom,
};

use crate::world::{meta, noise, plant};

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
                        match authority.sync(&data, &keys, &meta(1), &mut SystemRandom) {
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
