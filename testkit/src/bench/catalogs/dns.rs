//! A real DNS server (Knot) whose one zone names nodes by SRV records; killed and reaped when dropped.

use std::{
    fmt::Write as _,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::{daemon::path, ports::free_ports};

/// Longest wait until it answers.
const START_DEADLINE: Duration = Duration::from_secs(20);
/// How often it is asked.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// The name of the records. Short, so that a thousand of them and their addresses fit one message of 64 KiB.
const NAME: &str = "nodes.bench";

/// A running server.
#[derive(Debug)]
pub struct Dns {
    child: Child,
    address: SocketAddr,
    _directory: TempDir,
}

impl Dns {
    /// Starts one that names `count` nodes.
    pub async fn start(count: usize) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("knot-").tempdir()?;
        let [port] = free_ports()?;
        std::fs::write(directory.path().join("zone"), zone(count))?;
        std::fs::write(directory.path().join("settings"), settings(directory.path(), port))?;
        let child = Command::new("knotd")
            .env("PATH", path())
            .arg("--config")
            .arg(directory.path().join("settings"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("start knotd (Debian's knot)")?;
        let address = (Ipv4Addr::LOCALHOST, port).into();
        let mut dns = Self { child, address, _directory: directory };
        dns.wait_until_ready().await?;
        Ok(dns)
    }

    /// As a catalog.
    pub fn uri(&self) -> String {
        format!("dns+srv://{NAME}?server={}&local=true", self.address)
    }

    /// The same question by Knot's own client.
    pub fn kdig(&self) -> Command {
        let mut command = Command::new("kdig");
        command.arg(format!("@{}", self.address.ip())).args(["-p", &self.address.port().to_string()]);
        command.args(["+tcp", "+retry=0", "SRV", NAME]);
        command
    }

    async fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            ensure!(self.child.try_wait()?.is_none(), "knotd ended at once");
            let answer = self.kdig().output().context("start kdig (Debian's knot-dnsutils)")?;
            if String::from_utf8_lossy(&answer.stdout).contains("status: NOERROR") {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "knotd does not answer after {START_DEADLINE:?}");
            sleep(POLL_INTERVAL).await;
        }
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        // Only fails when it has ended already, and then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn settings(directory: &Path, port: u16) -> String {
    let directory = directory.display();
    format!(
        "server:\n    listen: 127.0.0.1@{port}\n    rundir: {directory}\ndatabase:\n    storage: {directory}\n\
         zone:\n  - domain: bench\n    storage: {directory}\n    file: zone\n"
    )
}

fn zone(count: usize) -> String {
    let mut zone = String::from(
        "$ORIGIN bench.\n$TTL 30\n@ SOA ns hostmaster 1 3600 600 86400 30\n@ NS ns\nns A 127.0.0.1\n",
    );
    for index in 0..count {
        let address =
            Ipv4Addr::from(0x0a00_0001 + u32::try_from(index).expect("a benchmark's nodes can be counted"));
        let _ = writeln!(zone, "nodes SRV 10 5 7443 n{index:04}\nn{index:04} A {address}");
    }
    zone
}
