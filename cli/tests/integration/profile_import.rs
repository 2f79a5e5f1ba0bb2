//! Profiles of real browsers: read while those run, opened again by another one; and every way in which that goes wrong.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use rusqlite::Connection;
use secret_service::{EncryptionType, SecretService};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{process::Command, time::sleep};

use crate::{
    chromium::Chromium,
    profile_sealing::{data, files, holding, planted, profile, refused},
    site::{Site, Visit},
    user::{DEADLINE, User},
};

/// Between two looks at files that a browser writes when it pleases.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// A browser writes cookies to its disk after this many changes, instead of after half a minute.
const CHANGES: u32 = 600;
/// How long a browser may take to write on a busy machine: its own timers go up to half a minute.
const WRITE_DEADLINE: Duration = Duration::from_secs(90);

/// A user whose session has memory-backed storage of its own.
struct World {
    user: User,
    memory: TempDir,
}

impl World {
    fn new() -> Self {
        let memory = tempfile::tempdir_in("/dev/shm").unwrap();
        let user = User::new().with("XDG_RUNTIME_DIR", memory.path().to_str().unwrap());
        Self { user, memory }
    }

    /// What lies in the clear now.
    fn staged(&self) -> Vec<PathBuf> {
        fs::read_dir(self.memory.path()).unwrap().flatten().map(|entry| entry.path()).collect()
    }

    fn browser(&self) -> PathBuf {
        self.user.file(".config/chromium")
    }

    /// A browser's directory without a browser: bookmarks, a history, tabs.
    fn make_browser(&self) -> PathBuf {
        let inner = self.browser().join("Default");
        fs::create_dir_all(inner.join("Sessions")).unwrap();
        fs::write(inner.join("Preferences"), "{}").unwrap();
        fs::write(inner.join("Bookmarks"), bookmarks()).unwrap();
        fs::write(inner.join("Sessions/Tabs_1"), "SNSS").unwrap();
        fs::write(self.browser().join("Last Version"), "156.0.8078.79").unwrap();
        let state =
            json!({"profile": {"info_cache": {"Default": {"name": "Ada", "active_time": 1_700_000_000.5}}}});
        fs::write(self.browser().join("Local State"), state.to_string()).unwrap();
        make_history(&inner.join("History"));
        inner
    }
}

fn bookmarks() -> String {
    let bookmark =
        json!({"type": "url", "id": "5", "name": planted(), "url": "https://example.org/", "guid": GUID});
    let folder = |id: &str, children: Value, name: &str| json!({"type": "folder", "id": id, "name": name, "children": children});
    json!({"version": 1, "roots": {
        "bookmark_bar": folder("1", json!([bookmark]), "Bookmarks bar"),
        "other": folder("2", json!([]), "Other bookmarks"),
        "synced": folder("3", json!([]), "Mobile bookmarks"),
    }})
    .to_string()
}

const GUID: &str = "0b5c8a10-5a4e-4f3b-9d52-0a1c2d3e4f50";

fn make_history(path: &Path) {
    let history = Connection::open(path).unwrap();
    history.execute_batch("CREATE TABLE urls(id INTEGER); INSERT INTO urls VALUES (1), (2)").unwrap();
}

/// A browser at work: a visited page whose cookie and storage are on its disk.
async fn at_work(browser: &Path, store: &str, bus: Option<&str>, site: &mut Site) -> Chromium {
    fs::create_dir_all(browser.join("Default")).unwrap();
    fs::write(browser.join("Default/Bookmarks"), bookmarks()).unwrap();
    let mut chromium = Chromium::start_on(browser, store, bus).await;
    chromium.navigate(&site.url(1)).await;
    assert_eq!(site.visit(1).await, Visit::new(1, 1));
    let many = format!("for (let i = 0; i < {CHANGES}; i++) document.cookie = 'many=' + i + ';max-age=9999'");
    chromium.evaluate(&many).await;
    let inner = browser.join("Default");
    written("the cookie", || has_cookie(&inner)).await;
    let storage = || {
        ["Local Storage", "WebStorage"].iter().any(|place| !holding(&inner.join(place), planted()).is_empty())
            || !holding_wide(&inner.join("Local Storage")).is_empty()
    };
    written("the storage", storage).await;
    chromium
}

/// LevelDB keeps what pages store in UTF-16 or in Latin 1.
fn holding_wide(directory: &Path) -> Vec<PathBuf> {
    let wide: Vec<u8> = planted().encode_utf16().flat_map(u16::to_le_bytes).collect();
    let holds =
        |path: &PathBuf| fs::read(path).is_ok_and(|bytes| bytes.windows(wide.len()).any(|part| part == wide));
    files(directory).into_iter().filter(holds).collect()
}

fn has_cookie(inner: &Path) -> bool {
    let count = |path: &Path| {
        let connection =
            Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).ok()?;
        let sql = "SELECT count(*) FROM cookies WHERE name = 'visits'";
        connection.query_row(sql, [], |row| row.get::<_, i64>(0)).ok()
    };
    count(&inner.join("Cookies")).is_some_and(|count| count == 1)
}

async fn written(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + WRITE_DEADLINE;
    while !condition() {
        assert!(Instant::now() < end, "the browser never wrote {what}");
        sleep(LOOK_INTERVAL).await;
    }
}

/// Opens what was exported in another browser, which keeps no key anywhere: it has been there before.
async fn check_opened(world: &World, site: &mut Site, page: u32) {
    let out = format!("out{page}");
    profile(&world.user, &["export", "work", &out]).await.succeeded();
    let mut chromium = Chromium::start_on(&world.user.file(&out), "basic", None).await;
    chromium.navigate(&site.url(page)).await;
    assert_eq!(site.visit(page).await, Visit::new(page, 2), "cookie and storage came along");
    chromium.navigate("chrome://bookmarks/").await;
    chromium.until_there("typeof chrome.bookmarks === 'object'").await;
    let search = format!("chrome.bookmarks.search('{}').then((found) => found.length)", planted());
    assert_eq!(chromium.evaluate(&search).await, 1, "the bookmark came along");
    chromium.close().await;
}

#[tokio::test]
async fn a_running_browser_is_imported_and_another_one_goes_on_where_it_was() {
    let world = World::new();
    let mut site = Site::start(planted()).await;
    let running = at_work(&world.browser(), "basic", None, &mut site).await;
    let listed = world.user.run(&["profile", "import", "--list", "--json"]).await.document();
    assert_eq!((&listed[0]["browser"], &listed[0]["profile"]), (&json!("chromium"), &json!("Default")));
    assert_eq!(listed[0]["running"], true);

    let made = profile(&world.user, &["import", "work", "--from", "chromium"]).await.document();
    let imported = &made["imported"];
    assert_eq!(
        (&made["new"], &made["staged_in_memory"], &imported["running"]),
        (&json!(true), &json!(true), &json!(true))
    );
    assert_eq!(
        (&imported["left_behind"], &imported["secrets"]["dropped"]),
        (&json!([]), &json!([])),
        "{made}"
    );
    assert_eq!(imported["contents"]["bookmarks"], 1);
    assert!(imported["contents"]["history"].as_u64() >= Some(1), "{made}");
    assert!(imported["secrets"]["carried"]["cookies"].as_u64() >= Some(1), "{made}");
    let status = world.user.run(&["profile", "status", "work", "--json"]).await.document();
    assert_eq!((&status["closing"], &status["source"]), (&json!("crash"), &Value::Null));
    assert!(status["browser_version"].as_str().is_some_and(|version| version.len() > 4), "{status}");

    assert_eq!(world.staged(), Vec::<PathBuf>::new(), "what was clear is wiped");
    assert_eq!(holding(&data(&world.user), planted()), Vec::<PathBuf>::new());
    check_opened(&world, &mut site, 2).await;
    running.close().await;
    // Once it is closed nothing is a guess any more.
    let again = profile(&world.user, &["import", "work", "--from", "chromium"]).await.document();
    assert_eq!((&again["new"], &again["sealed"]["generation"]), (&json!(false), &json!(2)));
    assert_eq!(again["imported"]["running"], false);
    check_opened(&world, &mut site, 3).await;
}

const INNER: &str = "CBROWSE_TEST_INSIDE_A_SESSION";

/// Runs itself again on a bus of its own, with a real, unlocked gnome-keyring.
#[tokio::test]
async fn what_the_keyring_guards_is_imported_while_it_is_unlocked() {
    if std::env::var_os(INNER).is_some() {
        return inside_a_session_with_a_keyring().await;
    }
    let home = tempfile::tempdir().unwrap();
    let script = "echo -n test | gnome-keyring-daemon --unlock --components=secrets >/dev/null && \
                  exec \"$0\" --exact --nocapture profile_import::what_the_keyring_guards_is_imported_while_it_is_unlocked";
    let output = Command::new("dbus-run-session")
        .args(["--", "sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .env(INNER, "1")
        .env("HOME", home.path())
        .env("XDG_DATA_HOME", home.path().join("share"))
        .env("XDG_RUNTIME_DIR", home.path())
        .env_remove("DISPLAY")
        .env_remove("WAYLAND_DISPLAY")
        .stdin(Stdio::null())
        .output()
        .await
        .expect("dbus-run-session and gnome-keyring are installed");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("1 passed"), "{text}");
}

async fn inside_a_session_with_a_keyring() {
    let bus = std::env::var("DBUS_SESSION_BUS_ADDRESS").unwrap();
    let mut world = World::new();
    world.user = world.user.with("DBUS_SESSION_BUS_ADDRESS", &bus);
    let mut site = Site::start(planted()).await;
    let running = at_work(&world.browser(), "gnome-libsecret", Some(&bus), &mut site).await;
    let values = holding(&world.browser().join("Default"), "v11");
    assert!(values.iter().any(|path| path.ends_with("Cookies")), "the browser uses the keyring: {values:?}");

    let made = profile(&world.user, &["import", "work", "--from", "chromium"]).await.document();
    let secrets = &made["imported"]["secrets"];
    assert_eq!((&secrets["dropped"], &secrets["keyring"]), (&json!([]), &Value::Null), "{made}");
    assert!(secrets["carried"]["cookies"].as_u64() >= Some(1), "{made}");
    assert!(secrets["carried"]["tabs"].as_u64() >= Some(1), "{made}");
    check_opened(&world, &mut site, 2).await;
    running.close().await;

    let service = SecretService::connect(EncryptionType::Dh).await.unwrap();
    service.get_default_collection().await.unwrap().lock().await.unwrap();
    let locked = profile(&world.user, &["import", "other", "--from", "chromium"]).await.document();
    let secrets = &locked["imported"]["secrets"];
    assert_eq!(secrets["keyring"], "the desktop's keyring is locked", "{locked}");
    assert_eq!(
        (&secrets["dropped"][0]["what"], &secrets["dropped"][0]["reason"]),
        (&json!("cookies"), &json!("no_key"))
    );
    assert_eq!(locked["imported"]["contents"]["cookies"], 0, "nothing half readable came along");
    assert_eq!(locked["imported"]["contents"]["bookmarks"], 1);
}

#[tokio::test]
async fn what_is_not_there_is_said_with_what_there_is() {
    let world = World::new();
    world.make_browser();
    fs::create_dir(world.user.file("empty")).unwrap();
    fs::write(world.user.file("text"), "no sealed file").unwrap();
    for (arguments, code) in [
        (&["--from", "brave"][..], "no_browser"),
        (&["--from", "nowhere"], "no_source"),
        (&["--from", "empty"], "no_browser_profile"),
        (&["--from", "text"], "no_sealed_file"),
        (&["--from", "chromium", "--profile", "Profile 7"], "no_such_profile"),
    ] {
        let ended = profile(&world.user, &[&["import", "work"], arguments].concat()).await;
        assert_eq!(refused(&ended), (8, code.into()), "{arguments:?}");
    }
    let (_, _, error) =
        profile(&world.user, &["import", "work", "--from", "chromium", "--profile", "Profile 7"])
            .await
            .error();
    assert!(error["hint"].as_str().unwrap().contains("Default (Ada)"), "{error}");
    assert_eq!(files(&data(&world.user)), Vec::<PathBuf>::new(), "no key was made either");
    // By its owner's name for it, and a dry run that makes nothing.
    let dry = profile(&world.user, &["import", "--from", "chromium", "--profile", "Ada", "--dry-run"])
        .await
        .document();
    assert_eq!((&dry["profile"], &dry["sealed"]), (&json!("chromium"), &Value::Null));
    assert_eq!(dry["imported"]["contents"]["history"], 2);
    assert_eq!(files(&data(&world.user)), Vec::<PathBuf>::new());
    assert_eq!(world.staged(), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn damaged_linked_and_locked_databases_do_not_keep_the_rest_from_coming() {
    let world = World::new();
    let inner = world.make_browser();
    fs::write(inner.join("Favicons"), [b"SQLite format 3\0".as_slice(), &[0xa5; 5000]].concat()).unwrap();
    make_history(&world.user.file("elsewhere"));
    std::os::unix::fs::symlink(world.user.file("elsewhere"), inner.join("Top Sites")).unwrap();
    let history = Connection::open(inner.join("History")).unwrap();
    history.execute_batch("BEGIN EXCLUSIVE; INSERT INTO urls VALUES (3)").unwrap();
    let made = profile(&world.user, &["import", "work", "--from", "chromium"]).await.document();
    let expected =
        json!([{"path": "Top Sites", "reason": "link"}, {"path": "Favicons", "reason": "damaged"}]);
    assert_eq!(made["imported"]["left_behind"], expected);
    assert_eq!(made["imported"]["contents"]["history"], 2, "what was committed");
    assert_eq!(made["imported"]["running"], true, "somebody holds a lock");
    history.execute_batch("ROLLBACK").unwrap();
}

#[tokio::test]
async fn too_little_room_leaves_nothing_in_the_clear_and_no_profile() {
    let world = World::new();
    world.make_browser();
    let small = world.user.file("small");
    fs::create_dir(&small).unwrap();
    let run = |options: &'static str| {
        let script = r#"mount -t tmpfs -o "$1" none small && echo pw | "$2" profile import work --from chromium \
            --staging small --passphrase-fd 0 --json; code=$?; ls -A small; exit $code"#;
        Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", options])
            .arg(env!("CARGO_BIN_EXE_cbrowse"))
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", world.user.home())
            .current_dir(world.user.home())
            .stdin(Stdio::null())
            .output()
    };
    // Too small to begin with; and one whose files run out on the way.
    for (options, code) in [("size=8m", "no_room"), ("size=64m,nr_inodes=7", "disk_full")] {
        let output = run(options).await.expect("unshare is there");
        let (said, left) = (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
        assert_eq!(output.status.code(), Some(8), "{said}");
        let error: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
        assert_eq!(error["error"]["code"], code, "{said}");
        assert!(error["error"]["hint"].as_str().unwrap().contains("--staging"), "{said}");
        assert_eq!(left, "", "wiped");
    }
    let listed = world.user.run(&["profile", "list", "--json"]).await.document();
    assert_eq!(listed, json!([]));
}

/// Tabs that somebody touches all the time: each is waited for, so an import takes long enough to be interrupted.
struct Busy {
    stop: std::sync::Arc<std::sync::atomic::AtomicBool>,
    touching: Option<std::thread::JoinHandle<()>>,
}

impl Busy {
    fn start(sessions: &Path) -> Self {
        let paths: Vec<PathBuf> = (0..100).map(|number| sessions.join(format!("Session_{number}"))).collect();
        for path in &paths {
            fs::write(path, planted()).unwrap();
        }
        let stop = std::sync::Arc::<std::sync::atomic::AtomicBool>::default();
        let ended = stop.clone();
        let touching = std::thread::spawn(move || {
            while !ended.load(std::sync::atomic::Ordering::Relaxed) {
                for path in &paths {
                    fs::write(path, planted()).unwrap();
                }
                std::thread::sleep(Duration::from_millis(3));
            }
        });
        Self { stop, touching: Some(touching) }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let _ = self.touching.take().map(std::thread::JoinHandle::join);
    }
}

#[tokio::test]
async fn ctrl_c_wipes_what_is_clear_and_a_kill_is_cleaned_up_after() {
    let world = World::new();
    let inner = world.make_browser();
    let busy = Busy::start(&inner.join("Sessions"));
    let import = ["profile", "import", "work", "--from", "chromium", "--passphrase-fd", "0", "--json"];
    for (signal, code) in [(Signal::SIGINT, Some(130)), (Signal::SIGTERM, Some(130)), (Signal::SIGKILL, None)]
    {
        let running = world.user.start(&import).await;
        let staged = || world.staged().iter().any(|path| !holding(path, planted()).is_empty());
        let end = Instant::now() + DEADLINE;
        while !staged() {
            assert!(Instant::now() < end, "nothing was staged");
            sleep(Duration::from_millis(2)).await;
        }
        running.signal(signal);
        let ended = running.end().await;
        assert_eq!(ended.code, code, "{}", ended.stderr);
        assert_eq!(world.staged().is_empty(), signal != Signal::SIGKILL, "{signal}: {:?}", world.staged());
    }
    drop(busy);
    assert_eq!(world.user.run(&["profile", "list", "--json"]).await.document(), json!([]));
    let made = profile(&world.user, &["import", "work", "--from", "chromium"]).await.document();
    assert_eq!(made["sealed"]["generation"], 1);
    assert_eq!(world.staged(), Vec::<PathBuf>::new(), "the killed one's, too");
}
