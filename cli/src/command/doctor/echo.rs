//! Echo requests on sockets of this check's own, so that each kind of socket is seen to work or not by itself.
//!
//! ```text
//! type (8 or 128)  code 0  checksum  identifier  sequence  token (8 bytes)
//! ```
//! RFC 792 and RFC 4443. Blocks; call from `spawn_blocking`.

use std::{
    net::{IpAddr, SocketAddr},
    os::fd::{AsRawFd as _, OwnedFd},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::{
        socket::{
            AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, recv, sendto,
            setsockopt, socket, sockopt,
        },
        time::TimeVal,
    },
};

/// Header and token.
const LENGTH: usize = 16;
const TOKEN_AT: usize = 8;
/// Most bytes of a packet that is looked at: an IPv4 header with all its options, and ours.
const MOST: usize = 128;

/// How the kernel lets a process send echo requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `SOCK_DGRAM`: for the groups in `ping_group_range`.
    Datagram,
    /// `SOCK_RAW`: with `CAP_NET_RAW`.
    Raw,
}

/// A socket for one family.
pub(super) struct Echo {
    socket: OwnedFd,
    kind: Kind,
    is_v6: bool,
}

impl Echo {
    /// Opens one, if that is permitted.
    pub(super) fn open(kind: Kind, is_v6: bool) -> Result<Self, Errno> {
        let (family, protocol) = if is_v6 {
            (AddressFamily::Inet6, SockProtocol::IcmpV6)
        } else {
            (AddressFamily::Inet, SockProtocol::Icmp)
        };
        let kind_of_socket = match kind {
            Kind::Datagram => SockType::Datagram,
            Kind::Raw => SockType::Raw,
        };
        let socket = socket(family, kind_of_socket, SockFlag::SOCK_CLOEXEC, protocol)?;
        Ok(Self { socket, kind, is_v6 })
    }

    /// Its round trip to `address`, or why there is none.
    pub(super) fn ask(&self, address: IpAddr, within: Duration) -> Result<Duration, Errno> {
        let token = token();
        let request = request(self.is_v6, token);
        let started = Instant::now();
        let target = SockaddrStorage::from(SocketAddr::new(address, 0));
        sendto(self.socket.as_raw_fd(), &request, &target, MsgFlags::empty())?;
        let mut buffer = [0; MOST];
        loop {
            let left = within.saturating_sub(started.elapsed());
            // A wait of nothing would be one for ever.
            let micros = i64::try_from(left.as_micros()).unwrap_or(i64::MAX).max(1);
            let (seconds, rest) = (micros / 1_000_000, micros % 1_000_000);
            setsockopt(&self.socket, sockopt::ReceiveTimeout, &TimeVal::new(seconds, rest))?;
            let read = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty());
            match read {
                Ok(length) if is_reply(&buffer[..length], self.kind, self.is_v6, token) => {
                    return Ok(started.elapsed());
                }
                // Somebody else's, or our own request coming by on loopback.
                Ok(_) if started.elapsed() < within => {}
                Ok(_) | Err(Errno::EAGAIN) => return Err(Errno::ETIMEDOUT),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Tells our replies from those to other processes.
fn token() -> [u8; 8] {
    use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
    let mut token = [0; 8];
    // A token of zeros still tells ours from most others'.
    let _ = SystemRandom::new().fill(&mut token);
    token
}

fn request(is_v6: bool, token: [u8; 8]) -> [u8; LENGTH] {
    let mut packet = [0; LENGTH];
    packet[0] = if is_v6 { 128 } else { 8 };
    packet[TOKEN_AT..].copy_from_slice(&token);
    // For IPv6, and for datagram sockets, the kernel fills it in.
    let sum = checksum(&packet).to_be_bytes();
    packet[2..4].copy_from_slice(&sum);
    packet
}

/// RFC 1071: the complement of the sum of 16-bit words, carries added back.
fn checksum(packet: &[u8; LENGTH]) -> u16 {
    let words = packet.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

fn is_reply(packet: &[u8], kind: Kind, is_v6: bool, token: [u8; 8]) -> bool {
    // A raw IPv4 socket sees the IP header, too; the low four bits of its first byte count its 32-bit words.
    let head = match (kind, is_v6, packet.first()) {
        (Kind::Raw, false, Some(first)) => usize::from(first & 0xf) * 4,
        _ => 0,
    };
    let Some(packet) = packet.get(head..) else { return false };
    let wanted = if is_v6 { 129 } else { 0 };
    packet.first() == Some(&wanted) && packet.get(TOKEN_AT..LENGTH) == Some(&token[..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_sums_to_nothing_with_its_checksum() {
        let packet = request(false, *b"abcdefgh");
        assert_eq!((packet[0], checksum(&packet)), (8, 0));
        assert_eq!(request(true, [0; 8])[0], 128);
    }

    #[test]
    fn only_the_reply_to_our_own_token_counts() {
        let token = *b"abcdefgh";
        let mut reply = request(false, token);
        assert!(!is_reply(&reply, Kind::Datagram, false, token), "that is the request");
        reply[0] = 0;
        assert!(is_reply(&reply, Kind::Datagram, false, token));
        assert!(!is_reply(&reply, Kind::Datagram, false, *b"abcdefgx"));
        assert!(!is_reply(&reply, Kind::Datagram, true, token));
        let with_header = [&[0x45][..], &[0; 19], &reply].concat();
        assert!(is_reply(&with_header, Kind::Raw, false, token));
        // Cut short at every length: never a reply, never a panic.
        for length in 0..with_header.len() {
            assert!(!is_reply(&with_header[..length], Kind::Raw, false, token));
        }
        assert!(!is_reply(&[0xff; 20], Kind::Raw, false, token));
    }
}
