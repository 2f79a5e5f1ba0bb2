//! A real etcd of one member on loopback, killed and reaped when dropped.

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use cbrowse_protocol::node::SERVICE;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::ports::free_ports;

/// Longest wait until it leads.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// How often it is asked whether it does.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// A running member.
#[derive(Debug)]
pub struct Etcd {
    child: Child,
    client: SocketAddr,
    _directory: TempDir,
}

impl Etcd {
    /// Starts one and waits until it answers and leads.
    pub async fn start() -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("etcd-").tempdir()?;
        let [client, peer] = free_ports()?;
        let [client, peer] = [client, peer].map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let [client_url, peer_url] = [client, peer].map(|address| format!("http://{address}"));
        let child = Command::new("etcd")
            .args(["--name", "bench", "--log-level", "error", "--data-dir"])
            .arg(directory.path())
            .args(["--listen-client-urls", &client_url, "--advertise-client-urls", &client_url])
            .args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url])
            .args(["--initial-cluster", &format!("bench={peer_url}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("start etcd (Debian's etcd-server)")?;
        let mut etcd = Self { child, client, _directory: directory };
        etcd.wait_until_ready().await?;
        Ok(etcd)
    }

    /// As a catalog.
    pub fn uri(&self) -> String {
        format!("etcd://{}", self.client)
    }

    /// Prints every change below the catalog's prefix.
    pub fn watch(&self) -> tokio::process::Command {
        let mut command = tokio::process::Command::from(self.etcdctl());
        command.args(["watch", "--prefix", &format!("{SERVICE}/")]);
        command
    }

    fn etcdctl(&self) -> Command {
        let mut command = Command::new("etcdctl");
        // Debian's etcdctl still speaks the second version of the API unless told otherwise.
        command.env("ETCDCTL_API", "3").args(["--endpoints", &self.client.to_string()]);
        command
    }

    async fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            ensure!(self.child.try_wait()?.is_none(), "etcd ended at once");
            let health = self.etcdctl().args(["endpoint", "health"]).output().context("start etcdctl")?;
            if health.status.success() {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "etcd is not ready after {START_DEADLINE:?}");
            sleep(POLL_INTERVAL).await;
        }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        // Only fails when it has ended already, and then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
