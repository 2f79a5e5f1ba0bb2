//! What goes wrong between this machine and one node, and whether another try may help.

use std::{io, time::Duration};

use cbrowse_protocol::{api::Problem, identity::IdentityKey};

use super::super::verifier::IdentityError;
use crate::{
    failure::{Exit, Failure},
    probe::Failing,
};

/// Why a connection or a request on it came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The name leads nowhere.
    #[error("cannot find the address of {host}: {source}")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// Nobody accepts connections there.
    #[error("cannot connect to {endpoint}: {source}")]
    Connect {
        /// Host and port.
        endpoint: String,
        /// What the system said.
        source: io::Error,
    },
    /// Took too long.
    #[error("{endpoint} did not {stage} within {} ms", after.as_millis())]
    Timeout {
        /// Host and port.
        endpoint: String,
        /// What it was to do, as a bare verb phrase.
        stage: &'static str,
        /// How long was waited.
        after: Duration,
    },
    /// TLS failed for another reason than the identity.
    #[error("cannot agree on TLS with {endpoint}: {source}")]
    Tls {
        /// Host and port.
        endpoint: String,
        /// What TLS said.
        source: io::Error,
    },
    /// No identity stands behind the certificates.
    #[error("{endpoint}: {source}")]
    Identity {
        /// Host and port.
        endpoint: String,
        /// What is wrong with them.
        source: IdentityError,
    },
    /// A trust decision about another identity was brought to this connection.
    #[error("{endpoint} answers as {seen}, and trust was decided for {decided}")]
    OtherIdentity {
        /// Host and port.
        endpoint: String,
        /// Who answers.
        seen: IdentityKey,
        /// Whom the decision was about.
        decided: IdentityKey,
    },
    /// The exchange broke off, or is not HTTP.
    #[error("the exchange with {endpoint} broke off: {source}")]
    Http {
        /// Host and port.
        endpoint: String,
        /// What HTTP said.
        source: hyper::Error,
    },
    /// More bytes than anything of this kind has.
    #[error("{endpoint} sent more than {limit} bytes")]
    TooLong {
        /// Host and port.
        endpoint: String,
        /// The limit in bytes.
        limit: usize,
    },
    /// An answer that does not follow the protocol.
    #[error("{endpoint} answered against the protocol: {reason}")]
    Protocol {
        /// Host and port.
        endpoint: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It says of itself what cannot be.
    #[error("{endpoint} cannot be believed: {claim}")]
    Implausible {
        /// Host and port.
        endpoint: String,
        /// What it says, and why that cannot be.
        claim: String,
    },
    /// The node said no, and why. Its words are cleaned for the terminal.
    #[error("{endpoint} refused: {}", .problem.detail)]
    Refused {
        /// Host and port.
        endpoint: String,
        /// What it said.
        problem: Box<Problem>,
    },
}

/// What [`ConnectionError::Timeout`] names where an answer has begun and does not end.
pub(super) const ANSWER_IN_FULL: &str = "answer in full";

impl ConnectionError {
    /// In which way the node failed.
    pub fn failing(&self) -> Failing {
        match self {
            Self::Resolve { .. } | Self::Connect { .. } | Self::Http { .. } => Failing::Disconnected,
            Self::Timeout { stage, .. } if *stage == ANSWER_IN_FULL => Failing::Slow,
            Self::Timeout { .. } => Failing::Silent,
            Self::Tls { .. } | Self::Identity { .. } | Self::OtherIdentity { .. } => Failing::NoTls,
            Self::TooLong { .. } => Failing::TooLong,
            Self::Protocol { .. } => Failing::Garbage,
            Self::Implausible { .. } => Failing::Implausible,
            Self::Refused { .. } => Failing::Refused,
        }
    }

    /// Whether the same may work in a moment, or on another node. A refusal for who one is stays one everywhere.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Resolve { .. } | Self::Connect { .. } | Self::Timeout { .. } | Self::Http { .. } => true,
            Self::Tls { .. }
            | Self::Identity { .. }
            | Self::OtherIdentity { .. }
            | Self::TooLong { .. }
            | Self::Protocol { .. }
            | Self::Implausible { .. } => false,
            Self::Refused { problem, .. } => matches!(problem.status, 408 | 409 | 429 | 500..=599),
        }
    }

    /// The node's own word, where it gave one.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Refused { problem, .. } => Some(problem),
            _ => None,
        }
    }
}

impl From<ConnectionError> for Failure {
    fn from(error: ConnectionError) -> Self {
        let message = error.to_string();
        match &error {
            ConnectionError::Identity { .. } | ConnectionError::OtherIdentity { .. } => {
                Self::new(Exit::Trust, "identity", message)
                    .hint("cbrowse trust list shows which identities are known")
            }
            ConnectionError::Refused { problem, .. } => of_problem(problem, message),
            ConnectionError::TooLong { .. }
            | ConnectionError::Protocol { .. }
            | ConnectionError::Implausible { .. }
            | ConnectionError::Tls { .. } => Self::new(Exit::NoEligibleNode, "node_protocol", message)
                .hint("check that a cbrowse node of a matching version answers there"),
            _ => Self::new(Exit::NoEligibleNode, "node_unreachable", message).hint("cbrowse nodes probe"),
        }
    }
}

fn of_problem(problem: &Problem, message: String) -> Failure {
    let failure = match problem.status {
        401 => {
            Failure::new(Exit::Authentication, "unauthenticated", message).hint(match problem.code.as_str() {
                "clock_skew" | "token_not_yet_valid" => "set the clocks of both machines (NTP)",
                _ => "ask this node's operator for a token (cbrowse-node token), then: cbrowse login --with-token",
            })
        }
        403 => Failure::new(Exit::Authentication, "forbidden", message)
            .hint("ask the operator for a token with more scopes"),
        _ => Failure::new(Exit::Refused, "refused", message),
    };
    failure.details(serde_json::json!({ "problem": problem }))
}
