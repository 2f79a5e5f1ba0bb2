//! `cbrowse-node token`: makes a token for a user, and with it the issuer's key where there is none yet.
//!
//! `serve` on the same data directory accepts what this makes, whichever of the two runs first.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, bail};
use cbrowse_protocol::{
    identity::{IdentityKey, SigningKey},
    token::{Claims, Credential, Scope, Scopes, is_subject},
};

use crate::{
    access::{ISSUER_KEY_FILE, ISSUER_PUBLIC_FILE},
    command::fleet::parse_lifetime,
    key_file::{self, KeyFileError},
};

/// Make a token with which a user may use this node.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The user's name: sessions and profiles belong to it.
    #[arg(long, value_name = "NAME")]
    pub user: String,
    /// How long the token holds: 30d, 12h, 90m, 45s.
    #[arg(long, default_value = "30d", value_parser = parse_lifetime)]
    pub lifetime: Duration,
    /// What it allows: create, control, view, cdp, profile, admin; several with commas. Default: all but admin.
    #[arg(long, value_delimiter = ',')]
    pub scope: Vec<Scope>,
    /// The user's public key, as `cbrowse login --show-key` prints it. Without it a key is made and printed with the token.
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    pub client_key: Option<IdentityKey>,
    /// The node's data directory; the issuer's key is made there when there is none.
    #[arg(long, value_name = "DIR", env = "CBROWSE_NODE_DATA_DIR", default_value_os_t = crate::config::default_data_dir())]
    pub data_dir: PathBuf,
    /// An issuer's key elsewhere, instead of the data directory's; nodes accept its tokens when started with `--token-key` and its public key.
    #[arg(long, value_name = "FILE")]
    pub issuer_key: Option<PathBuf>,
    /// One JSON document instead of the bare line.
    #[arg(long)]
    pub json: bool,
}

/// Prints one line on standard output: the credential, for `cbrowse login --with-token`.
pub fn run(args: &Args) -> anyhow::Result<()> {
    if !is_subject(&args.user) {
        bail!("{:?} cannot name a user: 1 to 128 bytes without control characters are needed", args.user);
    }
    let issuer = match &args.issuer_key {
        Some(path) => key_file::load_or_create(path)?,
        None => own_issuer(&args.data_dir)?,
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("read the clock")?.as_secs();
    let (credential, claims) = make(args, &issuer, now);
    let line = credential.to_line();
    let mut out = std::io::stdout().lock();
    if args.json {
        let document = serde_json::json!({
            "credential": line.as_str(), "user": claims.sub, "expires": claims.exp, "id": claims.jti,
            "scope": claims.scope.to_string(), "issuer": claims.iss, "client": claims.cnf.jkt,
        });
        writeln!(out, "{document}")?;
    } else {
        writeln!(out, "{}", line.as_str())?;
    }
    let lifetime = in_words(args.lifetime);
    // With a key of the user's own, the line alone opens nothing.
    let how = if args.client_key.is_some() {
        "send this line to the user"
    } else {
        "hand this line to the user as a secret"
    };
    let mut err = std::io::stderr().lock();
    writeln!(
        err,
        "a token for {} that holds for {lifetime}; {how}; there: cbrowse login --with-token, and paste it",
        claims.sub
    )?;
    if args.issuer_key.is_some() {
        writeln!(err, "nodes accept it when started with --token-key {}", claims.iss)?;
    }
    Ok(())
}

/// The issuer of a data directory, made when there is none; its public half is left beside it for `serve`.
pub fn own_issuer(data_dir: &Path) -> anyhow::Result<SigningKey> {
    let issuer = key_file::load_or_create(&data_dir.join(ISSUER_KEY_FILE))?;
    let path = data_dir.join(ISSUER_PUBLIC_FILE);
    let line = format!("{}\n", issuer.public());
    match key_file::write_whole(data_dir, &path, line.as_bytes(), 0o644) {
        Err(KeyFileError::Exists(_)) => {}
        written => written?,
    }
    let found = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    if found.trim() != line.trim() {
        bail!(
            "{} is not the public half of {ISSUER_KEY_FILE} beside it; remove it to have it written anew",
            path.display()
        );
    }
    Ok(issuer)
}

/// In the largest unit that divides it.
fn in_words(lifetime: Duration) -> String {
    let seconds = lifetime.as_secs();
    let units = [(86_400, "days"), (3600, "hours"), (60, "minutes")];
    let unit = units.into_iter().find(|(length, _)| seconds.is_multiple_of(*length));
    let (length, name) = unit.unwrap_or((1, "seconds"));
    format!("{} {name}", seconds / length)
}

fn make(args: &Args, issuer: &SigningKey, now: u64) -> (Credential, Claims) {
    let scopes = if args.scope.is_empty() { Scopes::of_a_user() } else { Scopes::new(args.scope.clone()) };
    let claims = |client: &IdentityKey| {
        Claims::new(&issuer.public(), &args.user, client, scopes.clone(), now, args.lifetime.as_secs())
    };
    if let Some(client) = &args.client_key {
        let claims = claims(client);
        return (Credential::bare(claims.sign(issuer)), claims);
    }
    let seed = Credential::fresh_seed();
    let claims = claims(&SigningKey::from_seed(&seed).public());
    (Credential::with_seed(claims.sign(issuer), *seed), claims)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn args(rest: &[&str]) -> Args {
        Cli::try_parse_from([&["token", "--user", "ada"], rest].concat()).expect("arguments").args
    }

    #[test]
    fn the_line_holds_for_the_issuer_and_carries_a_key_only_when_asked() {
        let issuer = SigningKey::generate();
        let (with_key, _) = make(&args(&["--lifetime", "1h"]), &issuer, 1000);
        let read = Credential::parse(&with_key.to_line()).expect("own line");
        assert!(read.seed().is_some());
        let claims = Claims::verify(read.token(), &[issuer.public()], 1000).expect("own token");
        assert_eq!((claims.exp, claims.scope), (4600, Scopes::of_a_user()));

        let client = SigningKey::generate().public().to_string();
        let (bare, claims) = make(&args(&["--client-key", &client, "--scope", "view,admin"]), &issuer, 1000);
        assert!(Credential::parse(&bare.to_line()).expect("own line").seed().is_none());
        assert_eq!(claims.scope.to_string(), "view admin");
    }

    #[test]
    fn the_issuer_of_a_data_directory_is_made_once_and_its_public_half_lies_beside_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let data_dir = directory.path().join("data");
        let first = own_issuer(&data_dir).expect("made");
        assert_eq!(own_issuer(&data_dir).expect("found").public(), first.public());
        std::fs::remove_file(data_dir.join(ISSUER_PUBLIC_FILE)).expect("remove");
        own_issuer(&data_dir).expect("written anew");
        std::fs::write(data_dir.join(ISSUER_PUBLIC_FILE), "else").expect("write");
        assert!(own_issuer(&data_dir).expect_err("mismatch").to_string().contains("issuer.pub"));
    }

    #[test]
    fn bad_arguments_are_refused() {
        for bad in [&["--lifetime", "never"][..], &["--scope", "fly"], &["--client-key", "short"]] {
            assert!(Cli::try_parse_from([&["token", "--user", "ada"], bad].concat()).is_err(), "{bad:?}");
        }
        assert!(run(&Args { user: "a\nb".into(), ..args(&[]) }).is_err());
    }
}
