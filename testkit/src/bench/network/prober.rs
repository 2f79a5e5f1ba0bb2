//! The prober in a process of its own, so that nobody else's time and memory are counted: a cold choice and, when it is
//! told to go on, one that knows what the cold one found.

use std::{
    io::{BufRead as _, Write as _},
    time::{Duration, Instant},
};

use cbrowse::{
    probe::{self, Goal, Prior, Probed, Report, Search, Sockets},
    select::{self, Constraints, Strategy, draw::SystemDice},
};
use cbrowse_registry::{CatalogUri, Listing, open};
use nix::sys::resource::{UsageWho, getrusage};
use serde_json::{Value, json};

use crate::bench::catalogs::once::{cpu, peak};

/// How old the history of the second choice is said to be.
const AGE: Duration = Duration::from_secs(600);

/// What to probe.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// The catalog
    pub catalog: CatalogUri,
}

/// Prints the cold choice, waits for a line, and tells the one with history.
pub async fn run(options: &Options) -> anyhow::Result<Value> {
    let listing = open(&options.catalog, &cbrowse_registry::Options::default())?.list().await?;
    let (report, mut cold) = choose(&listing, Vec::new()).await;
    cold["cpu_ms"] = cpu(&getrusage(UsageWho::RUSAGE_SELF)?).into();
    cold["peak_mib"] = peak()?.into();
    writeln!(std::io::stdout(), "{cold}")?;
    std::io::stdin().lock().read_line(&mut String::new())?;
    let priors = report.nodes.iter().map(prior).collect();
    Ok(choose(&listing, priors).await.1)
}

async fn choose(listing: &Listing, priors: Vec<Option<Prior>>) -> (Report, Value) {
    let started = Instant::now();
    let search = Search { priors, ..Search::new(Goal::Decide) };
    let road = Sockets::open();
    let report = probe::probe(listing.nodes.clone(), listing.gate(), &road, search, |_| {}).await;
    let best = |strategy| {
        let choice = select::choose(&report.nodes, &Constraints::default(), strategy, &mut SystemDice);
        choice.chosen().map(|index| report.nodes[index].record.id.to_string())
    };
    let chosen = best(Strategy::Responsive);
    let elapsed = started.elapsed();
    let document = json!({ "elapsed_ms": elapsed.as_secs_f64() * 1e3, "chosen": chosen,
        "nearest": best(Strategy::Latency), "lost": lost(&report.nodes), "icmp": report.icmp,
        "answered": report.nodes.iter().filter(|node| node.rtt.is_some()).count() });
    (report, document)
}

/// Reported losses, by node.
fn lost(nodes: &[Probed]) -> Value {
    let lost = |node: &Probed| node.rtt.map_or(0, |rtt| rtt.lost);
    let lossy = nodes.iter().filter(|node| lost(node) > 0);
    Value::Object(lossy.map(|node| (node.record.id.to_string(), lost(node).into())).collect())
}

/// What is remembered of a node, as after a while.
fn prior(node: &Probed) -> Option<Prior> {
    Prior::of(node).map(|prior| Prior { age: AGE, ..prior })
}
