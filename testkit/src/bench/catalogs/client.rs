//! Programs that are timed as a person would run them: from the start of the process to its end.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike as _,
};
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

/// The same, and the processor time that the program took, in milliseconds. One program at a time.
pub fn timed_with_cpu(command: &mut Command) -> anyhow::Result<(Duration, f64)> {
    let before = cpu_of_children()?;
    let took = timed(command)?;
    Ok((took, cpu_of_children()? - before))
}

fn cpu_of_children() -> anyhow::Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    Ok((usage.user_time() + usage.system_time()).num_microseconds() as f64 / 1e3)
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
