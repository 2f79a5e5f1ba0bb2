//! `cbrowse profile key add-passphrase`: the account key under a passphrase too, in a file beside the profiles.

use cbrowse_profile::{
    account::Change,
    secret::SystemRandom,
    slot::{Cost, seal_slot},
};
use serde_json::json;

use super::{account::Acting, failures};
use crate::{
    command::login::blocking,
    context::{Globals, Paths},
    failure::{Exit, Failure},
    keyring::{
        Keyring,
        passphrase::{PassphraseArgs, PassphraseSource},
    },
};

/// Shown below the help.
pub const EXAMPLES: &str = "\
Examples:
  cbrowse profile key add-passphrase
  cbrowse profile key add-passphrase --new-fd 3 3<passphrase.txt
  cbrowse profile key add-passphrase --remove

It opens the key when the keyring is lost and the disk is not: cbrowse profile key recover --from-passphrase.
Whoever copies the file can try passphrases on it, each for 64 MiB and a tenth of a second: choose a long one.
";

/// Arguments of `cbrowse profile key add-passphrase`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Read the new passphrase from this file descriptor instead of asking twice at the terminal.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    pub new_fd: Option<i32>,
    /// No passphrase opens the key any more.
    #[arg(long, conflicts_with = "new_fd")]
    pub remove: bool,
    /// Where the passphrase of the sealed file comes from when no keyring answers.
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
}

/// Adds or removes.
pub async fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    let (paths, source) = (globals.paths.clone(), args.passphrase.source());
    let slot = paths.account().join("passphrase.slot");
    if args.remove {
        blocking(move || remove(&paths, source)).await?;
    } else {
        let descriptor = args.new_fd;
        blocking(move || add(&paths, source, descriptor)).await?;
    }
    let output = &globals.output;
    if output.is_json() {
        return output.document(&json!({ "passphrase": !args.remove, "slot": slot }));
    }
    if args.remove {
        output.print(&"no passphrase opens the account key any more")?;
        output.note("a copy of the file that somebody made meanwhile still opens with it: rotate if that may be (cbrowse profile key rotate)");
    } else {
        output.print(&"the passphrase opens the account key")?;
        output.note("use it: cbrowse profile key recover --from-passphrase");
    }
    Ok(())
}

fn add(paths: &Paths, source: PassphraseSource, descriptor: Option<i32>) -> Result<(), Failure> {
    let keyring = Keyring::open(paths, source);
    // A wrong or missing key is said before anybody is asked for a new passphrase.
    super::account::open(paths, &keyring)?;
    let new = PassphraseSource::new(descriptor)
        .get(&paths.account().join("passphrase.slot"), true)
        .map_err(|error| failures::nobody_gave("new passphrase", &error, "--new-fd"))?;
    let acting = Acting::begin(paths, &keyring)?;
    let slot = seal_slot(acting.account.key(), &new, Cost::default(), &mut SystemRandom)
        .map_err(failures::slot_failure)?;
    acting.directory.keep_passphrase_slot(&slot)?;
    acting.change(Change::AddPassphrase).map(drop)
}

fn remove(paths: &Paths, source: PassphraseSource) -> Result<(), Failure> {
    let keyring = Keyring::open(paths, source);
    let acting = Acting::begin(paths, &keyring)?;
    let is_known = acting.account.log().is_some_and(|log| log.members().passphrase.is_some());
    let acting = if is_known { acting.change(Change::RemovePassphrase)? } else { acting };
    if acting.directory.remove_passphrase_slot()? || is_known {
        return Ok(());
    }
    Err(Failure::new(Exit::Profile, "no_slot", "no passphrase opens the account key")
        .hint("add one: cbrowse profile key add-passphrase"))
}
