//! A real Consul agent on loopback, on ports of its own, killed and reaped when dropped: alone and in memory, or one of
//! several in a datacenter, with a memory that survives its restart.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use tokio::time::timeout;

use crate::{
    daemon::Daemon,
    exchange::exchange,
    ports::{PORT_ATTEMPTS, free_ports},
};

/// How often an agent is asked whether it leads.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Longest wait for one answer of its API.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// A running agent.
#[derive(Debug)]
pub struct Consul {
    daemon: Daemon,
    ports: Ports,
    role: Role,
    configuration: Vec<String>,
    token: Option<String>,
}

/// What an agent is in its datacenter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// A datacenter of its own, in memory.
    Alone,
    /// A client that asks the servers; joins by the gossip port of another agent.
    Client(u16),
    /// One of two servers, which need each other; this is the other's gossip port.
    Server(u16),
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
        Self::launch(configuration, token, Role::Alone).await
    }

    /// A client agent that joins this one's datacenter, and remembers its services when it is restarted.
    pub async fn client(&self, configuration: &[&str]) -> anyhow::Result<Self> {
        Self::launch(configuration, self.token.as_deref(), Role::Client(self.ports.serf_lan)).await
    }

    /// A datacenter of two servers, which has no leader any more when one of them is killed.
    pub async fn two_servers() -> anyhow::Result<[Self; 2]> {
        for _ in 0..PORT_ATTEMPTS {
            let (ports, others) = (free()?, free()?);
            let one = Self::prepare(ports, &[], None, Role::Server(others.serf_lan))?;
            let other = Self::prepare(others, &[], None, Role::Server(ports.serf_lan))?;
            if one.wait_until_ready().await? && other.wait_until_ready().await? {
                return Ok([one, other]);
            }
        }
        bail!("no ports stayed free for consul in {PORT_ATTEMPTS} attempts")
    }

    async fn launch(configuration: &[&str], token: Option<&str>, role: Role) -> anyhow::Result<Self> {
        for _ in 0..PORT_ATTEMPTS {
            let consul = Self::prepare(free()?, configuration, token, role)?;
            if consul.wait_until_ready().await? {
                return Ok(consul);
            }
        }
        bail!("no ports stayed free for consul in {PORT_ATTEMPTS} attempts")
    }

    fn prepare(
        ports: Ports,
        configuration: &[&str],
        token: Option<&str>,
        role: Role,
    ) -> anyhow::Result<Self> {
        let configuration: Vec<String> = configuration.iter().map(|&text| text.to_owned()).collect();
        let directory = Daemon::room("consul")?;
        let command = command(ports, role, &configuration, directory.path());
        let daemon =
            Daemon::spawn(command, directory).context("testkit/install-consul.sh installs consul")?;
        Ok(Self { daemon, ports, role, configuration, token: token.map(str::to_owned) })
    }

    /// As a catalog: `consul://127.0.0.1:PORT`.
    pub fn http_uri(&self) -> String {
        format!("consul://{}", self.http_address())
    }

    /// What it calls itself among others, unless it is alone.
    pub fn node_name(&self) -> String {
        node_name(self.ports)
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
        self.daemon.kill();
    }

    /// Stops it where it stands: it keeps its connections and answers nothing, until [`Consul::resume`].
    pub fn freeze(&self) -> anyhow::Result<()> {
        self.daemon.freeze()
    }

    /// Lets it go on.
    pub fn resume(&self) -> anyhow::Result<()> {
        self.daemon.resume()
    }

    /// Kills it and starts it again at the same addresses. One that is alone keeps nothing: every registration is
    /// forgotten.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        let command = command(self.ports, self.role, &self.configuration, self.daemon.directory());
        self.daemon.restart(command)?;
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
        self.daemon.log()
    }

    /// Whether it is ready; not when it has ended.
    async fn wait_until_ready(&self) -> anyhow::Result<bool> {
        self.daemon.becomes(POLL_INTERVAL, async || self.leads().await).await
    }

    /// Whether it leads and knows itself: before that, a listing is empty and a registration may be lost.
    async fn leads(&self) -> bool {
        let path = "/v1/catalog/service/consul?consistent";
        self.request("GET", path, None)
            .await
            .is_ok_and(|nodes| nodes.as_array().is_some_and(|nodes| !nodes.is_empty()))
    }
}

fn free() -> anyhow::Result<Ports> {
    let [http, dns, serf_lan, serf_wan, server] = free_ports().context("find free ports")?;
    Ok(Ports { http, dns, serf_lan, serf_wan, server })
}

fn command(ports: Ports, role: Role, configuration: &[String], directory: &Path) -> Command {
    let port = |name: &str, port: u16| [format!("-{name}-port"), port.to_string()];
    let mut command = Command::new("consul");
    command
        .arg("agent")
        .args(role_arguments(ports, role, directory))
        .args(["-bind", "127.0.0.1", "-client", "127.0.0.1", "-log-level", "warn"])
        .args(port("http", ports.http))
        .args(port("dns", ports.dns))
        .args(port("serf-lan", ports.serf_lan))
        .args(port("serf-wan", ports.serf_wan))
        .args(port("server", ports.server))
        // Without these it would take its usual ports and ask the internet for updates.
        .args(["-grpc-port", "-1", "-hcl", "disable_update_check = true\nconnect { enabled = false }"])
        .args(configuration.iter().flat_map(|text| ["-hcl", text]));
    command
}

fn node_name(ports: Ports) -> String {
    format!("agent-{}", ports.serf_lan)
}

fn role_arguments(ports: Ports, role: Role, directory: &Path) -> Vec<String> {
    let owned = |arguments: &[&str]| arguments.iter().map(|&text| text.to_owned()).collect();
    let join = match role {
        Role::Alone => return owned(&["-dev"]),
        Role::Client(port) | Role::Server(port) => format!("127.0.0.1:{port}"),
    };
    // Agents of one datacenter need names of their own.
    let name = node_name(ports);
    let data = directory.join("data").display().to_string();
    let mut arguments: Vec<String> =
        owned(&["-node", &name, "-data-dir", &data, "-retry-join", &join, "-retry-interval", "1s"]);
    // Gossip and elections at the pace of a network, not of continents.
    arguments.extend(owned(&["-hcl", "performance { raft_multiplier = 1 }"]));
    if matches!(role, Role::Server(_)) {
        arguments.extend(owned(&["-server", "-bootstrap-expect", "2"]));
    }
    arguments
}
