//! Which addresses a catalog may name: those on the side of the network where the catalog itself stands.
//!
//! | the catalog was reached | it may name |
//! |---|---|
//! | at a public address, or over the system's resolvers | public addresses |
//! | at a private address | private and public |
//! | at a loopback address | loopback, private and public |
//! | as the user's own file, or marked `?local=true` | anything that can be dialled |
//!
//! Otherwise a poisoned catalog would turn every client into a scanner of its own network.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// How far a catalog's word goes. Ordered: a later one permits all that an earlier one does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reach {
    /// Public addresses only.
    Public,
    /// Private ones too.
    Private,
    /// Loopback too.
    Loopback,
    /// The user's own mark: link-local too.
    Anything,
}

/// Where an address leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Public,
    Private,
    Loopback,
    LinkLocal,
    /// Unspecified, multicast, broadcast, reserved: no node can be there.
    Nowhere,
}

/// Why an address may not be dialled on a catalog's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not an address of one host.
    #[error("{0} is not an address that a node can have")]
    Nowhere(IpAddr),
    /// Of a kind that this catalog may not name.
    #[error(
        "{kind} address {address} from a catalog that is not {needed}; mark the catalog with ?local=true to allow it"
    )]
    NotLocal {
        /// The address.
        address: IpAddr,
        /// `loopback`, `private` or `link-local`.
        kind: &'static str,
        /// Where the catalog would have to be.
        needed: &'static str,
    },
}

impl Reach {
    /// The reach of a catalog that answered from `address`.
    pub fn of_catalog_at(address: IpAddr) -> Self {
        match place(address) {
            Place::Loopback => Self::Loopback,
            Place::Private | Place::LinkLocal => Self::Private,
            Place::Public | Place::Nowhere => Self::Public,
        }
    }

    /// Whether a catalog of this reach may name `address`.
    pub fn permits(self, address: IpAddr) -> Result<(), Refusal> {
        let (enough, kind, needed) = match place(address) {
            Place::Nowhere => return Err(Refusal::Nowhere(address)),
            Place::Public => return Ok(()),
            Place::Private => (Self::Private, "private", "local (itself at a private or loopback address)"),
            Place::Loopback => (Self::Loopback, "loopback", "local (itself at a loopback address)"),
            Place::LinkLocal => (Self::Anything, "link-local", "the user's own"),
        };
        if self >= enough { Ok(()) } else { Err(Refusal::NotLocal { address, kind, needed }) }
    }

    /// Whether a catalog of this reach may name `localhost` and names under it (RFC 6761 section 6.3).
    pub(crate) fn permits_localhost(self) -> bool {
        self >= Self::Loopback
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Public => "public",
            Self::Private => "private",
            Self::Loopback => "loopback",
            Self::Anything => "anything",
        })
    }
}

fn place(address: IpAddr) -> Place {
    match address {
        IpAddr::V4(address) => place_v4(address),
        IpAddr::V6(address) => embedded_v4(address).map_or_else(|| place_v6(address), place_v4),
    }
}

fn place_v4(address: Ipv4Addr) -> Place {
    match address.octets() {
        [127, ..] => Place::Loopback,
        [169, 254, ..] => Place::LinkLocal,
        // RFC 1918, carrier-grade NAT (RFC 6598), protocol assignments (RFC 6890), benchmarks (RFC 2544).
        [10, ..]
        | [172, 16..=31, ..]
        | [192, 168, ..]
        | [100, 64..=127, ..]
        | [192, 0, 0, _]
        | [198, 18..=19, ..] => Place::Private,
        [0 | 224..=255, ..] => Place::Nowhere,
        _ => Place::Public,
    }
}

fn place_v6(address: Ipv6Addr) -> Place {
    if address.is_loopback() {
        return Place::Loopback;
    }
    match address.segments()[0] {
        _ if address.is_unspecified() => Place::Nowhere,
        0xff00..=0xffff => Place::Nowhere,
        0xfe80..=0xfebf => Place::LinkLocal,
        // Unique local (RFC 4193); site-local (RFC 3879), which some networks still route; a network's own NAT64
        // (RFC 8215), which leads to any IPv4 address.
        0xfc00..=0xfdff | 0xfec0..=0xfeff | 0x0064 => Place::Private,
        _ => Place::Public,
    }
}

/// The IPv4 address that an IPv6 form leads to: mapped, compatible, NAT64 (RFC 6052) and 6to4 (RFC 3056).
pub(crate) fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    let at =
        |index: usize| Ipv4Addr::from((u32::from(segments[index]) << 16) | u32::from(segments[index + 1]));
    match segments {
        [0, 0, 0, 0, 0, 0xffff, ..] | [0x0064, 0xff9b, 0, 0, 0, 0, ..] => Some(at(6)),
        // `::` and `::1` are no embedded addresses.
        [0, 0, 0, 0, 0, 0, high, _] if high != 0 => Some(at(6)),
        [0x2002, ..] => Some(at(1)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn least(address: &str) -> Option<Reach> {
        let address = address.parse().expect(address);
        let all = [Reach::Public, Reach::Private, Reach::Loopback, Reach::Anything];
        all.into_iter().find(|reach| reach.permits(address).is_ok())
    }

    #[test]
    fn each_address_needs_its_reach() {
        for (address, reach) in [
            ("9.9.9.9", Some(Reach::Public)),
            ("2620:fe::9", Some(Reach::Public)),
            ("10.0.0.1", Some(Reach::Private)),
            ("172.15.255.255", Some(Reach::Public)),
            ("172.16.0.0", Some(Reach::Private)),
            ("172.31.255.255", Some(Reach::Private)),
            ("172.32.0.0", Some(Reach::Public)),
            ("192.168.1.1", Some(Reach::Private)),
            ("100.63.255.255", Some(Reach::Public)),
            ("100.64.0.0", Some(Reach::Private)),
            ("100.128.0.0", Some(Reach::Public)),
            ("198.18.0.1", Some(Reach::Private)),
            ("fd00::1", Some(Reach::Private)),
            ("127.0.0.1", Some(Reach::Loopback)),
            ("127.255.0.3", Some(Reach::Loopback)),
            ("::1", Some(Reach::Loopback)),
            ("169.254.169.254", Some(Reach::Anything)),
            ("fe80::1", Some(Reach::Anything)),
            ("0.0.0.0", None),
            ("0.1.2.3", None),
            ("224.0.0.1", None),
            ("255.255.255.255", None),
            ("::", None),
            ("ff02::1", None),
        ] {
            assert_eq!(least(address), reach, "{address}");
        }
    }

    #[test]
    fn an_ipv4_address_in_disguise_is_judged_as_what_it_leads_to() {
        for (address, reach) in [
            ("::ffff:127.0.0.1", Reach::Loopback),
            ("::ffff:9.9.9.9", Reach::Public),
            ("::10.0.0.1", Reach::Private),
            ("64:ff9b::a9fe:a9fe", Reach::Anything),
            ("64:ff9b:1::1", Reach::Private),
            ("2002:7f00:0001::", Reach::Loopback),
            ("2002:0a00:0001::1", Reach::Private),
        ] {
            assert_eq!(least(address), Some(reach), "{address}");
        }
    }

    #[test]
    fn a_catalog_reaches_as_far_as_it_is_near() {
        let at = |address: &str| Reach::of_catalog_at(address.parse().expect(address));
        assert_eq!(at("127.0.0.1"), Reach::Loopback);
        assert_eq!(at("::1"), Reach::Loopback);
        assert_eq!(at("10.1.2.3"), Reach::Private);
        assert_eq!(at("fe80::1"), Reach::Private);
        assert_eq!(at("9.9.9.9"), Reach::Public);
    }

    #[test]
    fn a_refusal_says_how_to_allow_it() {
        let text = Reach::Public.permits("127.0.0.1".parse().unwrap()).unwrap_err().to_string();
        assert!(text.contains("loopback") && text.contains("?local=true"), "{text}");
    }
}
