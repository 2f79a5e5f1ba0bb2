//! How a node is: each figure against its thresholds, and the worst of them is the node's health.
//!
//! | check | figure | warning | critical |
//! |---|---|---|---|
//! | `cpu` | busy processor time, mean of half a minute | 95 % | off |
//! | `memory` | memory that is not available; sessions' files lie in memory, too | 90 % | 97 % |
//! | `disk` | used share of the data directory's file system, as `df` counts | 90 % | 97 % |
//! | `draining` | the node is about to end | | always |
//!
//! Warning means: serves, chosen after others. Critical means: no client is to be sent here.

mod disk;
mod limits;
mod monitor;

use cbrowse_protocol::node::Health;
use serde::Serialize;

pub use self::{
    disk::Disk,
    limits::{Limits, LimitsError},
    monitor::{Monitor, Window, keep},
};

/// A figure has to come back this far below its threshold, as a share, before its check is well again. Smaller: a
/// figure that trembles around the threshold makes every registry write and every client choose anew; larger: a node
/// that recovered is left alone for long.
const MARGIN: f64 = 0.03;

const DRAINING: &str = "draining";

/// Shares from 0 to 1; `None`: not known just now.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Usage {
    /// Busy processor time.
    pub cpu: Option<f64>,
    /// Memory.
    pub memory: Option<f64>,
    /// The data directory's file system.
    pub disk: Option<f64>,
}

/// Every figure's thresholds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thresholds {
    /// Processor.
    pub cpu: Limits,
    /// Memory.
    pub memory: Limits,
    /// Disk.
    pub disk: Limits,
}

impl Default for Thresholds {
    fn default() -> Self {
        // A busy processor makes pictures late and ends nothing; full memory or a full disk ends sessions.
        Self {
            cpu: Limits { warning: Some(0.95), critical: None },
            memory: Limits { warning: Some(0.90), critical: Some(0.97) },
            disk: Limits { warning: Some(0.90), critical: Some(0.97) },
        }
    }
}

/// A judgement and what it rests on.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Report {
    /// The worst of the checks.
    pub status: Health,
    /// Each check; the order is stable.
    pub checks: Vec<Finding>,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// Its name; stable.
    pub name: &'static str,
    /// What it came to.
    pub status: Health,
    /// The share that was measured, to two digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// The threshold that was reached, or the first one that would be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
}

impl Report {
    /// What was found of a check last time.
    fn of(&self, name: &str) -> Health {
        self.checks.iter().find(|check| check.name == name).map_or(Health::Passing, |check| check.status)
    }

    /// Whether the node is about to end.
    pub fn is_draining(&self) -> bool {
        self.of(DRAINING) != Health::Passing
    }

    /// The checks that are not well, in words: `memory 93 % (warning from 90 %)`.
    pub fn troubles(&self) -> String {
        let troubled = self.checks.iter().filter(|check| check.status != Health::Passing);
        let words: Vec<_> = troubled.map(Finding::in_words).collect();
        words.join(", ")
    }
}

impl Finding {
    fn in_words(&self) -> String {
        let Self { name, status, .. } = self;
        match (self.value, self.threshold) {
            (Some(value), Some(threshold)) => {
                format!("{name} {:.0} % ({status} from {:.0} %)", value * 100.0, threshold * 100.0)
            }
            _ => format!("{name} ({status})"),
        }
    }
}

/// Judges `usage`, knowing the judgement `before`, since the way back is longer than the way there.
pub fn assess(before: &Report, usage: Usage, thresholds: &Thresholds, draining: bool) -> Report {
    let checks = [
        ("cpu", usage.cpu, thresholds.cpu),
        ("memory", usage.memory, thresholds.memory),
        ("disk", usage.disk, thresholds.disk),
    ];
    let mut checks: Vec<_> =
        checks.into_iter().map(|(name, value, limits)| check(before, name, value, limits)).collect();
    let status = if draining { Health::Critical } else { Health::Passing };
    checks.push(Finding { name: DRAINING, status, value: None, threshold: None });
    let status = checks.iter().map(|check| check.status).max().unwrap_or_default();
    Report { status, checks }
}

fn check(before: &Report, name: &'static str, value: Option<f64>, limits: Limits) -> Finding {
    let before = before.of(name);
    // What is not known is as it was.
    let status = value.map_or(before, |value| judge(value, limits, before));
    let threshold = match status {
        Health::Critical => limits.critical.or(limits.warning),
        Health::Warning | Health::Passing => limits.warning.or(limits.critical),
    };
    Finding { name, status, value: value.map(|value| (value * 100.0).round() / 100.0), threshold }
}

/// One figure against its thresholds.
fn judge(value: f64, limits: Limits, before: Health) -> Health {
    let reached = |threshold: Option<f64>, was: bool| {
        threshold.is_some_and(|threshold| value >= if was { way_back(threshold) } else { threshold })
    };
    if reached(limits.critical, before == Health::Critical) {
        Health::Critical
    } else if reached(limits.warning, before >= Health::Warning) {
        Health::Warning
    } else {
        Health::Passing
    }
}

/// Below this a figure that had reached `threshold` is well again.
fn way_back(threshold: f64) -> f64 {
    (threshold - MARGIN).max(threshold / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { warning: Some(0.90), critical: Some(0.97) };
    const NEAR: f64 = 1e-6;

    #[test]
    fn below_at_and_above_a_threshold_and_the_way_back() {
        use Health::{Critical, Passing, Warning};
        for (value, before, after) in [
            (0.90 - NEAR, Passing, Passing),
            (0.90, Passing, Warning),
            (0.90 + NEAR, Passing, Warning),
            (0.97 - NEAR, Passing, Warning),
            (0.97, Passing, Critical),
            (1.0, Passing, Critical),
            // Up and down by the margin changes nothing.
            (0.97 - NEAR, Critical, Critical),
            (0.94 + NEAR, Critical, Critical),
            (0.94 - NEAR, Critical, Warning),
            (0.90 - NEAR, Warning, Warning),
            (0.87 + NEAR, Warning, Warning),
            (0.87 - NEAR, Warning, Passing),
            (0.0, Critical, Passing),
        ] {
            assert_eq!(judge(value, LIMITS, before), after, "{value} after {before}");
        }
    }

    #[test]
    fn the_smallest_thresholds_have_a_way_back_and_zero_has_none() {
        let at = |threshold| Limits { warning: Some(threshold), critical: None };
        assert_eq!(judge(0.011, at(0.02), Health::Warning), Health::Warning);
        assert_eq!(judge(0.009, at(0.02), Health::Warning), Health::Passing);
        assert_eq!(judge(0.0, at(0.0), Health::Passing), Health::Warning);
        assert_eq!(judge(0.0, at(0.0), Health::Warning), Health::Warning);
        let off = Limits { warning: None, critical: None };
        assert_eq!(judge(1.0, off, Health::Critical), Health::Passing, "nothing is too much");
    }

    #[test]
    fn the_worst_check_counts_and_is_explained() {
        let usage = Usage { cpu: Some(1.0), memory: Some(0.934), disk: Some(0.5) };
        let report = assess(&Report::default(), usage, &Thresholds::default(), false);
        assert_eq!(report.status, Health::Warning, "a busy processor alone is never critical");
        assert_eq!(report.troubles(), "cpu 100 % (warning from 95 %), memory 93 % (warning from 90 %)");
        let report = assess(&report, Usage { disk: Some(0.98), ..usage }, &Thresholds::default(), false);
        assert_eq!((report.status, report.of("disk")), (Health::Critical, Health::Critical));
        let unknown = assess(&report, Usage::default(), &Thresholds::default(), false);
        assert_eq!(unknown.status, Health::Critical, "what is not known is as it was");
    }

    #[test]
    fn a_drain_is_critical_whatever_else_is_well() {
        let report = assess(&Report::default(), Usage::default(), &Thresholds::default(), true);
        assert_eq!((report.status, report.troubles().as_str()), (Health::Critical, "draining (critical)"));
    }

    #[test]
    fn the_document_has_its_stable_shape() {
        let usage = Usage { cpu: Some(0.123_456), memory: Some(0.91), disk: None };
        let report = assess(&Report::default(), usage, &Thresholds::default(), false);
        let expected = serde_json::json!({"status": "warning", "checks": [
            {"name": "cpu", "status": "passing", "value": 0.12, "threshold": 0.95},
            {"name": "memory", "status": "warning", "value": 0.91, "threshold": 0.90},
            {"name": "disk", "status": "passing", "threshold": 0.90},
            {"name": "draining", "status": "passing"},
        ]});
        assert_eq!(serde_json::to_value(report).expect("JSON"), expected);
    }
}
