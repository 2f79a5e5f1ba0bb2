//! Nodes as a real fleet registers them, with every field filled, and a Consul that holds them.

use std::net::Ipv4Addr;

use anyhow::Context as _;
use cbrowse_protocol::{
    identity::SigningKey,
    node::{NodeRecord, SERVICE},
    statement::Statement,
};
use serde_json::{Value, json};

use crate::consul::Consul;

/// Consul takes at most 64 operations in one transaction; a node needs three.
const NODES_PER_TRANSACTION: usize = 21;
/// What Consul writes down of a passing HTTPS check.
const CHECK_OUTPUT: &str = "HTTP GET https://10.0.0.1:7443/health: 200 OK Output: {\"status\":\"serving\"}";
/// A statement of 2040: it has to be as long as a real one, nobody reads it.
const NOT_AFTER: u64 = 2_208_988_800;

/// `count` nodes, each at an address of its own.
pub fn records(count: usize) -> Vec<NodeRecord> {
    let fleet = SigningKey::generate();
    (0..count).map(|index| record(index, &fleet)).collect()
}

fn record(index: usize, fleet: &SigningKey) -> NodeRecord {
    let number = u32::try_from(index).expect("a benchmark's nodes can be counted");
    let region = ["eu-central", "eu-west", "us-east", "ap-south"][index % 4].to_owned();
    let id = format!("node-{index:05}").parse().expect("letters, digits and a hyphen");
    let identity = SigningKey::generate().public();
    let statement = Statement { identity, id, region, not_after: NOT_AFTER };
    NodeRecord {
        id: statement.id.clone(),
        address: Ipv4Addr::from(0x0a00_0001 + number).to_string(),
        port: 7443,
        zone: format!("{}-1{}", statement.region, ["a", "b", "c"][index % 3]),
        version: "0.1.0".into(),
        tags: ["production", "gpu", "team-research"].map(String::from).into(),
        weight: 10,
        capacity: 16,
        browser_version: "156.0.8078.79".into(),
        identity: Some(identity),
        statement: Some(statement.sign(fleet)),
        health: cbrowse_protocol::node::Health::Passing,
        meta: [("rack", "r17"), ("owner", "browsers@example.com"), ("kernel", "6.12.0")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        region: statement.region,
    }
}

/// Puts them all into Consul's catalog, each on a host of its own with a passing check.
pub async fn register(consul: &Consul, records: &[NodeRecord]) -> anyhow::Result<()> {
    for records in records.chunks(NODES_PER_TRANSACTION) {
        let operations: Vec<Value> = records.iter().flat_map(operations).collect();
        consul.request("PUT", "/v1/txn", Some(&operations.into())).await.context("register many nodes")?;
    }
    Ok(())
}

fn operations(record: &NodeRecord) -> [Value; 3] {
    let host = format!("host-{}", record.id);
    let check = json!({ "Node": host, "CheckID": format!("service:{}", record.id), "Name": "cbrowse-node",
        "Status": "passing", "Output": CHECK_OUTPUT, "ServiceID": record.id, "ServiceName": SERVICE });
    [
        json!({ "Node": { "Verb": "set", "Node": { "Node": host, "Address": record.address } } }),
        json!({ "Service": { "Verb": "set", "Node": host, "Service": service(record) } }),
        json!({ "Check": { "Verb": "set", "Check": check } }),
    ]
}

/// As a node registers itself.
pub fn service(record: &NodeRecord) -> Value {
    let mut meta = record.meta.clone();
    let mut put = |key: &str, value: String| meta.insert(key.to_owned(), value);
    put("region", record.region.clone());
    put("zone", record.zone.clone());
    put("version", record.version.clone());
    put("browser_version", record.browser_version.clone());
    put("capacity", record.capacity.to_string());
    put("identity", record.identity.map(|identity| identity.to_string()).unwrap_or_default());
    put("statement", record.statement.as_ref().map(ToString::to_string).unwrap_or_default());
    json!({ "ID": record.id, "Service": SERVICE, "Address": record.address, "Port": record.port,
        "Tags": record.tags, "Meta": meta, "Weights": { "Passing": record.weight, "Warning": 1 } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_is_usable_and_another() {
        let records = records(300);
        let addresses: std::collections::BTreeSet<_> = records.iter().map(|record| &record.address).collect();
        assert_eq!(addresses.len(), 300);
        for record in &records {
            assert_eq!(record.check(), Ok(()));
            assert!(record.identity.is_some() && record.statement.is_some());
        }
    }
}
