//! How bytes are sealed: XChaCha20-Poly1305 with a random nonce, bound to what the object is and whose it is.
//!
//! ```text
//!  0  4  "cbp1"
//!  4  1  version, 1
//!  5  1  suite, 1 = XChaCha20-Poly1305 (2 is kept for AES-256-GCM)
//!  6  1  kind, see Kind
//!  7  1  0
//!  8 16  object: random, so that no two seals share their associated data
//! 24 24  nonce, random
//! 48  n  ciphertext
//!    16  tag
//! ```
//! Associated data: bytes 0 to 24, then the profile's id as text. Format version 1; frozen once released.

use cbrowse_protocol::id::ProfileId;
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, aead::AeadInOut as _};

use crate::secret::{Randomness, Secret, random_array};

/// The format's version.
pub const VERSION: u8 = 1;
/// XChaCha20-Poly1305, the one suite that version 1 writes.
pub const SUITE_XCHACHA20_POLY1305: u8 = 1;
/// Bytes before the ciphertext.
pub const HEADER_LENGTH: usize = 48;
/// Bytes after it.
pub const TAG_LENGTH: usize = 16;
const MAGIC: [u8; 4] = *b"cbp1";
const PREFIX_LENGTH: usize = 24;
const NONCE_LENGTH: usize = 24;

/// What a sealed object is. It is part of the associated data, so nothing can be passed off as something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Chunks of files.
    Pack = 1,
    /// Chunks of a manifest.
    ManifestPack = 2,
    /// A head's body.
    Head = 3,
    /// A head's key, inside the head object.
    HeadKey = 4,
    /// An account key under a passphrase.
    PassphraseSlot = 5,
    /// What opens the one generation in a sealed file.
    BundleAccess = 16,
    /// A profile's name, inside a pointer.
    Label = 17,
    /// An account key under the one that came after it, in the membership log.
    EarlierKey = 32,
    /// The account key that a rotation puts in the place of the one it is sealed under.
    NextKey = 33,
}

/// Why sealed bytes do not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Not sealed bytes at all, or cut short.
    #[error("these are not sealed bytes of this format")]
    Format,
    /// A later version of the format.
    #[error("format version {0} is newer than this program; update it")]
    Version(u8),
    /// A suite that this version lacks.
    #[error("cipher suite {0} is not known to this program; update it")]
    Suite(u8),
    /// Another kind of object stands where this one is expected.
    #[error("an object of kind {0} stands where another is expected")]
    Kind(u8),
    /// Made with another key or for another profile, or changed since.
    #[error("the seal does not open with this key for this profile")]
    Opening,
}

/// Room for the header, to be filled by [`seal`].
pub(crate) fn with_room(capacity: usize) -> Vec<u8> {
    make_room(Vec::new(), capacity)
}

/// The same in a buffer that was used before, and never grows while no more than `capacity` bytes come.
pub(crate) fn make_room(mut buffer: Vec<u8>, capacity: usize) -> Vec<u8> {
    buffer.clear();
    buffer.reserve_exact(HEADER_LENGTH + capacity + TAG_LENGTH);
    buffer.resize(HEADER_LENGTH, 0);
    buffer
}

/// What is random in one seal; drawn once and used once.
pub(crate) struct Fresh {
    object: [u8; PREFIX_LENGTH - 8],
    nonce: [u8; NONCE_LENGTH],
}

impl Fresh {
    pub(crate) fn draw(random: &mut dyn Randomness) -> Self {
        Self { object: random_array(random), nonce: random_array(random) }
    }
}

/// Seals `buffer[HEADER_LENGTH..]` in place; `buffer` was made by [`with_room`].
pub(crate) fn seal(
    buffer: Vec<u8>,
    kind: Kind,
    profile: &ProfileId,
    key: &Secret,
    random: &mut dyn Randomness,
) -> Vec<u8> {
    seal_with(buffer, kind, profile, key, &Fresh::draw(random))
}

/// The same with what was drawn before.
pub(crate) fn seal_with(
    mut buffer: Vec<u8>,
    kind: Kind,
    profile: &ProfileId,
    key: &Secret,
    fresh: &Fresh,
) -> Vec<u8> {
    let (header, text) = buffer.split_at_mut(HEADER_LENGTH);
    header[..4].copy_from_slice(&MAGIC);
    header[4..8].copy_from_slice(&[VERSION, SUITE_XCHACHA20_POLY1305, kind as u8, 0]);
    let Fresh { object, nonce } = fresh;
    header[8..PREFIX_LENGTH].copy_from_slice(object);
    header[PREFIX_LENGTH..].copy_from_slice(nonce);
    let data = associated(&header[..PREFIX_LENGTH], profile);
    let tag = XChaCha20Poly1305::new(key.expose().into())
        .encrypt_inout_detached(&(*nonce).into(), &data, text.into())
        .expect("objects are far below the cipher's limit");
    buffer.extend_from_slice(&tag);
    buffer
}

/// Opens what [`seal`] made; the clear bytes are what is returned.
pub(crate) fn open(
    mut sealed: Vec<u8>,
    kind: Kind,
    profile: &ProfileId,
    key: &Secret,
) -> Result<zeroize::Zeroizing<Vec<u8>>, SealError> {
    check_header(&sealed, kind)?;
    let tag: [u8; TAG_LENGTH] =
        sealed[sealed.len() - TAG_LENGTH..].try_into().expect("the length was checked");
    sealed.truncate(sealed.len() - TAG_LENGTH);
    let nonce: [u8; NONCE_LENGTH] =
        sealed[PREFIX_LENGTH..HEADER_LENGTH].try_into().expect("the length was checked");
    let data = associated(&sealed[..PREFIX_LENGTH], profile);
    XChaCha20Poly1305::new(key.expose().into())
        .decrypt_inout_detached(&nonce.into(), &data, (&mut sealed[HEADER_LENGTH..]).into(), &tag.into())
        .map_err(|_| SealError::Opening)?;
    sealed.drain(..HEADER_LENGTH);
    Ok(zeroize::Zeroizing::new(sealed))
}

fn check_header(sealed: &[u8], kind: Kind) -> Result<(), SealError> {
    if sealed.len() < HEADER_LENGTH + TAG_LENGTH || sealed[..4] != MAGIC {
        return Err(SealError::Format);
    }
    match [sealed[4], sealed[5], sealed[6], sealed[7]] {
        [VERSION, SUITE_XCHACHA20_POLY1305, found, 0] if found == kind as u8 => Ok(()),
        [VERSION, SUITE_XCHACHA20_POLY1305, found, 0] => Err(SealError::Kind(found)),
        [VERSION, SUITE_XCHACHA20_POLY1305, ..] => Err(SealError::Format),
        [VERSION, suite, ..] => Err(SealError::Suite(suite)),
        [version, ..] => Err(SealError::Version(version)),
    }
}

fn associated(prefix: &[u8], profile: &ProfileId) -> Vec<u8> {
    [prefix, profile.as_str().as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::{SystemRandom, tests::Seeded};

    fn profile(text: &str) -> ProfileId {
        text.parse().unwrap()
    }

    fn sealed(random: &mut dyn Randomness) -> Vec<u8> {
        let mut buffer = with_room(5);
        buffer.extend_from_slice(b"clear");
        seal(buffer, Kind::Pack, &profile("p1"), &Secret::from_bytes([1; 32]), random)
    }

    /// draft-irtf-cfrg-xchacha-03, appendix A.3.1: our cipher is the published one.
    #[test]
    fn the_published_vector_holds() {
        let key: [u8; 32] = std::array::from_fn(|index| 0x80 + u8::try_from(index).unwrap());
        let nonce: [u8; 24] = std::array::from_fn(|index| 0x40 + u8::try_from(index).unwrap());
        let data = [0x50, 0x51, 0x52, 0x53, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7];
        let mut text = b"Ladies and Gentlemen of the class of '99: If I could offer you \
only one tip for the future, sunscreen would be it."
            .to_vec();
        let tag = XChaCha20Poly1305::new(&key.into())
            .encrypt_inout_detached(&nonce.into(), &data, text.as_mut_slice().into())
            .unwrap();
        assert_eq!(text[..8], [0xbd, 0x6d, 0x17, 0x9d, 0x3e, 0x83, 0xd4, 0x3b]);
        assert_eq!(
            tag[..],
            [0xc0, 0x87, 0x59, 0x24, 0xc1, 0xc7, 0x98, 0x79, 0x47, 0xde, 0xaf, 0xd8, 0x78, 0x0a, 0xcf, 0x49]
        );
    }

    #[test]
    fn every_binding_holds() {
        let bytes = sealed(&mut SystemRandom);
        let key = Secret::from_bytes([1; 32]);
        assert_eq!(**open(bytes.clone(), Kind::Pack, &profile("p1"), &key).unwrap(), *b"clear");
        assert_eq!(
            open(bytes.clone(), Kind::Pack, &profile("p2"), &key).unwrap_err(),
            SealError::Opening,
            "another profile"
        );
        assert_eq!(
            open(bytes.clone(), Kind::Head, &profile("p1"), &key).unwrap_err(),
            SealError::Kind(1),
            "another kind"
        );
        let other = Secret::from_bytes([2; 32]);
        assert_eq!(open(bytes, Kind::Pack, &profile("p1"), &other).unwrap_err(), SealError::Opening);
    }

    #[test]
    fn flipped_and_cut_bytes_never_open() {
        let bytes = sealed(&mut SystemRandom);
        let key = Secret::from_bytes([1; 32]);
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(open(changed, Kind::Pack, &profile("p1"), &key).is_err(), "flipped at {at}");
            assert!(open(bytes[..at].to_vec(), Kind::Pack, &profile("p1"), &key).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn newer_versions_and_suites_are_named() {
        let key = Secret::from_bytes([1; 32]);
        let mut bytes = sealed(&mut SystemRandom);
        bytes[5] = 2;
        assert_eq!(open(bytes.clone(), Kind::Pack, &profile("p1"), &key).unwrap_err(), SealError::Suite(2));
        bytes[4] = 2;
        assert_eq!(open(bytes, Kind::Pack, &profile("p1"), &key).unwrap_err(), SealError::Version(2));
    }

    #[test]
    fn two_seals_of_the_same_bytes_differ() {
        assert_ne!(sealed(&mut SystemRandom), sealed(&mut SystemRandom));
        assert_eq!(sealed(&mut Seeded::new("s")), sealed(&mut Seeded::new("s")));
    }
}
