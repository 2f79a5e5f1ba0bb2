//! A real S3 server on loopback (moto), with one bucket, in memory: killed and reaped when dropped.
//!
//! It takes any credentials. What it shows is that conditional writes, listings and the rest of the protocol work as a
//! store uses them.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use tokio::time::timeout;

use crate::{
    daemon::{Daemon, path},
    exchange::exchange,
    ports::{PORT_ATTEMPTS, free_ports},
};

/// The bucket that is there from the start.
pub const BUCKET: &str = "fleet";
/// How often the server is asked whether it serves. It starts a Python interpreter.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Longest wait for one answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);
/// moto tells services apart by the scope of the signature; it does not check the signature itself.
const SCOPE: &str = "Authorization: AWS4-HMAC-SHA256 Credential=id/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";

/// A running server.
#[derive(Debug)]
pub struct Moto {
    daemon: Daemon,
    port: u16,
}

impl Moto {
    /// Starts one, waits until it answers, and makes [`BUCKET`].
    pub async fn start() -> anyhow::Result<Self> {
        for _ in 0..PORT_ATTEMPTS {
            let [port] = free_ports()?;
            let daemon = Daemon::spawn(command(port), Daemon::room("moto")?)
                .context("testkit/install-moto.sh installs moto")?;
            let server = Self { daemon, port };
            if server.daemon.becomes(POLL_INTERVAL, async || server.answers().await).await? {
                server.make_bucket().await?;
                return Ok(server);
            }
        }
        bail!("no port stayed free for moto in {PORT_ATTEMPTS} attempts")
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// As an endpoint: `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Stops it where it stands: it keeps its connections and answers nothing.
    pub fn freeze(&self) -> anyhow::Result<()> {
        self.daemon.freeze()
    }

    /// Lets it go on.
    pub fn resume(&self) -> anyhow::Result<()> {
        self.daemon.resume()
    }

    /// Kills it; what it held is gone.
    pub fn kill(&mut self) {
        self.daemon.kill();
    }

    /// What it logged: one line for each request.
    pub fn log(&self) -> String {
        self.daemon.log()
    }

    async fn answers(&self) -> bool {
        self.ask("GET", "/").await.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }

    async fn make_bucket(&self) -> anyhow::Result<()> {
        let answer = self.ask("PUT", &format!("/{BUCKET}")).await?;
        ensure!(answer.starts_with("HTTP/1.1 200"), "the bucket was not made:\n{answer}");
        Ok(())
    }

    async fn ask(&self, method: &str, path: &str) -> anyhow::Result<String> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\n{SCOPE}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            self.address()
        );
        let answer = timeout(ANSWER_DEADLINE, exchange(self.address(), &request)).await;
        answer.context("moto does not answer")?
    }
}

fn command(port: u16) -> Command {
    let mut command = Command::new(program());
    command.args(["-H", "127.0.0.1", "-p", &port.to_string()]).env("PATH", path());
    // Nothing leaves the machine, whatever the environment of the test says.
    command.env("NO_PROXY", "*").env("PYTHONUNBUFFERED", "1");
    command
}

/// Where the installer puts it; elsewhere on the PATH.
fn program() -> PathBuf {
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/moto/bin/moto_server");
    if installed.exists() { installed } else { "moto_server".into() }
}
