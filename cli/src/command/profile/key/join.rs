//! `cbrowse profile key join`: an invitation taken, on the device it was sealed to.

use std::path::PathBuf;

use cbrowse_profile::{
    account::{
        Account, AccountDirectory,
        invitation::{Invitation, MAX_INVITATION_LENGTH, open_invitation},
    },
    authority::{Authority, InvitedProfile, list},
    keys::AccountKey,
};
use clap::ValueHint;
use serde_json::json;

use super::{account, fits, keep, kept};
use crate::{
    command::login::blocking,
    context::{Globals, Paths},
    failure::{Exit, Failure},
    keyring::{
        Keyring,
        passphrase::{PassphraseArgs, PassphraseSource},
    },
    private_file,
};

/// Shown below the help.
pub const EXAMPLES: &str = "\
Example:
  cbrowse profile key join /media/stick/laptop.invitation

It brings the account key, who belongs to the account, and which profiles there are with their
newest heads. A device that belongs to the account takes the key of a rotation the same way.
A key of another account that is here is never overwritten.
";

/// Arguments of `cbrowse profile key join`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What `cbrowse profile key add-device` wrote on the other device.
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// Where the passphrase comes from when no keyring answers.
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
}

struct Joined {
    epoch: u32,
    kept_in: String,
    profiles: Vec<(String, InvitedProfile)>,
}

/// Joins.
pub async fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    let bytes = private_file::read(&args.file, MAX_INVITATION_LENGTH as u64)
        .map_err(|error| error.to_string())
        .and_then(|bytes| bytes.ok_or_else(|| format!("there is no file {}", args.file.display())))
        .map_err(|error| {
            Failure::new(Exit::Usage, "invitation_file", error)
                .hint("name the file that cbrowse profile key add-device wrote")
        })?;
    let (paths, source) = (globals.paths.clone(), args.passphrase.source());
    let joined = blocking(move || join(&paths, source, &bytes)).await?;
    report(globals, &joined)
}

fn join(paths: &Paths, source: PassphraseSource, bytes: &[u8]) -> Result<Joined, Failure> {
    let keyring = Keyring::open(paths, source);
    let secret = account::known_device(&keyring)?.ok_or_else(|| no_request(&keyring))?;
    let directory = AccountDirectory::at(paths.account());
    let _all = super::hold_all(paths)?;
    let _held = directory.hold()?;
    let known = directory.log()?;
    let invitation = open_invitation(bytes, &secret, known.as_ref(), account::now())?;
    let own = kept(&keyring)?;
    let profiles = list(&paths.profiles())?;
    if !may_replace(own.as_ref(), &invitation.account) || !fits(&invitation.account, &profiles) {
        return Err(other_account(&keyring));
    }
    let Invitation { account, profiles, .. } = invitation;
    if let Some(log) = account.log() {
        directory.keep_log(log)?;
    }
    if own.is_none_or(|own| own.expose() != account.key().expose()) {
        keep(&keyring, account.key())?;
    }
    let mut welcomed = Vec::new();
    for profile in profiles {
        let authority = Authority::welcome(&paths.profiles(), &profile)?;
        welcomed.push((authority.record().name.to_string(), profile));
    }
    Ok(Joined { epoch: account.epoch(), kept_in: keyring.describe(), profiles: welcomed })
}

/// Nothing, the same key, or one that this account rotated away.
fn may_replace(own: Option<&AccountKey>, account: &Account) -> bool {
    let Some(own) = own else { return true };
    std::iter::once(account.key()).chain(account.earlier()).any(|key| key.expose() == own.expose())
}

fn no_request(keyring: &Keyring) -> Failure {
    let message =
        format!("{} holds no key of this device, so no invitation can be for it", keyring.describe());
    Failure::new(Exit::Profile, "no_request", message)
        .hint("make one, and have the invitation made for its code: cbrowse profile key request")
}

fn other_account(keyring: &Keyring) -> Failure {
    let message = format!(
        "{} holds the key of another account, and the invitation does not replace it",
        keyring.describe()
    );
    Failure::new(Exit::Profile, "other_key_kept", message).hint(
        "join with another user of this machine, or move the profiles here elsewhere and remove that key first; write its \
         recovery words down before (cbrowse profile key show-recovery). Nothing was changed",
    )
}

fn report(globals: &Globals, joined: &Joined) -> Result<(), Failure> {
    let output = &globals.output;
    if output.is_json() {
        let profiles: Vec<_> = joined
            .profiles
            .iter()
            .map(|(name, profile)| {
                json!({
                    "profile": name, "id": profile.id,
                    "newest_generation": profile.head.as_ref().map(|head| head.generation),
                    "newest_head": profile.head.as_ref().map(|head| head.name.to_string()),
                })
            })
            .collect();
        return output.document(&json!({
            "epoch": joined.epoch, "kept_in": joined.kept_in, "profiles": profiles,
        }));
    }
    output.print(&format!("this device belongs to the account; its key is kept in {}", joined.kept_in))?;
    for (name, profile) in &joined.profiles {
        match &profile.head {
            Some(head) => output
                .print(&format!("profile {name}: generation {} on the other device", head.generation))?,
            None => output.print(&format!("profile {name}: never saved on the other device"))?,
        }
    }
    if let Some((name, _)) = joined.profiles.iter().find(|(_, profile)| profile.head.is_some()) {
        output.note(format_args!("bring them here: cbrowse profile pull {name}"));
    }
    Ok(())
}
