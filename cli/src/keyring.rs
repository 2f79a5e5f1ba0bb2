//! Where this user's secrets lie: the desktop's keyring, or where none answers, a file sealed under a passphrase.
//!
//! The first secret decides, and the place is remembered: a keyring that does not answer today must not make cbrowse mint
//! a second key tomorrow. Nothing is ever written unsealed. Calls block (a person may be asked); call them from
//! `spawn_blocking`.

pub mod passphrase;
mod sealed;
mod service;
pub mod trial;

use std::path::{Path, PathBuf};

use cbrowse_protocol::encoding;
use zeroize::Zeroizing;

pub use self::{passphrase::PassphraseSource, sealed::SealedError, service::ServiceError};
use crate::{
    context::Paths,
    failure::{Exit, Failure},
    private_file::{self, FileError},
};

/// The sealed file in the user's data directory.
const SEALED_FILE: &str = "secrets.sealed";
/// Says that this user's secrets are in the keyring. Holds no secret.
const MARKER_FILE: &str = "secrets.in-keyring";
/// Longest secret in bytes: a credential fits.
pub const MAX_SECRET_LENGTH: usize = 8 * 1024;

/// What is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secret {
    /// The credential of `cbrowse login`.
    Login,
    /// The seed of this client's own key, for bare tokens.
    ClientKey,
    /// The key from which all of the user's profile keys come.
    AccountKey,
    /// The private half of this device's key, to which other devices seal invitations.
    DeviceKey,
}

impl Secret {
    fn name(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::ClientKey => "client-key",
            Self::AccountKey => "account-key",
            Self::DeviceKey => "device-key",
        }
    }
}

/// Why a secret cannot be read or kept. Carries nothing of it.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The secrets are in a keyring that does not answer now.
    #[error("your keys are in the desktop's keyring, and it does not answer ({0})")]
    Gone(ServiceError),
    /// There is no keyring, and nobody gave a passphrase.
    #[error("no keyring answers ({keyring}), and there is no passphrase for a sealed file: {passphrase}")]
    NoPlace {
        /// What the keyring said.
        keyring: ServiceError,
        /// Why there is no passphrase.
        passphrase: passphrase::PassphraseError,
    },
    /// The sealed file needs its passphrase.
    #[error("{} needs its passphrase: {source}", path.display())]
    Passphrase {
        /// The file.
        path: PathBuf,
        /// Why there is none.
        source: passphrase::PassphraseError,
    },
    /// The keyring answers and refuses.
    #[error("the desktop's keyring failed: {0}")]
    Service(#[from] ServiceError),
    /// The sealed file does not open.
    #[error("{}: {source}", path.display())]
    Sealed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: SealedError,
    },
    /// What is kept under this name is not what cbrowse wrote.
    #[error("the entry {0:?} is damaged")]
    Entry(&'static str),
    /// Too long to be kept.
    #[error("a secret of {0} bytes is too long; {MAX_SECRET_LENGTH} are kept")]
    Length(usize),
    /// The file system.
    #[error(transparent)]
    File(#[from] FileError),
}

impl From<KeyringError> for Failure {
    fn from(error: KeyringError) -> Self {
        let message = error.to_string();
        let failure = |code| Self::new(Exit::Profile, code, message.clone());
        match error {
            KeyringError::Gone(_) => failure("keyring_gone").hint(
                "unlock the keyring or log in to the desktop that runs it, then try again; if it is gone for good, with your \
                 recovery words: cbrowse profile key recover --set-aside. Profiles are safe, and no second key was made",
            ),
            KeyringError::NoPlace { .. } => failure("no_keyring").hint(
                "run a Secret Service keyring (gnome-keyring, KWallet), or run this at a terminal to be asked for a \
                 passphrase, or give one: --passphrase-fd N (CBROWSE_PASSPHRASE_FD)",
            ),
            KeyringError::Passphrase { .. } => failure("no_passphrase")
                .hint("run this at a terminal to be asked, or give it: --passphrase-fd N (CBROWSE_PASSPHRASE_FD)"),
            KeyringError::Sealed { source: SealedError::WrongPassphrase, .. } => {
                failure("wrong_passphrase").hint("type it again, or correct what --passphrase-fd reads; nothing was changed")
            }
            KeyringError::Sealed { .. } | KeyringError::Entry(_) => failure("keys_damaged").hint(
                "restore it from a backup, or bring the account key back with your recovery words: cbrowse profile key recover; \
                 profiles are safe, nothing was changed, and no new key was made in its place",
            ),
            KeyringError::Service(_) => failure("keyring_failed")
                .hint(
                    "unlock the keyring and try again; or keep keys in a sealed file: --passphrase-fd N (keys that are in the keyring \
                     already: cbrowse profile key recover --set-aside --passphrase-fd N, with your recovery words). Nothing was \
                     changed, and no second key was made",
                ),
            KeyringError::Length(_) | KeyringError::File(_) => failure("keys_unreadable"),
        }
    }
}

/// Where secrets lie, decided from what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the desktop's keyring.
    Keyring,
    /// In the sealed file.
    File,
    /// In the keyring, which does not answer.
    Gone,
}

/// What decides the [`Place`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Found {
    sealed_file: bool,
    marker: bool,
    passphrase_given: bool,
}

/// The rule. `answers` is asked only where it matters, since asking takes a while.
fn choose(found: Found, answers: impl FnOnce() -> bool) -> Place {
    match found {
        Found { sealed_file: true, .. } => Place::File,
        Found { marker: true, .. } => {
            if answers() {
                Place::Keyring
            } else {
                Place::Gone
            }
        }
        Found { passphrase_given: true, .. } => Place::File,
        Found { .. } => {
            if answers() {
                Place::Keyring
            } else {
                Place::File
            }
        }
    }
}

/// What lies where, told from the files alone.
#[derive(Debug, Clone)]
pub struct Places {
    sealed_file: PathBuf,
    marker: PathBuf,
}

impl Places {
    /// Of the user with these directories.
    pub fn of(paths: &Paths) -> Self {
        Self { sealed_file: paths.data.join(SEALED_FILE), marker: paths.data.join(MARKER_FILE) }
    }

    /// The sealed file, whether or not there is one.
    pub fn sealed_file(&self) -> &Path {
        &self.sealed_file
    }

    /// Whether secrets are in the sealed file.
    pub fn is_sealed(&self) -> bool {
        self.sealed_file.exists()
    }

    /// Whether secrets were once kept in the desktop's keyring.
    pub fn is_in_keyring(&self) -> bool {
        self.marker.exists()
    }

    /// Whether nothing was ever kept.
    pub fn is_empty(&self) -> bool {
        !self.is_sealed() && !self.is_in_keyring()
    }
}

/// The user's secrets.
#[derive(Debug)]
pub struct Keyring {
    sealed_file: PathBuf,
    marker: PathBuf,
    passphrase: PassphraseSource,
    place: Place,
    service: Result<service::Service, ServiceError>,
}

impl Keyring {
    /// Finds out where the secrets of the user with these directories lie. Asks nobody for anything yet.
    pub fn open(paths: &Paths, passphrase: PassphraseSource) -> Self {
        let (sealed_file, marker) = (paths.data.join(SEALED_FILE), paths.data.join(MARKER_FILE));
        let found = Found {
            sealed_file: sealed_file.exists(),
            marker: marker.exists(),
            passphrase_given: passphrase.is_given(),
        };
        let mut service = Err(ServiceError::NotAsked);
        let place = choose(found, || {
            service = service::Service::connect();
            service.is_ok()
        });
        Self { sealed_file, marker, passphrase, place, service }
    }

    /// Where the secrets lie, or will.
    pub fn place(&self) -> Place {
        self.place
    }

    /// The place in words, for a person.
    pub fn describe(&self) -> String {
        match self.place {
            Place::File => self.sealed_file.display().to_string(),
            Place::Keyring | Place::Gone => "the desktop's keyring".into(),
        }
    }

    /// A secret, if it was ever kept. `None` means that it never was, not that it could not be read.
    pub fn get(&self, secret: Secret) -> Result<Option<Zeroizing<Vec<u8>>>, KeyringError> {
        if self.place == Place::File {
            if !self.sealed_file.exists() {
                return Ok(None);
            }
            let entries = self.unseal()?.entries;
            return Ok(entries.get(secret.name()).cloned());
        }
        let text = match self.service()?.get(secret.name()) {
            Ok(Some(text)) => text,
            Ok(None) => return Ok(None),
            Err(ServiceError::NotText) => return Err(KeyringError::Entry(secret.name())),
            Err(error) => return Err(error.into()),
        };
        let bytes = encoding::from_text(text.trim()).ok_or(KeyringError::Entry(secret.name()))?;
        Ok(Some(Zeroizing::new(bytes)))
    }

    /// Keeps a secret in place of the one before.
    pub fn set(&self, secret: Secret, bytes: &[u8]) -> Result<(), KeyringError> {
        if bytes.len() > MAX_SECRET_LENGTH {
            return Err(KeyringError::Length(bytes.len()));
        }
        if self.place == Place::File {
            return self.change_file(|entries| {
                entries.insert(secret.name().to_owned(), Zeroizing::new(bytes.to_vec()));
            });
        }
        let service = self.service()?;
        // The marker first: with the marker and no secret nothing is lost; the other way round, a second key is minted.
        if !self.marker.exists() {
            let _held = private_file::lock(&self.marker)?;
            private_file::replace(&self.marker, b"the keys of cbrowse are in the desktop's keyring\n")?;
        }
        // Text, because KWallet keeps nothing else.
        Ok(service.set(secret.name(), &Zeroizing::new(encoding::to_text(bytes)))?)
    }

    /// Forgets a secret; whether it was there.
    pub fn remove(&self, secret: Secret) -> Result<bool, KeyringError> {
        if self.place != Place::File {
            return Ok(self.service()?.remove(secret.name())?);
        }
        if !self.sealed_file.exists() {
            return Ok(false);
        }
        let mut was_there = false;
        self.change_file(|entries| was_there = entries.remove(secret.name()).is_some())?;
        Ok(was_there)
    }

    /// Gives up the place where secrets lie, for whoever brings the account key from elsewhere: the sealed file, or the note
    /// that a keyring has them, is renamed and not removed. Its new name; the keyring has to be opened again.
    pub fn set_aside(&self, now: u64) -> Result<Option<PathBuf>, KeyringError> {
        let place = if self.place == Place::File { &self.sealed_file } else { &self.marker };
        let _held = private_file::lock(place)?;
        let mut aside = place.clone().into_os_string();
        aside.push(format!(".aside-{now}"));
        let aside = PathBuf::from(aside);
        match std::fs::rename(place, &aside) {
            Ok(()) => Ok(Some(aside)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(FileError::Io { verb: "rename", path: place.clone(), source }.into()),
        }
    }

    fn service(&self) -> Result<&service::Service, KeyringError> {
        self.service.as_ref().map_err(|error| KeyringError::Gone(error.clone()))
    }

    fn change_file(&self, change: impl FnOnce(&mut sealed::Entries)) -> Result<(), KeyringError> {
        // A person may take long to type; so the passphrase comes before the lock.
        self.ask()?;
        let _held = private_file::lock(&self.sealed_file)?;
        let mut opened = if self.sealed_file.exists() {
            self.unseal()?
        } else {
            sealed::Opened::create(&self.ask()?).map_err(|source| self.sealed_error(source))?
        };
        change(&mut opened.entries);
        Ok(private_file::replace(&self.sealed_file, &opened.seal())?)
    }

    fn unseal(&self) -> Result<sealed::Opened, KeyringError> {
        let bytes = private_file::read(&self.sealed_file, sealed::MAX_FILE_LENGTH)?.unwrap_or_default();
        sealed::Opened::open(&bytes, || self.ask()).map_err(|error| match error {
            sealed::OpenError::Ask(error) => error,
            sealed::OpenError::Sealed(source) => self.sealed_error(source),
        })
    }

    fn ask(&self) -> Result<Zeroizing<String>, KeyringError> {
        let is_new = !self.sealed_file.exists();
        let asked = self.passphrase.get(&self.sealed_file, is_new);
        asked.map_err(|passphrase| match &self.service {
            Err(keyring) if is_new && *keyring != ServiceError::NotAsked => {
                KeyringError::NoPlace { keyring: keyring.clone(), passphrase }
            }
            _ => KeyringError::Passphrase { path: self.sealed_file.clone(), source: passphrase },
        })
    }

    fn sealed_error(&self, source: SealedError) -> KeyringError {
        KeyringError::Sealed { path: Path::to_owned(&self.sealed_file), source }
    }
}

#[cfg(test)]
mod tests;
