//! What came of the runs, beside what was promised.

use std::{fmt::Write as _, time::Duration};

use serde_json::{Value, json};

use super::{
    Options,
    run::Run,
    scenario::{Limit, Scenario},
};
use crate::bench::statistics::Samples;

/// Packets a node that a search may spend, and how much longer 5,000 nodes may take than 1,000.
const PACKETS: f64 = 1.5;
const GROWTH: f64 = 2.5;
/// Share of the runs, in percent, in which the top of the ranking must be near the best.
const NEAR: f64 = 99.0;
/// From this many nodes on, the budget is promised.
const MANY: u32 = 100;

/// One figure and what was promised of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    what: String,
    measured: String,
    promised: Option<String>,
    /// `None`: nothing was promised.
    is_kept: Option<bool>,
}

/// All figures.
#[derive(Debug)]
pub struct Results {
    options: Options,
    scenarios: Vec<(Scenario, Vec<Line>)>,
    /// Median time of the plain scenario and of the large one, in milliseconds.
    times: [Option<f64>; 2],
}

impl Results {
    /// None yet.
    pub fn new(options: &Options) -> Self {
        Self { options: options.clone(), scenarios: Vec::new(), times: [None; 2] }
    }

    /// Adds those of a scenario, that took `wall` and `cpu` in truth.
    pub fn add(&mut self, scenario: Scenario, runs: &[Run], wall: Duration, cpu: Duration) {
        let mut lines = quality(runs);
        let times = times(scenario, runs);
        let median = times.median;
        lines.extend(times.lines);
        lines.extend(cost(scenario, runs, scenario.nodes(&self.options) >= MANY));
        match scenario {
            Scenario::Plain => self.times[0] = median,
            Scenario::FiveThousand => self.times[1] = median,
            _ => {}
        }
        if let (Scenario::FiveThousand, [Some(small), Some(large)]) = (scenario, self.times) {
            let growth = large / small;
            lines.push(at_most("time against that of the plain fleet", growth, "x", Some(GROWTH)));
        }
        let each = |time: Duration| time.as_secs_f64() * 1e3 / runs.len().max(1) as f64;
        lines.push(figure(
            "real time and CPU time of a run, simulation included",
            format!("{:.1} ms, {:.1} ms", each(wall), each(cpu)),
        ));
        self.scenarios.push((scenario, lines));
    }

    /// Whether every promise was kept.
    pub fn is_kept(&self) -> bool {
        self.scenarios.iter().flat_map(|(_, lines)| lines).all(|line| line.is_kept != Some(false))
    }

    /// For people.
    pub fn to_table(&self) -> String {
        let Options { runs, jitter, seed, .. } = &self.options;
        let mut text = format!("{runs} runs of each scenario from seed {seed} on, jitter {jitter} ms\n");
        for (scenario, lines) in &self.scenarios {
            let _ = write!(text, "\n{} ({} nodes)\n", scenario.name(), scenario.nodes(&self.options));
            for Line { what, measured, promised, is_kept } in lines {
                let promised =
                    promised.as_ref().map(|promised| format!("promised {promised}")).unwrap_or_default();
                let kept = match is_kept {
                    Some(true) => "kept",
                    Some(false) => "BROKEN",
                    None => "",
                };
                let line = format!("  {what:<58} {measured:>22}  {promised:<34} {kept}");
                let _ = writeln!(text, "{}", line.trim_end());
            }
        }
        text
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        let line = |line: &Line| json!({"what": line.what, "measured": line.measured, "promised": line.promised, "kept": line.is_kept});
        let scenarios: Vec<Value> = self
            .scenarios
            .iter()
            .map(|(scenario, lines)| {
                json!({
                    "scenario": scenario.name(),
                    "nodes": scenario.nodes(&self.options),
                    "figures": lines.iter().map(line).collect::<Vec<_>>(),
                })
            })
            .collect();
        json!({"runs": self.options.runs, "seed": self.options.seed, "jitter_ms": self.options.jitter, "scenarios": scenarios})
    }
}

fn figure(what: &str, measured: String) -> Line {
    Line { what: what.into(), measured, promised: None, is_kept: None }
}

fn at_most(what: &str, measured: f64, unit: &str, promised: Option<f64>) -> Line {
    Line {
        what: what.into(),
        measured: format!("{measured:.2} {unit}"),
        promised: promised.map(|promised| format!("<= {promised} {unit}")),
        is_kept: promised.map(|promised| measured <= promised),
    }
}

fn share(what: &str, runs: &[Run], holds: impl Fn(&Run) -> bool, promised: Option<f64>) -> Line {
    let share = 100.0 * runs.iter().filter(|run| holds(run)).count() as f64 / runs.len().max(1) as f64;
    Line {
        what: what.into(),
        measured: format!("{share:.2} %"),
        promised: promised.map(|promised| format!(">= {promised} %")),
        is_kept: promised.map(|promised| share >= promised),
    }
}

fn quality(runs: &[Run]) -> Vec<Line> {
    vec![
        share("top of the ranking within 2 ms of the true best", runs, |run| run.is_top_near, Some(NEAR)),
        share("chosen node in its band", runs, |run| run.is_in_band, Some(100.0)),
        share("chosen node in the true band, 2 ms aside", runs, |run| run.is_truly_in_band, None),
    ]
}

struct Times {
    lines: Vec<Line>,
    median: Option<f64>,
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Each run is held against its own best round trip, and the share of runs that keep the limit against 50 or 99 %.
fn times(scenario: Scenario, runs: &[Run]) -> Times {
    let mut samples = Samples::default();
    runs.iter().for_each(|run| samples.push_time(run.took));
    let Some(summary) = samples.summary() else { return Times { lines: Vec::new(), median: None } };
    let mut lines = Vec::new();
    for ((limit, name), took) in
        scenario.limits().into_iter().zip(["p50", "p99"]).zip([summary.median, summary.p99])
    {
        let mut rest = Samples::default();
        let Limit { times, plus } = limit.unwrap_or(Limit { times: 3.0, plus: 0.0 });
        runs.iter().for_each(|run| rest.push(milliseconds(run.took) - times * milliseconds(run.best)));
        let rest = rest.summary().map_or(0.0, |rest| if name == "p50" { rest.median } else { rest.p99 });
        lines.push(Line {
            what: format!("decision, {name}"),
            measured: format!("{took:.1} ms, {times}x{rest:+.1} ms"),
            promised: limit.map(|_| format!("<= {times}x best RTT + {plus} ms")),
            is_kept: limit.map(|_| rest <= plus),
        });
    }
    Times { lines, median: Some(summary.median) }
}

fn cost(scenario: Scenario, runs: &[Run], is_large: bool) -> Vec<Line> {
    let packets = runs.iter().map(|run| run.packets as f64 / run.nodes.max(1) as f64);
    let (mean, most) = (packets.clone().sum::<f64>() / runs.len().max(1) as f64, packets.fold(0.0, f64::max));
    let promised = (is_large && scenario != Scenario::Survey).then_some(PACKETS);
    let falsely: usize =
        runs.iter().map(|run| run.lost[0].saturating_sub(run.lost[1]) + run.called_dead).sum();
    let sent: usize = runs.iter().map(|run| run.packets).sum();
    vec![
        at_most("packets a node, mean", mean, "", promised),
        at_most("packets a node, most of all runs", most, "", promised),
        at_most("false loss", 100.0 * falsely as f64 / sent.max(1) as f64, "%", Some(0.0)),
    ]
}
