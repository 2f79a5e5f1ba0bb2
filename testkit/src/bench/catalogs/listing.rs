//! What a listing of Consul costs, next to `curl` fetching the same answer.

use std::{process::Command, time::Instant};

use anyhow::{Context as _, ensure};
use cbrowse_protocol::node::SERVICE;
use cbrowse_registry::{CatalogUri, open};
use serde_json::Value;

use super::{
    client::{Client, curl, spent, timed},
    figure::{Figure, Limit, Results, median},
    population,
};
use crate::{bench::statistics::Samples, consul::Consul};

/// The fleet whose listing is compared.
pub const MANY: usize = 1_000;
/// As many nodes as a catalog may have.
const MOST: usize = 10_000;
/// Fewer runs are enough for the largest fleet, whose listing takes long.
const RUNS_PER_LARGE_RUN: u32 = 4;

/// Measures both.
pub async fn measure(results: &mut Results, runs: u32) -> anyhow::Result<()> {
    let client = Client::new()?;
    many(results, &client, runs).await?;
    most(results, &client, runs.div_ceil(RUNS_PER_LARGE_RUN)).await
}

/// The answer that both sides fetch.
fn answer_url(consul: &Consul) -> String {
    format!("http://{}/v1/health/service/{SERVICE}?passing=1", consul.http_address())
}

async fn many(results: &mut Results, client: &Client, runs: u32) -> anyhow::Result<()> {
    let consul = Consul::start().await?;
    population::register(&consul, &population::records(MANY)).await?;
    let uri: CatalogUri = consul.http_uri().parse()?;
    let [mut library, mut program, mut other] = <[Samples; 3]>::default();
    for _ in 0..runs {
        library.push_time(list(&uri, MANY).await?);
        other.push_time(timed(&mut curl(&answer_url(&consul)))?);
        program.push_time(timed(&mut client.list(&consul.http_uri(), &["--json"]))?);
    }
    let promise = Limit::Ratio(1.5);
    results.push(
        Figure::medians("list_1000", "Consul lists 1,000 nodes, library", &library, ("curl", &other))
            .at_most(promise),
    );
    results.push(
        Figure::medians(
            "list_1000_program",
            "the same, cbrowse nodes list --json",
            &program,
            ("curl", &other),
        )
        .at_most(promise),
    );
    Ok(())
}

/// One listing by the library, connection included.
pub async fn list(uri: &CatalogUri, expected: usize) -> anyhow::Result<std::time::Duration> {
    let started = Instant::now();
    let listing = open(uri, &cbrowse_registry::Options::default())?.list().await?;
    let took = started.elapsed();
    ensure!(
        listing.nodes.len() == expected,
        "{} nodes of {expected}: {:?}",
        listing.nodes.len(),
        listing.rejected.first()
    );
    Ok(took)
}

async fn most(results: &mut Results, client: &Client, runs: u32) -> anyhow::Result<()> {
    let consul = Consul::start().await?;
    population::register(&consul, &population::records(MOST)).await?;
    let [mut wall, mut cpu, mut peak] = <[Samples; 3]>::default();
    let [mut program, mut program_cpu, mut program_peak, mut other] = <[Samples; 4]>::default();
    for _ in 0..runs {
        let library = list_in_a_process(&consul.http_uri())?;
        ensure!(library["nodes"] == MOST, "not every node was listed: {library}");
        wall.push(number(&library, "wall_ms")?);
        cpu.push(number(&library, "cpu_ms")?);
        peak.push(number(&library, "peak_mib")?);
        other.push_time(timed(&mut curl(&answer_url(&consul)))?);
        let mut command = client.list(&consul.http_uri(), &["--json"]);
        program.push_time(timed(&mut command)?);
        let spent = spent(&command)?;
        program_cpu.push(number(&spent, "cpu_ms")?);
        program_peak.push(number(&spent, "peak_mib")?);
    }
    let alone = |key, label, unit, samples: &Samples| Figure::alone(key, label, unit, median(samples));
    results.push(Figure::medians(
        "list_10000",
        "Consul lists 10,000 nodes, library",
        &wall,
        ("curl", &other),
    ));
    results.push(Figure::medians(
        "list_10000_program",
        "the same, cbrowse nodes list --json",
        &program,
        ("curl", &other),
    ));
    results.push(
        alone("list_10000_cpu", "CPU of a process listing 10,000 nodes", "ms", &cpu)
            .at_most(Limit::Value(300.0)),
    );
    results.push(
        alone("list_10000_program_cpu", "the same, cbrowse nodes list --json", "ms", &program_cpu)
            .at_most(Limit::Value(300.0)),
    );
    results.push(
        alone("list_10000_peak", "peak memory of a process listing 10,000 nodes", "MiB", &peak)
            .at_most(Limit::Value(64.0)),
    );
    results.push(
        alone("list_10000_program_peak", "the same, cbrowse nodes list --json", "MiB", &program_peak)
            .at_most(Limit::Value(64.0)),
    );
    Ok(())
}

fn number(told: &Value, name: &str) -> anyhow::Result<f64> {
    told[name].as_f64().with_context(|| format!("no {name} in {told}"))
}

/// By [`super::once`].
fn list_in_a_process(catalog: &str) -> anyhow::Result<Value> {
    let output =
        Command::new(std::env::current_exe()?).args(["once", catalog]).output().context("start a listing")?;
    ensure!(output.status.success(), "the listing failed: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("read what the listing told")
}
