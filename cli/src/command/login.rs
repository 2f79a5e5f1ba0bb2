//! `cbrowse login`: keeps the credential that an operator handed out, or shows the key that one can be made for.

use std::{
    io::{self, IsTerminal as _, Read as _},
    time::SystemTime,
};

use cbrowse_protocol::token::{Claims, Credential};
use serde_json::json;
use zeroize::Zeroizing;

use crate::{
    context::Globals,
    credentials::{self, Credentials, CredentialsError, TOKEN_VARIABLE, seconds},
    date,
    failure::{Exit, Failure},
    keyring::{Keyring, MAX_SECRET_LENGTH, Secret, passphrase::PassphraseArgs},
};

/// Arguments of `cbrowse login`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("way").required(true))]
pub struct Args {
    /// Read the token from standard input (what `cbrowse-node token` printed) and keep it.
    #[arg(long, group = "way")]
    pub with_token: bool,
    /// Print this machine's public key; an operator can make a token for it, which is then no secret.
    #[arg(long, group = "way")]
    pub show_key: bool,
    /// Where the passphrase comes from when no keyring answers.
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
}

/// Keeps a credential, or prints the key.
pub async fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    let (paths, source) = (globals.paths.clone(), args.passphrase.source());
    if args.show_key {
        let key = blocking(move || Ok(credentials::own_key(&Keyring::open(&paths, source))?)).await?;
        return if globals.output.is_json() {
            globals.output.document(&json!({ "client_key": key }))
        } else {
            globals.output.print(&key)
        };
    }
    let (claims, place) = blocking(move || {
        let keyring = Keyring::open(&paths, source);
        let line = read_line()?;
        let claims = keep(&keyring, &line, SystemTime::now())?;
        Ok((claims, keyring.describe()))
    })
    .await?;
    if std::env::var_os(TOKEN_VARIABLE).is_some_and(|value| !value.is_empty()) {
        globals.output.warn(format!("{TOKEN_VARIABLE} is set and comes before this login"));
    }
    report(globals, &claims, &place)
}

/// Runs what may ask a person or wait for a keyring.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(Failure::new(Exit::Bug, "panic", format!("a task ended early: {error}"))))
}

fn read_line() -> Result<Zeroizing<String>, Failure> {
    let failed = |error: io::Error| {
        Failure::new(Exit::Authentication, "no_token", format!("cannot read the token: {error}"))
    };
    if io::stdin().is_terminal() {
        return rpassword::prompt_password("Token: ").map(Zeroizing::new).map_err(failed);
    }
    let mut line = Zeroizing::new(String::with_capacity(MAX_SECRET_LENGTH + 1));
    io::stdin().lock().take(MAX_SECRET_LENGTH as u64 + 1).read_to_string(&mut line).map_err(failed)?;
    if line.trim().is_empty() {
        return Err(Failure::new(Exit::Authentication, "no_token", "standard input holds no token")
            .hint("pipe the line in: cbrowse-node token --user NAME | cbrowse login --with-token"));
    }
    Ok(line)
}

/// Checks a line by itself and with this machine's key, then keeps it.
fn keep(keyring: &Keyring, line: &str, now: SystemTime) -> Result<Claims, Failure> {
    let credential = Credential::parse(line).map_err(CredentialsError::from)?;
    let own = if credential.seed().is_some() { None } else { credentials::own_seed(keyring)? };
    let credentials = Credentials::new(&credential, own.as_deref(), now)?;
    keyring.set(Secret::Login, credential.to_line().as_bytes())?;
    Ok(credentials.claims().clone())
}

fn report(globals: &Globals, claims: &Claims, place: &str) -> Result<(), Failure> {
    if globals.output.is_json() {
        return globals.output.document(&json!({
            "user": claims.sub, "expires": claims.exp, "scope": claims.scope.to_string(), "kept_in": place,
        }));
    }
    let (until, left) = (date::utc(claims.exp), date::relative(seconds(SystemTime::now()), claims.exp));
    globals.output.print(&format!("logged in as {} until {until} ({left})", claims.sub))?;
    globals.output.note(format!("kept in {place}"));
    Ok(())
}
