//! A proof shows possession of a token's key for one request to one node (RFC 9449 section 4).
//!
//! ```text
//! header  typ dpop+jwt | alg EdDSA | jwk {kty OKP, crv Ed25519, x}
//! claims  jti | htm method | htu path without query | iat seconds | ath SHA-256 of the token | node identity key
//! ```
//! `htu` is the path alone: the same node is reached by many addresses, and `node` names it better than a host name.

use std::time::Duration;

use jsonwebtoken::{
    Algorithm, Header,
    jwk::{
        AlgorithmParameters, CommonParameters, EllipticCurve, Jwk, OctetKeyPairParameters, OctetKeyPairType,
    },
};
use serde::{Deserialize, Serialize};

use super::{DecodeError, HeaderError, RawHeader, decode, encode, random_name, sha256};
use crate::{
    identity::{IdentityKey, SigningKey},
    node::printable,
};

/// The header that carries a proof.
pub const PROOF_HEADER: &str = "dpop";
/// Longest proof in bytes; a path is the only part that varies much.
pub const MAX_PROOF_LENGTH: usize = 4096;
/// How far the client's clock may differ from the node's, either way. Smaller locks out laptops without NTP; larger
/// lengthens the time in which replays must be remembered.
pub const PROOF_TOLERANCE: Duration = Duration::from_secs(60);
const TYPE: &str = "dpop+jwt";

/// What a proof is for; both sides build it from what they see themselves.
#[derive(Debug, Clone, Copy)]
pub struct Binding<'a> {
    /// The request's method, in capitals.
    pub method: &'a str,
    /// The request's path, without query.
    pub path: &'a str,
    /// The identity that answers: on the client the one seen in the TLS handshake, on the node its own.
    pub node: &'a IdentityKey,
    /// The token sent along.
    pub token: &'a str,
}

/// A proof whose signature and claims hold; whether it was used before is the [`super::ReplayCache`]'s to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// Thumbprint of the key that signed it.
    pub thumbprint: String,
    /// Its own name.
    pub id: String,
}

/// Why a proof proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Longer than any proof.
    #[error("a proof of {0} bytes is too long; {MAX_PROOF_LENGTH} are allowed")]
    Length(usize),
    /// Not a JWT with these claims.
    #[error("not a DPoP proof")]
    Format,
    /// Of another type, such as a token sent in its place.
    #[error("the proof's type is not {TYPE}")]
    Type,
    /// `alg: none`, or any other algorithm than the one in use.
    #[error("the proof is signed with {0:?}; only EdDSA is accepted")]
    Algorithm(String),
    /// No Ed25519 public key in its header, or a private one.
    #[error("the proof carries no Ed25519 public key")]
    Key,
    /// The signature is not that key's.
    #[error("the proof's signature is wrong")]
    Signature,
    /// The token belongs to another key.
    #[error("the proof is signed by another key than the token is bound to")]
    ForeignKey,
    /// Made for another method.
    #[error("the proof is for method {0:?}")]
    Method(String),
    /// Made for another path.
    #[error("the proof is for path {0:?}")]
    Path(String),
    /// Made for another node.
    #[error("the proof is for the node with identity {0:?}, not for this one")]
    Node(String),
    /// Made for another token.
    #[error("the proof is for another token")]
    Token,
    /// Too old or too new. Positive: the client's clock is behind.
    #[error(
        "the client's clock is {} seconds {} the node's; at most {} are tolerated: set the clocks",
        .0.unsigned_abs(), if *.0 > 0 { "behind" } else { "ahead of" }, PROOF_TOLERANCE.as_secs()
    )]
    Clock(i64),
}

#[derive(Serialize, Deserialize)]
struct ProofClaims {
    jti: String,
    htm: String,
    htu: String,
    iat: u64,
    ath: String,
    node: String,
}

/// The public Ed25519 key of RFC 8037; anything else in `jwk` is looked at only to refuse it.
#[derive(Deserialize)]
pub(super) struct PublicJwk {
    kty: String,
    crv: Option<String>,
    x: Option<String>,
    d: Option<serde::de::IgnoredAny>,
}

impl PublicJwk {
    fn key(&self) -> Option<IdentityKey> {
        let ed25519 = self.kty == "OKP" && self.crv.as_deref() == Some("Ed25519") && self.d.is_none();
        self.x.as_deref().filter(|_| ed25519)?.parse().ok()
    }
}

/// RFC 7638 thumbprint of an Ed25519 key (members of RFC 8037 section 2), base64url.
pub fn thumbprint(key: &IdentityKey) -> String {
    sha256(format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{key}"}}"#).as_bytes())
}

impl Proof {
    /// A fresh proof by `client`, made at `now` (seconds since the epoch).
    pub fn create(client: &SigningKey, binding: &Binding<'_>, now: u64) -> String {
        let claims = ProofClaims {
            jti: random_name(),
            htm: binding.method.to_owned(),
            htu: binding.path.to_owned(),
            iat: now,
            ath: sha256(binding.token.as_bytes()),
            node: binding.node.to_string(),
        };
        encode(&header(&client.public()), &claims, client)
    }

    /// Checks everything but reuse. `thumbprint` is the one the token is bound to, `now` seconds since the epoch.
    pub fn verify(
        proof: &str,
        binding: &Binding<'_>,
        thumbprint: &str,
        now: u64,
    ) -> Result<Self, ProofError> {
        let key = signer(proof)?;
        let claims: ProofClaims = decode(proof, &key).map_err(|reason| match reason {
            DecodeError::Signature => ProofError::Signature,
            DecodeError::Format => ProofError::Format,
        })?;
        let held = self::thumbprint(&key);
        if held != thumbprint {
            return Err(ProofError::ForeignKey);
        }
        claims.check(binding, now)?;
        Ok(Self { thumbprint: held, id: claims.jti })
    }
}

fn header(client: &IdentityKey) -> Header {
    let parameters = OctetKeyPairParameters {
        key_type: OctetKeyPairType::OctetKeyPair,
        curve: EllipticCurve::Ed25519,
        x: client.to_string(),
    };
    let jwk =
        Jwk { common: CommonParameters::default(), algorithm: AlgorithmParameters::OctetKeyPair(parameters) };
    Header { typ: Some(TYPE.into()), jwk: Some(jwk), ..Header::new(Algorithm::EdDSA) }
}

fn signer(proof: &str) -> Result<IdentityKey, ProofError> {
    let head = RawHeader::of(proof, MAX_PROOF_LENGTH).map_err(|reason| match reason {
        HeaderError::Length(length) => ProofError::Length(length),
        HeaderError::Format => ProofError::Format,
        HeaderError::Algorithm(name) => ProofError::Algorithm(name),
    })?;
    if head.typ.as_deref() != Some(TYPE) {
        return Err(ProofError::Type);
    }
    head.jwk.as_ref().and_then(PublicJwk::key).ok_or(ProofError::Key)
}

impl ProofClaims {
    fn check(&self, binding: &Binding<'_>, now: u64) -> Result<(), ProofError> {
        if self.node != binding.node.to_string() {
            return Err(ProofError::Node(printable(&self.node, 64)));
        }
        if self.htm != binding.method {
            return Err(ProofError::Method(printable(&self.htm, 20)));
        }
        if self.htu != binding.path {
            return Err(ProofError::Path(printable(&self.htu, 200)));
        }
        if self.ath != sha256(binding.token.as_bytes()) {
            return Err(ProofError::Token);
        }
        if now.abs_diff(self.iat) > PROOF_TOLERANCE.as_secs() {
            let apart = i64::try_from(now.abs_diff(self.iat)).unwrap_or(i64::MAX);
            return Err(ProofError::Clock(if now > self.iat { apart } else { -apart }));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding;

    const NOW: u64 = 1_000_000;
    const TOKEN: &str = "a.b.c";

    fn binding(node: &IdentityKey) -> Binding<'_> {
        Binding { method: "GET", path: "/ws/new", node, token: TOKEN }
    }

    /// RFC 8037 appendix A.3.
    #[test]
    fn the_published_thumbprint_holds() {
        let key = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo".parse().expect("key");
        assert_eq!(thumbprint(&key), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn a_proof_is_worth_something_for_its_request_only() {
        let (client, node) = (SigningKey::generate(), SigningKey::generate().public());
        let held = thumbprint(&client.public());
        let proof = Proof::create(&client, &binding(&node), NOW);
        let verify = |binding: &Binding<'_>| Proof::verify(&proof, binding, &held, NOW);
        assert_eq!(verify(&binding(&node)).expect("own proof").thumbprint, held);

        let other = SigningKey::generate().public();
        assert_eq!(verify(&binding(&other)), Err(ProofError::Node(node.to_string())));
        let method = Binding { method: "POST", ..binding(&node) };
        assert_eq!(verify(&method), Err(ProofError::Method("GET".into())));
        let path = Binding { path: "/ws/other", ..binding(&node) };
        assert_eq!(verify(&path), Err(ProofError::Path("/ws/new".into())));
        assert_eq!(verify(&Binding { token: "a.b.d", ..binding(&node) }), Err(ProofError::Token));
        let foreign = Proof::verify(&proof, &binding(&node), &thumbprint(&other), NOW);
        assert_eq!(foreign, Err(ProofError::ForeignKey));
    }

    #[test]
    fn clocks_may_differ_by_the_tolerance() {
        let (client, node) = (SigningKey::generate(), SigningKey::generate().public());
        let held = thumbprint(&client.public());
        let proof = Proof::create(&client, &binding(&node), NOW);
        let at = |now| Proof::verify(&proof, &binding(&node), &held, now).map(|_| ());
        let tolerance = PROOF_TOLERANCE.as_secs();
        assert_eq!(at(NOW + tolerance), Ok(()));
        assert_eq!(at(NOW - tolerance), Ok(()));
        assert_eq!(at(NOW + tolerance + 1), Err(ProofError::Clock(61)));
        assert_eq!(at(NOW - tolerance - 1), Err(ProofError::Clock(-61)));
        assert!(ProofError::Clock(61).to_string().contains("61 seconds behind the node's"));
        assert!(ProofError::Clock(-61).to_string().contains("61 seconds ahead of the node's"));
    }

    #[test]
    fn forged_headers_are_refused() {
        let (client, node) = (SigningKey::generate(), SigningKey::generate().public());
        let held = thumbprint(&client.public());
        let proof = Proof::create(&client, &binding(&node), NOW);
        let with = |header: String| {
            let rest = proof.split_once('.').expect("a proof").1;
            let forged = format!("{}.{rest}", encoding::to_text(header.as_bytes()));
            Proof::verify(&forged, &binding(&node), &held, NOW).expect_err("forged")
        };
        let x = client.public();
        let jwk = format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}"}}"#);
        assert_eq!(
            with(format!(r#"{{"typ":"{TYPE}","alg":"none","jwk":{jwk}}}"#)),
            ProofError::Algorithm("none".into())
        );
        assert_eq!(with(format!(r#"{{"typ":"JWT","alg":"EdDSA","jwk":{jwk}}}"#)), ProofError::Type);
        assert_eq!(with(format!(r#"{{"typ":"{TYPE}","alg":"EdDSA"}}"#)), ProofError::Key);
        let private = format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}","d":"AAAA"}}"#);
        assert_eq!(with(format!(r#"{{"typ":"{TYPE}","alg":"EdDSA","jwk":{private}}}"#)), ProofError::Key);
        let other = format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{}"}}"#, SigningKey::generate().public());
        assert_eq!(with(format!(r#"{{"typ":"{TYPE}","alg":"EdDSA","jwk":{other}}}"#)), ProofError::Signature);
    }

    #[test]
    fn cut_or_flipped_proofs_never_pass_and_never_panic() {
        let (client, node) = (SigningKey::generate(), SigningKey::generate().public());
        let held = thumbprint(&client.public());
        let proof = Proof::create(&client, &binding(&node), NOW);
        for at in 0..proof.len() {
            assert!(Proof::verify(&proof[..at], &binding(&node), &held, NOW).is_err(), "cut at {at}");
            let mut bytes = proof.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).expect("ASCII");
            assert!(Proof::verify(&changed, &binding(&node), &held, NOW).is_err(), "changed at {at}");
        }
        let long = "A".repeat(MAX_PROOF_LENGTH + 1);
        assert_eq!(
            Proof::verify(&long, &binding(&node), &held, NOW),
            Err(ProofError::Length(MAX_PROOF_LENGTH + 1))
        );
    }
}
