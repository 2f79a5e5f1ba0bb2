//! How long a person waits after TAB: a process that starts, reads the copy of a catalog, and ends.

use anyhow::ensure;

use super::{
    client::{Client, timed},
    figure::{Figure, Limit, Results, median},
    population,
};
use crate::bench::statistics::Samples;

/// The figures are of milliseconds, so that few runs say little.
const RUNS_PER_RUN: u32 = 3;

/// Measures completion from copies of 1,000 and 10,000 nodes, next to a start that does nothing.
pub fn measure(results: &mut Results, runs: u32) -> anyhow::Result<()> {
    for (count, region, node) in [
        (
            1_000,
            ("complete_region_1000", "TAB after --region, 1,000 nodes"),
            ("complete_node_1000", "TAB after --node, 1,000 nodes"),
        ),
        (
            10_000,
            ("complete_region_10000", "TAB after --region, 10,000 nodes"),
            ("complete_node_10000", "TAB after --node, 10,000 nodes"),
        ),
    ] {
        let client = Client::new()?;
        let directory = tempfile::Builder::new().prefix("cbrowse-bench-").tempdir()?;
        let path = directory.path().join("nodes.json");
        std::fs::write(&path, serde_json::to_string(&population::records(count))?)?;
        let catalog = format!("file:{}", path.display());
        timed(&mut client.list(&catalog, &["--json"]))?;
        // Nothing but the copy can answer from here on.
        drop(directory);
        for ((key, label), flag) in [(region, "--region"), (node, "--node")] {
            let offered = client.complete(&catalog, flag).output()?;
            ensure!(!offered.stdout.is_empty(), "{flag}: nothing is offered");
            let [mut complete, mut version] = <[Samples; 2]>::default();
            for _ in 0..runs * RUNS_PER_RUN {
                complete.push_time(timed(&mut client.complete(&catalog, flag))?);
                version.push_time(timed(&mut client.version())?);
            }
            let figure = Figure::alone(key, label, "ms", median(&complete));
            results.push(figure.beside("cbrowse --version", median(&version)).at_most(Limit::Value(30.0)));
        }
    }
    Ok(())
}
