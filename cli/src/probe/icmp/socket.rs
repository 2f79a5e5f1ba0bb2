//! One ICMP socket of one address family: datagram where `net.ipv4.ping_group_range` allows it, else raw.

use std::{
    hash::{BuildHasher as _, RandomState},
    io::{self, IoSliceMut},
    net::{IpAddr, SocketAddr},
    os::fd::{AsRawFd as _, OwnedFd},
    time::{Duration, SystemTime},
};

use nix::{
    errno::Errno,
    sys::socket::{
        ControlMessageOwned, MsgFlags, RecvMsg, SockaddrStorage, recvmsg, sendto, setsockopt, sockopt,
    },
};
use socket2::{Domain, Protocol, Type};
use tokio::{io::Interest, net::UdpSocket};

use super::packet;

/// Wanted room for packets that wait to be read: five thousand answers at once, each accounted with about a kilobyte.
/// The kernel grants `net.core.rmem_max` at most; what does not fit is dropped, and looks like loss.
const RECEIVE_BUFFER: usize = 4 << 20;
/// Longer packets are cut: an answer, or an error with what it quotes, is shorter.
const LONGEST: usize = 512;
/// Packets read before others get their turn on this thread.
const AT_ONCE: usize = 256;

/// Errors in a row after which the socket counts as broken: each error of a request is told once.
const MOST_FAILURES: usize = 64;

/// What was read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Received {
    pub(super) sequence: u16,
    /// Who speaks, or of whom a router does.
    pub(super) from: IpAddr,
    /// When the kernel took it in, by its own clock.
    pub(super) at: Option<SystemTime>,
    pub(super) is_reply: bool,
}

/// The socket.
#[derive(Debug)]
pub(super) struct Socket {
    /// Nothing of UDP: tokio's name for a datagram socket.
    io: UdpSocket,
    receive_buffer: usize,
    kind: Type,
    is_v6: bool,
    identifier: u16,
}

impl Socket {
    /// Opens one, if this process may.
    pub(super) fn open(is_v6: bool) -> io::Result<Self> {
        let (domain, protocol) =
            if is_v6 { (Domain::IPV6, Protocol::ICMPV6) } else { (Domain::IPV4, Protocol::ICMPV4) };
        let open = |kind| socket2::Socket::new(domain, kind, Some(protocol)).map(|socket| (kind, socket));
        let (kind, socket) = open(Type::DGRAM).or_else(|_| open(Type::RAW))?;
        socket.set_nonblocking(true)?;
        // Each of these makes measuring better; none of them is needed for it.
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
        let _ = setsockopt(&socket, sockopt::ReceiveTimestampns, &true);
        if kind == Type::DGRAM {
            // A raw socket gets a router's errors as packets, this one by its error queue.
            let _ = if is_v6 {
                setsockopt(&socket, sockopt::Ipv6RecvErr, &true)
            } else {
                setsockopt(&socket, sockopt::Ipv4RecvErr, &true)
            };
        }
        // Raw sockets see each other's replies, so chance keeps two probers apart; for others the kernel chooses.
        let identifier = u16::try_from(RandomState::new().hash_one(0u8) & 0xffff).unwrap_or_default();
        let receive_buffer = socket.recv_buffer_size().unwrap_or_default();
        let io = UdpSocket::from_std(OwnedFd::from(socket).into())?;
        Ok(Self { io, receive_buffer, kind, is_v6, identifier })
    }

    /// Bytes that may wait to be read, as the kernel accounts for them.
    pub(super) fn receive_buffer(&self) -> usize {
        self.receive_buffer
    }

    /// Sends one request.
    pub(super) fn send(&self, to: IpAddr, sequence: u16) -> io::Result<()> {
        let request = packet::request(self.is_v6, self.identifier, sequence);
        let to = SockaddrStorage::from(SocketAddr::new(to, 0));
        let send = || sendto(self.io.as_raw_fd(), &request, &to, MsgFlags::MSG_DONTWAIT);
        // The first error may be about an earlier request to somebody else: the kernel hands it to whoever calls next.
        send().or_else(|_| send())?;
        Ok(())
    }

    /// What has come, as soon as something has; it may be nothing that concerns an echo request. Cancel safe.
    pub(super) async fn receive(&self) -> io::Result<Vec<Received>> {
        self.io.ready(Interest::READABLE | Interest::ERROR).await?;
        let mut received = Vec::new();
        // tokio forgets that one kind of readiness has passed, never two at once.
        let kinds = [(Interest::READABLE, MsgFlags::empty()), (Interest::ERROR, MsgFlags::MSG_ERRQUEUE)];
        for (interest, flags) in kinds {
            match self.io.try_io(interest, || self.read_all(flags, &mut received)) {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
        }
        Ok(received)
    }

    /// Reads until there is nothing more, which the error says, or until it is another task's turn.
    fn read_all(&self, flags: MsgFlags, received: &mut Vec<Received>) -> io::Result<()> {
        let mut failures = 0;
        for _ in 0..AT_ONCE {
            match self.read(flags) {
                Ok(one) => received.extend(one),
                // Mostly some request's error, which the error queue tells with its name.
                Err(error) if error != Errno::EAGAIN && failures < MOST_FAILURES => failures += 1,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Reads one packet.
    fn read(&self, flags: MsgFlags) -> Result<Option<Received>, Errno> {
        let mut bytes = [0; LONGEST];
        let mut room =
            nix::cmsg_space!(nix::sys::time::TimeSpec, nix::libc::sock_extended_err, nix::libc::sockaddr_in6);
        let mut slices = [IoSliceMut::new(&mut bytes)];
        let message = recvmsg::<SockaddrStorage>(
            self.io.as_raw_fd(),
            &mut slices,
            Some(&mut room),
            flags | MsgFlags::MSG_DONTWAIT,
        )?;
        let Some(source) = message.address.as_ref().and_then(address) else { return Ok(None) };
        let (at, length) = (stamp(&message), message.bytes.min(LONGEST));
        if flags.contains(MsgFlags::MSG_ERRQUEUE) {
            if !is_the_end(&message, self.is_v6) {
                return Ok(None);
            }
            // What comes back is the request, and its address the one that was asked.
            let sequence = packet::returned(&bytes[..length], self.is_v6);
            return Ok(sequence.map(|sequence| Received { sequence, from: source, at, is_reply: false }));
        }
        let said = packet::decode(&bytes[..length], self.kind, source)
            .filter(|said| self.kind == Type::DGRAM || said.identifier == self.identifier);
        Ok(said.map(|said| Received {
            sequence: said.sequence,
            from: said.from,
            at,
            is_reply: said.is_reply,
        }))
    }
}

fn address(storage: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = storage.as_sockaddr_in().map(|address| address.ip().into());
    v4.or_else(|| storage.as_sockaddr_in6().map(|address| address.ip().into()))
}

fn is_the_end(message: &RecvMsg<'_, '_, SockaddrStorage>, is_v6: bool) -> bool {
    let Ok(mut controls) = message.cmsgs() else { return false };
    controls.any(|control| match control {
        ControlMessageOwned::Ipv4RecvErr(error, _) | ControlMessageOwned::Ipv6RecvErr(error, _) => {
            packet::is_the_end(error.ee_origin, error.ee_type, is_v6)
        }
        _ => false,
    })
}

fn stamp(message: &RecvMsg<'_, '_, SockaddrStorage>) -> Option<SystemTime> {
    let stamp = message.cmsgs().ok()?.find_map(|control| match control {
        ControlMessageOwned::ScmTimestampns(stamp) => Some(stamp),
        _ => None,
    })?;
    Some(SystemTime::UNIX_EPOCH + Duration::from(stamp))
}
