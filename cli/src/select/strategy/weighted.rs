//! `weighted`: a weighted sum of what was measured and what the node says, all in milliseconds; the least first.
//!
//! Source: the classic 0.6 x latency in ms + 0.4 x 1000 x load, which is [`Weights::CLASSIC`]. A share (load, CPU, memory)
//! counts as 1000 ms when it is whole. Nodes that were not asked, and figures that have aged, count as
//! [`super::responsive::ASSUMED_LOAD`]. Bandwidth is what the catalog's metadata [`BANDWIDTH`] says, less what the node says is
//! used of its line: it counts as the time that one picture takes on the rest.

use std::{fmt, str::FromStr, time::Duration};

use super::responsive::aged;
use crate::probe::{Measurement, Probed};

/// Key of the metadata that says how fast a node's link is, in megabits a second.
pub const BANDWIDTH: &str = "bandwidth_mbps";
/// The link of a node that does not say. 0 would rule it out, a fast one would prefer the silent.
pub const ASSUMED_MBPS: f64 = 100.0;
/// The slowest link that is believed: below, one entry of a catalog could overflow a score.
pub const SLOWEST_MBPS: f64 = 0.1;
/// Kilobits of one picture (100 KB, section 8's JPEG of a page): kilobits over megabits a second are milliseconds.
const PICTURE_KILOBITS: f64 = 800.0;
/// A share that is whole, in milliseconds. Less lets distance decide more.
const WHOLE: f64 = 1000.0;
/// Largest weight; more is a slip of the keyboard, and could overflow a score.
const MOST: f64 = 1000.0;

/// How much each figure counts, 0 to [`MOST`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weights {
    /// Of a millisecond of median round trip.
    pub latency: f64,
    /// Of the load: the largest of what the node reports.
    pub load: f64,
    /// Of the busy share of its processors.
    pub cpu: f64,
    /// Of the used share of its memory.
    pub memory: f64,
    /// Of a millisecond that a picture takes on its link.
    pub bandwidth: f64,
}

const NAMES: [&str; 5] = ["latency", "load", "cpu", "memory", "bandwidth"];

impl Weights {
    /// What `weighted` means without more.
    pub const CLASSIC: Self = Self { latency: 0.6, load: 0.4, ..Self::NONE };
    const NONE: Self = Self { latency: 0.0, load: 0.0, cpu: 0.0, memory: 0.0, bandwidth: 0.0 };

    /// The sum for one node, as a duration.
    pub fn cost(&self, rtt: &Measurement, node: &Probed) -> Duration {
        let status = node.live.status();
        let share = |figure: fn(&cbrowse_protocol::api::Status) -> f64| WHOLE * aged(status, figure);
        let ms = self.latency * rtt.p50.as_secs_f64() * 1e3
            + self.load * share(|status| status.load)
            + self.cpu * share(|status| status.cpu)
            + self.memory * share(|status| status.memory)
            + self.bandwidth * picture(node);
        Duration::from_secs_f64(ms / 1e3)
    }

    fn all(self) -> [f64; 5] {
        [self.latency, self.load, self.cpu, self.memory, self.bandwidth]
    }
}

/// Milliseconds that a picture takes on what is free of the node's link.
fn picture(node: &Probed) -> f64 {
    let said = node.record.meta.get(BANDWIDTH).and_then(|text| text.parse::<f64>().ok());
    let mbps = said.filter(|mbps| mbps.is_finite()).unwrap_or(ASSUMED_MBPS);
    let used = node.live.status().and_then(|status| status.bandwidth).unwrap_or(0.0);
    PICTURE_KILOBITS / (mbps * (1.0 - used)).max(SLOWEST_MBPS)
}

/// As `latency=0.6,load=0.4`, without those that are 0.
impl fmt::Display for Weights {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = NAMES.iter().zip(self.all()).filter(|(_, weight)| *weight > 0.0);
        let texts: Vec<String> = named.map(|(name, weight)| format!("{name}={weight}")).collect();
        formatter.write_str(&texts.join(","))
    }
}

impl FromStr for Weights {
    type Err = String;

    /// What is not named counts nothing.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut given = [None; NAMES.len()];
        for part in text.split(',') {
            let (name, weight) = part.split_once('=').ok_or_else(|| {
                format!("{part:?} is not a weight such as latency=0.6; there are {}", NAMES.join(", "))
            })?;
            let at = NAMES.iter().position(|known| *known == name.trim());
            let at = at.ok_or_else(|| format!("{name:?} is no weight; there are {}", NAMES.join(", ")))?;
            let read = weight.trim().parse::<f64>().ok().filter(|weight| (0.0..=MOST).contains(weight));
            let read =
                read.ok_or_else(|| format!("{name}={weight}: a weight is a number from 0 to {MOST}"))?;
            if given[at].replace(read).is_some() {
                return Err(format!("{name} has two weights"));
            }
        }
        let [latency, load, cpu, memory, bandwidth] = given.map(Option::unwrap_or_default);
        let weights = Self { latency, load, cpu, memory, bandwidth };
        if weights == Self::NONE {
            Err("all weights are 0: nothing would decide".into())
        } else {
            Ok(weights)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::select::{
        strategy::responsive::ASSUMED_LOAD,
        tests::{known, node},
    };

    fn ms(weights: &str, node: &Probed) -> f64 {
        let weights: Weights = weights.parse().expect("weights");
        weights.cost(&node.rtt.expect("measured"), node).as_secs_f64() * 1e3
    }

    fn near(value: f64, expected: f64) {
        assert!((value - expected).abs() < 1e-6, "{value} is not {expected}");
    }

    #[test]
    fn the_classic_sum_is_what_everybody_computes() {
        let asked = known(node("n", "", 50), |status| status.load = 0.25);
        near(Weights::CLASSIC.cost(&asked.rtt.expect("measured"), &asked).as_secs_f64() * 1e3, 30.0 + 100.0);
        near(ms("latency=0.6,load=0.4", &asked), 130.0);
        let unasked = node("n", "", 50);
        near(ms("latency=0.6,load=0.4", &unasked), 30.0 + 400.0 * ASSUMED_LOAD);
    }

    #[test]
    fn each_figure_counts_alone() {
        let mut asked = known(node("n", "", 50), |status| (status.cpu, status.memory) = (0.5, 0.125));
        near(ms("cpu=2", &asked), 1000.0);
        near(ms("memory=1", &asked), 125.0);
        near(ms("bandwidth=1", &asked), 8.0);
        asked.record.meta.insert(BANDWIDTH.into(), "10".into());
        near(ms("bandwidth=1", &asked), 80.0);
        let mut busy = known(asked.clone(), |status| status.bandwidth = Some(0.75));
        near(ms("bandwidth=1", &busy), 320.0);
        busy = known(busy, |status| status.bandwidth = Some(1.0));
        near(ms("bandwidth=1", &busy), 8000.0);
        for lie in ["0", "-5", "1e-300"] {
            asked.record.meta.insert(BANDWIDTH.into(), lie.into());
            near(ms("bandwidth=1000", &asked), 8e6);
        }
        asked.record.meta.insert(BANDWIDTH.into(), "NaN".into());
        near(ms("bandwidth=1", &asked), 8.0);
    }

    #[test]
    fn a_wrong_weight_says_what_is_right() {
        for (text, why) in [
            ("speed=1", "there are latency, load, cpu, memory, bandwidth"),
            ("latency", "not a weight such as latency=0.6"),
            ("latency=-0.1", "a number from 0 to 1000"),
            ("latency=1000.1", "a number from 0 to 1000"),
            ("latency=NaN", "a number from 0 to 1000"),
            ("load=1,load=2", "load has two weights"),
            ("cpu=0", "nothing would decide"),
            ("", "not a weight"),
        ] {
            let error = text.parse::<Weights>().expect_err(text);
            assert!(error.contains(why), "{error}");
        }
        assert!("latency=1000".parse::<Weights>().is_ok());
    }
}
