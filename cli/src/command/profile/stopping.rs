//! A store that takes and gives nothing any more after Ctrl-C, so that what is clear can be wiped at once.

use cbrowse_profile::object::{ObjectName, ObjectStore, StoreError};
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;

/// Hands everything on until `stop` is cancelled.
pub(super) struct Stopping<'a> {
    pub(super) behind: &'a dyn ObjectStore,
    pub(super) stop: &'a CancellationToken,
}

impl Stopping<'_> {
    /// A failure after Ctrl-C is the interruption and nothing else.
    pub(super) fn or_interrupted<T>(&self, result: Result<T, Failure>) -> Result<T, Failure> {
        if self.stop.is_cancelled() && result.is_err() { Err(Failure::interrupted()) } else { result }
    }

    fn go_on(&self) -> Result<(), StoreError> {
        if self.stop.is_cancelled() {
            return Err(StoreError::Remote { message: "interrupted".into(), retryable: false });
        }
        Ok(())
    }
}

impl ObjectStore for Stopping<'_> {
    fn missing(&self, names: &[ObjectName]) -> Result<Vec<ObjectName>, StoreError> {
        self.go_on()?;
        self.behind.missing(names)
    }

    fn get(&self, name: &ObjectName) -> Result<Vec<u8>, StoreError> {
        self.go_on()?;
        self.behind.get(name)
    }

    fn put(&self, name: &ObjectName, object: &[u8]) -> Result<(), StoreError> {
        self.go_on()?;
        self.behind.put(name, object)
    }
}
