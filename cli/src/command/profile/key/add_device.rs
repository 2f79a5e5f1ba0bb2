//! `cbrowse profile key add-device`: the account, sealed to the device that printed a code.

use std::path::PathBuf;

use cbrowse_profile::{
    account::{
        Account, Change,
        device::{DeviceKey, DeviceName},
        invitation::{LIFETIME, seal_invitation},
    },
    authority::{Authority, InvitedProfile, list},
    secret::SystemRandom,
};
use clap::ValueHint;
use serde_json::json;

use super::account::{self, Acting};
use crate::{
    command::login::blocking,
    context::{Globals, Paths},
    date,
    failure::{Exit, Failure},
    keyring::{
        Keyring,
        passphrase::{PassphraseArgs, PassphraseSource},
    },
    private_file,
};

/// Shown below the help.
pub const EXAMPLES: &str = "\
Examples:
  cbrowse profile key add-device 0502-g0na-... --name laptop
  cbrowse profile key add-device 0502-g0na-... --name laptop --out /media/stick/laptop.invitation
  cbrowse profile key add-device --name laptop           a device that belongs to the account: a new invitation

Nobody but that device can open the file. It is good for a week.
";

/// Arguments of `cbrowse profile key add-device`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What `cbrowse profile key request` printed there; not needed for a device that belongs to the account.
    #[arg(value_name = "CODE")]
    pub code: Option<String>,
    /// What to call the device: letters, digits and . _ -
    #[arg(long, value_name = "NAME")]
    pub name: DeviceName,
    /// Write the invitation here instead of beside the profiles.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub out: Option<PathBuf>,
    /// Where the passphrase comes from when no keyring answers.
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
}

struct Invited {
    file: PathBuf,
    profiles: usize,
    epoch: u32,
    expires: u64,
}

/// Adds.
pub async fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    let key = args.code.as_deref().map(DeviceKey::from_code).transpose()?;
    let (paths, source) = (globals.paths.clone(), args.passphrase.source());
    let (name, out) = (args.name.clone(), args.out.clone());
    let invited = blocking(move || invite(&paths, source, key, &name, out)).await?;
    let output = &globals.output;
    if output.is_json() {
        return output.document(&json!({
            "device": args.name.as_str(), "invitation": invited.file, "profiles": invited.profiles,
            "epoch": invited.epoch, "expires": invited.expires,
        }));
    }
    output.print(&invited.file.display())?;
    output.note(format_args!(
        "carry this file to {0} until {1}; nobody else can open it. There: cbrowse profile key join FILE\nif {0} is lost: cbrowse \
         profile key revoke-device {0}",
        args.name,
        date::utc(invited.expires)
    ));
    Ok(())
}

fn invite(
    paths: &Paths,
    source: PassphraseSource,
    key: Option<DeviceKey>,
    name: &DeviceName,
    out: Option<PathBuf>,
) -> Result<Invited, Failure> {
    let keyring = Keyring::open(paths, source);
    let acting = Acting::begin(paths, &keyring)?;
    let members = acting.account.log().map(|log| log.members().clone()).unwrap_or_default();
    let named = members.device(name);
    let (acting, key) = match (key, named) {
        (None, Some(device)) => (acting, device.key),
        (None, None) => return Err(no_code(name)),
        (Some(key), Some(device)) if device.key == key => (acting, key),
        (Some(_), Some(_)) => return Err(name_taken(name)),
        (Some(key), None) => {
            check_new(&members, &key)?;
            (acting.change(Change::AddDevice { name: name.clone(), key })?, key)
        }
    };
    let profiles = profiles(paths)?;
    let now = account::now();
    let sealed = seal(&acting.account, &profiles, &key, now)?;
    let file = out.unwrap_or_else(|| place(paths, name));
    write(&file, &sealed)?;
    Ok(Invited { file, profiles: profiles.len(), epoch: acting.account.epoch(), expires: now + LIFETIME })
}

fn check_new(members: &cbrowse_profile::account::log::Members, key: &DeviceKey) -> Result<(), Failure> {
    let Some(device) = members.devices.iter().find(|device| device.key == *key) else { return Ok(()) };
    let (message, hint) = if device.revoked.is_some() {
        (
            format!("that is the key of {}, which was revoked", device.name),
            "a revoked key stays revoked: remove the entry cbrowse/device-key from that device's keyring, then ask it for a new \
             code; nothing was changed",
        )
    } else {
        (
            format!("that device belongs to the account already, as {}", device.name),
            "to make its invitation again: cbrowse profile key add-device --name with that name; nothing was changed",
        )
    };
    Err(Failure::new(Exit::Profile, "device_known", message).hint(hint))
}

fn no_code(name: &DeviceName) -> Failure {
    Failure::new(
        Exit::Usage,
        "no_code",
        format!("no device {name} belongs to the account, so its code is needed"),
    )
    .hint("on that device: cbrowse profile key request")
}

fn name_taken(name: &DeviceName) -> Failure {
    Failure::new(Exit::Profile, "device_exists", format!("another device is called {name}"))
        .hint("choose another --name, or see which there are: cbrowse profile key list; nothing was changed")
}

/// What every profile of this machine is.
pub(super) fn profiles(paths: &Paths) -> Result<Vec<InvitedProfile>, Failure> {
    let root = paths.profiles();
    let mut profiles = Vec::new();
    for record in list(&root)? {
        profiles.push(Authority::open(&root, record.id.as_str())?.invite()?);
    }
    Ok(profiles)
}

/// Profiles of other accounts are left out: their keys are not in the invitation.
pub(super) fn seal(
    account: &Account,
    profiles: &[InvitedProfile],
    key: &DeviceKey,
    now: u64,
) -> Result<Vec<u8>, Failure> {
    let is_own = |profile: &&InvitedProfile| {
        let keys = cbrowse_profile::keys::ProfileKeys::of(account, &profile.id);
        keys.epochs().any(|keys| keys.verifying_key() == profile.verifying_key)
    };
    let own: Vec<InvitedProfile> = profiles.iter().filter(is_own).cloned().collect();
    Ok(seal_invitation(account, &own, key, now, &mut SystemRandom)?)
}

/// Where an invitation lies unless its place is named.
pub(super) fn place(paths: &Paths, name: &DeviceName) -> PathBuf {
    paths.account().join("invitations").join(format!("{name}.invitation"))
}

/// Through the lock beside it only where the directory is ours to make.
pub(super) fn write(file: &std::path::Path, bytes: &[u8]) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::new(Exit::Profile, "invitation_file", format!("cannot write the invitation: {error}")).hint(
            "name a place that can be written to with --out; the device belongs to the account, so give the same command again",
        )
    };
    if let Some(parent) = file.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        use std::os::unix::fs::DirBuilderExt as _;
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(parent);
        made.map_err(|error| failed(&error))?;
    }
    let file = if file.parent().is_some_and(|parent| parent.as_os_str().is_empty()) {
        std::path::Path::new(".").join(file)
    } else {
        file.to_owned()
    };
    private_file::replace(&file, bytes).map_err(|error| failed(&error))
}
