//! What was measured, as a table for people and as JSON for programs.

use std::{collections::BTreeMap, fmt::Write as _};

use serde_json::{Value, json};

use super::{
    remote::Steps,
    statistics::{Samples, Summary},
};

/// One thing that is measured on one side or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measure {
    /// First picture; the node is started first.
    Nothing,
    /// First picture, the first session of a node.
    Fresh,
    /// First picture of a node with a waiting worker, next to a Chromium that is started.
    Warm,
    /// The same, next to a tab in a Chromium that runs.
    Tab,
    /// From a press to its picture.
    Reaction,
    /// From a message to its answer.
    Trip,
    /// Pictures a second.
    Rate,
    /// Whether a page that moved and then rests is seen at rest.
    Last,
    /// Probes of three nodes.
    Probe,
    /// Catalog, probes, interviews and choice among three nodes.
    Choice,
    /// First picture of a warm node that is [`super::DISTANCE`] away.
    FarPicture,
    /// From a press to its picture, there.
    FarReaction,
    /// From a message to its answer, there.
    FarTrip,
    /// Pictures a second, there.
    FarRate,
    /// Whether a page that moved and then rests is seen at rest, there.
    FarLast,
}

impl Measure {
    const ALL: [Self; 15] = [
        Self::Nothing,
        Self::Fresh,
        Self::Warm,
        Self::Tab,
        Self::Reaction,
        Self::Trip,
        Self::Rate,
        Self::Last,
        Self::Probe,
        Self::Choice,
        Self::FarPicture,
        Self::FarReaction,
        Self::FarTrip,
        Self::FarRate,
        Self::FarLast,
    ];

    /// For people.
    fn label(self) -> &'static str {
        match self {
            Self::Nothing => "first picture, node started too | Chromium started",
            Self::Fresh => "first picture, fresh node | Chromium started",
            Self::Warm => "first picture, warm node | Chromium started",
            Self::Tab => "first picture, warm node | tab in a running Chromium",
            Self::Reaction => "input to picture",
            Self::Trip => "message and answer",
            Self::Rate => "pictures a second",
            Self::Probe => "probes of 3 nodes",
            Self::Choice => "catalog, probes, interviews, choice",
            Self::FarPicture => "first picture, warm node 50 ms away",
            Self::FarReaction => "input to picture, 50 ms away",
            Self::FarTrip => "message and answer, 50 ms away",
            Self::FarRate => "pictures a second, 50 ms away",
            Self::Last => "seen at rest after moving",
            Self::FarLast => "seen at rest after moving, 50 ms away",
        }
    }

    /// For programs; stable.
    fn key(self) -> &'static str {
        match self {
            Self::Nothing => "first_picture_with_node_start",
            Self::Fresh => "first_picture_fresh_node",
            Self::Warm => "first_picture_warm_node",
            Self::Tab => "first_picture_warm_node_and_running_chromium",
            Self::Reaction => "input_to_picture",
            Self::Trip => "round_trip",
            Self::Rate => "pictures_per_second",
            Self::Probe => "probe",
            Self::Choice => "choice",
            Self::FarPicture => "far_first_picture",
            Self::FarReaction => "far_input_to_picture",
            Self::FarTrip => "far_round_trip",
            Self::FarRate => "far_pictures_per_second",
            Self::Last => "seen_at_rest",
            Self::FarLast => "far_seen_at_rest",
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Self::Rate | Self::FarRate => "1/s",
            Self::Last | Self::FarLast => "%",
            _ => "ms",
        }
    }
}

#[derive(Debug, Default)]
struct Pair {
    cbrowse: Samples,
    bare: Samples,
}

/// Everything that was measured.
#[derive(Debug)]
pub struct Results {
    runs: u32,
    chromium: String,
    pairs: BTreeMap<Measure, Pair>,
    /// The ways to the first pictures of [`Measure::Warm`].
    pub steps: Vec<Steps>,
    /// And of [`Measure::FarPicture`].
    pub far_steps: Vec<Steps>,
    /// First pictures that never came, and are in no sample.
    pub missing_cbrowse: u32,
    /// The same of the bare client.
    pub missing_bare: u32,
}

impl Results {
    /// Nothing yet.
    pub fn new(runs: u32, chromium: String) -> Self {
        let pairs = Measure::ALL.into_iter().map(|measure| (measure, Pair::default())).collect();
        Self {
            runs,
            chromium,
            pairs,
            steps: Vec::new(),
            far_steps: Vec::new(),
            missing_cbrowse: 0,
            missing_bare: 0,
        }
    }

    fn pair(&mut self, measure: Measure) -> &mut Pair {
        self.pairs.entry(measure).or_default()
    }

    /// Where cbrowse's samples go.
    pub fn cbrowse(&mut self, measure: Measure) -> &mut Samples {
        &mut self.pair(measure).cbrowse
    }

    /// Where those of the bare client go.
    pub fn bare(&mut self, measure: Measure) -> &mut Samples {
        &mut self.pair(measure).bare
    }

    /// As a table with its explanation.
    pub fn to_table(&self) -> String {
        let mut text = format!(
            "{} runs, {} cores, {}; median (min - max), both sides in turns\n\n",
            self.runs,
            cores(),
            self.chromium
        );
        let mut rows = vec![["", "", "cbrowse", "bare DevTools client", "ratio"].map(String::from)];
        for (measure, pair) in &self.pairs {
            let (cbrowse, bare) = (pair.cbrowse.summary(), pair.bare.summary());
            rows.push(row(*measure, cbrowse, bare));
            if *measure == Measure::Reaction {
                rows.push(p95_row("input to picture, p95", cbrowse, bare));
            }
        }
        write_rows(&mut text, &rows);
        let (cbrowse, bare) = (self.missing_cbrowse, self.missing_bare);
        let _ = writeln!(
            text,
            "\nFirst pictures that never came: {cbrowse} of cbrowse, {bare} of the bare client"
        );
        text.push_str("\nWhere the time to a warm node's first picture goes (medians of each step, ms):\n\n");
        let mut rows = vec![["", "near", "50 ms away"].map(String::from)];
        let (near, far) = (medians(&self.steps), medians(&self.far_steps));
        for ((name, near), far) in STEPS.into_iter().zip(near).zip(far) {
            rows.push([name.into(), format!("{near:.1}"), format!("{far:.1}")]);
        }
        write_rows(&mut text, &rows);
        text
    }

    /// As one document.
    pub fn to_json(&self) -> Value {
        let measures: serde_json::Map<String, Value> = self
            .pairs
            .iter()
            .map(|(measure, pair)| {
                let (cbrowse, bare) = (pair.cbrowse.summary(), pair.bare.summary());
                let ratio = ratio(cbrowse, bare, |summary| summary.median);
                let value = json!({ "unit": measure.unit(), "cbrowse": summary(cbrowse), "bare": summary(bare), "ratio": ratio });
                (measure.key().to_owned(), value)
            })
            .collect();
        let steps = |steps| -> Value {
            STEPS.into_iter().zip(medians(steps)).map(|(name, ms)| json!([name, ms])).collect()
        };
        json!({ "runs": self.runs, "cores": cores(), "chromium": self.chromium, "measures": measures,
            "steps_ms": steps(&self.steps), "far_steps_ms": steps(&self.far_steps),
            "missing": { "cbrowse": self.missing_cbrowse, "bare": self.missing_bare } })
    }
}

/// On the way to a first picture, in order.
pub(super) const STEPS: [&str; 5] = [
    "catalog read",
    "nodes probed, interviewed, one chosen",
    "session taken, welcome here",
    "Chromium up, first tab there",
    "first picture of the page here",
];

/// Each step's own share in milliseconds.
pub(super) fn medians(ways: &[Steps]) -> [f64; STEPS.len()] {
    let mut samples: [Samples; STEPS.len()] = Default::default();
    for steps in ways {
        let running = steps.running.unwrap_or(steps.attached);
        let ends = [steps.listed, steps.surveyed, steps.attached, running, steps.pictured];
        let mut before = std::time::Duration::ZERO;
        for (samples, end) in samples.iter_mut().zip(ends) {
            samples.push_time(end.saturating_sub(before));
            before = end;
        }
    }
    samples.map(|samples| samples.summary().map_or(0.0, |summary| summary.median))
}

/// Cores of this machine.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(0, std::num::NonZero::get)
}

fn row(measure: Measure, cbrowse: Option<Summary>, bare: Option<Summary>) -> [String; 5] {
    let times = |summary: Summary| format!("{:.1} ({:.1} - {:.1})", summary.median, summary.min, summary.max);
    // Of yes and no, a median says nothing.
    let share = |summary: Summary| format!("{:.0}", summary.mean);
    let told = |summary: Summary| if measure.unit() == "%" { share(summary) } else { times(summary) };
    let ratio = ratio(cbrowse, bare, |summary| summary.median).filter(|_| measure.unit() != "%");
    let cells = [cbrowse.map(told), bare.map(told), ratio.map(two_digits)];
    let [cbrowse, bare, ratio] = cells.map(|cell| cell.unwrap_or_else(|| "-".into()));
    [measure.label().into(), measure.unit().into(), cbrowse, bare, ratio]
}

fn p95_row(label: &str, cbrowse: Option<Summary>, bare: Option<Summary>) -> [String; 5] {
    let cell = |summary: Summary| format!("{:.1}", summary.p95);
    let cells =
        [cbrowse.map(cell), bare.map(cell), ratio(cbrowse, bare, |summary| summary.p95).map(two_digits)];
    let [cbrowse, bare, ratio] = cells.map(|cell| cell.unwrap_or_else(|| "-".into()));
    [label.into(), "ms".into(), cbrowse, bare, ratio]
}

fn two_digits(ratio: f64) -> String {
    format!("{ratio:.2}")
}

/// cbrowse over bare.
fn ratio(cbrowse: Option<Summary>, bare: Option<Summary>, of: impl Fn(Summary) -> f64) -> Option<f64> {
    let (cbrowse, bare) = (of(cbrowse?), of(bare?));
    (bare > 0.0).then(|| cbrowse / bare)
}

fn summary(summary: Option<Summary>) -> Value {
    summary.map_or(Value::Null, |summary| {
        json!({ "count": summary.count, "mean": summary.mean, "median": summary.median, "p95": summary.p95, "min": summary.min, "max": summary.max })
    })
}

/// Columns as wide as their widest cell, without trailing blanks.
pub(super) fn write_rows<const COLUMNS: usize>(text: &mut String, rows: &[[String; COLUMNS]]) {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    for row in rows {
        let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn results() -> Results {
        let mut results = Results::new(2, "Chromium 1".into());
        for sample in [10.0, 30.0] {
            results.cbrowse(Measure::Reaction).push(sample);
            results.bare(Measure::Reaction).push(sample / 2.0);
        }
        let ms = Duration::from_millis;
        let running = Some(ms(40));
        results.steps.push(Steps {
            listed: ms(1),
            surveyed: ms(11),
            attached: ms(14),
            running,
            pictured: ms(90),
        });
        results
    }

    #[test]
    fn ratios_are_of_medians_and_a_side_without_samples_has_none() {
        let document = results().to_json();
        let reaction = &document["measures"]["input_to_picture"];
        assert_eq!((&reaction["ratio"], &reaction["cbrowse"]["median"]), (&json!(2.0), &json!(20.0)));
        assert_eq!(document["measures"]["choice"]["ratio"], Value::Null);
        let table = results().to_table();
        assert!(table.contains("20.0 (10.0 - 30.0)"), "{table}");
        assert!(table.lines().all(|line| line == line.trim_end()), "{table}");
    }

    #[test]
    fn steps_are_told_apart() {
        let steps = medians(&results().steps);
        for (step, expected) in steps.iter().zip([1.0, 10.0, 3.0, 26.0, 50.0]) {
            assert!((step - expected).abs() < 1e-9, "{steps:?}");
        }
    }
}
