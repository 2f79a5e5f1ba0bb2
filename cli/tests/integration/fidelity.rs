//! What a browser knows, after the session that learnt it ended on one node and another begins on the next: with a clean close,
//! with a browser that was killed, with a node that was killed.
//!
//! An unpacked extension with its state belongs here, too, once its files travel.

#![expect(clippy::unwrap_used, reason = "a test's helpers are tests")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use cbrowse_testkit::{
    fleet::Fleet,
    node::{Node, Options},
    process::descendants,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rusqlite::Connection;
use serde_json::Value;

use crate::{
    keepsake::{Keepsakes, everything},
    user::{Running, User},
};

/// Until what a browser holds is on the user's machine: Chromium's own 10 s for its history, an autosave, and a machine
/// that has much else to do.
const HOME_DEADLINE: Duration = Duration::from_secs(120);
/// Between two looks at it; each opens the whole profile.
const LOOK_PAUSE: Duration = Duration::from_millis(500);
/// A name that occurs in no bookmark by chance.
const BOOKMARK: &str = "quiet harbour 7c1d";
const USER_NAME: &str = "ada-5b2e";
/// "seven quiet harbours" as Chromium keeps a password without a keyring (v10: AES-128-CBC, PBKDF2 of "peanuts").
const PASSWORD: &str = "763130b373ed6ae8cf9b754300bb04da71a3669b377c780a761f49ee0726f8d29046eb";

struct World {
    site: Keepsakes,
    here: Node,
    there: Node,
    user: User,
    looks: u32,
}

impl World {
    /// Two nodes that save every second, and a user whose profile has a bookmark and a saved login.
    async fn new() -> Self {
        let (site, fleet) = (Keepsakes::start().await, Fleet::new().unwrap());
        let start = |id, region| {
            let options = Options::of(&fleet, id, region).with("--allow", site.rule());
            Node::start(options.with("--autosave", 1))
        };
        let (here, there) = tokio::join!(start("here", "eu-central"), start("there", "us-east"));
        let (here, there) = (here.unwrap(), there.unwrap());
        let user = User::of(&fleet).await.knowing(&[&here, &there]);
        let source = make_source(&user).await;
        let create = ["profile", "create", "work", "--from", &source, "--passphrase-fd", "0"];
        user.run(&create).await.succeeded();
        Self { site, here, there, user, looks: 0 }
    }

    /// A session on this node, with a page or with whatever the profile had open.
    async fn connect(&self, node: &str, page: Option<u32>) -> Running {
        let url = page.map(|page| self.site.url(page));
        let fixed = ["connect", "--profile", "work", "--passphrase-fd", "0", "--view", "web", "--no-open"];
        let place: &[&str] = if node.is_empty() { &[] } else { &["--node", node] };
        let arguments = [&fixed[..], place, &url.iter().map(String::as_str).collect::<Vec<_>>()].concat();
        let mut running = self.user.start(&arguments).await;
        // One that is refused says why.
        running.until("Ctrl-C ends the session").await;
        running
    }

    /// The profile as it is on the user's machine.
    async fn look(&mut self) -> PathBuf {
        self.looks += 1;
        let name = format!("clear-{}", self.looks);
        self.user.run(&["profile", "export", "work", &name, "--passphrase-fd", "0"]).await.succeeded();
        self.user.file(&name)
    }

    /// Waits until an autosave has brought home what is asked for.
    async fn until_home(&mut self, is_there: impl Fn(&Path) -> bool) {
        let deadline = Instant::now() + HOME_DEADLINE;
        loop {
            let directory = self.look().await;
            let found = is_there(&directory);
            fs::remove_dir_all(&directory).unwrap();
            if found {
                return;
            }
            assert!(Instant::now() < deadline, "it never came home");
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    /// Waits until everything that page `number` wrote is on the user's machine.
    async fn until_written_is_home(&mut self, number: u32) {
        let url = self.site.url(number);
        let value = number.to_string();
        self.until_home(|directory| {
            let local = below(&directory.join("Default/Local Storage/leveldb"));
            has_visited(directory, &url)
                && local.iter().any(|file| holds(file, b"kept") && holds(file, value.as_bytes()))
                && has_tab(directory, &url)
                && in_memory(directory).iter().filter(|cookie| cookie["value"] == value).count() == 5
        })
        .await;
    }

    /// Bookmark, login and history, read from the files that the last session left.
    async fn assert_files(&mut self, visited: &[u32]) {
        let directory = self.look().await;
        let bookmarks = fs::read_to_string(directory.join("Default/Bookmarks")).unwrap();
        assert!(bookmarks.contains(BOOKMARK), "{bookmarks}");
        let logins = Connection::open(directory.join("Default/Login Data")).unwrap();
        let kept: (String, Vec<u8>) = logins
            .query_row("SELECT username_value, password_value FROM logins", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .unwrap();
        assert_eq!((kept.0.as_str(), hex(&kept.1).as_str()), (USER_NAME, PASSWORD));
        for page in visited {
            assert!(has_visited(&directory, &self.site.url(*page)), "page {page} is not in the history");
        }
    }
}

/// A data directory as Chromium makes it, with a bookmark and a login in it.
async fn make_source(user: &User) -> String {
    let source = user.file("source");
    let data = format!("--user-data-dir={}", source.display());
    let made = tokio::process::Command::new(crate::chromium::binary())
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--password-store=basic"])
        .args([&data, "--dump-dom", "about:blank"])
        .env_clear()
        .env("HOME", user.home())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .status();
    assert!(tokio::time::timeout(crate::user::DEADLINE, made).await.unwrap().unwrap().success());
    let bookmark =
        serde_json::json!({"type": "url", "id": "4", "name": BOOKMARK, "url": "https://harbour.example/"});
    let folder = |id: &str, name: &str, children: Value| serde_json::json!({"type": "folder", "id": id, "name": name, "children": children});
    let bookmarks = serde_json::json!({"version": 1, "roots": {
        "bookmark_bar": folder("1", "Bookmarks bar", serde_json::json!([bookmark])),
        "other": folder("2", "Other bookmarks", serde_json::json!([])),
        "synced": folder("3", "Mobile bookmarks", serde_json::json!([])),
    }});
    fs::write(source.join("Default/Bookmarks"), bookmarks.to_string()).unwrap();
    let logins = Connection::open(source.join("Default/Login Data")).unwrap();
    let login = "INSERT INTO logins (origin_url, signon_realm, username_element, username_value, password_element,
            password_value, submit_element, date_created, blacklisted_by_user, scheme)
        VALUES ('https://harbour.example/', 'https://harbour.example/', 'user', ?1, 'word', ?2, '', 13400000000000000, 0, 0)";
    logins.execute(login, rusqlite::params![USER_NAME, unhex(PASSWORD)]).unwrap();
    source.to_str().unwrap().to_owned()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn below(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn holds(file: &Path, bytes: &[u8]) -> bool {
    fs::read(file).is_ok_and(|content| content.windows(bytes.len()).any(|window| window == bytes))
}

fn has_visited(directory: &Path, url: &str) -> bool {
    let visited = || {
        let history = Connection::open(directory.join("Default/History"))?;
        history.query_row("SELECT count(*) FROM urls WHERE url = ?1", [url], |row| row.get::<_, u32>(0))
    };
    visited().is_ok_and(|count| count == 1)
}

fn has_tab(directory: &Path, url: &str) -> bool {
    below(&directory.join("Default/Sessions")).iter().any(|file| holds(file, url.as_bytes()))
}

/// Cookies that a running browser told, as its last save has them.
fn in_memory(directory: &Path) -> Vec<Value> {
    let text = fs::read(directory.join("cbrowse/cookies.json")).unwrap_or_default();
    let jar: Value = serde_json::from_slice(&text).unwrap_or_default();
    jar["cookies"].as_array().cloned().unwrap_or_default()
}

/// Kills every browser of a node, as the kernel does when memory runs out.
fn kill_browsers(node: &Node) {
    for process in descendants(node.pid()).iter().filter(|process| process.name.starts_with("chromium")) {
        let _gone_already = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
    }
}

#[tokio::test]
async fn after_a_clean_close_the_next_node_shows_everything() {
    let mut world = World::new().await;
    let running = world.connect("here", Some(1)).await;
    assert_eq!(world.site.report(1).await["known"]["worker"], false);
    running.signal(Signal::SIGINT);
    assert_eq!(running.end().await.code, Some(130));
    // The tab comes back by itself, and finds everything.
    let running = world.connect("there", None).await;
    assert_eq!(world.site.report(1).await["known"], everything(1));
    running.signal(Signal::SIGINT);
    running.end().await;
    world.user.run(&["profile", "sync", "work", "--passphrase-fd", "0"]).await.succeeded();
    world.assert_files(&[1]).await;
    let directory = world.look().await;
    assert!(in_memory(&directory).is_empty(), "the browser's own database has them all");
}

#[tokio::test]
async fn after_a_browser_or_a_node_was_killed_the_next_node_shows_everything() {
    let mut world = World::new().await;
    let running = world.connect("here", Some(1)).await;
    world.site.report(1).await;
    world.until_written_is_home(1).await;
    kill_browsers(&world.here);
    let ended = running.end().await;
    assert!(ended.stderr.contains("ended by itself"), "{}", ended.stderr);

    let running = world.connect("there", None).await;
    assert_eq!(world.site.report(1).await["known"], everything(1), "{}", running.said);
    running.signal(Signal::SIGINT);
    running.end().await;

    // On whichever node it is: it has to be free to move.
    let mut running = world.connect("", Some(2)).await;
    assert_eq!(world.site.report(2).await["known"], everything(1), "{}", running.said);
    world.until_written_is_home(2).await;
    let is_here = running.said.contains("connected to here");
    if is_here { &mut world.here } else { &mut world.there }.kill();
    // The client goes on with the tabs that it saw.
    running.until(if is_here { "moved to there" } else { "moved to here" }).await;
    assert_eq!(world.site.report(2).await["known"], everything(2), "{}", running.said);
    running.signal(Signal::SIGINT);
    running.end().await;
    world.user.run(&["profile", "sync", "work", "--passphrase-fd", "0"]).await.succeeded();
    world.assert_files(&[1, 2]).await;
}
