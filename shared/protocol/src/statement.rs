//! The fleet key's short word about an identity: this key is node `id` in `region`, until then.
//!
//! Text form, at most 512 bytes so that it fits one Consul metadata value:
//! `cbs1.` base64url(JSON of [`Statement`]) `.` base64url(Ed25519 signature over those JSON bytes).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    encoding,
    id::NodeId,
    identity::{IdentityKey, SIGNATURE_LENGTH, SigningKey},
};

/// Longest text form in bytes: one Consul metadata value.
pub const MAX_STATEMENT_LENGTH: usize = 512;
const PREFIX: &str = "cbs1";
const CONTEXT: &str = "cbrowse fleet statement v1";

/// What the fleet key says about one identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// Whom it is about.
    pub identity: IdentityKey,
    /// The only node id this identity may use.
    pub id: NodeId,
    /// The only region it may claim.
    pub region: String,
    /// Seconds since the Unix epoch after which it is worth nothing.
    pub not_after: u64,
}

/// A statement as it travels: text whose signature has not been checked yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SignedStatement {
    payload: Vec<u8>,
    signature: [u8; SIGNATURE_LENGTH],
}

/// Why a statement is worth nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// Not of the text form above.
    #[error("not a fleet statement (cbs1.….…)")]
    Format,
    /// Signed by another key, or changed since.
    #[error("the statement is not signed by the fleet key {0}")]
    Signature(IdentityKey),
    /// Past its date.
    #[error(
        "the statement expired {0} s ago; ask the operator to sign the node again (cbrowse-node fleet sign)"
    )]
    Expired(u64),
}

impl Statement {
    /// Signs with the fleet key.
    pub fn sign(&self, fleet: &SigningKey) -> SignedStatement {
        let payload = serde_json::to_vec(self).expect("plain data serializes");
        let signature = fleet.sign(CONTEXT, &payload);
        SignedStatement { payload, signature }
    }
}

impl SignedStatement {
    /// The statement, if `fleet` signed it and `now` (seconds since the epoch) is not past its end.
    pub fn verify(&self, fleet: &IdentityKey, now: u64) -> Result<Statement, StatementError> {
        if !fleet.verifies(CONTEXT, &self.payload, &self.signature) {
            return Err(StatementError::Signature(*fleet));
        }
        let statement: Statement =
            serde_json::from_slice(&self.payload).map_err(|_| StatementError::Format)?;
        if now > statement.not_after {
            return Err(StatementError::Expired(now - statement.not_after));
        }
        Ok(statement)
    }

    /// What it claims, unchecked: for display, and for choosing what to verify.
    pub fn claimed(&self) -> Option<Statement> {
        serde_json::from_slice(&self.payload).ok()
    }
}

impl FromStr for SignedStatement {
    type Err = StatementError;
    fn from_str(text: &str) -> Result<Self, StatementError> {
        if text.len() > MAX_STATEMENT_LENGTH {
            return Err(StatementError::Format);
        }
        let mut parts = text.split('.');
        let (Some(PREFIX), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(StatementError::Format);
        };
        let payload = encoding::from_text(payload).ok_or(StatementError::Format)?;
        let signature = encoding::array_from_text(signature).ok_or(StatementError::Format)?;
        Ok(Self { payload, signature })
    }
}

impl TryFrom<String> for SignedStatement {
    type Error = StatementError;
    fn try_from(text: String) -> Result<Self, StatementError> {
        text.parse()
    }
}

impl From<SignedStatement> for String {
    fn from(statement: SignedStatement) -> String {
        statement.to_string()
    }
}

impl fmt::Display for SignedStatement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (payload, signature) = (encoding::to_text(&self.payload), encoding::to_text(&self.signature));
        write!(formatter, "{PREFIX}.{payload}.{signature}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(identity: IdentityKey) -> Statement {
        Statement { identity, id: "n1".parse().expect("id"), region: "eu-central".into(), not_after: 1000 }
    }

    #[test]
    fn only_the_fleet_key_and_only_in_time() {
        let fleet = SigningKey::generate();
        let identity = SigningKey::generate().public();
        let signed = statement(identity).sign(&fleet);
        let text = signed.to_string();
        assert!(text.len() <= MAX_STATEMENT_LENGTH, "{}", text.len());
        let signed: SignedStatement = text.parse().expect("own text");
        assert_eq!(signed.verify(&fleet.public(), 1000), Ok(statement(identity)));
        assert_eq!(signed.verify(&fleet.public(), 1001), Err(StatementError::Expired(1)));
        let other = SigningKey::generate().public();
        assert_eq!(signed.verify(&other, 0), Err(StatementError::Signature(other)));
    }

    #[test]
    fn changed_or_cut_text_is_refused() {
        let fleet = SigningKey::generate();
        let text = statement(SigningKey::generate().public()).sign(&fleet).to_string();
        for cut in 0..text.len() {
            let valid =
                text[..cut].parse::<SignedStatement>().is_ok_and(|s| s.verify(&fleet.public(), 0).is_ok());
            assert!(!valid, "cut at {cut}");
        }
        for at in 5..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).expect("ASCII");
            let valid =
                changed.parse::<SignedStatement>().is_ok_and(|s| s.verify(&fleet.public(), 0).is_ok());
            assert!(!valid, "changed at {at}");
        }
    }
}
