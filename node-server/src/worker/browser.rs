//! The session's Chromium: one that waited or one that is started now, with the session's profile in it, and its end.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use cbrowse_profile::allowlist::{COOKIES_FILE, PROFILE_DIRECTORY};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::cookies;
use crate::launch::{chromium, devtools, extensions, singleton};

/// Chromium flushes cookies and databases within two seconds of `Browser.close`; a busy disk takes longer.
const CLOSE_DEADLINE: Duration = Duration::from_secs(10);
/// After an interrupt signal, before the kernel ends it with the room.
const INTERRUPT_DEADLINE: Duration = Duration::from_secs(3);
/// Where a profile's tabs are while a browser must not see them.
const TABS_ASIDE: &str = "/home/user/tabs";
/// Its own profile directory, while the session's has the usual name: what is saved is read from there.
const WAITING_PROFILE: &str = "Waiting";
/// Languages that every browser here is started with; a profile that names another one has it read at a start only.
const USUAL_LOCALE: &str = "en-US";
/// Longest `Local State` that is looked into; a restored one holds a few words.
const MAX_LOCAL_STATE: u64 = 1024 * 1024;

/// A Chromium that takes orders.
pub struct Running {
    /// The process.
    pub child: tokio::process::Child,
    /// Its pipe.
    pub tools: devtools::DevTools,
    /// What it tells by itself.
    pub events: mpsc::Receiver<devtools::Event>,
    /// A tab that waits for its first address.
    pub blank: Option<String>,
    /// Its data directory.
    pub data: &'static str,
    _pump: devtools::Pump,
}

/// How browsers of this room are started.
pub struct Starter<'a> {
    /// The browser's binary.
    pub chromium: &'a Path,
    /// Port of the room's proxy.
    pub proxy_port: u16,
}

/// A profile as its browser begins with it.
#[derive(Debug, Default)]
pub struct Loaded {
    /// It had tabs open, which come back.
    pub has_tabs: bool,
    /// Cookies that an earlier browser held in memory, to be handed over before the first page loads.
    pub cookies: Vec<Value>,
    /// The tab of the browser that waited, in a window of its own that nobody needs any more.
    pub waiting: Option<String>,
}

impl Starter<'_> {
    /// Starts Chromium without a window, and waits until it takes orders.
    pub async fn start(&self, data: &'static str, profile: &str) -> anyhow::Result<Running> {
        let browser = chromium::start(self.chromium, self.proxy_port, data, profile)?;
        let (tools, pump, events) = devtools::connect(browser.orders, browser.answers)?;
        tools.call("", "Browser.getVersion", json!({})).await.context("start Chromium")?;
        Ok(Running { child: browser.child, tools, events, blank: None, data, _pump: pump })
    }

    /// One that may wait. With a window and a blank tab: making the first window is most of what is left of a start.
    pub async fn warm(&self) -> anyhow::Result<Running> {
        let mut browser = self.start(chromium::WAITING_DIRECTORY, WAITING_PROFILE).await?;
        let blank = json!({ "url": "about:blank" });
        let tab = browser.tools.call("", "Target.createTarget", blank).await.context("open the first tab")?;
        browser.blank = tab["targetId"].as_str().map(str::to_owned);
        Ok(browser)
    }

    /// A browser for a session without a profile.
    pub async fn fresh(&self, warm: Option<Running>) -> anyhow::Result<Running> {
        match warm.and_then(alive) {
            Some(browser) => Ok(browser),
            None => self.start(chromium::DATA_DIRECTORY, PROFILE_DIRECTORY).await,
        }
    }

    /// A browser that has the profile restored in [`chromium::DATA_DIRECTORY`]: the one that waits where it can take it, else
    /// one that starts with it. Its tabs come back by themselves. `told` hears why a start was needed after all.
    pub async fn with_profile(
        &self,
        warm: Option<Running>,
        told: impl AsyncFn(String),
    ) -> anyhow::Result<(Running, Loaded)> {
        let data = Path::new(chromium::DATA_DIRECTORY);
        let has_tabs = has_tabs(data);
        let cookies = cookies::read(data);
        let obstacle = obstacle(data);
        if let Some(mut browser) = warm.and_then(alive) {
            let waiting = browser.blank.take();
            let loading = match obstacle {
                None => self.load_into(&browser, &cookies).await.map_err(|error| format!("{error:#}")),
                Some(reason) => Err(reason.to_owned()),
            };
            match loading {
                Ok(()) => return Ok((browser, Loaded { has_tabs, cookies, waiting })),
                Err(reason) => {
                    told(format!("the browser is started anew for the profile: {reason}")).await;
                    end_unused(browser).await;
                }
            }
        }
        if extensions::are_there() {
            self.forget_workers(data).await?;
        }
        let browser = self.start(chromium::DATA_DIRECTORY, PROFILE_DIRECTORY).await?;
        for refused in extensions::load(&browser.tools).await {
            told(refused).await;
        }
        load(&browser, &cookies).await?;
        Ok((browser, Loaded { has_tabs, cookies, waiting: None }))
    }

    /// Scripts of extensions' service workers that an earlier node may have changed are forgotten by a browser that does nothing
    /// else: its window would bring the profile's tabs back before anybody looks, so they are put aside meanwhile. Where it fails,
    /// the sites' workers are forgotten with them; sites register theirs again.
    async fn forget_workers(&self, data: &Path) -> anyhow::Result<()> {
        let profile = data.join(PROFILE_DIRECTORY);
        let workers = profile.join("Service Worker");
        if !workers.exists() {
            return Ok(());
        }
        let (tabs, aside) = (profile.join("Sessions"), Path::new(TABS_ASIDE));
        let _there_are_none = fs::rename(&tabs, aside);
        let mut browser = self.start(chromium::DATA_DIRECTORY, PROFILE_DIRECTORY).await?;
        let forgotten = extensions::forget_workers(&browser.tools).await;
        let closed = close(&browser.tools, &mut browser.child, true).await;
        if forgotten.is_err() || !closed {
            fs::remove_dir_all(&workers).context("forget the service workers")?;
        }
        let _none_were_made = fs::remove_dir_all(&tabs);
        let _there_were_none = fs::rename(aside, &tabs);
        Ok(())
    }

    /// Leaves the restored files where they were if the browser does not take them.
    async fn load_into(&self, browser: &Running, cookies: &[Value]) -> anyhow::Result<()> {
        let (from, to) = (Path::new(chromium::DATA_DIRECTORY), Path::new(browser.data));
        carry(from, to).context("put the profile beside the one that waits")?;
        let loaded = load(browser, cookies).await;
        if loaded.is_err() {
            carry(to, from).context("take the profile back")?;
        }
        loaded
    }
}

/// One that waited may have ended meanwhile.
fn alive(mut browser: Running) -> Option<Running> {
    matches!(browser.child.try_wait(), Ok(None)).then_some(browser)
}

/// Makes a running browser load the profile in its data directory. Pages that come with it wait before they load where there
/// are cookies to be handed over first; whoever hands them over lets them go.
async fn load(browser: &Running, cookies: &[Value]) -> anyhow::Result<()> {
    let attach =
        json!({ "autoAttach": true, "waitForDebuggerOnStart": !cookies.is_empty(), "flatten": true });
    browser.tools.call("", "Target.setAutoAttach", attach).await.context("look for the profile's tabs")?;
    singleton::load_profile(Path::new(browser.data), PROFILE_DIRECTORY).await?;
    Ok(())
}

/// Moves what a session's save reads from one data directory to another; what belongs to a browser alone stays.
fn carry(from: &Path, to: &Path) -> io::Result<()> {
    let beside = Path::new(COOKIES_FILE).parent().expect("it lies in a directory of its own");
    for part in [Path::new(PROFILE_DIRECTORY), beside] {
        match fs::rename(from.join(part), to.join(part)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Whether the profile brings open tabs along.
fn has_tabs(data: &Path) -> bool {
    let sessions = data.join(PROFILE_DIRECTORY).join("Sessions");
    fs::read_dir(sessions).is_ok_and(|mut entries| entries.next().is_some())
}

/// The client tells the tabs of a session that moves; it saw the newest.
pub fn forget_tabs(data: &Path) {
    let _there_were_none = fs::remove_dir_all(data.join(PROFILE_DIRECTORY).join("Sessions"));
}

/// Why a browser that runs already cannot take this profile, if it cannot.
fn obstacle(data: &Path) -> Option<&'static str> {
    if extensions::are_there() {
        return Some("it brings extensions, which are let in at a start only");
    }
    let path = data.join("Local State");
    let is_fit = fs::metadata(&path).is_ok_and(|found| found.len() <= MAX_LOCAL_STATE);
    let state: Value = serde_json::from_slice(&fs::read(path).ok().filter(|_| is_fit)?).ok()?;
    let locale = state["intl"]["app_locale"].as_str()?;
    (locale != USUAL_LOCALE).then_some("it names a language, which is read at a start only")
}

/// Ends the browser that waited, and gives back what it wrote.
async fn end_unused(mut browser: Running) {
    let _gone_already = browser.child.kill().await;
    let waiting: PathBuf = browser.data.into();
    let _ended_with_the_room = fs::remove_dir_all(waiting);
}

/// Lets Chromium write everything down before it goes, and tells whether it did. Never SIGTERM: it loses cookies of the last
/// seconds.
pub async fn close(tools: &devtools::DevTools, child: &mut tokio::process::Child, save: bool) -> bool {
    if !save {
        let _gone_already = child.kill().await;
        return false;
    }
    tools.post("", "Browser.close", &json!({}));
    if let Ok(Ok(status)) = tokio::time::timeout(CLOSE_DEADLINE, child.wait()).await {
        return status.success();
    }
    if let Some(id) = child.id().and_then(|id| i32::try_from(id).ok()) {
        let _gone_already =
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(id), nix::sys::signal::Signal::SIGINT);
    }
    let Ok(status) = tokio::time::timeout(INTERRUPT_DEADLINE, child.wait()).await else {
        let _gone_already = child.kill().await;
        return false;
    };
    status.is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(data: &Path, file: &str, text: &str) {
        let path = data.join(file);
        fs::create_dir_all(path.parent().expect("a parent")).expect("make");
        fs::write(path, text).expect("write");
    }

    #[test]
    fn the_profile_and_its_cookies_move_and_nothing_of_the_browser_does() {
        let (from, to) = (tempfile::tempdir().expect("one"), tempfile::tempdir().expect("other"));
        for (file, text) in
            [("Default/Cookies", "c"), (COOKIES_FILE, "j"), ("Local State", "ours"), ("Last Version", "1")]
        {
            make(from.path(), file, text);
        }
        make(to.path(), "Local State", "theirs");
        carry(from.path(), to.path()).expect("moved");
        let read = |file: &str| fs::read_to_string(to.path().join(file)).unwrap_or_default();
        assert_eq!((read("Default/Cookies"), read(COOKIES_FILE)), ("c".into(), "j".into()));
        assert_eq!((read("Local State"), read("Last Version")), ("theirs".into(), String::new()));
        carry(to.path(), from.path()).expect("moved back");
        assert!(from.path().join(COOKIES_FILE).exists() && !to.path().join("Default").exists());
        // A profile that was never saved has nothing to move.
        carry(tempfile::tempdir().expect("empty").path(), to.path()).expect("nothing to do");
    }

    #[test]
    fn a_profile_with_a_language_of_its_own_needs_a_start() {
        let data = tempfile::tempdir().expect("a directory");
        assert_eq!(obstacle(data.path()), None);
        for (state, needs) in [
            (r#"{"intl":{"app_locale":"de"}}"#, true),
            (r#"{"intl":{"app_locale":"en-US"}}"#, false),
            (r#"{"intl":{}}"#, false),
            ("not JSON", false),
        ] {
            make(data.path(), "Local State", state);
            assert_eq!(obstacle(data.path()).is_some(), needs, "{state}");
        }
    }

    #[test]
    fn tabs_are_known_by_their_files_and_forgotten_with_them() {
        let data = tempfile::tempdir().expect("a directory");
        assert!(!has_tabs(data.path()));
        make(data.path(), "Default/Sessions/Session_1", "x");
        assert!(has_tabs(data.path()));
        forget_tabs(data.path());
        assert!(!has_tabs(data.path()));
    }
}
