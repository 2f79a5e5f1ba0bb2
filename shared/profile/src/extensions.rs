//! Extensions travel by the user's word only: named on the user's machine, listed with a hash of their files in a
//! generation that the user signed, never changed by a node.
//!
//! ```text
//! the user's word      ROOT/<profile id>/extensions.json      which extensions, with the hash of what was looked at
//! in a generation      cbrowse/extensions.json                the listing: version 1, {id, version, name, hash} by id
//!                      Default/Extensions/<id>/<version>/...   their files
//!                      Default/Local Extension Settings/<id>/...  and the like: their state, for listed ids only
//! ```
//! A worker writes an extension's files only from a generation that the user signed, and only when they hash to what the
//! listing says. What a node proposes may leave an extension out and may not add or change one byte of one.

mod carry;
mod code;
mod find;
mod judge;

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

pub(crate) use self::{
    carry::{Carry, seal},
    judge::{Carried, changed_by_node, check_written},
};
pub use self::{
    code::CodeError,
    find::{Choice, ChooseError, Chosen, Installed, choose, find},
};
use crate::{allowlist, object::ObjectName};

/// Version of listing and word.
pub const LISTING_VERSION: u32 = 1;
/// Most extensions of one profile. More are nobody's, and each costs every start of a session.
pub const MAX_EXTENSIONS: usize = 64;
/// Most files of one extension.
pub const MAX_CODE_FILES: usize = 20_000;
/// Most bytes of one file of an extension; one such file is in memory at a time.
pub const MAX_CODE_FILE_LENGTH: u64 = 32 * 1024 * 1024;
/// Most bytes of a listing or a word.
pub(crate) const MAX_LISTING_LENGTH: u64 = 256 * 1024;
/// Longest name that is kept, in bytes.
const MAX_NAME_LENGTH: usize = 128;

/// What Chromium calls an extension: 32 letters from a to p, made from its key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ExtensionId(String);

/// No extension goes by that name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an extension's id (32 letters from a to p are expected, as on chrome://extensions)")]
pub struct IdError;

impl ExtensionId {
    /// Its letters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ExtensionId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        if allowlist::is_extension_id(text) { Ok(Self(text.to_owned())) } else { Err(IdError) }
    }
}

impl TryFrom<String> for ExtensionId {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<ExtensionId> for String {
    fn from(id: ExtensionId) -> Self {
        id.0
    }
}

impl fmt::Display for ExtensionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

/// BLAKE3 over an extension's files: the same on every machine, so that an operator or a second device can compare it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ContentHash(pub(crate) ObjectName);

impl fmt::Display for ContentHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// One extension that a generation carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Which.
    pub id: ExtensionId,
    /// Its manifest's version; names the directory of its files.
    pub version: String,
    /// What it calls itself.
    pub name: String,
    /// Of its files.
    pub hash: ContentHash,
}

/// What a generation carries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Listing {
    version: u32,
    extensions: Vec<Listed>,
}

/// Which extensions the user lets travel, and where on this machine their files were found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    version: u32,
    /// By id.
    pub allowed: Vec<Allowed>,
}

/// One extension of a [`Word`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowed {
    /// As it travels.
    #[serde(flatten)]
    pub listed: Listed,
    /// What this machine's browser calls it: another id, for one that was loaded unpacked and has no key of its own.
    pub known_as: ExtensionId,
    /// Where its files are: relative to the browser's data directory, or absolute for one that was loaded unpacked.
    pub path: std::path::PathBuf,
}

impl Word {
    /// Lets these travel.
    pub fn new(mut allowed: Vec<Allowed>) -> Self {
        allowed.sort_by(|a, b| a.listed.id.cmp(&b.listed.id));
        allowed.dedup_by(|a, b| a.listed.id == b.listed.id);
        allowed.truncate(MAX_EXTENSIONS);
        Self { version: LISTING_VERSION, allowed }
    }

    /// What [`Word::encode`] made; `None` for anything else, a later version included.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let word: Self = serde_json::from_slice(bytes).ok()?;
        let sound = word.allowed.iter().all(|allowed| is_sound(&allowed.listed));
        (word.version == LISTING_VERSION && sound).then(|| Self::new(word.allowed))
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("plain data serializes")
    }
}

impl Listing {
    fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain data serializes")
    }

    /// A listing that makes no sense carries nothing.
    fn decode(bytes: &[u8]) -> BTreeMap<ExtensionId, Listed> {
        let Ok(listing) = serde_json::from_slice::<Self>(bytes) else { return BTreeMap::new() };
        let sound = listing.version == LISTING_VERSION
            && listing.extensions.len() <= MAX_EXTENSIONS
            && listing.extensions.iter().all(is_sound);
        let listed = listing.extensions.into_iter().map(|listed| (listed.id.clone(), listed));
        if sound { listed.collect() } else { BTreeMap::new() }
    }
}

fn is_sound(listed: &Listed) -> bool {
    allowlist::is_extension_version(&listed.version) && listed.name == name(&listed.name)
}

/// A name as it may be shown.
fn name(text: &str) -> String {
    cbrowse_protocol::node::printable(text, MAX_NAME_LENGTH)
}

#[cfg(any(test, fuzzing))]
pub(crate) fn decode_listing(bytes: &[u8]) -> usize {
    Listing::decode(bytes).len()
}

/// A listing of one extension with these files, for tests that forge.
#[cfg(test)]
pub(crate) fn forge_listing(id: &ExtensionId, version: &str, files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut hasher = code::Hasher::new();
    for (path, bytes) in files {
        hasher.add(path, bytes);
    }
    let listed = Listed { id: id.clone(), version: version.into(), name: "x".into(), hash: hasher.finish() };
    Listing { version: LISTING_VERSION, extensions: vec![listed] }.encode()
}

#[cfg(test)]
mod tests;
