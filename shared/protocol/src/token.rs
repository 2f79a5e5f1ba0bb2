//! Tokens name a person; proofs show that the one who sends a token holds its key (RFC 9449, DPoP).
//!
//! ```text
//! authorization: DPoP TOKEN     EdDSA JWT of an issuer: who (sub), until when (exp), bound to a client key (cnf.jkt)
//! dpop: PROOF                   EdDSA JWT of that client key: this method, this path, this node, this token, now, once
//! ```
//! A node that receives both can use them nowhere else: the proof names the identity that the client saw in the
//! TLS handshake, so what a forged node collects is worth nothing at the true one.

mod credential;
mod proof;
mod replay;

use std::{fmt, str::FromStr};

use aws_lc_rs::{digest, rand};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

pub use self::{
    credential::{Credential, CredentialError},
    proof::{Binding, MAX_PROOF_LENGTH, PROOF_HEADER, PROOF_TOLERANCE, Proof, ProofError, thumbprint},
    replay::{REPLAYS_PER_CLIENT, REPLAYS_TOTAL, ReplayCache, ReplayError},
};
use crate::{
    encoding,
    identity::{IdentityKey, SigningKey},
    node::printable,
};

/// The only audience a node accepts.
pub const AUDIENCE: &str = "cbrowse";
/// Scheme of the `authorization` header (RFC 9449 section 7.1).
pub const SCHEME: &str = "DPoP";
/// Longest token in bytes: it must fit one header line of any server in between.
pub const MAX_TOKEN_LENGTH: usize = 4096;
/// Longest subject in bytes; it appears in logs and metrics.
pub const MAX_SUBJECT_LENGTH: usize = 128;
/// How far the issuer's clock may run ahead of the node's, in seconds. Smaller refuses fresh tokens between machines
/// without NTP; larger only lets a token begin that much early.
pub const NOT_BEFORE_TOLERANCE: u64 = 60;

/// What a token allows. One word each in the `scope` claim (RFC 6749 section 3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Start sessions.
    Create,
    /// Steer one's own sessions.
    Control,
    /// See one's own sessions.
    View,
    /// Drive one's own sessions with DevTools.
    Cdp,
    /// Store and fetch one's own sealed profiles.
    Profile,
    /// Operate the node.
    Admin,
}

/// All scopes, with their words.
const SCOPES: [(Scope, &str); 6] = [
    (Scope::Create, "create"),
    (Scope::Control, "control"),
    (Scope::View, "view"),
    (Scope::Cdp, "cdp"),
    (Scope::Profile, "profile"),
    (Scope::Admin, "admin"),
];

/// A set of scopes; as text, words with a space between.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Scopes(Vec<Scope>);

impl Scopes {
    /// What a user gets unless the operator says otherwise: everything but [`Scope::Admin`].
    pub fn of_a_user() -> Self {
        Self(SCOPES.iter().map(|(scope, _)| *scope).filter(|scope| *scope != Scope::Admin).collect())
    }

    /// Exactly these.
    pub fn new(scopes: impl IntoIterator<Item = Scope>) -> Self {
        Self(scopes.into_iter().collect())
    }

    /// Whether `scope` is among them.
    pub fn allows(&self, scope: Scope) -> bool {
        self.0.contains(&scope)
    }
}

impl From<String> for Scopes {
    /// Words of a newer issuer are skipped: they allow nothing here.
    fn from(text: String) -> Self {
        Self(text.split(' ').filter_map(|word| word.parse().ok()).collect())
    }
}

impl From<Scopes> for String {
    fn from(scopes: Scopes) -> String {
        scopes.to_string()
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        formatter.write_str(&words.join(" "))
    }
}

/// Not one of the scopes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a scope (create, control, view, cdp, profile, admin)")]
pub struct ScopeError(String);

impl FromStr for Scope {
    type Err = ScopeError;
    fn from_str(text: &str) -> Result<Self, ScopeError> {
        let known = SCOPES.iter().find(|(_, word)| *word == text);
        known.map(|(scope, _)| *scope).ok_or_else(|| ScopeError(printable(text, 40)))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, word) = SCOPES.iter().find(|(scope, _)| scope == self).expect("every scope is listed");
        formatter.pad(word)
    }
}

/// What a token says. Times are seconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Who signed it: the issuer's public key, or a name for issuers that have one.
    pub iss: String,
    /// The user.
    pub sub: String,
    /// [`AUDIENCE`].
    pub aud: String,
    /// When it was made.
    pub iat: u64,
    /// From when it holds.
    pub nbf: u64,
    /// Until when it holds.
    pub exp: u64,
    /// Its own name, for revocation and audit.
    pub jti: String,
    /// What it allows.
    pub scope: Scopes,
    /// Whose it is (RFC 7800).
    pub cnf: Confirmation,
}

/// The key a token is bound to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmation {
    /// RFC 7638 thumbprint of the client's key.
    pub jkt: String,
}

/// Why a token opens nothing. None of these carries any part of the token's signature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Longer than any token.
    #[error("a token of {0} bytes is too long; {MAX_TOKEN_LENGTH} are allowed")]
    Length(usize),
    /// Not a JWT with these claims.
    #[error("not a cbrowse token (three base64url parts with dots between are expected)")]
    Format,
    /// `alg: none`, or any other algorithm than the one in use.
    #[error("the token is signed with {0:?}; only EdDSA is accepted")]
    Algorithm(String),
    /// Of an issuer that this node does not know.
    #[error("the token's issuer {0:?} is not one that this node accepts")]
    Foreign(String),
    /// Names a known issuer, whose signature it does not bear.
    #[error("the token's signature is wrong")]
    Signature,
    /// Made for another service.
    #[error("the token is for {0:?}, not for {AUDIENCE}")]
    Audience(String),
    /// No subject, or one that cannot be shown.
    #[error("the token names no usable subject")]
    Subject,
    /// Past its end.
    #[error("the token expired {0} s ago")]
    Expired(u64),
    /// Before its beginning.
    #[error("the token begins in {0} s; check both clocks")]
    NotYet(u64),
}

impl Claims {
    /// Claims of a token for `subject` and the holder of `client`, from `now` for `lifetime` seconds.
    pub fn new(
        issuer: &IdentityKey,
        subject: &str,
        client: &IdentityKey,
        scope: Scopes,
        now: u64,
        lifetime: u64,
    ) -> Self {
        Self {
            iss: issuer.to_string(),
            sub: subject.to_owned(),
            aud: AUDIENCE.to_owned(),
            iat: now,
            nbf: now,
            exp: now.saturating_add(lifetime),
            jti: random_name(),
            scope,
            cnf: Confirmation { jkt: thumbprint(client) },
        }
    }

    /// The token: these claims signed by `issuer`, whose public key goes into the header as `kid`.
    pub fn sign(&self, issuer: &SigningKey) -> String {
        let header = Header { kid: Some(issuer.public().to_string()), ..Header::new(Algorithm::EdDSA) };
        encode(&header, self, issuer)
    }

    /// What `token` says, if one of `issuers` signed it for [`AUDIENCE`] and `now` is within its time.
    pub fn verify(token: &str, issuers: &[IdentityKey], now: u64) -> Result<Self, TokenError> {
        let head = RawHeader::of(token, MAX_TOKEN_LENGTH).map_err(|reason| match reason {
            HeaderError::Length(length) => TokenError::Length(length),
            HeaderError::Format => TokenError::Format,
            HeaderError::Algorithm(name) => TokenError::Algorithm(name),
        })?;
        let kid = head.kid.unwrap_or_default();
        let issuer = issuers.iter().find(|key| key.to_string() == kid);
        let issuer = issuer.ok_or_else(|| TokenError::Foreign(printable(&kid, 64)))?;
        let claims: Self = decode(token, issuer).map_err(|reason| match reason {
            DecodeError::Signature => TokenError::Signature,
            DecodeError::Format => TokenError::Format,
        })?;
        claims.check(now)?;
        Ok(claims)
    }

    /// What `token` claims, unchecked: for showing its owner whom it is for and until when.
    pub fn peek(token: &str) -> Result<Self, TokenError> {
        if token.len() > MAX_TOKEN_LENGTH {
            return Err(TokenError::Length(token.len()));
        }
        jsonwebtoken::dangerous::insecure_decode_claims(token).map_err(|_| TokenError::Format)
    }

    /// Audience, subject and time. Public so that a client can refuse a token before it stores it.
    pub fn check(&self, now: u64) -> Result<(), TokenError> {
        if self.aud != AUDIENCE {
            return Err(TokenError::Audience(printable(&self.aud, 64)));
        }
        if !is_subject(&self.sub) {
            return Err(TokenError::Subject);
        }
        if now >= self.exp {
            return Err(TokenError::Expired(now - self.exp));
        }
        if self.nbf > now.saturating_add(NOT_BEFORE_TOLERANCE) {
            return Err(TokenError::NotYet(self.nbf - now));
        }
        Ok(())
    }
}

/// Whether `text` can name a user: something, not too long, and safe in a log and on a terminal.
pub fn is_subject(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_SUBJECT_LENGTH && !text.chars().any(crate::node::is_unprintable)
}

/// The parts of a JOSE header that decide how to go on. Read before any signature is checked.
#[derive(Deserialize)]
struct RawHeader {
    alg: String,
    typ: Option<String>,
    kid: Option<String>,
    jwk: Option<proof::PublicJwk>,
    crit: Option<serde::de::IgnoredAny>,
}

enum HeaderError {
    Length(usize),
    Format,
    Algorithm(String),
}

impl RawHeader {
    fn of(token: &str, limit: usize) -> Result<Self, HeaderError> {
        if token.len() > limit {
            return Err(HeaderError::Length(token.len()));
        }
        let first = token.split('.').next().unwrap_or_default();
        let json = encoding::from_text(first).ok_or(HeaderError::Format)?;
        let header: Self = serde_json::from_slice(&json).map_err(|_| HeaderError::Format)?;
        if header.alg != "EdDSA" {
            return Err(HeaderError::Algorithm(printable(&header.alg, 20)));
        }
        // RFC 7515 section 4.1.11: an extension that is not understood must be refused.
        if header.crit.is_some() || token.split('.').count() != 3 {
            return Err(HeaderError::Format);
        }
        Ok(header)
    }
}

enum DecodeError {
    Signature,
    Format,
}

fn encode(header: &Header, claims: &impl Serialize, key: &SigningKey) -> String {
    let key = EncodingKey::from_ed_der(&key.to_pkcs8());
    jsonwebtoken::encode(header, claims, &key).expect("a held Ed25519 key signs plain data")
}

/// Checks the signature only; the times and names are checked by the callers, who are told what time it is.
fn decode<T: DeserializeOwned>(token: &str, key: &IdentityKey) -> Result<T, DecodeError> {
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    jsonwebtoken::decode(token, &DecodingKey::from_ed_der(key.as_bytes()), &validation)
        .map(|data| data.claims)
        .map_err(|error| match error.kind() {
            jsonwebtoken::errors::ErrorKind::InvalidSignature => DecodeError::Signature,
            _ => DecodeError::Format,
        })
}

fn sha256(bytes: &[u8]) -> String {
    encoding::to_text(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// 128 random bits: no two tokens or proofs share a name.
fn random_name() -> String {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).expect("the system's random source answers");
    encoding::to_text(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_000_000;

    fn claims(issuer: &SigningKey, client: &SigningKey) -> Claims {
        Claims::new(&issuer.public(), "ada", &client.public(), Scopes::of_a_user(), NOW, 100)
    }

    fn forged(header: &str, token: &str) -> String {
        let rest = token.split_once('.').expect("a token").1;
        format!("{}.{rest}", encoding::to_text(header.as_bytes()))
    }

    #[test]
    fn a_token_holds_within_its_time_for_its_issuer() {
        let (issuer, client) = (SigningKey::generate(), SigningKey::generate());
        let claims = claims(&issuer, &client);
        let token = claims.sign(&issuer);
        let issuers = [SigningKey::generate().public(), issuer.public()];
        for now in [NOW - NOT_BEFORE_TOLERANCE, NOW, NOW + 99] {
            assert_eq!(Claims::verify(&token, &issuers, now), Ok(claims.clone()));
        }
        assert_eq!(Claims::verify(&token, &issuers, NOW + 100), Err(TokenError::Expired(0)));
        assert_eq!(Claims::verify(&token, &issuers, NOW + 160), Err(TokenError::Expired(60)));
        let early = NOW - NOT_BEFORE_TOLERANCE - 1;
        assert_eq!(Claims::verify(&token, &issuers, early), Err(TokenError::NotYet(61)));
        assert_eq!(Claims::peek(&token), Ok(claims));
    }

    #[test]
    fn foreign_and_forged_signatures_are_told_apart() {
        let (issuer, client, other) =
            (SigningKey::generate(), SigningKey::generate(), SigningKey::generate());
        let token = claims(&issuer, &client).sign(&issuer);
        let foreign = Claims::verify(&token, &[other.public()], NOW);
        assert_eq!(foreign, Err(TokenError::Foreign(issuer.public().to_string())));
        let header = format!(r#"{{"alg":"EdDSA","typ":"JWT","kid":"{}"}}"#, other.public());
        let borrowed = Claims::verify(&forged(&header, &token), &[other.public()], NOW);
        assert_eq!(borrowed, Err(TokenError::Signature));
    }

    #[test]
    fn no_other_algorithm_is_accepted() {
        let (issuer, client) = (SigningKey::generate(), SigningKey::generate());
        let token = claims(&issuer, &client).sign(&issuer);
        for alg in ["none", "None", "HS256", "ES256", "RS256", "eddsa"] {
            let header = format!(r#"{{"alg":"{alg}","kid":"{}"}}"#, issuer.public());
            let refused = Claims::verify(&forged(&header, &token), &[issuer.public()], NOW);
            assert_eq!(refused, Err(TokenError::Algorithm(alg.into())));
        }
        let unsigned = forged(r#"{"alg":"none"}"#, token.rsplit_once('.').expect("a token").0);
        assert_eq!(
            Claims::verify(&format!("{unsigned}."), &[issuer.public()], NOW),
            Err(TokenError::Algorithm("none".into()))
        );
        let critical = format!(r#"{{"alg":"EdDSA","kid":"{}","crit":["x"],"x":1}}"#, issuer.public());
        let refused = Claims::verify(&forged(&critical, &token), &[issuer.public()], NOW);
        assert_eq!(refused, Err(TokenError::Format));
    }

    #[test]
    fn the_claims_are_checked() {
        let (issuer, client) = (SigningKey::generate(), SigningKey::generate());
        let spoil = |change: fn(&mut Claims)| {
            let mut claims = claims(&issuer, &client);
            change(&mut claims);
            Claims::verify(&claims.sign(&issuer), &[issuer.public()], NOW)
        };
        assert_eq!(spoil(|c| c.aud = "else".into()), Err(TokenError::Audience("else".into())));
        assert_eq!(spoil(|c| c.sub.clear()), Err(TokenError::Subject));
        assert_eq!(spoil(|c| c.sub = "a\u{1b}[2J".into()), Err(TokenError::Subject));
        assert_eq!(spoil(|c| c.sub = "a".repeat(MAX_SUBJECT_LENGTH + 1)), Err(TokenError::Subject));
        assert!(spoil(|c| c.sub = "a".repeat(MAX_SUBJECT_LENGTH)).is_ok());
        assert_eq!(
            spoil(|c| c.jti = "x".repeat(MAX_TOKEN_LENGTH)).map_err(|e| matches!(e, TokenError::Length(_))),
            Err(true)
        );
    }

    #[test]
    fn cut_or_flipped_tokens_never_pass_and_never_panic() {
        let (issuer, client) = (SigningKey::generate(), SigningKey::generate());
        let token = claims(&issuer, &client).sign(&issuer);
        for at in 0..token.len() {
            assert!(Claims::verify(&token[..at], &[issuer.public()], NOW).is_err(), "cut at {at}");
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).expect("ASCII");
            assert!(Claims::verify(&changed, &[issuer.public()], NOW).is_err(), "changed at {at}");
        }
    }

    #[test]
    fn scopes_of_a_newer_issuer_allow_nothing() {
        let scopes = Scopes::from("create fly view".to_owned());
        assert_eq!(scopes.to_string(), "create view");
        assert!(scopes.allows(Scope::View) && !scopes.allows(Scope::Admin));
        assert!(!Scopes::of_a_user().allows(Scope::Admin));
    }
}
