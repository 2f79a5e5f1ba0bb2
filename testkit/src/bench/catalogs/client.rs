//! Programs that are timed as a person would run them: from the start of the process to its end.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tempfile::TempDir;

/// Runs a program to its end without an output and tells how long that took.
pub fn timed(command: &mut Command) -> anyhow::Result<Duration> {
    let started = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("start {command:?}"))?;
    let status = child.wait()?;
    let took = started.elapsed();
    ensure!(status.success(), "{command:?}: {status}");
    Ok(took)
}

/// Runs one of [`Client`]'s commands below a small process of this program, which tells what the command spent.
pub fn spent(command: &Command) -> anyhow::Result<Value> {
    let output = Command::new(std::env::current_exe()?)
        .arg("spent")
        .arg(command.get_program())
        .args(command.get_args())
        .env_clear()
        .envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .output()
        .with_context(|| format!("start {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("read what the command spent")
}

/// `curl` fetching an answer into nothing.
pub fn curl(url: &str) -> Command {
    let mut command = Command::new("curl");
    command.args(["--silent", "--fail", "--output", "/dev/null", url]);
    command
}

/// `cbrowse` as a user with an empty home runs it.
#[derive(Debug)]
pub struct Client {
    program: PathBuf,
    home: TempDir,
}

impl Client {
    /// The program beside this one.
    pub fn new() -> anyhow::Result<Self> {
        let program = std::env::current_exe()?.with_file_name("cbrowse");
        ensure!(
            program.is_file(),
            "cbrowse is not beside this program; build it: cargo build {}-p cbrowse",
            if cfg!(debug_assertions) { "" } else { "--release " }
        );
        Ok(Self { program, home: tempfile::Builder::new().prefix("cbrowse-bench-").tempdir()? })
    }

    /// `cbrowse --version`.
    pub fn version(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--version").env_clear().env("HOME", self.home.path());
        command
    }

    /// What a shell runs when TAB is pressed after `cbrowse connect --catalog CATALOG FLAG `.
    pub fn complete(&self, catalog: &str, flag: &str) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(["--", "cbrowse", "connect", "--catalog", catalog, flag, ""])
            .env_clear()
            .env("COMPLETE", "bash")
            .env("_CLAP_COMPLETE_INDEX", "5")
            .env("_CLAP_IFS", "\n")
            .env("HOME", self.home.path());
        command
    }

    /// `cbrowse nodes list --catalog CATALOG` with further arguments.
    pub fn list(&self, catalog: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(["nodes", "list", "--catalog", catalog])
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home.path());
        command
    }
}
