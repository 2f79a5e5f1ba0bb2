//! Who may write a profile: two real `connect` at once, a look without keeping anything, an older version, a node without room.

#![expect(clippy::unwrap_used, reason = "a test's helpers are tests")]

use cbrowse_testkit::{
    fleet::Fleet,
    node::{Node, Options},
};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{
    profile_sealing::{data, make_source},
    site::Site,
    user::{Ended, Running, User},
};

const PLANTED: &str = "4be1a97c02d84f10a6f35d7e9c1b8a64";

struct World {
    fleet: Fleet,
    site: Site,
    node: Node,
    user: User,
}

impl World {
    async fn new() -> Self {
        let (site, fleet) = (Site::start(PLANTED).await, Fleet::new().unwrap());
        let options = Options::of(&fleet, "here", "eu-central").with("--allow", site.rule());
        let node = Node::start(options).await.unwrap();
        let user = User::of(&fleet).await.knowing(&[&node]);
        user.run(&["profile", "create", "work", "--passphrase-fd", "0"]).await.succeeded();
        Self { fleet, site, node, user }
    }

    /// A visit of a page that ends with its picture.
    async fn visit(&self, page: u32, profile: &str, more: &[&str]) -> Ended {
        let url = self.site.url(page);
        let fixed = ["connect", &url, "--profile", profile, "--passphrase-fd", "0", "--json"];
        let shot = ["--view", "none", "--screenshot", "page.png"];
        self.user.run(&[&fixed[..], &shot, more].concat()).await
    }

    async fn stay(&self, page: u32) -> Running {
        let url = self.site.url(page);
        let fixed = ["connect", &url, "--profile", "work", "--passphrase-fd", "0"];
        let mut running = self.user.start(&[&fixed[..], &["--view", "web", "--no-open"]].concat()).await;
        running.until("Ctrl-C ends the session").await;
        running
    }

    async fn history(&self) -> Vec<Value> {
        let told = self.user.run(&["profile", "history", "work", "--json"]).await.document();
        let list = if told.is_array() { told.clone() } else { told["generations"].clone() };
        list.as_array().unwrap_or_else(|| panic!("{told}")).clone()
    }
}

#[tokio::test]
async fn two_clients_at_once_lose_nothing() {
    let mut world = World::new().await;
    let first = world.stay(1).await;
    assert_eq!(world.site.visit(1).await.by_cookie, 1);

    let (exit, code, error) = world.visit(2, "work", &[]).await.error();
    assert_eq!((exit, code.as_str()), (8, "profile_in_use"), "{error}");
    let told = error.to_string();
    assert!(told.contains("--read-only") && told.contains("--take-over") && told.contains("here"), "{told}");
    assert_eq!(error["details"]["process"], first.pid());

    let (exit, code, error) = world
        .user
        .run(&["profile", "delete", "work", "--yes", "--passphrase-fd", "0", "--json"])
        .await
        .error();
    assert_eq!((exit, code.as_str()), (8, "profile_in_use"), "{error}");

    let looked = world.visit(2, "work", &["--read-only"]).await;
    assert_eq!((&looked.document()["kept"], &looked.document()["saving"]), (&false.into(), &false.into()));
    world.site.visit(2).await;

    let taken = world.visit(3, "work", &["--take-over"]).await;
    assert_eq!(taken.document()["kept"], true, "{}", taken.stderr);
    let winner = world.site.visit(3).await.by_cookie;

    first.signal(Signal::SIGINT);
    first.end().await;
    world.user.run(&["profile", "sync", "work", "--passphrase-fd", "0"]).await.succeeded();
    let history = world.history().await;
    let kept = |record: &&Value| !record["kept_as"].is_null();
    assert!(history.iter().filter(kept).count() >= 1, "the first one's save is beside: {history:?}");

    // What is current is the second one's, and nobody's right is left behind.
    world.visit(4, "work", &[]).await.succeeded();
    assert_eq!(world.site.visit(4).await.by_cookie, winner + 1);
}

#[tokio::test]
async fn an_older_version_is_opened_to_be_thrown_away() {
    let mut world = World::new().await;
    for page in [1, 2] {
        world.visit(page, "work", &[]).await.succeeded();
        assert_eq!(world.site.visit(page).await.by_cookie, page);
    }
    let before = world.history().await;
    let (exit, code, error) = world.visit(3, "work@1", &[]).await.error();
    assert_eq!((exit, code.as_str()), (2, "needs_discard"), "{error}");
    for version in ["work@99", "work@../../x", "work@/etc/passwd"] {
        assert_eq!(world.visit(3, version, &["--discard"]).await.error().1, "no_version", "{version}");
    }

    world.visit(3, "work@1", &["--discard"]).await.succeeded();
    assert_eq!(world.site.visit(3).await.by_cookie, 2, "as it was after the first visit");
    world.visit(4, "work", &["--discard"]).await.succeeded();
    assert_eq!(world.site.visit(4).await.by_cookie, 3);
    world.user.run(&["profile", "sync", "work", "--passphrase-fd", "0"]).await.succeeded();
    assert_eq!(world.history().await, before, "nothing of either was kept");
}

#[tokio::test]
async fn a_session_without_room_for_the_profile_says_what_is_safe() {
    let mut world = World::new().await;
    // More than the smallest session disk, and nothing that compresses away.
    let source = world.user.file("source");
    let directory = source.join("Default/IndexedDB/https_harbour.example_0.indexeddb.leveldb");
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(source.join("Default/Preferences"), "{}").unwrap();
    std::fs::File::create(directory.join("000003.log")).unwrap().set_len(120 << 20).unwrap();
    let source = source.to_str().unwrap().to_owned();
    let small = Options::of(&world.fleet, "small", "eu-central").with("--session-disk", 128);
    let node = Node::start(small).await.unwrap();
    world.user = world.user.knowing(&[&node]);
    let create = ["profile", "create", "large", "--from", &source, "--passphrase-fd", "0"];
    world.user.run(&create).await.succeeded();
    let (exit, code, error) = world.visit(1, "large", &[]).await.error();
    assert_eq!((exit, code.as_str()), (9, "session_ended"), "{error}");
    let told = error.to_string();
    for words in ["room", "unchanged", "--session-disk", "safe on this machine"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    world.user.run(&["profile", "verify", "large", "--passphrase-fd", "0"]).await.succeeded();
    drop(world.node);
}

#[tokio::test]
async fn a_last_save_that_the_node_has_no_room_for_is_no_success() {
    let mut world = World::new().await;
    let small = Options::of(&world.fleet, "small", "us-east")
        .with("--profile-quota", "4K")
        .with("--allow", world.site.rule());
    let small = Node::start(small).await.unwrap();
    world.user = world.user.knowing(&[&world.node, &small]);
    let (exit, code, error) = world.visit(1, "work", &["--node", "small"]).await.error();
    assert_eq!((exit, code.as_str()), (8, "save_lost"), "{error}");
    let details = &error["details"];
    assert_eq!((&details["save"], &details["saving"]), (&"lost".into(), &false.into()), "{error}");
    let told = error.to_string();
    for words in ["small could not save", "safe on this machine", "--node"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    assert_eq!(world.site.visit(1).await.by_cookie, 1);
    let kept = world.visit(2, "work", &["--node", "here"]).await.document();
    assert_eq!((&kept["save"], world.site.visit(2).await.by_cookie), (&"home".into(), 1), "{kept}");
}

#[tokio::test]
async fn a_save_that_is_refused_at_home_waits_on_its_node() {
    let mut world = World::new().await;
    let profiles = std::fs::read_dir(data(&world.user).join("profiles")).unwrap();
    let is_profile = |path: &std::path::PathBuf| path.join("profile.json").exists();
    let profile = profiles.flatten().map(|entry| entry.path()).find(is_profile).unwrap();
    // A home that takes no object, as a disk that is full: nothing can be made below these.
    let in_the_way: Vec<_> =
        (0..=255).map(|number| profile.join("objects").join(format!("{number:02x}"))).collect();
    for path in &in_the_way {
        std::fs::write(path, "").unwrap();
    }
    let (exit, code, error) = world.visit(1, "work", &[]).await.error();
    assert_eq!((exit, code.as_str()), (8, "save_refused"), "{error}");
    let details = &error["details"];
    assert_eq!((&details["save"], &details["saving"]), (&"refused".into(), &true.into()), "{error}");
    let told = error.to_string();
    for words in ["unchanged", "stays on here", "cbrowse profile sync work"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    assert_eq!(world.site.visit(1).await.by_cookie, 1);

    for path in &in_the_way {
        std::fs::remove_file(path).unwrap();
    }
    let sync = ["profile", "sync", "work", "--passphrase-fd", "0", "--json"];
    let synced = world.user.run(&sync).await.document();
    assert_eq!(synced["taken_home"][0]["node"], "here", "{synced}");
    world.visit(2, "work", &[]).await.succeeded();
    assert_eq!(world.site.visit(2).await.by_cookie, 2, "nothing was lost");
}

#[tokio::test]
async fn a_profile_of_a_newer_browser_is_not_given_to_an_older_one() {
    let world = World::new().await;
    let source = make_source(&world.user);
    std::fs::write(world.user.file("source/Last Version"), "999.0.1.2").unwrap();
    let create = ["profile", "create", "newer", "--from", &source, "--passphrase-fd", "0"];
    world.user.run(&create).await.succeeded();
    for more in [&[][..], &["--read-only"]] {
        let (exit, code, error) = world.visit(1, "newer", more).await.error();
        assert_eq!((exit, code.as_str()), (5, "no_eligible_node"), "{error}");
        let told = error.to_string();
        assert!(told.contains("is older than the profile's 999.0.1.2"), "{told}");
        assert!(told.contains("browser_too_old") && told.contains("have their operators update"), "{told}");
    }
    let found = world.user.run(&["profile", "verify", "newer", "--passphrase-fd", "0"]).await;
    found.succeeded();
}
