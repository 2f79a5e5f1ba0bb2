//! The user's word about extensions, kept beside the profile on this machine. No node ever sees it.

use std::io;

use super::{Authority, AuthorityError, disk, lock};
use crate::{
    extensions::{MAX_LISTING_LENGTH, Word},
    files,
};

const FILE: &str = "extensions.json";

impl Authority {
    /// Which extensions the user lets travel. `None` before they were asked on this machine: what the profile carries stays.
    pub fn extensions(&self) -> Result<Option<Word>, AuthorityError> {
        let path = self.directory.join(FILE);
        match files::read_limited(&path, MAX_LISTING_LENGTH) {
            Ok(bytes) => Word::decode(&bytes).map(Some).ok_or(AuthorityError::Damaged(path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(disk("read", &path, source)),
        }
    }

    /// Keeps the user's word; the next sync follows it.
    pub fn allow_extensions(&self, word: &Word) -> Result<(), AuthorityError> {
        let _held = lock::hold(&self.directory)?;
        let path = self.directory.join(FILE);
        files::replace(&path, &word.encode()).map_err(|source| disk("write", &path, source))
    }
}
