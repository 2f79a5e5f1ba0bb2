//! Profiles that a fleet's shared store holds: several devices, uploads that are cut, stores that are full or away.

#![expect(clippy::unwrap_used, reason = "a test's helpers are tests")]

use std::{fs, path::Path, time::Duration};

use cbrowse_testkit::{
    fleet::Fleet,
    moto::{BUCKET, Moto},
    node::{Node, Options},
    relay::{Pace, Relay},
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::{
    profile_sealing::{files, holding, make_source, planted, profile},
    site::Site,
    user::{DEADLINE, User},
};

/// How often a directory is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// A node of a fleet whose profiles lie in a bucket.
async fn node_on<'a>(fleet: &'a Fleet, moto: &Moto, id: &'a str) -> Node {
    let mut options = Options::of(fleet, id, "eu-central")
        .with("--store", format!("s3://{BUCKET}/profiles"))
        .with("--store-endpoint", moto.endpoint());
    options.launcher = ["env", "AWS_ACCESS_KEY_ID=id", "AWS_SECRET_ACCESS_KEY=key"].map(str::to_owned).into();
    Node::start(options).await.unwrap()
}

/// The same person at another machine: the same token and the same account key, and nothing else.
async fn another_device(fleet: &Fleet, first: &User, nodes: &[&Node]) -> User {
    let second = User::of(fleet).await.knowing(nodes);
    let sealed = find(first.home(), "secrets.sealed");
    let target = second.home().join(sealed.strip_prefix(first.home()).unwrap());
    fs::create_dir_all(target.parent().unwrap()).unwrap();
    fs::copy(&sealed, &target).unwrap();
    second
}

fn find(directory: &Path, name: &str) -> std::path::PathBuf {
    files(directory).into_iter().find(|path| path.ends_with(name)).unwrap()
}

/// Bytes that neither compress nor repeat.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes
}

fn objects(node: &Node) -> usize {
    let is_object =
        |path: &std::path::PathBuf| path.parent().is_some_and(|folder| folder.ends_with("objects"));
    let whole = |path: &std::path::PathBuf| path.extension().is_none();
    files(&node.data_dir().join("profiles")).iter().filter(|path| is_object(path) && whole(path)).count()
}

async fn until_objects(node: &Node, least: usize) {
    let arriving = async {
        while objects(node) < least {
            sleep(LOOK).await;
        }
    };
    timeout(DEADLINE, arriving).await.unwrap_or_else(|_| panic!("no {least} objects arrived"));
}

#[tokio::test]
async fn a_save_that_came_home_is_what_another_device_pulls() {
    let (fleet, site) = (Fleet::new().unwrap(), Site::start(planted()).await);
    let node =
        Node::start(Options::of(&fleet, "fra-1", "eu-central").with("--allow", site.rule())).await.unwrap();
    let laptop = User::of(&fleet).await.knowing(&[&node]);
    let source = make_source(&laptop);
    profile(&laptop, &["create", "work", "--from", &source]).await.succeeded();
    profile(&laptop, &["sync", "work"]).await.succeeded();
    let url = site.url(1);
    let connect = ["connect", &url, "--profile", "work", "--passphrase-fd", "0", "--json"];
    let shot = ["--view", "none", "--screenshot", "page.png"];
    let told = laptop.run(&[&connect[..], &shot].concat()).await.document();
    assert_eq!((&told["save"], &told["saving"]), (&json!("home"), &json!(false)), "{told}");
    let history = laptop.run(&["profile", "history", "work", "--json"]).await.document();
    let newest = history.as_array().unwrap().last().unwrap()["generation"].clone();
    assert!(newest.as_u64() > Some(1), "{history}");

    let desktop = another_device(&fleet, &laptop, &[&node]).await;
    let pulled = profile(&desktop, &["pull", "work", "--yes"]).await.document();
    assert_eq!((&pulled["outcome"], &pulled["generation"]), (&json!("current"), &newest), "{pulled}");
}

#[tokio::test]
async fn two_devices_share_a_profile_through_any_node_of_the_fleet() {
    let (fleet, moto) = (Fleet::new().unwrap(), Moto::start().await.unwrap());
    let (fra, nyc) = (node_on(&fleet, &moto, "fra-1").await, node_on(&fleet, &moto, "nyc-1").await);
    let laptop = User::of(&fleet).await.knowing(&[&fra]);
    let source = make_source(&laptop);
    profile(&laptop, &["create", "work", "--from", &source]).await.succeeded();
    let sent = profile(&laptop, &["sync", "work"]).await.document();
    assert_eq!(
        (&sent["sent"]["objects"], &sent["sent"]["current_there"]),
        (&json!(3), &json!(true)),
        "{sent}"
    );

    let desktop = another_device(&fleet, &laptop, &[&nyc]).await;
    let (exit, code, error) = profile(&desktop, &["pull", "work"]).await.error();
    assert_eq!((exit, code.as_str()), (2, "confirm"), "{error}");
    assert_eq!(error["details"]["generation"], 1, "{error}");
    let list = desktop.run(&["profile", "list", "--json"]).await.document();
    assert_eq!(list, json!([]), "nothing was made");
    let pulled = profile(&desktop, &["pull", "work", "--yes"]).await.document();
    assert_eq!((&pulled["outcome"], &pulled["generation"]), (&json!("current"), &json!(1)), "{pulled}");
    assert_eq!(profile(&desktop, &["verify", "work"]).await.code, Some(0));
    profile(&desktop, &["export", "work", "clear"]).await.succeeded();
    assert_eq!(holding(&desktop.file("clear"), planted()).len(), 1);
    assert_eq!(profile(&desktop, &["pull", "work"]).await.document()["outcome"], "already");

    // Both move on.
    fs::write(Path::new(&source).join("Default/Preferences"), r#"{"a":"laptop"}"#).unwrap();
    assert_eq!(profile(&laptop, &["sync", "work"]).await.document()["generation"], 2);
    let own = make_source(&desktop);
    fs::write(Path::new(&own).join("Default/Preferences"), r#"{"a":"desktop"}"#).unwrap();
    let (exit, code, error) = profile(&desktop, &["sync", "work", "--from", &own]).await.error();
    assert_eq!((exit, code.as_str()), (8, "profile_moved_on"), "{error}");
    let merged = profile(&desktop, &["pull", "work"]).await.document();
    assert_eq!(
        (&merged["outcome"], &merged["generation"], &merged["kept_generation"]),
        (&json!("merged"), &json!(3), &json!(2)),
        "{merged}"
    );
    profile(&desktop, &["sync", "work"]).await.succeeded();
    let followed = profile(&laptop, &["pull", "work"]).await.document();
    assert_eq!((&followed["outcome"], &followed["generation"]), (&json!("current"), &json!(3)), "{followed}");

    // Deleted by one, and said so to the other.
    let gone = profile(&desktop, &["delete", "work", "--yes"]).await.document();
    assert_eq!(gone["nodes"][0]["outcome"], "marked", "{gone}");
    fs::write(Path::new(&source).join("Default/Preferences"), r#"{"a":"later"}"#).unwrap();
    let (exit, code, error) = profile(&laptop, &["sync", "work", "--from", &source]).await.error();
    assert!(matches!((exit, code.as_str()), (8, "profile_deleted")), "{error}");
    assert!(error["message"].as_str().unwrap().contains("deleted"), "{error}");
    assert!(!moto.log().contains("DELETE"), "no node deletes in a shared store:\n{}", moto.log());
}

#[tokio::test]
async fn what_was_confirmed_is_not_asked_again_until_somebody_wants_to_know() {
    let fleet = Fleet::new().unwrap();
    let mut node = Node::start(Options::of(&fleet, "fra-1", "eu-central")).await.unwrap();
    let user = User::of(&fleet).await.knowing(&[&node]);
    let source = make_source(&user);
    profile(&user, &["create", "work", "--from", &source]).await.succeeded();
    let first = profile(&user, &["sync", "work"]).await.document();
    assert_eq!((&first["sent"]["confirmed"], &first["sent"]["current_there"]), (&Value::Null, &json!(true)));
    let asked = profile(&user, &["sync", "work", "--fresh"]).await.document();
    assert_eq!((&asked["sent"]["objects"], &asked["sent"]["confirmed"]), (&json!(0), &Value::Null));
    node.kill();
    let again = profile(&user, &["sync", "work"]).await.document();
    assert_eq!((&again["changed"], &again["sent"]["node"]), (&json!(false), &json!("fra-1")), "{again}");
    assert!(again["sent"]["confirmed"].as_u64().is_some(), "it says when: {again}");
    assert_ne!(profile(&user, &["sync", "work", "--fresh"]).await.code, Some(0), "nobody is there to ask");
    fs::write(Path::new(&source).join("Default/Bookmarks"), "changed").unwrap();
    assert_ne!(profile(&user, &["sync", "work"]).await.code, Some(0), "a new generation is in nobody's word");
}

#[tokio::test]
async fn an_upload_that_is_cut_goes_on_where_it_was() {
    let fleet = Fleet::new().unwrap();
    let node = Node::start(Options::of(&fleet, "fra-1", "eu-central")).await.unwrap();
    let relay = Relay::to(node.endpoint().parse().unwrap(), Pace::Free).await.unwrap();
    let user = User::of(&fleet).await.with_catalog("file:nodes.json");
    let mut record = node.record();
    record["port"] = relay.address.port().into();
    user.write_catalog(&[record]);
    let source = make_source(&user);
    let storage = Path::new(&source).join("Default/IndexedDB");
    fs::create_dir_all(&storage).unwrap();
    for number in 0..5 {
        fs::write(storage.join(format!("{number}.blob")), noise(8 << 20, 77 + number)).unwrap();
    }
    profile(&user, &["create", "work", "--from", &source]).await.succeeded();
    let would = profile(&user, &["sync", "work", "--dry-run"]).await.document();
    let all = usize::try_from(would["sent"]["objects"].as_u64().unwrap()).unwrap();
    assert!(all >= 6, "{would}");

    // Ctrl-C after the first object: it stays.
    let command = ["profile", "sync", "work", "--passphrase-fd", "0", "--json", "--limit-rate", "6M"];
    let running = user.start(&command).await;
    until_objects(&node, 1).await;
    running.signal(Signal::SIGINT);
    assert_eq!(running.end().await.code, Some(130));
    let kept = objects(&node);
    assert!((1..all).contains(&kept), "{kept} of {all}");

    // The line breaks in the middle, and comes back.
    let running = user.start(&command).await;
    until_objects(&node, kept + 1).await;
    relay.set(Pace::Broken);
    sleep(LOOK).await;
    relay.set(Pace::Free);
    let ended = running.end().await;
    let sent = ended.document();
    assert_eq!(objects(&node), all, "{sent}");
    let confirmed = usize::try_from(sent["sent"]["objects"].as_u64().unwrap()).unwrap();
    assert!(confirmed <= all - kept, "only what was missing travelled: {sent}");
    assert_eq!(profile(&user, &["sync", "work", "--fresh"]).await.document()["sent"]["objects"], 0);
}

#[tokio::test]
async fn a_store_that_is_full_or_away_says_that_the_profile_is_safe() {
    let fleet = Fleet::new().unwrap();
    let small = Node::start(Options::of(&fleet, "small", "eu-central").with("--profile-quota", "100K"))
        .await
        .unwrap();
    let user = User::of(&fleet).await.knowing(&[&small]);
    let source = make_source(&user);
    profile(&user, &["create", "work", "--from", &source]).await.succeeded();
    let (exit, code, error) = profile(&user, &["sync", "work"]).await.error();
    assert_eq!((exit, code.as_str()), (10, "quota_exceeded"), "{error}");
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("102400") && message.contains("safe on this machine as generation 1"),
        "{error}"
    );
    let left: Vec<_> = files(&small.data_dir().join("profiles"))
        .into_iter()
        .filter(|path| path.extension().is_some())
        .collect();
    assert_eq!(left, Vec::<std::path::PathBuf>::new(), "nothing half written");

    let mut moto = Moto::start().await.unwrap();
    let shared = node_on(&fleet, &moto, "shared").await;
    moto.kill();
    let user = user.knowing(&[&shared]);
    let (exit, code, error) = profile(&user, &["sync", "work"]).await.error();
    assert_eq!((exit, code.as_str()), (10, "store_unavailable"), "{error}");
    assert!(error["message"].as_str().unwrap().contains("safe on this machine as generation 1"), "{error}");
}
