//! Which nodes are there, how far, and whom to ask first: discover, probe, interview and select, composed.

use std::{collections::BTreeMap, time::SystemTime};

use crate::{
    attach::finalist::{Interview, Judge, Patience, interview_all},
    command::filter,
    failure::Failure,
    probe::{self, Goal, Live, Probed, Reach, Report, Search, Sockets, plan},
    select::{self, Choice, Circumstances, Constraints, Memory, Strategy, draw::SystemDice, fallback},
};
use cbrowse_registry::Listing;

/// Nodes interviewed side by side: enough that a full or untrusted favourite costs no further round, few enough to spare
/// the nodes that will not be chosen.
const INTERVIEWED: usize = 4;

/// What a survey found.
pub struct Survey {
    /// Every node with what was measured and what it said.
    pub report: Report,
    /// Verdicts and order.
    pub choice: Choice,
    /// Connections that stand, by index of their node.
    pub interviews: BTreeMap<usize, Interview>,
}

/// How nodes are ordered, and for whom.
#[derive(Debug, Clone, Default)]
pub struct Preference {
    /// The rule.
    pub strategy: Strategy,
    /// Who chooses, for `consistent-hash`.
    pub key: Option<String>,
    /// What earlier choices left behind.
    pub memory: Memory,
}

impl From<Strategy> for Preference {
    fn from(strategy: Strategy) -> Self {
        Self { strategy, ..Self::default() }
    }
}

impl Preference {
    /// Orders the nodes now.
    pub fn choose(&self, nodes: &[Probed], constraints: &Constraints) -> Choice {
        let mut circumstances = Circumstances {
            dice: &mut SystemDice,
            memory: &self.memory,
            key: self.key.as_deref(),
            now: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default(),
            table: &mut None,
        };
        fallback::choose_or_fall_back(nodes, constraints, self.strategy, &mut circumstances)
    }
}

/// Probes the nodes of `listing` and interviews the best of them. Where none of the wanted region is eligible and another
/// one will do, those of all regions.
pub async fn survey(
    listing: Listing,
    constraints: &Constraints,
    preference: impl Into<Preference>,
    judge: &Judge,
) -> Survey {
    let preference = preference.into();
    let anywhere = fallback::anywhere(constraints);
    let others = anywhere.is_some().then(|| listing.clone());
    let found = survey_once(listing, constraints, &preference, judge, false).await;
    match anywhere.zip(others) {
        Some((anywhere, listing)) if found.choice.order.is_empty() => {
            let mut found = survey_once(listing, &anywhere, &preference, judge, true).await;
            let choice = preference.choose(&found.report.nodes, constraints);
            if !choice.order.is_empty() {
                found.choice = interviewed_first(choice, &found.interviews);
            }
            found
        }
        _ => found,
    }
}

/// With `regions_count`, all are measured: which other region is the nearest only that shows.
async fn survey_once(
    listing: Listing,
    constraints: &Constraints,
    preference: &Preference,
    judge: &Judge,
    regions_count: bool,
) -> Survey {
    let started = tokio::time::Instant::now();
    let names = Listing { nodes: Vec::new(), ..listing.clone() };
    let permits = names.gate();
    let road = Sockets::open();
    // Nodes that the catalog alone rules out must not end the race: the nearest of all may stand in another region.
    let (wanted, others) = select::split(listing.nodes, constraints);
    // One node alone is measured, not raced.
    let goal = if wanted.len() == 1 { Goal::Survey(1) } else { Goal::Decide };
    // Chance and turns do not ask how far a node is, so only those that they picked are asked.
    let is_measured = preference.strategy.ranks_by_measurement() || constraints.max_latency.is_some();
    let mut report = if is_measured || regions_count {
        probe::probe(wanted, permits, &road, Search::new(goal), |_| {}).await
    } else {
        let unprobed: Vec<Probed> = wanted.iter().cloned().map(Probed::unprobed).collect();
        let mut picked = preference.choose(&unprobed, constraints).order;
        picked.truncate(INTERVIEWED);
        probe::probe_picked(wanted, &picked, permits, &road).await
    };
    report.nodes.extend(others.into_iter().map(Probed::unprobed));
    let mut interviews = BTreeMap::new();
    loop {
        let choice = preference.choose(&report.nodes, constraints);
        let mut asked: Vec<usize> = choice
            .order
            .iter()
            .copied()
            .filter(|index| matches!(report.nodes[*index].live, Live::Unasked))
            .filter(|index| report.nodes[*index].reach != Reach::NotAwaited)
            .collect();
        // Who was picked stays picked, although chance would now draw others.
        asked.sort_by_key(|index| report.nodes[*index].reach == Reach::NotProbed);
        asked.truncate(INTERVIEWED);
        let good = choice.order.iter().any(|index| interviews.get(index).is_some_and(Interview::is_usable));
        // Nobody near can be asked: the race goes on among those that it did not wait for.
        if !good && asked.is_empty() && probe::probe_rest(&mut report, &road, plan::DEADLINE).await {
            continue;
        }
        if good || asked.is_empty() {
            let choice = interviewed_first(choice, &interviews);
            report.elapsed = started.elapsed();
            return Survey { report, choice, interviews };
        }
        let finalists: Vec<_> = asked.iter().map(|index| &report.nodes[*index]).collect();
        let outcomes = interview_all(&finalists, judge, Patience::First).await;
        for (index, interview) in asked.into_iter().zip(outcomes) {
            report.nodes[index].live = interview.live();
            interviews.insert(index, interview);
        }
    }
}

/// A node that has shown its load goes before one that nobody asked.
fn interviewed_first(mut choice: Choice, interviews: &BTreeMap<usize, Interview>) -> Choice {
    choice.order.sort_by_key(|index| !interviews.get(index).is_some_and(Interview::is_usable));
    choice
}

impl Survey {
    /// Why nobody can be asked: a refusal of trust where there is one, else every node with its reasons.
    pub fn nobody(self) -> Failure {
        let refusal = self.interviews.into_values().find_map(|interview| match interview {
            Interview::Refused(failure) => Some(*failure),
            _ => None,
        });
        refusal.unwrap_or_else(|| filter::none_eligible(&self.report.nodes, &self.choice))
    }
}

/// The reachable nodes worth asking over TLS: nearest first, `most` at most.
pub fn nearest(nodes: &[Probed], most: usize) -> Vec<usize> {
    let mut near: Vec<usize> = (0..nodes.len())
        .filter(|index| matches!(nodes[*index].reach, Reach::Serving | Reach::Unconfirmed))
        .collect();
    near.sort_by_key(|index| (nodes[*index].reach != Reach::Serving, nodes[*index].rtt.map(|rtt| rtt.p50)));
    near.truncate(most);
    near
}
