//! Echo requests as bytes, and what the packets that come back say. Decoding is surge-ping's; it does not offer its
//! encoder without its own reception.

use std::net::IpAddr;

use socket2::Type;
use surge_ping::{Icmpv4Packet, Icmpv6Packet};

/// Bytes after the ICMP header; an empty echo is dropped by some firewalls, and 56 are what `ping` sends.
const PAYLOAD: usize = 56;
/// Type, code, checksum, identifier, sequence: eight bytes.
pub(super) const REQUEST: usize = 8 + PAYLOAD;

/// RFC 792 and RFC 4443: echo request.
const ASKS: [u8; 2] = [8, 128];
/// Echo reply.
const REPLIES: [u8; 2] = [0, 129];
/// Destination unreachable, and time exceeded: a router gives up.
const GIVES_UP: [[u8; 2]; 2] = [[3, 11], [1, 3]];

/// Where an error in the kernel's queue comes from, `ip(7)`: this machine's own kernel.
const OF_THIS_MACHINE: u8 = 1;

/// Whether an error from the kernel's queue means that there is no way. A router that knows a better one (redirect) or is
/// busy (source quench) is queued, too, and passes the request on.
pub(super) fn is_the_end(origin: u8, kind: u8, is_v6: bool) -> bool {
    origin == OF_THIS_MACHINE || GIVES_UP[usize::from(is_v6)].contains(&kind)
}

/// What a packet says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) identifier: u16,
    pub(super) sequence: u16,
    /// Who speaks, or whom a router speaks of.
    pub(super) from: IpAddr,
    /// An echo; else a router's word that there is no way.
    pub(super) is_reply: bool,
}

/// An echo request, with its checksum (RFC 1071) over these bytes. The kernel replaces it where it knows more of the packet.
pub(super) fn request(is_v6: bool, identifier: u16, sequence: u16) -> [u8; REQUEST] {
    let mut bytes = [0; REQUEST];
    bytes[0] = ASKS[usize::from(is_v6)];
    bytes[4..6].copy_from_slice(&identifier.to_be_bytes());
    bytes[6..8].copy_from_slice(&sequence.to_be_bytes());
    let words = bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let [_, _, high, low] = (!((folded & 0xffff) + (folded >> 16))).to_be_bytes();
    bytes[2..4].copy_from_slice(&[high, low]);
    bytes
}

/// What `bytes` say, read from a socket of this kind and sent by `source`; `None`: nothing about an echo request.
pub(super) fn decode(bytes: &[u8], kind: Type, source: IpAddr) -> Option<Said> {
    let (family, code, said) = match source {
        IpAddr::V4(source) => {
            let packet = Icmpv4Packet::decode(bytes, kind, source, source).ok()?;
            let (identifier, sequence) = (packet.get_identifier().0, packet.get_sequence().0);
            let from = packet.get_real_dest().into();
            (0, packet.get_icmp_type().0, Said { identifier, sequence, from, is_reply: false })
        }
        IpAddr::V6(source) => {
            let packet = Icmpv6Packet::decode(bytes, source).ok()?;
            let (identifier, sequence) = (packet.get_identifier().0, packet.get_sequence().0);
            let from = packet.get_real_dest().into();
            (1, packet.get_icmpv6_type().0, Said { identifier, sequence, from, is_reply: false })
        }
    };
    let is_reply = code == REPLIES[family];
    // A reply comes from whom it names; surge-ping takes a raw one's own word for that.
    let from = if is_reply { source } else { said.from };
    (is_reply || GIVES_UP[family].contains(&code)).then_some(Said { from, is_reply, ..said })
}

/// The sequence number of a request of ours that the kernel gives back with an error.
pub(super) fn returned(bytes: &[u8], is_v6: bool) -> Option<u16> {
    let &[code, _, _, _, _, _, high, low, ..] = bytes else { return None };
    (code == ASKS[usize::from(is_v6)]).then(|| u16::from_be_bytes([high, low]))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    const NODE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    const ROUTER: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));

    #[test]
    fn a_request_is_what_the_rfc_draws() {
        let bytes = request(false, 0x1234, 7);
        // RFC 1071: 0800 + 1234 + 0007 = 1a3b, complemented.
        assert_eq!(bytes[..8], [8, 0, 0xe5, 0xc4, 0x12, 0x34, 0, 7]);
        assert_eq!(bytes.len(), 64);
        assert_eq!(request(true, 1, 2)[0], 128);
    }

    #[test]
    fn a_checksum_whose_sum_overflows_folds_twice() {
        let bytes = request(false, 0xffff, 0xf7ff);
        let words = bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
        let sum: u32 = words.sum();
        let folded = (sum & 0xffff) + (sum >> 16);
        assert_eq!((folded & 0xffff) + (folded >> 16), 0xffff);
    }

    fn reply(sequence: u16) -> Vec<u8> {
        let mut bytes = request(false, 5, sequence).to_vec();
        bytes[0] = 0;
        bytes
    }

    #[test]
    fn a_reply_names_its_request_and_its_sender() {
        let said = Said { identifier: 5, sequence: 300, from: NODE, is_reply: true };
        assert_eq!(decode(&reply(300), Type::DGRAM, NODE), Some(said));
        let v6: IpAddr = Ipv6Addr::LOCALHOST.into();
        let mut bytes = request(true, 5, 300);
        bytes[0] = 129;
        assert_eq!(decode(&bytes, Type::RAW, v6), Some(Said { from: v6, ..said }));
    }

    #[test]
    fn a_router_speaks_of_the_node_that_was_asked() {
        let mut quoted = vec![0x45, 0, 0, 84, 0, 0, 0, 0, 64, 1, 0, 0, 10, 0, 0, 1, 192, 0, 2, 1];
        quoted.extend_from_slice(&request(false, 5, 9)[..8]);
        let mut bytes = vec![3, 1, 0, 0, 0, 0, 0, 0];
        bytes.extend_from_slice(&quoted);
        let said = decode(&bytes, Type::DGRAM, ROUTER).expect("an error about a request");
        assert_eq!((said.sequence, said.from, said.is_reply), (9, NODE, false));
        // A redirect (5) gives nothing up.
        bytes[0] = 5;
        assert_eq!(decode(&bytes, Type::DGRAM, ROUTER), None);
    }

    #[test]
    fn a_queued_error_ends_a_request_only_where_somebody_gave_up() {
        const OF_ICMP: u8 = 2;
        // RFC 792: unreachable, time exceeded; source quench, redirect, parameter problem.
        for (kind, ends) in [(3, true), (11, true), (4, false), (5, false), (12, false)] {
            assert_eq!(is_the_end(OF_ICMP, kind, false), ends, "{kind}");
        }
        // RFC 4443 and 4861: unreachable, time exceeded; too big, parameter problem, redirect.
        for (kind, ends) in [(1, true), (3, true), (2, false), (4, false), (137, false)] {
            assert_eq!(is_the_end(3, kind, true), ends, "{kind}");
        }
        assert!(is_the_end(OF_THIS_MACHINE, 0, false) && is_the_end(OF_THIS_MACHINE, 0, true));
    }

    #[test]
    fn garbage_of_any_length_says_nothing_and_does_no_harm() {
        for length in 0..200 {
            for first in [0, 3, 8, 11, 0x45, 0x4f, 255] {
                let mut bytes = vec![first; length];
                for kind in [Type::DGRAM, Type::RAW] {
                    let _ = decode(&bytes, kind, NODE);
                    let _ = decode(&bytes, kind, Ipv6Addr::LOCALHOST.into());
                }
                if let Some(byte) = bytes.first_mut() {
                    *byte = 8;
                }
                assert_eq!(decode(&bytes, Type::DGRAM, NODE), None, "a request is no answer");
                assert_eq!(returned(&bytes, false).is_some(), length >= 8);
                assert_eq!(returned(&bytes, true), None);
            }
        }
    }
}
