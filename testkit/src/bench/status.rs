//! What `/status` costs a node: many clients that keep their connections, one that connects anew for each question, and one
//! that asks more than it may.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use cbrowse::{
    attach::connection::NodeConnection,
    local::{self, OwnNode},
};
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};

/// Clients at once. More only queue up behind the processors.
const CLIENTS: u8 = 8;
/// Questions of one address before the next one asks: as many as a node answers to one client at once.
const OF_ONE: u32 = 200;
/// For one answer; a node that is asked this much still answers in time.
const DEADLINE: Duration = Duration::from_secs(10);
/// Clock ticks a second in `/proc/PID/stat`; what Linux has told programs since its beginning.
const TICKS: f64 = 100.0;

/// What to measure.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Questions of each client, on connections that stand
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(200..=100_000))]
    pub questions: u32,
}

/// Answers a second, and the node's processor time for each, in microseconds.
pub async fn run(options: &Options) -> anyhow::Result<Value> {
    let directory = tempfile::tempdir().context("make a directory")?;
    super::world::open_for_nodes(directory.path())?;
    let (data_dir, id) = (directory.path().join("node"), "measured".parse()?);
    let arguments = ["--no-warm", "--health-disk=off", "--health-memory=off"].map(Into::into).into();
    let plan = local::Plan { data_dir, id, region: "bench".into(), arguments };
    let node = OwnNode::start(&plan).await.map_err(super::world::plain)?;
    let address = node.record.endpoint().parse()?;
    let measured = all(&node, address, options).await;
    node.end(DEADLINE).await;
    measured
}

async fn all(node: &OwnNode, address: SocketAddr, options: &Options) -> anyhow::Result<Value> {
    let asked = options.questions * u32::from(CLIENTS);
    let kept = measure(node, asked, || async {
        try_join_all((0..CLIENTS).map(|client| ask(address, client, options.questions))).await?;
        Ok(())
    });
    let kept = kept.await?;
    // A handshake each, and addresses that nobody has asked from.
    let fresh = measure(node, OF_ONE, || async {
        for _ in 0..OF_ONE {
            open(address, Ipv4Addr::new(127, 0, 200, 1)).await?.get_status(DEADLINE).await?;
        }
        Ok(())
    });
    let fresh = fresh.await?;
    let mut greedy = open(address, Ipv4Addr::new(127, 0, 201, 1)).await?;
    let mut refused = 0;
    let bounded = measure(node, options.questions, || async {
        for _ in 0..options.questions {
            refused += u32::from(greedy.get_status(DEADLINE).await.is_err());
        }
        Ok(())
    });
    let bounded = bounded.await?;
    ensure!(options.questions == OF_ONE || refused > 0, "nobody was refused");
    Ok(
        json!({ "kept_connections": kept, "new_connections": fresh, "one_greedy_client": bounded, "refused": refused }),
    )
}

async fn measure<Done: Future<Output = anyhow::Result<()>>>(
    node: &OwnNode,
    asked: u32,
    work: impl FnOnce() -> Done,
) -> anyhow::Result<Value> {
    let (busy, began) = (busy(node)?, Instant::now());
    work().await?;
    let (took, spent) = (began.elapsed(), self::busy(node)? - busy);
    let asked = f64::from(asked);
    Ok(
        json!({ "a_second": (asked / took.as_secs_f64()).round(), "node_us_each": (spent / asked * 1e6).round() }),
    )
}

/// From one address after another, since one is answered so many times only.
async fn ask(address: SocketAddr, client: u8, questions: u32) -> anyhow::Result<()> {
    for turn in 0..questions.div_ceil(OF_ONE) {
        let [high, low] = u16::try_from(turn).context("fewer questions")?.to_be_bytes();
        ensure!(high == 0 && low < 255, "fewer questions");
        let mut connection = open(address, Ipv4Addr::new(127, 1, client, low + 1)).await?;
        for _ in 0..OF_ONE.min(questions - turn * OF_ONE) {
            connection.get_status(DEADLINE).await?;
        }
    }
    Ok(())
}

async fn open(address: SocketAddr, from: Ipv4Addr) -> anyhow::Result<NodeConnection> {
    let socket = TcpSocket::new_v4().context("make a socket")?;
    socket.bind((from, 0).into()).with_context(|| format!("use the address {from}"))?;
    let stream: TcpStream = socket.connect(address).await.context("connect")?;
    Ok(NodeConnection::over(stream, "127.0.0.1", DEADLINE).await?)
}

/// Seconds of processor time of a process (`man 5 proc`, /proc/PID/stat, fields 14 and 15).
fn busy(node: &OwnNode) -> anyhow::Result<f64> {
    let pid = node.pid().context("the node has ended")?;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("read the node's figures")?;
    let ticks: Option<u64> = stat.rsplit_once(')').and_then(|(_, fields)| {
        let fields: Vec<&str> = fields.split_whitespace().collect();
        Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
    });
    Ok(ticks.context("the node's figures are of another form")? as f64 / TICKS)
}
