//! Secrets in one file under a passphrase.
//!
//! ```text
//!   0   4  "cbk1"
//!   4 160  a passphrase slot of cbrowse-profile: Argon2id over the passphrase opens a random file key
//! 164  12  nonce, random
//! 176   n  AES-256-GCM of JSON {name: base64url of the secret}; associated data: bytes 0 to 164
//!      16  tag
//! ```
//! The file key stays, so a change costs one opening of the slot; a few thousand random nonces are far from a collision.

use std::collections::BTreeMap;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use cbrowse_profile::{
    keys::AccountKey,
    secret::SystemRandom,
    slot::{self, Cost, SLOT_LENGTH, SlotError},
};
use cbrowse_protocol::encoding;
use zeroize::{Zeroize as _, Zeroizing};

use super::KeyringError;

/// Largest file in bytes: a few secrets.
pub(super) const MAX_FILE_LENGTH: u64 = 256 * 1024;
const MAGIC: [u8; 4] = *b"cbk1";
const HEAD_LENGTH: usize = MAGIC.len() + SLOT_LENGTH;

/// Secrets by name.
pub(super) type Entries = BTreeMap<String, Zeroizing<Vec<u8>>>;

/// Why a sealed file does not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealedError {
    /// Changed, cut, or of another kind.
    #[error("the file is damaged")]
    Damaged,
    /// Not its passphrase.
    #[error("the passphrase is wrong")]
    WrongPassphrase,
    /// Its parameters would hang this machine.
    #[error(transparent)]
    Slot(SlotError),
}

impl From<SlotError> for SealedError {
    fn from(error: SlotError) -> Self {
        match error {
            SlotError::Damaged => Self::Damaged,
            SlotError::WrongPassphrase => Self::WrongPassphrase,
            SlotError::Cost(..) => Self::Slot(error),
        }
    }
}

/// What stood in the way: the file, or the person who was asked.
pub(super) enum OpenError {
    Sealed(SealedError),
    Ask(KeyringError),
}

/// An opened file.
pub(super) struct Opened {
    head: Vec<u8>,
    key: AccountKey,
    pub(super) entries: Entries,
}

impl Opened {
    /// A new, empty one.
    pub(super) fn create(passphrase: &str) -> Result<Self, SealedError> {
        let key = AccountKey::generate(&mut SystemRandom);
        let slot = slot::seal_slot(&key, passphrase, Cost::default(), &mut SystemRandom)?;
        Ok(Self { head: [&MAGIC[..], &slot].concat(), key, entries: Entries::new() })
    }

    /// Opens `bytes`; asks for the passphrase only when they look like such a file.
    pub(super) fn open(
        bytes: &[u8],
        ask: impl FnOnce() -> Result<Zeroizing<String>, KeyringError>,
    ) -> Result<Self, OpenError> {
        let damaged = || OpenError::Sealed(SealedError::Damaged);
        let (head, rest) = bytes.split_at_checked(HEAD_LENGTH).ok_or_else(damaged)?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>().ok_or_else(damaged)?;
        let slot = head.strip_prefix(&MAGIC).ok_or_else(damaged)?;
        let passphrase = ask().map_err(OpenError::Ask)?;
        let key = slot::open_slot(slot, &passphrase).map_err(|error| OpenError::Sealed(error.into()))?;
        let mut clear = Zeroizing::new(sealed.to_vec());
        let opened = cipher(&key).open_in_place(Nonce::from(nonce), Aad::from(head), &mut clear);
        let entries = opened.ok().and_then(|clear| read_entries(clear)).ok_or_else(damaged)?;
        Ok(Self { head: head.to_vec(), key, entries })
    }

    /// The bytes of the file.
    pub(super) fn seal(&self) -> Vec<u8> {
        let mut body = self.write_entries();
        let nonce = cipher(&self.key)
            .seal_in_place_append_tag(Aad::from(&self.head), &mut body)
            .expect("a few secrets are below the cipher's limit");
        [&self.head, &nonce.as_ref()[..], &body].concat()
    }

    fn write_entries(&self) -> Vec<u8> {
        let entries: BTreeMap<&str, String> =
            self.entries.iter().map(|(name, bytes)| (name.as_str(), encoding::to_text(bytes))).collect();
        // Room for all of it and the tag at once, so that no clear text is left behind by a move.
        let room = entries.iter().map(|(name, text)| name.len() + text.len() + 8).sum::<usize>() + 64;
        let mut clear = Vec::with_capacity(room);
        serde_json::to_writer(&mut clear, &entries).expect("plain data serializes");
        for mut text in entries.into_values() {
            text.zeroize();
        }
        clear
    }
}

fn read_entries(clear: &[u8]) -> Option<Entries> {
    // Borrowed, so that the texts are wiped with `clear`.
    let entries: BTreeMap<&str, &str> = serde_json::from_slice(clear).ok()?;
    let bytes = |text: &str| encoding::from_text(text).map(Zeroizing::new);
    entries.into_iter().map(|(name, text)| Some((name.to_owned(), bytes(text)?))).collect()
}

fn cipher(key: &AccountKey) -> RandomizedNonceKey {
    RandomizedNonceKey::new(&AES_256_GCM, key.expose()).expect("32 bytes are a key")
}
