//! One Chromium process: found, started inside the room with the node's own flags, ended without losing cookies.

use std::{
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::{launch::extensions, sys::namespace};

/// Where Debian, Ubuntu, Fedora and Google put the binary itself; the wrapper scripts add flags from the machine.
const PLACES: [&str; 6] = [
    "/usr/lib/chromium/chromium",
    "/usr/lib64/chromium-browser/chromium-browser",
    "/usr/lib/chromium-browser/chromium-browser",
    "/opt/google/chrome/chrome",
    "/opt/brave.com/brave/brave",
    "/opt/microsoft/msedge/msedge",
];
/// Chromium's answer to `--version` takes 30 ms; a machine that needs this long is broken.
const VERSION_DEADLINE: Duration = Duration::from_secs(20);
/// Where the session's data lives in the room.
pub const DATA_DIRECTORY: &str = "/home/user/data";
/// Where a browser that was started before there is a session keeps its data. Never the session's own directory: a browser
/// that is put aside may still be ending, and write, when the next one starts.
pub const WAITING_DIRECTORY: &str = "/home/user/waiting";
/// What a new tab shows when a page opens one without an address.
pub const NEW_TAB: &str = "about:blank#new-tab";

/// The browser binary of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binary {
    /// Absolute path.
    pub path: PathBuf,
    /// Such as `156.0.8078.79`.
    pub version: String,
}

/// Why there is no browser to start.
#[derive(Debug, thiserror::Error)]
pub enum BrowserError {
    /// None of the usual places has one.
    #[error(
        "no Chromium on this node: install the package `chromium`, or name the binary with --chromium PATH"
    )]
    Missing,
    /// The named file cannot be run.
    #[error("{path} does not answer --version: {reason}; name Chromium's own binary with --chromium PATH")]
    Broken {
        /// The file.
        path: PathBuf,
        /// What happened.
        reason: String,
    },
    /// It did not start.
    #[error("start {path}: {source}")]
    Spawn {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: std::io::Error,
    },
}

/// Finds the browser and asks for its version.
pub async fn find(named: Option<&Path>) -> Result<Binary, BrowserError> {
    let path = match named {
        Some(path) => path.to_owned(),
        None => PLACES.iter().map(PathBuf::from).find(|path| path.is_file()).ok_or(BrowserError::Missing)?,
    };
    let broken = |reason: String| BrowserError::Broken { path: path.clone(), reason };
    let mut command = tokio::process::Command::new(&path);
    command.arg("--version").env_clear().stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(VERSION_DEADLINE, command.output())
        .await
        .map_err(|_| broken(format!("no answer within {} s", VERSION_DEADLINE.as_secs())))?
        .map_err(|error| broken(error.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version =
        version_in(&text).ok_or_else(|| broken(format!("it printed {:?}", text.trim())))?.to_owned();
    Ok(Binary { path, version })
}

/// The version among the words of `--version`; browsers of Chromium's family are past 100, other programs are not.
fn version_in(text: &str) -> Option<&str> {
    let major = |word: &&str| word.split('.').next().and_then(|major| major.parse::<u32>().ok());
    text.split_whitespace().find(|word| word.contains('.') && major(word).is_some_and(|major| major >= 100))
}

/// What makes every session's browser the same one, wherever its road leads. None comes from a caller.
pub const FLAGS: [&str; 21] = [
    "--ozone-platform=headless",
    "--remote-debugging-pipe",
    // Shared memory is then the session's own tmpfs.
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--password-store=basic",
    "--use-mock-keychain",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--disable-breakpad",
    "--disable-crash-reporter",
    "--disable-quic",
    "--metrics-recording-only",
    "--no-pings",
    "--disable-gpu",
    "--hide-crash-restore-bubble",
    // The last two load hidden pages of the address bar, which nobody sees here, at every start.
    "--disable-features=Translate,OptimizationHints,MediaRouter,DialMediaRouteProvider,AsyncDns,GlobalMediaControls,WebUIOmniboxPopup,WebUIOmniboxAimPopup",
    "--window-size=1280,807",
    "--lang=en-US",
];
/// Where the store's extensions say that they come from.
const STORE: &str = "https://clients2.google.com/service/update2/crx";
/// What keeps it on the one road out of its room.
const ROAD: [&str; 2] = [
    "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
    // Without this Chromium sends loopback and link-local around its proxy.
    "--proxy-bypass-list=<-loopback>",
];

/// Flags that every session gets.
fn flags(proxy_port: u16, data: &str, profile: &str) -> Vec<String> {
    let mut flags: Vec<String> = FLAGS.iter().chain(&ROAD).map(ToString::to_string).collect();
    flags.push(format!("--proxy-server=socks5://127.0.0.1:{proxy_port}"));
    flags.push(format!("--user-data-dir={data}"));
    flags.push(format!("--profile-directory={profile}"));
    // Tabs are ordered over the pipe; a window with those of a profile, over the singleton socket.
    flags.push("--no-startup-window".into());
    flags
}

/// The managed policy of every session: what no page, profile or extension may switch on.
pub fn policy() -> String {
    policy_with(&[])
}

/// The same for a session whose profile brings these extensions along, by their ids. A browser that blocks all but some loads
/// none from a directory (tried), so here it blocks where others could come from: the store, and other programs' directories.
pub fn policy_with(extensions: &[String]) -> String {
    let mut policy = common_policy();
    if extensions.is_empty() {
        policy["ExtensionInstallBlocklist"] = serde_json::json!(["*"]);
    } else {
        let modes = |mode: &str| serde_json::json!({ "installation_mode": mode });
        let mut settings: serde_json::Map<_, _> =
            extensions.iter().map(|id| (id.clone(), modes("allowed"))).collect();
        settings.insert(format!("update_url:{STORE}"), modes("blocked"));
        policy["ExtensionSettings"] = settings.into();
        policy["BlockExternalExtensions"] = true.into();
    }
    policy.to_string()
}

fn common_policy() -> serde_json::Value {
    serde_json::json!({
        "URLBlocklist": ["file://*", "view-source:*", "chrome://*", "chrome-untrusted://*", "devtools://*", "javascript://*"],
        "URLAllowlist": ["chrome://newtab", "chrome://new-tab-page"],
        "BrowserSignin": 0,
        "SyncDisabled": true,
        "DnsOverHttpsMode": "off",
        "BuiltInDnsClientEnabled": false,
        "NetworkPredictionOptions": 2,
        "QuicAllowed": false,
        "NativeMessagingBlocklist": ["*"],
        "WebRtcIPHandling": "disable_non_proxied_udp",
        "BackgroundModeEnabled": false,
        "MetricsReportingEnabled": false,
        "PromotionsEnabled": false,
        // Distributions put a search engine's page here, which every start would load.
        "NewTabPageLocation": NEW_TAB,
        "DefaultBrowserSettingEnabled": false,
        // Session cookies survive a restart only so.
        "RestoreOnStartup": 1
    })
}

/// A started Chromium and the two ends of its pipe.
pub struct Browser {
    /// The process; reaped by process 1.
    pub child: tokio::process::Child,
    /// We write orders here.
    pub orders: OwnedFd,
    /// We read answers here.
    pub answers: OwnedFd,
}

/// Starts Chromium in the room, without a window, on the profile directory `profile` of the data directory `data`. Called from
/// inside, as process 1.
pub fn start(binary: &Path, proxy_port: u16, data: &str, profile: &str) -> Result<Browser, BrowserError> {
    let spawn_error = |source: std::io::Error| BrowserError::Spawn { path: binary.to_owned(), source };
    let pipe = || nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(|error| spawn_error(error.into()));
    let (orders_read, orders) = pipe()?;
    let (answers, answers_write) = pipe()?;
    for directory in ["tmp", ".config", ".cache"] {
        std::fs::create_dir_all(Path::new(namespace::HOME).join(directory)).map_err(spawn_error)?;
    }
    let mut command = Command::new(binary);
    command
        .args(flags(proxy_port, data, profile))
        .args(extensions::flag())
        .env_clear()
        .env("HOME", namespace::HOME)
        .env("TMPDIR", format!("{}/tmp", namespace::HOME))
        .env("LANG", "C.UTF-8")
        .env("PATH", "/usr/bin")
        .current_dir(namespace::HOME)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    namespace::as_browser(&mut command, &orders_read, &answers_write);
    let mut child = tokio::process::Command::from(command).kill_on_drop(true).spawn().map_err(spawn_error)?;
    if let Some(stderr) = child.stderr.take() {
        tokio::spawn(log_lines(stderr));
    }
    Ok(Browser { child, orders, answers })
}

/// Chromium's own words, for an operator who asks for them (`RUST_LOG=chromium=debug`). Ends with the process.
async fn log_lines(stderr: tokio::process::ChildStderr) {
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        tracing::debug!(target: "chromium", "{}", cbrowse_protocol::node::printable(&line, 500));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_flag_opens_a_port_or_weakens_the_sandbox() {
        let flags = flags(1080, DATA_DIRECTORY, "Default");
        let forbidden = [
            "--remote-debugging-port",
            "--remote-debugging-address",
            "--no-sandbox",
            "--disable-setuid-sandbox",
            "--disable-namespace-sandbox",
            "--disable-seccomp-filter-sandbox",
            "--no-zygote",
            "--single-process",
            "--disable-site-isolation-trials",
            "--disable-web-security",
            "--headless",
        ];
        for flag in &flags {
            let name = flag.split('=').next().unwrap();
            assert!(!forbidden.contains(&name), "{flag}");
        }
        for needed in [
            "--remote-debugging-pipe",
            "--proxy-server=socks5://127.0.0.1:1080",
            "--proxy-bypass-list=<-loopback>",
        ] {
            assert!(flags.iter().any(|flag| flag == needed), "{needed}");
        }
    }

    #[test]
    fn the_policy_keeps_local_addresses_closed() {
        let policy: serde_json::Value = serde_json::from_str(&policy()).unwrap();
        let closed = policy["URLBlocklist"].as_array().unwrap();
        for scheme in ["file://*", "view-source:*", "chrome://*", "devtools://*"] {
            assert!(closed.iter().any(|entry| entry == scheme), "{scheme}");
        }
        assert_eq!(policy["ExtensionInstallBlocklist"][0], "*");
    }
}
