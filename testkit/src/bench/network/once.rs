//! One emulated network, among whose nodes everybody chooses once: in a process of its own, since it stays in the
//! network's namespaces.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::Stdio,
};

use anyhow::{Context as _, ensure};
use cbrowse::probe::plan::band_top;
use serde_json::{Value, json};

use super::others::{self, Outcome};
use crate::emulate::{Counts, Family, Far, Network, Ping, Scenario, World, near_command};

/// Which network.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// How many nodes
    #[arg(long)]
    pub nodes: usize,
    /// Where chance begins
    #[arg(long)]
    pub seed: u64,
    /// What is the matter with it
    #[arg(long)]
    pub scenario: Scenario,
    /// Only cbrowse chooses
    #[arg(long)]
    pub alone: bool,
}

/// Measures and tells everything.
pub fn run(options: &Options) -> anyhow::Result<Value> {
    let world = World::new(options.nodes, options.scenario, Family::V4, options.seed);
    let network = Network::start(world, Ping::Open, Far::Listener)?;
    let directory = tempfile::Builder::new().prefix("bench-").tempdir().context("make a directory")?;
    network.describe(directory.path())?;
    let truth = Truth::of(&network.world).context("a node that answers")?;
    let [cold, warm] = prober(&network, &truth, directory.path())?;
    let mut document = json!({ "best_ms": truth.best * 1e3, "cold": cold, "history": warm });
    if !options.alone {
        document["fping"] = counted(&network, &truth, || {
            others::fping(&network.world, &list(&network.world, directory.path())?)
        })?;
        document["one_after_another"] =
            counted(&network, &truth, || Ok(Some(others::one_after_another(&network.world))))?;
        document["all_at_once"] =
            counted(&network, &truth, || others::all_at_once(&network.world).map(Some))?;
    }
    let counters = network.counters();
    document["late"] = counters.lateness().document();
    document["overflowed"] = counters.read().overflowed.into();
    Ok(document)
}

/// What only the emulator knows.
struct Truth {
    /// True median of each node that serves, in seconds.
    medians: Vec<Option<f64>>,
    best: f64,
}

impl Truth {
    fn of(world: &World) -> Option<Self> {
        let medians: Vec<Option<f64>> =
            world.nodes.iter().map(|node| node.fault.serves().then(|| node.median().as_secs_f64())).collect();
        let best = medians.iter().flatten().copied().min_by(f64::total_cmp)?;
        Some(Self { medians, best })
    }

    /// How much farther a node is than the best one, in milliseconds; `None` for one that does not serve.
    fn off(&self, node: usize) -> Option<f64> {
        self.medians.get(node)?.map(|median| (median - self.best) * 1e3)
    }

    /// Upper end of the true band.
    fn band(&self) -> f64 {
        let best = std::time::Duration::from_secs_f64(self.best);
        band_top(best).abs_diff(best).as_secs_f64() * 1e3
    }
}

/// The number in the name that [`World::id`] gives.
fn number(id: &str) -> Option<usize> {
    id.rsplit_once('-')?.1.parse().ok()
}

fn prober(network: &Network, truth: &Truth, directory: &Path) -> anyhow::Result<[Value; 2]> {
    let catalog = format!("file:{}", directory.join("nodes.json").display());
    let mut child = near_command(std::env::current_exe()?)
        .args(["prober", &catalog])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("start the prober")?;
    let mut stdout = BufReader::new(child.stdout.take().context("a pipe")?);
    let mut stdin = child.stdin.take().context("a pipe")?;
    let mut before = network.counters().read();
    let mut next = || {
        let mut line = String::new();
        stdout.read_line(&mut line).context("read the prober's words")?;
        let now = network.counters().read();
        let counts = now.since(&before);
        before = now;
        judged(&serde_json::from_str(&line).context("read the prober's document")?, truth, &counts)
    };
    let cold = next()?;
    stdin.write_all(b"\n").context("go on")?;
    let warm = next()?;
    let status = child.wait()?;
    ensure!(status.success(), "the prober: {status}");
    Ok([cold, warm])
}

/// What the prober found, held against the truth.
fn judged(found: &Value, truth: &Truth, counts: &Counts) -> anyhow::Result<Value> {
    let node = |name: &str| found[name].as_str().and_then(number);
    let lost = found["lost"].as_object().context("what was lost")?;
    let is_false = |id: &str, lost: &Value| {
        let dropped = number(id).and_then(|node| counts.nodes.get(node)).map_or(0, |node| node.dropped);
        lost.as_u64().unwrap_or(0) > u64::from(dropped)
    };
    let mut judged = found.clone();
    judged["nearest_off_ms"] = node("nearest").and_then(|node| truth.off(node)).into();
    judged["chosen_off_ms"] = node("chosen").and_then(|node| truth.off(node)).into();
    judged["band_ms"] = truth.band().into();
    judged["false_loss"] = lost.iter().filter(|(id, lost)| is_false(id, lost)).count().into();
    judged["probes"] = counts.probes().into();
    judged["packets"] = counts.packets.into();
    Ok(judged)
}

fn list(world: &World, directory: &Path) -> anyhow::Result<std::path::PathBuf> {
    let path = directory.join("addresses");
    let lines: Vec<String> = (0..world.nodes.len()).map(|node| world.address(node).to_string()).collect();
    std::fs::write(&path, lines.join("\n")).context("write the addresses")?;
    Ok(path)
}

/// How somebody else fared, held against the truth.
fn counted(
    network: &Network,
    truth: &Truth,
    run: impl FnOnce() -> anyhow::Result<Option<Outcome>>,
) -> anyhow::Result<Value> {
    let before = network.counters().read();
    let Some(outcome) = run()? else { return Ok(Value::Null) };
    let counts = network.counters().read().since(&before);
    let dropped: Vec<u32> = counts.nodes.iter().map(|node| node.dropped).collect();
    Ok(json!({ "elapsed_ms": outcome.elapsed.as_secs_f64() * 1e3, "probes": counts.probes(),
        "silent": outcome.silent.len(), "nearest_off_ms": outcome.nearest().and_then(|node| truth.off(node)),
        "false_loss": outcome.false_loss(&dropped) }))
}
