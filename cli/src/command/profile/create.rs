//! `cbrowse profile create`: the account key on first use, then the profile, then its first generation where it has a source.

use std::{path::PathBuf, time::SystemTime};

use cbrowse_profile::{authority::Authority, extensions::Choice, secret::SystemRandom};
use cbrowse_protocol::id::ProfileName;
use clap::ValueHint;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{
    extensions::ExtensionArgs,
    key,
    seal::{Directory, Sealed},
    stopping::Stopping,
    words,
};
use crate::{
    command::login::blocking,
    context::{Globals, Paths},
    credentials::seconds,
    failure::Failure,
    keyring::{Keyring, passphrase::PassphraseArgs, passphrase::PassphraseSource},
    output::Output,
    profile::OpenProfile,
};

/// Shown below the help.
pub const EXAMPLES: &str = "\
Examples:
  cbrowse profile create work
  cbrowse profile create work --from ~/.config/chromium
  cbrowse profile create work --from ~/.config/chromium --extensions all
  cbrowse profile create work --passphrase-fd 3 3<passphrase.txt
";

/// Arguments of `cbrowse profile create`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to call it: letters, digits and . _ : - inside. Never leaves this machine.
    #[arg(value_name = "NAME")]
    pub name: ProfileName,
    /// Seal this Chromium user data directory as the first generation.
    #[arg(long, value_name = "USER_DATA_DIR", value_hint = ValueHint::DirPath)]
    pub from: Option<PathBuf>,
    /// Which extensions travel.
    #[command(flatten)]
    pub extensions: ExtensionArgs,
    /// Where the passphrase comes from when no keyring answers.
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
}

struct Created {
    id: cbrowse_protocol::id::ProfileId,
    key_made: bool,
    key_place: String,
    sealed: Option<Sealed>,
}

/// Creates.
pub async fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    let (name, from, choice) = (args.name.clone(), args.from.clone(), args.extensions.extensions.clone());
    let (paths, output, source) = (globals.paths.clone(), globals.output.clone(), args.passphrase.source());
    let stop = globals.interrupt.watch();
    let created =
        blocking(move || create(&paths, &output, source, &name, from.as_deref(), choice, &stop)).await?;
    report(args, globals, &created)
}

fn create(
    paths: &Paths,
    output: &Output,
    source: PassphraseSource,
    name: &ProfileName,
    from: Option<&std::path::Path>,
    choice: Option<Choice>,
    stop: &CancellationToken,
) -> Result<Created, Failure> {
    // Everything that can be refused without a key is refused first.
    key::check_free(paths, name)?;
    let mut directory = from.map(Directory::look).transpose()?;
    if let Some(directory) = &mut directory {
        directory.extensions = choice;
    }
    let made = make(paths, source, name)?;
    let store = Stopping { behind: made.profile.authority().store(), stop };
    let seal =
        |directory: Directory| store.or_interrupted(directory.seal_into(&made.profile, &store, output));
    let sealed = directory.map(seal).transpose();
    let sealed = sealed.map_err(|failure| undo(paths, name, failure))?;
    Ok(Created { id: made.profile.id().clone(), key_made: made.key_made, key_place: made.key_place, sealed })
}

/// A profile that was made and never saved.
pub(super) struct NewProfile {
    pub(super) profile: OpenProfile,
    /// Whether the account key was made for it.
    pub(super) key_made: bool,
    /// Where that key is kept.
    pub(super) key_place: String,
}

/// Makes an empty profile, and the account key where there is none yet.
pub(super) fn make(
    paths: &Paths,
    source: PassphraseSource,
    name: &ProfileName,
) -> Result<NewProfile, Failure> {
    let keyring = Keyring::open(paths, source);
    let held = key::hold_all(paths)?;
    let (account, key_made) = key::for_new_profile(paths, &keyring)?;
    let now = seconds(SystemTime::now());
    let authority = Authority::create(&paths.profiles(), name, &account, now, &mut SystemRandom)?;
    drop(held);
    let keys = authority.keys(&account)?;
    Ok(NewProfile { profile: OpenProfile::new(authority, keys), key_made, key_place: keyring.describe() })
}

/// A profile that could not be filled is not left behind empty: the same command can then be given again.
pub(super) fn undo(paths: &Paths, name: &ProfileName, failure: Failure) -> Failure {
    let undone = Authority::open(&paths.profiles(), name.as_str()).and_then(Authority::delete);
    let after = match undone {
        Ok(()) => "no profile was made".to_owned(),
        Err(_) => format!("an empty profile {name} is left; remove it: cbrowse profile delete {name}"),
    };
    Failure { message: format!("{}; {after}", failure.message), ..failure }
}

/// Said once, when the account key is made.
pub(super) fn tell_key(output: &Output, place: &str) {
    output.note(format_args!(
        "your account key was made and is kept in {place}; whoever loses it loses every profile: write down its recovery words \
         (cbrowse profile key show-recovery)"
    ));
}

fn report(args: &Args, globals: &Globals, created: &Created) -> Result<(), Failure> {
    let output = &globals.output;
    if output.is_json() {
        return output.document(&json!({
            "profile": args.name,
            "id": created.id,
            "key": { "made": created.key_made, "kept_in": created.key_place },
            "sealed": created.sealed.as_ref().map(Sealed::to_json),
        }));
    }
    output.print(&format!("profile {} is made", args.name))?;
    if let Some(sealed) = &created.sealed {
        output.print(&sealed.sentence())?;
        words::tell_left_behind(output, &sealed.left_behind);
    }
    if created.key_made {
        tell_key(output, &created.key_place);
    }
    let next = if created.sealed.is_some() {
        format!("send it ahead: cbrowse profile sync {0}; use it: cbrowse connect --profile {0}", args.name)
    } else {
        format!("use it: cbrowse connect --profile {}", args.name)
    };
    output.note(next);
    Ok(())
}
