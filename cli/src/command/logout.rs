//! `cbrowse logout`: forgets the credential, and on request this machine's client key.

use serde_json::json;

use super::login::blocking;
use crate::{
    context::Globals,
    credentials::TOKEN_VARIABLE,
    failure::Failure,
    keyring::{Keyring, Secret, passphrase::PassphraseArgs},
};

/// Arguments of `cbrowse logout`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Also forget this machine's client key: tokens made for it are worth nothing any more.
    #[arg(long)]
    pub forget_key: bool,
    /// Where the passphrase comes from when no keyring answers.
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
}

/// Forgets. Not to have been logged in is no failure.
pub async fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    let (paths, source, forget_key) = (globals.paths.clone(), args.passphrase.source(), args.forget_key);
    let (login, key) = blocking(move || {
        let keyring = Keyring::open(&paths, source);
        let login = keyring.remove(Secret::Login)?;
        let key = forget_key && keyring.remove(Secret::ClientKey)?;
        Ok((login, key))
    })
    .await?;
    if std::env::var_os(TOKEN_VARIABLE).is_some_and(|value| !value.is_empty()) {
        globals.output.warn(format!("{TOKEN_VARIABLE} is still set and goes on being used"));
    }
    if globals.output.is_json() {
        return globals.output.document(&json!({ "logged_out": login, "key_forgotten": key }));
    }
    globals.output.print(&if login { "logged out" } else { "nobody was logged in" })
}
