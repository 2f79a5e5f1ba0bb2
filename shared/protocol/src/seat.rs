//! A seat: a node's signed word that it keeps a place free for one user for some seconds.
//!
//! ```text
//! client                                             node
//!   | POST /v1/seats (token and proof) ------------->  |
//!   | <------------------------------ 201, Seat as JSON |
//!   | … the profile travels, on the same connection …  |
//!   | GET /ws/new or POST /v1/sessions, header cbrowse-seat: the seat as base64url of its JSON
//! ```
//! The seat ends with the connection that asked for it, with `DELETE /v1/seats/{id}`, at its expiry, or as the session
//! begins. A node that knows no seats ignores the header, and admits or refuses as it always did.

use serde::{Deserialize, Serialize};

use crate::{
    encoding,
    id::NodeId,
    identity::{IdentityKey, SigningKey},
};

/// Context of the signature in [`Seat`].
pub const SEAT_CONTEXT: &str = "cbrowse seat v1";
/// The header that carries a seat, base64url of its JSON.
pub const SEAT_HEADER: &str = "cbrowse-seat";
/// Longest value of that header in bytes: an id, a user's name and a signature stay below half of it.
pub const MAX_SEAT_LENGTH: usize = 2048;

/// The place that is kept, and for whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seat {
    /// 128 random bits as text; names the seat in `DELETE /v1/seats/{id}`.
    pub id: String,
    /// The node that keeps it.
    pub node: NodeId,
    /// The user it is kept for: the subject of the token.
    pub subject: String,
    /// RFC 7638 thumbprint of the client's key; no other key can use the seat.
    pub client: String,
    /// Seconds since the Unix epoch at which it ends, by the node's clock; the node itself counts by another that never
    /// jumps.
    pub expires: u64,
    /// Milliseconds that it lasts from the moment of the answer.
    pub lasts_ms: u32,
    /// The node identity's signature over all of the above.
    #[serde(with = "encoding::bytes")]
    pub signature: Vec<u8>,
}

impl Seat {
    /// The same, with the signature of the node's identity.
    #[must_use]
    pub fn signed(mut self, identity: &SigningKey) -> Self {
        self.signature = identity.sign(SEAT_CONTEXT, &self.message()).to_vec();
        self
    }

    /// Whether `identity` has signed exactly this.
    pub fn is_of(&self, identity: &IdentityKey) -> bool {
        identity.verifies(SEAT_CONTEXT, &self.message(), &self.signature)
    }

    /// As [`SEAT_HEADER`] carries it.
    pub fn to_text(&self) -> String {
        encoding::to_text(&serde_json::to_vec(self).expect("plain data serializes"))
    }

    /// The reverse; `None` for anything else, or more than [`MAX_SEAT_LENGTH`].
    pub fn from_text(text: &str) -> Option<Self> {
        let bytes = (text.len() <= MAX_SEAT_LENGTH).then(|| encoding::from_text(text))??;
        serde_json::from_slice(&bytes).ok()
    }

    /// Texts with their lengths before them, so that none can run into the next; numbers little-endian.
    fn message(&self) -> Vec<u8> {
        let mut message = Vec::new();
        for text in [&self.id, self.node.as_str(), &self.subject, &self.client] {
            message.extend((text.len() as u64).to_le_bytes());
            message.extend(text.as_bytes());
        }
        message.extend(self.expires.to_le_bytes());
        message.extend(self.lasts_ms.to_le_bytes());
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seat(identity: &SigningKey) -> Seat {
        let seat = Seat {
            id: "s1".into(),
            node: "fra-1".parse().expect("id"),
            subject: "ada".into(),
            client: "thumb".into(),
            expires: 1_000,
            lasts_ms: 30_000,
            signature: Vec::new(),
        };
        seat.signed(identity)
    }

    #[test]
    fn a_seat_travels_as_text_and_no_other_identity_signs_it() {
        let identity = SigningKey::generate();
        let seat = seat(&identity);
        assert!(seat.is_of(&identity.public()) && !seat.is_of(&SigningKey::generate().public()));
        assert_eq!(Seat::from_text(&seat.to_text()), Some(seat.clone()));
        for text in ["", "!", "e30", &"A".repeat(MAX_SEAT_LENGTH + 1), &seat.to_text()[1..]] {
            assert_eq!(Seat::from_text(text), None, "{text:.20}");
        }
    }

    #[test]
    fn every_field_is_signed() {
        let identity = SigningKey::generate();
        let good = seat(&identity);
        let changes: [fn(&mut Seat); 7] = [
            |seat| seat.id = "s2".into(),
            |seat| seat.node = "fra-2".parse().expect("id"),
            |seat| seat.subject = "eve".into(),
            |seat| seat.client = "other".into(),
            |seat| seat.expires += 1,
            |seat| seat.lasts_ms += 1,
            // The same letters, split elsewhere.
            |seat| (seat.subject, seat.client) = ("adat".into(), "humb".into()),
        ];
        for (index, change) in changes.into_iter().enumerate() {
            let mut seat = good.clone();
            change(&mut seat);
            assert!(!seat.is_of(&identity.public()), "change {index}");
        }
    }
}
