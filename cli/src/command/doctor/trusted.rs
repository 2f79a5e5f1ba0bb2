//! What the user trusts: fleets, nodes, and how long the fleets' statements about the catalogs' nodes still hold.

use std::{collections::BTreeMap, time::SystemTime};

use cbrowse_protocol::{id::NodeId, identity::IdentityKey, node::NodeRecord, statement::StatementError};
use serde_json::json;

use super::{
    catalogs::Answer,
    examine::Catalogs,
    finding::{Check, Finding},
};
use crate::{
    context::Globals, credentials::seconds, date, failure::Failure, trust::TrustStore, words::count,
};

/// A statement that ends sooner is worth a warning: an operator needs a day or two to sign nodes again.
const SOON: u64 = 3 * 86_400;

/// Who vouches for nodes, whatever day it is: with a clock that is wrong, every statement seems to be over.
pub(super) struct Known {
    fleets: Vec<IdentityKey>,
    nodes: BTreeMap<NodeId, IdentityKey>,
}

impl Known {
    /// Nobody, where the store cannot be read; its own check tells why.
    pub(super) fn of(globals: &Globals) -> Self {
        let store = load(globals).unwrap_or_default();
        Self {
            fleets: store.fleets().map(|(_, key)| *key).collect(),
            nodes: store.nodes().map(|(id, node)| (id.clone(), node.identity)).collect(),
        }
    }

    /// Whether `identity`, which answers for `node`, is one that the user knows or a fleet has named.
    pub(super) fn vouches_for(&self, answer: &Answer, node: &NodeRecord, identity: &IdentityKey) -> bool {
        let is_named = |key| {
            let statement = node.statement.as_ref()?.verify(key, 0).ok()?;
            (statement.identity == *identity && statement.id == node.id).then_some(())
        };
        let is_listed = answer.is_own_file && node.identity == Some(*identity);
        is_listed
            || self.nodes.get(&node.id) == Some(identity)
            || self.fleets.iter().any(|key| is_named(key).is_some())
    }
}

fn load(globals: &Globals) -> Result<TrustStore, Failure> {
    let store = TrustStore::load(&globals.paths)?;
    match &globals.settings.fleet_key.value {
        Some(path) => store.with_fleet_file(path),
        None => Ok(store),
    }
}

/// Statements of the catalogs' nodes, by how they stand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Statements {
    valid: u64,
    /// Valid, and over within [`SOON`].
    ending: u64,
    expired: u64,
    /// Signed by a fleet that is not trusted.
    foreign: u64,
    /// When the first of the valid ones ends.
    first_end: Option<u64>,
}

/// Reads the store, and judges the statements that the catalogs pass on.
pub(super) async fn check(globals: &Globals, catalogs: Catalogs<'_>) -> Finding {
    let store = match load(globals) {
        Ok(store) => store,
        Err(failure) => {
            let mend = failure.hint.clone().unwrap_or_else(|| "cbrowse trust list".to_owned());
            return Finding::problem(Check::Trust, failure.message, mend);
        }
    };
    let now = seconds(SystemTime::now());
    let fleets: Vec<IdentityKey> = store.fleets().map(|(_, key)| *key).collect();
    let surveyed = catalogs.await;
    let statements = sort(surveyed.nodes().map(|(_, node)| node), &fleets, now);
    let is_open = |(answer, node): (&Answer, &NodeRecord)| !answer.is_own_file || node.identity.is_none();
    let needs_trust = surveyed.nodes().any(is_open);
    judge(fleets.len(), store.nodes().count(), needs_trust, statements, now).details(json!({
        "fleets": fleets.len(), "nodes": store.nodes().count(), "statements": {
            "valid": statements.valid, "ending": statements.ending, "expired": statements.expired,
            "foreign": statements.foreign,
        },
    }))
}

fn sort<'a>(nodes: impl Iterator<Item = &'a NodeRecord>, fleets: &[IdentityKey], now: u64) -> Statements {
    let mut sorted = Statements::default();
    for statement in nodes.filter_map(|node| node.statement.as_ref()) {
        let verified = fleets.iter().map(|fleet| statement.verify(fleet, now));
        let best = verified.min_by_key(|verified| match verified {
            Ok(_) => 0,
            Err(StatementError::Expired(_)) => 1,
            Err(_) => 2,
        });
        match best {
            Some(Ok(statement)) => {
                sorted.valid += 1;
                sorted.ending += u64::from(statement.not_after.saturating_sub(now) < SOON);
                sorted.first_end = Some(
                    sorted.first_end.map_or(statement.not_after, |first| first.min(statement.not_after)),
                );
            }
            Some(Err(StatementError::Expired(_))) => sorted.expired += 1,
            Some(Err(_)) | None => sorted.foreign += 1,
        }
    }
    sorted
}

fn judge(fleets: usize, nodes: usize, needs_trust: bool, statements: Statements, now: u64) -> Finding {
    let trusted =
        format!("{} and {} trusted", count(fleets as u64, "fleet"), count(nodes as u64, "single node"));
    if fleets + nodes == 0 && needs_trust {
        return Finding::warning(
            Check::Trust,
            "no fleet and no node is trusted, so each new node is asked about, and scripts are refused",
            "get the fleet's public key from its operator, then: cbrowse trust add --fleet=KEY",
        );
    }
    let all = statements.valid + statements.expired;
    if statements.expired > 0 {
        let found = format!(
            "{trusted}; {} of {} from them have expired",
            statements.expired,
            count(all, "statement")
        );
        let mend = "ask the operator to sign those nodes again (cbrowse-node fleet sign), or correct this machine's clock";
        return if statements.valid == 0 {
            Finding::problem(Check::Trust, found, mend)
        } else {
            Finding::warning(Check::Trust, found, mend)
        };
    }
    let until = statements
        .first_end
        .map(|end| format!("{}, the first until {}", count(all, "statement"), date::utc(end)));
    let found = [Some(trusted), until].into_iter().flatten().collect::<Vec<_>>().join("; ");
    if statements.ending > 0 {
        let left = statements.first_end.map(|end| date::relative(now, end)).unwrap_or_default();
        let found = format!("{found} ({left})");
        return Finding::warning(
            Check::Trust,
            found,
            "ask the operator to sign the nodes again (cbrowse-node fleet sign)",
        );
    }
    if statements.foreign > 0 && statements.valid == 0 && nodes == 0 {
        let found =
            format!("{found}; {} from fleets that you do not trust", count(statements.foreign, "statement"));
        return Finding::warning(Check::Trust, found, "if you mean to: cbrowse trust add --fleet=KEY");
    }
    Finding::ok(Check::Trust, found)
}

#[cfg(test)]
mod tests {
    use cbrowse_protocol::{identity::SigningKey, statement::Statement};

    use super::{super::finding::State, *};

    const NOW: u64 = 10_000_000;

    fn node(fleet: &SigningKey, not_after: u64) -> NodeRecord {
        let identity = SigningKey::generate().public();
        let id: NodeId = "n".parse().expect("an id");
        let statement = Statement { identity, id, region: "eu".into(), not_after }.sign(fleet);
        serde_json::from_value(json!({"id": "n", "address": "192.0.2.1", "port": 1, "statement": statement}))
            .expect("a record")
    }

    #[test]
    fn statements_are_sorted_by_the_best_that_any_fleet_says() {
        let (own, other) = (SigningKey::generate(), SigningKey::generate());
        let nodes = [
            node(&own, NOW + SOON),
            node(&own, NOW + SOON - 1),
            node(&own, NOW - 1),
            node(&other, NOW + SOON),
        ];
        let sorted = sort(nodes.iter(), &[own.public()], NOW);
        let wanted =
            Statements { valid: 2, ending: 1, expired: 1, foreign: 1, first_end: Some(NOW + SOON - 1) };
        assert_eq!(sorted, wanted);
        assert_eq!(sort(nodes.iter(), &[], NOW).foreign, 4);
    }

    #[test]
    fn the_clock_is_no_argument_against_who_a_node_is() {
        let fleet = SigningKey::generate();
        let expired = node(&fleet, 1);
        let identity =
            expired.statement.as_ref().and_then(|signed| signed.claimed()).expect("claims").identity;
        let known = Known { fleets: vec![fleet.public()], nodes: BTreeMap::new() };
        let answer = Answer { listing: cbrowse_registry::Listing::default(), is_own_file: false };
        assert!(known.vouches_for(&answer, &expired, &identity));
        assert!(!known.vouches_for(&answer, &expired, &SigningKey::generate().public()));
        let nobody = Known { fleets: vec![SigningKey::generate().public()], nodes: BTreeMap::new() };
        assert!(!nobody.vouches_for(&answer, &expired, &identity));
    }

    #[test]
    fn what_has_expired_is_a_problem_only_where_nothing_else_holds() {
        let judged = |valid, expired| {
            let statements =
                Statements { valid, expired, first_end: Some(NOW + SOON), ..Statements::default() };
            judge(1, 0, true, statements, NOW).state
        };
        assert_eq!((judged(0, 2), judged(1, 2), judged(1, 0)), (State::Problem, State::Warning, State::Ok));
        assert_eq!(judge(0, 0, true, Statements::default(), NOW).state, State::Warning);
        assert_eq!(judge(0, 0, false, Statements::default(), NOW).state, State::Ok);
    }
}
