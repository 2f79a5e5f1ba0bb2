//! What kind of place an address names: the public Internet, or one of the special ranges no page should see.
//!
//! The ranges are IANA's special-purpose registries (RFC 6890) and the clouds' metadata services. IPv6 is decided
//! the other way round: what is not in the one allocated block of global unicast is special, whatever it is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Why an address is special.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The machine itself.
    Loopback,
    /// Private use, IPv4.
    Private,
    /// One link only; where most metadata services live.
    LinkLocal,
    /// Between a carrier and its customers.
    Carrier,
    /// A cloud's metadata or host service, which hands credentials to whoever asks.
    Metadata,
    /// Many machines at once.
    Multicast,
    /// No address; Linux connects to itself.
    Unspecified,
    /// All machines of a link.
    Broadcast,
    /// For text, never for packets.
    Documentation,
    /// For measurements inside a laboratory.
    Benchmark,
    /// Private use, IPv6.
    UniqueLocal,
    /// Private use, IPv6, deprecated.
    SiteLocal,
    /// IPv6 that a router unwraps into IPv4: 6to4, Teredo, ISATAP, IPv4-compatible and -translated.
    Tunnel,
    /// Anything else that IANA does not hand out to hosts on the Internet.
    Reserved,
}

impl Kind {
    /// The name in metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Loopback => "loopback",
            Self::Private => "private",
            Self::LinkLocal => "link_local",
            Self::Carrier => "carrier",
            Self::Metadata => "metadata",
            Self::Multicast => "multicast",
            Self::Unspecified => "unspecified",
            Self::Broadcast => "broadcast",
            Self::Documentation => "documentation",
            Self::Benchmark => "benchmark",
            Self::UniqueLocal => "unique_local",
            Self::SiteLocal => "site_local",
            Self::Tunnel => "tunnel",
            Self::Reserved => "reserved",
        }
    }
}

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(s: [u16; 8], prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]), prefix)
}

/// The first range that holds the address decides, so the narrow ones come first.
const IPV4: [(Ipv4Net, Kind); 23] = [
    (v4(169, 254, 169, 254, 32), Kind::Metadata), // AWS, GCP, Azure, OpenStack, DigitalOcean, Hetzner, …
    (v4(169, 254, 170, 0, 24), Kind::Metadata),   // AWS task and pod credentials (170.2, 170.23)
    (v4(100, 100, 100, 200, 32), Kind::Metadata), // Alibaba Cloud
    (v4(168, 63, 129, 16, 32), Kind::Metadata),   // Azure's wire server, in a public range
    (v4(192, 0, 0, 192, 32), Kind::Metadata),     // Oracle Cloud, classic
    (v4(0, 0, 0, 0, 8), Kind::Unspecified),       // "this network": RFC 791, RFC 1122 section 3.2.1.3
    (v4(10, 0, 0, 0, 8), Kind::Private),          // RFC 1918
    (v4(172, 16, 0, 0, 12), Kind::Private),       // RFC 1918
    (v4(192, 168, 0, 0, 16), Kind::Private),      // RFC 1918
    (v4(100, 64, 0, 0, 10), Kind::Carrier),       // RFC 6598
    (v4(127, 0, 0, 0, 8), Kind::Loopback),        // RFC 1122 section 3.2.1.3
    (v4(169, 254, 0, 0, 16), Kind::LinkLocal),    // RFC 3927
    (v4(192, 0, 0, 0, 24), Kind::Reserved),       // IETF protocol assignments: RFC 6890
    (v4(192, 0, 2, 0, 24), Kind::Documentation),  // RFC 5737
    (v4(198, 51, 100, 0, 24), Kind::Documentation), // RFC 5737
    (v4(203, 0, 113, 0, 24), Kind::Documentation), // RFC 5737
    (v4(192, 88, 99, 0, 24), Kind::Tunnel),       // 6to4 relays, deprecated: RFC 7526
    (v4(198, 18, 0, 0, 15), Kind::Benchmark),     // RFC 2544
    (v4(224, 0, 0, 0, 4), Kind::Multicast),       // RFC 5771
    (v4(255, 255, 255, 255, 32), Kind::Broadcast), // RFC 919
    (v4(240, 0, 0, 0, 4), Kind::Reserved),        // RFC 1112 section 4
    (v4(192, 31, 196, 0, 24), Kind::Reserved),    // AS112: RFC 7535
    (v4(192, 175, 48, 0, 24), Kind::Reserved),    // AS112: RFC 7534
];

const IPV6: [(Ipv6Net, Kind); 21] = [
    (v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0], 32), Kind::Metadata), // AWS: fd00:ec2::254, ::23, ::253
    (v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128), Kind::Metadata), // GCP
    (v6([0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe], 128), Kind::Metadata), // OpenStack
    (v6([0; 8], 128), Kind::Unspecified),                        // RFC 4291 section 2.5.2
    (v6([0, 0, 0, 0, 0, 0, 0, 1], 128), Kind::Loopback),         // RFC 4291 section 2.5.3
    (v6([0; 8], 96), Kind::Tunnel),                              // IPv4-compatible: RFC 4291 section 2.5.5.1
    (v6([0, 0, 0, 0, 0, 0xffff, 0, 0], 96), Kind::Tunnel),       // IPv4-mapped, when not canonical
    (v6([0, 0, 0, 0, 0xffff, 0, 0, 0], 96), Kind::Tunnel),       // IPv4-translated: RFC 2765
    (v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48), Kind::Tunnel),    // local NAT64: RFC 8215
    (v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64), Kind::Reserved),      // discard only: RFC 6666
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32), Kind::Tunnel),       // Teredo: RFC 4380
    (v6([0x2001, 2, 0, 0, 0, 0, 0, 0], 48), Kind::Benchmark),    // RFC 5180
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), Kind::Reserved),     // IETF protocol assignments: RFC 2928
    (v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), Kind::Documentation), // RFC 3849
    (v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), Kind::Documentation), // RFC 9637
    (v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16), Kind::Tunnel),       // 6to4: RFC 3056, RFC 7526
    (v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7), Kind::UniqueLocal),   // RFC 4193
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), Kind::LinkLocal),    // RFC 4291 section 2.5.6
    (v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10), Kind::SiteLocal),    // RFC 3879
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), Kind::Multicast),     // RFC 4291 section 2.7
    (v6([0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0], 48), Kind::Reserved), // AS112: RFC 7534
];

/// The one block IANA allocates global unicast from (RFC 4291 section 2.4, IANA's allocation).
const GLOBAL_UNICAST: Ipv6Net = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);
/// The well-known prefix behind which a NAT64 reaches IPv4 (RFC 6052 section 2.1); judged by what it embeds.
const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96);
/// Interface identifiers of ISATAP, which embed IPv4 (RFC 5214 section 6.1; the second with its universal bit).
const ISATAP: [(u16, u16); 2] = [(0, 0x5efe), (0x200, 0x5efe)];

/// Why an address is special; `None` for the public Internet.
pub fn kind(address: IpAddr) -> Option<Kind> {
    match address.to_canonical() {
        IpAddr::V4(address) => IPV4.iter().find(|(net, _)| net.contains(&address)).map(|(_, kind)| *kind),
        IpAddr::V6(address) => kind_v6(address),
    }
}

fn kind_v6(address: Ipv6Addr) -> Option<Kind> {
    if NAT64.contains(&address) {
        return kind(low_v4(address).into());
    }
    let listed = IPV6.iter().find(|(net, _)| net.contains(&address)).map(|(_, kind)| *kind);
    let segments = address.segments();
    let isatap = ISATAP.contains(&(segments[4], segments[5])).then_some(Kind::Tunnel);
    listed.or(isatap).or_else(|| (!GLOBAL_UNICAST.contains(&address)).then_some(Kind::Reserved))
}

/// The address as it is, and the IPv4 address a NAT64 would make of it: rules about either must hold.
pub(crate) fn forms(address: IpAddr) -> impl Iterator<Item = IpAddr> + Clone {
    let address = address.to_canonical();
    let embedded = match address {
        IpAddr::V6(address) if NAT64.contains(&address) => Some(IpAddr::V4(low_v4(address))),
        _ => None,
    };
    std::iter::once(address).chain(embedded)
}

fn low_v4(address: Ipv6Addr) -> Ipv4Addr {
    let [.., a, b, c, d] = address.octets();
    Ipv4Addr::new(a, b, c, d)
}

/// Whether every address of `network` is the machine itself.
pub(crate) fn is_loopback(network: IpNet) -> bool {
    kind(network.network()) == Some(Kind::Loopback) && kind(network.broadcast()) == Some(Kind::Loopback)
}
