//! A shelf: where sealed profiles lie, as files of a directory or as keys of a bucket. Things are put on it and never changed.
//!
//! ```text
//! PROFILE/owner                          subject of the token that brought the profile
//! PROFILE/keys/N                         keys that speak for the profile, each handed over by the one before
//! PROFILE/objects/NAME                   NAME = BLAKE3 of the bytes
//! PROFILE/heads/REPLACED                 pointer that took the place of generation REPLACED (20 digits); the last one counts
//! PROFILE/retain/GENERATION-TIME         signed list of what has to be kept; the last one counts
//! PROFILE/deleted                        signed word of the owner that everything may go
//! owners/HASH/PROFILE                    in a bucket: who has which profiles; HASH = BLAKE3 of the subject, 32 digits
//! ```
//! Heads are compared and swapped by the one thing every shelf can do: [`Shelf::put_new`] refuses what is there. Two who
//! want to succeed the same generation want the same key.

use std::{fmt, io, time::Duration};

use cbrowse_protocol::id::ProfileId;

/// Things in one folder that are listed at most; a folder with more is not of this program's making.
pub const MAX_LISTED: usize = 200_000;

/// Where a thing lies: segments of letters, digits and dashes between slashes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

impl Key {
    /// The profile's owner.
    pub fn owner(profile: &ProfileId) -> Self {
        Self(format!("{profile}/owner"))
    }

    /// An entry of the owner's index.
    pub fn of_owner(subject: &str, profile: &ProfileId) -> Self {
        Folder::of_owner(subject).with(profile.as_str())
    }

    /// The owner's word that everything may go.
    pub fn deleted(profile: &ProfileId) -> Self {
        Self(format!("{profile}/deleted"))
    }

    /// As text, without a slash in front.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Things that lie side by side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder(String);

impl Folder {
    /// A profile's objects.
    pub fn objects(profile: &ProfileId) -> Self {
        Self(format!("{profile}/objects"))
    }

    /// Its pointers.
    pub fn heads(profile: &ProfileId) -> Self {
        Self(format!("{profile}/heads"))
    }

    /// Its retain lists.
    pub fn retain(profile: &ProfileId) -> Self {
        Self(format!("{profile}/retain"))
    }

    /// The keys that speak for it.
    pub fn keys(profile: &ProfileId) -> Self {
        Self(format!("{profile}/keys"))
    }

    /// The profiles of an owner.
    pub fn of_owner(subject: &str) -> Self {
        // A subject is a stranger's text, of any length and with any characters.
        Self(format!("owners/{}", &blake3::hash(subject.as_bytes()).to_hex()[..32]))
    }

    /// What is called `name` in it.
    pub fn with(&self, name: &str) -> Key {
        debug_assert!(
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        );
        Key(format!("{}/{name}", self.0))
    }

    /// As text, without slashes at its ends.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One thing of a folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The last segment of its key.
    pub name: String,
    /// Bytes.
    pub length: u64,
    /// When it was put there, or last asked for where a shelf can note that; since the Unix epoch.
    pub touched: Duration,
}

/// Why a shelf did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ShelfError {
    /// The disk.
    #[error("{step}: {source}")]
    Disk {
        /// A bare verb phrase.
        step: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A store elsewhere. The words are for the operator's log.
    #[error("{step} in the shared store: {detail}")]
    Elsewhere {
        /// A bare verb phrase.
        step: &'static str,
        /// What it said.
        detail: String,
    },
    /// More than anybody should have put there.
    #[error("{0} holds more than it can")]
    Overfull(String),
}

/// What every adapter does. Calls block; nothing is ever overwritten, and nothing half written is ever seen.
pub trait Shelf: fmt::Debug + Send + Sync {
    /// The bytes at `key`, at most `limit` of them; more is an error.
    fn get(&self, key: &Key, limit: usize) -> Result<Option<Vec<u8>>, ShelfError>;

    /// Keeps bytes durably, unless something is there; `false` when it was.
    fn put_new(&self, key: &Key, bytes: &[u8]) -> Result<bool, ShelfError>;

    /// What lies in a folder, by name.
    fn list(&self, folder: &Folder) -> Result<Vec<Entry>, ShelfError>;

    /// Those of `names` that do not lie in a folder.
    fn missing(&self, folder: &Folder, names: &[String]) -> Result<Vec<String>, ShelfError>;

    /// The profiles that an owner has here.
    fn profiles_of(&self, subject: &str) -> Result<Vec<ProfileId>, ShelfError>;

    /// All profiles.
    fn profiles(&self) -> Result<Vec<ProfileId>, ShelfError>;

    /// Bytes and number of all objects.
    fn total(&self) -> Result<(u64, u64), ShelfError> {
        let (mut bytes, mut objects) = (0, 0);
        for profile in self.profiles()? {
            for entry in self.list(&Folder::objects(&profile))? {
                (bytes, objects) = (bytes + entry.length, objects + 1);
            }
        }
        Ok((bytes, objects))
    }

    /// Bytes that can still be written; `None` where nobody knows.
    fn free(&self) -> Option<u64>;

    /// Where it is, in words for a person, without any secret.
    fn describe(&self) -> String;
}

/// A shelf from which things may be taken: a node's own directory, or a bucket in the hands of its operator.
pub trait Clearable: Shelf {
    /// Removes what lies at `key`; `false` when nothing did.
    fn remove(&self, key: &Key) -> Result<bool, ShelfError>;
}

/// Whether a folder's name is a profile's.
pub(super) fn profile_of(name: &str) -> Option<ProfileId> {
    let is_hex = name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if name.len() == 32 && is_hex { name.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_frozen_for_everybody_who_shares_a_bucket() {
        let profile: ProfileId = "0123456789abcdef0123456789abcdef".parse().expect("id");
        let keys = [
            Key::owner(&profile),
            Key::deleted(&profile),
            Folder::objects(&profile).with("aa"),
            Folder::heads(&profile).with("00000000000000000007"),
            Key::of_owner("ada", &profile),
        ];
        assert_eq!(
            keys.map(|key| key.to_string()),
            [
                "0123456789abcdef0123456789abcdef/owner",
                "0123456789abcdef0123456789abcdef/deleted",
                "0123456789abcdef0123456789abcdef/objects/aa",
                "0123456789abcdef0123456789abcdef/heads/00000000000000000007",
                "owners/1bed34efd6739275f996d6e755ca4c67/0123456789abcdef0123456789abcdef",
            ]
        );
        assert_eq!(profile_of("0123456789abcdef0123456789abcdef"), Some(profile));
        assert_eq!((profile_of("owners"), profile_of("..")), (None, None));
    }
}
