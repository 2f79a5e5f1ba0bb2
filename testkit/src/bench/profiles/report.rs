//! What came of all runs, beside what the issue promises. Pure.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use serde_json::{Value, json};

use super::{
    Step,
    tool::{Spent, Tool},
};
use crate::{
    bench::{report::cores, statistics::Samples},
    profile::Made,
};

const MIB: f64 = 1024.0 * 1024.0;
/// What a save and a restore may hold in memory, in MiB.
const PEAK_MIB: f64 = 128.0;

/// One tool's step.
#[derive(Debug, Default)]
struct Cell {
    wall_ms: Samples,
    peak_mib: Samples,
    sent: Samples,
    stored: Samples,
}

/// What is shown in a table of its own.
#[derive(Clone, Copy)]
struct Column {
    title: &'static str,
    key: &'static str,
    of: fn(&Cell) -> &Samples,
    /// From the sample to what is shown.
    unit: f64,
    digits: usize,
}

const COLUMNS: [Column; 4] = [
    Column { title: "wall, ms", key: "wall_ms", of: |cell| &cell.wall_ms, unit: 1.0, digits: 0 },
    Column { title: "sent, KiB", key: "sent_bytes", of: |cell| &cell.sent, unit: 1024.0, digits: 1 },
    Column { title: "stored, MiB", key: "stored_bytes", of: |cell| &cell.stored, unit: MIB, digits: 1 },
    Column { title: "peak memory, MiB", key: "peak_mib", of: |cell| &cell.peak_mib, unit: 1.0, digits: 0 },
];

/// What came of one profile.
#[derive(Debug)]
pub struct Input {
    name: &'static str,
    made: Made,
    tools: Vec<Tool>,
    cells: BTreeMap<(Tool, Step), Cell>,
}

impl Input {
    pub(super) fn new(name: &'static str, made: Made, tools: &[Tool]) -> Self {
        Self { name, made, tools: tools.to_vec(), cells: BTreeMap::new() }
    }

    pub(super) fn push(&mut self, tool: Tool, step: Step, spent: &Spent) {
        let cell = self.cells.entry((tool, step)).or_default();
        cell.wall_ms.push(spent.wall_ms);
        cell.peak_mib.push(spent.peak_mib);
        cell.sent.push(spent.sent as f64);
        cell.stored.push(spent.stored as f64);
    }

    fn median(&self, tool: Tool, step: Step, of: fn(&Cell) -> &Samples) -> Option<f64> {
        Some(of(self.cells.get(&(tool, step))?).summary()?.median)
    }

    fn wall(&self, tool: Tool, step: Step) -> Option<f64> {
        self.median(tool, step, |cell| &cell.wall_ms)
    }

    /// What the issue promises of our library.
    fn promises(&self) -> Vec<Promise> {
        let mut promises = Vec::new();
        let mut hold = |what: &str, limit: Option<f64>, found: Option<f64>| {
            if let (Some(limit), Some(found)) = (limit, found) {
                promises.push(Promise { what: what.into(), limit, found });
            }
        };
        let library = |step| self.wall(Tool::Library, step);
        let peak = |step| self.median(Tool::Library, step, |cell| &cell.peak_mib);
        hold("peak memory of the first sync, MiB", Some(PEAK_MIB), peak(Step::First));
        hold("peak memory of a restore, MiB", Some(PEAK_MIB), peak(Step::Restore));
        if self.name == "large" {
            return promises;
        }
        hold("first sync, ms", Some(1_200.0), library(Step::First));
        let restic = self.wall(Tool::Restic, Step::First).map(|restic| restic / 2.0);
        hold("first sync, half of restic's ms", restic, library(Step::First));
        let excluding = self.wall(Tool::ResticExcluding, Step::First).map(|restic| restic / 2.0);
        hold("first sync, half of restic's ms (excluding)", excluding, library(Step::First));
        hold("nothing changed, ms", Some(40.0), library(Step::Nothing));
        hold("one row changed, ms", Some(60.0), library(Step::Row));
        let sent = self.median(Tool::Library, Step::Row, |cell| &cell.sent).map(|sent| sent / 1024.0);
        hold("one row changed, KiB sent", Some(64.0), sent);
        hold("one file added, ms", Some(60.0), library(Step::File));
        let program = |step| self.wall(Tool::Program, step);
        hold("nothing changed, the whole program, ms", Some(40.0), program(Step::Nothing));
        hold("one row changed, the whole program, ms", Some(60.0), program(Step::Row));
        hold("one file added, the whole program, ms", Some(60.0), program(Step::File));
        hold("restore, ms", Some(1_500.0), library(Step::Restore));
        let others = self.tools.iter().filter(|tool| !matches!(tool, Tool::Library | Tool::Program));
        let fastest = others.filter_map(|tool| self.wall(*tool, Step::Restore)).min_by(f64::total_cmp);
        hold("restore, the fastest other's ms", fastest, library(Step::Restore));
        promises
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Promise {
    what: String,
    limit: f64,
    found: f64,
}

impl Promise {
    fn is_kept(&self) -> bool {
        self.found <= self.limit
    }
}

/// Everything that was measured.
#[derive(Debug)]
pub struct Results {
    runs: u32,
    key: &'static str,
    inputs: Vec<Input>,
    took: Duration,
}

impl Results {
    pub(super) fn new(runs: u32, key: &'static str) -> Self {
        Self { runs, key, inputs: Vec::new(), took: Duration::ZERO }
    }

    /// How long all of it took.
    pub(super) fn taking(self, took: Duration) -> Self {
        Self { took, ..self }
    }

    pub(super) fn push(&mut self, input: Input) {
        self.inputs.push(input);
    }

    /// For programs; stable.
    pub fn to_json(&self) -> Value {
        json!({
            "cores": cores(),
            "runs": self.runs,
            "programs_key": self.key,
            "took_s": self.took.as_secs(),
            "inputs": self.inputs.iter().map(input_to_json).collect::<Vec<_>>(),
        })
    }

    /// For people.
    pub fn to_table(&self) -> String {
        let mut out = format!(
            "{} runs on {} cores in {} s; medians. The program's key came from {}.\n",
            self.runs,
            cores(),
            self.took.as_secs(),
            self.key
        );
        for input in &self.inputs {
            let Made { files, bytes, travelling_files, travelling_bytes } = input.made;
            let mib = |bytes: u64| bytes as f64 / MIB;
            let _ = write!(
                out,
                "\n{}: {files} files, {:.0} MiB, of which {travelling_files} files, {:.0} MiB travel\n",
                input.name,
                mib(bytes),
                mib(travelling_bytes),
            );
            for column in COLUMNS {
                write_column(&mut out, input, column);
            }
            out.push('\n');
            for promise in input.promises() {
                let word = if promise.is_kept() { "kept  " } else { "MISSED" };
                let _ = writeln!(
                    out,
                    "{word} {:44} {:8.1}, limit {:.1}",
                    promise.what, promise.found, promise.limit
                );
            }
        }
        out
    }
}

fn write_column(out: &mut String, input: &Input, column: Column) {
    let _ = write!(out, "\n{:18}", column.title);
    for tool in &input.tools {
        let _ = write!(out, "{:>18}", tool.label());
    }
    out.push('\n');
    for step in Step::ALL {
        let _ = write!(out, "{:18}", step.label());
        for tool in &input.tools {
            let text = input
                .median(*tool, step, column.of)
                .map_or("-".to_owned(), |median| format!("{:.*}", column.digits, median / column.unit));
            let _ = write!(out, "{text:>18}");
        }
        out.push('\n');
    }
}

fn input_to_json(input: &Input) -> Value {
    let tools = input.tools.iter().map(|tool| {
        let steps = Step::ALL.iter().map(|step| {
            let measured = COLUMNS.iter().map(|column| {
                let summary = input.cells.get(&(*tool, *step)).and_then(|cell| (column.of)(cell).summary());
                let value = summary
                    .map(|found| json!({ "median": found.median, "min": found.min, "max": found.max }));
                (column.key.to_owned(), json!(value))
            });
            (step.key().to_owned(), Value::Object(measured.collect()))
        });
        (tool.key().to_owned(), Value::Object(steps.collect()))
    });
    let promises = input.promises().into_iter().map(|promise| {
        json!({ "what": promise.what, "limit": promise.limit, "found": promise.found, "kept": promise.is_kept() })
    });
    json!({
        "name": input.name,
        "files": input.made.files,
        "bytes": input.made.bytes,
        "travelling_files": input.made.travelling_files,
        "travelling_bytes": input.made.travelling_bytes,
        "tools": Value::Object(tools.collect()),
        "promises": promises.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input() -> Input {
        let mut input = Input::new("realistic", Made::default(), &[Tool::Library, Tool::Restic]);
        let spent = |wall_ms| Spent { wall_ms, peak_mib: 100.0, sent: 65 * 1024, stored: 1 };
        for step in Step::ALL {
            input.push(Tool::Library, step, &spent(50.0));
            input.push(Tool::Restic, step, &spent(80.0));
        }
        input
    }

    #[test]
    fn promises_are_held_against_limits_and_against_the_others() {
        let promises = input().promises();
        let broken: Vec<_> =
            promises.iter().filter(|promise| !promise.is_kept()).map(|one| one.what.as_str()).collect();
        assert_eq!(
            broken,
            ["first sync, half of restic's ms", "nothing changed, ms", "one row changed, KiB sent"]
        );
    }

    #[test]
    fn the_table_has_a_line_for_each_step_and_json_a_value_for_each_cell() {
        let mut results = Results::new(1, "nowhere");
        results.push(input());
        let table = results.to_table();
        for step in Step::ALL {
            assert_eq!(
                table.lines().filter(|line| line.starts_with(step.label()) && !line.contains(',')).count(),
                4
            );
        }
        let json = results.to_json();
        assert_eq!(json["inputs"][0]["tools"]["restic"]["restore"]["wall_ms"]["median"], 80.0);
    }
}
