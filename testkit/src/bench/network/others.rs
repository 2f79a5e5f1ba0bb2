//! What one would do without cbrowse: fping, connecting to one node after the other, connecting to all and waiting.

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use tokio::task::JoinSet;

use crate::emulate::{World, world::NODE_PORT};

/// The patience of a usual script; also that of cbrowse's own probes.
const PATIENCE: Duration = Duration::from_secs(1);
/// Nodes that are really connected to one after the other. All would take minutes a run, and their sum is no secret.
const SAMPLE: usize = 12;

/// How one of them fared.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// From its start to its end.
    pub elapsed: Duration,
    /// Round trips, by number of the node.
    pub answered: BTreeMap<usize, Duration>,
    /// Nodes that it tried and that did not answer in time.
    pub silent: Vec<usize>,
}

impl Outcome {
    /// The nearest node by what it measured.
    pub fn nearest(&self) -> Option<usize> {
        self.answered.iter().min_by_key(|(_, rtt)| **rtt).map(|(node, _)| *node)
    }

    /// Nodes that it takes for lost and that lost nothing: `dropped` counts what was dropped of each.
    pub fn false_loss(&self, dropped: &[u32]) -> usize {
        self.silent.iter().filter(|node| dropped.get(**node) == Some(&0)).count()
    }
}

/// `fping -C1 -i1 -q` over all nodes; `None` where it is not installed. Run as root of the near side: version 5.1 takes
/// no answer for its own when it has to do without raw sockets.
pub fn fping(world: &World, list: &Path) -> anyhow::Result<Option<Outcome>> {
    let started = Instant::now();
    let output = Command::new("fping")
        .args(["-C1", "-i1", "-q", "-f"])
        .arg(list)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output();
    let output = match output {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        output => output.context("start fping")?,
    };
    let elapsed = started.elapsed();
    let numbers: BTreeMap<String, usize> =
        (0..world.nodes.len()).map(|node| (world.address(node).to_string(), node)).collect();
    let words = String::from_utf8_lossy(&output.stderr);
    let answered = read_fping(&words, &numbers);
    Ok(Some(Outcome { elapsed, silent: silent(world, &answered), answered }))
}

/// Lines such as `10.128.0.2 : 137.73`, with `-` in the place of what did not come.
fn read_fping(words: &str, numbers: &BTreeMap<String, usize>) -> BTreeMap<usize, Duration> {
    let read = |line: &str| {
        let (address, ms) = line.split_once(" : ")?;
        let ms: f64 = ms.trim().parse().ok().filter(|ms: &f64| ms.is_finite() && *ms >= 0.0)?;
        Some((*numbers.get(address.trim())?, Duration::from_secs_f64(ms / 1e3)))
    };
    words.lines().filter_map(read).collect()
}

/// One connection after the other, to a sample that is spread over all nodes; `elapsed` is what all would have taken.
pub fn one_after_another(world: &World) -> Outcome {
    let asked = world.nodes.len().min(SAMPLE);
    let (mut answered, mut silent) = (BTreeMap::new(), Vec::new());
    let started = Instant::now();
    for index in 0..asked {
        let node = index * world.nodes.len() / asked;
        let begun = Instant::now();
        if TcpStream::connect_timeout(&endpoint(world, node), PATIENCE).is_ok() {
            answered.insert(node, begun.elapsed());
        } else {
            silent.push(node);
        }
    }
    let each = started.elapsed().as_secs_f64() / asked.max(1) as f64;
    Outcome { elapsed: Duration::from_secs_f64(each * world.nodes.len() as f64), answered, silent }
}

/// A connection to each at once, and the wait for all of them.
pub fn all_at_once(world: &World) -> anyhow::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(async {
        let started = Instant::now();
        let mut connecting = JoinSet::new();
        for node in 0..world.nodes.len() {
            let to = endpoint(world, node);
            connecting.spawn(async move {
                let begun = Instant::now();
                let connected = tokio::time::timeout(PATIENCE, tokio::net::TcpStream::connect(to)).await;
                connected.is_ok_and(|connected| connected.is_ok()).then(|| (node, begun.elapsed()))
            });
        }
        let answered = connecting.join_all().await.into_iter().flatten().collect();
        Outcome { elapsed: started.elapsed(), silent: silent(world, &answered), answered }
    }))
}

fn silent(world: &World, answered: &BTreeMap<usize, Duration>) -> Vec<usize> {
    (0..world.nodes.len()).filter(|node| !answered.contains_key(node)).collect()
}

fn endpoint(world: &World, node: usize) -> SocketAddr {
    SocketAddr::new(world.address(node), NODE_PORT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fping_says_is_read_by_its_addresses() {
        let numbers = BTreeMap::from([("10.128.0.1".to_owned(), 0), ("10.128.0.2".to_owned(), 1)]);
        let words = "ICMP Host Unreachable\n10.128.0.1 : 12.5\n10.128.0.2 : -\n10.9.9.9 : 1.0\n";
        let answered = read_fping(words, &numbers);
        assert_eq!(answered, BTreeMap::from([(0, Duration::from_micros(12_500))]));
        let outcome = Outcome { answered, silent: vec![1], ..Outcome::default() };
        assert_eq!(outcome.nearest(), Some(0));
        assert_eq!((outcome.false_loss(&[0, 1]), outcome.false_loss(&[0, 0])), (0, 1));
    }
}
