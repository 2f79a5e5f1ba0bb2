use serde_json::{Value, json};

use super::*;
use crate::{capped::MAX_ENTRIES, nacos::answer};

const TTL: Duration = Duration::from_secs(15);
const INTERVAL: Duration = Duration::from_secs(5);

/// As Nacos 3.0's documentation shows it ("Client API", section 2.3).
const DOCUMENTED: &str = r#"{"code":0,"message":"success","data":[{"ip":"127.0.0.1","port":3306,"weight":1.0,
    "healthy":true,"enabled":true,"ephemeral":true,"clusterName":"DEFAULT","serviceName":"DEFAULT_GROUP@@test1",
    "metadata":{},"ipDeleteTimeout":30000,"instanceIdGenerator":"simple","instanceHeartBeatInterval":5000,
    "instanceHeartBeatTimeOut":15000}]}"#;

fn list(hosts: &Value) -> String {
    json!({"name": "DEFAULT_GROUP@@browser-node", "cacheMillis": 10000, "hosts": hosts}).to_string()
}

fn read(change: impl FnOnce(&mut Value)) -> Candidate {
    let mut host = json!({"ip": "10.0.0.7", "port": 7443, "weight": 5.0, "healthy": true, "enabled": true,
        "clusterName": "DEFAULT", "metadata": {"id": "n1"}});
    change(&mut host);
    let body = list(&json!([host]));
    let hosts = answer::instances_v1(body.as_bytes()).expect("a list");
    candidates(&hosts.hosts, None).remove(0)
}

fn full() -> NodeRecord {
    serde_json::from_value(json!({
        "id": "n1", "address": "fd00::1", "port": 7443, "region": "größe", "zone": "z", "version": "0.1.0",
        "tags": ["a,b", "[c", "日本"], "weight": 20000, "capacity": 4, "browser_version": "1.2.3.4",
        "identity": cbrowse_protocol::identity::IdentityKey::from_bytes([7; 32]).to_string(),
        "health": "warning", "meta": {"rack": "r&1=ü"}
    }))
    .expect("a record")
}

/// An instance that holds what is written of `record`.
fn instance(record: &NodeRecord) -> Value {
    json!({"ip": record.address, "port": record.port, "weight": f64::from(nacos_weight(record)),
        "metadata": meta(record, INTERVAL, TTL)})
}

#[test]
fn a_record_survives_nacos() {
    let plain: NodeRecord =
        serde_json::from_value(json!({"id": "n1", "address": "10.0.0.1", "port": 1})).expect("a record");
    for record in [
        full(),
        plain.clone(),
        NodeRecord { weight: 0, ..plain.clone() },
        NodeRecord { weight: 7, health: Health::Critical, ..plain.clone() },
        NodeRecord { weight: 0, health: Health::Critical, ..plain },
    ] {
        assert_eq!(read(|host| *host = instance(&record)).record, Ok(record));
    }
}

#[test]
fn other_clients_of_nacos_send_nothing_to_a_node_that_does_not_serve() {
    let mut record = full();
    assert_eq!(nacos_weight(&record), MAX_WEIGHT);
    record.weight = MAX_WEIGHT + 1;
    assert_eq!(meta(&record, INTERVAL, TTL)["weight"], "10001");
    record.weight = MAX_WEIGHT;
    assert_eq!(meta(&record, INTERVAL, TTL).get("weight"), None);
    record.health = Health::Critical;
    assert_eq!((nacos_weight(&record), meta(&record, INTERVAL, TTL)["weight"].as_str()), (0, "10000"));
    let meta = meta(&record, INTERVAL, TTL);
    let times = [BEAT_INTERVAL_KEY, BEAT_TIMEOUT_KEY, DELETE_TIMEOUT_KEY].map(|key| meta[key].as_str());
    assert_eq!(times, ["5000", "15000", "15000"]);
}

#[test]
fn another_clients_instance_is_named_by_where_it_is() {
    let hosts = answer::instances_v3(DOCUMENTED.as_bytes()).expect("the documented answer");
    let found = candidates(&hosts.hosts, None).remove(0);
    let record = found.record.expect("a record");
    assert_eq!((record.id.as_str(), record.weight, record.health), ("127.0.0.1:3306", 1, Health::Passing));
    assert_eq!(found.entry, "127.0.0.1:3306");
    let record = read(|host| {
        host["metadata"] = json!({"tags": "a, b,", "preserved.register.source": "SPRING_CLOUD"});
        host["ip"] = json!("::1");
    });
    let record = record.record.expect("a record");
    assert_eq!(
        (record.id.as_str(), record.tags.as_slice()),
        ("[::1]:7443", &["a".to_owned(), "b".into()][..])
    );
    assert_eq!(record.meta["preserved.register.source"], "SPRING_CLOUD");
}

#[test]
fn nacos_knows_better_than_the_metadata_whether_a_node_serves() {
    let health = |change: fn(&mut Value)| read(change).record.expect("a record").health;
    assert_eq!(health(|_| ()), Health::Passing);
    assert_eq!(health(|host| host["healthy"] = json!(false)), Health::Critical);
    assert_eq!(health(|host| host["enabled"] = json!(false)), Health::Critical);
    assert_eq!(health(|host| host["metadata"]["health"] = json!("warning")), Health::Warning);
    let unhealthy = |host: &mut Value| {
        host["metadata"]["health"] = json!("passing");
        host["healthy"] = json!(false);
    };
    assert_eq!(health(unhealthy), Health::Critical);
}

#[test]
fn a_weight_has_a_fraction_and_only_zero_is_zero() {
    for (number, rounded) in [(0.0, 0), (0.01, 1), (0.6, 1), (1.000_000_1, 1), (2.5, 3), (65_535.0, 65_535)] {
        assert_eq!(weight(number), Ok(rounded), "{number}");
    }
    for number in [-0.1, 65_535.1, f64::NAN, f64::INFINITY] {
        assert!(weight(number).is_err(), "{number}");
    }
}

#[test]
fn garbage_is_named_with_its_reason() {
    for (field, value, part) in [
        ("port", json!(65_536), "port 65536"),
        ("port", json!("x"), "invalid type"),
        ("weight", json!(-1), "weight -1"),
        ("metadata", json!({"id": "n1", "capacity": "many"}), "capacity \"many\""),
        ("metadata", json!({"id": "n1", "tags": "[1]"}), "tags:"),
        ("metadata", json!({"id": "n1", "health": "ill"}), "\"ill\" is not a health"),
        ("metadata", json!({"id": "n1", "identity": "short"}), "identity: not an Ed25519 public key"),
        ("metadata", json!({"id": "../x"}), "not allowed in an id"),
        ("metadata", json!({"id": 7}), "invalid type"),
    ] {
        let candidate = read(|host| host[field] = value.clone());
        let reason = candidate.record.expect_err(field);
        assert!(reason.contains(part), "{field} {value}: {reason}");
        assert!(candidate.entry.starts_with("10.0.0.7:") || field == "port", "{}", candidate.entry);
    }
}

#[test]
fn one_entry_of_another_shape_does_not_spoil_the_rest() {
    let body = list(&json!([7, {"ip": "10.0.0.1"}, {"ip": "10.0.0.2", "port": 1}, null]));
    let hosts = answer::instances_v1(body.as_bytes()).expect("a list");
    let read = candidates(&hosts.hosts, None);
    let names: Vec<_> = read.iter().map(|c| (c.entry.as_str(), c.record.is_ok())).collect();
    let expected =
        [("instance 1", false), ("10.0.0.1:0", false), ("10.0.0.2:1", true), ("instance 4", false)];
    assert_eq!(names, expected);
}

#[test]
fn one_cluster_is_told_from_the_others() {
    let host = |port: u16, cluster: &str| json!({"ip": "10.0.0.1", "port": port, "clusterName": cluster});
    let body = list(&json!([host(1, "a"), host(2, "b"), {"ip": "10.0.0.1", "port": 3}]));
    let hosts = answer::instances_v1(body.as_bytes()).expect("a list");
    let of = |cluster| -> Vec<_> {
        candidates(&hosts.hosts, cluster).into_iter().map(|candidate| candidate.entry).collect()
    };
    assert_eq!(of(Some("b")), ["10.0.0.1:2"]);
    assert_eq!(of(None).len(), 3);
}

#[test]
fn what_an_earlier_run_left_is_found() {
    let at = |port: u16, id: &str| json!({"ip": "10.0.0.1", "port": port, "metadata": {"id": id}});
    let body = list(&json!([at(1, "n1"), at(2, "n1"), at(3, "n11"), at(4, "other"), 7]));
    let hosts = answer::instances_v1(body.as_bytes()).expect("a list");
    let at = |port: u16| Spot { ip: "10.0.0.1".into(), port };
    let found = spots(&hosts.hosts, None);
    assert_eq!((&found["n1"], &found["n11"]), (&vec![at(1), at(2)], &vec![at(3)]));
    assert_eq!(found.len(), 3);
    assert!(spots(&hosts.hosts, Some("c1")).is_empty());
}

#[test]
fn what_was_written_is_recognized() {
    let record = full();
    let (instance, meta) = (instance(&record).to_string(), meta(&record, INTERVAL, TTL));
    assert!(says(instance.as_bytes(), MAX_WEIGHT, &meta) && is_of(instance.as_bytes(), "n1"));
    assert!(!says(instance.as_bytes(), 1, &meta) && !is_of(instance.as_bytes(), "n2"));
    assert!(!says(instance.as_bytes(), MAX_WEIGHT, &BTreeMap::new()));
    assert!(!says(b"error", 1, &meta) && !is_of(b"error", "n1"));
}

#[test]
fn cut_or_flipped_answers_never_panic() {
    let v1 = list(&json!([instance(&full())]));
    let beat = r#"{"lightBeatEnabled":true,"code":10200,"clientBeatInterval":5000}"#;
    let login = r#"{"accessToken":"t","tokenTtl":18000,"globalAdmin":true}"#;
    let spaces = r#"{"code":200,"message":null,"data":[{"namespace":"","namespaceShowName":"public"}]}"#;
    for body in [v1.as_str(), DOCUMENTED, beat, login, spaces] {
        assert!(crate::nacos::parse_anything(body.as_bytes()) > 0, "{body} is understood by none");
        for at in 0..body.len() {
            crate::nacos::parse_anything(&body.as_bytes()[..at]);
            for bit in [0x01, 0x15, 0x80] {
                let mut flipped = body.as_bytes().to_vec();
                flipped[at] ^= bit;
                crate::nacos::parse_anything(&flipped);
            }
        }
    }
}

#[test]
fn a_list_without_end_is_not_kept() {
    let body = format!(r#"{{"hosts":[{}0]}}"#, "0,".repeat(3 * MAX_ENTRIES));
    let hosts = answer::instances_v1(body.as_bytes()).expect("a list");
    let found = candidates(&hosts.hosts, None);
    assert_eq!(found.len(), MAX_ENTRIES + 1);
    assert_eq!(found.last().expect("some").entry, format!("{} more entries", 2 * MAX_ENTRIES + 1));
}
