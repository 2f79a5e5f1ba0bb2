//! One run: a fleet, its search, and how good the answer is.

use std::time::Duration;

use cbrowse::{
    probe::{self, Goal, Method, Prior, Probed, Reach, Report, Search, plan},
    select::{self, Constraints, Strategy},
};
use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike as _,
};

use super::{Options, fleet::Fleet, scenario::Scenario};
use crate::simulate::dice::Seeded;

/// How far the top of a ranking may be from the best node: what nobody can tell apart in so few samples.
const NEAR: Duration = Duration::from_millis(2);
/// Samples of each node in a survey.
const SURVEYED: u32 = 5;
/// How old the figures of the run before are.
const A_DAY: Duration = Duration::from_hours(24);

/// How one run went.
#[derive(Debug, Clone, Copy, Default)]
pub struct Run {
    /// The top of the measured ranking is within [`NEAR`] of the true best.
    pub is_top_near: bool,
    /// The chosen node is in the band as it was measured.
    pub is_in_band: bool,
    /// It is in the true band, [`NEAR`] aside.
    pub is_truly_in_band: bool,
    /// Until the decision.
    pub took: Duration,
    /// The best node's round trip.
    pub best: Duration,
    /// Nodes of the fleet.
    pub nodes: usize,
    /// Packets sent.
    pub packets: usize,
    /// Probes counted as lost, and those that were.
    pub lost: [usize; 2],
    /// Nodes that answer and were called dead.
    pub called_dead: usize,
}

/// User and system time of this process.
pub fn cpu() -> Duration {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return Duration::ZERO };
    let spent = usage.user_time() + usage.system_time();
    Duration::from_micros(u64::try_from(spent.num_microseconds()).unwrap_or_default())
}

/// All runs of a scenario.
pub async fn runs(scenario: Scenario, options: &Options) -> anyhow::Result<Vec<Run>> {
    let mut runs = Vec::new();
    for seed in options.seed..options.seed + u64::from(options.runs) {
        runs.push(run(scenario, options, seed).await?);
    }
    Ok(runs)
}

async fn run(scenario: Scenario, options: &Options, seed: u64) -> anyhow::Result<Run> {
    let jitter = Duration::from_secs_f64(options.jitter.max(0.0) / 1e3);
    let nodes = scenario.nodes(options);
    let fleet = Fleet::new(scenario, nodes, jitter, seed, seed)?;
    let priors = match scenario {
        Scenario::History => priors(&Fleet::new(scenario, nodes, jitter, seed, !seed)?).await,
        Scenario::HistoryWrong => priors(&Fleet::new(scenario, nodes, jitter, !seed, !seed)?).await,
        _ => Vec::new(),
    };
    let goal = if scenario == Scenario::Survey { Goal::Survey(SURVEYED) } else { Goal::Decide };
    let report = search(&fleet, Search { priors, ..Search::new(goal) }).await;
    Ok(judge(&fleet, &report, seed))
}

async fn search(fleet: &Fleet, search: Search) -> Report {
    probe::probe(fleet.records.clone(), |_, _| true, &fleet.network, search, |_| {}).await
}

/// What a search finds, as it is remembered.
async fn priors(fleet: &Fleet) -> Vec<Option<Prior>> {
    let report = search(fleet, Search::new(Goal::Decide)).await;
    let prior = |node: &Probed| {
        let method = if node.method == "tcp" { Method::Tcp } else { Method::Icmp };
        let served = node.reach == Reach::Serving;
        node.rtt.map(|measured| Prior { measured, method, served, age: A_DAY })
    };
    report.nodes.iter().map(prior).collect()
}

fn judge(fleet: &Fleet, report: &Report, seed: u64) -> Run {
    let (nodes, best, tally) = (&report.nodes, fleet.best(), fleet.network.take_tally());
    let pick = |strategy| {
        let dice = &mut Seeded::new(seed, 1);
        select::choose(nodes, &Constraints::default(), strategy, dice).chosen()
    };
    let truth = |index: Option<usize>| index.and_then(|index| fleet.truth[index]);
    let within = |index, top| truth(index).is_some_and(|truth| truth <= top);
    let (top, chosen) = (pick(Strategy::Latency), pick(Strategy::Responsive));
    let p50 = |index: usize| nodes[index].rtt.map(|rtt| rtt.p50);
    let serving = (0..nodes.len()).filter(|index| nodes[*index].reach == Reach::Serving);
    let measured_best = serving.filter_map(p50).min();
    let lost = nodes.iter().zip(&fleet.truth).filter(|(_, truth)| truth.is_some());
    let lost = lost.filter_map(|(node, _)| node.rtt).map(|rtt| rtt.lost as usize).sum();
    let is_wronged = |(node, truth): &(&Probed, &Option<Duration>)| {
        truth.is_some() && matches!(node.reach, Reach::Silent | Reach::NoRoute | Reach::Refused)
    };
    Run {
        is_top_near: within(top, best + NEAR),
        is_in_band: chosen
            .and_then(p50)
            .zip(measured_best)
            .is_some_and(|(own, best)| own <= plan::band_top(best)),
        is_truly_in_band: within(chosen, plan::band_top(best) + NEAR),
        took: report.elapsed,
        best,
        nodes: nodes.len(),
        packets: report.sent,
        lost: [lost, tally.lost],
        called_dead: nodes.iter().zip(&fleet.truth).filter(is_wronged).count(),
    }
}
