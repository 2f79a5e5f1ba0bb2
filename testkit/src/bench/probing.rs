//! How well and how fast the prober names the best node: seeded runs of the real prober and the real selection over a
//! simulated network under a paused clock, beside what the design promises.

pub mod fleet;
pub mod promise;
pub mod run;
pub mod scenario;

use std::time::Instant;

use self::{promise::Results, scenario::Scenario};

/// What to measure.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Only these scenarios; several may be named
    #[arg(long = "only", value_name = "SCENARIO")]
    pub scenarios: Vec<Scenario>,
    /// Seeded runs of each scenario
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub runs: u32,
    /// Nodes of the fleet, where the scenario does not say
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub nodes: u32,
    /// Mean of the exponentially distributed jitter in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 2.0)]
    pub jitter: f64,
    /// The first run's seed; the others follow it
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Print one JSON document instead of a table
    #[arg(long)]
    pub json: bool,
}

/// Runs the scenarios, on a thread of their own: their clock is paused.
pub async fn run(options: &Options) -> anyhow::Result<Results> {
    let options = options.clone();
    tokio::task::spawn_blocking(move || {
        let clock = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
        let mut results = Results::new(&options);
        for scenario in Scenario::chosen(&options.scenarios) {
            let (started, spent) = (Instant::now(), run::cpu());
            let runs = clock.block_on(run::runs(scenario, &options))?;
            results.add(scenario, &runs, started.elapsed(), run::cpu().saturating_sub(spent));
        }
        Ok(results)
    })
    .await?
}
