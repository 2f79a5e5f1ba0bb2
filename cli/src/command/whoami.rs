//! `cbrowse whoami`: whom the present credential names, until when, and for what.

use std::time::SystemTime;

use serde_json::json;

use super::login::blocking;
use crate::{
    context::Globals,
    credentials::{self, Credentials, Origin, TOKEN_VARIABLE, seconds},
    date,
    failure::Failure,
    keyring::{Keyring, passphrase::PassphraseArgs},
};

/// Arguments of `cbrowse whoami`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where the passphrase comes from when no keyring answers.
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
}

/// Shows it. Whether a node accepts it, only that node can tell.
pub async fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    let (paths, source) = (globals.paths.clone(), args.passphrase.source());
    let variable = std::env::var(TOKEN_VARIABLE).ok();
    let (credentials, origin) = blocking(move || {
        credentials::find(variable.as_deref(), || Keyring::open(&paths, source), SystemTime::now())
    })
    .await?;
    show(globals, &credentials, origin)
}

fn show(globals: &Globals, credentials: &Credentials, origin: Origin) -> Result<(), Failure> {
    let claims = credentials.claims();
    if globals.output.is_json() {
        return globals.output.document(&json!({
            "user": claims.sub, "expires": claims.exp, "scope": claims.scope.to_string(), "token": claims.jti,
            "issuer": cbrowse_protocol::node::printable(&claims.iss, 64), "client_key": credentials.public_key(),
            "origin": origin,
        }));
    }
    let left = date::relative(seconds(SystemTime::now()), claims.exp);
    let origin = match origin {
        Origin::Environment => TOKEN_VARIABLE,
        Origin::Login => "cbrowse login",
    };
    globals.output.print(&format!(
        "{}\n  from     {origin}\n  until    {} ({left})\n  may      {}\n  key      {}",
        claims.sub,
        date::utc(claims.exp),
        claims.scope,
        credentials.public_key(),
    ))
}
