//! One node that stands in the catalog twice: when it moved to another agent, the old one's entry stays for a while.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
};

use cbrowse_protocol::{
    id::NodeId,
    node::{Health, NodeRecord},
};

use super::entry::Found;
use crate::screen::Candidate;

/// The candidates in the catalog's order: only those of a `wanted` health, and of one node the healthiest entry, of
/// equals the latest. Its other entries are dropped where they name the same endpoint; else they come last, so that
/// they are rejected with their reason.
pub(super) fn settle(mut found: Vec<Found>, wanted: &BTreeSet<Health>) -> Vec<Candidate> {
    found.retain(|found| record(found).is_none_or(|record| wanted.contains(&record.health)));
    let mut best: HashMap<&NodeId, usize> = HashMap::with_capacity(found.len());
    for (index, this) in found.iter().enumerate() {
        let Some(record) = record(this) else { continue };
        let first = best.entry(&record.id).or_insert(index);
        if rank(this) > rank(&found[*first]) {
            *first = index;
        }
    }
    let uses = |(index, this): (usize, &Found)| {
        let Some(record) = record(this) else { return Use::Front };
        let first = best[&record.id];
        if first == index {
            Use::Front
        } else if is_at_one_endpoint(&found[first], record) {
            Use::Dropped
        } else {
            Use::Behind
        }
    };
    let uses: Vec<Use> = found.iter().enumerate().map(uses).collect();
    let (mut front, mut behind) = (Vec::with_capacity(found.len()), Vec::new());
    for (found, place) in found.into_iter().zip(uses) {
        match place {
            Use::Front => front.push(found.candidate),
            Use::Behind => behind.push(found.candidate),
            Use::Dropped => {}
        }
    }
    front.append(&mut behind);
    front
}

/// What becomes of an entry.
#[derive(Debug, Clone, Copy)]
enum Use {
    Front,
    Behind,
    Dropped,
}

fn is_at_one_endpoint(found: &Found, other: &NodeRecord) -> bool {
    record(found).is_some_and(|record| (&record.address, record.port) == (&other.address, other.port))
}

fn record(found: &Found) -> Option<&NodeRecord> {
    found.candidate.record.as_ref().ok()
}

/// The better entry is the greater one.
fn rank(found: &Found) -> (Reverse<Option<Health>>, u64) {
    (Reverse(record(found).map(|record| record.health)), found.modified)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(id: &str, port: u16, health: Health, modified: u64) -> Found {
        let record = json!({"id": id, "address": "10.0.0.1", "port": port, "health": health});
        let record = serde_json::from_value(record).map_err(|error| format!("{error}"));
        Found { candidate: Candidate { entry: id.to_owned(), record }, modified }
    }

    fn settled(found: Vec<Found>, wanted: &[Health]) -> Vec<(String, u16)> {
        let candidates = settle(found, &wanted.iter().copied().collect());
        let name = |candidate: Candidate| {
            let port = candidate.record.map_or(0, |record| record.port);
            (candidate.entry, port)
        };
        candidates.into_iter().map(name).collect()
    }

    #[test]
    fn of_one_node_the_healthiest_entry_is_used_then_the_latest() {
        use Health::{Critical, Passing, Warning};
        let entries = || {
            vec![
                found("a", 1, Critical, 9),
                found("b", 2, Passing, 1),
                found("a", 1, Warning, 3),
                found("b", 3, Passing, 2),
                found("../x", 0, Passing, 0),
                found("a", 1, Passing, 1),
            ]
        };
        let name = |id: &str, port| (id.to_owned(), port);
        // `b` at another endpoint is a conflict, which the screen tells.
        let expected = [name("b", 3), name("../x", 0), name("a", 1), name("b", 2)];
        assert_eq!(settled(entries(), &Health::ALL), expected);
        assert_eq!(settled(entries(), &[Critical]), [name("a", 1), name("../x", 0)]);
        assert_eq!(settled(Vec::new(), &[Passing]), []);
    }
}
