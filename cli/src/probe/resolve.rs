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

/// Where a node is to be found: one address per family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// The one that the system would try first (RFC 6724).
    pub first: SocketAddr,
    /// The first one of the other family.
    pub second: Option<SocketAddr>,
}

impl From<SocketAddr> for Addresses {
    fn from(first: SocketAddr) -> Self {
        Self { first, second: None }
    }
}

/// The addresses of each record, in their order, or why there are none. `permits` says which addresses a name may lead to.
pub async fn resolve(
    records: &[NodeRecord],
    permits: impl Fn(&NodeId, IpAddr) -> bool,
) -> Vec<Result<Addresses, Reach>> {
    let mut addresses: Vec<Result<Addresses, Reach>> = records.iter().map(literal).collect();
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
            let is_empty = found.is_empty();
            let permitted = found.into_iter().filter(|address| permits(&records[index].id, address.ip()));
            addresses[index] = match one_per_family(permitted) {
                Some(addresses) => Ok(addresses),
                None if is_empty => Err(Reach::Unresolved),
                None => Err(Reach::Forbidden),
            };
        }
    }
    addresses
}

/// The first address, and the first of the other family.
fn one_per_family(mut found: impl Iterator<Item = SocketAddr>) -> Option<Addresses> {
    let first = found.next()?;
    let second = found.find(|address| address.is_ipv4() != first.is_ipv4());
    Some(Addresses { first, second })
}

fn literal(record: &NodeRecord) -> Result<Addresses, Reach> {
    let address = record.address.parse::<IpAddr>().map_err(|_| Reach::Unresolved)?;
    Ok(SocketAddr::new(address, record.port).into())
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
        let only = |address: &str| Addresses::from(address.parse::<SocketAddr>().expect("address"));
        assert_eq!(addresses[0], Ok(only("192.0.2.7:7443")));
        assert!(addresses[1].is_ok_and(|addresses| addresses.first.ip().is_loopback()));
        assert_eq!(addresses[2], Ok(only("[2001:db8::1]:7443")));
        assert_eq!(addresses[3], Err(Reach::Unresolved));
    }

    #[tokio::test]
    async fn a_name_that_leads_where_it_may_not_is_not_dialled() {
        let records = [record("localhost"), record("127.0.0.1")];
        let addresses = resolve(&records, |_, address| !address.is_loopback()).await;
        assert_eq!(addresses[0], Err(Reach::Forbidden));
        assert!(addresses[1].is_ok(), "addresses were judged with the catalog");
    }

    #[test]
    fn a_name_gives_the_first_address_of_each_family_in_the_systems_order() {
        let of = |addresses: &[&str]| {
            one_per_family(addresses.iter().map(|address| address.parse().expect("address")))
                .map(|found| (found.first.to_string(), found.second.map(|second| second.to_string())))
        };
        let (v6, v4) = ("[2001:db8::1]:1", "192.0.2.1:1");
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[v4, "192.0.2.2:1"]), Some((v4.into(), None)));
        assert_eq!(of(&[v6, "[2001:db8::2]:1", v4]), Some((v6.into(), Some(v4.into()))));
        assert_eq!(of(&[v4, v6]), Some((v4.into(), Some(v6.into()))));
    }
}
