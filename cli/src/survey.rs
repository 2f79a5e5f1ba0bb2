//! Which nodes are there, how far, and whom to ask first: discover, probe, interview and select, composed.

use std::collections::BTreeMap;

use crate::{
    attach::finalist::{Interview, Judge, Patience, interview_all},
    command::filter,
    failure::Failure,
    probe::{self, Goal, Live, Probed, Reach, Report, Sockets, plan},
    select::{self, Choice, Constraints, Strategy, draw::SystemDice},
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

/// Probes the nodes of `listing` and interviews the best of them.
pub async fn survey(
    listing: Listing,
    constraints: &Constraints,
    strategy: Strategy,
    judge: &Judge,
) -> Survey {
    let started = tokio::time::Instant::now();
    let names = Listing { nodes: Vec::new(), ..listing.clone() };
    let permits = |id: &_, address| names.permits(id, address);
    let road = Sockets::open();
    // Nodes that the catalog alone rules out must not end the race: the nearest of all may stand in another region.
    let (wanted, others) = select::split(listing.nodes, constraints);
    // One node alone is measured, not raced.
    let goal = if wanted.len() == 1 { Goal::Survey(1) } else { Goal::Decide };
    let mut report = probe::probe(wanted, permits, &road, goal, plan::DEADLINE, |_| {}).await;
    report.nodes.extend(others.into_iter().map(Probed::unprobed));
    let mut interviews = BTreeMap::new();
    loop {
        let choice = select::choose(&report.nodes, constraints, strategy, &mut SystemDice);
        let asked: Vec<usize> = choice
            .order
            .iter()
            .copied()
            .filter(|index| matches!(report.nodes[*index].live, Live::Unasked))
            .filter(|index| report.nodes[*index].reach != Reach::NotAwaited)
            .take(INTERVIEWED)
            .collect();
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
