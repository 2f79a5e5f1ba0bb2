//! The account key of this user: made once, kept before anything is sealed with it, never replaced silently.

use cbrowse_profile::{
    authority::{Authority, AuthorityError, ProfileRecord, list},
    keys::AccountKey,
    secret::SystemRandom,
};

use crate::{
    context::Paths,
    failure::{Exit, Failure},
    keyring::{Keyring, Place, Secret, passphrase::PassphraseSource},
    private_file::{self, Held},
    profile::OpenProfile,
};

/// One command at a time makes, names or deletes profiles of this user.
pub(super) fn hold_all(paths: &Paths) -> Result<Held, Failure> {
    private_file::lock(&paths.profiles()).map_err(|error| {
        Failure::new(Exit::Profile, "profile_busy", error.to_string())
            .hint("wait for the other cbrowse profile command; nothing was changed")
    })
}

/// Opens a profile of this machine with the account key. Whether there is one by that name is said before anybody is asked
/// for a passphrase.
pub fn open(paths: &Paths, source: PassphraseSource, name: &str) -> Result<OpenProfile, Failure> {
    Authority::open(&paths.profiles(), name)?;
    let keyring = Keyring::open(paths, source);
    let account = kept(&keyring)?.ok_or_else(|| lost(&keyring, 1))?;
    Ok(OpenProfile::open(&paths.profiles(), name, &account)?)
}

/// The account key, if it was ever kept.
pub fn kept(keyring: &Keyring) -> Result<Option<AccountKey>, Failure> {
    let Some(bytes) = keyring.get(Secret::AccountKey)? else { return Ok(None) };
    let bytes: [u8; 32] = bytes.as_slice().try_into().map_err(|_| {
        let message = format!("the account key in {} is damaged", keyring.describe());
        Failure::new(Exit::Profile, "account_key", message).hint(
            "restore it from a backup; profiles cannot be opened without that key, and no new one was made",
        )
    })?;
    Ok(Some(AccountKey::from_bytes(bytes)))
}

/// The account key for one more profile, and whether it was made now. Under [`hold_all`].
pub(super) fn for_new_profile(paths: &Paths, keyring: &Keyring) -> Result<(AccountKey, bool), Failure> {
    let profiles = list(&paths.profiles())?;
    match kept(keyring)? {
        Some(account) if fits(&account, &profiles) => Ok((account, false)),
        Some(_) => Err(foreign(keyring, profiles.len())),
        None if profiles.is_empty() => Ok((make(keyring)?, true)),
        None => Err(lost(keyring, profiles.len())),
    }
}

/// A key that opens none of the profiles that are there is a second key, whoever put it there.
fn fits(account: &AccountKey, profiles: &[ProfileRecord]) -> bool {
    let made = |profile: &ProfileRecord| {
        cbrowse_profile::keys::ProfileKeys::derive(account, &profile.id).verifying_key()
            == profile.verifying_key
    };
    profiles.is_empty() || profiles.iter().any(made)
}

/// Kept, and read back as it will be read later: a keyring that forgets is found out while there is nothing to lose.
fn make(keyring: &Keyring) -> Result<AccountKey, Failure> {
    let account = AccountKey::generate(&mut SystemRandom);
    keyring.set(Secret::AccountKey, account.expose())?;
    let again = kept(keyring)?;
    if again.is_some_and(|again| again.expose() == account.expose()) {
        return Ok(account);
    }
    let message = format!("{} did not keep the new account key; no profile was made", keyring.describe());
    Err(Failure::new(Exit::Profile, "key_not_kept", message)
        .hint("keep keys in a sealed file instead: --passphrase-fd N"))
}

fn lost(keyring: &Keyring, profiles: usize) -> Failure {
    let them =
        if profiles == 1 { "the profile here".to_owned() } else { format!("the {profiles} profiles here") };
    let message =
        format!("{} holds no account key, and {them} cannot be opened without it", keyring.describe());
    let hint = match keyring.place() {
        Place::File => {
            "it may lie in the desktop's keyring: try without --passphrase-fd; or restore secrets.sealed from a backup. No \
             second key was made"
        }
        Place::Keyring | Place::Gone => "restore the keyring from a backup. No second key was made",
    };
    Failure::new(Exit::Profile, "account_key_missing", message).hint(hint)
}

fn foreign(keyring: &Keyring, profiles: usize) -> Failure {
    let message = format!(
        "the account key in {} made none of the {profiles} profiles here; no further one was made with it",
        keyring.describe()
    );
    Failure::new(Exit::Profile, "wrong_key", message).hint("restore the key with which they were made")
}

/// The failure for a profile name that is taken, before a key is made or asked for.
pub(super) fn check_free(paths: &Paths, name: &cbrowse_protocol::id::ProfileName) -> Result<(), Failure> {
    if list(&paths.profiles())?.iter().any(|record| record.name == *name) {
        return Err(AuthorityError::Exists(name.clone()).into());
    }
    Ok(())
}
