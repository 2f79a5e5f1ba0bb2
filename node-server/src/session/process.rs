//! A worker process that waits for its session: spawned, ready, vouched for.

use std::{
    os::{fd::OwnedFd, unix::net::UnixStream as StdUnixStream},
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

use tokio::{
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    process::{Child, Command},
};

use crate::{
    guard::channel::{self, ServerEnd},
    worker::link::{self, LinkError, Message, Report},
};

/// Making namespaces takes 20 ms; a machine under heavy load needs longer.
const READY_DEADLINE: Duration = Duration::from_secs(15);

/// What every worker of a node gets.
#[derive(Debug, Clone)]
pub struct Template {
    /// The browser's binary.
    pub chromium: PathBuf,
    /// Writable bytes.
    pub disk: u64,
    /// Chromium is started before there is a session.
    pub warm: bool,
    /// Between two saves of a profile that changes.
    pub autosave: Duration,
    /// Extensions that profiles carry are loaded.
    pub extensions: bool,
}

/// A worker whose room stands, before it has a session. Dropping it ends the room.
pub struct Waiting {
    /// The doorkeeper; killing it kills the room.
    pub child: Child,
    /// Reports come from here.
    pub reader: OwnedReadHalf,
    /// Orders go here.
    pub writer: OwnedWriteHalf,
    /// The guard's end.
    pub guard: ServerEnd,
    /// The one-use key.
    pub session_key: Vec<u8>,
}

impl Waiting {
    /// Whether its process still runs.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

/// Why there is no worker.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The process could not be started.
    #[error("start a worker: {0}")]
    Spawn(#[from] std::io::Error),
    /// It said why it cannot serve.
    #[error("the worker cannot make its room: {0}")]
    Unfit(String),
    /// It went or stayed silent.
    #[error("the worker ended before it was ready: {0}")]
    Link(#[from] LinkError),
    /// It stayed silent.
    #[error("the worker was not ready within {} s", READY_DEADLINE.as_secs())]
    Silent,
}

/// Starts a worker and waits until its room stands; with `warm_after`, its browser is started that much later.
pub async fn spawn(template: &Template, warm_after: Option<Duration>) -> Result<Waiting, ProcessError> {
    let (ours, theirs) = StdUnixStream::pair()?;
    let (guard_ours, guard_theirs) = channel::pair()?;
    let guard = ServerEnd::new(guard_ours)?;
    let child = command(template, warm_after, theirs.into(), guard_theirs).spawn()?;
    ours.set_nonblocking(true)?;
    let (mut reader, writer) = UnixStream::from_std(ours)?.into_split();
    let first = tokio::time::timeout(READY_DEADLINE, link::read::<Report>(&mut reader));
    match first.await.map_err(|_| ProcessError::Silent)?? {
        Message { head: Report::Ready { session_key }, .. } => {
            Ok(Waiting { child, reader, writer, guard, session_key })
        }
        Message { head: Report::Unfit(reason), .. } => Err(ProcessError::Unfit(reason)),
        Message { .. } => Err(ProcessError::Unfit("it spoke out of turn".into())),
    }
}

fn command(template: &Template, warm_after: Option<Duration>, link: OwnedFd, guard: OwnedFd) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command
        .arg("worker")
        .arg("--disk")
        .arg(template.disk.to_string())
        .arg("--chromium")
        .arg(&template.chromium)
        .arg("--autosave")
        .arg(template.autosave.as_secs().to_string())
        .args((!template.extensions).then_some("--no-extensions"))
        .args(warm_after.map(|pause| format!("--warm-after={}", pause.as_millis())))
        .env_clear()
        .envs(std::env::var_os("RUST_LOG").map(|filter| ("RUST_LOG", filter)))
        .current_dir("/")
        .stdin(Stdio::from(link))
        .stdout(Stdio::from(guard))
        .stderr(Stdio::inherit())
        // A Ctrl-C at the server's terminal is for the server, which then saves.
        .process_group(0)
        .kill_on_drop(true);
    command
}
