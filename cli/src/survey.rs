//! Which nodes are there, how far, and whom to ask first: discover, probe, interview and select, composed.

pub mod ground;
pub mod preference;
pub mod probing;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, net::IpAddr};

use cbrowse_protocol::id::NodeId;
use cbrowse_registry::Listing;
use tokio::time::Instant;

use self::ground::Ground;
pub use self::{preference::Preference, probing::Probing};
use crate::{
    attach::finalist::{Interview, Judge, Patience, interview_all},
    command::filter,
    failure::Failure,
    history::Recalled,
    probe::{Live, Probed, Reach, Report, Road, Sockets},
    select::{self, Choice, Constraints, fallback},
    timeline::{self, Stage},
};

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
    /// What was known before.
    pub recalled: Recalled,
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
    timeline::enter(Stage::Probe);
    let started = Instant::now();
    let names = Listing { nodes: Vec::new(), ..listing.clone() };
    let permits = names.gate();
    // Nodes that the catalog alone rules out must not end the race: the nearest of all may stand in another region.
    let (wanted, others) = select::split(listing.nodes, constraints);
    let others = others.into_iter().map(Probed::unprobed);
    let asker = Asker { constraints, preference, judge, started };
    if preference.probing == Probing::Cached {
        let ranks = preference.strategy.ranks_by_measurement();
        let mut report = ground::remembered(wanted, permits, &preference.recalled, ranks).await;
        report.nodes.extend(others);
        let ground = Ground::<Sockets>::known(report, &preference.recalled);
        return Box::pin(settle(ground, |_, _| false, &asker)).await;
    }
    let road = Sockets::open();
    let mut ground = Ground::begin(wanted, preference, constraints, regions_count, &road);
    ground.explore(&permits).await;
    ground.report.nodes.extend(others);
    Box::pin(settle(ground, &permits, &asker)).await
}

/// For whom a survey is made.
struct Asker<'a> {
    constraints: &'a Constraints,
    preference: &'a Preference,
    judge: &'a Judge,
    started: Instant,
}

/// Interviews the best of those that are known, and finds out about more until one of them can be asked for a seat.
async fn settle(
    mut ground: Ground<'_, impl Road>,
    permits: impl Fn(&NodeId, IpAddr) -> bool,
    asker: &Asker<'_>,
) -> Survey {
    let mut interviews = BTreeMap::new();
    loop {
        timeline::enter(Stage::Pick);
        let nodes = &ground.report.nodes;
        let choice = asker.preference.choose(nodes, asker.constraints);
        let asked: Vec<usize> = choice
            .order
            .iter()
            .copied()
            .filter(|index| matches!(nodes[*index].live, Live::Unasked))
            .filter(|index| ground.may_be_asked(&nodes[*index]))
            .take(INTERVIEWED)
            .collect();
        let good = choice.order.iter().any(|index| interviews.get(index).is_some_and(Interview::is_usable));
        // Nobody near can be asked: the race goes on among those that it did not wait for, or draw.
        if !good && asked.is_empty() {
            timeline::enter(Stage::Probe);
            if ground.explore(&permits).await {
                continue;
            }
        }
        if good || asked.is_empty() {
            let mut choice = interviewed_first(choice, &interviews);
            let report = Report { elapsed: asker.started.elapsed(), ..ground.report };
            choice.order = ground::dialable(choice.order, &report.nodes);
            return Survey { report, choice, interviews, recalled: asker.preference.recalled.clone() };
        }
        timeline::enter(Stage::Tls);
        let finalists: Vec<_> = asked.iter().map(|index| &ground.report.nodes[*index]).collect();
        let outcomes = interview_all(&finalists, asker.judge, Patience::First).await;
        for (index, interview) in asked.into_iter().zip(outcomes) {
            ground.report.nodes[index].live = interview.live();
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
