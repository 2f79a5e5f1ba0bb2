//! How Chromium encrypts a cookie or a password on Linux: AES-128-CBC with an IV of 16 spaces, under a key from PBKDF2 (SHA-1,
//! salt `saltysalt`, one pass), after three letters that tell which password. Everything is encrypted again as `v10`, which a
//! Chromium without a keyring reads: what guards it from then on is the profile's seal.

use aws_lc_rs::{
    cipher::{
        AES_128, DecryptionContext, EncryptionContext, PaddedBlockDecryptingKey, PaddedBlockEncryptingKey,
        UnboundCipherKey,
    },
    digest,
    iv::FixedLength,
    pbkdf2,
};
use serde::Serialize;
use zeroize::Zeroizing;

const SALT: &[u8] = b"saltysalt";
const PASSES: std::num::NonZeroU32 = std::num::NonZeroU32::MIN;
const IV: [u8; 16] = [b' '; 16];
const KEY_LENGTH: usize = 16;
/// The password behind what is written.
const WRITTEN_PASSWORD: &[u8] = b"peanuts";
/// Letters before a value.
const PREFIX_LENGTH: usize = 3;
/// Length of the hash of its host that a cookie's value starts with, from [`HASHED_FROM_VERSION`] on.
const HASH_LENGTH: usize = 32;
/// The version of the cookies' database from which every value starts with SHA-256 of its host.
pub const HASHED_FROM_VERSION: i64 = 24;

/// Why a value cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Undecryptable {
    /// Its key is in the keyring, which gave none.
    NoKey,
    /// None of the keys at hand opens it.
    WrongKey,
    /// Bound to the browser's own program (`v20`).
    AppBound,
    /// Its key is with the desktop portal (`v12`).
    Portal,
    /// Something else.
    Unknown,
}

impl Undecryptable {
    /// For a person.
    pub fn words(self) -> &'static str {
        match self {
            Self::NoKey => "the key is in the desktop's keyring, which did not give it",
            Self::WrongKey => "no key of this browser opens what is encrypted there",
            Self::AppBound => {
                "bound to that browser's own program (app-bound encryption), so no other program can read it"
            }
            Self::Portal => {
                "the key is with the desktop's secret portal, which gives it to that browser alone"
            }
            Self::Unknown => "encrypted in a way that is not known",
        }
    }
}

/// What a value must be, beyond being padded well: a wrong key passes that once in 256 times.
#[derive(Debug, Clone, Copy)]
pub enum Expected<'a> {
    /// Starts with the hash of this host, and is kept with it.
    HashOf(&'a str),
    /// UTF-8.
    Text,
    /// Anything.
    Bytes,
}

impl Expected<'_> {
    fn fits(self, clear: &[u8]) -> bool {
        match self {
            Self::HashOf(host) => {
                clear.get(..HASH_LENGTH) == Some(digest::digest(&digest::SHA256, host.as_bytes()).as_ref())
            }
            Self::Text => std::str::from_utf8(clear).is_ok(),
            Self::Bytes => true,
        }
    }
}

struct Key(Zeroizing<[u8; KEY_LENGTH]>);

impl Key {
    fn of(password: &[u8]) -> Self {
        let mut key = Zeroizing::new([0; KEY_LENGTH]);
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA1, PASSES, SALT, password, key.as_mut());
        Self(key)
    }

    fn unbound(&self) -> UnboundCipherKey {
        UnboundCipherKey::new(&AES_128, self.0.as_ref()).expect("the key has the cipher's length")
    }

    fn open(&self, value: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let key = PaddedBlockDecryptingKey::cbc_pkcs7(self.unbound()).ok()?;
        let mut bytes = Zeroizing::new(value.to_vec());
        let length = key.decrypt(&mut bytes, DecryptionContext::Iv128(FixedLength::from(IV))).ok()?.len();
        bytes.truncate(length);
        Some(bytes)
    }
}

/// The keys at hand.
pub struct Keys {
    fixed: Vec<Key>,
    keyring: Vec<Key>,
    written: Key,
}

impl Keys {
    /// From the passwords that are no secret, and those of the keyring.
    pub fn new(fixed: &[&[u8]], keyring: &[Zeroizing<Vec<u8>>]) -> Self {
        Self {
            fixed: fixed.iter().map(|password| Key::of(password)).collect(),
            keyring: keyring.iter().map(|password| Key::of(password)).collect(),
            written: Key::of(WRITTEN_PASSWORD),
        }
    }

    /// The clear value.
    pub fn open(&self, value: &[u8], expected: Expected<'_>) -> Result<Zeroizing<Vec<u8>>, Undecryptable> {
        let (prefix, sealed) = value.split_at_checked(PREFIX_LENGTH).ok_or(Undecryptable::Unknown)?;
        let opens =
            |keys: &[Key]| keys.iter().find_map(|key| key.open(sealed).filter(|clear| expected.fits(clear)));
        let missing = if self.keyring.is_empty() { Undecryptable::NoKey } else { Undecryptable::WrongKey };
        match prefix {
            b"v10" => opens(&self.fixed).ok_or(Undecryptable::WrongKey),
            // Some versions encrypted under an empty password when the keyring failed them (crbug.com/1195256).
            b"v11" => opens(&self.keyring).or_else(|| opens(&self.fixed)).ok_or(missing),
            b"v12" => Err(Undecryptable::Portal),
            b"v20" => Err(Undecryptable::AppBound),
            _ => Err(Undecryptable::Unknown),
        }
    }

    /// The value as any Chromium without a keyring reads it.
    pub fn seal(&self, clear: &[u8]) -> Vec<u8> {
        let key = PaddedBlockEncryptingKey::cbc_pkcs7(self.written.unbound()).expect("CBC is there for AES");
        // Room for the padding, so that nothing clear is left behind where the vector was.
        let mut bytes = Vec::with_capacity(clear.len() + KEY_LENGTH);
        bytes.extend_from_slice(clear);
        key.less_safe_encrypt(&mut bytes, EncryptionContext::Iv128(FixedLength::from(IV)))
            .expect("the IV has the cipher's length");
        [b"v10", bytes.as_slice()].concat()
    }
}

/// Whether its key is in the keyring.
pub fn is_of_keyring(value: &[u8]) -> bool {
    value.starts_with(b"v11")
}

/// Whether it has one of the marks of an encrypted value; older ones without are clear.
pub fn is_encrypted(value: &[u8]) -> bool {
    matches!(value, [b'v', b'1' | b'2', digit, ..] if digit.is_ascii_digit())
}

/// A value as a browser with this password writes it.
#[cfg(test)]
pub(super) fn tests_seal(prefix: &[u8], password: &[u8], clear: &[u8]) -> Vec<u8> {
    let keys = Keys { written: Key::of(password), ..Keys::new(&[], &[]) };
    [prefix, &keys.seal(clear)[PREFIX_LENGTH..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    /// Made with OpenSSL: `openssl kdf -keylen 16 -kdfopt digest:SHA1 -kdfopt pass:peanuts -kdfopt salt:saltysalt -kdfopt
    /// iter:1 PBKDF2`, then `openssl enc -aes-128-cbc -K … -iv 20…20`.
    #[test]
    fn another_implementation_agrees() {
        let key = Key::of(b"peanuts");
        assert_eq!(key.0.as_ref(), hex("fd621fe5a2b402539dfa147ca9272778").as_slice());
        let keys = Keys::new(&[b"peanuts"], &[]);
        assert_eq!(keys.seal(b"hello"), [b"v10".as_slice(), &hex(SEALED_HELLO)].concat());
    }

    const SEALED_HELLO: &str = "ce9b849d984a1cedb8ba4eea782c2680";

    #[test]
    fn each_kind_of_value_is_opened_with_its_own_keys_and_written_as_v10() {
        let of = |password: &[u8], prefix: &[u8], clear: &[u8]| tests_seal(prefix, password, clear);
        let secret = Zeroizing::new(b"of the keyring".to_vec());
        let keys = Keys::new(&[b"peanuts", b""], &[secret]);
        let opened = |value: &[u8]| keys.open(value, Expected::Text).map(|clear| clear.to_vec());
        for (password, prefix) in
            [(&b"peanuts"[..], b"v10"), (b"", b"v10"), (b"of the keyring", b"v11"), (b"", b"v11")]
        {
            assert_eq!(opened(&of(password, prefix, b"clear")).unwrap(), b"clear", "{prefix:?}");
        }
        let clear = keys.open(&keys.seal(b"again"), Expected::Text).unwrap();
        assert_eq!(clear.as_slice(), b"again");
        let none = Keys::new(&[b"peanuts", b""], &[]);
        assert_eq!(
            none.open(&of(b"of the keyring", b"v11", b"x"), Expected::Text),
            Err(Undecryptable::NoKey)
        );
        assert_eq!(opened(b"v20abc"), Err(Undecryptable::AppBound));
        assert_eq!(opened(b"v12abc"), Err(Undecryptable::Portal));
        assert_eq!(opened(b"v9"), Err(Undecryptable::Unknown));
        assert_eq!(opened(b"v10"), Err(Undecryptable::WrongKey));
    }

    #[test]
    fn a_hash_tells_a_wrong_key_that_happens_to_pad_well() {
        let keys = Keys::new(&[b"peanuts"], &[]);
        let host = digest::digest(&digest::SHA256, b".example.org");
        let whole = [host.as_ref(), b"value"].concat();
        let value = keys.seal(&whole);
        assert_eq!(keys.open(&value, Expected::HashOf(".example.org")).unwrap().as_slice(), whole);
        assert_eq!(keys.open(&value, Expected::HashOf("example.org")), Err(Undecryptable::WrongKey));
        assert_eq!(keys.open(&keys.seal(b"short"), Expected::HashOf("x")), Err(Undecryptable::WrongKey));
        assert_eq!(keys.open(&keys.seal(&[0xff]), Expected::Text), Err(Undecryptable::WrongKey));
    }

    #[test]
    fn damaged_values_never_panic() {
        let keys = Keys::new(&[b"peanuts", b""], &[]);
        let value = keys.seal(b"a value that fills more than one block");
        for at in 0..value.len() {
            let _ = keys.open(&value[..at], Expected::Bytes);
            let mut changed = value.clone();
            changed[at] ^= 0x41;
            let _ = keys.open(&changed, Expected::Bytes);
        }
    }
}
