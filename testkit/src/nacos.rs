//! A real server that speaks Nacos (r-nacos) on loopback: on ports and in a directory of its own, killed and reaped
//! when dropped.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use tokio::time::timeout;

use crate::{
    daemon::Daemon,
    exchange::exchange,
    ports::{PORT_ATTEMPTS, free_ports},
};

/// The user that a server with [`AUTHENTICATION`] knows.
pub const USER: &str = "admin";
/// Its password. A `&`, a `+` and a letter beyond ASCII, so that a client which encodes badly is found out.
pub const PASSWORD: &str = "s&cret+größe";
/// Setting that closes the API to whoever has not logged in.
pub const AUTHENTICATION: (&str, &str) = ("RNACOS_ENABLE_OPEN_API_AUTH", "true");

/// How often a server is asked whether it serves. Shorter: the server's limit of a hundred logins a minute is reached.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Longest wait for one answer of its API.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);
/// How often a server is started that stumbled over itself: r-nacos 0.8.8 may take its first entry before its parts
/// know each other, panics in a thread, and never serves. It happens to every other start on a loaded machine.
const STUMBLES: usize = 30;

/// A running server.
#[derive(Debug)]
pub struct Nacos {
    daemon: Daemon,
    ports: Ports,
    settings: Vec<(String, String)>,
}

#[derive(Debug, Clone, Copy)]
struct Ports {
    http: u16,
    grpc: u16,
    console: u16,
}

/// What a start finds of the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Disk {
    Kept,
    Emptied,
}

/// What came back: status and text.
pub type Answer = (u16, String);

impl Nacos {
    /// Starts one and waits until it answers.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(&[]).await
    }

    /// The same with further settings, which r-nacos takes as environment variables.
    pub async fn start_with(settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        let settings: Vec<_> =
            settings.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        for _ in 0..PORT_ATTEMPTS {
            let directory = Daemon::room("nacos")?;
            let [http, grpc, console] = free_ports().context("find free ports")?;
            let ports = Ports { http, grpc, console };
            let command = command(ports, &settings, directory.path());
            let daemon =
                Daemon::spawn(command, directory).context("testkit/install-rnacos.sh installs rnacos")?;
            let mut nacos = Self { daemon, ports, settings: settings.clone() };
            if nacos.become_ready(Disk::Emptied).await? {
                return Ok(nacos);
            }
        }
        bail!("no ports stayed free for rnacos in {PORT_ATTEMPTS} attempts")
    }

    /// As a catalog: `nacos://127.0.0.1:PORT`.
    pub fn uri(&self) -> String {
        format!("nacos://{}", self.address())
    }

    /// Where its HTTP API listens.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports.http).into()
    }

    /// Kills it without a farewell; [`Nacos::restart`] brings it back.
    pub fn kill(&mut self) {
        self.daemon.kill();
    }

    /// Kills it and starts it again at the same addresses. Instances that live by heartbeats are forgotten; what it
    /// keeps on disk (users, namespaces, the metadata of instances) is not.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.start_over(Disk::Kept)?;
        ensure!(self.become_ready(Disk::Kept).await?, "rnacos did not come back:\n{}", self.log());
        Ok(())
    }

    /// The same, and everything is forgotten.
    pub async fn restart_empty(&mut self) -> anyhow::Result<()> {
        self.start_over(Disk::Emptied)?;
        ensure!(self.become_ready(Disk::Emptied).await?, "rnacos did not come back:\n{}", self.log());
        Ok(())
    }

    /// One request to its API, as an operator's `curl -d` would send it.
    pub async fn request(&self, method: &str, path: &str, form: &str) -> anyhow::Result<Answer> {
        let request = format!(
            "{method} {path} HTTP/1.0\r\nHost: localhost\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
            form.len()
        );
        let answer = timeout(ANSWER_DEADLINE, exchange(self.address(), &request)).await;
        let answer = answer.with_context(|| format!("{method} {path}: no answer"))??;
        let (head, body) = answer.split_once("\r\n\r\n").context("an answer without a body")?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Ok((status.context("an answer without a status")?, body.to_owned()))
    }

    /// What it wrote to its log.
    pub fn log(&self) -> String {
        self.daemon.log()
    }

    /// Whether it came to serve; not when it has ended. Started again as often as it stumbles.
    async fn become_ready(&mut self, disk: Disk) -> anyhow::Result<bool> {
        for _ in 0..STUMBLES {
            let stumbled_before = self.panics();
            let has_stumbled = || self.panics() > stumbled_before;
            let ended_up = async || self.knows_its_user().await || has_stumbled();
            if !self.daemon.becomes(POLL_INTERVAL, ended_up).await? {
                return Ok(false);
            }
            if !has_stumbled() {
                return Ok(true);
            }
            self.start_over(disk)?;
        }
        bail!("rnacos stumbled {STUMBLES} times over its own start:\n{}", self.log())
    }

    /// The log goes on from one start to the next.
    fn panics(&self) -> usize {
        self.log().matches("panicked at").count()
    }

    fn start_over(&mut self, disk: Disk) -> anyhow::Result<()> {
        self.daemon.kill();
        if disk == Disk::Emptied {
            std::fs::remove_dir_all(data(self.daemon.directory())).context("empty its directory")?;
        }
        self.daemon.restart(command(self.ports, &self.settings, self.daemon.directory()))
    }

    /// The user is the last thing that a server which starts empty puts into its store.
    async fn knows_its_user(&self) -> bool {
        let form = "username=admin&password=s%26cret%2Bgr%C3%B6%C3%9Fe";
        let login = self.request("POST", "/nacos/v1/auth/login", form).await;
        login.is_ok_and(|(status, body)| status == 200 && !body.contains("AUTH_DISABLED"))
    }
}

fn data(directory: &Path) -> std::path::PathBuf {
    directory.join("data")
}

fn command(ports: Ports, settings: &[(String, String)], directory: &Path) -> Command {
    let mut command = Command::new("rnacos");
    command
        .env("HOME", directory)
        .env("RUST_LOG", "warn")
        .env("RNACOS_SDK_HOST", "127.0.0.1")
        .env("RNACOS_CONSOLE_HOST", "127.0.0.1")
        .env("RNACOS_HTTP_PORT", ports.http.to_string())
        .env("RNACOS_GRPC_PORT", ports.grpc.to_string())
        .env("RNACOS_HTTP_CONSOLE_PORT", ports.console.to_string())
        .env("RNACOS_HTTP_WORKERS", "1")
        // Silence that makes an instance unhealthy, and that removes it, each with three seconds on top: long enough
        // for a loaded machine, short enough to be waited for.
        .env("RNACOS_NAMING_HEALTH_TIMEOUT_SECOND", "15")
        .env("RNACOS_NAMING_INSTANCE_TIMEOUT_SECOND", "17")
        .env("RNACOS_DATA_DIR", data(directory))
        .env("RNACOS_INIT_ADMIN_USERNAME", USER)
        .env("RNACOS_INIT_ADMIN_PASSWORD", PASSWORD)
        .envs(settings.iter().map(|(name, value)| (name, value)));
    command
}
