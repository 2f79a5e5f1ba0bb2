//! A room ends with its server and not before, whatever signals go round. Needs user namespaces, as a node does.

use std::{
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::Stdio,
    time::Duration,
};

use cbrowse_node::{
    sys::namespace::WITHOUT_SERVER,
    worker::link::{self, Report},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::process::{Child, Command};

/// A busy machine takes this long to see a process end.
const PATIENCE: Duration = Duration::from_secs(10);

struct Worker {
    doorkeeper: Child,
    link: tokio::net::UnixStream,
    _guard: UnixStream,
}

async fn worker() -> Worker {
    let (ours, theirs) = UnixStream::pair().expect("a socket pair");
    let (guard, guard_theirs) = UnixStream::pair().expect("a socket pair");
    let doorkeeper = Command::new(env!("CARGO_BIN_EXE_cbrowse-node"))
        .args([
            "worker",
            "--disk",
            "16777216",
            "--chromium",
            "/usr/lib/chromium/chromium",
            "--autosave",
            "20",
        ])
        .env_clear()
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::from(OwnedFd::from(guard_theirs)))
        .kill_on_drop(true)
        .spawn()
        .expect("a worker");
    ours.set_nonblocking(true).expect("non-blocking");
    let mut link = tokio::net::UnixStream::from_std(ours).expect("on the reactor");
    let first = tokio::time::timeout(PATIENCE, link::read::<Report>(&mut link)).await.expect("in time");
    assert!(matches!(first.expect("a report").head, Report::Ready { .. }));
    Worker { doorkeeper, link, _guard: guard }
}

impl Worker {
    fn id(&self) -> Pid {
        Pid::from_raw(self.doorkeeper.id().expect("it runs").cast_signed())
    }

    /// The doorkeeper's only child.
    fn first_process(&self) -> Pid {
        let id = self.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).expect("children");
        Pid::from_raw(children.trim().parse().expect("one child"))
    }
}

#[tokio::test]
async fn signals_that_reach_every_process_do_not_end_a_room() {
    let mut worker = worker().await;
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT] {
        kill(worker.id(), signal).expect("a signal");
        kill(worker.first_process(), signal).expect("a signal");
    }
    let ended = tokio::time::timeout(Duration::from_secs(1), worker.doorkeeper.wait()).await;
    assert!(ended.is_err(), "the room ended: {ended:?}");
    drop(worker.link);
    tokio::time::timeout(PATIENCE, worker.doorkeeper.wait())
        .await
        .expect("it ends with its server")
        .expect("status");
}

#[tokio::test]
async fn a_stopped_room_ends_after_its_server() {
    let mut worker = worker().await;
    let first = worker.first_process();
    kill(first, Signal::SIGSTOP).expect("a signal");
    drop(worker.link);
    let ended = tokio::time::timeout(WITHOUT_SERVER + PATIENCE, worker.doorkeeper.wait()).await;
    ended.expect("the doorkeeper ends").expect("status");
    assert!(kill(first, None).is_err(), "process 1 is gone");
}
