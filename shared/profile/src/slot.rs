//! A key slot: the account key under a passphrase, as bytes that may lie in a file.
//!
//! ```text
//!  0   4  "cbs1"
//!  4   4  Argon2id memory in KiB     8  4  passes     12  4  lanes
//! 16  16  salt
//! 32 112  the account key, sealed (kind PassphraseSlot, profile "account") with Argon2id's 32 bytes
//! 144 16  BLAKE3 of bytes 0 to 144, its first 16 bytes: tells damage from a wrong passphrase
//! ```
//! The checksum says nothing about the key: it covers ciphertext only.

use argon2::{Algorithm, Argon2, Params, Version};
use cbrowse_protocol::id::ProfileId;

use crate::{
    codec::{Put as _, Take},
    keys::AccountKey,
    seal::{self, HEADER_LENGTH, Kind, TAG_LENGTH},
    secret::{KEY_LENGTH, Randomness, Secret, random_array},
};

/// Memory that a guess costs, in KiB (64 MiB). Less, and a stolen file is guessed faster.
pub const ARGON2_MEMORY_KIB: u32 = 64 * 1024;
/// Passes over it (RFC 9106 section 4, second recommended option).
pub const ARGON2_PASSES: u32 = 3;
/// Lanes.
pub const ARGON2_LANES: u32 = 4;
/// The most memory in KiB that a slot read from a file may ask for (1 GiB): a planted slot must not hang or
/// starve the machine that tries to open it.
pub const MAX_ARGON2_MEMORY_KIB: u32 = 1024 * 1024;
/// The most passes such a slot may ask for.
pub const MAX_ARGON2_PASSES: u32 = 16;
/// The most lanes such a slot may ask for.
pub const MAX_ARGON2_LANES: u32 = 16;
/// Length of a slot in bytes.
pub const SLOT_LENGTH: usize = CHECKSUM_AT + CHECKSUM_LENGTH;
const MAGIC: [u8; 4] = *b"cbs1";
const SEALED_AT: usize = 32;
const CHECKSUM_AT: usize = SEALED_AT + HEADER_LENGTH + KEY_LENGTH + TAG_LENGTH;
const CHECKSUM_LENGTH: usize = 16;

/// What a guess costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// In KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl Default for Cost {
    fn default() -> Self {
        Self { memory_kib: ARGON2_MEMORY_KIB, passes: ARGON2_PASSES, lanes: ARGON2_LANES }
    }
}

/// Why a slot does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SlotError {
    /// The bytes were changed or cut.
    #[error("the key slot is damaged; use another slot or a backup of the file")]
    Damaged,
    /// The slot is whole, the passphrase is not its.
    #[error("the passphrase is wrong")]
    WrongPassphrase,
    /// It asks for more than [`MAX_ARGON2_MEMORY_KIB`] and its siblings, or for nonsense.
    #[error("the key slot asks for {0} KiB of memory, {1} passes and {2} lanes; that is refused")]
    Cost(u32, u32, u32),
}

/// Seals `account` under `passphrase`. Takes tenths of a second, on purpose.
pub fn seal_slot(
    account: &AccountKey,
    passphrase: &str,
    cost: Cost,
    random: &mut dyn Randomness,
) -> Result<Vec<u8>, SlotError> {
    let salt: [u8; 16] = random_array(random);
    let mut slot = MAGIC.to_vec();
    slot.put_u32(cost.memory_kib);
    slot.put_u32(cost.passes);
    slot.put_u32(cost.lanes);
    slot.put_bytes(&salt);
    let mut buffer = seal::with_room(KEY_LENGTH);
    buffer.extend_from_slice(account.expose());
    let key = stretch(passphrase, &salt, cost)?;
    slot.put_bytes(&seal::seal(buffer, Kind::PassphraseSlot, &owner(), &key, random));
    slot.put_bytes(&checksum(&slot));
    Ok(slot)
}

/// The account key of a slot.
pub fn open_slot(slot: &[u8], passphrase: &str) -> Result<AccountKey, SlotError> {
    if slot.len() != SLOT_LENGTH || slot[CHECKSUM_AT..] != checksum(&slot[..CHECKSUM_AT]) {
        return Err(SlotError::Damaged);
    }
    let (cost, salt) = read_parameters(slot).ok_or(SlotError::Damaged)?;
    let key = stretch(passphrase, &salt, cost)?;
    let clear = seal::open(slot[SEALED_AT..CHECKSUM_AT].to_vec(), Kind::PassphraseSlot, &owner(), &key)
        .map_err(|error| match error {
            seal::SealError::Opening => SlotError::WrongPassphrase,
            _ => SlotError::Damaged,
        })?;
    let bytes = clear.as_slice().try_into().map_err(|_| SlotError::Damaged)?;
    Ok(AccountKey::from_bytes(bytes))
}

fn read_parameters(slot: &[u8]) -> Option<(Cost, [u8; 16])> {
    let mut take = Take::new(slot);
    if take.array::<4>().ok()? != MAGIC {
        return None;
    }
    let cost = Cost { memory_kib: take.u32().ok()?, passes: take.u32().ok()?, lanes: take.u32().ok()? };
    Some((cost, take.array().ok()?))
}

fn stretch(passphrase: &str, salt: &[u8], cost: Cost) -> Result<Secret, SlotError> {
    let refused = SlotError::Cost(cost.memory_kib, cost.passes, cost.lanes);
    let capped = cost.memory_kib <= MAX_ARGON2_MEMORY_KIB
        && cost.passes <= MAX_ARGON2_PASSES
        && cost.lanes <= MAX_ARGON2_LANES;
    if !capped {
        return Err(refused);
    }
    let parameters =
        Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(KEY_LENGTH)).map_err(|_| refused)?;
    let mut key = zeroize::Zeroizing::new([0; KEY_LENGTH]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters)
        .hash_password_into(passphrase.as_bytes(), salt, key.as_mut())
        .map_err(|_| refused)?;
    Ok(Secret::from_bytes(*key))
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_LENGTH] {
    blake3::hash(bytes).as_bytes()[..CHECKSUM_LENGTH].try_into().expect("a hash is longer")
}

/// Account keys belong to no profile; this name takes the place of one in the associated data.
fn owner() -> ProfileId {
    "account".parse().expect("a valid id")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::tests::Seeded;

    /// Cheap, so that the matrix below stays fast.
    const CHEAP: Cost = Cost { memory_kib: 64, passes: 1, lanes: 1 };

    #[test]
    fn the_right_passphrase_alone_opens_it() {
        let account = AccountKey::from_bytes([9; 32]);
        let slot = seal_slot(&account, "correct horse", CHEAP, &mut Seeded::new("slot")).unwrap();
        assert_eq!(slot.len(), SLOT_LENGTH);
        assert_eq!(open_slot(&slot, "correct horse").unwrap().expose(), account.expose());
        assert_eq!(open_slot(&slot, "Correct horse").unwrap_err(), SlotError::WrongPassphrase);
        assert!(!slot.windows(8).any(|window| window == [9; 8]));
    }

    #[test]
    fn damage_is_not_taken_for_a_wrong_passphrase() {
        let account = AccountKey::from_bytes([9; 32]);
        let slot = seal_slot(&account, "p", CHEAP, &mut Seeded::new("slot")).unwrap();
        for at in 0..slot.len() {
            let mut changed = slot.clone();
            changed[at] ^= 0x10;
            assert_eq!(open_slot(&changed, "p").unwrap_err(), SlotError::Damaged, "flipped at {at}");
            assert_eq!(open_slot(&slot[..at], "p").unwrap_err(), SlotError::Damaged, "cut at {at}");
        }
    }

    #[test]
    fn costs_from_a_file_are_capped() {
        let account = AccountKey::from_bytes([9; 32]);
        let slot = seal_slot(&account, "p", CHEAP, &mut Seeded::new("slot")).unwrap();
        for (at, value) in
            [(4, MAX_ARGON2_MEMORY_KIB + 1), (8, MAX_ARGON2_PASSES + 1), (12, MAX_ARGON2_LANES + 1), (8, 0)]
        {
            let mut planted = slot[..CHECKSUM_AT].to_vec();
            planted[at..at + 4].copy_from_slice(&value.to_le_bytes());
            let sum = checksum(&planted);
            planted.extend_from_slice(&sum);
            assert!(matches!(open_slot(&planted, "p"), Err(SlotError::Cost(..))), "{at} {value}");
        }
    }

    #[test]
    fn the_slot_is_golden() {
        let account = AccountKey::from_bytes([9; 32]);
        let slot = seal_slot(&account, "p", CHEAP, &mut Seeded::new("slot")).unwrap();
        assert_eq!(
            blake3::hash(&slot).to_hex().as_str(),
            "347aebd335321b7996794e014d34a04a9b45e4fb8b68e18a32419ace2d91a803"
        );
    }
}
