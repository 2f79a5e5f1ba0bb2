//! A crash at every single step of a save on the user's machine: the old head or the new one is there, never neither.

use std::fs;

use crate::{
    authority::Authority, files::tests::crash_after, head::Closing, keys::AccountKey, restore::restore,
    save::SaveMeta, secret::SystemRandom,
};

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
