//! An instance as Nacos describes it, to a node record and back.
//!
//! Nacos names an instance by its address and port, so the node's id travels in the metadata, as does all that Nacos
//! has no field for:
//!
//! ```text
//! id region zone version browser_version capacity identity statement    as text, left out when empty
//! tags                                    a JSON list of strings; read with commas between them as well
//! health                                  "warning" or "critical"
//! weight                                  where Nacos's own field cannot hold it
//! preserved.heart.beat.interval, .timeout, preserved.ip.delete.timeout   milliseconds, Nacos's own
//! ```

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use cbrowse_protocol::node::{Health, NodeRecord};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    capped::{Capped, check_length},
    meta::{self, Words, between_commas, in_range},
    screen::{Candidate, checked},
};

/// Most that Nacos takes (`com.alibaba.nacos.naming.constants.Constants`): a heavier node says so in its metadata.
const MAX_WEIGHT: u16 = 10_000;
/// Nacos's own keys: after how long an instance is to be heard from, is unhealthy, and is removed. The last two are
/// one here: where no instance of a service is healthy, Nacos may show all of them as healthy (its protection
/// threshold), so that the last node of a service would be listed as if it served for as long as it is only unhealthy.
const BEAT_INTERVAL_KEY: &str = "preserved.heart.beat.interval";
const BEAT_TIMEOUT_KEY: &str = "preserved.heart.beat.timeout";
const DELETE_TIMEOUT_KEY: &str = "preserved.ip.delete.timeout";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Instance<'text> {
    #[serde(borrow)]
    ip: Cow<'text, str>,
    port: i64,
    #[serde(default = "one")]
    weight: f64,
    #[serde(default = "yes")]
    healthy: bool,
    #[serde(default = "yes")]
    enabled: bool,
    #[serde(borrow, default)]
    cluster_name: Option<Cow<'text, str>>,
    #[serde(default)]
    metadata: Option<BTreeMap<String, String>>,
}

fn one() -> f64 {
    1.0
}

fn yes() -> bool {
    true
}

/// Where it is alone, to name an entry that is otherwise garbage.
#[derive(Deserialize)]
struct Named<'text> {
    #[serde(borrow)]
    ip: Cow<'text, str>,
    #[serde(default)]
    port: i64,
}

/// What Nacos names an instance by, besides its service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) ip: String,
    pub(super) port: u16,
}

impl Spot {
    pub(super) fn of(record: &NodeRecord) -> Self {
        Self { ip: record.address.clone(), port: record.port }
    }
}

/// Every instance of a list that is in `cluster`, or in any. Nacos filters by it, r-nacos does not.
pub(super) fn candidates(hosts: &Capped<&RawValue>, cluster: Option<&str>) -> Vec<Candidate> {
    let of_cluster =
        hosts.first.iter().enumerate().filter_map(|(index, host)| candidate(index, host.get(), cluster));
    of_cluster.chain(hosts.rest()).collect()
}

fn candidate(index: usize, text: &str, cluster: Option<&str>) -> Option<Candidate> {
    let read = check_length(text)
        .and_then(|()| serde_json::from_str::<Instance>(text).map_err(|error| error.to_string()));
    match read {
        Ok(instance) => {
            let found = instance.cluster_name.as_deref();
            cluster.is_none_or(|wanted| found == Some(wanted)).then(|| Candidate {
                entry: endpoint(&instance.ip, instance.port),
                record: record(instance).and_then(checked),
            })
        }
        Err(error) => {
            let named = serde_json::from_str::<Named>(text).ok();
            let entry = named
                .map_or_else(|| format!("instance {}", index + 1), |named| endpoint(&named.ip, named.port));
            Some(Candidate { entry, record: Err(error) })
        }
    }
}

fn endpoint(ip: &str, port: i64) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

fn record(instance: Instance) -> Result<NodeRecord, String> {
    let mut meta = instance.metadata.unwrap_or_default();
    for key in [BEAT_INTERVAL_KEY, BEAT_TIMEOUT_KEY, DELETE_TIMEOUT_KEY] {
        meta.remove(key);
    }
    let mut words = Words::from(meta);
    // Another client's instance is named as DNS would name it.
    let id = words.take("id").unwrap_or_else(|| endpoint(&instance.ip, instance.port));
    let said: Option<Health> = words.take("health").map(|text| text.parse()).transpose()?;
    Ok(NodeRecord {
        id: id.parse().map_err(|error| format!("{error}"))?,
        address: instance.ip.into_owned(),
        port: in_range("port", instance.port)?,
        region: words.take("region").unwrap_or_default(),
        zone: words.take("zone").unwrap_or_default(),
        version: words.take("version").unwrap_or_default(),
        tags: words.take("tags").map_or(Ok(Vec::new()), |text| tags(&text))?,
        browser_version: words.take("browser_version").unwrap_or_default(),
        capacity: words.number("capacity")?.unwrap_or(0),
        weight: match words.number("weight")? {
            Some(weight) => weight,
            None => weight(instance.weight)?,
        },
        identity: words.value("identity")?,
        statement: words.value("statement")?,
        health: if instance.healthy && instance.enabled {
            said.unwrap_or_default()
        } else {
            Health::Critical
        },
        meta: words.rest(),
    })
}

fn tags(text: &str) -> Result<Vec<String>, String> {
    if text.starts_with('[') {
        return serde_json::from_str(text).map_err(|error| format!("tags: {error}"));
    }
    Ok(between_commas(text))
}

/// Nacos's weights have fractions. Only 0 means "no traffic", so a small one is not rounded to it.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked")]
fn weight(number: f64) -> Result<u16, String> {
    if !(0.0..=f64::from(u16::MAX)).contains(&number) {
        return Err(format!("weight {number} is not between 0 and {}", u16::MAX));
    }
    Ok(if number > 0.0 { (number.round() as u16).max(1) } else { 0 })
}

/// The weight in Nacos's own field, where every client of Nacos reads it: 0 keeps them all from a node that does not
/// serve. (`healthy=false` would last until the next heartbeat, and `enabled=false` would hide the node from us too.)
pub(super) fn nacos_weight(record: &NodeRecord) -> u16 {
    if record.health == Health::Critical { 0 } else { record.weight.min(MAX_WEIGHT) }
}

/// A record's fields as metadata of an instance, with how long it may be silent.
pub(super) fn meta(record: &NodeRecord, interval: Duration, ttl: Duration) -> BTreeMap<String, String> {
    let milliseconds = |time: Duration| Some(time.as_millis().to_string());
    let more = [
        ("id", Some(record.id.to_string())),
        ("tags", (!record.tags.is_empty()).then(|| serde_json::json!(record.tags).to_string())),
        ("health", (record.health != Health::Passing).then(|| record.health.to_string())),
        ("weight", (record.weight != nacos_weight(record)).then(|| record.weight.to_string())),
        (BEAT_INTERVAL_KEY, milliseconds(interval)),
        (BEAT_TIMEOUT_KEY, milliseconds(ttl)),
        (DELETE_TIMEOUT_KEY, milliseconds(ttl)),
    ];
    meta::of(record, more)
}

/// Whether an instance is the node of this id.
pub(super) fn is_of(instance: &[u8], id: &str) -> bool {
    parsed(instance).is_some_and(|instance| id_in(&instance) == Some(id))
}

/// Whether an instance says what was written.
pub(super) fn says(instance: &[u8], weight: u16, meta: &BTreeMap<String, String>) -> bool {
    parsed(instance).is_some_and(|instance| {
        instance.metadata.as_ref() == Some(meta) && self::weight(instance.weight) == Ok(weight)
    })
}

/// Where each node of a list stands, by its id: Nacos takes a node that came back elsewhere for another instance.
pub(super) fn spots(hosts: &Capped<&RawValue>, cluster: Option<&str>) -> BTreeMap<String, Vec<Spot>> {
    let mut spots: BTreeMap<String, Vec<Spot>> = BTreeMap::new();
    let instances = hosts.first.iter().filter_map(|host| parsed(host.get().as_bytes()));
    for instance in instances {
        let is_ours = cluster.is_none_or(|cluster| instance.cluster_name.as_deref() == Some(cluster));
        if let (true, Some(id), Ok(port)) = (is_ours, id_in(&instance), u16::try_from(instance.port)) {
            spots.entry(id.to_owned()).or_default().push(Spot { ip: instance.ip.to_string(), port });
        }
    }
    spots
}

fn parsed(instance: &[u8]) -> Option<Instance<'_>> {
    serde_json::from_slice(instance).ok()
}

fn id_in<'instance>(instance: &'instance Instance<'_>) -> Option<&'instance str> {
    instance.metadata.as_ref()?.get("id").map(String::as_str)
}

#[cfg(test)]
mod tests;
