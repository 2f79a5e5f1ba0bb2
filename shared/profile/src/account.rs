//! The account: the key of the current epoch, those of earlier ones, and where they are kept.
//!
//! ```text
//! account key, epoch n   in the user's slots: OS keyring or sealed file; passphrase; recovery words; invitations to devices
//!   |-- opens account key n-1 (sealed in the membership log's rotation), which opens n-2, ...
//!   |-- signs the membership log's entries of epoch n
//! ```
//! A user who never changed a device has epoch 1 and no log. Files of `ACCOUNT/` (0600, replaced as a whole, under its lock):
//! `log` ([`log`]), `SEEN` (the newest entry that was seen), `passphrase.slot` ([`crate::slot`]), `rotation` ([`rotation`]).

pub mod device;
mod directory;
pub mod invitation;
pub mod log;
pub mod rotation;
pub mod words;

use cbrowse_protocol::id::ProfileId;

use self::device::{DeviceKey, DeviceName};
pub use self::{
    directory::{AccountDirectory, HeldAccount, Standing},
    log::{Change, Log, LogError},
};
use crate::{
    authority::AuthorityError,
    keys::AccountKey,
    seal::{self, Kind, SealError},
    secret::{KEY_LENGTH, Randomness, Secret},
};

/// An account with its key at hand.
#[derive(Debug)]
pub struct Account {
    key: AccountKey,
    /// Newest first.
    earlier: Vec<AccountKey>,
    log: Option<Log>,
}

/// Why the account's files do not go with the key, or cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The membership log was refused.
    #[error("refuse the membership log")]
    Log(#[from] LogError),
    /// The key was the account's, and was rotated away.
    #[error("this account key is of epoch {found}; the account is at epoch {newest}")]
    Superseded {
        /// The key's.
        found: u32,
        /// The account's.
        newest: u32,
    },
    /// An earlier key in the log does not open.
    #[error("the key of epoch {0} in the membership log does not open")]
    Earlier(u32),
    /// What a rotation left to be finished cannot be read.
    #[error("the rotation that was interrupted cannot be read: {0} is damaged")]
    Journal(std::path::PathBuf),
    /// The files.
    #[error(transparent)]
    Files(#[from] AuthorityError),
}

impl Account {
    /// Of a user who never changed a device: epoch 1, no log.
    pub fn of_one_key(key: AccountKey) -> Self {
        Self { key, earlier: Vec::new(), log: None }
    }

    /// With the keys of the epochs before `key`'s, which the log holds. `key` may be of any epoch of the log.
    pub(crate) fn in_log(key: AccountKey, log: Log) -> Result<Self, AccountError> {
        let epoch = log.epoch_of(&key).ok_or(LogError::Foreign)?;
        let mut earlier: Vec<AccountKey> = Vec::new();
        for number in (1..epoch).rev() {
            let under = earlier.last().unwrap_or(&key);
            let sealed = sealed_key(&log, number).ok_or(AccountError::Earlier(number))?;
            let opened = open_key(sealed, Kind::EarlierKey, &under.earlier_wrap())
                .map_err(|_| AccountError::Earlier(number))?;
            if log.epoch_of(&opened) != Some(number) {
                return Err(AccountError::Earlier(number));
            }
            earlier.push(opened);
        }
        Ok(Self { key, earlier, log: Some(log) })
    }

    /// The key of the newest epoch.
    pub fn key(&self) -> &AccountKey {
        &self.key
    }

    /// Earlier keys, newest first.
    pub fn earlier(&self) -> impl Iterator<Item = &AccountKey> {
        self.earlier.iter()
    }

    /// The epoch of [`Account::key`]; 1 is the first.
    pub fn epoch(&self) -> u32 {
        u32::try_from(self.earlier.len()).expect("a log is short") + 1
    }

    /// Founds the log, on the device that acts. An account that has one stays as it is.
    #[must_use]
    pub fn found(self, device: &DeviceName, key: DeviceKey, now: u64) -> Self {
        let log = match self.log {
            Some(log) => log,
            None => Log::found(&self.key, device, key, now),
        };
        Self { log: Some(log), ..self }
    }

    /// The account after one more change, which is in its log and nowhere else yet. Rotations are made by
    /// [`rotation::Rotation`] alone.
    pub fn change(self, device: &DeviceName, now: u64, change: Change) -> Result<Self, AccountError> {
        let log = self.log.as_ref().ok_or(LogError::NoLog)?.append(&self.key, None, device, now, change)?;
        Ok(Self { log: Some(log), ..self })
    }

    /// Who belongs to it; `None` while nobody ever asked.
    pub fn log(&self) -> Option<&Log> {
        self.log.as_ref()
    }
}

/// What the rotation at the end of epoch `number` sealed.
fn sealed_key(log: &Log, number: u32) -> Option<&[u8]> {
    log.entries().iter().find_map(|entry| match &entry.change {
        Change::Rotate { earlier, .. } if entry.epoch == number => Some(&earlier[..]),
        _ => None,
    })
}

pub(crate) fn seal_key(
    key: &AccountKey,
    kind: Kind,
    under: &Secret,
    random: &mut dyn Randomness,
) -> [u8; log::SEALED_KEY_LENGTH] {
    let mut buffer = seal::with_room(KEY_LENGTH);
    buffer.extend_from_slice(key.expose());
    let sealed = seal::seal(buffer, kind, &owner(), under, random);
    sealed.try_into().expect("a sealed key has one length")
}

pub(crate) fn open_key(sealed: &[u8], kind: Kind, under: &Secret) -> Result<AccountKey, SealError> {
    let clear = seal::open(sealed.to_vec(), kind, &owner(), under)?;
    let bytes = clear.as_slice().try_into().map_err(|_| SealError::Format)?;
    Ok(AccountKey::from_bytes(bytes))
}

/// Account keys belong to no profile; this name takes the place of one in the associated data.
fn owner() -> ProfileId {
    "account".parse().expect("a valid id")
}
