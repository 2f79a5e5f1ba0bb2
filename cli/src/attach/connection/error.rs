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

/// What a failed attempt says about the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It does not work: enough of these, and it is left alone for a while.
    Broken,
    /// It works, and asks to be left alone for this long.
    Busy(Duration),
    /// Nothing: who asked was the reason, or nobody was to blame.
    Innocent,
}

/// How long a node is left alone that has no room and does not say for how long.
const BUSY: Duration = Duration::from_secs(5);
/// The one refusal with `Retry-After` that is the node's own fault: it cannot start a browser.
const WORKER_FAILED: &str = "worker_failed";

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

    /// What this says about the node. A refused login says nothing.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Refused { problem, .. } => match problem.status {
                429 => Fault::Busy(problem.wait().unwrap_or(BUSY)),
                503 if problem.code != WORKER_FAILED => Fault::Busy(problem.wait().unwrap_or(BUSY)),
                500..=599 => Fault::Broken,
                _ => Fault::Innocent,
            },
            Self::OtherIdentity { .. } => Fault::Innocent,
            Self::Resolve { .. }
            | Self::Connect { .. }
            | Self::Timeout { .. }
            | Self::Tls { .. }
            | Self::Identity { .. }
            | Self::Http { .. }
            | Self::TooLong { .. }
            | Self::Protocol { .. }
            | Self::Implausible { .. } => Fault::Broken,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_blames_the_node_only_where_it_is_to_blame() {
        let fault = |status, code: &str, wait: Option<u64>| {
            let problem = Problem::new(status, code, "No", "no");
            let problem = match wait {
                Some(seconds) => problem.after(Duration::from_secs(seconds)),
                None => problem,
            };
            ConnectionError::Refused { endpoint: "h:1".into(), problem: Box::new(problem) }.fault()
        };
        assert_eq!(fault(503, "full", Some(7)), Fault::Busy(Duration::from_secs(7)));
        assert_eq!(fault(429, "too_many_requests", None), Fault::Busy(BUSY));
        assert_eq!(fault(503, WORKER_FAILED, Some(5)), Fault::Broken);
        for status in [500, 502, 504, 507, 599] {
            assert_eq!(fault(status, "http", None), Fault::Broken, "{status}");
        }
        for status in [400, 401, 403, 404, 409, 499, 600] {
            assert_eq!(fault(status, "http", Some(1)), Fault::Innocent, "{status}");
        }
        let reset = std::io::ErrorKind::ConnectionReset.into();
        let broken = ConnectionError::Connect { endpoint: "h:1".into(), source: reset };
        assert_eq!(broken.fault(), Fault::Broken);
    }
}
