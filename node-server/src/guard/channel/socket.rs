//! One end of the pair on tokio's reactor: whole messages in and out, each call safe to cancel.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use tokio::io::{Interest, unix::AsyncFd};

use super::message::MAX_MESSAGE;
use crate::sys::descriptor::{self, Received};

/// A message as it is read, with one byte more than any valid one has.
pub(super) type Buffer = [u8; MAX_MESSAGE + 1];

#[derive(Debug)]
pub(super) struct Socket(AsyncFd<OwnedFd>);

impl Socket {
    pub(super) fn new(socket: OwnedFd) -> io::Result<Self> {
        let flags = OFlag::from_bits_retain(fcntl(&socket, FcntlArg::F_GETFL)?);
        fcntl(&socket, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        Ok(Self(descriptor::watch(socket)?))
    }

    /// Waits for room, then sends the message whole.
    pub(super) async fn send(&self, bytes: &[u8], rider: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let send = |socket: &OwnedFd| descriptor::send(socket.as_fd(), bytes, rider);
        self.0.async_io(Interest::WRITABLE, send).await
    }

    pub(super) async fn receive(&self, buffer: &mut Buffer) -> io::Result<Received> {
        self.0.async_io(Interest::READABLE, |socket| descriptor::receive(socket.as_fd(), buffer)).await
    }

    pub(super) async fn receive_descriptor(&self, buffer: &mut Buffer) -> io::Result<Received> {
        self.0
            .async_io(Interest::READABLE, |socket| descriptor::receive_descriptor(socket.as_fd(), buffer))
            .await
    }
}

/// A peer that is gone is an end, not a failure.
pub(super) fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}
