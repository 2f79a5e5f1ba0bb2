//! The desktop's keyring over D-Bus (freedesktop Secret Service), with a deadline on every call.
//!
//! The client library blocks, may wait for a person to unlock the keyring, and cannot be interrupted; so each call runs on
//! a thread of its own, which is left behind when its time is up and ends with the process.

use std::{
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use keyring_core::{Entry, Error, api::CredentialStoreApi as _};
use zbus_secret_service_keyring_store::Store;
use zeroize::Zeroizing;

/// How long a keyring may take to say that it is there. On machines without one the bus says so at once; a bus that hangs
/// must not hold up every command.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a person may take to unlock it.
const UNLOCK_TIMEOUT: Duration = Duration::from_secs(60);
/// The service attribute of every entry.
const SERVICE: &str = "cbrowse";

/// Why the keyring did not do what it was asked. Carries nothing of a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServiceError {
    /// It was not needed, so it was not asked.
    #[error("it was not asked")]
    NotAsked,
    /// No bus, no service, or none that answers.
    #[error("{0}")]
    Unreachable(String),
    /// Too slow.
    #[error("no answer within {} s", .0.as_secs())]
    Timeout(Duration),
    /// Locked, dismissed, or broken.
    #[error("{0}")]
    Failed(String),
    /// The entry is there, and is none that cbrowse wrote.
    #[error("the entry holds something else than text")]
    NotText,
    /// Somebody else wrote entries of the same name.
    #[error("it holds several entries {SERVICE}/{0}; remove all but yours with a keyring tool")]
    Ambiguous(&'static str),
}

/// A keyring that answered.
#[derive(Debug, Clone)]
pub(super) struct Service {
    store: Arc<Store>,
}

impl Service {
    pub(super) fn connect() -> Result<Self, ServiceError> {
        let store = within(ANSWER_TIMEOUT, Store::new)?;
        store.map(|store| Self { store }).map_err(|error| ServiceError::Unreachable(words(&error)))
    }

    pub(super) fn get(&self, name: &'static str) -> Result<Option<Zeroizing<String>>, ServiceError> {
        match self.with(name, |entry| entry.get_password().map(Zeroizing::new))? {
            Ok(text) => Ok(Some(text)),
            Err(Error::NoEntry) => Ok(None),
            Err(error) => Err(failed(&error, name)),
        }
    }

    pub(super) fn set(&self, name: &'static str, text: &str) -> Result<(), ServiceError> {
        let text = Zeroizing::new(text.to_owned());
        self.with(name, move |entry| entry.set_password(&text))?.map_err(|error| failed(&error, name))
    }

    pub(super) fn remove(&self, name: &'static str) -> Result<bool, ServiceError> {
        match self.with(name, |entry| entry.delete_credential())? {
            Ok(()) => Ok(true),
            Err(Error::NoEntry) => Ok(false),
            Err(error) => Err(failed(&error, name)),
        }
    }

    fn with<T: Send + 'static>(
        &self,
        name: &'static str,
        act: impl FnOnce(Entry) -> keyring_core::Result<T> + Send + 'static,
    ) -> Result<keyring_core::Result<T>, ServiceError> {
        let store = Arc::clone(&self.store);
        within(UNLOCK_TIMEOUT, move || store.build(SERVICE, name, None).and_then(act))
    }
}

pub(super) fn within<T: Send + 'static>(
    limit: Duration,
    act: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ServiceError> {
    let (sender, receiver) = mpsc::sync_channel(1);
    thread::Builder::new()
        .name("keyring".into())
        .spawn(move || {
            // Nobody listens any more when the time was up.
            let _ = sender.send(act());
        })
        .map_err(|error| ServiceError::Unreachable(error.to_string()))?;
    receiver.recv_timeout(limit).map_err(|error| match error {
        mpsc::RecvTimeoutError::Timeout => ServiceError::Timeout(limit),
        mpsc::RecvTimeoutError::Disconnected => ServiceError::Failed("its client panicked".into()),
    })
}

fn failed(error: &Error, name: &'static str) -> ServiceError {
    match error {
        Error::Ambiguous(_) => ServiceError::Ambiguous(name),
        // The library's words would quote what was stored.
        Error::BadEncoding(_) | Error::BadDataFormat(..) => ServiceError::NotText,
        error => ServiceError::Failed(words(error)),
    }
}

fn words(error: &Error) -> String {
    cbrowse_protocol::node::printable(&error.to_string(), 300)
}
