//! The account behind the key: opened with its log, finished where a rotation was interrupted, founded where it is to change.

use std::time::SystemTime;

use cbrowse_profile::{
    account::{
        Account, AccountDirectory, Change, Standing,
        device::{DeviceName, DeviceSecret},
    },
    secret::SystemRandom,
};

use super::{kept, lost, rotate};
use crate::{
    context::Paths,
    credentials::seconds,
    failure::{Exit, Failure},
    keyring::{Keyring, Secret},
};

/// The account, if its key was ever kept. Finishes a rotation that was interrupted.
pub(super) fn open(paths: &Paths, keyring: &Keyring) -> Result<Option<Account>, Failure> {
    let Some(key) = kept(keyring)? else { return Ok(None) };
    let directory = AccountDirectory::at(paths.account());
    match directory.open(key)? {
        Standing::Whole(account) => Ok(Some(account)),
        Standing::Interrupted { .. } => {
            let _held = directory.hold()?;
            under_lock(paths, keyring, &directory)
        }
    }
}

/// The same for whoever holds the account's lock.
pub(super) fn under_lock(
    paths: &Paths,
    keyring: &Keyring,
    directory: &AccountDirectory,
) -> Result<Option<Account>, Failure> {
    let Some(key) = kept(keyring)? else { return Ok(None) };
    match directory.open(key)? {
        Standing::Whole(account) => Ok(Some(account)),
        Standing::Interrupted { rotation, .. } => {
            rotate::finish(paths, keyring, directory, rotation, None).map(|(account, _)| Some(account))
        }
    }
}

/// The account under its lock, with a log that names this device: what it takes to change it.
pub(super) struct Acting {
    pub(super) directory: AccountDirectory,
    pub(super) account: Account,
    /// This device.
    pub(super) device: DeviceName,
    _held: cbrowse_profile::account::HeldAccount,
}

impl Acting {
    /// Founds the log where there is none, and lets this device into it where it is not: its key was lost with a keyring.
    pub(super) fn begin(paths: &Paths, keyring: &Keyring) -> Result<Self, Failure> {
        let directory = AccountDirectory::at(paths.account());
        // Asked first: a person may take long to type, and nobody waits behind a lock for that.
        kept(keyring)?.ok_or_else(|| lost(keyring, profiles(paths)))?;
        let held = directory.hold()?;
        let account =
            under_lock(paths, keyring, &directory)?.ok_or_else(|| lost(keyring, profiles(paths)))?;
        check_key(paths, keyring, &account)?;
        let secret = own_device(keyring)?;
        let host = this_host();
        let is_new = account.log().is_none();
        let account = account.found(&host, secret.public(), now());
        let members = account.log().map(|log| log.members().clone()).unwrap_or_default();
        let (account, device) = if let Some(own) = members.device_with(&secret.public()) {
            if is_new {
                keep(&directory, &account)?;
            }
            (account, own.name.clone())
        } else {
            let name = free_name(&host, |name| members.device(name).is_some());
            let change = Change::AddDevice { name: name.clone(), key: secret.public() };
            let account = account.change(&name, now(), change)?;
            keep(&directory, &account)?;
            (account, name)
        };
        Ok(Self { directory, account, device, _held: held })
    }

    /// Makes a change and keeps the log that says so.
    pub(super) fn change(self, change: Change) -> Result<Self, Failure> {
        let account = self.account.change(&self.device, now(), change)?;
        keep(&self.directory, &account)?;
        Ok(Self { account, ..self })
    }
}

fn keep(directory: &AccountDirectory, account: &Account) -> Result<(), Failure> {
    let Some(log) = account.log() else { return Ok(()) };
    Ok(directory.keep_log(log)?)
}

/// A key that made none of the profiles here changes nothing here.
fn check_key(paths: &Paths, keyring: &Keyring, account: &Account) -> Result<(), Failure> {
    let profiles = cbrowse_profile::authority::list(&paths.profiles())?;
    if super::fits(account, &profiles) { Ok(()) } else { Err(super::foreign(keyring, profiles.len())) }
}

pub(super) fn profiles(paths: &Paths) -> usize {
    cbrowse_profile::authority::list(&paths.profiles()).map_or(0, |profiles| profiles.len())
}

/// This device's key, made where it has none.
pub(super) fn own_device(keyring: &Keyring) -> Result<DeviceSecret, Failure> {
    if let Some(secret) = known_device(keyring)? {
        return Ok(secret);
    }
    let secret = DeviceSecret::generate(&mut SystemRandom);
    keyring.set(Secret::DeviceKey, secret.expose())?;
    Ok(secret)
}

/// This device's key, if it has one.
pub(super) fn known_device(keyring: &Keyring) -> Result<Option<DeviceSecret>, Failure> {
    let Some(bytes) = keyring.get(Secret::DeviceKey)? else { return Ok(None) };
    let bytes: [u8; 32] = bytes.as_slice().try_into().map_err(|_| {
        let message = format!("this device's key in {} is damaged", keyring.describe());
        Failure::new(Exit::Profile, "device_key", message).hint(
            "remove the entry cbrowse/device-key with a keyring tool; the next key command makes another. Profiles are safe",
        )
    })?;
    Ok(Some(DeviceSecret::from_bytes(bytes)))
}

/// What this machine calls itself.
pub(super) fn this_host() -> DeviceName {
    DeviceName::of_host(&std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default())
}

fn free_name(host: &DeviceName, is_taken: impl Fn(&DeviceName) -> bool) -> DeviceName {
    let numbered = |number: u32| {
        let stem: String = host.as_str().chars().take(48).collect();
        format!("{stem}-{number}").parse().unwrap_or_else(|_| host.clone())
    };
    let names = std::iter::once(host.clone()).chain((2..=u32::MAX).map(numbered));
    names.into_iter().find(|name| !is_taken(name)).unwrap_or_else(|| host.clone())
}

/// Seconds since the Unix epoch.
pub(super) fn now() -> u64 {
    seconds(SystemTime::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_taken_gets_a_number() {
        let host: DeviceName = "box".parse().unwrap();
        assert_eq!(free_name(&host, |_| false).as_str(), "box");
        assert_eq!(free_name(&host, |name| ["box", "box-2"].contains(&name.as_str())).as_str(), "box-3");
        let long: DeviceName = "x".repeat(64).parse().unwrap();
        assert_eq!(free_name(&long, |name| *name == long).as_str().len(), 50);
    }
}
