//! The account key of this user: made once, kept before anything is sealed with it, never replaced silently; and `cbrowse profile
//! key`, which shows, recovers, shares, revokes and rotates it.

mod account;
pub mod add_device;
pub mod add_passphrase;
mod failures;
pub mod join;
pub mod list;
pub mod recover;
pub mod request;
pub mod rotate;
pub mod show_recovery;

use cbrowse_profile::{
    account::Account,
    authority::{Authority, AuthorityError, ProfileRecord, list},
    keys::{AccountKey, ProfileKeys},
    secret::SystemRandom,
};
use clap::Subcommand;

use crate::{
    context::{Globals, Paths},
    failure::{Exit, Failure},
    keyring::{Keyring, Place, Secret, passphrase::PassphraseSource},
    private_file::{self, Held},
    profile::OpenProfile,
};

/// Shown below the help.
pub const EXAMPLES: &str = "\
Examples:
  cbrowse profile key show-recovery                    write these words down
  cbrowse profile key recover                          the keyring is lost, the words are not
  cbrowse profile key request                          on a new device: a code to carry to this one
  cbrowse profile key add-device CODE --name laptop    on this one: a file to carry back
  cbrowse profile key revoke-device laptop             it was lost or stolen
";

/// Arguments of `cbrowse profile key`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What can be done with the account key.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print the recovery words: whoever has them can open every profile.
    #[command(after_help = show_recovery::EXAMPLES)]
    ShowRecovery(show_recovery::Args),
    /// Bring the account key back from its recovery words or its passphrase slot.
    #[command(after_help = recover::EXAMPLES)]
    Recover(recover::Args),
    /// Let a passphrase open the account key too, or no longer.
    #[command(after_help = add_passphrase::EXAMPLES)]
    AddPassphrase(add_passphrase::Args),
    /// On a new device: print the code with which another device can invite it.
    #[command(after_help = request::EXAMPLES)]
    Request(request::Args),
    /// Invite the device that printed a code.
    #[command(after_help = add_device::EXAMPLES)]
    AddDevice(add_device::Args),
    /// On a new device: take an invitation.
    #[command(after_help = join::EXAMPLES)]
    Join(join::Args),
    /// List devices and whatever else opens the account key.
    List(list::Args),
    /// Make another account key that a lost device does not have.
    #[command(after_help = rotate::REVOKE_EXAMPLES)]
    RevokeDevice(rotate::RevokeArgs),
    /// Make another account key and seal every profile again under it.
    #[command(after_help = rotate::EXAMPLES)]
    Rotate(rotate::Args),
}

/// Runs it.
pub async fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    match &args.command {
        Command::ShowRecovery(args) => show_recovery::run(args, globals).await,
        Command::Recover(args) => recover::run(args, globals).await,
        Command::AddPassphrase(args) => add_passphrase::run(args, globals).await,
        Command::Request(args) => request::run(args, globals).await,
        Command::AddDevice(args) => add_device::run(args, globals).await,
        Command::Join(args) => join::run(args, globals).await,
        Command::List(args) => list::run(args, globals).await,
        Command::RevokeDevice(args) => rotate::revoke(args, globals).await,
        Command::Rotate(args) => rotate::run(args, globals).await,
    }
}

/// One command at a time makes, names or deletes profiles of this user.
pub(super) fn hold_all(paths: &Paths) -> Result<Held, Failure> {
    private_file::lock(&paths.profiles()).map_err(|error| {
        Failure::new(Exit::Profile, "profile_busy", error.to_string())
            .hint("wait for the other cbrowse profile command; nothing was changed")
    })
}

/// Opens a profile of this machine with the account key. Whether there is one by that name is said before anybody is asked
/// for a passphrase. A rotation that was interrupted is finished first.
pub fn open(paths: &Paths, source: PassphraseSource, name: &str) -> Result<OpenProfile, Failure> {
    Authority::open(&paths.profiles(), name)?;
    let keyring = Keyring::open(paths, source);
    let account = account::open(paths, &keyring)?.ok_or_else(|| lost(&keyring, 1))?;
    match OpenProfile::of(&paths.profiles(), name, &account) {
        Err(AuthorityError::EarlierEpoch(_)) => {
            rotate::bring_up(paths, &account, name)?;
            Ok(OpenProfile::of(&paths.profiles(), name, &account)?)
        }
        opened => Ok(opened?),
    }
}

/// The same for whoever grants the current generation to a worker: it is of the account's current epoch then.
pub fn open_to_grant(paths: &Paths, source: PassphraseSource, name: &str) -> Result<OpenProfile, Failure> {
    let profile = open(paths, source, name)?;
    bring_up(profile.authority(), profile.keys())?;
    Ok(profile)
}

/// Seals the current generation again where it is of an earlier epoch of the account.
pub(super) fn bring_up(authority: &Authority, keys: &ProfileKeys) -> Result<(), Failure> {
    Ok(authority.bring_up(keys, &rotate::meta(), &mut SystemRandom)?)
}

/// The account key, if it was ever kept.
pub fn kept(keyring: &Keyring) -> Result<Option<AccountKey>, Failure> {
    let Some(bytes) = keyring.get(Secret::AccountKey)? else { return Ok(None) };
    let bytes: [u8; 32] = bytes.as_slice().try_into().map_err(|_| {
        let message = format!("the account key in {} is damaged", keyring.describe());
        Failure::new(Exit::Profile, DAMAGED_KEY, message).hint(
            "bring it back with your recovery words: cbrowse profile key recover; or restore it from a backup. Profiles are \
             safe, and no new key was made",
        )
    })?;
    Ok(Some(AccountKey::from_bytes(bytes)))
}

/// The account with every epoch's key, if its key was ever kept.
pub fn kept_account(paths: &Paths, keyring: &Keyring) -> Result<Option<Account>, Failure> {
    account::open(paths, keyring)
}

/// Code of the failure that says that what is kept is no key.
const DAMAGED_KEY: &str = "account_key";

/// The account key for one more profile, and whether it was made now. Under [`hold_all`].
pub(super) fn for_new_profile(paths: &Paths, keyring: &Keyring) -> Result<(AccountKey, bool), Failure> {
    let profiles = list(&paths.profiles())?;
    match account::open(paths, keyring)? {
        Some(account) if fits(&account, &profiles) => Ok((account.key().duplicate(), false)),
        Some(_) => Err(foreign(keyring, profiles.len())),
        None if profiles.is_empty() && !paths.account().join("log").exists() => Ok((make(keyring)?, true)),
        None => Err(lost(keyring, profiles.len())),
    }
}

/// A key that opens none of the profiles that are there is a second key, whoever put it there.
fn fits(account: &Account, profiles: &[ProfileRecord]) -> bool {
    let made = |profile: &ProfileRecord| {
        let keys = ProfileKeys::of(account, &profile.id);
        keys.epochs().any(|keys| keys.verifying_key() == profile.verifying_key)
    };
    profiles.is_empty() || profiles.iter().any(made)
}

fn make(keyring: &Keyring) -> Result<AccountKey, Failure> {
    let account = AccountKey::generate(&mut SystemRandom);
    keep(keyring, &account)?;
    Ok(account)
}

/// Kept, and read back as it will be read later: a keyring that forgets is found out while there is nothing to lose.
fn keep(keyring: &Keyring, account: &AccountKey) -> Result<(), Failure> {
    keyring.set(Secret::AccountKey, account.expose())?;
    let again = kept(keyring)?;
    if again.is_some_and(|again| again.expose() == account.expose()) {
        return Ok(());
    }
    let message = format!("{} did not keep the account key; nothing was made with it", keyring.describe());
    Err(Failure::new(Exit::Profile, "key_not_kept", message)
        .hint("keep keys in a sealed file instead: --passphrase-fd N"))
}

fn lost(keyring: &Keyring, profiles: usize) -> Failure {
    let them = match profiles {
        0 => "this account's profiles".to_owned(),
        1 => "the profile here".to_owned(),
        _ => format!("the {profiles} profiles here"),
    };
    let message =
        format!("{} holds no account key, and {them} cannot be opened without it", keyring.describe());
    let recover = "bring it back with your recovery words: cbrowse profile key recover";
    let hint = match keyring.place() {
        Place::File => format!(
            "{recover}; or it lies in the desktop's keyring: try without --passphrase-fd; or restore secrets.sealed from a \
             backup. Profiles are safe, and no second key was made"
        ),
        Place::Keyring | Place::Gone => format!(
            "{recover}; or restore the keyring from a backup. Profiles are safe, and no second key was made"
        ),
    };
    Failure::new(Exit::Profile, "account_key_missing", message).hint(hint)
}

fn foreign(keyring: &Keyring, profiles: usize) -> Failure {
    let message = format!(
        "the account key in {} made none of the {profiles} profiles here; no further one was made with it",
        keyring.describe()
    );
    Failure::new(Exit::Profile, "wrong_key", message).hint(
        "restore the key with which they were made, or bring it back with its recovery words: cbrowse profile key recover",
    )
}

/// The failure for a profile name that is taken, before a key is made or asked for.
pub(super) fn check_free(paths: &Paths, name: &cbrowse_protocol::id::ProfileName) -> Result<(), Failure> {
    if list(&paths.profiles())?.iter().any(|record| record.name == *name) {
        return Err(AuthorityError::Exists(name.clone()).into());
    }
    Ok(())
}
