//! Which nodes are measured again in a round of `--watch`, and what is kept of those that are not. Pure.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use cbrowse_protocol::{id::NodeId, node::NodeRecord};

use crate::probe::{Live, Method, Prior, Probed, Reach, plan::LEADERS};

/// Of the nodes behind the leaders, one in so many is measured in a round: all within as many rounds. With 1, a thousand
/// nodes are sent thousands of probes every few seconds for the few that matter.
const SHARES: usize = 4;

/// What is known between two rounds.
#[derive(Default)]
pub(super) struct Known {
    nodes: HashMap<NodeId, Earlier>,
    round: usize,
}

struct Earlier {
    node: Probed,
    /// In the last ranking; the chosen one is 0.
    place: usize,
    /// Of its figures.
    age: Duration,
}

/// Who is measured in a round, likely best first, and what is known of each.
pub(super) struct Due {
    pub(super) records: Vec<NodeRecord>,
    pub(super) priors: Vec<Option<Prior>>,
    /// Not measured this time.
    pub(super) kept: Vec<Probed>,
}

impl Known {
    /// Begins a round among `records`: the leaders of the last one, whoever is new, and a share of the others.
    pub(super) fn due(&mut self, records: Vec<NodeRecord>) -> Due {
        self.round += 1;
        let mut ranked: Vec<(usize, NodeRecord)> =
            records.into_iter().map(|record| (self.place(&record.id), record)).collect();
        ranked.sort_by_key(|(place, _)| *place);
        let mut due = Due { records: Vec::new(), priors: Vec::new(), kept: Vec::new() };
        for (place, record) in ranked {
            match self.nodes.get(&record.id).filter(|earlier| is_same(&earlier.node.record, &record)) {
                Some(earlier) if !is_due(place, self.round) => {
                    due.kept.push(Probed { record, ..earlier.node.clone() });
                }
                earlier => {
                    due.priors.push(earlier.and_then(|earlier| prior(&earlier.node, earlier.age)));
                    due.records.push(record);
                }
            }
        }
        due
    }

    /// New ones go behind the leaders.
    fn place(&self, id: &NodeId) -> usize {
        self.nodes.get(id).map_or(LEADERS, |earlier| earlier.place)
    }

    /// Gives the nodes of this round what they said of themselves in an earlier one, unless they were asked again: as old
    /// as it is by now.
    pub(super) fn carry_on(&self, nodes: &mut [Probed]) {
        for node in nodes.iter_mut().filter(|node| matches!(node.live, Live::Unasked)) {
            if let Some(earlier) = self.nodes.get(&node.record.id) {
                node.live = earlier.node.live.clone();
            }
        }
    }

    /// Ends a round: `nodes` in the order of the choice, `since` after the last one.
    pub(super) fn learn<'a>(
        &mut self,
        nodes: impl Iterator<Item = &'a Probed>,
        measured: &HashSet<NodeId>,
        since: Duration,
    ) {
        let mut earlier = std::mem::take(&mut self.nodes);
        for (place, node) in nodes.enumerate() {
            let before = earlier.remove(&node.record.id).map(|earlier| earlier.age + since);
            let age =
                if measured.contains(&node.record.id) { Duration::ZERO } else { before.unwrap_or_default() };
            let node = Probed { live: aged(node.live.clone(), since), ..node.clone() };
            self.nodes.insert(node.record.id.clone(), Earlier { node, place, age });
        }
    }
}

fn is_due(place: usize, round: usize) -> bool {
    place < LEADERS || place % SHARES == round % SHARES
}

/// One that moved is another one to a prober.
fn is_same(one: &NodeRecord, other: &NodeRecord) -> bool {
    (&one.address, one.port) == (&other.address, other.port)
}

fn prior(node: &Probed, age: Duration) -> Option<Prior> {
    let method = if node.method.starts_with("icmp") { Method::Icmp } else { Method::Tcp };
    let served = node.reach == Reach::Serving;
    node.rtt.map(|measured| Prior { measured, method, served, age })
}

fn aged(mut live: Live, by: Duration) -> Live {
    if let Live::Known(status) | Live::FirstUse(status) = &mut live {
        status.age_ms = status.age_ms.saturating_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX));
    }
    live
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::select::tests::{known, node};

    const SECOND: Duration = Duration::from_secs(1);

    fn nodes(count: u64) -> Vec<Probed> {
        (0..count).map(|n| known(node(&format!("n{n}"), "eu", 10 + n), |_| {})).collect()
    }

    fn ids(due: &Due) -> HashSet<NodeId> {
        due.records.iter().map(|record| record.id.clone()).collect()
    }

    #[test]
    fn leaders_are_measured_each_time_and_everybody_within_some_rounds() {
        let nodes = nodes(200);
        let records = || nodes.iter().map(|node| node.record.clone()).collect::<Vec<_>>();
        let mut state = Known::default();
        assert_eq!(state.due(records()).records.len(), 200, "nothing is known yet");
        let all = nodes.iter().map(|node| node.record.id.clone()).collect();
        state.learn(nodes.iter(), &all, SECOND);
        let mut seen = HashSet::new();
        for _ in 0..SHARES {
            let due = state.due(records());
            assert_eq!(due.records.len(), LEADERS + (200 - LEADERS) / SHARES);
            assert_eq!(due.records[0].id, nodes[0].record.id, "likely best first");
            assert!(due.priors.iter().all(Option::is_some));
            assert_eq!(due.kept.len() + due.records.len(), 200);
            state.learn(nodes.iter(), &ids(&due), SECOND);
            seen.extend(ids(&due));
        }
        assert_eq!(seen.len(), 200);
    }

    #[test]
    fn who_is_new_or_has_moved_is_measured_at_once() {
        let old = nodes(100);
        let mut state = Known::default();
        state.due(Vec::new());
        state.learn(old.iter(), &HashSet::new(), SECOND);
        let mut records: Vec<_> = old.iter().map(|node| node.record.clone()).collect();
        for record in &mut records[40..80] {
            record.port += 1;
        }
        records.push(node("new", "eu", 1).record);
        let due = ids(&state.due(records));
        assert!(due.contains(&"new".parse().expect("an id")));
        assert!((40..80).all(|n| due.contains(&old[n].record.id)));
    }

    #[test]
    fn loads_that_are_not_asked_for_again_grow_old() {
        let nodes = nodes(1);
        let mut state = Known::default();
        let age = |state: &Known| {
            let mut fresh = [node("n0", "eu", 10)];
            state.carry_on(&mut fresh);
            fresh[0].live.status().map(|status| status.age_ms)
        };
        assert_eq!(age(&state), None);
        state.learn(nodes.iter(), &HashSet::new(), 5 * SECOND);
        assert_eq!(age(&state), Some(5000));
    }
}
