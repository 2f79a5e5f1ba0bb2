//! Nodes that this process starts itself: the private node of `local:`, and those of the demonstration.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use cbrowse_protocol::{id::NodeId, identity::IdentityKey, node::NodeRecord};
use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

use crate::failure::{Exit, Failure};

/// A node makes its keys and its first worker in under a second; a machine that builds beside it needs longer.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// Longest first line in bytes.
const MAX_ANNOUNCEMENT: usize = 4096;

/// What to start.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where it keeps its keys and sealed profiles.
    pub data_dir: PathBuf,
    /// Its id.
    pub id: NodeId,
    /// Its region.
    pub region: String,
    /// Further arguments of `cbrowse-node serve`.
    pub arguments: Vec<String>,
}

/// A running node that ends with this value: its standard input closes, and it drains.
pub struct OwnNode {
    child: Child,
    /// What a catalog would say.
    pub record: NodeRecord,
    /// What it last wrote to standard error, for when it fails.
    log: PathBuf,
}

#[derive(Deserialize)]
struct Announcement {
    listening: std::net::SocketAddr,
    id: NodeId,
    identity: IdentityKey,
    region: String,
}

/// The node's binary: beside this one, else on the path.
pub fn binary() -> PathBuf {
    let beside = std::env::current_exe().ok().map(|own| own.with_file_name("cbrowse-node"));
    beside.filter(|path| path.is_file()).unwrap_or_else(|| "cbrowse-node".into())
}

impl OwnNode {
    /// Starts a node on a free loopback port and waits until it serves.
    pub async fn start(plan: &Plan) -> Result<Self, Failure> {
        let log = plan.data_dir.with_extension("log");
        let stderr = std::fs::File::create(&log)
            .map_err(|error| cannot(&format!("write {}", log.display()), &error))?;
        let mut command = Command::new(binary());
        command
            .args(["serve", "--announce", "--tied", "--listen", "127.0.0.1:0"])
            .args(["--id", plan.id.as_str(), "--region", &plan.region])
            .arg("--data-dir")
            .arg(&plan.data_dir)
            .args(&plan.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr)
            // A Ctrl-C at the terminal is for us; the node ends by its input, and saves first.
            .process_group(0);
        let mut child =
            command.spawn().map_err(|error| cannot(&format!("start {}", binary().display()), &error))?;
        let stdout = child.stdout.take().expect("standard output is piped");
        let mut line = String::new();
        let mut reader = BufReader::new(tokio::io::AsyncReadExt::take(stdout, MAX_ANNOUNCEMENT as u64));
        let announced = tokio::time::timeout(START_DEADLINE, reader.read_line(&mut line)).await;
        if let (Ok(Ok(_)), Ok(announcement)) = (announced, serde_json::from_str::<Announcement>(&line)) {
            Ok(Self { child, record: announcement.record(), log })
        } else {
            let _ = child.kill().await;
            Err(did_not_start(&log))
        }
    }

    /// The process, for whoever wants to see it fail.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Ends it as a broken machine would.
    pub async fn kill(&mut self) {
        let _ = self.child.kill().await;
    }

    /// Lets it save and drain by itself; returns when it is gone, or after `patience`.
    pub async fn end(mut self, patience: Duration) {
        drop(self.child.stdin.take());
        let _ = tokio::time::timeout(patience, self.child.wait()).await;
        let _ = std::fs::remove_file(&self.log);
    }
}

impl Announcement {
    fn record(self) -> NodeRecord {
        let json = serde_json::json!({
            "id": self.id, "address": self.listening.ip(), "port": self.listening.port(),
            "region": self.region, "identity": self.identity, "version": env!("CARGO_PKG_VERSION"),
        });
        serde_json::from_value(json).expect("an announcement makes a record")
    }
}

fn cannot(what: &str, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Configuration, "local_node", format!("cannot {what}: {error}"))
        .hint("install cbrowse-node beside cbrowse (./install.sh), or name nodes with --catalog URI")
}

/// The node's own last words, which name what this machine lacks.
fn did_not_start(log: &Path) -> Failure {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let last = text
        .lines()
        .rfind(|line| line.contains("ERROR"))
        .or(text.lines().last())
        .unwrap_or("it said nothing");
    let last = last.split_once("ERROR ").map_or(last, |(_, rest)| rest);
    let words = cbrowse_protocol::node::printable(last, 1000);
    Failure::new(Exit::Configuration, "local_node", format!("a node of this machine does not start: {words}"))
}

/// A credential for a node of this machine, made by that node's own issuer.
pub async fn credential(data_dir: &Path) -> Result<String, Failure> {
    let mut command = Command::new(binary());
    command.args(["token", "--user", "local", "--lifetime", "1d", "--data-dir"]).arg(data_dir);
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .await
        .map_err(|error| cannot("make a token for the node of this machine", &error))?;
    if !output.status.success() {
        let message = "the node of this machine made no token";
        return Err(Failure::new(Exit::Configuration, "local_token", message));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Who the node of `data_dir` is; `None` where that cannot be found out.
pub async fn identity(data_dir: &Path) -> Option<IdentityKey> {
    let mut command = Command::new(binary());
    command.args(["identity", "--data-dir"]).arg(data_dir);
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().await.ok()?;
    String::from_utf8_lossy(&output.stdout).trim().parse().ok()
}

/// Where the private node of this user lives. As root it becomes an ordinary user, who cannot look into root's home.
pub fn private_directory(data: &Path) -> PathBuf {
    if nix::unistd::geteuid().is_root() {
        "/var/lib/cbrowse-private".into()
    } else {
        data.join("private-node")
    }
}
