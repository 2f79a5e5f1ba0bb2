//! A pointer: the small signed word, kept beside the objects, of which head a profile's owner made current last.
//!
//! ```text
//! "cbh1", profile text, u64 generation, head 32,
//! replaced (u8 0, or u8 1, u64 generation, head 32), u64 time, text label,
//! Ed25519 signature 64 by the profile's key, context "cbrowse profile pointer v1", over all before it
//! ```
//! *replaced* is what the store pointed to before: a store takes a pointer only as the successor of the one it has, so two
//! devices that move on at once are noticed. The label is the profile's name, padded with zeros to 128 bytes and sealed
//! (kind 17) under the manifest key: whoever has the account key finds a profile by its name, and nobody else learns it.

use cbrowse_protocol::{
    id::{MAX_ID_LENGTH, ProfileId, ProfileName},
    identity::{IdentityKey, SIGNATURE_LENGTH},
};

use crate::{
    authority::HeadRef,
    codec::{Malformed, Put as _, Take},
    keys::ProfileKeys,
    object::ObjectName,
    seal::{self, HEADER_LENGTH, Kind, SealError, TAG_LENGTH},
    secret::Randomness,
};

/// Longest pointer in bytes.
pub const MAX_POINTER_LENGTH: usize = 1024;
/// Longest sealed label in bytes.
pub const MAX_LABEL_LENGTH: usize = 256;
const CONTEXT: &str = "cbrowse profile pointer v1";
const MAGIC: [u8; 4] = *b"cbh1";
/// Every name is padded to the longest that there is, so that no length tells anything.
const PADDED_NAME: usize = MAX_ID_LENGTH;

/// What is current, by its owner's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer {
    /// Whose.
    pub profile: ProfileId,
    /// The current generation and its head.
    pub head: HeadRef,
    /// What the store pointed to before.
    pub replaced: Option<HeadRef>,
    /// Seconds since the Unix epoch, by the clock of the device that made it current.
    pub time: u64,
    /// The profile's name, sealed.
    pub label: Vec<u8>,
}

/// Why bytes are no pointer of this profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PointerError {
    /// Not of this form.
    #[error("not a profile's pointer")]
    Malformed(#[from] Malformed),
    /// Of another profile.
    #[error("the pointer is of profile {0}")]
    OtherProfile(ProfileId),
    /// Not signed by the profile's owner.
    #[error("the pointer is not signed with the profile's key")]
    Signature,
    /// The label does not open: another account's, or changed since.
    #[error("the pointer's label does not open")]
    Label(#[from] SealError),
}

impl Pointer {
    /// The word that `head` is current now, in the place of `replaced`.
    pub fn new(
        keys: &ProfileKeys,
        head: HeadRef,
        replaced: Option<HeadRef>,
        time: u64,
        name: &ProfileName,
        random: &mut dyn Randomness,
    ) -> Self {
        let label = seal_label(name, keys, random);
        Self { profile: keys.profile().clone(), head, replaced, time, label }
    }

    /// Its bytes, signed.
    pub fn sign(&self, keys: &ProfileKeys) -> Vec<u8> {
        let mut bytes = self.encode();
        bytes.extend_from_slice(&keys.sealing().signing.sign(CONTEXT, &bytes));
        bytes
    }

    /// Reads a pointer of `profile` and checks that `key` signed it.
    pub fn read(bytes: &[u8], profile: &ProfileId, key: &IdentityKey) -> Result<Self, PointerError> {
        let start = bytes.len().checked_sub(SIGNATURE_LENGTH).ok_or(Malformed { at: 0 })?;
        let (signed, signature) = bytes.split_at(start);
        let pointer = Self::decode(signed)?;
        if pointer.profile != *profile {
            return Err(PointerError::OtherProfile(pointer.profile));
        }
        if !key.verifies(CONTEXT, signed, signature) {
            return Err(PointerError::Signature);
        }
        Ok(pointer)
    }

    /// The profile's name.
    pub fn name(&self, keys: &ProfileKeys) -> Result<ProfileName, PointerError> {
        let sealing = keys.sealing();
        let clear = seal::open(self.label.clone(), Kind::Label, &self.profile, &sealing.wrap_key)?;
        let end = clear.iter().position(|byte| *byte == 0).unwrap_or(clear.len());
        let malformed = || PointerError::Malformed(Malformed { at: end });
        if clear[end..].iter().any(|byte| *byte != 0) {
            return Err(malformed());
        }
        std::str::from_utf8(&clear[..end]).ok().and_then(|text| text.parse().ok()).ok_or_else(malformed)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.put_text(self.profile.as_str());
        put_head(&mut out, &self.head);
        match &self.replaced {
            None => out.put_u8(0),
            Some(replaced) => {
                out.put_u8(1);
                put_head(&mut out, replaced);
            }
        }
        out.put_u64(self.time);
        let length = u16::try_from(self.label.len()).expect("labels are small");
        out.put_bytes(&length.to_le_bytes());
        out.put_bytes(&self.label);
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut take = Take::new(bytes);
        if bytes.len() > MAX_POINTER_LENGTH || take.array::<4>()? != MAGIC {
            return Err(take.malformed());
        }
        let profile = take.text(MAX_ID_LENGTH)?.parse().map_err(|_| take.malformed())?;
        let head = take_head(&mut take)?;
        let replaced = match take.u8()? {
            0 => None,
            1 => Some(take_head(&mut take)?),
            _ => return Err(take.malformed()),
        };
        let time = take.u64()?;
        let length = usize::from(u16::from_le_bytes(take.array()?));
        if length > MAX_LABEL_LENGTH {
            return Err(take.malformed());
        }
        let label = take.bytes(length)?.to_vec();
        let earlier = replaced.as_ref().map_or(0, |replaced| replaced.generation);
        if head.generation <= earlier {
            return Err(take.malformed());
        }
        take.finish()?;
        Ok(Self { profile, head, replaced, time, label })
    }
}

fn put_head(out: &mut Vec<u8>, head: &HeadRef) {
    out.put_u64(head.generation);
    out.put_bytes(head.name.as_bytes());
}

/// Generation 0 is no generation.
fn take_head(take: &mut Take<'_>) -> Result<HeadRef, Malformed> {
    let generation = take.u64()?;
    let name = ObjectName::from_bytes(take.array()?);
    if generation == 0 { Err(take.malformed()) } else { Ok(HeadRef { generation, name }) }
}

fn seal_label(name: &ProfileName, keys: &ProfileKeys, random: &mut dyn Randomness) -> Vec<u8> {
    let sealing = keys.sealing();
    let mut buffer = seal::with_room(PADDED_NAME);
    buffer.extend_from_slice(name.as_str().as_bytes());
    buffer.resize(HEADER_LENGTH + PADDED_NAME, 0);
    let sealed = seal::seal(buffer, Kind::Label, keys.profile(), &sealing.wrap_key, random);
    debug_assert!(
        sealed.len() == HEADER_LENGTH + PADDED_NAME + TAG_LENGTH && sealed.len() <= MAX_LABEL_LENGTH
    );
    sealed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{keys::AccountKey, secret::tests::Seeded};

    const PROFILE: &str = "0123456789abcdef0123456789abcdef";

    fn keys(of: u8) -> ProfileKeys {
        ProfileKeys::derive(&AccountKey::from_bytes([of; 32]), &PROFILE.parse().unwrap())
    }

    fn head(generation: u64) -> HeadRef {
        HeadRef { generation, name: ObjectName::from_bytes([9; 32]) }
    }

    fn sample() -> Pointer {
        let name = "work".parse().unwrap();
        Pointer::new(&keys(1), head(7), Some(head(5)), 11, &name, &mut Seeded::new("pointer"))
    }

    fn read(bytes: &[u8]) -> Result<Pointer, PointerError> {
        Pointer::read(bytes, keys(1).profile(), &keys(1).verifying_key())
    }

    #[test]
    fn a_pointer_comes_back_with_its_name_for_its_owner_alone() {
        let bytes = sample().sign(&keys(1));
        let pointer = read(&bytes).unwrap();
        assert_eq!(pointer, sample());
        assert_eq!(pointer.name(&keys(1)).unwrap().as_str(), "work");
        assert_eq!(pointer.name(&keys(2)), Err(PointerError::Label(SealError::Opening)));
        let other = "f".repeat(32).parse().unwrap();
        assert_eq!(
            Pointer::read(&bytes, &other, &keys(1).verifying_key()),
            Err(PointerError::OtherProfile(keys(1).profile().clone()))
        );
        assert_eq!(read(&sample().sign(&keys(2))), Err(PointerError::Signature));
    }

    #[test]
    fn names_of_all_lengths_are_sealed_to_one_length() {
        let sealed = |name: &str| seal_label(&name.parse().unwrap(), &keys(1), &mut Seeded::new("l")).len();
        assert_eq!(sealed("a"), sealed(&"a".repeat(MAX_ID_LENGTH)));
    }

    #[test]
    fn flipped_and_cut_bytes_are_refused_wherever() {
        let bytes = sample().sign(&keys(1));
        for at in 0..bytes.len() {
            assert!(read(&bytes[..at]).is_err(), "cut at {at}");
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(read(&changed).is_err(), "flipped at {at}");
        }
        assert!(read(&[bytes, vec![0]].concat()).is_err(), "longer");
    }

    #[test]
    fn a_pointer_never_goes_back_even_when_its_owner_signs_it() {
        for (generation, replaced) in [(0, None), (5, Some(5)), (4, Some(5)), (1, Some(0))] {
            let pointer = Pointer { head: head(generation), replaced: replaced.map(head), ..sample() };
            assert!(matches!(read(&pointer.sign(&keys(1))), Err(PointerError::Malformed(_))), "{generation}");
        }
    }

    /// Frozen: these bytes never change.
    #[test]
    fn a_pointer_is_golden() {
        let name = ObjectName::of(&sample().sign(&keys(1))).to_string();
        assert_eq!(name, "3a2be936862c5bc570feb67696c886de6f02daef81216e6deba4d0685891d90d");
    }
}
