//! A user's machine: a home of its own, the real binary, and what it says.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use cbrowse_testkit::{fleet::Fleet, node::Node};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStderr, ChildStdout, Command},
    time::timeout,
};

/// No command of these tests takes longer, Chromium's start on a loaded machine included.
pub(crate) const DEADLINE: Duration = Duration::from_secs(90);
/// What seals the keys of a user without a keyring.
pub(crate) const PASSPHRASE: &[u8] = b"seven quiet harbours\n";

/// A user with a home, and perhaps a token and a catalog.
pub(crate) struct User {
    home: TempDir,
    variables: Vec<(&'static str, String)>,
}

/// A command that runs.
pub(crate) struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
    stderr: BufReader<ChildStderr>,
    /// What it has said so far.
    pub(crate) said: String,
}

/// How a command ended.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<std::process::Output> for Ended {
    fn from(output: std::process::Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl User {
    pub(crate) fn new() -> Self {
        let home = tempfile::tempdir().expect("a home");
        // Nodes that the demonstration starts become other users, and pass through here.
        let passable = || std::fs::Permissions::from_mode(0o711);
        std::fs::create_dir(home.path().join("tmp")).expect("a directory");
        for path in [home.path().to_owned(), home.path().join("tmp")] {
            std::fs::set_permissions(path, passable()).expect("open the directory");
        }
        Self { home, variables: Vec::new() }
    }

    /// A user who trusts this fleet and has its token.
    pub(crate) async fn of(fleet: &Fleet) -> Self {
        let user = Self::new().with_token(fleet.token("ada").expect("a token"));
        user.run(&["trust", "add", &format!("--fleet={}", fleet.key())]).await.succeeded();
        user
    }

    pub(crate) fn with_token(self, token: impl Into<String>) -> Self {
        self.with("CBROWSE_TOKEN", token)
    }

    pub(crate) fn with_catalog(self, uri: impl Into<String>) -> Self {
        self.with("CBROWSE_CATALOG", uri)
    }

    /// With a catalog file that names these nodes.
    pub(crate) fn knowing(self, nodes: &[&Node]) -> Self {
        self.write_catalog(&nodes.iter().map(|node| node.record()).collect::<Vec<_>>());
        self.with_catalog("file:nodes.json")
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.variables.retain(|(known, _)| *known != name);
        self.variables.push((name, value.into()));
        self
    }

    pub(crate) fn write_catalog(&self, records: &[Value]) {
        let text = serde_json::to_vec(records).expect("JSON");
        std::fs::write(self.file("nodes.json"), text).expect("write the catalog");
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Its `TMPDIR`.
    pub(crate) fn temporary_dir(&self) -> PathBuf {
        self.file("tmp")
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cbrowse"));
        command
            .args(arguments)
            .env_clear()
            .env("HOME", self.home.path())
            .env("TMPDIR", self.temporary_dir())
            .env("PATH", "/usr/bin:/bin")
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(self.home.path())
            // The passphrase, for whoever is told --passphrase-fd 0; no terminal for anybody.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Runs a command to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Ended {
        self.start(arguments).await.end().await
    }

    /// Starts a command.
    pub(crate) async fn start(&self, arguments: &[&str]) -> Running {
        let mut child = self.command(arguments).spawn().expect("start cbrowse");
        let mut stdin = child.stdin.take().expect("piped");
        // Whoever does not read it is no error.
        let _ = stdin.write_all(PASSPHRASE).await;
        drop(stdin);
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        Running { child, stdout, stderr, said: String::new() }
    }
}

impl Running {
    /// Reads what it says until a line holds `words`; the rest of that line.
    pub(crate) async fn until(&mut self, words: &str) -> String {
        let reading = async {
            loop {
                let mut line = String::new();
                let read = self.stderr.read_line(&mut line).await.expect("read its words");
                assert!(read > 0, "it ended without {words:?}:\n{}", self.said);
                self.said.push_str(&line);
                if let Some((_, rest)) = line.split_once(words) {
                    return rest.trim().to_owned();
                }
            }
        };
        let found = timeout(DEADLINE, reading).await;
        found.unwrap_or_else(|_| panic!("it never said {words:?}:\n{}", self.said))
    }

    /// The next line of JSON on its standard output.
    pub(crate) async fn next_document(&mut self) -> Value {
        let mut line = String::new();
        let read = timeout(DEADLINE, self.stdout.read_line(&mut line)).await;
        let read = read.expect("it says nothing").expect("read its output");
        assert!(read > 0, "it ended:\n{}", self.said);
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    /// What it writes to its standard output up to a line that holds `words`.
    pub(crate) async fn lines_until(&mut self, words: &str) -> String {
        let mut text = String::new();
        while !text.lines().last().is_some_and(|line| line.contains(words)) {
            let read = timeout(DEADLINE, self.stdout.read_line(&mut text)).await;
            let read = read.unwrap_or_else(|_| panic!("it never wrote {words:?}:\n{text}"));
            assert!(read.expect("read its output") > 0, "it ended without {words:?}:\n{text}");
        }
        text
    }

    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Sends it a signal, as a terminal would.
    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).expect("it runs");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).expect("signal it");
    }

    /// Waits for its end.
    pub(crate) async fn end(mut self) -> Ended {
        let (mut out, mut err) = (String::new(), String::new());
        let ended = timeout(DEADLINE, async {
            let (read_out, read_err, status) = tokio::join!(
                self.stdout.read_to_string(&mut out),
                self.stderr.read_to_string(&mut err),
                self.child.wait()
            );
            read_out.and(read_err).expect("UTF-8");
            status.expect("its status")
        });
        let status = ended.await.unwrap_or_else(|_| panic!("it does not end:\n{}", self.said));
        Ended { code: status.code(), stdout: out, stderr: self.said + &err }
    }
}

impl Ended {
    /// The one JSON document of a success.
    pub(crate) fn document(&self) -> Value {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {:?}", self.stdout))
    }

    pub(crate) fn succeeded(&self) {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
    }

    /// The error of a command that was given `--json`: its exit code, its stable code and everything else.
    pub(crate) fn error(&self) -> (i32, String, Value) {
        assert_eq!(self.stdout, "", "{}", self.stderr);
        let error = error_of(&self.stderr);
        let code = self.code.expect("an exit code");
        assert_eq!(error["exit"], code);
        (code, error["code"].as_str().expect("a code").to_owned(), error)
    }
}

/// The last line of standard error, as `--json` promises it.
fn error_of(stderr: &str) -> Value {
    let last = stderr.lines().last().unwrap_or_default();
    let value: Value = serde_json::from_str(last).unwrap_or_else(|_| panic!("no JSON at the end:\n{stderr}"));
    let fields: Vec<_> = value["error"].as_object().expect("an error").keys().map(String::as_str).collect();
    assert_eq!(fields, ["code", "details", "exit", "hint", "message"]);
    value["error"].clone()
}
