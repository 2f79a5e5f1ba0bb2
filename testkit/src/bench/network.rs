//! Choosing among many nodes of an emulated network, with real kernel ICMP and TCP: the prober next to `fping`, to one
//! connection after the other, and to all connections at once.
//!
//! Every run is a network of its own, placed by its seed, in which everybody takes a turn. Promises are those of the
//! design (section 11) and of the issue; accuracy and time are held against what only the emulator knows.

pub mod once;
pub mod others;
pub mod prober;
pub mod report;

use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use self::report::{Results, Series};
use crate::emulate::Scenario;

/// Nodes of the networks with which larger ones are compared.
const USUAL_NODES: usize = 1000;

/// What to measure.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Networks of each kind
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub runs: u32,
    /// Nodes in a network; scenarios other than plain have the first number only
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [USUAL_NODES, 5000])]
    pub nodes: Vec<usize>,
    /// Only these scenarios: plain, icmp-filtered, dead, lossy
    #[arg(long = "scenario", value_name = "NAME", value_delimiter = ',')]
    pub scenarios: Vec<Scenario>,
    /// In so many runs of each kind, fping and the others take their turns, too
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub beside: u32,
    /// Seed of the first network; the others follow
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Print one JSON document instead of tables
    #[arg(long)]
    pub json: bool,
}

/// Measures all.
pub fn run(options: &Options) -> anyhow::Result<Results> {
    let mut results = Results::default();
    let first = options.nodes.first().copied().unwrap_or(USUAL_NODES);
    for scenario in Scenario::ALL {
        if !options.scenarios.is_empty() && !options.scenarios.contains(&scenario) {
            continue;
        }
        for nodes in &options.nodes {
            if scenario == Scenario::Plain || *nodes == first {
                results.push(series(options, scenario, *nodes)?);
            }
        }
    }
    Ok(results)
}

fn series(options: &Options, scenario: Scenario, nodes: usize) -> anyhow::Result<Series> {
    let mut series = Series::new(scenario, nodes);
    for run in 0..options.runs {
        series.push(once(scenario, nodes, options.seed + u64::from(run), run >= options.beside)?);
    }
    Ok(series)
}

fn once(scenario: Scenario, nodes: usize, seed: u64, alone: bool) -> anyhow::Result<Value> {
    let output = Command::new(std::env::current_exe()?)
        .args(["network-once", "--nodes", &nodes.to_string(), "--seed", &seed.to_string()])
        .args(["--scenario", scenario.name()])
        .args(alone.then_some("--alone"))
        .stderr(Stdio::piped())
        .output()
        .context("start a network")?;
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "a network of {nodes} nodes, seed {seed}: {}\n{words}", output.status);
    serde_json::from_slice(&output.stdout).context("read what was measured")
}
