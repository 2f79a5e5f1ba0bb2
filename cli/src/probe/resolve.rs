//! From a node's host name to the address that is probed and dialled.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use cbrowse_protocol::node::NodeRecord;
use tokio::task::JoinSet;

/// Names not resolved within this are left out; with more, one dead name server delays every choice.
const NAME_DEADLINE: Duration = Duration::from_secs(2);
/// Names asked for at once: each takes a thread of the system's resolver while it waits.
const AT_ONCE: usize = 32;

/// The address of each record, in their order; `None` for a name that does not resolve.
pub async fn resolve(records: &[NodeRecord]) -> Vec<Option<SocketAddr>> {
    let mut addresses: Vec<Option<SocketAddr>> = records.iter().map(literal).collect();
    let mut names =
        records.iter().enumerate().filter(|(index, _)| addresses[*index].is_none()).collect::<Vec<_>>();
    let mut asked = JoinSet::new();
    while !names.is_empty() || !asked.is_empty() {
        while asked.len() < AT_ONCE
            && let Some((index, record)) = names.pop()
        {
            let (host, port) = (record.address.clone(), record.port);
            asked.spawn(async move { (index, look_up(host, port).await) });
        }
        if let Some(Ok((index, found))) = asked.join_next().await {
            addresses[index] = found;
        }
    }
    addresses
}

fn literal(record: &NodeRecord) -> Option<SocketAddr> {
    Some(SocketAddr::new(record.address.parse::<IpAddr>().ok()?, record.port))
}

/// The first address in the system's own order (RFC 6724).
async fn look_up(host: String, port: u16) -> Option<SocketAddr> {
    let found = tokio::time::timeout(NAME_DEADLINE, tokio::net::lookup_host((host, port)));
    found.await.ok()?.ok()?.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(address: &str) -> NodeRecord {
        serde_json::from_value(serde_json::json!({"id": "n", "address": address, "port": 7443}))
            .expect("record")
    }

    #[tokio::test]
    async fn addresses_stay_names_resolve_and_order_is_kept() {
        let records = ["192.0.2.7", "localhost", "2001:db8::1", "not a name"].map(record);
        let addresses = resolve(&records).await;
        assert_eq!(addresses[0], "192.0.2.7:7443".parse().ok());
        assert!(addresses[1].is_some_and(|address| address.ip().is_loopback()));
        assert_eq!(addresses[2], "[2001:db8::1]:7443".parse().ok());
        assert_eq!(addresses[3], None);
    }
}
