//! What the launchers of DNS servers share: a daemon on a port of its own that ends with its owner, and a question
//! that shows that it serves.

use std::{
    ffi::OsString,
    fs::File,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

/// Longest wait until a server answers. It takes a fraction of a second; a loaded machine more.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// How often it is asked whether it does.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Longest wait for one answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// The question for a zone's SOA record (RFC 1035 sections 3.2.2 and 3.2.4).
const TYPE_SOA: u16 = 6;
const CLASS_IN: u16 = 1;

/// Debian puts servers where nobody but root looks for programs.
pub(crate) fn path() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    path
}

/// A running server, killed and reaped when dropped, and its directory.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    directory: TempDir,
}

impl Daemon {
    /// Starts a server in the foreground, which logs to its error output.
    pub(crate) fn spawn(mut command: Command, directory: TempDir) -> anyhow::Result<Self> {
        let log = File::create(directory.path().join("log")).context("make the log")?;
        let child = command
            .env_clear()
            .env("PATH", path())
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("share the log")?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {} (./test.sh installs it)", command.get_program().display()))?;
        Ok(Self { child, directory })
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.directory().join("log")).unwrap_or_default()
    }

    /// Waits until it answers for `zone`; `false` when it has ended because a port was taken.
    pub(crate) async fn serves(&mut self, address: SocketAddr, zone: &str) -> anyhow::Result<bool> {
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            if self.child.try_wait().context("ask after the server")?.is_some() {
                let log = self.log();
                ensure!(log.contains("address already in use"), "the server ended at once:\n{log}");
                return Ok(false);
            }
            if matches!(timeout(ANSWER_DEADLINE, answers(address, zone)).await, Ok(Ok(true))) {
                return Ok(true);
            }
            ensure!(Instant::now() < deadline, "the server is not ready:\n{}", self.log());
            sleep(POLL_INTERVAL).await;
        }
    }

    pub(crate) fn kill(&mut self) {
        // Only fails when it has ended already, and then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Whether the zone's SOA record is there, over TCP.
async fn answers(address: SocketAddr, zone: &str) -> std::io::Result<bool> {
    // Number 1, recursion desired, one question.
    let mut question = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in zone.split('.') {
        question.push(u8::try_from(label.len()).map_err(std::io::Error::other)?);
        question.extend(label.as_bytes());
    }
    question.push(0);
    question.extend([TYPE_SOA.to_be_bytes(), CLASS_IN.to_be_bytes()].concat());
    let mut stream = TcpStream::connect(address).await?;
    stream.write_u16(u16::try_from(question.len()).map_err(std::io::Error::other)?).await?;
    stream.write_all(&question).await?;
    let mut answer = vec![0; stream.read_u16().await?.into()];
    stream.read_exact(&mut answer).await?;
    // No error, and at least one answer.
    Ok(answer.len() > 7 && answer[3] % 16 == 0 && (answer[6], answer[7]) != (0, 0))
}
