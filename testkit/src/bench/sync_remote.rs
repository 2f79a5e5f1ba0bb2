//! `cbrowse profile sync` over a long road: what a first sync and one without news cost, in round trips of that road.
//!
//! The real program syncs a generated profile with a real node behind a [`Road`]. The same program asked for its version
//! stands beside, as what starting it costs.

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, process::Command};

use super::road::Road;
use crate::{
    fleet::{Fleet, binary},
    node::{Node, Options as NodeOptions},
};

/// A neighbouring continent.
pub const ROUND_TRIP: Duration = Duration::from_millis(80);
/// Bytes of the profile: a first sync is then dominated by round trips, not by the line.
const PROFILE: usize = 5 << 20;
/// Seals the user's keys.
const PASSPHRASE: &[u8] = b"seven quiet harbours\n";

/// What was measured, each the median of its runs.
#[derive(Debug, Clone, Copy)]
pub struct Figures {
    /// The road.
    pub round_trip: Duration,
    /// `cbrowse --version`.
    pub start: Duration,
    /// A profile that no node has seen.
    pub first: Duration,
    /// Nothing changed, and a node has said so lately.
    pub unchanged: Duration,
    /// Nothing changed, and the nodes are asked.
    pub asked: Duration,
}

impl Figures {
    /// A wait as a multiple of the road.
    fn trips(&self, wait: Duration) -> f64 {
        wait.as_secs_f64() / self.round_trip.as_secs_f64()
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        let figure =
            |wait: Duration| json!({"ms": wait.as_secs_f64() * 1e3, "round_trips": self.trips(wait)});
        json!({
            "round_trip_ms": self.round_trip.as_secs_f64() * 1e3,
            "start": figure(self.start),
            "first_sync": figure(self.first),
            "nothing_changed": figure(self.unchanged),
            "nothing_changed_asked": figure(self.asked),
        })
    }

    /// For a person.
    pub fn to_table(&self) -> String {
        let row = |name: &str, wait: Duration| {
            format!("{name:<44} {:>8.0} ms {:>6.1} RTT\n", wait.as_secs_f64() * 1e3, self.trips(wait))
        };
        let mut text = format!("profile sync over a road of {} ms, 5 MB\n", self.round_trip.as_millis());
        text.push_str(&row("cbrowse --version", self.start));
        text.push_str(&row("first sync", self.first));
        text.push_str(&row("nothing changed", self.unchanged));
        text.push_str(&row("nothing changed, --fresh", self.asked));
        text
    }
}

/// Measures each `runs` times.
pub async fn run(runs: u32) -> anyhow::Result<Figures> {
    let fleet = Fleet::new()?;
    let node = Node::start(NodeOptions::of(&fleet, "far-1", "far")).await?;
    let port: u16 = node.endpoint().rsplit(':').next().context("a port")?.parse()?;
    let road = Road::to((Ipv4Addr::LOCALHOST, port).into(), ROUND_TRIP).await?;
    let user = User::new(&fleet, &node, road.address().port()).await?;
    let (mut start, mut first, mut unchanged, mut asked) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for number in 0..runs {
        let name = format!("work{number}");
        user.make_source(u64::from(number))?;
        let source = user.source();
        let create = [
            "profile",
            "create",
            &name,
            "--from",
            source.to_str().context("a path")?,
            "--passphrase-fd",
            "0",
        ];
        user.run(&create).await?;
        let sync = ["profile", "sync", &name, "--passphrase-fd", "0", "--json"];
        start.push(user.run(&["--version"]).await?);
        first.push(user.run(&sync).await?);
        unchanged.push(user.run(&sync).await?);
        asked.push(user.run(&[&sync[..], &["--fresh"]].concat()).await?);
    }
    Ok(Figures {
        round_trip: ROUND_TRIP,
        start: median(start),
        first: median(first),
        unchanged: median(unchanged),
        asked: median(asked),
    })
}

fn median(mut waits: Vec<Duration>) -> Duration {
    waits.sort();
    waits.get(waits.len() / 2).copied().unwrap_or_default()
}

/// A home, a token, and a catalog that names the far end of the road.
struct User {
    home: tempfile::TempDir,
    program: PathBuf,
    token: String,
}

impl User {
    async fn new(fleet: &Fleet, node: &Node, port: u16) -> anyhow::Result<Self> {
        let program = binary()?.with_file_name("cbrowse");
        ensure!(program.exists(), "{} is not built", program.display());
        let home = tempfile::Builder::new().prefix("cbrowse-bench-").tempdir()?;
        let mut record = node.record();
        record["port"] = port.into();
        std::fs::write(home.path().join("nodes.json"), serde_json::to_vec(&[record])?)?;
        let user = Self { home, program, token: fleet.token("ada")? };
        user.run(&["trust", "add", &format!("--fleet={}", fleet.key())]).await?;
        Ok(user)
    }

    fn source(&self) -> PathBuf {
        self.home.path().join("source")
    }

    /// Bytes that do not compress, so that what travels is known.
    fn make_source(&self, seed: u64) -> anyhow::Result<()> {
        let storage = self.source().join("Default/IndexedDB");
        std::fs::create_dir_all(&storage)?;
        let mut state = seed * 2 + 1;
        let mut bytes = Vec::with_capacity(PROFILE);
        while bytes.len() < PROFILE {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend_from_slice(&state.to_le_bytes());
        }
        write(&storage.join("data.blob"), &bytes)?;
        write(&self.source().join("Last Version"), b"156.0.8078.79")?;
        write(&self.source().join("Local State"), b"{}")?;
        write(&self.source().join("Default/Preferences"), b"{}")
    }

    /// How long the command took, which has to succeed.
    async fn run(&self, arguments: &[&str]) -> anyhow::Result<Duration> {
        let began = Instant::now();
        let mut child = Command::new(&self.program)
            .args(arguments)
            .env_clear()
            .env("HOME", self.home.path())
            .env("PATH", "/usr/bin:/bin")
            .env("CBROWSE_TOKEN", &self.token)
            .env("CBROWSE_CATALOG", "file:nodes.json")
            .current_dir(self.home.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("start cbrowse")?;
        if let Some(mut stdin) = child.stdin.take() {
            // Whoever does not read it is no error.
            let _unread = stdin.write_all(PASSPHRASE).await;
        }
        let ended = child.wait_with_output().await?;
        let took = began.elapsed();
        ensure!(ended.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ended.stderr));
        Ok(took)
    }
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    std::fs::write(path, bytes).with_context(|| format!("write {}", path.display()))
}
