//! A node as the agent's API wants it described, and what Consul's limits let nobody describe.

use std::time::Duration;

use cbrowse_protocol::node::{Health, NodeRecord};
use serde_json::{Value, json};

use super::entry;
use crate::{error::Cause, registry::Check};

/// How often Consul asks `/health?consul`. Longer: a dead node stays in the catalog for as long; shorter: more handshakes.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// How long it may take before it counts as failed.
const CHECK_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a node may fail its check before Consul forgets it: Consul's own floor. Until then it is registered and
/// not passing, so no client sees it.
const DEREGISTER_AFTER: Duration = Duration::from_secs(60);

// Consul's own limits on a service's metadata ("Service Definition", `meta`).
const MAX_PAIRS: usize = 64;
const MAX_KEY_LENGTH: usize = 128;
const MAX_VALUE_LENGTH: usize = 512;
/// Metadata that Consul keeps for itself begins with this.
const RESERVED_PREFIX: &str = "consul-";

/// Whether Consul takes this record; it is refused here, where the field can be named.
pub(super) fn check_fits(record: &NodeRecord) -> Result<(), Cause> {
    let wrong = |what: String| Cause::Settings(format!("the node's own record: {what}"));
    record.check().map_err(|error| wrong(error.to_string()))?;
    let meta = entry::meta(record);
    if meta.len() > MAX_PAIRS {
        let count = meta.len();
        return Err(wrong(format!(
            "with its region, version and the like it has {count} pairs of metadata; Consul takes {MAX_PAIRS}"
        )));
    }
    for (key, value) in &meta {
        let is_word = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        if key.is_empty() || key.len() > MAX_KEY_LENGTH || !is_word {
            let limits = format!("letters, digits, - and _, at most {MAX_KEY_LENGTH}");
            return Err(wrong(format!("the metadata key {key:?} is none that Consul takes ({limits})")));
        }
        if key.starts_with(RESERVED_PREFIX) {
            return Err(wrong(format!("the metadata key {key:?} is reserved for Consul itself")));
        }
        if value.len() > MAX_VALUE_LENGTH {
            let length = value.len();
            return Err(wrong(format!("{key} has {length} bytes; Consul takes {MAX_VALUE_LENGTH}")));
        }
    }
    Ok(())
}

/// One a service; also the name that an agent gives to a service's only check.
pub(super) fn check_id(record: &NodeRecord) -> String {
    format!("service:{}", record.id)
}

/// What a heartbeat calls a health, in the path of the agent's API.
pub(super) fn verb(health: Health) -> &'static str {
    match health {
        Health::Passing => "pass",
        Health::Warning => "warn",
        Health::Critical => "fail",
    }
}

/// The body of a registration.
pub(super) fn definition(service: &str, record: &NodeRecord, check: Check) -> Value {
    json!({
        "ID": record.id,
        "Name": service,
        "Tags": record.tags,
        "Address": record.address,
        "Port": record.port,
        "Meta": entry::meta(record),
        // A node that is short of something gets half of its share: less than its peers, and still in proportion
        // where all are short.
        "Weights": {"Passing": record.weight.max(1), "Warning": record.weight.div_ceil(2).max(1)},
        "Check": check_definition(record, check),
    })
}

fn check_definition(record: &NodeRecord, check: Check) -> Value {
    let mut definition = json!({
        "CheckID": check_id(record),
        "Name": "cbrowse node",
        // A node registers once it serves; waiting for the first check would hide it for up to an interval.
        "Status": Health::Passing,
        "DeregisterCriticalServiceAfter": go_duration(DEREGISTER_AFTER),
    });
    match check {
        Check::Https => {
            definition["HTTP"] = json!(format!("https://{}/health?consul", record.endpoint()));
            definition["TLSSkipVerify"] = json!(true);
        }
        Check::Http => definition["HTTP"] = json!(format!("http://{}/health?consul", record.endpoint())),
        Check::Tcp => definition["TCP"] = json!(record.endpoint()),
        Check::Grpc => {
            definition["GRPC"] = json!(record.endpoint());
            definition["GRPCUseTLS"] = json!(true);
            definition["TLSSkipVerify"] = json!(true);
        }
        Check::Heartbeat(ttl) => {
            definition["TTL"] = json!(go_duration(ttl));
            definition["Status"] = json!(record.health);
            return definition;
        }
    }
    definition["Interval"] = json!(go_duration(CHECK_INTERVAL));
    definition["Timeout"] = json!(go_duration(CHECK_TIMEOUT));
    definition
}

fn go_duration(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> NodeRecord {
        serde_json::from_value(json!({"id": "n1", "address": "fd00::1", "port": 7443, "weight": 0}))
            .expect("a record")
    }

    #[test]
    fn the_definition_says_how_to_check() {
        let https = definition("browser-node", &record(), Check::Https);
        assert_eq!(https["Check"]["HTTP"], "https://[fd00::1]:7443/health?consul");
        assert_eq!(https["Check"]["TLSSkipVerify"], true);
        assert_eq!(https["Check"]["Interval"], "5000ms");
        assert_eq!(https["Check"]["DeregisterCriticalServiceAfter"], "60000ms");
        assert_eq!((&https["Weights"]["Passing"], &https["Meta"]["weight"]), (&json!(1), &json!("0")));
        let mut warned = record();
        warned.health = Health::Warning;
        let heartbeat = definition("browser-node", &warned, Check::Heartbeat(Duration::from_secs(15)));
        assert_eq!(heartbeat["Check"]["TTL"], "15000ms");
        assert_eq!(heartbeat["Check"]["Status"], "warning");
        assert!(heartbeat["Check"].get("HTTP").is_none());
        let checked = definition("browser-node", &warned, Check::Http);
        assert_eq!(checked["Check"]["Status"], "passing", "that is for Consul to find out");
    }

    #[test]
    fn a_warned_node_keeps_half_of_its_weight() {
        for (weight, warning) in [(0, 1), (1, 1), (2, 1), (3, 2), (10, 5), (u16::MAX, 32768)] {
            let record = NodeRecord { weight, ..record() };
            assert_eq!(definition("s", &record, Check::Tcp)["Weights"]["Warning"], warning, "{weight}");
        }
    }

    #[test]
    fn what_consul_would_refuse_is_refused_with_the_fields_name() {
        let with = |key: &str, value: &str| {
            let mut record = record();
            record.meta.insert(key.to_owned(), value.to_owned());
            check_fits(&record).map_err(|cause| cause.to_string())
        };
        assert_eq!(with(&"k".repeat(128), &"v".repeat(512)), Ok(()));
        for (key, value, part) in [
            ("k".repeat(129), "v".to_owned(), "kkk"),
            ("k é".to_owned(), "v".to_owned(), "k é"),
            (String::new(), "v".to_owned(), "\"\""),
            ("consul-x".to_owned(), "v".to_owned(), "reserved"),
            ("rack".to_owned(), "v".repeat(513), "513"),
        ] {
            let error = with(&key, &value).expect_err(&key);
            assert!(error.contains(part), "{error}");
        }
        let mut record = NodeRecord { weight: 1, ..record() };
        record.meta = (0..64).map(|index| (format!("k{index}"), String::new())).collect();
        assert_eq!(check_fits(&record), Ok(()));
        record.region = "eu".to_owned();
        let error = check_fits(&record).expect_err("65 pairs").to_string();
        assert!(error.contains("65") && error.contains("64"), "{error}");
    }
}
