//! The membership log: who belongs to the account, each change signed and chained to the one before.
//!
//! ```text
//! file:   "cbm1", then the entries
//! entry:  u32 length of the body, body, signature 64; a rotation has a second signature 64, by the new key
//! body:   u8 version 1, u64 number (from 1), BLAKE3 32 of the whole entry before (zeros for the first), u32 epoch (from 1),
//!         u64 time, acting device's name text, u8 kind, and by kind:
//!         1 found: device key 32, verifying key 32        2 add passphrase: -       3 remove passphrase: -
//!         4 add device: name text, device key 32          5 revoke device: name text
//!         6 rotate: new verifying key 32, the earlier account key 112 (sealed, kind 32, under the new one)
//! ```
//! Signatures are Ed25519 by the account's signing key of the entry's epoch, context [`CONTEXT`], over the body. A rotation ends
//! its epoch: what follows has the next number. Who holds the account key checks that the newest epoch's verifying key is its own;
//! everything before hangs on that by the chain. Version 1; frozen.

mod check;

use cbrowse_protocol::identity::{IdentityKey, SIGNATURE_LENGTH};

pub use self::check::{Device, Epoch, LogError, Members};
use super::device::{DeviceKey, DeviceName, MAX_NAME_LENGTH};
use crate::{
    codec::{Malformed, Put as _, Take},
    keys::AccountKey,
    seal::{HEADER_LENGTH, TAG_LENGTH},
    secret::KEY_LENGTH,
};

/// Context of an entry's signatures.
pub const CONTEXT: &str = "cbrowse account log v1";
/// Longest log in bytes: some five thousand changes. A longer one was not made by changing devices.
pub const MAX_LOG_LENGTH: usize = 1 << 20;
/// Length of an account key sealed under another.
pub(crate) const SEALED_KEY_LENGTH: usize = HEADER_LENGTH + KEY_LENGTH + TAG_LENGTH;
const MAGIC: [u8; 4] = *b"cbm1";
const VERSION: u8 = 1;
/// The longest body is below this; a stranger's length beyond it is refused before anything is read.
const MAX_BODY_LENGTH: usize = 512;

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The log begins, on the device that acts.
    Found {
        /// That device's key.
        key: DeviceKey,
        /// Of the account's first epoch.
        verifying_key: IdentityKey,
    },
    /// A passphrase opens the account key from now on.
    AddPassphrase,
    /// It does not any more.
    RemovePassphrase,
    /// Another device belongs to the account.
    AddDevice {
        /// What it is called.
        name: DeviceName,
        /// Its key.
        key: DeviceKey,
    },
    /// A device does not belong to it any more. A rotation follows.
    RevokeDevice {
        /// Which.
        name: DeviceName,
    },
    /// Another account key takes this one's place; the passphrase goes with it.
    Rotate {
        /// Of the new epoch.
        verifying_key: IdentityKey,
        /// The account key of this epoch under the next.
        earlier: [u8; SEALED_KEY_LENGTH],
    },
}

/// An entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// From 1.
    pub number: u64,
    /// Hash of the entry before.
    pub previous: [u8; 32],
    /// The epoch it was made in.
    pub epoch: u32,
    /// Seconds since the Unix epoch, by the acting device's clock.
    pub time: u64,
    /// The device that acted.
    pub device: DeviceName,
    /// What it did.
    pub change: Change,
}

/// Where a log stood: what a device remembers, so that an older log is not taken for the newest.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Seen {
    /// Number of the newest entry.
    pub number: u64,
    /// Its hash, 64 hexadecimal digits.
    pub hash: String,
}

/// A whole log, checked: numbers, chain, signatures, and that every change makes sense after those before.
#[derive(Debug, Clone)]
pub struct Log {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    hashes: Vec<[u8; 32]>,
    members: Members,
}

/// An entry as it lies in the file.
struct Signed<'a> {
    whole: &'a [u8],
    body: &'a [u8],
    signatures: Vec<&'a [u8]>,
    entry: Entry,
}

impl Log {
    /// Begins a log.
    pub fn found(account: &AccountKey, device: &DeviceName, key: DeviceKey, now: u64) -> Self {
        let change = Change::Found { key, verifying_key: account.verifying_key() };
        let entry =
            Entry { number: 1, previous: [0; 32], epoch: 1, time: now, device: device.clone(), change };
        let mut bytes = MAGIC.to_vec();
        write(&entry, account, None, &mut bytes);
        Self::read(&bytes).expect("what was just made is whole")
    }

    /// The log with one more entry. `account` is the key of its newest epoch; a rotation takes the next one too.
    pub fn append(
        &self,
        account: &AccountKey,
        next: Option<&AccountKey>,
        device: &DeviceName,
        now: u64,
        change: Change,
    ) -> Result<Self, LogError> {
        if self.epoch_of(account) != Some(self.epoch()) {
            return Err(LogError::Foreign);
        }
        let entry = Entry {
            number: self.entries.len() as u64 + 1,
            previous: *self.hashes.last().expect("a log has an entry"),
            epoch: self.epoch(),
            time: now,
            device: device.clone(),
            change,
        };
        let mut bytes = self.bytes.clone();
        write(&entry, account, next, &mut bytes);
        Self::read(&bytes)
    }

    /// Reads and checks a log.
    pub fn read(bytes: &[u8]) -> Result<Self, LogError> {
        let signed = split(bytes)?;
        let members = check::check(&signed)?;
        let hashes = signed.iter().map(|signed| *blake3::hash(signed.whole).as_bytes()).collect();
        let entries = signed.into_iter().map(|signed| signed.entry).collect();
        Ok(Self { bytes: bytes.to_vec(), entries, hashes, members })
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Oldest first; never empty.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Who belongs to the account after the newest entry, and who did.
    pub fn members(&self) -> &Members {
        &self.members
    }

    /// The newest epoch.
    pub fn epoch(&self) -> u32 {
        u32::try_from(self.members.epochs.len()).expect("a log is short")
    }

    /// In which epoch this was the account key.
    pub fn epoch_of(&self, account: &AccountKey) -> Option<u32> {
        let verifying_key = account.verifying_key();
        let found = self.members.epochs.iter().find(|epoch| epoch.verifying_key == verifying_key);
        found.map(|epoch| epoch.number)
    }

    /// Where it stands.
    pub fn seen(&self) -> Seen {
        let hash = self.hashes.last().expect("a log has an entry");
        Seen { number: self.entries.len() as u64, hash: blake3::Hash::from_bytes(*hash).to_hex().to_string() }
    }

    /// Refuses a log that is older than, or another than, what was seen.
    pub fn check_seen(&self, seen: &Seen) -> Result<(), LogError> {
        let found = self.entries.len() as u64;
        if found < seen.number {
            return Err(LogError::RolledBack { found, seen: seen.number });
        }
        let index = usize::try_from(seen.number).ok().and_then(|number| number.checked_sub(1));
        let hash = index.and_then(|index| self.hashes.get(index));
        if hash.is_some_and(|hash| blake3::Hash::from_bytes(*hash).to_hex().as_str() == seen.hash) {
            Ok(())
        } else {
            Err(LogError::Forked(seen.number))
        }
    }

    /// Whether this is `older` and perhaps more.
    pub fn continues(&self, older: &Self) -> bool {
        self.hashes.starts_with(&older.hashes)
    }
}

fn write(entry: &Entry, account: &AccountKey, next: Option<&AccountKey>, out: &mut Vec<u8>) {
    let body = encode(entry);
    out.put_u32(u32::try_from(body.len()).expect("entries are short"));
    out.put_bytes(&body);
    for key in [Some(account), next].into_iter().flatten() {
        out.put_bytes(&key.signing().sign(CONTEXT, &body));
    }
}

fn encode(entry: &Entry) -> Vec<u8> {
    let mut out = vec![VERSION];
    out.put_u64(entry.number);
    out.put_bytes(&entry.previous);
    out.put_u32(entry.epoch);
    out.put_u64(entry.time);
    out.put_text(entry.device.as_str());
    match &entry.change {
        Change::Found { key, verifying_key } => {
            out.put_u8(1);
            out.put_bytes(key.as_bytes());
            out.put_bytes(verifying_key.as_bytes());
        }
        Change::AddPassphrase => out.put_u8(2),
        Change::RemovePassphrase => out.put_u8(3),
        Change::AddDevice { name, key } => {
            out.put_u8(4);
            out.put_text(name.as_str());
            out.put_bytes(key.as_bytes());
        }
        Change::RevokeDevice { name } => {
            out.put_u8(5);
            out.put_text(name.as_str());
        }
        Change::Rotate { verifying_key, earlier } => {
            out.put_u8(6);
            out.put_bytes(verifying_key.as_bytes());
            out.put_bytes(earlier);
        }
    }
    out
}

/// Cuts a file into entries; looks at nothing that needs another entry.
fn split(bytes: &[u8]) -> Result<Vec<Signed<'_>>, LogError> {
    let rest = bytes.strip_prefix(&MAGIC).ok_or(LogError::NoLog)?;
    if bytes.len() > MAX_LOG_LENGTH {
        return Err(LogError::TooLong(bytes.len()));
    }
    let mut rest = rest;
    let mut entries = Vec::new();
    while !rest.is_empty() {
        let at = entries.len() as u64 + 1;
        let signed = split_one(rest, at)?;
        rest = &rest[signed.whole.len()..];
        entries.push(signed);
    }
    if entries.is_empty() { Err(LogError::Truncated(1)) } else { Ok(entries) }
}

fn split_one(bytes: &[u8], at: u64) -> Result<Signed<'_>, LogError> {
    let truncated = |_: Malformed| LogError::Truncated(at);
    let mut take = Take::new(bytes);
    let length = take.u32().map_err(truncated)? as usize;
    if length > MAX_BODY_LENGTH {
        return Err(LogError::Malformed(at));
    }
    let body = take.bytes(length).map_err(truncated)?;
    match body.first() {
        Some(&VERSION) => {}
        Some(&version) if version > VERSION => return Err(LogError::Version(version)),
        _ => return Err(LogError::Malformed(at)),
    }
    let entry = decode(body).map_err(|_| LogError::Malformed(at))?;
    let count = if matches!(entry.change, Change::Rotate { .. }) { 2 } else { 1 };
    let mut signatures = Vec::with_capacity(count);
    for _ in 0..count {
        signatures.push(take.bytes(SIGNATURE_LENGTH).map_err(truncated)?);
    }
    let whole = &bytes[..4 + length + count * SIGNATURE_LENGTH];
    Ok(Signed { whole, body, signatures, entry })
}

fn decode(body: &[u8]) -> Result<Entry, Malformed> {
    let mut take = Take::new(body);
    take.u8()?;
    let (number, previous) = (take.u64()?, take.array()?);
    let (epoch, time) = (take.u32()?, take.u64()?);
    let device = take_name(&mut take)?;
    let change = match take.u8()? {
        1 => Change::Found {
            key: DeviceKey(take.array()?),
            verifying_key: IdentityKey::from_bytes(take.array()?),
        },
        2 => Change::AddPassphrase,
        3 => Change::RemovePassphrase,
        4 => Change::AddDevice { name: take_name(&mut take)?, key: DeviceKey(take.array()?) },
        5 => Change::RevokeDevice { name: take_name(&mut take)? },
        6 => Change::Rotate { verifying_key: IdentityKey::from_bytes(take.array()?), earlier: take.array()? },
        _ => return Err(take.malformed()),
    };
    take.finish()?;
    Ok(Entry { number, previous, epoch, time, device, change })
}

fn take_name(take: &mut Take<'_>) -> Result<DeviceName, Malformed> {
    take.text(MAX_NAME_LENGTH)?.parse().map_err(|_| take.malformed())
}

#[cfg(test)]
mod tests;
