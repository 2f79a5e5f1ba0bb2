//! A real etcd on loopback, one member or three: data in a directory of its own, killed and reaped when dropped.

use std::{
    fs::File,
    net::{Ipv4Addr, SocketAddr},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};

use crate::{
    exchange::exchange,
    ports::{PORT_ATTEMPTS, free_ports},
};

/// Longest wait until a member has a leader. It takes one to two seconds; a loaded machine more.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// How often it is asked whether it has.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Longest wait for one answer of its API.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// A running member.
#[derive(Debug)]
pub struct Etcd {
    child: Child,
    place: Place,
    arguments: Vec<String>,
    directory: TempDir,
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
            let mut members: Vec<Self> = members.collect::<anyhow::Result<_>>()?;
            let mut failed = None;
            for member in &mut members {
                if !member.wait_until_ready().await? {
                    failed = Some(member.log());
                }
            }
            let Some(log) = failed else {
                return members.try_into().map_err(|_| anyhow::anyhow!("another count of members"));
            };
            ensure!(log.contains("address already in use"), "etcd ended at once:\n{log}");
        }
        bail!("no ports stayed free for etcd in {PORT_ATTEMPTS} attempts")
    }

    fn spawn(place: Place, arguments: Vec<String>) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("etcd-").tempdir().context("make a directory")?;
        let child = spawn(&place, &arguments, &directory)?;
        Ok(Self { child, place, arguments, directory })
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
        // Only fails when it has ended already, and then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Stops it in its tracks: connections stay, and nobody answers. [`Etcd::kill`] works on such a one, too.
    pub fn pause(&self) -> anyhow::Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Lets it go on.
    pub fn resume(&self) -> anyhow::Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// Kills it and starts it again at the same addresses, with all that it had written.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.kill();
        self.child = spawn(&self.place, &self.arguments, &self.directory)?;
        ensure!(self.wait_until_ready().await?, "etcd did not come back:\n{}", self.log());
        Ok(())
    }

    /// The same, and everything is forgotten: its revisions count from the start.
    pub async fn restart_empty(&mut self) -> anyhow::Result<()> {
        self.kill();
        let data = self.directory.path().join("data");
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
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// Whether it is ready; not when it has ended.
    async fn wait_until_ready(&mut self) -> anyhow::Result<bool> {
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            if self.child.try_wait().context("ask after etcd")?.is_some() {
                return Ok(false);
            }
            if self.is_healthy().await {
                return Ok(true);
            }
            ensure!(Instant::now() < deadline, "etcd is not ready after {START_DEADLINE:?}:\n{}", self.log());
            sleep(POLL_INTERVAL).await;
        }
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

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = i32::try_from(self.child.id()).context("a process number")?;
        kill(Pid::from_raw(pid), signal).with_context(|| format!("send {signal} to etcd"))
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill();
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

fn path() -> std::ffi::OsString {
    std::env::var_os("PATH").unwrap_or_default()
}

fn spawn(place: &Place, arguments: &[String], directory: &TempDir) -> anyhow::Result<Child> {
    let log = File::options().create(true).append(true).open(directory.path().join("log"));
    let log = log.context("make the log")?;
    let (client, peer) = (url(place.scheme, place.client), url("http", place.peer));
    Command::new("etcd")
        .args(["--name", &place.name, "--data-dir", "data"])
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--listen-metrics-urls", &url("http", place.health)])
        .args(["--initial-cluster", &place.cluster])
        .args(["--logger", "zap", "--log-outputs", "stderr", "--log-level", "warn"])
        .args(arguments)
        .env_clear()
        .env("PATH", path())
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .stdout(log.try_clone().context("share the log")?)
        .stderr(log)
        .spawn()
        .context("start etcd (Debian's etcd-server has it)")
}
