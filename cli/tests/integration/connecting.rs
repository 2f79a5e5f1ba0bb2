//! `cbrowse connect` on real nodes: the picture, the session's end, what it leaves behind, and Ctrl-C.

use std::{
    collections::BTreeSet,
    fs::{DirEntry, File},
    io::BufReader,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use cbrowse_testkit::{
    fleet::Fleet,
    node::{Node, Options, wait_until_gone},
};
use nix::sys::signal::Signal;

use crate::user::User;

const COLOURS: &str = "http://cbrowse.internal/colours";

/// A PNG as RGB, with its width and height.
pub(crate) struct Picture {
    width: usize,
    height: usize,
    channels: usize,
    bytes: Vec<u8>,
}

impl Picture {
    pub(crate) fn read(path: &Path) -> Self {
        let file = BufReader::new(File::open(path).expect("the picture is there"));
        let mut reader = png::Decoder::new(file).read_info().expect("a PNG");
        let mut bytes = vec![0; reader.output_buffer_size().expect("a size")];
        let info = reader.next_frame(&mut bytes).expect("a whole PNG");
        assert_eq!(info.bit_depth, png::BitDepth::Eight);
        let (width, height) = (info.width as usize, info.height as usize);
        Self { width, height, channels: info.color_type.samples(), bytes }
    }

    pub(crate) fn size(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    pub(crate) fn pixel(&self, x: usize, y: usize) -> [u8; 3] {
        let at = (y * self.width + x) * self.channels;
        self.bytes[at..at + 3].try_into().expect("three bytes")
    }
}

async fn fleet_of_one() -> (Fleet, Node, User) {
    let fleet = Fleet::new().unwrap();
    let node = Node::start(Options::of(&fleet, "fra-1", "eu-central")).await.unwrap();
    let user = User::of(&fleet).await.knowing(&[&node]);
    (fleet, node, user)
}

#[tokio::test]
async fn a_screenshot_shows_the_page_pixel_for_pixel() {
    let (_fleet, _node, user) = fleet_of_one().await;
    let arguments = ["connect", COLOURS, "--view", "none", "--screenshot", "page.png", "--size", "640x480"];
    let document = user.run(&[&arguments[..], &["--json"]].concat()).await.document();
    assert_eq!((&document["node"], &document["region"]), (&"fra-1".into(), &"eu-central".into()));
    assert!(document["session"].as_str().is_some_and(|session| !session.is_empty()), "{document}");
    assert!(document["first_picture_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{document}");

    let picture = Picture::read(&user.file("page.png"));
    assert_eq!(picture.size(), (640, 480));
    let quadrants =
        [(0, 0, [255, 0, 0]), (320, 0, [0, 255, 0]), (0, 240, [0, 0, 255]), (320, 240, [255, 255, 255])];
    for (left, top, colour) in quadrants {
        // The corners of each quadrant, and its middle.
        for (x, y) in [(0, 0), (319, 0), (0, 239), (319, 239), (160, 120)] {
            assert_eq!(picture.pixel(left + x, top + y), colour, "at {},{}", left + x, top + y);
        }
    }
}

/// The last connect is kept: where its time went, and why that node.
#[tokio::test]
async fn a_connect_is_explained_afterwards() {
    let (_fleet, _node, user) = fleet_of_one().await;
    let connect = ["connect", COLOURS, "--view", "none", "--screenshot", "page.png", "--json"];
    let document = user.run(&connect).await.document();
    let last = user.run(&["explain", "last", "--json"]).await.document();
    assert_eq!((&last["outcome"], &last["node"]), (&"connected".into(), &"fra-1".into()));
    assert_eq!(last["choice"]["chosen"], "fra-1");
    let stages = last["stages"].as_array().expect("stages");
    let names: Vec<&str> = stages.iter().filter_map(|stage| stage["stage"].as_str()).collect();
    for stage in ["prepare", "catalog", "probe", "pick", "tls", "seat", "browser"] {
        assert!(names.contains(&stage), "{stage} is missing: {names:?}");
    }
    let number = |value: &serde_json::Value| value.as_f64().expect("a number");
    let sum: f64 = stages.iter().map(|stage| number(&stage["duration_ms"])).sum();
    assert!((sum - number(&last["total_ms"])).abs() < 0.1, "{last}");
    // Both were told when the picture came; a loaded machine gets to one a little after the other.
    assert!(number(&last["total_ms"]) > number(&document["first_picture_ms"]) / 2.0, "{last} {document}");
    let ended = user.run(&["explain", "last"]).await;
    assert!(ended.stdout.contains("connected to fra-1 in eu-central"), "{}", ended.stdout);
    assert!(ended.stdout.contains("\nseat"), "{}", ended.stdout);
}

/// Nothing of a blank page loads or changes; it is there once its tab is.
#[tokio::test]
async fn a_blank_page_is_pictured_without_waiting_for_what_never_comes() {
    let (_fleet, _node, user) = fleet_of_one().await;
    let connect = ["connect", "about:blank", "--view", "none", "--screenshot", "page.png", "--json"];
    let document = user.run(&connect).await.document();
    // A page that never says it has loaded is pictured after 30 s.
    assert!(document["first_picture_ms"].as_f64().is_some_and(|ms| ms < 29_000.0), "{document}");
    assert_eq!(Picture::read(&user.file("page.png")).pixel(5, 5), [255, 255, 255]);
}

/// Every path below a directory.
fn paths(directory: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(directory).expect("a directory").flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(paths(&entry.path()));
        }
        found.insert(entry.path());
    }
    found
}

/// What the node's user owns where every program may write. Nothing, where that is the user of this test.
fn strewn(node: &Node) -> BTreeSet<PathBuf> {
    let own = nix::unistd::geteuid().as_raw();
    let owner = std::fs::metadata(node.data_dir()).expect("the node's directory").uid();
    let entries =
        ["/tmp", "/var/tmp", "/dev/shm"].into_iter().filter_map(|place| std::fs::read_dir(place).ok());
    let of_node = |entry: &DirEntry| entry.metadata().is_ok_and(|metadata| metadata.uid() == owner);
    entries
        .flat_map(Iterator::flatten)
        .filter(|entry| owner != own && of_node(entry))
        .map(|entry| entry.path())
        .collect()
}

#[tokio::test]
async fn a_session_that_ends_leaves_no_process_and_no_directory() {
    let (_fleet, node, user) = fleet_of_one().await;
    let before = (paths(&node.data_dir()), strewn(&node));
    let session = node.footprint();
    let mut running = user.start(&["connect", COLOURS, "--view", "web", "--no-open"]).await;
    running.until("open this file in your browser").await;
    assert!(!session.left().is_empty());
    running.signal(Signal::SIGINT);
    let asked = Instant::now();
    assert_eq!(running.end().await.code, Some(130));
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());

    wait_until_gone(&session).await.unwrap();
    assert_eq!((paths(&node.data_dir()), strewn(&node)), before);
    assert_eq!(paths(&node.temporary_dir()), BTreeSet::new());
}

#[tokio::test]
async fn a_server_that_is_killed_takes_every_session_with_it() {
    let (_fleet, mut node, user) = fleet_of_one().await;
    let before = strewn(&node);
    let mut running = user.start(&["connect", COLOURS, "--view", "web", "--no-open"]).await;
    running.until("open this file in your browser").await;
    let everything = node.footprint();
    assert!(everything.count("chromium") > 0);
    node.kill();
    wait_until_gone(&everything).await.unwrap();
    assert_eq!(strewn(&node), before);
    assert_eq!(paths(&node.temporary_dir()), BTreeSet::new());
    // There is no other node to carry on at.
    let ended = running.end().await;
    assert_eq!(ended.code, Some(9), "{}", ended.stderr);
}
