//! A session's profile: opened in the worker's memory, sealed again at the end. The server sees ciphertext only.

use std::path::Path;

use cbrowse_profile::{
    grant::{Grant, GrantError, SessionSecret},
    head::Closing,
    meter::Meter,
    object::{ObjectName, ObjectStore, StoreError, check_object},
    proposal::propose,
    restore::{RestoreError, Restored, restore, restore_without_extensions},
    save::{SaveError, SaveMeta, Saved},
    secret::SystemRandom,
    snapshot::{OpenError, Snapshot, open_snapshot},
};
use cbrowse_protocol::{api::ProfileGrant, id::NodeId};

use crate::{
    launch,
    worker::store::{RemoteError, RemoteStore},
};

/// Why a profile could not be opened. The session does not start: a browser without the profile would look like a loss.
#[derive(Debug, thiserror::Error)]
pub enum OpenProfileError {
    /// Not for this worker, or expired.
    #[error("open the profile's grant")]
    Grant(#[from] GrantError),
    /// The head or its manifest.
    #[error("open the profile")]
    Snapshot(#[from] OpenError),
    /// Its files.
    #[error("restore the profile")]
    Restore(#[from] RestoreError),
    /// Its extensions.
    #[error("put the profile's extensions where the browser finds them")]
    Extensions(#[from] std::io::Error),
}

/// A profile that a session works with.
pub struct OpenProfile {
    grant: Grant,
    base: Option<Snapshot>,
}

/// Opens what was granted to `secret` and writes its files to `target`, which must not exist or be empty.
/// With `extensions`, those that it carries are made ready to be loaded. Blocks on the store.
pub fn open(
    secret: SessionSecret,
    granted: &ProfileGrant,
    node: &NodeId,
    now: u64,
    store: &RemoteStore,
    target: &Path,
    extensions: bool,
) -> Result<(OpenProfile, Restored), OpenProfileError> {
    let grant = secret.open(&granted.sealed, node, &granted.profile, now)?;
    let base = match (&grant.head, grant.access()) {
        (Some(head), Some(access)) => Some(open_snapshot(&head.name, store, &access)?),
        _ => None,
    };
    let restored = match &base {
        Some(snapshot) if extensions => restore(snapshot, store, target)?,
        Some(snapshot) => restore_without_extensions(snapshot, store, target, &Meter::default())?,
        None => Restored::default(),
    };
    launch::extensions::prepare(target)?;
    Ok((OpenProfile { grant, base }, restored))
}

impl OpenProfile {
    /// Seals what changed in `directory` into the node's store, and signs a proposal for the user's machine.
    /// Blocks on the store.
    pub fn save(
        &self,
        directory: &Path,
        store: &RemoteStore,
        meta: &SaveMeta,
    ) -> Result<(Vec<u8>, Saved), SaveError> {
        propose(directory, &self.grant, self.base.as_ref(), store, meta, &mut SystemRandom)
    }
}

/// Changes whenever a file that travels appears, goes, grows, shrinks or is written. Cheap: reads no contents, and nothing of
/// the browser's caches, which change all the time.
pub fn fingerprint(directory: &Path) -> u64 {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    if let Ok(scan) = cbrowse_profile::scan::scan_with(directory, launch::extensions::ids()) {
        for file in scan.files {
            let written =
                std::fs::symlink_metadata(directory.join(&file.path)).and_then(|found| found.modified());
            (file.path, file.size, written.ok()).hash(&mut hasher);
        }
    }
    hasher.finish()
}

/// What a head says of this save.
pub fn meta(node: &NodeId, browser_version: &str, now: u64, clean: bool) -> SaveMeta {
    SaveMeta {
        now,
        device: node.to_string(),
        browser_version: browser_version.to_owned(),
        closing: if clean { Closing::Clean } else { Closing::Crash },
    }
}

impl From<RemoteError> for StoreError {
    fn from(error: RemoteError) -> Self {
        let retryable = matches!(error, RemoteError::Silent);
        Self::Remote { message: error.to_string(), retryable }
    }
}

impl ObjectStore for RemoteStore {
    fn missing(&self, names: &[ObjectName]) -> Result<Vec<ObjectName>, StoreError> {
        let missing = self.ask_missing(names.iter().map(ToString::to_string).collect())?;
        let known = |text: &String| names.iter().find(|name| name.to_string() == *text).copied();
        Ok(missing.iter().filter_map(known).collect())
    }

    fn get(&self, name: &ObjectName) -> Result<Vec<u8>, StoreError> {
        let object = self.ask_get(name.to_string())?;
        check_object(name, &object)?;
        Ok(object)
    }

    fn put(&self, name: &ObjectName, object: &[u8]) -> Result<(), StoreError> {
        check_object(name, object)?;
        Ok(self.ask_put(name.to_string(), object)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_changes_with_every_file_that_travels_and_no_other() {
        let directory = tempfile::tempdir().expect("a directory");
        let (file, cache) =
            (directory.path().join("Default/History"), directory.path().join("Default/Cache/data_0"));
        std::fs::create_dir_all(cache.parent().expect("a parent")).expect("make");
        std::fs::write(&file, "1").expect("write");
        let before = fingerprint(directory.path());
        std::fs::write(&cache, "1").expect("write");
        assert_eq!(fingerprint(directory.path()), before);
        std::fs::write(&file, "12").expect("write");
        let after = fingerprint(directory.path());
        assert_ne!(after, before);
        std::fs::remove_file(&file).expect("remove");
        assert_ne!(fingerprint(directory.path()), after);
    }
}
