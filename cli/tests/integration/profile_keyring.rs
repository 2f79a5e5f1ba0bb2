//! The account key in a real Secret Service: gnome-keyring on a bus of its own, in every state that a keyring can be in.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use secret_service::{
    EncryptionType,
    blocking::{Item, SecretService},
};

use crate::user::Ended;

const HOME: &str = "CBROWSE_TEST_KEYRING_HOME";
const NAME: &str = "profile_keyring::a_real_keyring_in_every_state";

/// Runs itself again on a bus of its own, with an unlocked keyring.
#[test]
fn a_real_keyring_in_every_state() {
    if let Some(home) = std::env::var_os(HOME) {
        return inside(Path::new(&home));
    }
    let home = tempfile::tempdir().unwrap();
    let script = format!(
        "printf pw | gnome-keyring-daemon --unlock --components=secrets >/dev/null 2>&1 || exit 90
         exec \"$0\" --exact --nocapture {NAME}"
    );
    let output = Command::new("dbus-run-session")
        .args(["--", "sh", "-c", &script])
        .arg(std::env::current_exe().unwrap())
        .env_clear()
        .env(HOME, home.path())
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", home.path())
        .env("XDG_RUNTIME_DIR", home.path())
        .stdin(Stdio::null())
        .output()
        .expect("dbus-run-session and gnome-keyring are installed");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("1 passed"), "{text}");
}

fn command(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cbrowse"));
    command.arg("profile").args(arguments).arg("--json").env("HOME", home).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn profile(home: &Path, arguments: &[&str]) -> Ended {
    command(home, arguments).output().unwrap().into()
}

fn recover(home: &Path, words: &str, flags: &[&str]) -> Ended {
    let file = home.join("words");
    std::fs::write(&file, words).unwrap();
    let script = "exec \"$0\" profile key recover --words-fd 3 --json \"$@\" 3<\"$HOME/words\"";
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", script, env!("CARGO_BIN_EXE_cbrowse")]).args(flags).env("HOME", home);
    shell.output().unwrap().into()
}

fn refused(ended: &Ended) -> String {
    let (exit, code, error) = ended.error();
    assert_eq!(exit, 8, "{error}");
    assert!(error["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{error}");
    code
}

/// The entry of the account key among all.
fn find<'a, 'b>(items: &'a [Item<'b>]) -> &'a Item<'b> {
    let is_it =
        |item: &&Item<'_>| item.get_attributes().unwrap().values().any(|value| value == "account-key");
    items.iter().find(is_it).expect("the entry is there")
}

fn put(service: &SecretService<'_>, secret: &[u8]) {
    let collection = service.get_default_collection().unwrap();
    find(&collection.get_all_items().unwrap()).set_secret(secret, "text/plain").unwrap();
}

fn look(service: &SecretService<'_>) -> Vec<u8> {
    let collection = service.get_default_collection().unwrap();
    find(&collection.get_all_items().unwrap()).get_secret().unwrap()
}

fn remove(service: &SecretService<'_>) {
    let collection = service.get_default_collection().unwrap();
    find(&collection.get_all_items().unwrap()).delete().unwrap();
}

fn inside(home: &Path) {
    let bus = || SecretService::connect(EncryptionType::Dh).unwrap();
    two_at_once_make_one_key(home);
    let shown = profile(home, &["key", "show-recovery", "--yes"]).document();
    let words: Vec<_> =
        shown["words"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
    let words = words.join(" ");
    let whole = |state: &str| {
        let verified = profile(home, &["verify", "one"]);
        assert_eq!(verified.code, Some(0), "{state}: {}", verified.stderr);
    };
    whole("fresh");

    // Damaged: no text, no base64, no key.
    for (secret, code) in [
        (&b"\xff\xfe"[..], "keys_damaged"),
        (b"not base64 !", "keys_damaged"),
        (b"c2hvcnQ", "account_key"),
        (b"", "account_key"),
    ] {
        let service = bus();
        put(&service, secret);
        for arguments in [&["verify", "one"][..], &["create", "more"], &["key", "rotate"]] {
            let ended = profile(home, arguments);
            assert_eq!(refused(&ended), code, "{secret:?} {arguments:?}");
            assert!(ended.stderr.contains("cbrowse profile key recover"), "{}", ended.stderr);
        }
        assert_eq!(look(&service), secret, "nothing was minted");
        recover(home, &words, &[]).succeeded();
        whole("recovered");
    }

    // Removed.
    let service = bus();
    remove(&service);
    for arguments in [&["verify", "one"][..], &["create", "more"]] {
        assert_eq!(refused(&profile(home, arguments)), "account_key_missing");
    }
    recover(home, &words, &[]).succeeded();
    whole("put back");

    // Of another account.
    put(&service, &[b'A'; 43]);
    for arguments in [&["verify", "one"][..], &["create", "more"], &["key", "rotate"]] {
        assert_eq!(refused(&profile(home, arguments)), "wrong_key", "{arguments:?}");
    }
    assert_eq!(refused(&recover(home, &words, &[])), "other_key_kept");
    recover(home, &words, &["--replace-key"]).succeeded();
    whole("replaced");
    two_rotations_at_once(home);
    whole("rotated");
    locked(home, &service);
}

/// The first profiles of a user, made by two processes: one key, and both open.
fn two_at_once_make_one_key(home: &Path) {
    let both = ["one", "two"].map(|name| command(home, &["create", name]).spawn().unwrap());
    let made = both.map(|child| Ended::from(child.wait_with_output().unwrap()).document());
    let fresh = made.iter().filter(|made| made["key"]["made"] == true).count();
    assert_eq!(fresh, 1, "{made:?}");
    for made in &made {
        assert_eq!(made["key"]["kept_in"], "the desktop's keyring");
    }
    for name in ["one", "two"] {
        profile(home, &["verify", name]).succeeded();
    }
}

/// One after the other, or one is told that another is at it; in the end the keyring holds the newest key.
fn two_rotations_at_once(home: &Path) {
    let both = [0, 1].map(|_| command(home, &["key", "rotate"]).spawn().unwrap());
    let ended = both.map(|child| Ended::from(child.wait_with_output().unwrap()));
    let done = ended.iter().filter(|ended| ended.code == Some(0)).count() as u64;
    for ended in ended.iter().filter(|ended| ended.code != Some(0)) {
        assert_eq!(refused(ended), "profile_busy");
    }
    assert!(done >= 1);
    assert_eq!(profile(home, &["key", "list"]).document()["epoch"], 1 + done);
}

/// Nobody is there to unlock it: that is said, and nothing is minted or lost.
fn locked(home: &Path, service: &SecretService<'_>) {
    let collection = service.get_default_collection().unwrap();
    collection.lock().unwrap();
    for arguments in [&["verify", "one"][..], &["create", "more"], &["key", "rotate"]] {
        assert_eq!(refused(&profile(home, arguments)), "keyring_failed", "{arguments:?}");
    }
    let data = home.join(".local/share/cbrowse");
    assert!(!data.join("secrets.sealed").exists(), "no second place");
    let profiles = profile(home, &["list"]).document();
    assert_eq!(profiles.as_array().unwrap().len(), 2);
}
