//! How a worker asks the server's guard for connections: a Unix `SOCK_SEQPACKET` pair, one message a packet.
//!
//! ```text
//! worker -> server   open    version u8 = 1, kind u8 = 1, id u32, port u16, host 1..=255 bytes of ASCII
//! server -> worker   answer  version u8 = 1, kind u8 = 2, id u32, outcome u8   [+ descriptor where outcome = 0]
//! ```
//! Integers are little-endian. Ids are the worker's own; answers come in any order. The server trusts nothing it
//! reads: one malformed message ends the channel, and with it only this session's way out.

mod message;
mod server;
mod socket;
mod worker;

use std::{io, os::fd::OwnedFd};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

pub use self::{
    message::Outcome,
    server::ServerEnd,
    worker::{OpenError, WorkerEnd},
};

/// Why a channel ended.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The peer does not keep to the format.
    #[error("a malformed message came over the channel")]
    Malformed,
    /// The socket failed.
    #[error("use the channel's socket")]
    Socket(#[from] io::Error),
}

/// Two joined ends, both closed on exec: the one a child is to inherit has to be kept open on the way.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?)
}
