//! Which nodes are there, how far, and whom to ask first: discover, probe, interview and select, composed.

use std::{collections::BTreeMap, time::Duration};

use cbrowse_registry::Listing;
use serde_json::json;

use crate::{
    attach::finalist::{Interview, Judge, interview_all},
    failure::{Exit, Failure},
    probe::{self, Goal, Live, Probed, Sockets, plan},
    select::{self, Choice, Constraints, Strategy, draw::SystemDice},
};

/// Nodes interviewed side by side: enough that a full or untrusted favourite costs no further round, few enough to spare
/// the nodes that will not be chosen.
const INTERVIEWED: usize = 4;

/// What a survey found.
pub struct Survey {
    /// Every node with what was measured and what it said.
    pub nodes: Vec<Probed>,
    /// Verdicts and order.
    pub choice: Choice,
    /// Whether echo requests could be sent.
    pub icmp: bool,
    /// From the first probe to the last interview.
    pub elapsed: Duration,
    /// Connections that stand, by index of their node.
    pub interviews: BTreeMap<usize, Interview>,
}

/// Probes the nodes of `listing` and interviews the best of them.
pub async fn survey(listing: Listing, constraints: &Constraints, strategy: Strategy, judge: Judge<'_>) -> Survey {
    let started = tokio::time::Instant::now();
    let names = Listing { nodes: Vec::new(), ..listing.clone() };
    let permits = |id: &_, address| names.permits(id, address);
    let report =
        probe::probe(listing.nodes, permits, &Sockets::open(), Goal::Decide, plan::DEADLINE, |_| {}).await;
    let mut nodes = report.nodes;
    let mut interviews = BTreeMap::new();
    loop {
        let choice = select::choose(&nodes, constraints, strategy, &mut SystemDice);
        let asked: Vec<usize> = choice
            .order
            .iter()
            .copied()
            .filter(|index| matches!(nodes[*index].live, Live::Unasked))
            .take(INTERVIEWED)
            .collect();
        let good = choice.order.iter().any(|index| interviews.get(index).is_some_and(is_open));
        if good || asked.is_empty() {
            let choice = interviewed_first(choice, &interviews);
            return Survey { nodes, choice, icmp: report.icmp, elapsed: started.elapsed(), interviews };
        }
        let outcomes = interview_all(&asked.iter().map(|index| &nodes[*index]).collect::<Vec<_>>(), judge).await;
        for (index, interview) in asked.into_iter().zip(outcomes) {
            nodes[index].live = interview.live();
            interviews.insert(index, interview);
        }
    }
}

fn is_open(interview: &Interview) -> bool {
    matches!(interview, Interview::Trusted(_) | Interview::FirstUse(_))
}

/// A node that has shown its load goes before one that nobody asked.
fn interviewed_first(mut choice: Choice, interviews: &BTreeMap<usize, Interview>) -> Choice {
    choice.order.sort_by_key(|index| !interviews.get(index).is_some_and(is_open));
    choice
}

impl Survey {
    /// Why nobody can be asked, with every node's reasons.
    pub fn nobody(mut self) -> Failure {
        let untrusted = self.interviews.values().any(|interview| matches!(interview, Interview::Refused(_)));
        if untrusted && self.choice.order.is_empty() {
            let refusal = self.interviews.into_values().find_map(|interview| match interview {
                Interview::Refused(failure) => Some(*failure),
                _ => None,
            });
            if let Some(failure) = refusal {
                return failure;
            }
        }
        let rejected: Vec<_> = self
            .nodes
            .drain(..)
            .zip(&self.choice.verdicts)
            .map(|(node, verdict)| json!({ "id": node.record.id, "region": node.region(), "reasons": verdict.reasons() }))
            .collect();
        let words = rejected.iter().map(|node| {
            let reasons = node["reasons"].as_array().into_iter().flatten();
            let reasons: Vec<_> = reasons.filter_map(|reason| reason["message"].as_str()).collect();
            format!("  {}: {}", node["id"].as_str().unwrap_or("?"), reasons.join("; "))
        });
        let message = match rejected.len() {
            0 => "the catalog names no node".to_owned(),
            count => format!("none of {count} nodes can be used:\n{}", words.collect::<Vec<_>>().join("\n")),
        };
        Failure::new(Exit::NoEligibleNode, "no_eligible_node", message)
            .hint("loosen --region, --max-latency or --node, or look again with cbrowse nodes probe")
            .details(json!({ "nodes": rejected }))
    }
}
