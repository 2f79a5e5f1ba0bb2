//! Who this node is: an Ed25519 key in its data directory, made at first use and kept for good.

use std::path::{Path, PathBuf};

use cbrowse_protocol::identity::SigningKey;

use crate::key_file::{self, KeyFileError};

/// The identity's file inside a data directory.
pub const IDENTITY_FILE: &str = "identity.key";

/// Where the identity of the node with this data directory lies.
pub fn path(data_dir: &Path) -> PathBuf {
    data_dir.join(IDENTITY_FILE)
}

/// The identity of the node with this data directory; made when it has none yet.
pub fn load_or_create(data_dir: &Path) -> Result<SigningKey, KeyFileError> {
    key_file::load_or_create(&path(data_dir))
}
