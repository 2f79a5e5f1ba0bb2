//! What a listing of a file costs, for information: next to reading the same bytes.

use std::time::Instant;

use anyhow::ensure;
use cbrowse_registry::{CatalogUri, open};

use super::{
    figure::{Figure, Results},
    listing::MANY,
    population,
};
use crate::bench::statistics::Samples;

/// Measures a file in both of its formats.
pub async fn measure(results: &mut Results, runs: u32) -> anyhow::Result<()> {
    let directory = tempfile::Builder::new().prefix("cbrowse-bench-").tempdir()?;
    let records = population::records(MANY);
    let json = serde_json::to_string(&records)?;
    for (key, label, name) in [("file_json_1000", "a JSON file lists 1,000 nodes", "nodes.json")] {
        let path = directory.path().join(name);
        std::fs::write(&path, &json)?;
        let uri: CatalogUri = format!("file:{}", path.display()).parse()?;
        let [mut ours, mut other] = <[Samples; 2]>::default();
        for _ in 0..runs {
            let started = Instant::now();
            let listing = open(&uri, &cbrowse_registry::Options::default())?.list().await?;
            ours.push_time(started.elapsed());
            ensure!(listing.nodes.len() == MANY, "{} nodes", listing.nodes.len());
            let started = Instant::now();
            ensure!(tokio::fs::read(&path).await?.len() == json.len(), "the file changed");
            other.push_time(started.elapsed());
        }
        results.push(Figure::medians(key, label, &ours, ("read", &other)));
    }
    Ok(())
}
