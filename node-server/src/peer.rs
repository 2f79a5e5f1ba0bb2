//! Who is at the other end of a connection, and who counts as one client.

use std::net::{IpAddr, SocketAddr};

/// Bits of an IPv6 address that one customer of a provider usually has to itself: with /64, a home with 256 networks
/// would count as 256 clients; with /48, a small provider as one.
const V6_PREFIX: u32 = 56;
/// A connection that stands. Every request on it carries the same one, and it ends with the last of them; whoever keeps
/// something for a connection holds it weakly.
#[derive(Debug, PartialEq, Eq)]
pub struct Connection {
    /// The other end.
    pub peer: SocketAddr,
}

/// Who counts as one client: an IPv4 address, or an IPv6 network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Prefix(u64);

impl Prefix {
    /// The one that an address belongs to.
    pub fn of(address: SocketAddr) -> Self {
        match address.ip().to_canonical() {
            IpAddr::V4(v4) => Self(v4.to_bits().into()),
            IpAddr::V6(v6) => {
                let network = u64::try_from(v6.to_bits() >> (128 - V6_PREFIX)).unwrap_or(u64::MAX);
                // Beyond all IPv4 addresses.
                Self(network | 1 << 63)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        Prefix::of(SocketAddr::new(text.parse().expect("an address"), 1))
    }

    #[test]
    fn a_client_is_an_ipv4_address_or_an_ipv6_network() {
        assert_eq!(prefix("192.0.2.1"), prefix("::ffff:192.0.2.1"));
        assert_ne!(prefix("192.0.2.1"), prefix("192.0.2.2"));
        assert_eq!(prefix("2001:db8:0:100::1"), prefix("2001:db8:0:1ff:ffff::9"));
        assert_ne!(prefix("2001:db8:0:100::1"), prefix("2001:db8:0:200::1"));
        assert_ne!(prefix("::c000:201"), prefix("192.0.2.1"));
    }
}
