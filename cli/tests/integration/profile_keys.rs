//! `cbrowse profile key` on the real binary: words, passphrases, devices, rotation, and what is refused before anything is written.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use cbrowse_testkit::{
    fleet::Fleet,
    node::{Node, Options},
};
use serde_json::Value;

use crate::{
    profile_sealing::{files, make_source},
    user::{Ended, User},
};

const PASSPHRASE: &str = "seven quiet harbours";

/// `cbrowse profile ARGUMENTS --json` with these texts to be read at descriptors 3 and up, and a passphrase at 0.
fn profile_reading(user: &User, passphrase: &str, arguments: &[&str], texts: &[&str]) -> Ended {
    let directory = tempfile::tempdir().unwrap();
    let mut script = "exec \"$0\" profile \"$@\" --json".to_owned();
    for (index, text) in [passphrase].iter().chain(texts).enumerate() {
        let path = directory.path().join(index.to_string());
        fs::write(&path, format!("{text}\n")).unwrap();
        let descriptor = if index == 0 { 0 } else { index + 2 };
        script = format!("{script} {descriptor}<{}", path.display());
    }
    let output = Command::new("/bin/sh")
        .args(["-c", &script, env!("CARGO_BIN_EXE_cbrowse")])
        .args(arguments)
        .args(["--passphrase-fd", "0"])
        .env_clear()
        .env("HOME", user.home())
        .env("PATH", "/usr/bin:/bin")
        .current_dir(user.home())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    output.into()
}

fn profile(user: &User, arguments: &[&str]) -> Ended {
    profile_reading(user, PASSPHRASE, arguments, &[])
}

fn refused(ended: &Ended) -> String {
    let (exit, code, error) = ended.error();
    assert!(error["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{error}");
    assert!(exit == 8 || exit == 2, "{error}");
    code
}

fn data(user: &User) -> PathBuf {
    user.file(".local/share/cbrowse")
}

/// Everything that a command could have written, locks aside.
fn contents(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let is_lock = |path: &PathBuf| path.to_string_lossy().ends_with("lock");
    let read = |path: PathBuf| (path.clone(), fs::read(path).unwrap());
    files(directory).into_iter().filter(|path| !is_lock(path)).map(read).collect()
}

/// A user with a profile `work` of one generation.
fn user_with_work() -> User {
    let user = User::new();
    let source = make_source(&user);
    profile(&user, &["create", "work", "--from", &source]).succeeded();
    user
}

fn words(user: &User) -> String {
    let shown = profile(user, &["key", "show-recovery", "--yes"]).document();
    let words: Vec<&str> =
        shown["words"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
    assert_eq!(words.len(), 24);
    words.join(" ")
}

fn recover(user: &User, words: &str) -> Ended {
    profile_reading(user, PASSPHRASE, &["key", "recover", "--words-fd", "3"], &[words])
}

fn generations(user: &User) -> usize {
    let whole = profile(user, &["verify", "work"]).document();
    whole["generations"].as_array().unwrap().len()
}

fn code_of(user: &User) -> String {
    profile(user, &["key", "request"]).document()["code"].as_str().unwrap().to_owned()
}

/// Makes `laptop` a device of `desk`'s account; the invitation.
fn invite(desk: &User, laptop: &User, name: &str) -> String {
    let file = desk.file(&format!("{name}.invitation")).to_str().unwrap().to_owned();
    let code = code_of(laptop);
    profile(desk, &["key", "add-device", &code, "--name", name, "--out", &file]).succeeded();
    file
}

#[test]
fn recovery_words_bring_a_lost_key_back_and_no_other_words_do() {
    let user = user_with_work();
    assert_eq!(refused(&profile(&user, &["key", "show-recovery"])), "confirm", "no terminal");
    let words = words(&user);
    fs::remove_file(data(&user).join("secrets.sealed")).unwrap();
    for command in
        [&["sync", "work"][..], &["create", "more"], &["key", "rotate"], &["key", "show-recovery", "--yes"]]
    {
        let lost = profile(&user, command);
        assert_eq!(refused(&lost), "account_key_missing", "{command:?}");
        assert!(lost.stderr.contains("cbrowse profile key recover"), "{}", lost.stderr);
    }
    assert!(!data(&user).join("secrets.sealed").exists(), "nothing was minted");

    let before = contents(&data(&user));
    let mut unknown: Vec<&str> = words.split(' ').collect();
    unknown[6] = "notaword";
    let mistyped = recover(&user, &unknown.join(" "));
    assert_eq!(refused(&mistyped), "recovery_words");
    assert!(mistyped.stderr.contains("word 7 "), "{}", mistyped.stderr);
    let other = user_with_work();
    let foreign = self::words(&other);
    for (given, code) in
        [(&words[..words.rfind(' ').unwrap()], "recovery_words"), (&foreign, "words_foreign")]
    {
        let ended = recover(&user, given);
        assert_eq!(refused(&ended), code);
        for word in given.split(' ').filter(|word| word.len() > 7) {
            assert!(!ended.stderr.contains(word), "it echoes a word");
        }
    }
    assert!(!mistyped.stderr.contains("notaword"));
    assert_eq!(contents(&data(&user)), before);

    let back = recover(&user, &words.to_uppercase()).document();
    assert_eq!((&back["epoch"], &back["already"]), (&1.into(), &false.into()));
    assert!(back["newest_save"].as_u64().is_some_and(|time| time > 0), "{back}");
    assert_eq!(generations(&user), 1);
    assert_eq!(recover(&user, &words).document()["already"], true);
}

#[test]
fn a_damaged_or_forgotten_sealed_file_is_set_aside_and_the_key_comes_back() {
    let user = user_with_work();
    let words = words(&user);
    let sealed = data(&user).join("secrets.sealed");
    let whole = fs::read(&sealed).unwrap();
    fs::write(&sealed, &whole[..150]).unwrap();
    let damaged = profile(&user, &["sync", "work"]);
    assert_eq!(refused(&damaged), "keys_damaged");
    assert!(damaged.stderr.contains("cbrowse profile key recover"), "{}", damaged.stderr);
    let back = recover(&user, &words).document();
    assert_eq!(fs::read(back["set_aside"].as_str().unwrap()).unwrap(), whole[..150], "kept beside");
    assert_eq!(generations(&user), 1);

    // The passphrase is forgotten: nothing happens by itself, and what is said leads out.
    let forgotten = profile_reading(&user, "another", &["key", "recover", "--words-fd", "3"], &[&words]);
    assert_eq!(refused(&forgotten), "wrong_passphrase");
    assert!(forgotten.stderr.contains("--set-aside"), "{}", forgotten.stderr);
    let aside = ["key", "recover", "--set-aside", "--words-fd", "3"];
    profile_reading(&user, "another", &aside, &[&words]).succeeded();
    profile_reading(&user, "another", &["verify", "work"], &[]).succeeded();
    assert_eq!(refused(&profile(&user, &["verify", "work"])), "wrong_passphrase");
}

#[test]
fn a_passphrase_slot_opens_until_it_is_removed_or_the_key_is_rotated() {
    let user = user_with_work();
    assert_eq!(refused(&profile(&user, &["key", "add-passphrase", "--remove"])), "no_slot");
    let add = ["key", "add-passphrase", "--new-fd", "3"];
    profile_reading(&user, PASSPHRASE, &add, &["nine slow rivers"]).succeeded();
    let from_slot = |passphrase: &str| {
        let arguments = ["key", "recover", "--from-passphrase", "--slot-fd", "3"];
        profile_reading(&user, PASSPHRASE, &arguments, &[passphrase])
    };
    fs::remove_file(data(&user).join("secrets.sealed")).unwrap();
    assert_eq!(refused(&from_slot("nine slow river")), "wrong_passphrase");
    from_slot("nine slow rivers").succeeded();
    assert_eq!(generations(&user), 1);
    let slots = profile(&user, &["key", "list"]).document()["slots"].clone();
    assert!(slots.as_array().unwrap().iter().any(|slot| slot["kind"] == "passphrase"), "{slots}");
    let slot = data(&user).join("account/passphrase.slot");
    fs::write(&slot, b"damage").unwrap();
    assert_eq!(refused(&from_slot("nine slow rivers")), "slot_damaged");
    profile(&user, &["key", "add-passphrase", "--remove"]).succeeded();
    assert!(!slot.exists());
    assert_eq!(refused(&from_slot("nine slow rivers")), "no_slot");
    profile_reading(&user, PASSPHRASE, &add, &["nine slow rivers"]).succeeded();
    assert_eq!(profile(&user, &["key", "rotate"]).document()["passphrase_removed"], true);
    assert_eq!(refused(&from_slot("nine slow rivers")), "no_slot");
}

#[test]
fn a_new_device_joins_with_its_own_invitation_only() {
    let (desk, laptop, other) = (user_with_work(), User::new(), User::new());
    assert_eq!(refused(&profile(&laptop, &["key", "join", "nothing"])), "invitation_file");
    let code = code_of(&laptop);
    assert_eq!(code, code_of(&laptop), "a device has one key");
    let mut mistyped = code.clone();
    mistyped.replace_range(10..11, if &code[10..11] == "7" { "8" } else { "7" });
    assert_eq!(
        refused(&profile(&desk, &["key", "add-device", &mistyped, "--name", "laptop"])),
        "device_code"
    );
    assert_eq!(refused(&profile(&desk, &["key", "add-device", "--name", "laptop"])), "no_code");
    let invitation = invite(&desk, &laptop, "laptop");
    let join = |user: &User, file: &str| profile(user, &["key", "join", file]);
    assert_eq!(refused(&join(&other, &invitation)), "no_request");
    code_of(&other);
    assert_eq!(refused(&join(&other, &invitation)), "invitation_other_device");
    let whole = fs::read(&invitation).unwrap();
    for (bytes, code) in
        [(&whole[..whole.len() - 1], "invitation_damaged"), (&whole[..20], "invitation_damaged")]
    {
        fs::write(desk.file("cut"), bytes).unwrap();
        assert_eq!(refused(&join(&laptop, desk.file("cut").to_str().unwrap())), code);
    }
    let joined = join(&laptop, &invitation).document();
    assert_eq!(
        (&joined["profiles"][0]["profile"], &joined["profiles"][0]["newest_generation"]),
        (&"work".into(), &1.into())
    );
    join(&laptop, &invitation).succeeded();
    for user in [&desk, &laptop] {
        let listed = profile(user, &["key", "list"]).document();
        let devices: Vec<_> =
            listed["devices"].as_array().unwrap().iter().map(|one| (&one["device"], &one["this"])).collect();
        assert_eq!(devices.len(), 2);
        assert_eq!(
            devices[1],
            (&"laptop".into(), &Value::Bool(std::ptr::eq(user, &raw const laptop))),
            "{listed}"
        );
    }
    assert_eq!(words(&desk), words(&laptop), "it is the same account");
    for path in files(&data(&laptop)) {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o077, 0, "{}", path.display());
    }

    // A later invitation makes the earlier one stale; a name and a key are taken once.
    profile(&desk, &["key", "rotate", "--out", desk.home().to_str().unwrap()]).succeeded();
    fs::write(desk.file("old"), whole).unwrap();
    join(&laptop, &invitation).succeeded();
    assert_eq!(profile(&laptop, &["key", "list"]).document()["epoch"], 2);
    assert_eq!(refused(&join(&laptop, desk.file("old").to_str().unwrap())), "invitation_stale");
    assert_eq!(refused(&profile(&desk, &["key", "add-device", &code, "--name", "again"])), "device_known");
    let third = code_of(&other);
    assert_eq!(refused(&profile(&desk, &["key", "add-device", &third, "--name", "laptop"])), "device_exists");

    // A device with an account of its own keeps it.
    let own = user_with_work();
    let before = contents(&data(&own).join("profiles"));
    let invitation = invite(&desk, &own, "own");
    assert_eq!(refused(&join(&own, &invitation)), "other_key_kept");
    assert_eq!(contents(&data(&own).join("profiles")), before);
    assert_eq!(generations(&own), 1);
}

#[test]
fn a_revoked_device_opens_what_it_had_and_nothing_after() {
    let (desk, laptop, phone) = (user_with_work(), User::new(), User::new());
    for (user, name) in [(&laptop, "laptop"), (&phone, "phone")] {
        let invitation = invite(&desk, user, name);
        profile(user, &["key", "join", &invitation]).succeeded();
    }
    let work = |user: &User| {
        let all = fs::read_dir(data(user).join("profiles")).unwrap();
        all.flatten().map(|entry| entry.path()).find(|path| path.join("profile.json").exists()).unwrap()
    };
    // The laptop has a copy of all there is, and is lost then.
    let copy = |to: &User| {
        let status = Command::new("cp").arg("-rT").arg(work(&desk)).arg(work(to)).status().unwrap();
        assert!(status.success());
    };
    copy(&laptop);
    assert_eq!(generations(&laptop), 1);
    let old_words = words(&desk);
    assert_eq!(refused(&profile(&desk, &["key", "revoke-device", "nobody"])), "no_device");
    let own =
        profile(&desk, &["key", "list"]).document()["devices"][0]["device"].as_str().unwrap().to_owned();
    assert_eq!(refused(&profile(&desk, &["key", "revoke-device", &own])), "this_device");
    let out = desk.home().to_str().unwrap().to_owned();
    let revoked = profile(&desk, &["key", "revoke-device", "laptop", "--out", &out]).document();
    assert_eq!((&revoked["epoch"], &revoked["revoked"]), (&2.into(), &"laptop".into()));
    assert_eq!(revoked["profiles"][0]["generation"], 2);
    let invited: Vec<_> =
        revoked["invitations"].as_array().unwrap().iter().map(|one| &one["device"]).collect();
    assert_eq!(invited, ["phone"], "not the one that was lost");
    assert_eq!(generations(&desk), 2);
    // The directory it was sealed from is still looked at, and holds what the new generation does.
    let synced = profile(&desk, &["sync", "work"]).document();
    assert_eq!((&synced["passed_over"], &synced["changed"]), (&Value::Null, &false.into()), "{synced}");

    // It opens what it had, and nothing of what it gets hold of now.
    assert_eq!(generations(&laptop), 1);
    copy(&laptop);
    let after = profile(&laptop, &["verify", "work"]);
    assert_eq!(refused(&after), "wrong_key");
    fs::copy(data(&desk).join("account/log"), data(&laptop).join("account/log")).unwrap();
    fs::copy(data(&desk).join("account/SEEN"), data(&laptop).join("account/SEEN")).unwrap();
    assert_eq!(refused(&profile(&laptop, &["verify", "work"])), "key_superseded");

    // The phone takes the new key the way it took the first.
    copy(&phone);
    profile(&phone, &["key", "join", &format!("{out}/phone.invitation")]).succeeded();
    assert_eq!(generations(&phone), 2);
    assert_eq!(refused(&recover(&desk, &old_words)), "words_superseded");
    assert_ne!(words(&desk), old_words);
    assert_eq!(words(&desk), words(&phone));
}

#[test]
fn a_rotation_waits_for_saves_that_are_under_way() {
    let user = user_with_work();
    let listed = profile(&user, &["key", "list"]).document();
    assert_eq!(listed["devices"].as_array().unwrap().len(), 0, "nobody asked yet");
    let profiles = fs::read_dir(data(&user).join("profiles")).unwrap();
    let id = profiles.flatten().next().unwrap().file_name().into_string().unwrap();
    let pending = data(&user).join("pending");
    fs::create_dir(&pending).unwrap();
    let note = serde_json::json!({
        "session": "s1", "profile": id, "started": 5, "node": {"id": "n", "address": "192.0.2.1", "port": 1},
    });
    fs::write(pending.join("s1.json"), note.to_string()).unwrap();
    let before = contents(&data(&user));
    let waiting = profile(&user, &["key", "rotate"]);
    assert_eq!(refused(&waiting), "sessions_pending");
    assert!(waiting.stderr.contains("cbrowse profile sync work"), "{}", waiting.stderr);
    assert_eq!(contents(&data(&user)), before);
    assert_eq!(profile(&user, &["key", "rotate", "--force"]).document()["epoch"], 2);
}

#[test]
fn an_interrupted_rotation_is_finished_by_the_next_command() {
    let user = user_with_work();
    profile(&user, &["create", "play"]).succeeded();
    let work = fs::read_dir(data(&user).join("profiles"))
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.join("HEAD").exists())
        .unwrap();
    let lock = File::options().write(true).open(work.join("lock")).unwrap();
    lock.lock().unwrap();
    let stopped = profile(&user, &["key", "rotate"]);
    assert_eq!(refused(&stopped), "profile_busy");
    assert!(stopped.stderr.contains("the rotation is not finished"), "{}", stopped.stderr);
    assert!(data(&user).join("account/rotation").exists());
    let old_words_are_refused_later = fs::read(data(&user).join("account/log")).unwrap();
    drop(lock);
    assert_eq!(generations(&user), 2, "it was finished first");
    assert!(!data(&user).join("account/rotation").exists());
    assert_ne!(fs::read(data(&user).join("account/log")).unwrap(), old_words_are_refused_later);
    assert_eq!(profile(&user, &["key", "list"]).document()["epoch"], 2);
    profile(&user, &["verify", "play"]).succeeded();
    profile(&user, &["create", "more"]).succeeded();
}

#[test]
fn what_was_made_before_a_rotation_comes_back_after_it() {
    let user = user_with_work();
    let bookmarks = |directory: &str| {
        let out = user.file(directory).to_str().unwrap().to_owned();
        profile(&user, &["export", "work", &out]).succeeded();
        fs::read_to_string(user.file(directory).join("Default/Bookmarks")).unwrap()
    };
    let file = user.file("before.cbrowse").to_str().unwrap().to_owned();
    profile(&user, &["export", "work", "--sealed", &file]).succeeded();
    let first = bookmarks("first");
    fs::write(user.file("source/Default/Bookmarks"), "changed").unwrap();
    profile(&user, &["sync", "work"]).succeeded();
    profile(&user, &["key", "rotate"]).succeeded();
    assert_eq!(bookmarks("rotated"), "changed");

    // A generation, and a sealed file, of the key before.
    let restored = profile(&user, &["restore", "work", "--at", "1", "--yes"]).document();
    assert_eq!((&restored["generation"], &bookmarks("restored")), (&4.into(), &first));
    profile(&user, &["restore", "work", "--at", "2", "--yes"]).succeeded();
    let import = ["import", "work", "--from", &file];
    let read = profile(&user, &import).document();
    assert_eq!((&read["outcome"], &read["generation"]), (&"next_generation".into(), &6.into()), "{read}");
    assert_eq!(bookmarks("imported"), first);
    profile(&user, &["verify", "work"]).succeeded();

    // A machine that has the key and nothing else of the profile.
    fs::remove_dir_all(data(&user).join("profiles")).unwrap();
    let received = profile(&user, &import).document();
    assert_eq!(received["outcome"], "received", "{received}");
    assert_eq!(bookmarks("received"), first);
    profile(&user, &["verify", "work"]).succeeded();
    fs::write(user.file("source/Default/Bookmarks"), "later").unwrap();
    let source = user.file("source").to_str().unwrap().to_owned();
    profile(&user, &["sync", "work", "--from", &source]).succeeded();
    assert_eq!(bookmarks("later"), "later");
}

#[test]
fn a_log_that_was_touched_stops_every_command_with_its_own_error() {
    let (desk, laptop) = (user_with_work(), User::new());
    let log = data(&desk).join("account/log");
    invite(&desk, &laptop, "laptop");
    let older = fs::read(&log).unwrap();
    profile(&desk, &["key", "rotate"]).succeeded();
    let whole = fs::read(&log).unwrap();
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let first = 8 + u32::from_le_bytes(older[4..8].try_into().unwrap()) as usize + 64;
    let dropped = [&whole[..first], &whole[older.len()..]].concat();
    for (bytes, code) in [
        (&older, "log_rolled_back"),
        (&whole[..whole.len() - 1].to_vec(), "log_truncated"),
        (&flipped, "log_signature"),
        (&dropped, "log_entry_missing"),
        (&b"something".to_vec(), "log_damaged"),
    ] {
        fs::write(&log, bytes).unwrap();
        let before = contents(&data(&desk));
        for command in [&["sync", "work"][..], &["key", "list"], &["key", "rotate"], &["create", "more"]] {
            assert_eq!(refused(&profile(&desk, command)), code, "{command:?}");
        }
        assert_eq!(contents(&data(&desk)), before, "{code}");
    }
    fs::write(&log, whole).unwrap();
    assert_eq!(generations(&desk), 2);
}

#[test]
fn a_wrong_key_is_noticed_before_the_first_write_by_every_command() {
    let (user, stranger) = (user_with_work(), user_with_work());
    let words = words(&stranger);
    let code = code_of(&stranger);
    fs::copy(data(&stranger).join("secrets.sealed"), data(&user).join("secrets.sealed")).unwrap();
    let before = contents(&user.file(""));
    let out = user.file("out").to_str().unwrap().to_owned();
    let source = user.file("source").to_str().unwrap().to_owned();
    for command in [
        &["sync", "work"][..],
        &["sync", "work", "--from", &source],
        &["create", "more"],
        &["create", "more", "--from", &source],
        &["verify", "work"],
        &["export", "work", &out],
        &["key", "add-device", &code, "--name", "laptop", "--out", &out],
        &["key", "rotate"],
        &["key", "revoke-device", "laptop"],
    ] {
        assert_eq!(refused(&profile(&user, command)), "wrong_key", "{command:?}");
        assert_eq!(contents(&user.file("")), before, "{command:?}");
    }
    let add = profile_reading(&user, PASSPHRASE, &["key", "add-passphrase", "--new-fd", "3"], &["p"]);
    assert_eq!(refused(&add), "wrong_key");
    assert_eq!(refused(&recover(&user, &words)), "words_foreign");
    assert_eq!(contents(&user.file("")), before);
}

/// What a rotation does to a store that points to a head of the epoch before, and what an invited device makes of it.
#[tokio::test]
async fn a_store_is_handed_over_to_the_new_key_and_an_invited_device_pulls_from_it() {
    use crate::profile_sealing::profile;
    let fleet = Fleet::new().unwrap();
    let node = Node::start(Options::of(&fleet, "fra-1", "eu-central")).await.unwrap();
    let desk = User::of(&fleet).await.knowing(&[&node]);
    let laptop = User::of(&fleet).await.knowing(&[&node]);
    let source = make_source(&desk);
    profile(&desk, &["create", "work", "--from", &source]).await.succeeded();
    profile(&desk, &["sync", "work"]).await.succeeded();
    profile(&desk, &["key", "rotate"]).await.succeeded();
    let sent = profile(&desk, &["sync", "work"]).await.document();
    assert_eq!((&sent["generation"], &sent["sent"]["current_there"]), (&2.into(), &true.into()), "{sent}");

    let invitation = invite(&desk, &laptop, "laptop");
    profile(&laptop, &["key", "join", &invitation]).await.succeeded();
    let pulled = profile(&laptop, &["pull", "work", "--yes"]).await.document();
    assert_eq!((&pulled["outcome"], &pulled["generation"]), (&"current".into(), &2.into()), "{pulled}");
    assert_eq!(generations(&laptop), 1);
    // Rotated once more: the store follows, and so does the laptop, by its new invitation.
    let rotated = profile(&desk, &["key", "rotate"]).await.document();
    let file = rotated["invitations"][0]["file"].as_str().unwrap();
    profile(&desk, &["sync", "work"]).await.succeeded();
    let behind = profile(&laptop, &["pull", "work"]).await;
    assert_eq!(refused(&behind), "pointer_refused", "it has no key for it");
    profile(&laptop, &["key", "join", file]).await.succeeded();
    let pulled = profile(&laptop, &["pull", "work"]).await.document();
    assert_eq!((&pulled["outcome"], &pulled["generation"]), (&"current".into(), &3.into()), "{pulled}");
    assert_eq!(generations(&laptop), 2, "what it had before opens, too");
}
