//! By which interfaces this machine reaches the world: asked of the routing table itself, on any system.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr, UdpSocket},
};

use nix::{ifaddrs::getifaddrs, sys::socket::SockaddrStorage};

/// Addresses far away, kept for documents (RFC 5737, RFC 3849). Connecting a datagram socket sends nothing.
const FAR: [&str; 2] = ["198.51.100.1:9", "[2001:db8::1]:9"];
/// What the sockets are bound to.
const ANY: [&str; 2] = ["0.0.0.0:0", "[::]:0"];

/// One way out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Exit {
    /// The interface's name.
    pub interface: String,
    /// The network that the interface is in, as address and bits, where it has a mask.
    pub prefix: Option<(IpAddr, u32)>,
}

/// The ways out by IPv4 and IPv6. Rules that a VPN puts before the main routing table count here.
pub fn exits() -> Vec<Exit> {
    let used: Vec<IpAddr> = FAR.into_iter().zip(ANY).filter_map(|(far, any)| source(any, far)).collect();
    let Ok(interfaces) = getifaddrs() else { return Vec::new() };
    let mut exits: Vec<Exit> = interfaces
        .filter_map(|interface| {
            let address = address(interface.address.as_ref()?)?;
            let prefix =
                interface.netmask.as_ref().and_then(self::address).and_then(|mask| masked(address, mask));
            used.contains(&address).then_some(Exit { interface: interface.interface_name, prefix })
        })
        .collect();
    exits.sort();
    exits.dedup();
    exits
}

/// What a network is told by where its routes cannot be read: interfaces and the networks they are in. Of IPv6 the names
/// alone, since providers change their prefixes.
pub fn marks(exits: &[Exit]) -> BTreeSet<String> {
    let mark = |exit: &Exit| match exit.prefix {
        Some((address @ IpAddr::V4(_), bits)) => format!("link {} {address}/{bits}", exit.interface),
        _ => format!("link {}", exit.interface),
    };
    exits.iter().map(mark).collect()
}

/// The address from which `far` would be reached.
fn source(any: &str, far: &str) -> Option<IpAddr> {
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(far.parse::<SocketAddr>().ok()?).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

fn address(storage: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = storage.as_sockaddr_in().map(|address| IpAddr::from(address.ip()));
    v4.or_else(|| storage.as_sockaddr_in6().map(|address| IpAddr::from(address.ip())))
}

fn masked(address: IpAddr, mask: IpAddr) -> Option<(IpAddr, u32)> {
    match (address, mask) {
        (IpAddr::V4(address), IpAddr::V4(mask)) => {
            Some(((address & mask).into(), mask.to_bits().count_ones()))
        }
        (IpAddr::V6(address), IpAddr::V6(mask)) => {
            Some(((address & mask).into(), mask.to_bits().count_ones()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_and_its_mask_are_a_network() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert_eq!(masked(ip("10.1.2.3"), ip("255.255.254.0")), Some((ip("10.1.2.0"), 23)));
        assert_eq!(masked(ip("2001:db8::7"), ip("ffff:ffff::")), Some((ip("2001:db8::"), 32)));
        assert_eq!(masked(ip("10.1.2.3"), ip("ffff::")), None);
    }

    #[test]
    fn where_routes_cannot_be_read_the_network_of_the_interface_tells() {
        let exit = |interface: &str, prefix: Option<(&str, u32)>| Exit {
            interface: interface.into(),
            prefix: prefix.map(|(address, bits)| (address.parse().expect("an address"), bits)),
        };
        let home = marks(&[exit("en0", Some(("192.168.1.0", 24))), exit("en0", Some(("2001:db8::", 64)))]);
        assert_eq!(home.into_iter().collect::<Vec<_>>(), ["link en0", "link en0 192.168.1.0/24"]);
        assert_eq!(marks(&[]), BTreeSet::new());
    }

    #[test]
    fn asking_for_the_way_out_fails_quietly_where_there_is_none() {
        // A network namespace without routes gives none; a machine with a network at least one. Neither may panic.
        for exit in exits() {
            assert!(!exit.interface.is_empty());
        }
        assert_eq!(source("0.0.0.0:0", "not an address"), None);
    }
}
