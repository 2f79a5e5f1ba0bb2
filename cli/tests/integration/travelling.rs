//! A profile on its way: from node to node, past a node that dies, past Ctrl-C, and unreadable wherever it lies.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use cbrowse_testkit::{
    fleet::Fleet,
    node::{Node, Options, wait_until_gone},
    process::Footprint,
};
use nix::sys::signal::Signal;

use crate::{
    site::{Site, Visit},
    user::{Ended, User},
};

/// A value that occurs nowhere by chance.
const PLANTED: &str = "9f3c1e7ab2d4486d8a50c6e1f7b3924e";
const PATIENCE: Duration = Duration::from_secs(5);

struct World {
    site: Site,
    here: Node,
    there: Node,
    user: User,
}

impl World {
    /// Two nodes whose pages may reach the site, and a user with a profile.
    async fn new() -> Self {
        let (site, fleet) = (Site::start(PLANTED).await, Fleet::new().unwrap());
        let start = |id, region| Node::start(Options::of(&fleet, id, region).with("--allow", site.rule()));
        let (here, there) = tokio::join!(start("here", "eu-central"), start("there", "us-east"));
        let (here, there) = (here.unwrap(), there.unwrap());
        let user = User::of(&fleet).await.knowing(&[&here, &there]);
        user.run(&["profile", "create", "work", "--passphrase-fd", "0"]).await.succeeded();
        Self { site, here, there, user }
    }

    fn connect<'a>(url: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        [&["connect", url, "--profile", "work", "--passphrase-fd", "0"][..], more].concat()
    }

    /// Visits a page on this node, and comes home.
    async fn visit_on(&mut self, node: &str, page: u32) -> (Visit, Ended) {
        let url = self.site.url(page);
        let more = ["--node", node, "--view", "none", "--screenshot", "page.png", "--json"];
        let ended = self.user.run(&Self::connect(&url, &more)).await;
        assert_eq!(ended.document()["node"], node, "{}", ended.stderr);
        (self.site.visit(page).await, ended)
    }
}

/// Whether any file below a directory holds these bytes.
fn holds(directory: &Path, bytes: &[u8]) -> bool {
    std::fs::read_dir(directory).expect("a directory").flatten().any(|entry| {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            return holds(&path, bytes);
        }
        let content = std::fs::read(&path).expect("a file");
        content.windows(bytes.len()).any(|window| window == bytes)
    })
}

#[tokio::test]
async fn a_profile_travels_between_nodes_and_lies_sealed_on_all_of_them() {
    let mut world = World::new().await;
    for (count, node) in [(1, "here"), (2, "there"), (3, "here")] {
        let (visit, ended) = world.visit_on(node, count).await;
        assert_eq!(visit, Visit::new(count, count), "{}", ended.stderr);
    }
    for directory in [world.here.data_dir(), world.there.data_dir(), world.user.home().to_owned()] {
        assert!(!holds(&directory, PLANTED.as_bytes()), "{}", directory.display());
    }
    // It is in there, and the search would have found it.
    let export = ["profile", "export", "work", "clear", "--passphrase-fd", "0"];
    world.user.run(&export).await.succeeded();
    assert!(holds(world.user.home(), PLANTED.as_bytes()));
}

#[tokio::test]
async fn ctrl_c_comes_back_within_a_second_and_the_next_command_takes_the_save_home() {
    let mut world = World::new().await;
    let url = world.site.url(1);
    let mut running =
        world.user.start(&World::connect(&url, &["--view", "web", "--no-open", "--node", "here"])).await;
    running.until("open this file in your browser").await;
    assert_eq!(world.site.visit(1).await, Visit::new(1, 1));
    running.signal(Signal::SIGINT);
    let asked = Instant::now();
    let ended = running.end().await;
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}\n{}", asked.elapsed(), ended.stderr);
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    let synced =
        world.user.run(&["profile", "sync", "work", "--passphrase-fd", "0", "--json"]).await.document();
    assert_eq!(
        (&synced["taken_home"][0]["node"], &synced["generation"]),
        (&"here".into(), &1.into()),
        "{synced}"
    );
    // On the other node, so that only what came home can count.
    let (visit, ended) = world.visit_on("there", 2).await;
    assert_eq!(visit, Visit::new(2, 2), "{}", ended.stderr);
}

#[tokio::test]
async fn a_session_whose_node_dies_goes_on_at_the_next_with_profile_and_page() {
    let mut world = World::new().await;
    assert_eq!(world.visit_on("here", 1).await.0, Visit::new(1, 1));
    let url = world.site.url(2);
    let mut running = world.user.start(&World::connect(&url, &["--view", "web", "--no-open"])).await;
    let first = running.until("connected to ").await;
    assert_eq!(world.site.visit(2).await, Visit::new(2, 2));
    let (lost, next) = if first.starts_with("here ") {
        (&mut world.here, "there (us-east)")
    } else {
        (&mut world.there, "here (eu-central)")
    };
    let everything = lost.footprint();
    lost.kill();
    let moved = running.until("moved to ").await;
    assert!(moved.starts_with(next), "{moved}");
    // The page is loaded again, by a browser that knows what the last save knew; a slow test may see a save of this session.
    let visit = world.site.visit(2).await;
    assert!([Visit::new(2, 1), Visit::new(2, 2)].contains(&visit), "{visit:?}");
    wait_until_gone(&everything).await.unwrap();
    running.signal(Signal::SIGINT);
    assert_eq!(running.end().await.code, Some(130));
}

#[tokio::test]
async fn the_demonstration_runs_and_leaves_nothing_but_pictures() {
    let user = User::new();
    let running = user.start(&["demo", "--json", "--pictures", "pictures"]).await;
    let everything = until_browsing(running.pid()).await;
    let ended = running.end().await;
    let facts = ended.document();
    assert_ne!(facts["killed"], facts["moved_to"], "{facts}");
    for figure in ["first_picture_ms", "moved_ms", "sealed_bytes", "elapsed_ms"] {
        assert!(facts[figure].as_f64().is_some_and(|value| value > 0.0), "{figure} of {facts}");
    }
    for name in ["1-first-visit.png", "2-second-visit.png", "3-after-the-loss.png"] {
        crate::connecting::Picture::read(&user.file("pictures").join(name));
    }
    wait_until_gone(&everything).await.unwrap();
    assert_eq!(std::fs::read_dir(user.temporary_dir()).unwrap().count(), 0);
}

/// Everything below a process, once a browser is among it.
async fn until_browsing(pid: u32) -> Footprint {
    let deadline = Instant::now() + PATIENCE * 10;
    loop {
        let footprint = Footprint::of(pid);
        if footprint.count("chromium") > 0 {
            return footprint;
        }
        assert!(Instant::now() < deadline, "no browser: {:?}", footprint.processes());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
