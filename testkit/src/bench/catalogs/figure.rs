//! What was measured of catalogs, next to what, and whether it is what was promised.

use serde_json::{Value, json};

use crate::bench::{
    report::{cores, write_rows},
    statistics::Samples,
};

/// What a figure must not exceed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    /// Nothing is promised; for information.
    None,
    /// Of cbrowse's own value.
    Value(f64),
    /// Of cbrowse's over the other's.
    Ratio(f64),
}

/// One line of the table.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// For programs; stable.
    pub key: &'static str,
    /// For people.
    pub label: &'static str,
    /// Of both values.
    pub unit: &'static str,
    /// Ours.
    pub cbrowse: f64,
    /// The other's name and value.
    pub beside: Option<(&'static str, f64)>,
    /// What is promised.
    pub limit: Limit,
}

impl Figure {
    /// One of time in milliseconds, by the medians of both.
    pub fn medians(
        key: &'static str,
        label: &'static str,
        cbrowse: &Samples,
        beside: (&'static str, &Samples),
    ) -> Self {
        Self::alone(key, label, "ms", median(cbrowse)).beside(beside.0, median(beside.1))
    }

    /// One that nothing is compared with.
    pub fn alone(key: &'static str, label: &'static str, unit: &'static str, cbrowse: f64) -> Self {
        Self { key, label, unit, cbrowse, beside: None, limit: Limit::None }
    }

    /// The same next to another's value.
    #[must_use]
    pub fn beside(self, name: &'static str, value: f64) -> Self {
        Self { beside: Some((name, value)), ..self }
    }

    /// The same with a promise.
    #[must_use]
    pub fn at_most(self, limit: Limit) -> Self {
        Self { limit, ..self }
    }

    fn ratio(&self) -> Option<f64> {
        self.beside.filter(|(_, value)| *value > 0.0).map(|(_, value)| self.cbrowse / value)
    }

    /// Whether the promise is kept; `None` without one, or without anything to hold it against.
    pub fn is_kept(&self) -> Option<bool> {
        match self.limit {
            Limit::None => None,
            Limit::Value(limit) => Some(self.cbrowse <= limit),
            Limit::Ratio(limit) => self.ratio().map(|ratio| ratio <= limit),
        }
    }

    fn cells(&self) -> [String; 6] {
        let beside = self.beside.map(|(name, value)| format!("{value:.1} {name}"));
        let limit = match self.limit {
            Limit::None => None,
            Limit::Value(limit) => Some(format!("{limit} {}", self.unit)),
            Limit::Ratio(limit) => Some(format!("ratio {limit}")),
        };
        let verdict = match self.is_kept() {
            None => "",
            Some(true) => "kept",
            Some(false) => "MISSED",
        };
        let ratio = self.ratio().map(|ratio| format!("{ratio:.2}"));
        let [beside, ratio, limit] = [beside, ratio, limit].map(|cell| cell.unwrap_or_else(|| "-".into()));
        [
            format!("{} ({})", self.label, self.unit),
            format!("{:.1}", self.cbrowse),
            beside,
            ratio,
            limit,
            verdict.into(),
        ]
    }
}

/// In milliseconds; 0 without samples.
pub fn median(samples: &Samples) -> f64 {
    samples.summary().map_or(0.0, |summary| summary.median)
}

/// Everything that was measured.
#[derive(Debug)]
pub struct Results {
    changes: u32,
    runs: u32,
    figures: Vec<Figure>,
    remarks: Vec<String>,
}

impl Results {
    /// Nothing yet.
    pub fn new(changes: u32, runs: u32) -> Self {
        Self { changes, runs, figures: Vec::new(), remarks: Vec::new() }
    }

    /// Adds one.
    pub fn push(&mut self, figure: Figure) {
        self.figures.push(figure);
    }

    /// Adds what the reader of the table should know.
    pub fn remark(&mut self, remark: String) {
        self.remarks.push(remark);
    }

    /// As a table with its explanation.
    pub fn to_table(&self) -> String {
        let mut text =
            format!("{} changes, {} runs, {} cores; medians\n\n", self.changes, self.runs, cores());
        let mut rows = vec![["", "cbrowse", "beside", "ratio", "promised", ""].map(String::from)];
        rows.extend(self.figures.iter().map(Figure::cells));
        write_rows(&mut text, &rows);
        for remark in &self.remarks {
            text.push('\n');
            text.push_str(remark);
        }
        text
    }

    /// As one document.
    pub fn to_json(&self) -> Value {
        let figure = |figure: &Figure| {
            let limit = match figure.limit {
                Limit::None => Value::Null,
                Limit::Value(limit) => json!({ "value": limit }),
                Limit::Ratio(limit) => json!({ "ratio": limit }),
            };
            let beside = figure.beside.map(|(name, value)| json!({ "name": name, "value": value }));
            let value = json!({ "unit": figure.unit, "cbrowse": figure.cbrowse, "beside": beside,
                "ratio": figure.ratio(), "limit": limit, "kept": figure.is_kept() });
            (figure.key.to_owned(), value)
        };
        let figures: serde_json::Map<String, Value> = self.figures.iter().map(figure).collect();
        json!({ "changes": self.changes, "runs": self.runs, "cores": cores(), "figures": figures,
            "remarks": self.remarks })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_is_kept_at_and_below_its_limit() {
        let figure = |cbrowse| Figure::alone("k", "l", "ms", cbrowse).beside("curl", 10.0);
        for (cbrowse, limit, kept) in [
            (15.0, Limit::Ratio(1.5), Some(true)),
            (15.1, Limit::Ratio(1.5), Some(false)),
            (50.0, Limit::Value(50.0), Some(true)),
            (50.1, Limit::Value(50.0), Some(false)),
            (1e9, Limit::None, None),
        ] {
            assert_eq!(figure(cbrowse).at_most(limit).is_kept(), kept, "{cbrowse} {limit:?}");
        }
        let alone = Figure::alone("k", "l", "ms", 1.0).at_most(Limit::Ratio(1.5));
        assert_eq!(alone.is_kept(), None, "a ratio to nothing");
    }

    #[test]
    fn a_missed_promise_shows() {
        let mut results = Results::new(1, 1);
        results
            .push(Figure::alone("k", "listing", "ms", 16.0).beside("curl", 10.0).at_most(Limit::Ratio(1.5)));
        let table = results.to_table();
        assert!(
            table.contains("listing (ms)") && table.contains("10.0 curl") && table.contains("MISSED"),
            "{table}"
        );
        assert_eq!(results.to_json()["figures"]["k"]["kept"], false);
    }
}
