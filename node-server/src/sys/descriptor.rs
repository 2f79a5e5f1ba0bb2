//! Messages over a Unix `SOCK_SEQPACKET` socket, with at most one descriptor riding along.

use std::{
    io::{self, IoSlice, IoSliceMut},
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use tokio::io::unix::AsyncFd;

/// One message as it was received.
#[derive(Debug)]
pub(crate) struct Received {
    /// Bytes written to the caller's buffer; 0 means that the peer is gone.
    pub(crate) length: usize,
    /// The descriptor that came along, already closed on exec.
    pub(crate) descriptor: Option<OwnedFd>,
    /// Bytes or descriptors did not fit. They are gone (the kernel and this function closed what nobody asked
    /// for), and the message is not to be believed.
    pub(crate) truncated: bool,
}

/// Sends one message whole or not at all; `WouldBlock` when the peer's queue is full.
pub(crate) fn send(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    descriptor: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let raw: Vec<RawFd> = descriptor.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(bytes)], control, flags, None)?;
    Ok(())
}

/// Receives one message that must carry no descriptor: whatever the peer attached is closed by the kernel, and
/// shows as `truncated`.
pub(crate) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Received> {
    let mut slices = [IoSliceMut::new(buffer)];
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut slices, None, receive_flags())?;
    Ok(Received { length: message.bytes, descriptor: None, truncated: is_truncated(message.flags) })
}

/// Receives one message and the descriptor it carries, if any.
pub(crate) fn receive_descriptor(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Received> {
    let mut control = nix::cmsg_space!(RawFd);
    let mut slices = [IoSliceMut::new(buffer)];
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut control), receive_flags())?;
    let mut truncated = is_truncated(message.flags);
    let mut descriptors = Vec::new();
    // With truncated control data nix refuses to iterate, and a descriptor that did arrive would stay open. The
    // peer on this side is our own server, which sends one or none.
    for control in message.cmsgs().into_iter().flatten() {
        if let ControlMessageOwned::ScmRights(raw) = control {
            descriptors.extend(raw.into_iter().map(own));
        }
    }
    // Alignment leaves room for a second one, which closes here.
    truncated |= descriptors.len() > 1;
    Ok(Received { length: message.bytes, descriptor: descriptors.into_iter().next(), truncated })
}

fn receive_flags() -> MsgFlags {
    MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC
}

fn is_truncated(flags: MsgFlags) -> bool {
    flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC)
}

#[expect(unsafe_code, reason = "the kernel hands over numbers; somebody has to say that we own them")]
fn own(raw: RawFd) -> OwnedFd {
    // SAFETY: recvmsg has just installed this descriptor for us, and nothing else knows its number.
    unsafe { OwnedFd::from_raw_fd(raw) }
}

/// Puts a non-blocking socket on tokio's reactor. Must be called within a tokio runtime.
#[expect(unsafe_code, reason = "tokio asks for a promise that an owned descriptor keeps by itself")]
pub(crate) fn watch(socket: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor is owned, so it is open, and its number changes hands only with the `AsyncFd`.
    unsafe { AsyncFd::register(socket) }.map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use nix::{
        fcntl::{FcntlArg, FdFlag, fcntl},
        sys::socket::{AddressFamily, SockFlag, SockType, socketpair},
    };

    use super::*;

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap()
    }

    #[test]
    fn a_descriptor_travels_and_closes_on_exec() {
        let (ours, theirs) = pair();
        send(ours.as_fd(), b"x", Some(ours.as_fd())).unwrap();
        let received = receive_descriptor(theirs.as_fd(), &mut [0; 4]).unwrap();
        assert!(received.length == 1 && !received.truncated);
        let flags = fcntl(received.descriptor.unwrap(), FcntlArg::F_GETFD).unwrap();
        assert_eq!(flags, FdFlag::FD_CLOEXEC.bits());
    }

    #[test]
    fn what_was_not_asked_for_is_closed_and_shows() {
        let (ours, theirs) = pair();
        let (rider, other) = pair();
        send(ours.as_fd(), b"x", Some(rider.as_fd())).unwrap();
        drop(rider);
        assert!(receive(theirs.as_fd(), &mut [0; 4]).unwrap().truncated);
        assert_eq!(receive(other.as_fd(), &mut [0; 4]).unwrap().length, 0, "the rider is closed");
        send(ours.as_fd(), b"12345", None).unwrap();
        assert!(receive(theirs.as_fd(), &mut [0; 4]).unwrap().truncated);
        let two = [ours.as_raw_fd(), other.as_raw_fd()];
        let rights = [ControlMessage::ScmRights(&two)];
        sendmsg::<()>(ours.as_raw_fd(), &[IoSlice::new(b"x")], &rights, MsgFlags::empty(), None).unwrap();
        assert!(receive_descriptor(theirs.as_fd(), &mut [0; 4]).unwrap().truncated);
        drop(ours);
        assert_eq!(receive(theirs.as_fd(), &mut [0; 4]).unwrap().length, 0);
    }
}
