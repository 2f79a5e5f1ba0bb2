//! The account's files on the user's machine. Nothing in them opens anything without a key from a slot.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{
    Account, AccountError, Log, LogError,
    log::{MAX_LOG_LENGTH, Seen},
    rotation::{self, Journal, Rotation},
};
use crate::{
    authority::{AuthorityError, lock, state},
    files,
    keys::AccountKey,
    slot::SLOT_LENGTH,
};

const LOG: &str = "log";
const SEEN: &str = "SEEN";
const SLOT: &str = "passphrase.slot";
const JOURNAL: &str = "rotation";

/// Where an account stands.
#[derive(Debug)]
pub enum Standing {
    /// As it should.
    Whole(Account),
    /// A rotation began and did not end. It is to be finished before anything else is written.
    Interrupted {
        /// With the key that the slots still hold.
        account: Account,
        /// What is to be finished.
        rotation: Rotation,
    },
}

/// `ACCOUNT/`; see [`crate::account`].
#[derive(Debug, Clone)]
pub struct AccountDirectory {
    path: PathBuf,
}

/// Held while the account changes; released when dropped.
#[derive(Debug)]
pub struct HeldAccount(#[expect(dead_code, reason = "held for its lock")] lock::Held);

impl AccountDirectory {
    /// The one at `path`; need not exist.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// One process at a time changes the account.
    pub fn hold(&self) -> Result<HeldAccount, AccountError> {
        files::make_durable_directory(&self.path).map_err(|source| self.failed("make", source))?;
        Ok(HeldAccount(lock::hold(&self.path)?))
    }

    /// The membership log, checked by itself and against what was seen; `None` where none was ever founded.
    pub fn log(&self) -> Result<Option<Log>, AccountError> {
        let seen: Option<Seen> = state::read_json(&self.path, SEEN)?;
        let Some(bytes) = self.read(LOG, MAX_LOG_LENGTH)? else {
            return match seen {
                Some(seen) => Err(LogError::RolledBack { found: 0, seen: seen.number }.into()),
                None => Ok(None),
            };
        };
        let log = Log::read(&bytes)?;
        if let Some(seen) = seen {
            log.check_seen(&seen)?;
        }
        Ok(Some(log))
    }

    /// Opens the account with the key of its slots.
    pub fn open(&self, key: AccountKey) -> Result<Standing, AccountError> {
        let log = self.log()?;
        if let Some(bytes) = self.read(JOURNAL, rotation::MAX_JOURNAL_LENGTH)? {
            return self.open_interrupted(key, &bytes, log.as_ref());
        }
        let Some(log) = log else { return Ok(Standing::Whole(Account::of_one_key(key))) };
        let newest = log.epoch();
        match log.epoch_of(&key) {
            Some(found) if found < newest => Err(AccountError::Superseded { found, newest }),
            _ => Account::in_log(key, log).map(Standing::Whole),
        }
    }

    /// The slots hold the old key until the last step but one, then the new one.
    fn open_interrupted(
        &self,
        key: AccountKey,
        journal: &[u8],
        kept: Option<&Log>,
    ) -> Result<Standing, AccountError> {
        let journal = Journal::read(journal).ok_or_else(|| AccountError::Journal(self.path.join(JOURNAL)))?;
        let log = journal.log.clone();
        if kept.is_some_and(|kept| !log.continues(kept)) {
            return Err(LogError::Forked(log.entries().len() as u64).into());
        }
        match log.epoch_of(&key) {
            Some(epoch) if epoch == log.epoch() => {
                self.end_rotation()?;
                Account::in_log(key, log).map(Standing::Whole)
            }
            Some(epoch) if epoch + 1 == log.epoch() => {
                let rotation =
                    journal.open(&key).ok_or_else(|| AccountError::Journal(self.path.join(JOURNAL)))?;
                let account = Account::in_log(key, log)?;
                Ok(Standing::Interrupted { account, rotation })
            }
            Some(found) => Err(AccountError::Superseded { found, newest: log.epoch() }),
            None => Err(LogError::Foreign.into()),
        }
    }

    /// Keeps a log, then that it was seen. Under [`AccountDirectory::hold`].
    pub fn keep_log(&self, log: &Log) -> Result<(), AccountError> {
        self.write(LOG, log.as_bytes())?;
        Ok(state::write_json(&self.path, SEEN, &log.seen())?)
    }

    /// The passphrase slot, if there is one.
    pub fn passphrase_slot(&self) -> Result<Option<Vec<u8>>, AccountError> {
        self.read(SLOT, SLOT_LENGTH)
    }

    /// Keeps it. Under [`AccountDirectory::hold`].
    pub fn keep_passphrase_slot(&self, slot: &[u8]) -> Result<(), AccountError> {
        self.write(SLOT, slot)
    }

    /// Removes it; whether it was there. Under [`AccountDirectory::hold`].
    pub fn remove_passphrase_slot(&self) -> Result<bool, AccountError> {
        self.remove(SLOT)
    }

    pub(crate) fn keep_journal(&self, journal: &[u8]) -> Result<(), AccountError> {
        self.write(JOURNAL, journal)
    }

    /// The slots hold the new key: the old one's passphrase slot goes, then the journal.
    pub(crate) fn end_rotation(&self) -> Result<(), AccountError> {
        self.remove(SLOT)?;
        self.remove(JOURNAL)?;
        Ok(())
    }

    fn read(&self, name: &str, limit: usize) -> Result<Option<Vec<u8>>, AccountError> {
        match files::read_limited(&self.path.join(name), limit as u64) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Ok(None)
            }
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                Err(AuthorityError::Damaged(self.path.join(name)).into())
            }
            Err(source) => Err(self.failed_at(name, "read", source)),
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), AccountError> {
        files::make_durable_directory(&self.path)
            .and_then(|()| files::replace(&self.path.join(name), bytes))
            .map_err(|source| self.failed_at(name, "write", source))
    }

    fn remove(&self, name: &str) -> Result<bool, AccountError> {
        files::remove(&self.path.join(name)).map_err(|source| self.failed_at(name, "remove", source))
    }

    fn failed(&self, action: &'static str, source: io::Error) -> AccountError {
        AuthorityError::Disk { action, path: self.path.clone(), source }.into()
    }

    fn failed_at(&self, name: &str, action: &'static str, source: io::Error) -> AccountError {
        AuthorityError::Disk { action, path: self.path.join(name), source }.into()
    }
}
