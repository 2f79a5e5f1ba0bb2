//! Does the desktop's keyring really keep something? Tried with an entry that nobody needs, and without asking a person.

use std::time::Duration;

use cbrowse_protocol::token::Credential;
use secret_service::{EncryptionType, Error, blocking::SecretService};
use zeroize::Zeroizing;

use super::{
    encoding,
    service::{Service, ServiceError, within},
};

/// A name that no secret has.
const NAME: &str = "doctor-probe";
/// For all of it: whoever checks a machine does not wait for a keyring that hangs.
const DEADLINE: Duration = Duration::from_secs(3);

/// What a keyring that answers is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trial {
    /// What was written was read again, and removed.
    Works,
    /// A person would have to unlock it first.
    Locked,
    /// It has no collection to keep anything in.
    Absent,
}

/// Writes, reads and removes an entry; asks nobody to unlock anything. Blocks.
pub fn try_out() -> Result<Trial, ServiceError> {
    within(DEADLINE, || {
        match is_locked()? {
            None => return Ok(Trial::Absent),
            Some(true) => return Ok(Trial::Locked),
            Some(false) => {}
        }
        let service = Service::connect()?;
        let text = Zeroizing::new(encoding::to_text(&Credential::fresh_seed()[..]));
        service.set(NAME, &text)?;
        let read = service.get(NAME);
        // Also when it could not be read.
        let removed = service.remove(NAME);
        match read?.as_deref() == Some(&*text) && removed? {
            true => Ok(Trial::Works),
            false => Err(ServiceError::Failed("it did not give back what it was given".into())),
        }
    })?
}

/// `None` where there is no default collection. Reading this asks nobody.
fn is_locked() -> Result<Option<bool>, ServiceError> {
    let unreachable =
        |error: Error| ServiceError::Unreachable(cbrowse_protocol::node::printable(&error.to_string(), 300));
    let service = SecretService::connect(EncryptionType::Dh).map_err(unreachable)?;
    match service.get_default_collection() {
        Err(Error::NoResult) => Ok(None),
        collection => collection.and_then(|found| found.is_locked()).map(Some).map_err(unreachable),
    }
}
