//! The directory of this machine that a profile was last sealed from, and which generation that made.

use std::path::{Path, PathBuf};

use cbrowse_profile::authority::HeadRef;
use serde::{Deserialize, Serialize};

use super::bound::Searched;
use crate::private_file::{self, FileError};

/// Longest file in bytes: a path, a name and what three databases look like.
const MAX_LENGTH: u64 = 64 * 1024;

/// What is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The user data directory.
    pub directory: PathBuf,
    /// The generation that held what was in it. A profile that has moved on since is not sealed from here by itself:
    /// what sessions saved meanwhile would be hidden behind it.
    pub head: HeadRef,
    /// What was found in its databases then; files of older programs say nothing of it.
    #[serde(default, skip_serializing_if = "Searched::is_empty")]
    pub searched: Searched,
}

impl Source {
    /// What is remembered for the profile in the directory `profile`.
    pub fn of(profile: &Path) -> Option<Self> {
        let bytes = private_file::read(&file(profile), MAX_LENGTH).ok().flatten()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Remembers it in place of the one before.
    pub fn remember(&self, profile: &Path) -> Result<(), FileError> {
        let bytes = serde_json::to_vec(self).expect("plain data serializes");
        let _held = private_file::lock(&file(profile))?;
        private_file::replace(&file(profile), &bytes)
    }
}

fn file(profile: &Path) -> PathBuf {
    profile.join("source.json")
}
