//! `cbrowse profile key rotate` and `revoke-device`: another account key, and every profile sealed again under it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use cbrowse_profile::{
    account::{
        Account, AccountDirectory,
        device::DeviceName,
        rotation::{Plan, RotatedProfile, Rotation},
    },
    authority::{Authority, HeadRef, Resealed, list},
    head::Closing,
    keys::ProfileKeys,
    meter::Meter,
    save::SaveMeta,
    secret::SystemRandom,
};
use clap::ValueHint;
use serde_json::{Value, json};

use super::{
    account::{self, Acting},
    add_device,
};
use crate::{
    command::login::blocking,
    context::{Globals, Paths},
    failure::{Exit, Failure},
    keyring::{
        Keyring,
        passphrase::{PassphraseArgs, PassphraseSource},
    },
    output::Output,
    pending,
    profile::{chain, source::Source},
};

/// Shown below the help.
pub const EXAMPLES: &str = "\
Examples:
  cbrowse profile key rotate
  cbrowse profile key rotate --out /media/stick

Every profile's current generation is sealed again as the next one; older ones stay readable here.
Recovery words and the passphrase of before open nothing that is sealed from now on: write the new
words down. Each other device needs its new invitation.
";

/// Shown below the help.
pub const REVOKE_EXAMPLES: &str = "\
Examples:
  cbrowse profile key revoke-device laptop
  cbrowse profile key revoke-device laptop --force       though sessions are pending

The device keeps what it had: every generation that it could open until now. It opens nothing that is
sealed from now on. What else to do about a lost laptop: docs/lost-laptop.md
";

/// Arguments of `cbrowse profile key rotate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How.
    #[command(flatten)]
    pub how: How,
}

/// Arguments of `cbrowse profile key revoke-device`.
#[derive(Debug, clap::Args)]
pub struct RevokeArgs {
    /// Which device (cbrowse profile key list).
    #[arg(value_name = "NAME")]
    pub name: DeviceName,
    /// How.
    #[command(flatten)]
    pub how: How,
}

/// What both have.
#[derive(Debug, clap::Args)]
pub struct How {
    /// Go on though saves of sessions may still wait on nodes: they are then not taken over any more.
    #[arg(long)]
    pub force: bool,
    /// Write the other devices' new invitations into this directory instead of beside the profiles.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub out: Option<PathBuf>,
    /// Where the passphrase comes from when no keyring answers.
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
}

struct Rotated {
    epoch: u32,
    profiles: Vec<RotatedProfile>,
    invitations: Vec<(DeviceName, PathBuf)>,
    had_passphrase: bool,
}

/// Rotates.
pub async fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    start(None, &args.how, globals).await
}

/// Revokes, and rotates.
pub async fn revoke(args: &RevokeArgs, globals: &Globals) -> Result<(), Failure> {
    start(Some(args.name.clone()), &args.how, globals).await
}

async fn start(revoke: Option<DeviceName>, how: &How, globals: &Globals) -> Result<(), Failure> {
    let (paths, output, source) = (globals.paths.clone(), globals.output.clone(), how.passphrase.source());
    let (force, out, device) = (how.force, how.out.clone(), revoke.clone());
    let rotated =
        blocking(move || rotate(&paths, &output, source, device.as_ref(), force, out.as_deref())).await?;
    report(globals, revoke.as_ref(), &rotated)
}

fn rotate(
    paths: &Paths,
    output: &Output,
    source: PassphraseSource,
    revoke: Option<&DeviceName>,
    force: bool,
    out: Option<&Path>,
) -> Result<Rotated, Failure> {
    let _all = super::hold_all(paths)?;
    check_pending(paths, force)?;
    let keyring = Keyring::open(paths, source);
    let acting = Acting::begin(paths, &keyring)?;
    let members = acting.account.log().map(|log| log.members().clone()).unwrap_or_default();
    if let Some(name) = revoke {
        if members.device(name).is_none() {
            return Err(no_device(name));
        }
        if *name == acting.device {
            return Err(this_device(name));
        }
    }
    let plan = Plan { device: &acting.device, revoke, now: account::now() };
    let rotation =
        Rotation::begin(&acting.directory, &acting.account, &paths.profiles(), plan, &mut SystemRandom)?;
    let (account, profiles) = finish(paths, &keyring, &acting.directory, rotation, Some(output))?;
    if let Some(name) = revoke {
        // It brings the key that was just rotated away, and nobody is to carry it anywhere.
        let _gone = std::fs::remove_file(add_device::place(paths, name));
    }
    let invitations = invite_all(paths, &account, &acting.device, out)?;
    Ok(Rotated {
        epoch: account.epoch(),
        profiles,
        invitations,
        had_passphrase: members.passphrase.is_some(),
    })
}

/// Does what is left of a rotation, from wherever it stopped. Under the account's lock.
pub(super) fn finish(
    paths: &Paths,
    keyring: &Keyring,
    directory: &AccountDirectory,
    rotation: Rotation,
    output: Option<&Output>,
) -> Result<(Account, Vec<RotatedProfile>), Failure> {
    let meter = Arc::new(Meter::default());
    let drawn = output.map(|output| output.follow("sealing", "files", meter.clone()));
    let sealed = rotation.seal_profiles(&paths.profiles(), &meta(), &meter, &mut SystemRandom);
    drop(drawn);
    let profiles = sealed.map_err(|error| unfinished(error.into()))?;
    for profile in &profiles {
        if let Resealed::As(head) = &profile.outcome {
            follow_source(paths, profile.name.as_str(), head);
        }
    }
    rotation.keep_log(directory).map_err(|error| unfinished(error.into()))?;
    super::keep(keyring, rotation.account().key()).map_err(unfinished)?;
    let account = rotation.end(directory).map_err(|error| unfinished(error.into()))?;
    Ok((account, profiles))
}

/// A directory that the profile was sealed from still holds what the new generation does: the next sync looks at it.
fn follow_source(paths: &Paths, name: &str, head: &HeadRef) {
    let Ok(authority) = Authority::open(&paths.profiles(), name) else { return };
    let Some(source) = Source::of(authority.directory()) else { return };
    if source.head.generation + 1 == head.generation {
        // Whoever cannot be told names the directory again: profile sync --from.
        let _untold = Source { head: head.clone(), ..source }.remember(authority.directory());
    }
}

/// Whatever stopped it, nothing is lost, and the next command goes on.
fn unfinished(failure: Failure) -> Failure {
    let message = format!(
        "the rotation is not finished, and the next command that opens a profile goes on with it; every generation opens: {}",
        failure.message
    );
    Failure { message, ..failure }
}

/// Puts one profile under the current key that was not here, or was restored from a backup, when the others were.
pub(super) fn bring_up(paths: &Paths, account: &Account, name: &str) -> Result<(), Failure> {
    let mut authority = Authority::open(&paths.profiles(), name)?;
    let keys = ProfileKeys::of(account, &authority.record().id);
    authority.rotate(&keys, &meta(), &Meter::default(), &mut SystemRandom)?;
    Ok(())
}

/// How the browser ended and which it was stays as it is in each profile.
pub(super) fn meta() -> SaveMeta {
    SaveMeta {
        now: account::now(),
        device: account::this_host().as_str().to_owned(),
        browser_version: String::new(),
        closing: Closing::Clean,
    }
}

/// A save that waits was made with keys that were delegated before, and would be refused after.
fn check_pending(paths: &Paths, force: bool) -> Result<(), Failure> {
    if force {
        return Ok(());
    }
    let mut waiting = Vec::new();
    for record in list(&paths.profiles())? {
        let count = pending::of_profile(paths, &record.id).len();
        if count > 0 {
            waiting.push((record.name.to_string(), count));
        }
    }
    let Some((first, _)) = waiting.first() else { return Ok(()) };
    let names: Vec<_> = waiting.iter().map(|(name, count)| format!("{name} ({count})")).collect();
    let message = format!(
        "sessions may still run or have saves on nodes, which could not be taken over after a rotation: {}",
        names.join(", ")
    );
    Err(Failure::new(Exit::Profile, "sessions_pending", message)
        .hint(format!(
            "take them home first: cbrowse profile sync {first}; or give them up: --force. Nothing was changed"
        ))
        .details(json!(waiting.iter().map(|(name, count)| json!({"profile": name, "sessions": count})).collect::<Vec<_>>())))
}

fn no_device(name: &DeviceName) -> Failure {
    Failure::new(Exit::Profile, "no_device", format!("no device {name} belongs to the account"))
        .hint("see which do: cbrowse profile key list; nothing was changed")
}

fn this_device(name: &DeviceName) -> Failure {
    Failure::new(Exit::Usage, "this_device", format!("{name} is this device")).hint(
        "revoke it from another one; to make a new key and stay in the account: cbrowse profile key rotate. Nothing was changed",
    )
}

/// The new key for every device that stays, each in a file that it alone opens.
fn invite_all(
    paths: &Paths,
    account: &Account,
    own: &DeviceName,
    out: Option<&Path>,
) -> Result<Vec<(DeviceName, PathBuf)>, Failure> {
    let profiles = add_device::profiles(paths)?;
    let members = account.log().map(|log| log.members().clone()).unwrap_or_default();
    let mut written = Vec::new();
    for device in members.active().filter(|device| device.name != *own) {
        let sealed = add_device::seal(account, &profiles, &device.key, account::now())?;
        let file = match out {
            Some(directory) => directory.join(format!("{}.invitation", device.name)),
            None => add_device::place(paths, &device.name),
        };
        add_device::write(&file, &sealed)?;
        written.push((device.name.clone(), file));
    }
    Ok(written)
}

fn report(globals: &Globals, revoked: Option<&DeviceName>, rotated: &Rotated) -> Result<(), Failure> {
    let output = &globals.output;
    if output.is_json() {
        return output.document(&rotated.to_json(revoked));
    }
    if let Some(name) = revoked {
        output.print(&format!("device {name} is revoked: it opens nothing that is sealed from now on"))?;
    }
    output.print(&format!("the account key is new (epoch {})", rotated.epoch))?;
    for profile in &rotated.profiles {
        match &profile.outcome {
            Resealed::As(head) => {
                output.print(&format!("profile {}: sealed again as generation {}", profile.name, head.generation))?;
            }
            Resealed::Nothing => {}
            Resealed::Damaged(error) => output.warn(format_args!(
                "profile {}: its current generation is damaged and stays under the earlier key ({}); see cbrowse profile verify {0}",
                profile.name,
                chain(error)
            )),
        }
    }
    for (device, file) in &rotated.invitations {
        output.print(&format!(
            "{device} needs the new key: carry {} there, then: cbrowse profile key join FILE",
            file.display()
        ))?;
    }
    output.warn("the recovery words of before open nothing new: write the new ones down (cbrowse profile key show-recovery)");
    if rotated.had_passphrase {
        output.warn("the passphrase went with the old key: cbrowse profile key add-passphrase");
    }
    output.note("send nodes what they lack: cbrowse profile sync NAME");
    Ok(())
}

impl Rotated {
    fn to_json(&self, revoked: Option<&DeviceName>) -> Value {
        let profiles: Vec<_> = self
            .profiles
            .iter()
            .map(|profile| {
                let (generation, problem) = match &profile.outcome {
                    Resealed::As(head) => (Some(head.generation), None),
                    Resealed::Nothing => (None, None),
                    Resealed::Damaged(error) => (None, Some(chain(error))),
                };
                json!({ "profile": profile.name, "generation": generation, "problem": problem })
            })
            .collect();
        let invitations: Vec<_> = self
            .invitations
            .iter()
            .map(|(device, file)| json!({"device": device.as_str(), "file": file}))
            .collect();
        json!({
            "epoch": self.epoch, "revoked": revoked.map(DeviceName::as_str), "profiles": profiles,
            "invitations": invitations, "passphrase_removed": self.had_passphrase,
        })
    }
}
