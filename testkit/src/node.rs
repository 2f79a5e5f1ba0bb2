//! A real `cbrowse-node serve` on loopback: on a free port, in directories of its own, killed and reaped when dropped.

use std::{
    ffi::OsStr,
    fs::File,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::{
    fleet::{self, Fleet, binary, text},
    process::{Footprint, Process, children},
};

/// Longest wait until a node serves. It takes under a second; a loaded machine many.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// Longest wait until a node that was told to end has ended, its own drain deadline of 30 s included.
const END_DEADLINE: Duration = Duration::from_secs(60);
/// Longest wait until the processes of a session that is over are gone.
const GONE_DEADLINE: Duration = Duration::from_secs(20);
/// Between two looks.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// What to start.
#[derive(Debug, Clone, Default)]
pub struct Options<'a> {
    /// Its id; `node-1` without.
    pub id: Option<&'a str>,
    /// Its region; `eu-central` without.
    pub region: Option<&'a str>,
    /// The fleet that vouches for it, and whose tokens it accepts.
    pub fleet: Option<&'a Fleet>,
    /// Further arguments of `cbrowse-node serve`.
    pub arguments: Vec<String>,
    /// What stands before the command, for whoever starts it elsewhere or as somebody else.
    pub launcher: Vec<String>,
}

impl<'a> Options<'a> {
    /// A node of a fleet.
    pub fn of(fleet: &'a Fleet, id: &'a str, region: &'a str) -> Self {
        Self { id: Some(id), region: Some(region), fleet: Some(fleet), ..Self::default() }
    }

    /// With a further argument and its value.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "callers write values, not references to them")]
    pub fn with(mut self, flag: &str, value: impl ToString) -> Self {
        self.arguments.extend([flag.to_owned(), value.to_string()]);
        self
    }
}

/// A running node.
#[derive(Debug)]
pub struct Node {
    child: Child,
    announcement: Value,
    directory: TempDir,
}

impl Node {
    /// Starts one and waits until it serves. The error of one that does not holds what it wrote.
    pub async fn start(options: Options<'_>) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("node-").tempdir().context("make a directory")?;
        // A node started as root becomes another user, who has to find its own directories in here.
        open(directory.path(), 0o711)?;
        std::fs::create_dir(directory.path().join("tmp")).context("make a directory")?;
        open(&directory.path().join("tmp"), 0o1777)?;
        let child = spawn(directory.path(), &options.launcher, &arguments(directory.path(), &options)?)?;
        let mut node = Self { child, announcement: Value::Null, directory };
        node.announcement = node.wait_until_serving().await?;
        Ok(node)
    }

    /// Its id.
    pub fn id(&self) -> &str {
        self.fact("id")
    }

    /// Its public identity.
    pub fn identity(&self) -> &str {
        self.fact("identity")
    }

    /// Where it listens, as `IP:PORT`.
    pub fn endpoint(&self) -> &str {
        self.fact("listening")
    }

    fn fact(&self, name: &str) -> &str {
        self.announcement[name].as_str().unwrap_or_default()
    }

    /// What a catalog would say of it.
    pub fn record(&self) -> Value {
        let (address, port) = self.endpoint().rsplit_once(':').unwrap_or_default();
        let port: u16 = port.parse().unwrap_or_default();
        json!({ "id": self.id(), "address": address, "port": port, "region": self.fact("region"), "identity": self.identity() })
    }

    /// A credential from its own issuer, for `CBROWSE_TOKEN`.
    pub fn token(&self, user: &str) -> anyhow::Result<String> {
        fleet::run(&["token", "--user", user, "--data-dir", text(&self.data_dir())?])
    }

    /// Where it keeps its keys and sealed profiles.
    pub fn data_dir(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Its `TMPDIR`.
    pub fn temporary_dir(&self) -> PathBuf {
        self.directory.path().join("tmp")
    }

    /// What it wrote to its log.
    pub fn log(&self) -> String {
        log(self.directory.path())
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What runs below it now: before a session, the worker that will have it, with everything that ever runs in its room.
    pub fn footprint(&self) -> Footprint {
        Footprint::of(self.child.id())
    }

    /// The workers that it has now, one of which waits for the next session: whoever gets a session takes that one.
    pub fn workers(&self) -> Vec<Process> {
        children(self.child.id())
    }

    /// Ends it as a crash would; its workers are on their own.
    pub fn kill(&mut self) {
        // Only fails when it has ended already, and then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end, and waits until it has.
    pub async fn terminate(&mut self) -> anyhow::Result<ExitStatus> {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).context("a process number")?);
        kill(pid, Signal::SIGTERM).context("ask the node to end")?;
        let deadline = Instant::now() + END_DEADLINE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().context("ask after the node")? {
                return Ok(status);
            }
            sleep(POLL_INTERVAL).await;
        }
        bail!("the node has not ended after {END_DEADLINE:?}:\n{}", self.log())
    }

    async fn wait_until_serving(&mut self) -> anyhow::Result<Value> {
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            let said = std::fs::read_to_string(self.directory.path().join("announcement"));
            if let Some(line) = said.unwrap_or_default().strip_suffix('\n') {
                return serde_json::from_str(line).context("read the announcement");
            }
            if let Some(status) = self.child.try_wait().context("ask after the node")? {
                bail!("the node ended at once with {status}:\n{}", self.log());
            }
            ensure!(Instant::now() < deadline, "the node does not serve:\n{}", self.log());
            sleep(POLL_INTERVAL).await;
        }
    }
}

impl Drop for Node {
    /// Whatever a test left running goes, too; that nothing was left is for the test to say.
    fn drop(&mut self) {
        let footprint = self.footprint();
        self.kill();
        for Process { pid, .. } in footprint.left() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        if std::thread::panicking() {
            #[expect(clippy::print_stderr, reason = "the log of a failed test's node is what explains it")]
            {
                eprintln!("--- log of {}\n{}", self.id(), self.log());
            }
        }
    }
}

/// Waits until nothing of a footprint is left; what is left after all is the error.
pub async fn wait_until_gone(footprint: &Footprint) -> anyhow::Result<()> {
    let deadline = Instant::now() + GONE_DEADLINE;
    loop {
        let left = footprint.left();
        if left.is_empty() {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "still there after {GONE_DEADLINE:?}: {left:?}");
        sleep(POLL_INTERVAL).await;
    }
}

fn open(directory: &Path, mode: u32) -> anyhow::Result<()> {
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(mode)).context("open a directory")
}

fn log(directory: &Path) -> String {
    std::fs::read_to_string(directory.join("log")).unwrap_or_default()
}

fn arguments(directory: &Path, options: &Options<'_>) -> anyhow::Result<Vec<String>> {
    let (id, region) = (options.id.unwrap_or("node-1"), options.region.unwrap_or("eu-central"));
    let data = directory.join("data");
    let data = text(&data)?;
    let fixed = ["serve", "--announce", "--id", id, "--region", region, "--data-dir", data];
    let mut all: Vec<String> = fixed.iter().map(|&argument| argument.to_owned()).collect();
    if !options.arguments.iter().any(|argument| argument == "--listen") {
        all.extend(["--listen".into(), "127.0.0.1:0".into()]);
    }
    // A machine that is short of memory or disk while tests run must not make its nodes refuse sessions.
    let decides = |argument: &String| argument == "--config" || argument.starts_with("--health");
    if !options.arguments.iter().any(decides) {
        all.extend(["--health-memory=off".into(), "--health-disk=off".into()]);
    }
    if let Some(fleet) = options.fleet {
        let identity = fleet::run(&["identity", "--data-dir", data])?;
        let statement = fleet.sign(&identity, id, region)?;
        all.extend(["--statement".into(), text(&statement)?.to_owned()]);
        // A key may begin with a dash.
        all.push(format!("--token-key={}", fleet.issuer_key()));
    }
    all.extend(options.arguments.iter().cloned());
    Ok(all)
}

fn spawn(directory: &Path, launcher: &[String], arguments: &[String]) -> anyhow::Result<Child> {
    let file = |name: &str| File::create(directory.join(name)).with_context(|| format!("make the {name}"));
    let program = binary()?;
    let mut words: Vec<&OsStr> = launcher.iter().map(OsStr::new).collect();
    words.push(program.as_os_str());
    words.extend(arguments.iter().map(OsStr::new));
    Command::new(words[0])
        .args(&words[1..])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", directory.join("tmp"))
        .env("TMPDIR", directory.join("tmp"))
        .env("NO_COLOR", "1")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(file("announcement")?)
        .stderr(file("log")?)
        .spawn()
        .context("start cbrowse-node")
}
