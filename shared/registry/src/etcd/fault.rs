//! Failures in etcd's own words, and what they mean here.

use cbrowse_protocol::node::printable;

use super::USER;
use crate::error::Cause;

/// Most of an error's text that is repeated, in characters.
const SHOWN_LENGTH: usize = 200;

// Status codes of gRPC (https://grpc.io/docs/guides/status-codes/).
const INVALID_ARGUMENT: u32 = 3;
const DEADLINE_EXCEEDED: u32 = 4;
const NOT_FOUND: u32 = 5;
const PERMISSION_DENIED: u32 = 7;
const RESOURCE_EXHAUSTED: u32 = 8;
const FAILED_PRECONDITION: u32 = 9;
const OUT_OF_RANGE: u32 = 11;
const UNAVAILABLE: u32 = 14;
const UNAUTHENTICATED: u32 = 16;

/// What etcd says when a question came without a token, and it wants one.
const NO_NAME: &str = "user name is empty";
/// What it says of tokens that were given before users or roles changed.
const OLD_TOKEN: [&str; 2] = ["revision of auth store is old", "revision in header is old"];
const WRONG_PASSWORD: &str = "authentication failed";

/// A failure in etcd's own words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Fault {
    /// A status code of gRPC.
    pub(crate) code: u32,
    pub(crate) message: String,
}

impl Fault {
    /// A watch that is called off comes with words only.
    pub(super) fn of_cancellation(reason: String) -> Self {
        let says = |part: &str| reason.contains(part);
        let code = if says("permission denied") {
            PERMISSION_DENIED
        } else if says("auth token") || says(NO_NAME) {
            UNAUTHENTICATED
        } else {
            UNAVAILABLE
        };
        let message =
            if reason.is_empty() { "the watch was called off without a reason".to_owned() } else { reason };
        Self { code, message }
    }

    /// Another token may help.
    pub(super) fn wants_token(&self) -> bool {
        let says = |part: &str| self.message.contains(part);
        self.code == UNAUTHENTICATED || says(NO_NAME) || OLD_TOKEN.into_iter().any(says)
    }

    /// There is nothing to authenticate for.
    pub(super) fn needs_no_token(&self) -> bool {
        self.code == FAILED_PRECONDITION && self.message.contains("authentication is not enabled")
    }

    /// The lease or key is not there.
    pub(super) fn is_absence(&self) -> bool {
        self.code == NOT_FOUND
    }

    /// The revision asked for is compacted away, or of another cluster's future.
    pub(super) fn is_lost_revision(&self) -> bool {
        self.code == OUT_OF_RANGE
    }

    /// The answer does not fit into one message of gRPC, by which the gateway speaks to etcd itself.
    pub(super) fn is_too_large(&self) -> bool {
        self.code == RESOURCE_EXHAUSTED && self.message.contains("larger than max")
    }

    /// The same in our words; the status is the one that the code stands for.
    pub(crate) fn cause(&self) -> Cause {
        let message = printable(&self.message, SHOWN_LENGTH);
        let is_refusal = self.wants_token() || message.contains(WRONG_PASSWORD);
        let status = match self.code {
            _ if is_refusal => 401,
            PERMISSION_DENIED => 403,
            INVALID_ARGUMENT | OUT_OF_RANGE => 400,
            NOT_FOUND => 404,
            FAILED_PRECONDITION => 412,
            RESOURCE_EXHAUSTED => 429,
            UNAVAILABLE => 503,
            DEADLINE_EXCEEDED => 504,
            _ => 500,
        };
        match status {
            401 | 403 => Cause::Refused { status, message, token: USER },
            _ => Cause::Status { status, message },
        }
    }
}

/// Why a question has no answer: etcd said so, or something else happened.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    Fault(Fault),
    Cause(Cause),
}

impl From<Cause> for Failure {
    fn from(cause: Cause) -> Self {
        Self::Cause(cause)
    }
}

impl From<Failure> for Cause {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Fault(fault) => fault.cause(),
            Failure::Cause(cause) => cause,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(code: u32, message: &str) -> Fault {
        Fault { code, message: message.to_owned() }
    }

    #[test]
    fn what_concerns_the_user_names_the_variable_and_is_no_passing_trouble() {
        for (code, message, status) in [
            (16, "etcdserver: invalid auth token", 401),
            (3, "etcdserver: user name is empty", 401),
            (3, "etcdserver: authentication failed, invalid user ID or password", 401),
            (7, "etcdserver: permission denied", 403),
        ] {
            let cause = fault(code, message).cause();
            assert!(
                matches!(&cause, Cause::Refused { status: found, .. } if *found == status)
                    && !cause.is_transient(),
                "{cause}"
            );
            assert!(cause.to_string().contains("ETCDCTL_USER"), "{cause}");
        }
    }

    #[test]
    fn trouble_passes_and_a_wrong_question_does_not() {
        for (code, transient) in
            [(3, false), (4, true), (5, false), (8, true), (9, false), (13, true), (14, true)]
        {
            assert_eq!(fault(code, "etcdserver: x").cause().is_transient(), transient, "{code}");
        }
        let cancelled = |reason: &str| Fault::of_cancellation(reason.to_owned()).cause();
        assert!(cancelled("etcdserver: no leader").is_transient() && cancelled("").is_transient());
        assert!(matches!(cancelled("etcdserver: permission denied"), Cause::Refused { status: 403, .. }));
        assert!(Fault::of_cancellation("rpc error: etcdserver: invalid auth token".into()).wants_token());
    }

    #[test]
    fn only_a_missing_or_old_token_is_renewed() {
        assert!(fault(16, "etcdserver: invalid auth token").wants_token());
        assert!(fault(2, "auth: revision in header is old").wants_token());
        assert!(!fault(7, "etcdserver: permission denied").wants_token());
        assert!(!fault(3, "etcdserver: authentication failed, invalid user ID or password").wants_token());
        assert!(fault(9, "etcdserver: authentication is not enabled").needs_no_token());
    }

    #[test]
    fn a_message_cannot_drive_the_terminal() {
        let text = fault(13, "\u{1b}[31mred").cause().to_string();
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }
}
