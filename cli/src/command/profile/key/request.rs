//! `cbrowse profile key request`: this device's public key as a short code, to be carried to a device that has the account.

use cbrowse_profile::account::device::CODE_LENGTH;
use serde_json::json;

use super::account;
use crate::{
    command::login::blocking,
    context::Globals,
    failure::Failure,
    keyring::{Keyring, passphrase::PassphraseArgs},
};

/// Shown below the help.
pub const EXAMPLES: &str = "\
Example:
  new device:    cbrowse profile key request
  other device:  cbrowse profile key add-device CODE --name laptop --out laptop.invitation
  new device:    cbrowse profile key join laptop.invitation

The code is no secret. It must reach the other device unchanged: read it out, or carry it yourself.
";

/// Arguments of `cbrowse profile key request`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where the passphrase comes from when no keyring answers.
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
}

/// Prints the code; makes the device's key on first use.
pub async fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    let (paths, source) = (globals.paths.clone(), args.passphrase.source());
    let code = blocking(move || {
        let keyring = Keyring::open(&paths, source);
        account::own_device(&keyring).map(|secret| secret.public().to_code())
    })
    .await?;
    let output = &globals.output;
    if output.is_json() {
        return output.document(&json!({ "code": code, "device": account::this_host().as_str() }));
    }
    output.print(&code)?;
    output.note(format_args!(
        "on a device that has your profiles ({CODE_LENGTH} characters, checked there; dashes may be left out):\n  cbrowse profile \
         key add-device CODE --name {}",
        account::this_host()
    ));
    Ok(())
}
