//! From a node's host name to the address that is probed and dialled.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use cbrowse_protocol::{id::NodeId, node::NodeRecord};
use tokio::task::JoinSet;

use super::track::Reach;

/// Names not resolved within this are left out; with more, one dead name server delays every choice.
const NAME_DEADLINE: Duration = Duration::from_secs(2);
/// Names asked for at once: each takes a thread of the system's resolver while it waits.
const AT_ONCE: usize = 32;

/// The address of each record, in their order, or why there is none. `permits` says which addresses a name may lead to.
pub async fn resolve(
    records: &[NodeRecord],
    permits: impl Fn(&NodeId, IpAddr) -> bool,
) -> Vec<Result<SocketAddr, Reach>> {
    let mut addresses: Vec<Result<SocketAddr, Reach>> = records.iter().map(literal).collect();
    let mut names =
        records.iter().enumerate().filter(|(index, _)| addresses[*index].is_err()).collect::<Vec<_>>();
    let mut asked = JoinSet::new();
    while !names.is_empty() || !asked.is_empty() {
        while asked.len() < AT_ONCE
            && let Some((index, record)) = names.pop()
        {
            let (host, port) = (record.address.clone(), record.port);
            asked.spawn(async move { (index, look_up(host, port).await) });
        }
        if let Some(Ok((index, found))) = asked.join_next().await {
            let permitted = found.iter().find(|address| permits(&records[index].id, address.ip()));
            addresses[index] = match permitted {
                Some(address) => Ok(*address),
                None if found.is_empty() => Err(Reach::Unresolved),
                None => Err(Reach::Forbidden),
            };
        }
    }
    addresses
}

fn literal(record: &NodeRecord) -> Result<SocketAddr, Reach> {
    let address = record.address.parse::<IpAddr>().map_err(|_| Reach::Unresolved)?;
    Ok(SocketAddr::new(address, record.port))
}

/// Its addresses in the system's own order (RFC 6724).
async fn look_up(host: String, port: u16) -> Vec<SocketAddr> {
    match tokio::time::timeout(NAME_DEADLINE, tokio::net::lookup_host((host, port))).await {
        Ok(Ok(found)) => found.collect(),
        Ok(Err(_)) | Err(_) => Vec::new(),
    }
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
        let addresses = resolve(&records, |_, _| true).await;
        assert_eq!(addresses[0], Ok("192.0.2.7:7443".parse().unwrap()));
        assert!(addresses[1].is_ok_and(|address| address.ip().is_loopback()));
        assert_eq!(addresses[2], Ok("[2001:db8::1]:7443".parse().unwrap()));
        assert_eq!(addresses[3], Err(Reach::Unresolved));
    }

    #[tokio::test]
    async fn a_name_that_leads_where_it_may_not_is_not_dialled() {
        let records = [record("localhost"), record("127.0.0.1")];
        let addresses = resolve(&records, |_, address| !address.is_loopback()).await;
        assert_eq!(addresses[0], Err(Reach::Forbidden));
        assert!(addresses[1].is_ok(), "addresses were judged with the catalog");
    }
}
