//! What a profile's owner signs for stores, which cannot see what an encrypted head reaches: the list of objects to retain,
//! the word that all may go, and the word that another key speaks from now on.
//!
//! ```text
//! list:     "cbr1", profile text, u64 generation, u64 time, u32 count, names 32 each in strictly ascending order,
//!           signature 64, context "cbrowse profile retain v1"
//! deletion: "cbd1", profile text, u64 time, signature 64, context "cbrowse profile deletion v1"
//! new key:  signature 64 by the key so far, context "cbrowse profile key v1", over profile text and the new key's 32 bytes
//! ```
//! Whoever collects garbage by a list spares what is younger than [`GRACE_SECONDS`]: an upload that is under way has sent
//! objects that no list names yet.

use cbrowse_protocol::{
    id::{MAX_ID_LENGTH, ProfileId},
    identity::{IdentityKey, SIGNATURE_LENGTH},
};

use crate::{
    codec::{Malformed, Put as _, Take},
    keys::ProfileKeys,
    object::ObjectName,
};

/// Most names in one list: it fits a JSON body with its overhead. A profile of the largest size has 2,000 packs, of which
/// generations share most.
pub const MAX_RETAINED: usize = 16_384;
/// Seconds for which an object that no list names is kept. Shorter than the longest upload, and what travels now would be
/// collected before its list arrives.
pub const GRACE_SECONDS: u64 = 24 * 3600;
/// Longest deletion in bytes.
pub const MAX_DELETION_LENGTH: usize = 512;
const LIST_CONTEXT: &str = "cbrowse profile retain v1";
const LIST_MAGIC: [u8; 4] = *b"cbr1";
const DELETION_CONTEXT: &str = "cbrowse profile deletion v1";
const DELETION_MAGIC: [u8; 4] = *b"cbd1";
const KEY_CONTEXT: &str = "cbrowse profile key v1";

/// Why signed bytes were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RetainError {
    /// Not of this form.
    #[error("not a list of objects to retain, nor a deletion")]
    Malformed(#[from] Malformed),
    /// Of another profile.
    #[error("it is of profile {0}")]
    OtherProfile(ProfileId),
    /// Not signed by the profile's owner.
    #[error("it is not signed with the profile's key")]
    Signature,
    /// Above [`MAX_RETAINED`].
    #[error("{0} names; {MAX_RETAINED} are allowed")]
    TooMany(usize),
}

/// All that a store has to keep of a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetainList {
    /// Whose.
    pub profile: ProfileId,
    /// The generation that was current when it was made.
    pub generation: u64,
    /// Seconds since the Unix epoch, by the owner's clock.
    pub time: u64,
    names: Vec<ObjectName>,
}

impl RetainList {
    /// A list of these names, in any order, more than once if need be.
    pub fn new(
        profile: ProfileId,
        generation: u64,
        time: u64,
        mut names: Vec<ObjectName>,
    ) -> Result<Self, RetainError> {
        names.sort_unstable();
        names.dedup();
        if names.len() > MAX_RETAINED {
            return Err(RetainError::TooMany(names.len()));
        }
        Ok(Self { profile, generation, time, names })
    }

    /// The names, ascending.
    pub fn names(&self) -> &[ObjectName] {
        &self.names
    }

    /// Whether an object is to be kept.
    pub fn retains(&self, name: &ObjectName) -> bool {
        self.names.binary_search(name).is_ok()
    }

    /// Whether this list counts where `other` was known: a later generation, or a later word on the same one.
    pub fn supersedes(&self, other: &Self) -> bool {
        (self.generation, self.time) > (other.generation, other.time)
    }

    /// Its bytes, signed.
    pub fn sign(&self, keys: &ProfileKeys) -> Vec<u8> {
        let mut out = LIST_MAGIC.to_vec();
        out.put_text(self.profile.as_str());
        out.put_u64(self.generation);
        out.put_u64(self.time);
        out.put_u32(u32::try_from(self.names.len()).expect("the number was checked"));
        for name in &self.names {
            out.put_bytes(name.as_bytes());
        }
        signed(out, LIST_CONTEXT, keys)
    }

    /// Reads a list of `profile` and checks that `key` signed it.
    pub fn read(bytes: &[u8], profile: &ProfileId, key: &IdentityKey) -> Result<Self, RetainError> {
        let (text, signature) = split(bytes)?;
        let list = Self::decode(text)?;
        check(&list.profile, profile, key, LIST_CONTEXT, text, signature)?;
        Ok(list)
    }

    fn decode(bytes: &[u8]) -> Result<Self, RetainError> {
        let mut take = Take::new(bytes);
        if take.array::<4>()? != LIST_MAGIC {
            return Err(take.malformed().into());
        }
        let profile = take.text(MAX_ID_LENGTH)?.parse().map_err(|_| take.malformed())?;
        let (generation, time) = (take.u64()?, take.u64()?);
        let count = take.count(32)?;
        if count > MAX_RETAINED {
            return Err(RetainError::TooMany(count));
        }
        let mut names = Vec::with_capacity(count);
        for _ in 0..count {
            let name = ObjectName::from_bytes(take.array()?);
            if names.last().is_some_and(|last| *last >= name) {
                return Err(take.malformed().into());
            }
            names.push(name);
        }
        take.finish()?;
        Ok(Self { profile, generation, time, names })
    }
}

/// The owner's word that everything of a profile may go, for stores that nobody but their operator clears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deletion {
    /// Which profile.
    pub profile: ProfileId,
    /// Seconds since the Unix epoch, by the owner's clock.
    pub time: u64,
}

impl Deletion {
    /// Its bytes, signed.
    pub fn sign(&self, keys: &ProfileKeys) -> Vec<u8> {
        let mut out = DELETION_MAGIC.to_vec();
        out.put_text(self.profile.as_str());
        out.put_u64(self.time);
        signed(out, DELETION_CONTEXT, keys)
    }

    /// Reads a deletion of `profile` and checks that `key` signed it.
    pub fn read(bytes: &[u8], profile: &ProfileId, key: &IdentityKey) -> Result<Self, RetainError> {
        let (text, signature) = split(bytes)?;
        let mut take = Take::new(text);
        if bytes.len() > MAX_DELETION_LENGTH || take.array::<4>()? != DELETION_MAGIC {
            return Err(take.malformed().into());
        }
        let own: ProfileId = take.text(MAX_ID_LENGTH)?.parse().map_err(|_| take.malformed())?;
        let time = take.u64()?;
        take.finish()?;
        check(&own, profile, key, DELETION_CONTEXT, text, signature)?;
        Ok(Self { profile: own, time })
    }
}

/// The old key's word that `next` speaks for the profile from now on.
pub fn sign_next_key(keys: &ProfileKeys, next: &IdentityKey) -> Vec<u8> {
    keys.sealing().signing.sign(KEY_CONTEXT, &next_key_message(keys.profile(), next)).to_vec()
}

/// Whether `key` handed the profile over to `next`.
pub fn is_next_key(profile: &ProfileId, key: &IdentityKey, next: &IdentityKey, signature: &[u8]) -> bool {
    key.verifies(KEY_CONTEXT, &next_key_message(profile, next), signature)
}

fn next_key_message(profile: &ProfileId, next: &IdentityKey) -> Vec<u8> {
    let mut message = Vec::new();
    message.put_text(profile.as_str());
    message.put_bytes(next.as_bytes());
    message
}

fn signed(mut bytes: Vec<u8>, context: &str, keys: &ProfileKeys) -> Vec<u8> {
    bytes.extend_from_slice(&keys.sealing().signing.sign(context, &bytes));
    bytes
}

fn split(bytes: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let start = bytes.len().checked_sub(SIGNATURE_LENGTH).ok_or(Malformed { at: 0 })?;
    Ok(bytes.split_at(start))
}

fn check(
    found: &ProfileId,
    profile: &ProfileId,
    key: &IdentityKey,
    context: &str,
    text: &[u8],
    signature: &[u8],
) -> Result<(), RetainError> {
    if found != profile {
        return Err(RetainError::OtherProfile(found.clone()));
    }
    if key.verifies(context, text, signature) { Ok(()) } else { Err(RetainError::Signature) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::AccountKey;

    const PROFILE: &str = "0123456789abcdef0123456789abcdef";

    fn keys(of: u8) -> ProfileKeys {
        ProfileKeys::derive(&AccountKey::from_bytes([of; 32]), &PROFILE.parse().unwrap())
    }

    fn name(of: u8) -> ObjectName {
        ObjectName::from_bytes([of; 32])
    }

    fn sample() -> RetainList {
        RetainList::new(keys(1).profile().clone(), 7, 11, vec![name(3), name(1), name(3)]).unwrap()
    }

    fn read(bytes: &[u8]) -> Result<RetainList, RetainError> {
        RetainList::read(bytes, keys(1).profile(), &keys(1).verifying_key())
    }

    #[test]
    fn a_list_comes_back_sorted_and_is_its_owners() {
        let bytes = sample().sign(&keys(1));
        let list = read(&bytes).unwrap();
        assert_eq!(list, sample());
        assert_eq!(list.names(), [name(1), name(3)]);
        assert!(list.retains(&name(3)) && !list.retains(&name(2)));
        assert_eq!(read(&sample().sign(&keys(2))), Err(RetainError::Signature));
        let other = "f".repeat(32).parse().unwrap();
        let refused = RetainList::read(&bytes, &other, &keys(1).verifying_key());
        assert_eq!(refused, Err(RetainError::OtherProfile(keys(1).profile().clone())));
    }

    #[test]
    fn the_later_generation_counts_then_the_later_word() {
        let list = |generation, time| RetainList { generation, time, ..sample() };
        assert!(list(8, 1).supersedes(&list(7, 11)));
        assert!(list(7, 12).supersedes(&list(7, 11)));
        assert!(!list(7, 11).supersedes(&list(7, 11)));
        assert!(!list(6, 99).supersedes(&list(7, 11)));
    }

    #[test]
    fn flipped_and_cut_bytes_are_refused_wherever() {
        let list = sample().sign(&keys(1));
        let deletion = Deletion { profile: keys(1).profile().clone(), time: 5 }.sign(&keys(1));
        let deleted = |bytes: &[u8]| Deletion::read(bytes, keys(1).profile(), &keys(1).verifying_key());
        assert_eq!(deleted(&deletion).unwrap().time, 5);
        for (bytes, refuses) in [
            (&list, &(|bytes: &[u8]| read(bytes).is_err()) as &dyn Fn(&[u8]) -> bool),
            (&deletion, &|bytes: &[u8]| deleted(bytes).is_err()),
        ] {
            for at in 0..bytes.len() {
                assert!(refuses(&bytes[..at]), "cut at {at}");
                let mut changed = bytes.clone();
                changed[at] ^= 1;
                assert!(refuses(&changed), "flipped at {at}");
            }
        }
        assert!(deleted(&list).is_err() && read(&deletion).is_err(), "one is not the other");
    }

    #[test]
    fn names_out_of_order_or_too_many_are_refused_before_they_cost_memory() {
        let mut twice = sample();
        twice.names = vec![name(3), name(1)];
        assert!(matches!(read(&twice.sign(&keys(1))), Err(RetainError::Malformed(_))));
        let many: Vec<_> = (0..=MAX_RETAINED).map(|at| ObjectName::of(&at.to_le_bytes())).collect();
        let refused = RetainList::new(keys(1).profile().clone(), 1, 1, many.clone());
        assert_eq!(refused, Err(RetainError::TooMany(MAX_RETAINED + 1)));
        assert!(RetainList::new(keys(1).profile().clone(), 1, 1, many[1..].to_vec()).is_ok());
        let claims = [&LIST_MAGIC[..], &[32, 0], PROFILE.as_bytes(), &[0; 16], &[0xff; 4], &[0; 64]].concat();
        assert!(matches!(read(&claims), Err(RetainError::Malformed(_))));
    }

    #[test]
    fn a_key_hands_over_to_one_key_of_one_profile() {
        let (old, next) = (keys(1), keys(2).verifying_key());
        let word = sign_next_key(&old, &next);
        assert!(is_next_key(old.profile(), &old.verifying_key(), &next, &word));
        assert!(!is_next_key(old.profile(), &old.verifying_key(), &keys(3).verifying_key(), &word));
        assert!(!is_next_key(old.profile(), &next, &next, &word));
        assert!(!is_next_key(&"f".repeat(32).parse().unwrap(), &old.verifying_key(), &next, &word));
    }

    /// Frozen: these bytes never change.
    #[test]
    fn list_deletion_and_new_key_are_golden() {
        let deletion = Deletion { profile: keys(1).profile().clone(), time: 5 };
        let golden = [
            sample().sign(&keys(1)),
            deletion.sign(&keys(1)),
            sign_next_key(&keys(1), &keys(2).verifying_key()),
        ]
        .map(|bytes| ObjectName::of(&bytes).to_string());
        assert_eq!(
            golden,
            [
                "6a92281dc116595441bcaa29d0f313770874acf4af095b5ef52907c2598d429e",
                "cf0b939fe4f52abf93c874a1a83b95fec5690818c1e64db66a32513f02c627bc",
                "e2e1a6bb8b02db33112ab5b5938a5f65e4df26bb58f0e08e58ac589cd8950c33"
            ]
        );
    }
}
