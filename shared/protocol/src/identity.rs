//! A node's Ed25519 identity, and every other Ed25519 key in the system: fleet, issuer, client, session.

use std::{fmt, str::FromStr};

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

use crate::encoding;

/// Length of an Ed25519 public key in bytes (RFC 8032).
pub const PUBLIC_KEY_LENGTH: usize = 32;
/// Length of an Ed25519 signature in bytes (RFC 8032).
pub const SIGNATURE_LENGTH: usize = 64;
/// How the subjectPublicKeyInfo of every Ed25519 key begins, without its outer tag and length (RFC 8410 section 4).
const SUBJECT_PREFIX: [u8; 10] = [0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// An Ed25519 public key; as text 43 characters of base64url.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IdentityKey([u8; PUBLIC_KEY_LENGTH]);

/// Not a public key in text form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an Ed25519 public key (43 characters of base64url are expected)")]
pub struct KeyFormatError;

impl IdentityKey {
    /// Takes the raw key.
    pub fn from_bytes(bytes: [u8; PUBLIC_KEY_LENGTH]) -> Self {
        Self(bytes)
    }

    /// The key of a certificate, from the content of its subjectPublicKeyInfo; `None` for a key of another kind.
    pub fn from_subject_public_key_info(content: &[u8]) -> Option<Self> {
        content.strip_prefix(&SUBJECT_PREFIX)?.try_into().ok().map(Self)
    }

    /// The raw key.
    pub fn as_bytes(&self) -> &[u8; PUBLIC_KEY_LENGTH] {
        &self.0
    }

    /// Whether `signature` is this key's over `context`, a zero byte and `message`.
    /// The context keeps a signature made for one purpose from serving another.
    pub fn verifies(&self, context: &str, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(&bound(context, message), signature).is_ok()
    }
}

impl FromStr for IdentityKey {
    type Err = KeyFormatError;
    fn from_str(text: &str) -> Result<Self, KeyFormatError> {
        encoding::array_from_text(text).map(Self).ok_or(KeyFormatError)
    }
}

impl TryFrom<String> for IdentityKey {
    type Error = KeyFormatError;
    fn try_from(text: String) -> Result<Self, KeyFormatError> {
        text.parse()
    }
}

impl From<IdentityKey> for String {
    fn from(key: IdentityKey) -> String {
        key.to_string()
    }
}

impl fmt::Display for IdentityKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&encoding::to_text(&self.0))
    }
}

impl fmt::Debug for IdentityKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "IdentityKey({self})")
    }
}

/// The private half. Never copied, printed or serialized; leaves the process only as PKCS #8 for a 0600 file.
pub struct SigningKey {
    pair: Ed25519KeyPair,
}

/// Bytes that are no usable Ed25519 private key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an Ed25519 private key")]
pub struct SigningKeyError;

impl SigningKey {
    /// A new random key.
    pub fn generate() -> Self {
        let pair = Ed25519KeyPair::generate().expect("the system's random source answers");
        Self { pair }
    }

    /// From PKCS #8 DER, as [`SigningKey::to_pkcs8`] writes it.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, SigningKeyError> {
        Ed25519KeyPair::from_pkcs8(der).map(|pair| Self { pair }).map_err(|_| SigningKeyError)
    }

    /// From the 32 secret bytes of RFC 8032.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).expect("32 bytes are a seed");
        Self { pair }
    }

    /// PKCS #8 DER; wiped when dropped.
    pub fn to_pkcs8(&self) -> zeroize::Zeroizing<Vec<u8>> {
        zeroize::Zeroizing::new(self.pair.to_pkcs8().expect("a held key is encodable").as_ref().to_vec())
    }

    /// The public half.
    pub fn public(&self) -> IdentityKey {
        let bytes = self.pair.public_key().as_ref().try_into().expect("Ed25519 public keys have 32 bytes");
        IdentityKey(bytes)
    }

    /// Signs `context`, a zero byte and `message`; see [`IdentityKey::verifies`].
    pub fn sign(&self, context: &str, message: &[u8]) -> [u8; SIGNATURE_LENGTH] {
        let signature = self.pair.sign(&bound(context, message));
        signature.as_ref().try_into().expect("Ed25519 signatures have 64 bytes")
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SigningKey(of {})", self.public())
    }
}

fn bound(context: &str, message: &[u8]) -> Vec<u8> {
    [context.as_bytes(), &[0], message].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_serves_its_purpose_only() {
        let key = SigningKey::generate();
        let signature = key.sign("purpose", b"message");
        assert!(key.public().verifies("purpose", b"message", &signature));
        assert!(!key.public().verifies("other", b"message", &signature));
        assert!(!key.public().verifies("purpose", b"messagf", &signature));
        assert!(!SigningKey::generate().public().verifies("purpose", b"message", &signature));
    }

    #[test]
    fn keys_survive_their_text_and_file_forms() {
        let key = SigningKey::generate();
        assert_eq!(key.public().to_string().parse(), Ok(key.public()));
        let again = SigningKey::from_pkcs8(&key.to_pkcs8()).expect("own PKCS #8");
        assert_eq!(again.public(), key.public());
        assert!("short".parse::<IdentityKey>().is_err());
    }

    /// RFC 8032 section 7.1, test 1: the public key of a known seed.
    #[test]
    fn the_published_vector_holds() {
        let seed = hex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
        let public = hex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        assert_eq!(SigningKey::from_seed(&seed).public().as_bytes(), &public);
    }

    #[test]
    fn a_certificates_key_is_taken_only_when_it_is_ed25519() {
        let content = [&SUBJECT_PREFIX[..], &[7; 32]].concat();
        let key = IdentityKey::from_subject_public_key_info;
        assert_eq!(key(&content), Some(IdentityKey::from_bytes([7; 32])));
        assert_eq!(key(&content[..content.len() - 1]), None);
        assert_eq!(key(&[&content[..], &[7]].concat()), None);
        let mut other = content;
        other[6] = 0x6e;
        assert_eq!(key(&other), None, "X25519");
    }

    fn hex(text: &str) -> [u8; 32] {
        std::array::from_fn(|index| u8::from_str_radix(&text[index * 2..index * 2 + 2], 16).expect("hex"))
    }
}
