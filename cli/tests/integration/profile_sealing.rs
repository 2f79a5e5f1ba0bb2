//! `cbrowse profile` on this machine alone: keys, sealing, what is refused, and what a stranger can read of it.

#![expect(clippy::unwrap_used, reason = "a test's helpers are tests")]

use std::{
    fs::{self, File},
    path::Path,
    process::{Output, Stdio},
};

use serde_json::Value;
use tokio::{io::AsyncWriteExt as _, process::Command};

use crate::user::{Ended, User};

/// A value that occurs nowhere by chance.
const PLANTED: &str = "b71e02d9c4f84a6e93d15a7f0c68be24";

/// A user data directory with a bookmark file that holds [`PLANTED`], an extension, a link and a cache.
pub(crate) fn make_source(user: &User) -> String {
    let source = user.file("source");
    for directory in ["Default/Cache", "Default/Local Storage/leveldb", "Default/Extensions/abcdef/1"] {
        fs::create_dir_all(source.join(directory)).unwrap();
    }
    // Stored as it is, and not compressed away: what could be read would be found.
    let noise: Vec<u8> =
        (0..200_000_u32).flat_map(|index| index.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    for (path, bytes) in [
        ("Last Version", &b"156.0.8078.79"[..]),
        ("Local State", b"{}"),
        ("Default/Preferences", br#"{"session":{"restore_on_startup":1}}"#),
        ("Default/Bookmarks", PLANTED.as_bytes()),
        ("Default/Local Storage/leveldb/000003.log", &noise),
        ("Default/Cache/data_0", b"cached"),
        ("Default/Extensions/abcdef/1/manifest.json", b"{}"),
    ] {
        fs::write(source.join(path), bytes).unwrap();
    }
    std::os::unix::fs::symlink("/etc/passwd", source.join("Default/History")).unwrap();
    source.to_str().unwrap().to_owned()
}

/// The command with the user's own passphrase.
pub(crate) async fn profile(user: &User, arguments: &[&str]) -> Ended {
    user.run(&[&["profile"], arguments, &["--passphrase-fd", "0", "--json"]].concat()).await
}

/// The command with another one.
pub(crate) async fn profile_with(user: &User, passphrase: &str, arguments: &[&str]) -> Ended {
    let mut child = Command::new(env!("CARGO_BIN_EXE_cbrowse"))
        .arg("profile")
        .args(arguments)
        .args(["--passphrase-fd", "0", "--json"])
        .env_clear()
        .env("HOME", user.home())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(passphrase.as_bytes()).await.unwrap();
    ended(child.wait_with_output().await.unwrap())
}

fn ended(output: Output) -> Ended {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

pub(crate) fn data(user: &User) -> std::path::PathBuf {
    user.file(".local/share/cbrowse")
}

pub(crate) fn refused(ended: &Ended) -> (i32, String) {
    let (exit, code, error) = ended.error();
    assert!(error["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{error}");
    (exit, code)
}

/// Every file below a directory.
pub(crate) fn files(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}

/// Files below a directory that hold these bytes.
pub(crate) fn holding(directory: &Path, needle: &str) -> Vec<std::path::PathBuf> {
    let holds = |path: &std::path::PathBuf| {
        fs::read(path).unwrap().windows(needle.len()).any(|window| window == needle.as_bytes())
    };
    files(directory).into_iter().filter(holds).collect()
}

pub(crate) fn planted() -> &'static str {
    PLANTED
}

/// The objects of the only profile there is.
pub(crate) fn objects(user: &User) -> Vec<std::path::PathBuf> {
    let is_object = |path: &std::path::PathBuf| path.to_string_lossy().contains("/objects/");
    files(&data(user).join("profiles")).into_iter().filter(is_object).collect()
}

#[tokio::test]
async fn what_is_sealed_can_be_read_by_nobody_and_code_stays_behind() {
    let user = User::new();
    let source = make_source(&user);
    let made = profile(&user, &["create", "work", "--from", &source]).await.document();
    assert_eq!((&made["key"]["made"], &made["sealed"]["generation"]), (&Value::Bool(true), &1.into()));
    assert_eq!(made["sealed"]["files"], 5);
    let left: Vec<_> =
        made["sealed"]["left_behind"].as_array().unwrap().iter().map(|left| &left["path"]).collect();
    assert_eq!(left, ["Default/Extensions/abcdef", "Default/History"]);
    assert_eq!(objects(&user).len() as u64, made["sealed"]["new_objects"].as_u64().unwrap());
    for readable in [PLANTED, "Bookmarks", "restore_on_startup", "leveldb"] {
        assert_eq!(holding(&data(&user), readable), Vec::<std::path::PathBuf>::new(), "{readable}");
    }
    assert_eq!(holding(&user.file("source"), PLANTED).len(), 1, "the search finds what is there");
    let status = user.run(&["profile", "status", "work", "--json"]).await.document();
    assert_eq!((&status["generation"], &status["files"]), (&1.into(), &5.into()));
    assert_eq!(status["browser_version"], "156.0.8078.79");
    let stored: u64 = objects(&user).iter().map(|path| path.metadata().unwrap().len()).sum();
    assert_eq!(status["stored_bytes"], stored);
    let listed = user.run(&["profile", "list", "--json"]).await.document();
    assert_eq!(listed, Value::Array(vec![status]));
}

#[tokio::test]
async fn no_key_is_made_where_none_can_be_kept_and_never_a_second_one() {
    let user = User::new();
    let without = user.run(&["profile", "create", "work", "--json"]).await;
    assert_eq!(refused(&without), (8, "no_keyring".into()));
    assert_eq!(files(&data(&user).join("profiles")), Vec::<std::path::PathBuf>::new());

    let first = profile(&user, &["create", "work"]).await.document();
    assert_eq!(first["key"]["made"], true);
    let second = profile(&user, &["create", "play"]).await.document();
    assert_eq!(second["key"]["made"], false);
    assert_eq!(refused(&profile(&user, &["create", "work"]).await), (8, "profile_exists".into()));

    let sealed = data(&user).join("secrets.sealed");
    let (before, count) = (fs::read(&sealed).unwrap(), files(&data(&user).join("profiles")).len());
    let wrong = profile_with(&user, "another one\n", &["create", "more"]).await;
    assert_eq!(refused(&wrong), (8, "wrong_passphrase".into()));
    assert_eq!(refused(&profile_with(&user, "x\n", &["sync", "work"]).await), (8, "wrong_passphrase".into()));

    // The key is gone: the profiles that it made are named, and nothing takes its place.
    fs::remove_file(&sealed).unwrap();
    assert_eq!(refused(&profile(&user, &["create", "more"]).await), (8, "account_key_missing".into()));
    assert_eq!(refused(&profile(&user, &["sync", "work"]).await), (8, "account_key_missing".into()));
    assert!(!sealed.exists());

    // Somebody else's key in its place opens nothing, and makes nothing.
    let other = User::new();
    profile(&other, &["create", "theirs"]).await.succeeded();
    fs::copy(data(&other).join("secrets.sealed"), &sealed).unwrap();
    assert_eq!(refused(&profile(&user, &["sync", "work"]).await), (8, "wrong_key".into()));
    assert_eq!(refused(&profile(&user, &["create", "more"]).await), (8, "wrong_key".into()));
    fs::write(&sealed, before).unwrap();
    profile(&user, &["sync", "work"]).await.succeeded();
    assert_eq!(
        files(&data(&user).join("profiles")).iter().filter(|path| path.ends_with("profile.json")).count(),
        2
    );
    assert!(files(&data(&user).join("profiles")).len() >= count);
}

#[tokio::test]
async fn syncing_again_changes_nothing_and_a_change_is_one_more_generation() {
    let user = User::new();
    let source = make_source(&user);
    profile(&user, &["create", "work", "--from", &source]).await.succeeded();
    let again = profile(&user, &["sync", "work"]).await.document();
    assert_eq!((&again["changed"], &again["generation"]), (&Value::Bool(false), &1.into()));
    assert_eq!(again["sealed"]["from"], *source, "the directory is remembered");

    fs::write(user.file("source/Default/Bookmarks"), "changed").unwrap();
    let before = objects(&user);
    let dry = profile(&user, &["sync", "work", "--dry-run"]).await.document();
    assert_eq!((&dry["sealed"]["changed"], &dry["generation"]), (&Value::Bool(true), &1.into()));
    assert_eq!(objects(&user), before, "a dry run keeps nothing");
    let changed = profile(&user, &["sync", "work"]).await.document();
    assert_eq!((&changed["changed"], &changed["generation"]), (&Value::Bool(true), &2.into()));
    assert!(changed["sealed"]["sealed_bytes"].as_u64().unwrap() < 50_000, "only what changed: {changed}");
    assert_eq!(profile(&user, &["sync", "work"]).await.document()["changed"], false);
    let history = user.run(&["profile", "history", "work", "--json"]).await.document();
    let current: Vec<_> = history.as_array().unwrap().iter().map(|one| one["current"].clone()).collect();
    assert_eq!(current, [false, true]);
}

#[tokio::test]
async fn a_source_that_is_none_makes_no_profile() {
    let user = User::new();
    let source = make_source(&user);
    fs::create_dir(user.file("empty")).unwrap();
    for (from, code) in [
        ("empty", "no_browser_profile"),
        ("source/Default", "no_browser_profile"),
        ("nowhere", "no_source"),
        ("source/Last Version", "no_source"),
    ] {
        let ended = profile(&user, &["create", "work", "--from", from]).await;
        assert_eq!(refused(&ended), (8, code.into()), "{from}");
    }
    let inner = profile(&user, &["create", "work", "--from", "source/Default"]).await.error().2;
    assert!(inner["hint"].as_str().unwrap().contains(&source), "{inner}");
    assert_eq!(files(&data(&user)), Vec::<std::path::PathBuf>::new(), "no key was made either");
}

#[tokio::test]
async fn an_export_is_what_was_sealed_and_overwrites_nothing() {
    let user = User::new();
    let source = make_source(&user);
    profile(&user, &["create", "work", "--from", &source]).await.succeeded();
    fs::write(user.file("source/Default/Bookmarks"), "changed").unwrap();
    profile(&user, &["sync", "work"]).await.succeeded();
    assert_eq!(profile(&user, &["export", "work", "deep/now"]).await.document()["generation"], 2);
    profile(&user, &["export", "work", "first", "--at", "1"]).await.succeeded();
    assert_eq!(fs::read(user.file("deep/now/Default/Bookmarks")).unwrap(), b"changed");
    assert_eq!(fs::read(user.file("first/Default/Bookmarks")).unwrap(), PLANTED.as_bytes());
    let log = "Default/Local Storage/leveldb/000003.log";
    assert_eq!(
        fs::read(user.file("first").join(log)).unwrap(),
        fs::read(user.file("source").join(log)).unwrap()
    );
    assert_eq!(files(&user.file("first")).len(), 5);
    assert_eq!(refused(&profile(&user, &["export", "work", "first"]).await), (8, "not_empty".into()));
    assert_eq!(
        refused(&profile(&user, &["export", "work", "x", "--at", "9"]).await),
        (8, "no_generation".into())
    );
    let left: Vec<_> = fs::read_dir(user.home()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("export")), "{left:?}");
}

#[tokio::test]
async fn damage_is_found_named_and_never_built_upon() {
    let user = User::new();
    let source = make_source(&user);
    profile(&user, &["create", "work", "--from", &source]).await.succeeded();
    let first = objects(&user);
    fs::write(user.file("source/Default/Bookmarks"), "changed").unwrap();
    profile(&user, &["sync", "work"]).await.succeeded();
    let whole = profile(&user, &["verify", "work"]).await.document();
    assert_eq!(whole["objects"], objects(&user).len());

    // The head of the second generation: the first is still whole.
    let history = user.run(&["profile", "history", "work", "--json"]).await.document();
    let head = history[1]["head"].as_str().unwrap();
    let path = objects(&user).into_iter().find(|path| path.ends_with(head)).unwrap();
    let good = fs::read(&path).unwrap();
    fs::write(&path, b"damage").unwrap();
    let (exit, code, error) = profile(&user, &["verify", "work"]).await.error();
    assert_eq!((exit, code.as_str()), (8, "profile_damaged"));
    assert!(error["hint"].as_str().unwrap().contains("generation 1 is whole"), "{error}");
    assert_eq!(refused(&profile(&user, &["sync", "work"]).await), (8, "object_damaged".into()));
    profile(&user, &["export", "work", "rescued", "--at", "1"]).await.succeeded();
    fs::write(&path, good).unwrap();

    // The largest object of the first generation holds files of both.
    let pack = first.iter().max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let mut bytes = fs::read(pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(pack, bytes).unwrap();
    let (_, _, error) = profile(&user, &["verify", "work"]).await.error();
    let generations = error["details"]["generations"].as_array().unwrap();
    assert!(generations.iter().all(|generation| generation["whole"] == false), "{error}");
    assert!(generations[0]["problems"][0]["files"].as_array().unwrap().len() > 1, "{error}");
    assert_eq!(refused(&profile(&user, &["export", "work", "broken"]).await), (8, "object_damaged".into()));
    assert!(!user.file("broken").exists());
}

#[tokio::test]
async fn another_process_that_hangs_on_the_profile_is_named() {
    let user = User::new();
    let source = make_source(&user);
    profile(&user, &["create", "work", "--from", &source]).await.succeeded();
    fs::write(user.file("source/Default/Bookmarks"), "changed").unwrap();
    let lock = files(&data(&user).join("profiles")).into_iter().find(|path| path.ends_with("lock")).unwrap();
    let held = File::open(lock).unwrap();
    held.lock().unwrap();
    assert_eq!(refused(&profile(&user, &["sync", "work"]).await), (8, "profile_busy".into()));
    drop(held);
    assert_eq!(profile(&user, &["sync", "work"]).await.document()["generation"], 2);
}

#[tokio::test]
async fn names_change_and_a_deletion_is_meant() {
    let user = User::new();
    for name in ["work", "play"] {
        profile(&user, &["create", name]).await.succeeded();
    }
    let rename = |from, to| ["profile", "rename", from, to, "--json"];
    assert_eq!(refused(&user.run(&rename("work", "play")).await), (8, "profile_exists".into()));
    assert_eq!(refused(&user.run(&rename("nobody", "x")).await), (8, "no_profile".into()));
    user.run(&rename("work", "job")).await.succeeded();
    profile(&user, &["sync", "job"]).await.succeeded();
    assert_eq!(refused(&user.run(&["profile", "delete", "job", "--json"]).await), (2, "confirm".into()));
    user.run(&["profile", "delete", "job", "--yes", "--json"]).await.succeeded();
    let listed = user.run(&["profile", "list", "--json"]).await.document();
    let names: Vec<_> = listed.as_array().unwrap().iter().map(|one| &one["profile"]).collect();
    assert_eq!(names, ["play"]);
    let offered = user.with("COMPLETE", "fish");
    for words in [&["connect", "--profile", ""][..], &["profile", "sync", "pl"]] {
        let ended = offered.run(&[&["--", "cbrowse"], words].concat()).await;
        assert_eq!(ended.stdout.trim(), "play", "{words:?}");
    }
}

#[tokio::test]
async fn the_desktops_keyring_keeps_the_key() {
    let user = User::new();
    let binary = env!("CARGO_BIN_EXE_cbrowse");
    let script = format!(
        "printf pw | gnome-keyring-daemon --unlock --components=secrets >/dev/null 2>&1 || exit 90
         {binary} profile create work --json && {binary} profile create play --json && {binary} profile verify work --json"
    );
    let output = Command::new("dbus-run-session")
        .args(["--", "sh", "-c", &script])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", user.home())
        .env("XDG_RUNTIME_DIR", user.home())
        .output()
        .await
        .unwrap();
    let ended = ended(output);
    ended.succeeded();
    let lines: Vec<Value> = ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["key"]["made"], &lines[1]["key"]["made"]), (&true.into(), &false.into()));
    assert_eq!(lines[0]["key"]["kept_in"], "the desktop's keyring");
    assert!(!data(&user).join("secrets.sealed").exists());
    // The keyring is gone, and the key with it: no other is made, not even with a passphrase at hand.
    assert_eq!(refused(&profile(&user, &["create", "more"]).await), (8, "keyring_gone".into()));
}
