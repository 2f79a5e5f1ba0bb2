//! What came of all runs, whether it is what was promised, and how the others fared. Pure.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::{
    bench::{
        report::{cores, write_rows},
        statistics::{Samples, Summary},
    },
    emulate::Scenario,
};

/// How much farther than the best node the top of the ranking may be, in milliseconds: less cannot be told apart in the
/// samples that a choice has time for.
const NEAR_ENOUGH_MS: f64 = 2.0;
/// Scenarios in which something is the matter may take so much longer.
const HARDER: f64 = 1.5;

/// What is promised of a figure.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Promise {
    /// Nothing; for information.
    None,
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
}

impl Promise {
    fn is_kept(self, value: f64) -> Option<bool> {
        match self {
            Self::None => None,
            Self::AtMost(limit) => Some(value <= limit),
            Self::AtLeast(limit) => Some(value >= limit),
        }
    }

    fn in_words(self) -> String {
        match self {
            Self::None => "-".into(),
            Self::AtMost(limit) => format!("<= {limit:.1}"),
            Self::AtLeast(limit) => format!(">= {limit:.1}"),
        }
    }
}

/// One line.
#[derive(Debug, Clone, PartialEq)]
struct Figure {
    /// For programs; stable.
    key: &'static str,
    /// For people.
    label: &'static str,
    value: f64,
    promise: Promise,
}

/// The runs of one scenario with one number of nodes.
#[derive(Debug)]
pub struct Series {
    scenario: Scenario,
    nodes: usize,
    runs: Vec<Value>,
}

impl Series {
    /// None yet.
    pub fn new(scenario: Scenario, nodes: usize) -> Self {
        Self { scenario, nodes, runs: Vec::new() }
    }

    /// Adds what [`super::once::run`] told.
    pub fn push(&mut self, run: Value) {
        self.runs.push(run);
    }

    /// One number of each run that has it.
    fn numbers(&self, pointer: &str) -> Vec<f64> {
        self.runs.iter().filter_map(|run| run.pointer(pointer)?.as_f64()).collect()
    }

    /// The same after `of`, which also gets the round trip of the best node.
    fn by_best(&self, pointer: &str, of: impl Fn(f64, f64) -> f64) -> Vec<f64> {
        let both = |run: &Value| Some((run.pointer(pointer)?.as_f64()?, run["best_ms"].as_f64()?));
        self.runs.iter().filter_map(both).map(|(value, best)| of(value, best)).collect()
    }

    /// How many of a hundred runs are so. A run without the number is not.
    fn share(&self, pointer: &str, is_so: impl Fn(f64, &Value) -> bool) -> f64 {
        let so = self.runs.iter().filter(|run| {
            run.pointer(pointer).and_then(Value::as_f64).is_some_and(|value| is_so(value, run))
        });
        so.count() as f64 * 100.0 / self.runs.len().max(1) as f64
    }

    fn is_plain(&self) -> bool {
        self.scenario == Scenario::Plain
    }

    /// All figures; `usual` has the usual number of nodes.
    fn figures(&self, usual: Option<&Self>) -> Vec<Figure> {
        let mut figures = self.accuracy();
        figures.extend(self.times(usual));
        figures.extend(self.costs());
        figures
    }

    fn accuracy(&self) -> Vec<Figure> {
        let near = |off: f64, _: &Value| off <= NEAR_ENOUGH_MS;
        let in_band = |off: f64, run: &Value| {
            off <= run["cold"]["band_ms"].as_f64().unwrap_or_default() + NEAR_ENOUGH_MS
        };
        let figure = |key, label, value, promise| Figure { key, label, value, promise };
        vec![
            figure(
                "nearest_right",
                "top within 2 ms of the true best (% of runs)",
                self.share("/cold/nearest_off_ms", near),
                Promise::AtLeast(99.0),
            ),
            figure(
                "chosen_in_band",
                "chosen inside the true band, give or take 2 ms (%)",
                self.share("/cold/chosen_off_ms", in_band),
                Promise::AtLeast(100.0),
            ),
            figure(
                "history_nearest_right",
                "with history, top within 2 ms (%)",
                self.share("/history/nearest_off_ms", near),
                Promise::AtLeast(99.0),
            ),
            figure(
                "best_ms",
                "true best round trip, p50 (ms)",
                median(&self.numbers("/best_ms")),
                Promise::None,
            ),
        ]
    }

    /// A promise about time depends on each network's own best node, so it is held against the share of it that was used.
    fn times(&self, usual: Option<&Self>) -> Vec<Figure> {
        let harder = if self.is_plain() { 1.0 } else { HARDER };
        // Of more nodes something else is promised.
        let used = if usual.is_none() { Promise::AtMost(100.0) } else { Promise::None };
        let share = |pointer: &str, times: f64, more: f64| {
            self.by_best(pointer, |elapsed, best| elapsed * 100.0 / ((times * best + more) * harder))
        };
        let cold = self.numbers("/cold/elapsed_ms");
        let history = self.numbers("/history/elapsed_ms");
        let figure = |key, label, value, promise| Figure { key, label, value, promise };
        let mut figures = vec![
            figure("decision_p50_ms", "decision, cold, p50 (ms)", median(&cold), Promise::None),
            figure(
                "decision_p50_share",
                "  of 3x the best + 130 ms, p50 (%)",
                median(&share("/cold/elapsed_ms", 3.0, 130.0)),
                used,
            ),
            figure("decision_p99_ms", "decision, cold, p99 (ms)", p99(&cold), Promise::None),
            figure(
                "decision_p99_share",
                "  of 4x the best + 250 ms, p99 (%)",
                p99(&share("/cold/elapsed_ms", 4.0, 250.0)),
                used,
            ),
            figure("history_p50_ms", "decision with history, p50 (ms)", median(&history), Promise::None),
            figure(
                "history_p50_share",
                "  of 2x the best + 30 ms, p50 (%)",
                median(&share("/history/elapsed_ms", 2.0, 30.0)),
                used,
            ),
        ];
        if let Some(usual) = usual {
            let ratio = median(&cold) / median(&usual.numbers("/cold/elapsed_ms"));
            figures.push(figure(
                "against_usual",
                "decision, cold, against the first number of nodes (ratio)",
                ratio,
                Promise::AtMost(2.5),
            ));
        }
        figures
    }

    fn costs(&self) -> Vec<Figure> {
        let each = |pointer: &str| median(&self.numbers(pointer)) / self.nodes.max(1) as f64;
        let (packets, cpu, peak, none) = if self.is_plain() {
            (Promise::AtMost(1.5), Promise::AtMost(300.0), Promise::AtMost(64.0), Promise::AtMost(0.0))
        } else {
            (Promise::None, Promise::None, Promise::None, Promise::AtMost(0.0))
        };
        let figure = |key, label, value, promise| Figure { key, label, value, promise };
        vec![
            figure(
                "probes_a_node",
                "echo requests and connections a node, p50",
                each("/cold/probes"),
                packets,
            ),
            figure(
                "packets_a_node",
                "  all packets a node, those of TCP included",
                each("/cold/packets"),
                Promise::None,
            ),
            figure(
                "history_probes_a_node",
                "  with history, echo requests and connections",
                each("/history/probes"),
                Promise::None,
            ),
            figure(
                "false_loss",
                "nodes with false loss, of all runs",
                self.numbers("/cold/false_loss").iter().sum(),
                none,
            ),
            figure(
                "cpu_ms",
                "CPU of the prober's process, p50 (ms)",
                median(&self.numbers("/cold/cpu_ms")),
                cpu,
            ),
            figure(
                "peak_mib",
                "peak memory of the prober's process, max (MiB)",
                max(&self.numbers("/cold/peak_mib")),
                peak,
            ),
        ]
    }

    /// Rows of the comparison: name, time, ratio, accuracy, false loss, probes a node.
    fn beside(&self) -> Vec<[String; 6]> {
        let name = [
            "cbrowse, cold",
            "cbrowse, with history",
            "fping -C1 -i1 -q",
            "one connection after another (extrapolated)",
            "all connections at once, and wait",
        ];
        let keys = ["cold", "history", "fping", "one_after_another", "all_at_once"];
        let ours = median(&self.numbers("/cold/elapsed_ms"));
        let row = |(name, key): (&str, &str)| {
            let numbers = |field: &str| self.numbers(&format!("/{key}/{field}"));
            let times = numbers("elapsed_ms");
            if times.is_empty() {
                let why = if key == "fping" && self.runs.iter().any(|run| run.get(key).is_some()) {
                    "not installed"
                } else {
                    "not measured"
                };
                return [name.into(), why.into(), String::new(), String::new(), String::new(), String::new()];
            }
            let offs = numbers("nearest_off_ms");
            let right = offs.iter().filter(|off| **off <= NEAR_ENOUGH_MS).count() * 100 / times.len();
            // A sample of nodes has no best one, and its probes are not those of all.
            let is_sample = key == "one_after_another";
            let of_all = |text: String| if is_sample { "-".to_owned() } else { text };
            let probes = median(&numbers("probes")) / self.nodes.max(1) as f64;
            [
                format!("{name} ({} runs)", times.len()),
                format!("{:.0} ({:.0} - {:.0})", median(&times), min(&times), max(&times)),
                format!("{:.1}", median(&times) / ours),
                of_all(format!("{right}")),
                format!("{:.0}", numbers("false_loss").iter().sum::<f64>()),
                of_all(format!("{probes:.2}")),
            ]
        };
        name.into_iter().zip(keys).map(row).collect()
    }

    /// How late the emulator itself was, which is in every figure: of the runs' p50 and p99 the medians, and the worst p99,
    /// in milliseconds.
    fn late(&self) -> [f64; 3] {
        let late = |pointer| self.numbers(pointer).into_iter().map(|us| us / 1e3).collect::<Vec<_>>();
        let p99s = late("/late/p99_us");
        [median(&late("/late/p50_us")), median(&p99s), max(&p99s)]
    }
}

/// Of all scenarios.
#[derive(Debug, Default)]
pub struct Results(Vec<Series>);

impl Results {
    /// Adds one.
    pub fn push(&mut self, series: Series) {
        self.0.push(series);
    }

    /// The series of the same scenario that has another, the first, number of nodes.
    fn usual(&self, index: usize) -> Option<&Series> {
        self.0[..index].iter().find(|series| series.scenario == self.0[index].scenario)
    }

    /// As tables with their explanation.
    pub fn to_table(&self) -> String {
        let mut text = format!("{} cores; medians unless something else is said\n", cores());
        for (index, series) in self.0.iter().enumerate() {
            let (runs, name) = (series.runs.len(), series.scenario.name());
            let _ = writeln!(text, "\n{} nodes, {name}, {runs} networks\n", series.nodes);
            let mut rows = vec![["", "measured", "promised", ""].map(String::from)];
            rows.extend(series.figures(self.usual(index)).iter().map(cells));
            write_rows(&mut text, &rows);
            text.push('\n');
            let mut rows =
                vec![["", "ms", "ratio", "right (%)", "false loss", "probes a node"].map(String::from)];
            rows.extend(series.beside());
            write_rows(&mut text, &rows);
            let [half, most, worst] = series.late();
            let overflowed: f64 = series.numbers("/overflowed").iter().sum();
            let _ = writeln!(
                text,
                "\nThe emulator let half of all packets go less than {half:.2} ms late, 99 % less than {most:.2} ms (in the worst run \
                 {worst:.2} ms); {overflowed:.0} found it full."
            );
        }
        text
    }

    /// As one document.
    pub fn to_json(&self) -> Value {
        let series = |(index, series): (usize, &Series)| {
            let figure = |figure: &Figure| {
                let promise = match figure.promise {
                    Promise::None => Value::Null,
                    Promise::AtMost(limit) => json!({ "at_most": limit }),
                    Promise::AtLeast(limit) => json!({ "at_least": limit }),
                };
                (
                    figure.key.to_owned(),
                    json!({ "value": figure.value, "promised": promise, "kept": figure.promise.is_kept(figure.value) }),
                )
            };
            let figures: serde_json::Map<String, Value> =
                series.figures(self.usual(index)).iter().map(figure).collect();
            json!({ "scenario": series.scenario.name(), "nodes": series.nodes, "figures": figures, "runs": series.runs })
        };
        json!({ "cores": cores(), "series": self.0.iter().enumerate().map(series).collect::<Vec<_>>() })
    }
}

fn cells(figure: &Figure) -> [String; 4] {
    let verdict = match figure.promise.is_kept(figure.value) {
        None => "",
        Some(true) => "kept",
        Some(false) => "MISSED",
    };
    [figure.label.into(), format!("{:.2}", figure.value), figure.promise.in_words(), verdict.into()]
}

/// What is said of some numbers, 0 without any.
fn said(numbers: &[f64], of: impl Fn(&Summary) -> f64) -> f64 {
    let mut samples = Samples::default();
    for number in numbers {
        samples.push(*number);
    }
    samples.summary().map_or(0.0, |summary| of(&summary))
}

fn median(numbers: &[f64]) -> f64 {
    said(numbers, |summary| summary.median)
}

fn p99(numbers: &[f64]) -> f64 {
    said(numbers, |summary| summary.p99)
}

fn min(numbers: &[f64]) -> f64 {
    said(numbers, |summary| summary.min)
}

fn max(numbers: &[f64]) -> f64 {
    said(numbers, |summary| summary.max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(nearest_off: f64, elapsed: f64) -> Value {
        json!({ "best_ms": 10.0, "overflowed": 0, "late": { "p50_us": 20, "p99_us": 120 },
            "cold": { "elapsed_ms": elapsed, "nearest_off_ms": nearest_off, "chosen_off_ms": 12.1, "band_ms": 10.0,
                "false_loss": 0, "probes": 1200, "packets": 1300, "cpu_ms": 50.0, "peak_mib": 20.0 },
            "history": { "elapsed_ms": 40.0, "nearest_off_ms": 0.0, "probes": 100 },
            "fping": null })
    }

    fn kept(series: &Series, key: &str) -> Option<bool> {
        let figures = series.figures(None);
        let figure = figures.iter().find(|figure| figure.key == key).expect("a figure");
        figure.promise.is_kept(figure.value)
    }

    fn series(scenario: Scenario, runs: Vec<Value>) -> Series {
        Series { scenario, nodes: 1000, runs }
    }

    #[test]
    fn promises_are_kept_at_their_limits_and_missed_beyond() {
        // 3 x 10 + 130 ms, and half as much again where something is the matter.
        for (scenario, elapsed, is_kept) in [
            (Scenario::Plain, 160.0, true),
            (Scenario::Plain, 160.1, false),
            (Scenario::Dead, 240.0, true),
            (Scenario::Dead, 240.1, false),
        ] {
            let series = series(scenario, vec![run(2.0, elapsed)]);
            assert_eq!(kept(&series, "decision_p50_share"), Some(is_kept), "{scenario:?} {elapsed}");
            assert_eq!(kept(&series, "nearest_right"), Some(true));
            assert_eq!(kept(&series, "chosen_in_band"), Some(false), "12.1 of 10 ms");
            assert_eq!(kept(&series, "history_p50_share"), Some(true));
        }
        let wrong = series(Scenario::Plain, vec![run(2.1, 1.0)]);
        assert_eq!(kept(&wrong, "nearest_right"), Some(false));
    }

    #[test]
    fn whoever_chose_nobody_was_not_right() {
        let mut nobody = run(0.0, 1.0);
        nobody["cold"]["nearest_off_ms"] = Value::Null;
        assert_eq!(kept(&series(Scenario::Plain, vec![nobody]), "nearest_right"), Some(false));
    }

    #[test]
    fn tables_say_what_was_missed_and_what_is_not_installed() {
        let mut results = Results::default();
        results.push(series(Scenario::Plain, vec![run(0.0, 100.0)]));
        results.push(Series { nodes: 5000, ..series(Scenario::Plain, vec![run(0.0, 251.0)]) });
        let table = results.to_table();
        assert!(table.contains("not installed") && table.contains("not measured"), "{table}");
        assert!(table.contains("MISSED") && table.contains("99 % less than 0.12 ms"), "{table}");
        let document = results.to_json();
        assert_eq!(document["series"][1]["figures"]["against_usual"]["kept"], false);
        assert_eq!(document["series"][0]["figures"]["cpu_ms"]["kept"], true);
    }
}
