//! base64url without padding (RFC 4648 section 5), the one text form of keys, signatures and sealed bytes.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

/// Bytes as base64url.
pub fn to_text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// base64url back to bytes; `None` for anything that `to_text` would not have written.
pub fn from_text(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// Like [`from_text`], for a known length.
pub fn array_from_text<const N: usize>(text: &str) -> Option<[u8; N]> {
    from_text(text)?.try_into().ok()
}

/// Serde adapter for byte vectors: `#[serde(with = "encoding::bytes")]`.
pub mod bytes {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes base64url.
    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::to_text(bytes))
    }

    /// Reads base64url.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        super::from_text(&text).ok_or_else(|| D::Error::custom("not base64url"))
    }
}
