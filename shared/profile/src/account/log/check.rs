//! What a log must be to be believed: numbered without gaps, chained, signed by the right keys, and sensible.

use cbrowse_protocol::identity::IdentityKey;

use super::{CONTEXT, Change, Signed};
use crate::account::device::{DeviceKey, DeviceName};

/// Why a membership log was refused. Whatever it says is then not acted upon.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// Other bytes.
    #[error("it is no membership log")]
    NoLog,
    /// Longer than any that was made by changing devices.
    #[error("the membership log has {0} bytes, which is too long")]
    TooLong(usize),
    /// A later format.
    #[error("the membership log has version {0}, which is newer than this program; update it")]
    Version(u8),
    /// It ends within this entry.
    #[error("the membership log is cut short in entry {0}")]
    Truncated(u64),
    /// This entry is none.
    #[error("entry {0} of the membership log is damaged")]
    Malformed(u64),
    /// An entry is not there.
    #[error("entry {0} of the membership log is missing")]
    Missing(u64),
    /// An entry is there, and not in its place.
    #[error("entry {0} of the membership log is out of order")]
    Reordered(u64),
    /// An entry does not follow from the one before: one of the two was replaced.
    #[error("entry {0} of the membership log does not follow from the one before it")]
    Chain(u64),
    /// An entry is not signed by the account.
    #[error("entry {0} of the membership log is not signed by this account")]
    Signature(u64),
    /// An entry says what cannot be after those before it.
    #[error("entry {0} of the membership log cannot follow those before it")]
    Nonsense(u64),
    /// An older log than this device has seen.
    #[error("the membership log ends at entry {found}, but entry {seen} was there once: it was rolled back")]
    RolledBack {
        /// Its newest entry.
        found: u64,
        /// The newest that was seen.
        seen: u64,
    },
    /// Another log than this device has seen.
    #[error("entry {0} of the membership log is not the one that was there before: the log was forked")]
    Forked(u64),
    /// A log of another account.
    #[error("the membership log belongs to another account key")]
    Foreign,
}

/// A device that belongs to the account, or did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// What it is called.
    pub name: DeviceName,
    /// Its key.
    pub key: DeviceKey,
    /// Seconds since the Unix epoch.
    pub added: u64,
    /// When it was revoked.
    pub revoked: Option<u64>,
}

/// A span of time with one account key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epoch {
    /// From 1.
    pub number: u32,
    /// Signs the entries of this epoch.
    pub verifying_key: IdentityKey,
    /// Seconds since the Unix epoch.
    pub since: u64,
}

/// What a log comes to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Members {
    /// Every device, in the order they came.
    pub devices: Vec<Device>,
    /// When the passphrase was added, if one opens the account key.
    pub passphrase: Option<u64>,
    /// Oldest first.
    pub epochs: Vec<Epoch>,
}

impl Members {
    /// The device of this name, unless it was revoked.
    pub fn device(&self, name: &DeviceName) -> Option<&Device> {
        self.active().find(|device| device.name == *name)
    }

    /// The device with this key, unless it was revoked.
    pub fn device_with(&self, key: &DeviceKey) -> Option<&Device> {
        self.active().find(|device| device.key == *key)
    }

    /// Those that were not revoked.
    pub fn active(&self) -> impl Iterator<Item = &Device> {
        self.devices.iter().filter(|device| device.revoked.is_none())
    }
}

pub(super) fn check(entries: &[Signed<'_>]) -> Result<Members, LogError> {
    let mut members = Members::default();
    let mut previous = [0; 32];
    for (index, signed) in entries.iter().enumerate() {
        let number = index as u64 + 1;
        check_number(entries, index)?;
        if signed.entry.previous != previous {
            return Err(LogError::Chain(number));
        }
        check_signatures(signed, &members)?;
        apply(signed, &mut members).ok_or(LogError::Nonsense(number))?;
        previous = *blake3::hash(signed.whole).as_bytes();
    }
    Ok(members)
}

fn check_number(entries: &[Signed<'_>], index: usize) -> Result<(), LogError> {
    let expected = index as u64 + 1;
    if entries[index].entry.number == expected {
        return Ok(());
    }
    if entries[index..].iter().any(|signed| signed.entry.number == expected) {
        Err(LogError::Reordered(expected))
    } else {
        Err(LogError::Missing(expected))
    }
}

fn check_signatures(signed: &Signed<'_>, members: &Members) -> Result<(), LogError> {
    let refused = LogError::Signature(signed.entry.number);
    let current = match (&signed.entry.change, members.epochs.last()) {
        (_, Some(epoch)) => epoch.verifying_key,
        (Change::Found { verifying_key, .. }, None) => *verifying_key,
        (_, None) => return Err(LogError::Nonsense(signed.entry.number)),
    };
    let next = match &signed.entry.change {
        Change::Rotate { verifying_key, .. } => Some(*verifying_key),
        _ => None,
    };
    let signers = [Some(current), next].into_iter().flatten();
    let all = signers
        .zip(&signed.signatures)
        .all(|(signer, signature)| signer.verifies(CONTEXT, signed.body, signature));
    if all { Ok(()) } else { Err(refused) }
}

/// `None` where the change makes no sense.
fn apply(signed: &Signed<'_>, members: &mut Members) -> Option<()> {
    let entry = &signed.entry;
    let time = entry.time;
    let is_first = entry.number == 1;
    if is_first != matches!(entry.change, Change::Found { .. }) {
        return None;
    }
    let running = members.epochs.last().map_or(1, |epoch| epoch.number);
    if entry.epoch != running {
        return None;
    }
    match &entry.change {
        Change::Found { key, verifying_key } => {
            members.epochs.push(Epoch { number: 1, verifying_key: *verifying_key, since: time });
            members.add(&entry.device, *key, time)?;
        }
        Change::AddPassphrase => members.passphrase = Some(time),
        Change::RemovePassphrase => {
            members.passphrase.take()?;
        }
        Change::AddDevice { name, key } => members.add(name, *key, time)?,
        Change::RevokeDevice { name } => {
            let active = |device: &&mut Device| device.name == *name && device.revoked.is_none();
            members.devices.iter_mut().find(active)?.revoked = Some(time);
        }
        Change::Rotate { verifying_key, .. } => {
            if members.epochs.iter().any(|epoch| epoch.verifying_key == *verifying_key) {
                return None;
            }
            members.passphrase = None;
            let number = running.checked_add(1)?;
            members.epochs.push(Epoch { number, verifying_key: *verifying_key, since: time });
        }
    }
    Some(())
}

impl Members {
    /// A revoked device comes back under a new key only: its old one may be in other hands.
    fn add(&mut self, name: &DeviceName, key: DeviceKey, added: u64) -> Option<()> {
        let is_known = self.devices.iter().any(|device| device.key == key);
        if is_known || self.device(name).is_some() {
            return None;
        }
        self.devices.push(Device { name: name.clone(), key, added, revoked: None });
        Some(())
    }
}
