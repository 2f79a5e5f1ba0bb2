//! IPv6: an address that others can reach, a way out, and where the catalogs name nodes over it, a connection.

use std::{
    net::{Ipv6Addr, SocketAddr},
    time::Duration,
};

use nix::ifaddrs::getifaddrs;
use serde_json::json;
use tokio::{net::TcpStream, time::timeout};

use super::{
    examine::Catalogs,
    finding::{Check, Finding},
    routes,
};

/// One connection; the far side of the earth answers in a third of a second.
const DEADLINE: Duration = Duration::from_millis(1100);
/// Nodes that are tried: where these are silent, a fourth is, too.
const TRIED: usize = 3;

/// What there is.
struct Seen {
    address: Option<Ipv6Addr>,
    has_route: bool,
    /// How many nodes over IPv6 were tried, and how many answered.
    tried: usize,
    answered: usize,
}

/// Looks at this machine's addresses and routes, then connects to nodes that the catalogs name by an IPv6 address.
pub(super) async fn check(catalogs: Catalogs<'_>) -> Finding {
    let mut seen =
        Seen { address: global_address(), has_route: routes::has_ipv6_default(), tried: 0, answered: 0 };
    if seen.address.is_some() {
        let surveyed = catalogs.await;
        let over_v6 = surveyed.nodes().filter_map(|(_, node)| {
            Some(SocketAddr::new(node.address.parse::<Ipv6Addr>().ok()?.into(), node.port))
        });
        let targets: Vec<SocketAddr> = over_v6.take(TRIED).collect();
        seen.tried = targets.len();
        let tries = targets.into_iter().map(|target| timeout(DEADLINE, TcpStream::connect(target)));
        let ended = futures_util::future::join_all(tries).await;
        seen.answered = ended.iter().filter(|ended| matches!(ended, Ok(Ok(_)))).count();
    }
    judge(&seen)
}

/// One that is neither loopback nor of the link.
fn global_address() -> Option<Ipv6Addr> {
    let interfaces = getifaddrs().ok()?;
    let mut addresses = interfaces.filter_map(|interface| Some(interface.address?.as_sockaddr_in6()?.ip()));
    addresses.find(|address| !address.is_loopback() && !address.is_unicast_link_local())
}

fn judge(seen: &Seen) -> Finding {
    let details = json!({
        "address": seen.address, "default_route": seen.has_route, "tried": seen.tried, "answered": seen.answered,
    });
    let Some(address) = seen.address else {
        let found = "no address but this machine's own; nodes are reached over IPv4";
        return Finding::skipped(Check::Ipv6, found).details(details);
    };
    let finding = match (seen.has_route, seen.tried, seen.answered) {
        (_, 1.., 0) => Finding::warning(
            Check::Ipv6,
            format!(
                "{address}, and none of {} nodes named by an IPv6 address accepts a connection",
                seen.tried
            ),
            "see why: cbrowse nodes probe; ip -6 route shows the way that packets take",
        ),
        (_, tried @ 1.., answered) => {
            Finding::ok(Check::Ipv6, format!("{address}; {answered} of {tried} nodes tried over it answer"))
        }
        (false, ..) => Finding::warning(
            Check::Ipv6,
            format!("{address}, and no default route: nothing beyond this network is reached over it"),
            "ip -6 route shows what there is; where your network has no IPv6, nothing is to be mended: IPv4 is used",
        ),
        (true, ..) => Finding::ok(
            Check::Ipv6,
            format!("{address}, with a default route; no catalog names a node over IPv6"),
        ),
    };
    finding.details(details)
}

#[cfg(test)]
mod tests {
    use super::{super::finding::State, *};

    #[test]
    fn connections_count_for_more_than_routes() {
        let address: Option<Ipv6Addr> = Some("2001:db8::7".parse().expect("an address"));
        let judged =
            |address, has_route, tried, answered| judge(&Seen { address, has_route, tried, answered }).state;
        assert_eq!(judged(None, true, 0, 0), State::Skipped);
        assert_eq!(judged(address, true, 0, 0), State::Ok);
        assert_eq!(judged(address, false, 0, 0), State::Warning);
        assert_eq!(judged(address, true, 3, 0), State::Warning);
        assert_eq!(judged(address, false, 3, 1), State::Ok);
    }
}
