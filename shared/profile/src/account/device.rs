//! A device of the account: its name, its X25519 key, and the short code in which the public half travels to another device.
//!
//! ```text
//! code:    Crockford's base 32 of 35 bytes, in groups of four: u8 version 1, public key 32, checksum 2
//!          (the first bytes of BLAKE3 in key derivation mode, context "cbrowse account v1 device code", of the 33 before)
//! sealed:  encapsulated X25519 key 32, then ChaCha20-Poly1305 ciphertext (RFC 9180, base mode, HKDF-SHA256)
//! ```
//! A code is no secret. Whoever swaps it for another gets the account, so it travels by the user's own hand.

use std::{fmt, str::FromStr};

use hpke::{
    Deserializable as _, Kem as _, OpModeR, OpModeS, Serializable as _, aead::ChaCha20Poly1305,
    kdf::HkdfSha256, kem::X25519HkdfSha256,
};
use zeroize::Zeroizing;

use crate::{
    grant::Draw,
    secret::{KEY_LENGTH, Randomness, Secret},
};

/// Longest name of a device in bytes.
pub const MAX_NAME_LENGTH: usize = 64;
/// Characters of a code, without the spaces or dashes between groups.
pub const CODE_LENGTH: usize = 56;
const CODE_BYTES: usize = 35;
const CODE_VERSION: u8 = 1;
const CODE_CONTEXT: &str = "cbrowse account v1 device code";
const GROUP_LENGTH: usize = 4;
/// Crockford's: no i, l, o, u.
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const ENCAPSULATED_LENGTH: usize = 32;

type Kem = X25519HkdfSha256;

/// What a device is called: 1 to 64 ASCII letters, digits and `.`, `_`, `-`, the first a letter or digit. Safe as a file name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceName(String);

/// Not a device's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a device's name has 1 to {MAX_NAME_LENGTH} letters, digits and . _ - (the first is a letter or digit)"
)]
pub struct NameError;

impl DeviceName {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The nearest name to what a machine calls itself.
    pub fn of_host(host: &str) -> Self {
        let fits =
            |character: &char| character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-');
        let name: String = host.trim().chars().filter(fits).take(MAX_NAME_LENGTH).collect();
        name.trim_start_matches(['.', '_', '-']).parse().unwrap_or_else(|_| Self("device".into()))
    }
}

impl FromStr for DeviceName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let begins = text.starts_with(|first: char| first.is_ascii_alphanumeric());
        let fits = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        if begins && fits && text.len() <= MAX_NAME_LENGTH { Ok(Self(text.into())) } else { Err(NameError) }
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

/// The public half of a device's key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct DeviceKey(pub(crate) [u8; 32]);

/// Why a code was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    /// Characters are missing or too many.
    #[error("a device code has {CODE_LENGTH} letters and digits; this one has {0}")]
    Length(usize),
    /// A character that no code has.
    #[error("character {position} of the code is none that codes have")]
    Character {
        /// Counted from 1, spaces and dashes left out.
        position: usize,
    },
    /// Mistyped.
    #[error("the code's checksum is wrong: a character was mistyped or left out")]
    Checksum,
    /// A later kind of code.
    #[error("code version {0} is newer than this program; update it")]
    Version(u8),
    /// No key of X25519.
    #[error("the code holds no usable X25519 key")]
    Key,
}

impl DeviceKey {
    /// The raw key.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The short code.
    pub fn to_code(&self) -> String {
        let mut bytes = vec![CODE_VERSION];
        bytes.extend_from_slice(&self.0);
        bytes.extend_from_slice(&checksum(&bytes));
        let digits = to_base32(&bytes);
        let groups: Vec<&str> = (0..digits.len())
            .step_by(GROUP_LENGTH)
            .map(|at| &digits[at..(at + GROUP_LENGTH).min(digits.len())])
            .collect();
        groups.join("-")
    }

    /// Reads a code however its groups are set apart; i and l are taken for 1, o for 0, as a hurried eye does.
    pub fn from_code(code: &str) -> Result<Self, CodeError> {
        let set = |character: &char| !character.is_whitespace() && *character != '-';
        let digits: Vec<char> = code.chars().filter(set).take(CODE_LENGTH + 1).collect();
        if digits.len() != CODE_LENGTH {
            return Err(CodeError::Length(code.chars().filter(set).count()));
        }
        let bytes = from_base32(&digits)?;
        let (signed, sum) = bytes.split_at(CODE_BYTES - 2);
        if sum != checksum(signed) {
            return Err(CodeError::Checksum);
        }
        if signed[0] != CODE_VERSION {
            return Err(CodeError::Version(signed[0]));
        }
        let key = Self(signed[1..].try_into().expect("the length was checked"));
        if key.0 == [0; 32] { Err(CodeError::Key) } else { Ok(key) }
    }
}

impl fmt::Debug for DeviceKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "DeviceKey({})", self.to_code())
    }
}

fn checksum(bytes: &[u8]) -> [u8; 2] {
    let sum = blake3::derive_key(CODE_CONTEXT, bytes);
    [sum[0], sum[1]]
}

fn to_base32(bytes: &[u8]) -> String {
    let (mut text, mut held, mut bits) = (String::new(), 0_u32, 0);
    for byte in bytes {
        held = held << 8 | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(char::from(DIGITS[(held >> bits & 31) as usize]));
        }
    }
    text
}

fn from_base32(digits: &[char]) -> Result<Vec<u8>, CodeError> {
    let (mut bytes, mut held, mut bits) = (Vec::with_capacity(CODE_BYTES), 0_u32, 0);
    for (index, digit) in digits.iter().enumerate() {
        let value = digit_value(*digit).ok_or(CodeError::Character { position: index + 1 })?;
        held = held << 5 | value;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(held >> bits & 0xff).expect("eight bits"));
        }
    }
    Ok(bytes)
}

fn digit_value(digit: char) -> Option<u32> {
    let digit = match digit.to_ascii_lowercase() {
        'i' | 'l' => '1',
        'o' => '0',
        other => other,
    };
    let position = DIGITS.iter().position(|known| char::from(*known) == digit)?;
    u32::try_from(position).ok()
}

/// What was sealed to a device did not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it does not open with this device's key")]
pub struct NotForThisDevice;

/// The private half; lies in the keyring of its device.
pub struct DeviceSecret {
    seed: Secret,
    private: <Kem as hpke::Kem>::PrivateKey,
    public: DeviceKey,
}

impl DeviceSecret {
    /// A new one.
    pub fn generate(random: &mut dyn Randomness) -> Self {
        Self::of(Secret::random(random))
    }

    /// From the keyring.
    pub fn from_bytes(bytes: [u8; KEY_LENGTH]) -> Self {
        Self::of(Secret::from_bytes(bytes))
    }

    fn of(seed: Secret) -> Self {
        let (private, public) = Kem::derive_keypair(seed.expose());
        let public = DeviceKey(public.to_bytes().into());
        Self { seed, private, public }
    }

    /// For the keyring.
    pub fn expose(&self) -> &[u8; KEY_LENGTH] {
        self.seed.expose()
    }

    /// The public half.
    pub fn public(&self) -> DeviceKey {
        self.public
    }

    /// Opens what [`seal_to`] made for this device under the same `info`.
    pub(crate) fn open(&self, info: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, NotForThisDevice> {
        let (encapsulated, ciphertext) =
            sealed.split_at_checked(ENCAPSULATED_LENGTH).ok_or(NotForThisDevice)?;
        let encapsulated =
            <Kem as hpke::Kem>::EncappedKey::from_bytes(encapsulated).map_err(|_| NotForThisDevice)?;
        hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, Kem>(
            &OpModeR::Base,
            &self.private,
            &encapsulated,
            &bound(info, &self.public),
            ciphertext,
            &[],
        )
        .map(Zeroizing::new)
        .map_err(|_| NotForThisDevice)
    }
}

impl fmt::Debug for DeviceSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("DeviceSecret(..)")
    }
}

/// Seals `clear` so that only the device with `key` can read it. Fails where `key` is none of X25519.
pub(crate) fn seal_to(
    key: &DeviceKey,
    info: &str,
    clear: &[u8],
    random: &mut dyn Randomness,
) -> Result<Vec<u8>, CodeError> {
    let recipient = <Kem as hpke::Kem>::PublicKey::from_bytes(&key.0).map_err(|_| CodeError::Key)?;
    let (encapsulated, ciphertext) = hpke::single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, Kem>(
        &OpModeS::Base,
        &recipient,
        &bound(info, key),
        clear,
        &[],
        &mut Draw(random),
    )
    .map_err(|_| CodeError::Key)?;
    Ok([encapsulated.to_bytes().as_slice(), &ciphertext].concat())
}

fn bound(info: &str, key: &DeviceKey) -> Vec<u8> {
    [info.as_bytes(), &[0], &key.0].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::tests::Seeded;

    #[test]
    fn a_code_comes_back_and_is_golden() {
        let secret = DeviceSecret::from_bytes([5; 32]);
        let code = secret.public().to_code();
        assert_eq!(code, "0502-g0na-w9ag-31gy-dpg0-5vwz-7r85-q4mp-rfhw-j34j-wr0e-s6gf-ymk5-ek43");
        assert_eq!(code.replace('-', "").len(), CODE_LENGTH);
        for way in [code.clone(), code.to_uppercase(), code.replace('-', " "), code.replace('0', "o")] {
            assert_eq!(DeviceKey::from_code(&way), Ok(secret.public()), "{way}");
        }
    }

    #[test]
    fn a_mistyped_code_is_refused_whatever_was_mistyped() {
        let code = DeviceSecret::from_bytes([5; 32]).public().to_code().replace('-', "");
        let mut passed = 0;
        for at in 0..code.len() {
            let mut typed: Vec<char> = code.chars().collect();
            typed[at] = if typed[at] == '7' { '8' } else { '7' };
            passed += u32::from(DeviceKey::from_code(&typed.iter().collect::<String>()).is_ok());
        }
        // Sixteen bits of checksum; the code is fixed, so this is no matter of luck.
        assert_eq!(passed, 0);
        assert_eq!(DeviceKey::from_code(&code[1..]), Err(CodeError::Length(55)));
        assert_eq!(DeviceKey::from_code(&format!("{code}0")), Err(CodeError::Length(57)));
        assert_eq!(
            DeviceKey::from_code(&format!("u{}", &code[1..])),
            Err(CodeError::Character { position: 1 })
        );
    }

    #[test]
    fn what_is_sealed_to_a_device_opens_there_and_nowhere_else() {
        let (one, other) = (DeviceSecret::from_bytes([5; 32]), DeviceSecret::from_bytes([6; 32]));
        let sealed = seal_to(&one.public(), "a", b"clear", &mut Seeded::new("seal")).unwrap();
        assert_eq!(**one.open("a", &sealed).unwrap(), *b"clear");
        assert!(one.open("b", &sealed).is_err());
        assert!(other.open("a", &sealed).is_err());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(one.open("a", &changed).is_err(), "flipped at {at}");
            assert!(one.open("a", &sealed[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn names_are_safe_as_file_names_and_hosts_find_one() {
        for name in ["", ".", "..", "-x", "a/b", "a b", "ä", &"x".repeat(65)] {
            assert!(name.parse::<DeviceName>().is_err(), "{name}");
        }
        for (host, name) in [("box\n", "box"), ("a b/c", "abc"), ("", "device"), ("--", "device")] {
            assert_eq!(DeviceName::of_host(host).as_str(), name);
        }
    }
}
