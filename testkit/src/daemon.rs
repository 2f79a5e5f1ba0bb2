//! What the launchers of servers share: a process in a directory of its own, which logs to a file there, is asked until it
//! serves, can be stopped where it stands, and is killed and reaped when dropped.

use std::{
    ffi::OsString,
    fs::File,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use nix::{
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, waitpid},
    },
    unistd::Pid,
};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

/// Longest wait until a server serves. It takes a second or two; a loaded machine more.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// Debian puts servers where nobody but root looks for programs.
pub(crate) fn path() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    path
}

/// A running server and its directory.
#[derive(Debug)]
pub(crate) struct Daemon {
    /// Locked for a moment at a time, so that whoever waits for the server may talk to it meanwhile.
    child: Mutex<Child>,
    directory: TempDir,
}

impl Daemon {
    /// A directory for a server called `name`, removed with it.
    pub(crate) fn room(name: &str) -> anyhow::Result<TempDir> {
        tempfile::Builder::new().prefix(&format!("{name}-")).tempdir().context("make a directory")
    }

    /// Starts a server in the foreground, with nothing of this process's environment but what `command` names.
    pub(crate) fn spawn(command: Command, directory: TempDir) -> anyhow::Result<Self> {
        let child = Mutex::new(spawn(command, directory.path())?);
        Ok(Self { child, directory })
    }

    /// Kills it and starts `command` in its place.
    pub(crate) fn restart(&mut self, command: Command) -> anyhow::Result<()> {
        self.kill();
        self.child = Mutex::new(spawn(command, self.directory.path())?);
        Ok(())
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What it wrote, before a restart, too.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.directory().join("log")).unwrap_or_default()
    }

    /// Waits until it is ready, asking once `every` so often; `false` when it has ended because a port was taken.
    pub(crate) async fn becomes(
        &self,
        every: Duration,
        is_ready: impl AsyncFn() -> bool,
    ) -> anyhow::Result<bool> {
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            if self.child().try_wait().context("ask after the server")?.is_some() {
                let log = self.log();
                ensure!(log.contains("already in use"), "the server ended at once:\n{log}");
                return Ok(false);
            }
            if is_ready().await {
                return Ok(true);
            }
            ensure!(
                Instant::now() < deadline,
                "the server is not ready after {START_DEADLINE:?}:\n{}",
                self.log()
            );
            sleep(every).await;
        }
    }

    /// Stops it where it stands: it keeps its connections and answers nothing.
    pub(crate) fn freeze(&self) -> anyhow::Result<()> {
        let pid = self.signal(Signal::SIGSTOP)?;
        // The signal's sender goes on before every thread of the receiver has stopped.
        waitpid(pid, Some(WaitPidFlag::WUNTRACED)).context("wait until the server stands still")?;
        Ok(())
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) -> anyhow::Result<()> {
        self.signal(Signal::SIGCONT).map(drop)
    }

    pub(crate) fn kill(&self) {
        let mut child = self.child();
        // Only fails when it has ended already, and then there is nothing to kill.
        let _ = child.kill();
        let _ = child.wait();
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<Pid> {
        let pid = Pid::from_raw(i32::try_from(self.child().id()).context("a process number")?);
        kill(pid, signal).with_context(|| format!("send {signal} to the server"))?;
        Ok(pid)
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(mut command: Command, directory: &Path) -> anyhow::Result<Child> {
    let log =
        File::options().create(true).append(true).open(directory.join("log")).context("make the log")?;
    let environment: Vec<_> =
        command.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))).collect();
    command
        .env_clear()
        .envs(environment)
        .env("PATH", path())
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(log.try_clone().context("share the log")?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("start {} (./test.sh installs it)", command.get_program().display()))
}
