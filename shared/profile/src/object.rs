//! Objects: ciphertext named by its own hash, and the places that keep it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Largest object in bytes that a store takes or gives. A pack holds 8 MiB and a little; whoever sends more
/// wants memory, not a profile.
pub const MAX_OBJECT_LENGTH: usize = 16 * 1024 * 1024;

/// BLAKE3 of an object's bytes as stored; 64 hexadecimal digits as text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectName([u8; 32]);

/// Not the name of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an object's name (64 lower-case hexadecimal digits are expected)")]
pub struct NameError;

impl ObjectName {
    /// The name that `object` must have.
    pub fn of(object: &[u8]) -> Self {
        Self(*blake3::hash(object).as_bytes())
    }

    /// Takes the raw hash.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The raw hash.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for ObjectName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let canonical = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let hash = blake3::Hash::from_hex(text).map_err(|_| NameError)?;
        if canonical { Ok(Self(*hash.as_bytes())) } else { Err(NameError) }
    }
}

impl TryFrom<String> for ObjectName {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<ObjectName> for String {
    fn from(name: ObjectName) -> String {
        name.to_string()
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(blake3::Hash::from_bytes(self.0).to_hex().as_str())
    }
}

impl fmt::Debug for ObjectName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ObjectName({self})")
    }
}

/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store does not hold it.
    #[error("the store lacks object {0}")]
    Missing(ObjectName),
    /// What the store gave is not what it was asked for: damaged, cut short or swapped.
    #[error("the store gave other bytes than object {0}; they were not used")]
    Corrupt(ObjectName),
    /// Above [`MAX_OBJECT_LENGTH`].
    #[error("object {name} has {length} bytes; {MAX_OBJECT_LENGTH} are allowed")]
    TooLarge {
        /// Which one.
        name: ObjectName,
        /// Its length in bytes.
        length: u64,
    },
    /// The disk said no.
    #[error("{action} {path}")]
    Disk {
        /// What was tried, as a verb phrase.
        action: &'static str,
        /// Where.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// A store elsewhere said no, in its own words.
    #[error("the store answered: {message}")]
    Remote {
        /// What it said.
        message: String,
        /// Whether the same question may be answered later.
        retryable: bool,
    },
}

impl StoreError {
    /// Whether asking again may help.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Remote { retryable, .. } => *retryable,
            Self::Disk { source, .. } => source.kind() == std::io::ErrorKind::Interrupted,
            Self::Missing(_) | Self::Corrupt(_) | Self::TooLarge { .. } => false,
        }
    }
}

/// An object's bytes with the name that is theirs. It is made by hashing alone, so whoever is handed one need not hash again.
#[derive(Debug)]
pub struct NamedObject {
    name: ObjectName,
    bytes: Vec<u8>,
}

impl NamedObject {
    /// Hashes `bytes`.
    pub fn of(bytes: Vec<u8>) -> Self {
        Self { name: ObjectName::of(&bytes), bytes }
    }

    /// Its name.
    pub fn name(&self) -> &ObjectName {
        &self.name
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes alone, so that their memory can be used again.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// A place that keeps objects. It is trusted with nothing: whoever reads checks names and seals.
/// Calls block; asynchronous callers wrap them.
pub trait ObjectStore: Send + Sync {
    /// Which of `names` it does not hold.
    fn missing(&self, names: &[ObjectName]) -> Result<Vec<ObjectName>, StoreError>;
    /// The object's bytes; the caller need not check the name again.
    fn get(&self, name: &ObjectName) -> Result<Vec<u8>, StoreError>;
    /// Keeps it durably. Never overwrites; keeping what is there already is no error.
    fn put(&self, name: &ObjectName, object: &[u8]) -> Result<(), StoreError>;
    /// Keeps it as [`ObjectStore::put`] does, and durably once [`ObjectStore::settle`] has returned; until then it may not
    /// be seen either. Many objects then wait for the disk once. A wrapper that hands this on hands on `settle`, too.
    fn put_soon(&self, object: &NamedObject) -> Result<(), StoreError> {
        self.put(object.name(), object.bytes())
    }
    /// Makes durable all that [`ObjectStore::put_soon`] took. Nothing to do where every put is durable.
    fn settle(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// What a store must check of any bytes before it takes or gives them as `name`.
pub fn check_object(name: &ObjectName, object: &[u8]) -> Result<(), StoreError> {
    if object.len() > MAX_OBJECT_LENGTH {
        return Err(StoreError::TooLarge { name: *name, length: object.len() as u64 });
    }
    if ObjectName::of(object) != *name {
        return Err(StoreError::Corrupt(*name));
    }
    Ok(())
}

/// What travelled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Copied {
    /// Objects the target lacked.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Sends `to` what it lacks of `names`, in their order, one in memory at a time.
pub fn copy_objects(
    names: &[ObjectName],
    from: &dyn ObjectStore,
    to: &dyn ObjectStore,
) -> Result<Copied, StoreError> {
    let mut copied = Copied::default();
    for name in to.missing(names)? {
        let object = from.get(&name)?;
        check_object(&name, &object)?;
        to.put(&name, &object)?;
        copied.objects += 1;
        copied.bytes += object.len() as u64;
    }
    Ok(copied)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_their_text_and_nothing_else_is_one() {
        let name = ObjectName::of(b"x");
        let text = name.to_string();
        assert_eq!(text.len(), 64);
        assert_eq!(text.parse(), Ok(name));
        for bad in ["", "..", &text[1..], &text.to_uppercase(), "../../etc/passwd"] {
            assert_eq!(bad.parse::<ObjectName>(), Err(NameError), "{bad}");
        }
    }

    #[test]
    fn a_name_is_checked_against_the_bytes() {
        let name = ObjectName::of(b"x");
        assert!(check_object(&name, b"x").is_ok());
        assert!(matches!(check_object(&name, b"y"), Err(StoreError::Corrupt(_))));
    }
}
