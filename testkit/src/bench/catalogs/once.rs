//! One listing of one catalog in a process of its own, which tells what it spent: started by the benchmark, so that
//! nothing else's time and memory are counted.

use std::time::Instant;

use anyhow::Context as _;
use cbrowse_registry::{CatalogUri, open};
use nix::sys::{
    resource::{Usage, UsageWho, getrusage},
    time::TimeValLike as _,
};
use serde_json::{Value, json};

/// What to list.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// The catalog
    pub catalog: CatalogUri,
}

/// Lists, and tells `{"nodes", "wall_ms", "cpu_ms", "peak_mib"}`.
pub async fn run(options: &Options) -> anyhow::Result<Value> {
    let started = Instant::now();
    let listing = open(&options.catalog, &cbrowse_registry::Options::default())?.list().await?;
    let wall = started.elapsed();
    let cpu = cpu(&getrusage(UsageWho::RUSAGE_SELF)?);
    Ok(json!({ "nodes": listing.nodes.len(), "wall_ms": wall.as_secs_f64() * 1e3, "cpu_ms": cpu,
        "peak_mib": peak()? }))
}

/// Of a process since it began, in milliseconds.
pub(in crate::bench) fn cpu(usage: &Usage) -> f64 {
    (usage.user_time() + usage.system_time()).num_microseconds() as f64 / 1e3
}

/// The most memory that this process ever held, in MiB. Not from `getrusage`, which counts what the parent held
/// until this program was loaded.
pub(in crate::bench) fn peak() -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status").context("read this process's status")?;
    peak_in(&status).context("this process's status tells no peak")
}

fn peak_in(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_read_in_mebibytes() {
        assert_eq!(peak_in("Name:\tx\nVmHWM:\t   2048 kB\nVmRSS:\t 1 kB\n"), Some(2.0));
        assert_eq!(peak_in("Name:\tx\n"), None);
        assert!(peak().unwrap() > 0.1);
    }
}
