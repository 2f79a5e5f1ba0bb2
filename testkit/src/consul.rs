//! A real Consul agent on loopback: in memory, on ports of its own, killed and reaped when dropped.

use std::{
    fs::File,
    net::{Ipv4Addr, SocketAddr},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use crate::ports::free_ports;

/// Longest wait until the agent leads its cluster of one. It takes one to two seconds; a loaded machine more.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// How often it is asked whether it does.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Longest wait for one answer of its API.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);
/// How often other ports are tried when somebody took one meanwhile.
const PORT_ATTEMPTS: usize = 5;

/// A running agent.
#[derive(Debug)]
pub struct Consul {
    child: Child,
    ports: Ports,
    configuration: Vec<String>,
    token: Option<String>,
    directory: TempDir,
}

#[derive(Debug, Clone, Copy)]
struct Ports {
    http: u16,
    dns: u16,
    serf_lan: u16,
    serf_wan: u16,
    server: u16,
}

impl Consul {
    /// Starts one and waits until it answers and leads.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(&[], None).await
    }

    /// The same with further pieces of configuration, each in Consul's HCL, and the token it then asks for.
    pub async fn start_with(configuration: &[&str], token: Option<&str>) -> anyhow::Result<Self> {
        let configuration: Vec<String> = configuration.iter().map(|&text| text.to_owned()).collect();
        for _ in 0..PORT_ATTEMPTS {
            let directory =
                tempfile::Builder::new().prefix("consul-").tempdir().context("make a directory")?;
            let [http, dns, serf_lan, serf_wan, server] = free_ports().context("find free ports")?;
            let ports = Ports { http, dns, serf_lan, serf_wan, server };
            let child = spawn(ports, &configuration, &directory)?;
            let mut consul = Self {
                child,
                ports,
                configuration: configuration.clone(),
                token: token.map(str::to_owned),
                directory,
            };
            if consul.wait_until_ready().await? {
                return Ok(consul);
            }
            let log = consul.log();
            ensure!(log.contains("address already in use"), "consul ended at once:\n{log}");
        }
        bail!("no ports stayed free for consul in {PORT_ATTEMPTS} attempts")
    }

    /// As a catalog: `consul://127.0.0.1:PORT`.
    pub fn http_uri(&self) -> String {
        format!("consul://{}", self.http_address())
    }

    /// Where its HTTP API listens.
    pub fn http_address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports.http).into()
    }

    /// Where its DNS listens, TCP and UDP.
    pub fn dns_server(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports.dns).into()
    }

    /// Kills it without a farewell; [`Consul::restart`] brings it back.
    pub fn kill(&mut self) {
        // Only fails when it has ended already, and then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Kills it and starts it again at the same addresses. It keeps nothing: every registration is forgotten.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.kill();
        self.child = spawn(self.ports, &self.configuration, &self.directory)?;
        ensure!(self.wait_until_ready().await?, "consul did not come back:\n{}", self.log());
        Ok(())
    }

    /// One request to its API, as an operator's `curl` would send it; any status but 200 is an error.
    pub async fn request(&self, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let body = body.map_or(String::new(), Value::to_string);
        let token = self.token.as_ref().map_or(String::new(), |token| format!("X-Consul-Token: {token}\r\n"));
        let request = format!(
            "{method} {path} HTTP/1.0\r\nHost: localhost\r\n{token}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = timeout(ANSWER_DEADLINE, exchange(self.http_address(), &request)).await;
        let answer = answer.with_context(|| format!("{method} {path}: no answer"))??;
        let (head, body) = answer.split_once("\r\n\r\n").context("an answer without a body")?;
        let status = head.split(' ').nth(1).unwrap_or_default();
        ensure!(status == "200", "{method} {path}: status {status}: {body}");
        if body.trim().is_empty() {
            Ok(Value::Null)
        } else {
            serde_json::from_str(body).context("parse the answer")
        }
    }

    /// What it wrote to its log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// Whether it is ready; not when it has ended.
    async fn wait_until_ready(&mut self) -> anyhow::Result<bool> {
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            if self.child.try_wait().context("ask after consul")?.is_some() {
                return Ok(false);
            }
            if self.leads().await {
                return Ok(true);
            }
            ensure!(
                Instant::now() < deadline,
                "consul is not ready after {START_DEADLINE:?}:\n{}",
                self.log()
            );
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Whether it leads and knows itself: before that, a listing is empty and a registration may be lost.
    async fn leads(&self) -> bool {
        let path = "/v1/catalog/service/consul?consistent";
        self.request("GET", path, None)
            .await
            .is_ok_and(|nodes| nodes.as_array().is_some_and(|nodes| !nodes.is_empty()))
    }
}

impl Drop for Consul {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(ports: Ports, configuration: &[String], directory: &TempDir) -> anyhow::Result<Child> {
    let log = File::create(directory.path().join("log")).context("make the log")?;
    let port = |name: &str, port: u16| [format!("-{name}-port"), port.to_string()];
    Command::new("consul")
        .args(["agent", "-dev", "-bind", "127.0.0.1", "-client", "127.0.0.1", "-log-level", "warn"])
        .args(port("http", ports.http))
        .args(port("dns", ports.dns))
        .args(port("serf-lan", ports.serf_lan))
        .args(port("serf-wan", ports.serf_wan))
        .args(port("server", ports.server))
        // Without these it would take its usual ports and ask the internet for updates.
        .args(["-grpc-port", "-1", "-hcl", "disable_update_check = true\nconnect { enabled = false }"])
        .args(configuration.iter().flat_map(|text| ["-hcl", text]))
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .stdout(log.try_clone().context("share the log")?)
        .stderr(log)
        .spawn()
        .context("start consul (testkit/install-consul.sh installs it)")
}

pub(crate) async fn exchange(address: SocketAddr, request: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    String::from_utf8(answer).context("an answer that is not UTF-8")
}
