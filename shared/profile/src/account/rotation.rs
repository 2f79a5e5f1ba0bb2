//! Rotation: another account key, every profile's current generation sealed again under it, and the log that says so.
//!
//! ```text
//! 1. journal    next key, sealed under the one that is current; the log as it will be
//! 2. profiles   each sealed again (see Authority::rotate)
//! 3. log, SEEN
//! 4. the slot   keyring or sealed file: the next key in the place of the old one (the caller's part)
//! 5. the old passphrase slot and the journal go
//!
//! journal:  "cbj1", the next account key sealed under the current one (112, kind 33), u32 length of the log, the log,
//!           the first 16 bytes of BLAKE3 over all before
//! ```
//! Each step can be done twice. Whoever opens the account and finds a journal finishes from wherever it stopped; until step 4 the old
//! key opens everything (the journal holds the next one), from then on the new one does (the log holds the old one).

use std::path::Path;

use cbrowse_protocol::id::ProfileName;
use zeroize::Zeroizing;

use super::{
    Account, AccountDirectory, AccountError, Change, Log, LogError,
    device::DeviceName,
    log::{MAX_LOG_LENGTH, SEALED_KEY_LENGTH},
    open_key, seal_key,
};
use crate::{
    authority::{Authority, AuthorityError, Resealed, list},
    codec::{Put as _, Take},
    keys::{AccountKey, ProfileKeys},
    meter::Meter,
    save::SaveMeta,
    seal::Kind,
    secret::Randomness,
};

const MAGIC: [u8; 4] = *b"cbj1";
const CHECKSUM_LENGTH: usize = 16;
/// A log, a key, and what is around them.
pub(super) const MAX_JOURNAL_LENGTH: usize = MAX_LOG_LENGTH + 256;

/// A rotation whose journal is on the disk.
#[derive(Debug)]
pub struct Rotation {
    account: Account,
}

/// What a rotation did to one profile.
#[derive(Debug)]
pub struct RotatedProfile {
    /// Which.
    pub name: ProfileName,
    /// What was done.
    pub outcome: Resealed,
}

/// What a rotation is made from.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'a> {
    /// The device that acts.
    pub device: &'a DeviceName,
    /// The device that is to belong to the account no more.
    pub revoke: Option<&'a DeviceName>,
    /// Seconds since the Unix epoch.
    pub now: u64,
}

impl Rotation {
    /// Makes the next key and writes the journal; nothing else has changed then. Refuses while a profile of this account cannot
    /// even say which generation is current. Under [`AccountDirectory::hold`].
    pub fn begin(
        directory: &AccountDirectory,
        account: &Account,
        profiles: &Path,
        plan: Plan<'_>,
        random: &mut dyn Randomness,
    ) -> Result<Self, AccountError> {
        for record in list(profiles)? {
            Authority::open(profiles, record.id.as_str())?.head()?;
        }
        let Some(log) = account.log() else { return Err(LogError::NoLog.into()) };
        let next = AccountKey::generate(random);
        let log = match plan.revoke {
            None => log.clone(),
            Some(name) => {
                let change = Change::RevokeDevice { name: name.clone() };
                log.append(account.key(), None, plan.device, plan.now, change)?
            }
        };
        let earlier = seal_key(account.key(), Kind::EarlierKey, &next.earlier_wrap(), random);
        let change = Change::Rotate { verifying_key: next.verifying_key(), earlier };
        let log = log.append(account.key(), Some(&next), plan.device, plan.now, change)?;
        directory.keep_journal(&write_journal(account.key(), &next, &log, random))?;
        Ok(Self { account: Account::in_log(next, log)? })
    }

    /// The account as it is afterwards; opens everything from now on.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// Seals every profile of this account below `profiles` again that is not yet. Those of other accounts are passed over.
    pub fn seal_profiles(
        &self,
        profiles: &Path,
        meta: &SaveMeta,
        meter: &Meter,
        random: &mut dyn Randomness,
    ) -> Result<Vec<RotatedProfile>, AuthorityError> {
        let mut rotated = Vec::new();
        for record in list(profiles)? {
            let mut authority = Authority::open(profiles, record.id.as_str())?;
            let keys = ProfileKeys::of(&self.account, &record.id);
            match authority.rotate(&keys, meta, meter, random) {
                Ok(outcome) => rotated.push(RotatedProfile { name: record.name, outcome }),
                Err(AuthorityError::WrongKey(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(rotated)
    }

    /// Puts the new log in place. Every profile is sealed again by now.
    pub fn keep_log(&self, directory: &AccountDirectory) -> Result<(), AccountError> {
        directory.keep_log(self.account.log().expect("a rotation has a log"))
    }

    /// The slots hold the new key: nothing is left to be finished.
    pub fn end(self, directory: &AccountDirectory) -> Result<Account, AccountError> {
        directory.end_rotation()?;
        Ok(self.account)
    }
}

/// A journal that was read and not opened.
pub(super) struct Journal {
    sealed: [u8; SEALED_KEY_LENGTH],
    pub(super) log: Log,
}

impl Journal {
    /// `None` where it is damaged.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(CHECKSUM_LENGTH)?)?;
        if *sum != checksum(body) {
            return None;
        }
        let mut take = Take::new(body);
        if take.array::<4>().ok()? != MAGIC {
            return None;
        }
        let sealed = take.array().ok()?;
        let length = take.count(1).ok()?;
        let log = Log::read(take.bytes(length).ok()?).ok()?;
        take.finish().ok()?;
        Some(Self { sealed, log })
    }

    /// With the key of the epoch that ends.
    pub(super) fn open(&self, current: &AccountKey) -> Option<Rotation> {
        let next = open_key(&self.sealed, Kind::NextKey, &current.next_wrap()).ok()?;
        let is_newest = self.log.epoch_of(&next) == Some(self.log.epoch());
        let account = Account::in_log(next, self.log.clone()).ok()?;
        is_newest.then_some(Rotation { account })
    }
}

fn write_journal(
    current: &AccountKey,
    next: &AccountKey,
    log: &Log,
    random: &mut dyn Randomness,
) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(MAGIC.to_vec());
    out.put_bytes(&seal_key(next, Kind::NextKey, &current.next_wrap(), random));
    out.put_u32(u32::try_from(log.as_bytes().len()).expect("a log is short"));
    out.put_bytes(log.as_bytes());
    let sum = checksum(&out);
    out.put_bytes(&sum);
    out
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_LENGTH] {
    blake3::hash(bytes).as_bytes()[..CHECKSUM_LENGTH].try_into().expect("a hash is longer")
}

#[cfg(test)]
mod tests;
