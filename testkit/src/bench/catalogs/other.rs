//! What listings of a file and of DNS cost, for information: next to reading the same bytes, and to `kdig`.

use std::time::{Duration, Instant};

use anyhow::ensure;
use cbrowse_registry::CatalogUri;

use super::{
    client::timed,
    dns::Dns,
    figure::{Figure, Results},
    listing::{MANY, list},
    population,
};
use crate::bench::statistics::Samples;

/// Measures DNS over TCP.
pub async fn dns(results: &mut Results, runs: u32) -> anyhow::Result<()> {
    let server = Dns::start(MANY).await?;
    let uri: CatalogUri = server.uri().parse()?;
    let [mut ours, mut other] = <[Samples; 2]>::default();
    for _ in 0..runs {
        ours.push_time(list(&uri, MANY).await?);
        other.push_time(timed(&mut server.kdig())?);
    }
    results.push(Figure::medians("dns_1000", "DNS lists 1,000 nodes, library", &ours, ("kdig", &other)));
    Ok(())
}

/// Measures a file.
pub async fn file(results: &mut Results, runs: u32) -> anyhow::Result<()> {
    let directory = tempfile::Builder::new().prefix("cbrowse-bench-").tempdir()?;
    let path = directory.path().join("nodes.json");
    std::fs::write(&path, serde_json::to_string(&population::records(MANY))?)?;
    let uri: CatalogUri = format!("file:{}", path.display()).parse()?;
    let [mut ours, mut other] = <[Samples; 2]>::default();
    for _ in 0..runs {
        ours.push_time(list(&uri, MANY).await?);
        other.push_time(read(&path).await?);
    }
    results.push(Figure::medians(
        "file_1000",
        "a JSON file lists 1,000 nodes, library",
        &ours,
        ("read", &other),
    ));
    Ok(())
}

async fn read(path: &std::path::Path) -> anyhow::Result<Duration> {
    let started = Instant::now();
    ensure!(!tokio::fs::read(path).await?.is_empty(), "an empty file");
    Ok(started.elapsed())
}
