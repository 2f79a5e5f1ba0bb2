//! Older versions: compared, made current again, and carried as a sealed file to other machines and people.

use std::{fs, process::Stdio};

use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, process::Command};

use crate::{
    profile_sealing::{data, files, holding, make_source, objects, planted, profile, refused},
    user::User,
};

/// A profile of two generations; the bookmarks of the first hold [`planted`].
async fn two_generations(user: &User) {
    let source = make_source(user);
    profile(user, &["create", "work", "--from", &source]).await.succeeded();
    fs::write(user.file("source/Default/Bookmarks"), "changed").unwrap();
    let site = user.file("source/Default/IndexedDB/https_example.org_0.indexeddb.leveldb");
    fs::create_dir_all(&site).unwrap();
    fs::write(site.join("CURRENT"), "MANIFEST-000001").unwrap();
    profile(user, &["sync", "work"]).await.succeeded();
}

fn parts(document: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let changes = document["changes"].as_array().unwrap();
    changes.iter().map(|change| (text(&change["part"]), text(&change["change"]))).collect()
}

fn of(parts: &[(&str, &str)]) -> Vec<(String, String)> {
    parts.iter().map(|(part, change)| ((*part).to_owned(), (*change).to_owned())).collect()
}

#[tokio::test]
async fn versions_are_compared_with_each_other_and_with_the_directory() {
    let user = User::new();
    two_generations(&user).await;
    let between = profile(&user, &["diff", "work", "1", "2"]).await.document();
    assert_eq!(parts(&between), of(&[("bookmarks", "changed"), ("site_data", "added")]));
    assert_eq!(between["changes"][1]["site"], "https://example.org");
    assert_eq!((&between["before"]["generation"], &between["after"]["generation"]), (&json!(1), &json!(2)));
    let back = profile(&user, &["diff", "work", "2", "1"]).await.document();
    assert_eq!(parts(&back), of(&[("bookmarks", "changed"), ("site_data", "removed")]));
    let stored = objects(&user);
    let directory = profile(&user, &["diff", "work"]).await.document();
    assert_eq!((parts(&directory), &directory["after"]["generation"]), (Vec::new(), &Value::Null));
    fs::write(user.file("source/Default/Bookmarks"), "changed again").unwrap();
    let directory = profile(&user, &["diff", "work"]).await.document();
    assert_eq!(parts(&directory), of(&[("bookmarks", "changed")]));
    assert_eq!(directory["changes"][0]["after"], 13);
    assert_eq!(objects(&user), stored, "nothing is kept of it");
    assert_eq!(refused(&profile(&user, &["diff", "work", "7"]).await), (8, "no_version".into()));
}

#[tokio::test]
async fn an_older_version_is_restored_when_it_is_meant_and_the_newer_one_stays() {
    let user = User::new();
    two_generations(&user).await;
    let restore = |more: &'static [&'static str]| [&["restore", "work", "--at", "1"], more].concat();
    assert_eq!(refused(&profile(&user, &restore(&[])).await), (2, "confirm".into()));
    let dry = profile(&user, &restore(&["--dry-run"])).await.document();
    assert_eq!((&dry["changed"], &dry["generation"]), (&json!(false), &json!(2)));
    assert_eq!(parts(&dry), of(&[("bookmarks", "changed"), ("site_data", "removed")]));
    let before = objects(&user).len();
    let restored = profile(&user, &restore(&["--yes"])).await.document();
    assert_eq!((&restored["was"], &restored["generation"]), (&json!(2), &json!(3)));
    assert_eq!(objects(&user).len(), before + 1, "a head and nothing else");
    profile(&user, &["export", "work", "out"]).await.succeeded();
    assert_eq!(fs::read(user.file("out/Default/Bookmarks")).unwrap(), planted().as_bytes());
    let history = user.run(&["profile", "history", "work", "--json"]).await.document();
    let generations: Vec<_> =
        history.as_array().unwrap().iter().map(|one| one["generation"].clone()).collect();
    assert_eq!(generations, [1, 2, 3]);
    let again = profile(&user, &restore(&["--yes"])).await.document();
    assert_eq!((&again["changed"], &again["generation"]), (&json!(false), &json!(3)));
    profile(&user, &["restore", "work", "--at", "2", "--yes"]).await.succeeded();
    profile(&user, &["verify", "work"]).await.succeeded();
    assert_eq!(
        refused(&profile(&user, &["restore", "work", "--at", "1a2b3c4d", "--yes"]).await),
        (8, "no_version".into())
    );
    // The directory has not what is current now: it is not sealed over it by itself.
    let synced = profile(&user, &["sync", "work"]).await.document();
    assert_eq!(synced["generation"], 4, "{synced}");
}

/// The command with the sealed file's passphrase on descriptor 3 and the user's own on 0.
async fn with_file_passphrase(user: &User, passphrase: &str, arguments: &str) -> (Option<i32>, Value) {
    fs::write(user.file("passphrase"), passphrase).unwrap();
    let script = format!(
        "exec \"$0\" profile {arguments} --file-passphrase-fd 3 --passphrase-fd 0 --json 3<passphrase"
    );
    let mut child = Command::new("sh")
        .args(["-c", &script, env!("CARGO_BIN_EXE_cbrowse")])
        .env_clear()
        .env("HOME", user.home())
        .env("XDG_RUNTIME_DIR", user.home())
        .current_dir(user.home())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"own passphrase\n").await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    let text = if output.status.success() { output.stdout } else { output.stderr };
    let text = String::from_utf8(text).unwrap();
    (output.status.code(), serde_json::from_str(text.lines().last().unwrap_or("null")).unwrap())
}

#[tokio::test]
async fn a_sealed_file_is_the_same_profile_on_another_machine_of_the_same_user() {
    let user = User::new();
    two_generations(&user).await;
    let written = profile(&user, &["export", "work", "--sealed", "one.file", "--at", "1"]).await.document();
    let bytes = fs::read(user.file("one.file")).unwrap();
    assert_eq!(written["sealed_bytes"], bytes.len());
    for readable in [planted(), "Bookmarks", "leveldb"] {
        assert!(!bytes.windows(readable.len()).any(|window| window == readable.as_bytes()), "{readable}");
    }
    assert_eq!(
        refused(&profile(&user, &["export", "work", "--sealed", "one.file"]).await),
        (8, "file_exists".into())
    );
    // Here it is the next generation of what it is, and of nothing else.
    profile(&user, &["create", "play"]).await.succeeded();
    assert_eq!(
        refused(&profile(&user, &["import", "play", "--from", "one.file"]).await),
        (8, "another_profile".into())
    );
    assert_eq!(
        refused(&profile(&user, &["import", "new", "--from", "one.file"]).await),
        (8, "another_profile".into())
    );
    let dry = profile(&user, &["import", "work", "--from", "one.file", "--dry-run"]).await.document();
    assert_eq!(dry["outcome"], "dry_run");
    let next = profile(&user, &["import", "--from", "one.file"]).await.document();
    assert_eq!((&next["profile"], &next["generation"]), (&json!("work"), &json!(3)));
    let again = profile(&user, &["import", "work", "--from", "one.file"]).await.document();
    assert_eq!(again["outcome"], "unchanged");

    // The other machine has the same key, and never saw the profile.
    let other = User::new();
    fs::create_dir_all(data(&other)).unwrap();
    fs::copy(data(&user).join("secrets.sealed"), data(&other).join("secrets.sealed")).unwrap();
    fs::write(other.file("one.file"), &bytes).unwrap();
    assert_eq!(refused(&profile(&other, &["import", "--from", "one.file"]).await), (2, "no_name".into()));
    let received = profile(&other, &["import", "job", "--from", "one.file"]).await.document();
    assert_eq!((&received["outcome"], &received["generation"]), (&json!("received"), &json!(1)));
    profile(&other, &["verify", "job"]).await.succeeded();
    profile(&other, &["export", "job", "out"]).await.succeeded();
    assert_eq!(fs::read(other.file("out/Default/Bookmarks")).unwrap(), planted().as_bytes());
    let here = user.run(&["profile", "status", "work", "--json"]).await.document();
    let there = other.run(&["profile", "status", "job", "--json"]).await.document();
    assert_eq!(here["id"], there["id"]);
    assert_eq!(holding(&data(&other), planted()), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn whoever_is_told_the_passphrase_gets_a_profile_of_their_own() {
    let user = User::new();
    two_generations(&user).await;
    fs::write(user.file("words"), "for a friend").unwrap();
    let script =
        "exec \"$0\" profile export work --sealed f --at 1 --file-passphrase-fd 3 --passphrase-fd 0 3<words";
    let mut child = Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_cbrowse")])
        .env_clear()
        .env("HOME", user.home())
        .current_dir(user.home())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(crate::user::PASSPHRASE).await.unwrap();
    assert!(child.wait().await.unwrap().success());

    let friend = User::new();
    fs::copy(user.file("f"), friend.file("f")).unwrap();
    let (code, error) = with_file_passphrase(&friend, "wrong\n", "import gift --from f").await;
    assert_eq!((code, &error["error"]["code"]), (Some(8), &json!("wrong_passphrase")));
    assert_eq!(files(&data(&friend).join("profiles")), Vec::<std::path::PathBuf>::new());
    let (code, made) = with_file_passphrase(&friend, "for a friend\n", "import gift --from f").await;
    assert_eq!(
        (code, &made["outcome"], &made["key_made"]),
        (Some(0), &json!("resealed"), &json!(true)),
        "{made}"
    );
    let (code, _) = with_file_passphrase(&friend, "x\n", "verify gift").await;
    assert_eq!(code, Some(2), "that flag belongs to sealed files");
    let (code, again) = with_file_passphrase(&friend, "for a friend\n", "import gift --from f").await;
    assert_eq!((code, &again["error"]["code"]), (Some(8), &json!("profile_exists")));
    let left: Vec<_> =
        fs::read_dir(friend.home()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("cbrowse-import")), "{left:?}");

    // Without a passphrase it is of no use to them.
    profile(&user, &["export", "work", "--sealed", "plain"]).await.succeeded();
    fs::copy(user.file("plain"), friend.file("plain")).unwrap();
    let (code, error) = with_file_passphrase(&friend, "for a friend\n", "import more --from plain").await;
    assert_eq!((code, &error["error"]["code"]), (Some(8), &json!("wrong_key")));
}

#[tokio::test]
async fn a_sealed_file_that_is_not_whole_changes_nothing() {
    let user = User::new();
    two_generations(&user).await;
    profile(&user, &["export", "work", "--sealed", "whole"]).await.succeeded();
    let whole = fs::read(user.file("whole")).unwrap();
    let before = files(&data(&user));
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    let mut newer = whole.clone();
    newer[4] = 9;
    for (bytes, code) in [
        (whole[..whole.len() - 1].to_vec(), "sealed_file_damaged"),
        (whole[..200].to_vec(), "sealed_file_damaged"),
        ([&whole[..], b"more"].concat(), "sealed_file_damaged"),
        (flipped(whole.len() / 2), "sealed_file_damaged"),
        (flipped(60), "sealed_file_damaged"),
        (flipped(0), "no_sealed_file"),
        (newer, "sealed_file_newer"),
        (Vec::new(), "no_sealed_file"),
    ] {
        fs::write(user.file("broken"), &bytes).unwrap();
        let ended = profile(&user, &["import", "work", "--from", "broken"]).await;
        assert_eq!(refused(&ended), (8, code.into()), "{} bytes", bytes.len());
    }
    assert_eq!(files(&data(&user)), before);
}

#[tokio::test]
async fn a_link_is_no_directory_to_write_a_clear_profile_to() {
    let user = User::new();
    two_generations(&user).await;
    fs::create_dir(user.file("elsewhere")).unwrap();
    std::os::unix::fs::symlink(user.file("elsewhere"), user.file("link")).unwrap();
    std::os::unix::fs::symlink(user.file("nowhere"), user.file("dangling")).unwrap();
    for link in ["link", "dangling"] {
        assert_eq!(refused(&profile(&user, &["export", "work", link]).await), (8, "not_empty".into()));
    }
    assert_eq!(fs::read_dir(user.file("elsewhere")).unwrap().count(), 0);
    assert!(!user.file("nowhere").exists());
    for version in ["../x", "../../y", "/etc/passwd"] {
        let export = ["export", "work", "out", "--at", version];
        assert_eq!(refused(&profile(&user, &export).await), (8, "no_version".into()), "{version}");
    }
}
