//! Selection: which of the probed nodes is asked first, which next, and why not the others. Pure: randomness comes in.
//!
//! Every node gets a verdict with *every* reason. The eligible ones are ordered by the strategy, so that the next one
//! is at hand when a node refuses.

pub mod draw;
pub mod reason;
pub mod score;

use std::{collections::BTreeSet, time::Duration};

use cbrowse_protocol::{
    id::NodeId,
    node::{Health, NodeRecord},
};
use cbrowse_registry::VersionRange;

pub use self::{draw::Dice, reason::Reason, score::Strategy};
use crate::probe::{Probed, Reach, plan::band_top};

/// What the user asks of a node. Empty means anything goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Constraints {
    /// One of these regions.
    pub regions: Vec<String>,
    /// One of these zones.
    pub zones: Vec<String>,
    /// All of these tags.
    pub tags: Vec<String>,
    /// One of these nodes.
    pub nodes: Vec<NodeId>,
    /// Median round trip at most.
    pub max_latency: Option<Duration>,
    /// Version of `cbrowse-node` at least.
    pub min_version: Option<String>,
    /// Version of `cbrowse-node` within this range.
    pub version: Option<VersionRange>,
    /// All of these pairs of metadata.
    pub meta: Vec<(String, String)>,
    /// One of these, as the registry's health check says.
    pub healths: Option<BTreeSet<Health>>,
    /// The browser version that wrote the profile: an older one silently drops what a newer one wrote.
    pub profile_browser: Option<String>,
}

/// Whether a node may be chosen.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// It may.
    Eligible,
    /// It may not, for all of these reasons.
    Reject(Vec<Reason>),
}

impl Verdict {
    fn of(reasons: Vec<Reason>) -> Self {
        if reasons.is_empty() { Self::Eligible } else { Self::Reject(reasons) }
    }

    /// Whether it may be chosen.
    pub fn is_eligible(&self) -> bool {
        *self == Self::Eligible
    }

    /// Why not; empty for the eligible.
    pub fn reasons(&self) -> &[Reason] {
        match self {
            Self::Eligible => &[],
            Self::Reject(reasons) => reasons,
        }
    }
}

/// The outcome of a selection over a list of nodes.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// One verdict per node, in the order given.
    pub verdicts: Vec<Verdict>,
    /// Indices of the eligible nodes: the chosen one, then whom to ask when it refuses.
    pub order: Vec<usize>,
    /// Predicted response of each node, where it was measured.
    pub scores: Vec<Option<Duration>>,
    /// How many nodes were too near each other to be told apart, the chosen one among them.
    pub band: usize,
}

impl Choice {
    /// Index of the chosen node.
    pub fn chosen(&self) -> Option<usize> {
        self.order.first().copied()
    }
}

/// What the catalog alone says against a node. Such a node need not be probed.
pub fn screen(record: &NodeRecord, constraints: &Constraints) -> Verdict {
    Verdict::of(reason::of_record(record, constraints))
}

/// Parts the records worth probing from those that the catalog alone speaks against.
pub fn split(records: Vec<NodeRecord>, constraints: &Constraints) -> (Vec<NodeRecord>, Vec<NodeRecord>) {
    records.into_iter().partition(|record| screen(record, constraints).is_eligible())
}

/// Everything that speaks against a node.
pub fn judge(node: &Probed, constraints: &Constraints) -> Verdict {
    let mut reasons = reason::of_facts(&reason::facts(node), constraints);
    reasons.extend(reason::of_probe(node, constraints));
    Verdict::of(reasons)
}

/// Orders the nodes. `dice` settles what measurements cannot.
pub fn choose(
    nodes: &[Probed],
    constraints: &Constraints,
    strategy: Strategy,
    dice: &mut dyn Dice,
) -> Choice {
    let verdicts: Vec<Verdict> = nodes.iter().map(|node| judge(node, constraints)).collect();
    let scores: Vec<Option<Duration>> = nodes.iter().map(|node| score::score(node, strategy)).collect();
    let mut eligible: Vec<usize> = (0..nodes.len()).filter(|index| verdicts[*index].is_eligible()).collect();
    // Whoever accepted a connection comes before whoever was not asked for one, and the unmeasured come last.
    eligible.sort_by_key(|index| {
        (nodes[*index].reach != Reach::Serving, scores[*index].is_none(), scores[*index])
    });
    let in_band = band(nodes, &eligible);
    let band = in_band.len();
    let order = match strategy {
        Strategy::Latency => eligible,
        Strategy::Random => draw::shuffled(eligible, dice),
        Strategy::Responsive => {
            let drawn = draw::by_two_choices(nodes, in_band, &scores, dice);
            let mut is_drawn = vec![false; nodes.len()];
            for index in &drawn {
                is_drawn[*index] = true;
            }
            let rest = eligible.into_iter().filter(|index| !is_drawn[*index]);
            drawn.iter().copied().chain(rest).collect()
        }
    };
    Choice { verdicts, order, scores, band }
}

/// The eligible nodes whose round trips cannot be told from the best one's.
fn band(nodes: &[Probed], eligible: &[usize]) -> Vec<usize> {
    let p50 = |index: usize| nodes[index].rtt.map(|rtt| rtt.p50);
    let serving = |index: &usize| nodes[*index].reach == Reach::Serving;
    let Some(best) = eligible.iter().filter(|index| serving(index)).filter_map(|index| p50(*index)).min()
    else {
        return Vec::new();
    };
    let near = |index: &usize| p50(*index).is_some_and(|rtt| rtt <= band_top(best));
    eligible.iter().copied().filter(|index| serving(index) && near(index)).collect()
}

/// The regions that exist among `records`, sorted, each once.
pub fn regions<'a>(records: impl IntoIterator<Item = &'a NodeRecord>) -> Vec<&'a str> {
    let mut regions: Vec<&str> = records
        .into_iter()
        .map(|record| record.region.as_str())
        .filter(|region| !region.is_empty())
        .collect();
    regions.sort_unstable();
    regions.dedup();
    regions
}

/// The wanted region that no node can be in, if there is one. Nodes that do not name theirs (plain DNS) could be anywhere.
pub fn unknown_region<'a>(records: &[NodeRecord], constraints: &'a Constraints) -> Option<&'a str> {
    if records.iter().any(|record| record.region.is_empty()) {
        return None;
    }
    let known = regions(records);
    constraints.regions.iter().map(String::as_str).find(|region| !known.contains(region))
}

/// The chosen node in one sentence.
pub fn explain(nodes: &[Probed], choice: &Choice, strategy: Strategy) -> Option<String> {
    let chosen = &nodes[choice.chosen()?];
    let id = &chosen.record.id;
    let eligible = choice.order.len();
    let rtt = chosen.rtt.map(|rtt| format!("{:.1} ms away", rtt.p50.as_secs_f64() * 1e3));
    let rtt = rtt.unwrap_or_else(|| "not measured".into());
    Some(match (strategy, choice.band) {
        _ if eligible == 1 => format!("{id}, {rtt}: the only eligible node"),
        (Strategy::Random, _) => format!("{id}, {rtt}: drawn at random from {eligible} eligible nodes"),
        (Strategy::Latency, _) | (Strategy::Responsive, ..=1) => {
            format!("{id}, {rtt}: the nearest of {eligible} eligible nodes")
        }
        (Strategy::Responsive, band) => {
            let load = chosen.live.status().map(|status| format!(", load {:.0} %", status.load * 100.0));
            let load = load.unwrap_or_default();
            format!(
                "{id}, {rtt}{load}: one of {band} equally near nodes out of {eligible} eligible, the better of two drawn"
            )
        }
    })
}

#[cfg(test)]
mod tests;
