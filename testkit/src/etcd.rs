//! A real etcd on loopback, one member or three: data in a directory of its own, killed and reaped when dropped.

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use tokio::time::timeout;

use crate::{
    daemon::{Daemon, path},
    exchange::exchange,
    ports::{PORT_ATTEMPTS, free_ports},
};

/// How often a member is asked whether it has a leader.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Longest wait for one answer of its API.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// A running member.
#[derive(Debug)]
pub struct Etcd {
    daemon: Daemon,
    place: Place,
    arguments: Vec<String>,
}

/// Where a member listens, and with whom it is a cluster.
#[derive(Debug, Clone)]
struct Place {
    name: String,
    scheme: &'static str,
    client: u16,
    peer: u16,
    /// Plain HTTP, whatever the client's port speaks.
    health: u16,
    cluster: String,
}

impl Etcd {
    /// Starts one that is a cluster by itself, and waits until it answers.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(&[]).await
    }

    /// The same with further arguments; those that name a certificate make it speak HTTPS.
    pub async fn start_with(arguments: &[&str]) -> anyhow::Result<Self> {
        let [member] = Self::start_cluster(arguments).await?;
        Ok(member)
    }

    /// As many members as are asked for.
    pub async fn start_cluster<const COUNT: usize>(arguments: &[&str]) -> anyhow::Result<[Self; COUNT]> {
        let arguments: Vec<String> = arguments.iter().map(|&text| text.to_owned()).collect();
        for _ in 0..PORT_ATTEMPTS {
            let places = places::<COUNT>(&arguments)?;
            let members = places.into_iter().map(|place| Self::spawn(place, arguments.clone()));
            let members: Vec<Self> = members.collect::<anyhow::Result<_>>()?;
            let mut are_ready = true;
            for member in &members {
                are_ready &= member.wait_until_ready().await?;
            }
            if are_ready {
                return members.try_into().map_err(|_| anyhow::anyhow!("another count of members"));
            }
        }
        bail!("no ports stayed free for etcd in {PORT_ATTEMPTS} attempts")
    }

    fn spawn(place: Place, arguments: Vec<String>) -> anyhow::Result<Self> {
        let daemon = Daemon::spawn(command(&place, &arguments), Daemon::room("etcd")?)?;
        Ok(Self { daemon, place, arguments })
    }

    /// As a catalog: `etcd://127.0.0.1:PORT`.
    pub fn uri(&self) -> String {
        format!("etcd://{}", self.address())
    }

    /// Where its clients connect.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.place.client).into()
    }

    /// Kills it without a farewell; [`Etcd::restart`] brings it back.
    pub fn kill(&mut self) {
        self.daemon.kill();
    }

    /// Stops it in its tracks: connections stay, and nobody answers. [`Etcd::kill`] works on such a one, too.
    pub fn pause(&self) -> anyhow::Result<()> {
        self.daemon.freeze()
    }

    /// Lets it go on.
    pub fn resume(&self) -> anyhow::Result<()> {
        self.daemon.resume()
    }

    /// Kills it and starts it again at the same addresses, with all that it had written.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.daemon.restart(command(&self.place, &self.arguments))?;
        ensure!(self.wait_until_ready().await?, "etcd did not come back:\n{}", self.log());
        Ok(())
    }

    /// The same, and everything is forgotten: its revisions count from the start.
    pub async fn restart_empty(&mut self) -> anyhow::Result<()> {
        self.kill();
        let data = self.daemon.directory().join("data");
        std::fs::remove_dir_all(data).context("remove the data")?;
        self.restart().await
    }

    /// `etcdctl` as an operator runs it against this member; what it prints.
    pub async fn ctl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let endpoint = format!("{}://{}", self.place.scheme, self.address());
        let mut command = tokio::process::Command::new("etcdctl");
        command.args(["--endpoints", &endpoint]).args(arguments);
        command.env_clear().env("PATH", path()).env("ETCDCTL_API", "3").kill_on_drop(true);
        let output = command.output().await.context("start etcdctl (Debian's etcd-client has it)")?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "etcdctl {}: {errors}", arguments.join(" "));
        String::from_utf8(output.stdout).context("output that is not UTF-8")
    }

    /// One question to its JSON gateway, as an operator's `curl` would put it; any status but 200 is an error.
    pub async fn request(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let body = body.to_string();
        let request = format!(
            "POST {path} HTTP/1.0\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = timeout(ANSWER_DEADLINE, exchange(self.address(), &request)).await;
        let answer = answer.with_context(|| format!("{path}: no answer"))??;
        let (head, body) = answer.split_once("\r\n\r\n").context("an answer without a body")?;
        ensure!(head.split(' ').nth(1) == Some("200"), "{path}: {head}: {body}");
        serde_json::from_str(body).context("parse the answer")
    }

    /// A counter of its own, summed over all its rows that have `label`, such as `grpc_method="Range"`.
    pub async fn metric(&self, name: &str, label: &str) -> anyhow::Result<u64> {
        let text = self.ask_plainly("/metrics").await?;
        let counts = text.lines().filter(|line| line.starts_with(name) && line.contains(label));
        Ok(counts.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum())
    }

    /// What it wrote to its log.
    pub fn log(&self) -> String {
        self.daemon.log()
    }

    /// Whether it is ready; not when it has ended.
    async fn wait_until_ready(&self) -> anyhow::Result<bool> {
        self.daemon.becomes(POLL_INTERVAL, async || self.is_healthy().await).await
    }

    /// Whether it can write: it has a leader.
    async fn is_healthy(&self) -> bool {
        self.ask_plainly("/health").await.is_ok_and(|text| text.contains(r#"{"health":"true"}"#))
    }

    async fn ask_plainly(&self, path: &str) -> anyhow::Result<String> {
        let address = (Ipv4Addr::LOCALHOST, self.place.health).into();
        let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
        let answer = timeout(ANSWER_DEADLINE, exchange(address, &request)).await;
        answer.with_context(|| format!("{path}: no answer"))?
    }
}

fn places<const COUNT: usize>(arguments: &[String]) -> anyhow::Result<Vec<Place>> {
    let is_tls = arguments.iter().any(|argument| argument.starts_with("--cert-file"));
    let mut places = Vec::new();
    for index in 0..COUNT {
        let [client, peer, health] = free_ports().context("find free ports")?;
        let scheme = if is_tls { "https" } else { "http" };
        places.push(Place {
            name: format!("m{index}"),
            scheme,
            client,
            peer,
            health,
            cluster: String::new(),
        });
    }
    let members: Vec<String> =
        places.iter().map(|place| format!("{}={}", place.name, url("http", place.peer))).collect();
    for place in &mut places {
        place.cluster = members.join(",");
    }
    Ok(places)
}

fn url(scheme: &str, port: u16) -> String {
    format!("{scheme}://{}:{port}", Ipv4Addr::LOCALHOST)
}

fn command(place: &Place, arguments: &[String]) -> Command {
    let (client, peer) = (url(place.scheme, place.client), url("http", place.peer));
    let mut command = Command::new("etcd");
    command
        .args(["--name", &place.name, "--data-dir", "data"])
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--listen-metrics-urls", &url("http", place.health)])
        .args(["--initial-cluster", &place.cluster])
        .args(["--logger", "zap", "--log-outputs", "stderr", "--log-level", "warn"])
        .args(arguments);
    command
}
