//! Why a page does not get a connection: the node's rules, or the network's answer.

use super::address::Kind;

/// Why a connection was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// Neither a plain name nor a canonical address.
    #[error("the destination is not a plain host name or address")]
    MalformedHost,
    /// A port that a browser has no business with.
    #[error("port {0} is not for web pages")]
    BadPort(u16),
    /// A name that never means a place on the Internet (RFC 6761 and its kin).
    #[error("the name is reserved for local use")]
    ReservedName,
    /// The operator denies this name or address.
    #[error("the operator denies this destination")]
    Denied,
    /// The node itself, a registry or a peer.
    #[error("the destination belongs to the fleet")]
    Protected,
    /// A special address.
    #[error("the address is not on the public Internet ({})", .0.name())]
    Address(Kind),
    /// The session has too much under way.
    #[error("too many connections are being opened")]
    Busy,
    /// The name has no address, or its resolver failed.
    #[error("the name was not found")]
    Unresolved,
    /// The resolver or the destination did not answer in time.
    #[error("no answer in time")]
    Deadline,
    /// The destination answered with a refusal.
    #[error("the destination refused the connection")]
    ConnectionRefused,
    /// There is no road to the destination.
    #[error("the destination is unreachable")]
    Unreachable,
    /// Something failed on the node.
    #[error("the node failed")]
    Failed,
}

impl Refusal {
    /// The node's rules said no (as opposed to the network, or a limit).
    pub fn is_policy(self) -> bool {
        matches!(
            self,
            Self::MalformedHost
                | Self::BadPort(_)
                | Self::ReservedName
                | Self::Denied
                | Self::Protected
                | Self::Address(_)
        )
    }

    /// The name in metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::MalformedHost => "malformed_host",
            Self::BadPort(_) => "bad_port",
            Self::ReservedName => "reserved_name",
            Self::Denied => "denied",
            Self::Protected => "protected",
            Self::Address(kind) => kind.name(),
            Self::Busy => "busy",
            Self::Unresolved => "unresolved",
            Self::Deadline => "deadline",
            Self::ConnectionRefused => "connection_refused",
            Self::Unreachable => "unreachable",
            Self::Failed => "failed",
        }
    }
}

impl From<std::io::Error> for Refusal {
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind;
        match error.kind() {
            ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => Self::ConnectionRefused,
            ErrorKind::TimedOut => Self::Deadline,
            ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::AddrNotAvailable => {
                Self::Unreachable
            }
            _ => Self::Failed,
        }
    }
}
