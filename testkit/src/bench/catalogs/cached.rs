//! What the client needs to show its own copy of a list, from the start of the process to its end.

use super::{
    client::{Client, timed},
    figure::{Figure, Limit, Results, median},
    listing::MANY,
    population,
};
use crate::{bench::statistics::Samples, consul::Consul};

/// The figure is of milliseconds, so that few runs say little.
const RUNS_PER_RUN: u32 = 3;

/// Measures `cbrowse nodes list --cached`, next to a program that does nothing at all.
pub async fn measure(results: &mut Results, runs: u32) -> anyhow::Result<()> {
    let client = Client::new()?;
    let consul = Consul::start().await?;
    population::register(&consul, &population::records(MANY)).await?;
    let catalog = consul.http_uri();
    timed(&mut client.list(&catalog, &["--json"]))?;
    // Nothing but the copy can answer from here on.
    drop(consul);
    for (key, label, arguments) in [
        ("cached_1000", "cbrowse nodes list --cached, 1,000 nodes", ["--cached"].as_slice()),
        ("cached_1000_json", "the same with --json", &["--cached", "--json"]),
    ] {
        let [mut cached, mut nothing] = <[Samples; 2]>::default();
        for _ in 0..runs * RUNS_PER_RUN {
            cached.push_time(timed(&mut client.list(&catalog, arguments))?);
            nothing.push_time(timed(&mut std::process::Command::new("true"))?);
        }
        let figure = Figure::alone(key, label, "ms", median(&cached)).beside("true", median(&nothing));
        results.push(figure.at_most(Limit::Value(15.0)));
    }
    Ok(())
}
