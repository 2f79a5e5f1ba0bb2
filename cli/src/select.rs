//! Selection: which of the probed nodes is asked first, which next, and why not the others. Pure: randomness comes in.
//!
//! Every node gets a verdict with *every* reason. The eligible ones are ordered by the strategy, so that the next one
//! is at hand when a node refuses.

pub mod draw;
pub mod fallback;
pub mod memory;
pub mod place;
pub mod reason;
pub mod rules;
pub mod steady;
pub mod strategy;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use cbrowse_protocol::{
    id::NodeId,
    node::{Health, NodeRecord},
};
use cbrowse_registry::VersionRange;

use self::strategy::{Field, maglev::Table};
pub use self::{
    draw::Dice, fallback::RegionFallback, memory::Memory, place::Around, reason::Reason, strategy::Strategy,
};
use crate::{
    breaker::KeptOut,
    probe::{Probed, plan::band_top},
};

/// What the user asks of a node. Empty means anything goes.
#[derive(Debug, Clone, Default, PartialEq)]
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
    /// In one of these countries, as its metadata says; two capital letters each.
    pub countries: Vec<String>,
    /// Not farther than this from a point, as its metadata says.
    pub around: Option<Around>,
    /// One of these, as the registry's health check says.
    pub healths: Option<BTreeSet<Health>>,
    /// The browser version that wrote the profile: an older one silently drops what a newer one wrote.
    pub profile_browser: Option<String>,
    /// What to do when no node of [`Self::regions`] is eligible.
    pub region_fallback: RegionFallback,
    /// Chosen when it is eligible and no other is better by as much as [`steady::stays`] asks for.
    pub prefer: Option<NodeId>,
    /// Nodes that failed this user lately, or asked to be left alone; taken only where no other is eligible.
    pub kept_out: BTreeMap<NodeId, KeptOut>,
}

/// What a choice depends on besides the nodes and the wishes.
pub struct Circumstances<'a> {
    /// Settles what measurements cannot.
    pub dice: &'a mut dyn Dice,
    /// What earlier choices left behind.
    pub memory: &'a Memory,
    /// Who chooses, for `consistent-hash`: the profile, else the user.
    pub key: Option<&'a str>,
    /// Since the Unix epoch.
    pub now: Duration,
    /// The last lookup table of `consistent-hash`. Nothing but time depends on it.
    pub table: &'a mut Option<Table>,
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
    /// The node that was preferred, or this user's last one, where no other is better by enough to leave it for.
    pub stayed: Option<usize>,
}

impl Choice {
    /// Index of the chosen node.
    pub fn chosen(&self) -> Option<usize> {
        self.order.first().copied()
    }
}

/// What the catalog alone says against a node. Such a node need not be probed.
pub fn screen(record: &NodeRecord, constraints: &Constraints) -> Verdict {
    screen_for(record, constraints, &constraints.regions.clone().into())
}

fn screen_for(record: &NodeRecord, constraints: &Constraints, wanted: &rules::Wanted) -> Verdict {
    Verdict::of(rules::of_record(record, constraints, wanted))
}

/// Parts the records worth probing from those that the catalog alone speaks against.
pub fn split(records: Vec<NodeRecord>, constraints: &Constraints) -> (Vec<NodeRecord>, Vec<NodeRecord>) {
    let wanted = constraints.regions.clone().into();
    records.into_iter().partition(|record| screen_for(record, constraints, &wanted).is_eligible())
}

/// Everything that speaks against a node.
pub fn judge(node: &Probed, constraints: &Constraints) -> Verdict {
    judge_for(node, constraints, &constraints.regions.clone().into())
}

fn judge_for(node: &Probed, constraints: &Constraints, wanted: &rules::Wanted) -> Verdict {
    let mut reasons = rules::of_facts(&rules::facts(node), constraints, wanted);
    reasons.extend(rules::of_probe(node, constraints));
    Verdict::of(reasons)
}

/// Orders the nodes for somebody who remembers nothing. `dice` settles what measurements cannot.
pub fn choose(
    nodes: &[Probed],
    constraints: &Constraints,
    strategy: Strategy,
    dice: &mut dyn Dice,
) -> Choice {
    let (memory, mut table) = (Memory::default(), None);
    let mut circumstances =
        Circumstances { dice, memory: &memory, key: None, now: Duration::ZERO, table: &mut table };
    choose_under(nodes, constraints, strategy, &mut circumstances)
}

/// Orders the nodes.
pub fn choose_under(
    nodes: &[Probed],
    constraints: &Constraints,
    strategy: Strategy,
    circumstances: &mut Circumstances<'_>,
) -> Choice {
    let wanted = constraints.regions.clone().into();
    let verdicts: Vec<Verdict> = nodes.iter().map(|node| judge_for(node, constraints, &wanted)).collect();
    let scores: Vec<Option<Duration>> = nodes.iter().map(|node| strategy.score(node)).collect();
    let eligible = by_score(nodes, &verdicts, &scores);
    let in_band = band(nodes, &eligible);
    let field = Field { nodes, scores: &scores, eligible: &eligible, band: &in_band };
    let first = strategy.order(&field, circumstances);
    let mut order = with_the_rest(first, eligible, nodes.len());
    let kept = preferred(nodes, &order, &scores, constraints);
    if let Some(at) = kept {
        order[..=at].rotate_right(1);
    }
    let stayed = kept.map(|_| order[0]);
    Choice { verdicts, order, scores, band: in_band.len(), stayed }
}

/// The eligible nodes: whoever accepted a connection comes before whoever was not asked for one, and the unmeasured come last.
fn by_score(nodes: &[Probed], verdicts: &[Verdict], scores: &[Option<Duration>]) -> Vec<usize> {
    let mut ranked: Vec<(bool, bool, Option<Duration>, usize)> = (0..nodes.len())
        .filter(|index| verdicts[*index].is_eligible())
        .map(|index| (!nodes[index].reach.serves(), scores[index].is_none(), scores[index], index))
        .collect();
    // The index at the end keeps equals in the catalog's order.
    ranked.sort_unstable();
    ranked.into_iter().map(|(.., index)| index).collect()
}

/// The eligible nodes whose round trips cannot be told from the best one's.
fn band(nodes: &[Probed], eligible: &[usize]) -> Vec<usize> {
    // The serving ones stand in front.
    let serving = eligible.partition_point(|index| nodes[*index].reach.serves());
    let p50s: Vec<Option<Duration>> =
        eligible[..serving].iter().map(|index| nodes[*index].rtt.map(|rtt| rtt.p50)).collect();
    let Some(best) = p50s.iter().flatten().min() else { return Vec::new() };
    let top = band_top(*best);
    let near = eligible.iter().zip(&p50s).filter(|(_, p50)| p50.is_some_and(|p50| p50 <= top));
    near.map(|(index, _)| *index).collect()
}

/// `first`, and then whoever of `eligible` is not among them.
fn with_the_rest(first: Vec<usize>, eligible: Vec<usize>, nodes: usize) -> Vec<usize> {
    if first.is_empty() {
        return eligible;
    }
    let mut is_placed = vec![false; nodes];
    for index in &first {
        is_placed[*index] = true;
    }
    let mut order = first;
    order.extend(eligible.into_iter().filter(|index| !is_placed[*index]));
    order
}

/// Position in `order` of the node that the user prefers, if no other is better by enough to leave it for.
fn preferred(
    nodes: &[Probed],
    order: &[usize],
    scores: &[Option<Duration>],
    constraints: &Constraints,
) -> Option<usize> {
    let prefer = constraints.prefer.as_ref()?;
    let at = order.iter().position(|index| nodes[*index].record.id == *prefer)?;
    let best = order.iter().filter_map(|index| scores[*index]).min();
    // What nobody measured cannot be called worse.
    let stays = scores[order[at]].zip(best).is_none_or(|(present, best)| steady::stays(present, best));
    stays.then_some(at)
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
    let all = format!("{eligible} eligible nodes");
    Some(match (strategy, choice.band) {
        _ if eligible == 1 => format!("{id}, {rtt}: the only eligible node"),
        _ if choice.stayed == choice.chosen() => {
            format!("{id}, {rtt}: stayed there, since none of {all} is better by enough")
        }
        (Strategy::Random, _) => format!("{id}, {rtt}: drawn at random from {all}"),
        (Strategy::Latency, _) | (Strategy::Responsive, ..=1) => format!("{id}, {rtt}: the nearest of {all}"),
        (Strategy::Responsive, band) => {
            let load = chosen.live.status().map(|status| format!(", load {:.0} %", status.load * 100.0));
            let load = load.unwrap_or_default();
            format!(
                "{id}, {rtt}{load}: one of {band} equally near nodes out of {eligible} eligible, the better of two drawn"
            )
        }
        (Strategy::Weighted(weights), _) => {
            format!("{id}, {rtt}: the least weighted sum ({weights}) of {all}")
        }
        (Strategy::LeastConnections, _) => match chosen.live.status() {
            Some(status) => format!(
                "{id}, {rtt}: {} sessions, the fewest for its weight among those asked of {all}",
                status.sessions
            ),
            None => format!("{id}, {rtt}: the nearest of {all}, none of which told its sessions"),
        },
        (Strategy::RoundRobin, _) => format!("{id}, {rtt}: the next in turn of {all}"),
        (Strategy::WeightedRoundRobin, _) => {
            format!("{id}, {rtt}: the next in turn by weight ({}) of {all}", chosen.record.weight)
        }
        (Strategy::P2c, _) => {
            format!("{id}, {rtt}: the better of two drawn from {all}, by latency and sessions")
        }
        (Strategy::ConsistentHash, _) => format!("{id}, {rtt}: where this profile belongs among {all}"),
        (Strategy::Srv, _) => {
            format!(
                "{id}, {rtt}: drawn by weight ({}) among the lowest priority of {all}",
                chosen.record.weight
            )
        }
    })
}

#[cfg(test)]
pub(crate) mod tests;
