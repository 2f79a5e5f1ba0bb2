//! An instance as Consul describes it, to a node record and back.

use std::{borrow::Cow, collections::BTreeMap, ops::Range};

use cbrowse_protocol::node::{Health, NodeRecord};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    capped::{Capped, check_length},
    error::Cause,
    meta::{self, Words, in_range},
    screen::{Candidate, checked},
};

/// Consul's own weights begin at 1, so a node that takes no new session says so in its metadata.
const WEIGHT_KEY: &str = "weight";
/// How much of an answer is given back at once, in bytes, while it becomes records. Less: the system is asked more often
/// than it is worth; more: so much more memory is needed.
const FREED_AT_ONCE: usize = 1 << 20;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Instance<'text> {
    #[serde(borrow)]
    node: Host<'text>,
    #[serde(borrow)]
    service: Service<'text>,
    // Of the node it runs on, and its own.
    #[serde(borrow, default)]
    checks: Option<Vec<Check<'text>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Check<'text> {
    #[serde(borrow)]
    status: Cow<'text, str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Host<'text> {
    #[serde(borrow, default)]
    address: Cow<'text, str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Service<'text> {
    #[serde(borrow, rename = "ID")]
    id: Cow<'text, str>,
    #[serde(borrow, default)]
    address: Cow<'text, str>,
    port: i64,
    // Consul writes `null` for none.
    #[serde(default)]
    tags: Option<Vec<String>>,
    #[serde(default)]
    meta: Option<BTreeMap<String, String>>,
    #[serde(default)]
    weights: Option<Weights>,
    #[serde(default)]
    modify_index: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Weights {
    passing: i64,
    #[serde(default = "one")]
    warning: i64,
}

/// Consul's own default.
fn one() -> i64 {
    1
}

/// The id alone, to name an entry that is otherwise garbage.
#[derive(Deserialize)]
struct Named<'text> {
    #[serde(borrow, rename = "Service")]
    service: NamedService<'text>,
}

#[derive(Deserialize)]
struct NamedService<'text> {
    #[serde(borrow, rename = "ID")]
    id: Cow<'text, str>,
}

/// An instance, and when the catalog last changed it.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) candidate: Candidate,
    pub(super) modified: u64,
}

/// Every instance of an answer of `/v1/health/service`. It is read from its end and given back meanwhile, so that an
/// answer of many megabytes and the records made of it are never whole in memory together.
pub(super) fn instances(body: Vec<u8>) -> Result<Vec<Found>, Cause> {
    let mut text = String::from_utf8(body).map_err(|error| Cause::Malformed(error.to_string()))?;
    let Places { mut entries, rest } = places(&text)?;
    let mut all = Vec::with_capacity(entries.len() + 1);
    all.extend(rest.map(|candidate| Found { candidate, modified: 0 }));
    while let Some(entry) = entries.pop() {
        let start = entry.start;
        all.push(found(entries.len(), &text[entry]));
        if text.capacity() - start > FREED_AT_ONCE {
            text.truncate(start);
            text.shrink_to_fit();
        }
    }
    all.reverse();
    Ok(all)
}

/// Where the entries of an answer stand.
struct Places {
    entries: Vec<Range<usize>>,
    /// What stands for those that are too many.
    rest: Option<Candidate>,
}

fn places(text: &str) -> Result<Places, Cause> {
    let capped: Capped<&RawValue> =
        serde_json::from_str(text).map_err(|error| Cause::Malformed(error.to_string()))?;
    let place = |entry: &&RawValue| {
        let start = entry.get().as_ptr().addr() - text.as_ptr().addr();
        start..start + entry.get().len()
    };
    Ok(Places { entries: capped.first.iter().map(place).collect(), rest: capped.rest() })
}

fn found(index: usize, text: &str) -> Found {
    let read = check_length(text)
        .and_then(|()| serde_json::from_str::<Instance>(text).map_err(|error| error.to_string()));
    match read {
        Ok(instance) => {
            let modified = instance.service.modify_index;
            let entry = instance.service.id.clone().into_owned();
            let record = record(instance).and_then(checked);
            Found { candidate: Candidate { entry, record }, modified }
        }
        Err(error) => {
            let named = serde_json::from_str::<Named>(text).ok();
            let entry = named
                .map_or_else(|| format!("instance {}", index + 1), |named| named.service.id.into_owned());
            Found { candidate: Candidate { entry, record: Err(error) }, modified: 0 }
        }
    }
}

/// The worst that any check says; maintenance is a critical check. A word that Consul does not know yet is no good sign.
fn health(checks: &[Check]) -> Health {
    let one = |check: &Check| match &*check.status {
        "passing" => Health::Passing,
        "warning" => Health::Warning,
        _ => Health::Critical,
    };
    checks.iter().map(one).max().unwrap_or_default()
}

fn record(Instance { node, service, checks }: Instance) -> Result<NodeRecord, String> {
    let health = health(&checks.unwrap_or_default());
    let mut words = Words::from(service.meta.unwrap_or_default());
    let weight = match (words.number(WEIGHT_KEY)?, service.weights, health) {
        (Some(weight), _, _) => weight,
        (None, None, _) => 1,
        (None, Some(weights), Health::Warning) => in_range("weight", weights.warning)?,
        (None, Some(weights), _) => in_range("weight", weights.passing)?,
    };
    let address = if service.address.is_empty() { node.address } else { service.address };
    Ok(NodeRecord {
        id: service.id.parse().map_err(|error| format!("{error}"))?,
        address: address.into_owned(),
        port: in_range("port", service.port)?,
        region: words.take("region").unwrap_or_default(),
        zone: words.take("zone").unwrap_or_default(),
        version: words.take("version").unwrap_or_default(),
        tags: service.tags.unwrap_or_default(),
        weight,
        capacity: words.number("capacity")?.unwrap_or(0),
        browser_version: words.take("browser_version").unwrap_or_default(),
        identity: words.value("identity")?,
        statement: words.value("statement")?,
        health,
        meta: words.rest(),
    })
}

/// A record's fields as metadata of a service.
pub(super) fn meta(record: &NodeRecord) -> BTreeMap<String, String> {
    meta::of(record, [(WEIGHT_KEY, (record.weight == 0).then(|| "0".to_owned()))])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::capped::MAX_ENTRIES;

    fn read(service: &serde_json::Value) -> Candidate {
        let body =
            json!([{"Node": {"Node": "host", "Address": "10.0.0.7"}, "Service": service, "Checks": []}]);
        instances(body.to_string().into()).expect("a list").remove(0).candidate
    }

    fn full() -> NodeRecord {
        serde_json::from_value(json!({
            "id": "n1", "address": "10.0.0.1", "port": 7443, "region": "eu-central", "zone": "a", "version": "0.1.0",
            "tags": ["fast", "größe"], "weight": 10, "capacity": 4, "browser_version": "156.0.8078.79",
            "identity": "A".repeat(43), "statement": format!("cbs1.e30.{}", "A".repeat(86)), "meta": {"rack": "r1"}
        }))
        .expect("a record")
    }

    #[test]
    fn a_record_survives_consul() {
        for weight in [0, 1, 10] {
            let record = NodeRecord { weight, ..full() };
            let service = json!({
                "ID": record.id, "Address": record.address, "Port": record.port, "Tags": record.tags,
                "Meta": meta(&record), "Weights": {"Passing": record.weight.max(1), "Warning": 1}
            });
            assert_eq!(read(&service).record, Ok(record));
        }
    }

    #[test]
    fn the_worst_check_is_the_health_and_chooses_the_weight() {
        let read = |statuses: &[&str]| {
            let checks: Vec<_> = statuses.iter().map(|status| json!({"Status": status})).collect();
            let service = json!({"ID": "n1", "Port": 1, "Weights": {"Passing": 8, "Warning": 3}});
            let body = json!([{"Node": {"Address": "10.0.0.7"}, "Service": service, "Checks": checks}]);
            let record = instances(body.to_string().into()).expect("a list").remove(0).candidate.record;
            record.map(|record| (record.health, record.weight)).expect("a record")
        };
        assert_eq!(read(&[]), (Health::Passing, 8));
        assert_eq!(read(&["passing", "passing"]), (Health::Passing, 8));
        assert_eq!(read(&["passing", "warning"]), (Health::Warning, 3));
        assert_eq!(read(&["warning", "critical", "passing"]), (Health::Critical, 8));
        assert_eq!(read(&["passing", "unheard-of"]), (Health::Critical, 8));
    }

    #[test]
    fn a_list_without_end_is_not_kept() {
        let body = format!("[{}0]", "0,".repeat(3 * MAX_ENTRIES));
        let found = instances(body.into_bytes()).expect("a list");
        assert_eq!(found.len(), MAX_ENTRIES + 1);
        let last = &found.last().expect("some").candidate;
        assert_eq!(last.entry, format!("{} more entries", 2 * MAX_ENTRIES + 1));
        assert!(last.record.is_err());
        let long =
            read(&json!({"ID": "n1", "Address": "10.0.0.1", "Port": 1, "Tags": ["x".repeat(1 << 20)]}));
        assert_eq!(long.entry, "n1");
        assert!(long.record.is_err_and(|reason| reason.contains("bytes")));
    }

    #[test]
    fn a_foreign_entry_has_the_usual_values() {
        let record =
            read(&json!({"ID": "n1", "Port": 80, "Address": "", "Tags": null, "Meta": null})).record.unwrap();
        assert_eq!((record.address.as_str(), record.port, record.weight), ("10.0.0.7", 80, 1));
        assert_eq!((record.capacity, record.region.as_str()), (0, ""));
    }

    #[test]
    fn garbage_is_named_with_its_reason() {
        let service = |field: &str, value: serde_json::Value| {
            let mut service = json!({"ID": "n1", "Address": "10.0.0.1", "Port": 1, "Meta": {}});
            match field.strip_prefix("Meta.") {
                Some(key) => service["Meta"][key] = value,
                None => service[field] = value,
            }
            read(&service)
        };
        for (field, value, part) in [
            ("Port", json!(-1), "port -1"),
            ("Port", json!(70000), "port 70000"),
            ("Port", json!("x"), "invalid type"),
            ("Weights", json!({"Passing": -3}), "weight -3"),
            ("Meta.capacity", json!("many"), "capacity \"many\""),
            ("Meta.capacity", json!("-1"), "capacity \"-1\""),
            ("Meta.identity", json!("short"), "identity: not an Ed25519 public key"),
            ("Meta.statement", json!("cbs1"), "statement: not a fleet statement"),
            ("Meta.weight", json!("99999"), "weight \"99999\""),
        ] {
            let candidate = service(field, value.clone());
            let reason = candidate.record.expect_err(field);
            assert_eq!(candidate.entry, "n1", "{field} {value}");
            assert!(reason.contains(part), "{field} {value}: {reason}");
        }
        let bad_id = service("ID", json!("../x"));
        assert!(bad_id.record.is_err());
        assert_eq!(bad_id.entry, "../x");
    }

    #[test]
    fn one_entry_of_another_shape_does_not_spoil_the_rest() {
        let good = json!({"Node": {"Address": "10.0.0.1"}, "Service": {"ID": "n1", "Port": 1}});
        let body = json!([7, {"Service": {"ID": "n2"}}, good, null]).to_string();
        let read = instances(body.into()).unwrap();
        let names: Vec<_> = read
            .iter()
            .map(|found| (found.candidate.entry.as_str(), found.candidate.record.is_ok()))
            .collect();
        assert_eq!(names, [("instance 1", false), ("n2", false), ("n1", true), ("instance 4", false)]);
    }

    #[test]
    fn an_answer_that_is_given_back_piece_by_piece_loses_nothing() {
        let notes: BTreeMap<String, String> =
            (0..8).map(|note| (format!("note{note}"), "ü".repeat(250))).collect();
        let one = |index: usize| {
            let service = json!({"ID": format!("n{index}"), "Port": 1, "Meta": notes});
            json!({"Node": {"Address": "10.0.0.1"}, "Service": service})
        };
        let body = serde_json::to_vec_pretty(&(0..2000).map(one).collect::<Vec<_>>()).unwrap();
        assert!(body.len() > 3 * FREED_AT_ONCE);
        let read = instances(body).unwrap();
        assert_eq!(read.len(), 2000);
        for (index, found) in read.into_iter().enumerate() {
            let record = found.candidate.record.unwrap();
            assert_eq!((record.id.as_str(), &record.meta), (&*format!("n{index}"), &notes));
        }
    }

    #[test]
    fn an_answer_that_is_no_list_is_malformed() {
        assert!(matches!(instances(b"[\"\xff\"]".to_vec()), Err(Cause::Malformed(_))));
        for body in ["", "{}", "<html>", "[", "null", "[{]"] {
            assert!(matches!(instances(body.into()), Err(Cause::Malformed(_))), "{body}");
        }
    }

    #[test]
    fn cut_or_flipped_answers_never_panic() {
        let body = json!([{"Node": {"Address": "10.0.0.1"}, "Service": {"ID": "n1", "Port": 1, "Tags": ["ü"],
            "Meta": {"capacity": "4"}, "Weights": {"Passing": 1}},
            "Checks": [{"CheckID": "serfHealth", "Status": "passing"}]}])
        .to_string();
        for at in 0..body.len() {
            let mut flipped = body.clone().into_bytes();
            flipped[at] ^= 0x15;
            let _ = instances(flipped);
            let _ = instances(body.as_bytes()[..at].to_vec());
        }
    }
}
