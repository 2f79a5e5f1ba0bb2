//! What a packet is, as far as its fate depends on it: whose, and of which kind. Pure.
//!
//! IPv4 (RFC 791), IPv6 (RFC 8200), ICMP (RFC 792, RFC 4443) and TCP (RFC 9293) headers are read, nothing is written.

use std::net::Ipv6Addr;

use super::world::{number_v4, number_v6};

const ICMP: u8 = 1;
const TCP: u8 = 6;
const ICMP_V6: u8 = 58;
/// An IPv6 header has no options of its own.
const IPV6_HEADER: usize = 40;

/// Which way a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    /// To the nodes.
    Out,
    /// From them.
    Back,
}

/// What a packet carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An echo request, an echo reply, or an error in their place.
    Icmp,
    /// The first packet of a connection.
    Connect,
    /// Any other packet of a connection, by the port of the near side.
    Segment { port: u16 },
}

/// What the emulator has to know of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    /// Number of the node that it goes to or comes from.
    pub(super) node: usize,
    /// What it carries.
    pub(super) kind: Kind,
}

/// Reads a packet; `None` when it is not between the near side and a node, as multicast of the kernel's own is.
pub(super) fn read(packet: &[u8], way: Way) -> Option<Seen> {
    let (node, protocol, payload) = match packet.first()? >> 4 {
        4 => read_v4(packet, way)?,
        6 => read_v6(packet, way)?,
        _ => return None,
    };
    let kind = match protocol {
        ICMP | ICMP_V6 => Kind::Icmp,
        TCP => read_tcp(payload, way)?,
        _ => return None,
    };
    Some(Seen { node, kind })
}

fn read_v4(packet: &[u8], way: Way) -> Option<(usize, u8, &[u8])> {
    let at = if way == Way::Out { 16 } else { 12 };
    let node = number_v4(packet.get(at..at + 4)?.try_into().ok()?)?;
    let header = usize::from(packet[0] & 0xf) * 4;
    Some((node, packet[9], packet.get(header..)?))
}

fn read_v6(packet: &[u8], way: Way) -> Option<(usize, u8, &[u8])> {
    let at = if way == Way::Out { 24 } else { 8 };
    let address: [u8; 16] = packet.get(at..at + 16)?.try_into().ok()?;
    Some((number_v6(Ipv6Addr::from(address))?, packet[6], packet.get(IPV6_HEADER..)?))
}

fn read_tcp(payload: &[u8], way: Way) -> Option<Kind> {
    let (syn, ack) = (0x02, 0x10);
    let flags = payload.get(13)?;
    let at = if way == Way::Out { 0 } else { 2 };
    let port = u16::from_be_bytes(payload[at..at + 2].try_into().ok()?);
    let is_first = flags & (syn | ack) == syn;
    Some(if is_first { Kind::Connect } else { Kind::Segment { port } })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A packet from 10.127.0.1 to node 1, or back.
    fn v4(protocol: u8, way: Way, payload: &[u8]) -> Vec<u8> {
        let (near, node) = ([10, 127, 0, 1], [10, 128, 0, 2]);
        let (source, target) = if way == Way::Out { (near, node) } else { (node, near) };
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0];
        packet.extend(source.into_iter().chain(target).chain(payload.iter().copied()));
        packet
    }

    fn tcp(source: u16, target: u16, flags: u8) -> Vec<u8> {
        let mut header = vec![0; 20];
        header[..2].copy_from_slice(&source.to_be_bytes());
        header[2..4].copy_from_slice(&target.to_be_bytes());
        header[13] = flags;
        header
    }

    #[test]
    fn echoes_and_connections_are_told_apart_on_both_ways() {
        let seen = |kind| Some(Seen { node: 1, kind });
        assert_eq!(read(&v4(ICMP, Way::Out, &[8, 0]), Way::Out), seen(Kind::Icmp));
        assert_eq!(read(&v4(ICMP, Way::Back, &[0, 0]), Way::Back), seen(Kind::Icmp));
        let out = |flags| read(&v4(TCP, Way::Out, &tcp(40_000, 7443, flags)), Way::Out);
        assert_eq!(out(0x02), seen(Kind::Connect));
        assert_eq!(out(0x10), seen(Kind::Segment { port: 40_000 }));
        let back = read(&v4(TCP, Way::Back, &tcp(7443, 40_000, 0x12)), Way::Back);
        assert_eq!(back, seen(Kind::Segment { port: 40_000 }));
    }

    #[test]
    fn ipv6_is_read_by_its_own_header() {
        let mut packet = vec![0; 60];
        packet[0] = 0x60;
        packet[6] = TCP;
        let node: Ipv6Addr = "fd00:cb::2".parse().expect("an address");
        packet[24..40].copy_from_slice(&node.octets());
        packet[53] = 0x02;
        assert_eq!(read(&packet, Way::Out), Some(Seen { node: 1, kind: Kind::Connect }));
        assert_eq!(read(&packet, Way::Back), None, "it does not come from a node");
    }

    #[test]
    fn whatever_is_cut_short_or_strange_is_nobodys() {
        let whole = v4(TCP, Way::Out, &tcp(1, 2, 2));
        // Everything up to the flags is needed.
        for length in 0..20 + 14 {
            assert_eq!(read(&whole[..length], Way::Out), None, "{length} bytes");
        }
        assert_eq!(read(&v4(17, Way::Out, &[0; 8]), Way::Out), None, "UDP");
        assert_eq!(read(&[0x00; 40], Way::Out), None);
    }
}
