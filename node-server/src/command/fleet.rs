//! `cbrowse-node fleet`: the key whose word tells users which identities are nodes of this fleet.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, bail};
use cbrowse_protocol::{
    id::NodeId,
    identity::IdentityKey,
    node::{MAX_FIELD_LENGTH, is_unprintable},
    statement::{MAX_STATEMENT_LENGTH, SignedStatement, Statement},
};

use crate::key_file;

/// The fleet key's file inside its directory.
const FLEET_KEY_FILE: &str = "fleet.key";

/// Run a fleet: make its key, and sign the identities of its nodes.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Make the fleet key, and print its public half: users add it with `cbrowse trust add --fleet KEY`.
    Init {
        /// Where the key is kept. Keep a copy offline: without it no node can be signed.
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
    },
    /// Print a statement: this identity is node ID in REGION.
    Sign(SignArgs),
}

#[derive(Debug, clap::Args)]
struct SignArgs {
    /// Where `fleet init` put the key.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// The node's identity, as `cbrowse-node identity` prints it.
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    identity: IdentityKey,
    /// The only id this node may use.
    #[arg(long)]
    id: NodeId,
    /// The only region it may claim.
    #[arg(long)]
    region: String,
    /// How long the statement holds: 365d, 12h, 90m, 45s.
    #[arg(long, default_value = "365d", value_parser = parse_lifetime)]
    lifetime: Duration,
}

/// Runs the chosen action.
pub fn run(args: Args) -> anyhow::Result<()> {
    match args.action {
        Action::Init { dir } => init(&dir),
        Action::Sign(args) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).context("read the clock")?.as_secs();
            writeln!(std::io::stdout(), "{}", sign(args, now)?)?;
            Ok(())
        }
    }
}

fn init(dir: &Path) -> anyhow::Result<()> {
    let key = key_file::create(&dir.join(FLEET_KEY_FILE))?.public();
    writeln!(std::io::stdout(), "{key}")?;
    writeln!(std::io::stderr(), "users add it with: cbrowse trust add --fleet {key}")?;
    Ok(())
}

fn sign(args: SignArgs, now: u64) -> anyhow::Result<SignedStatement> {
    if args.region.len() > MAX_FIELD_LENGTH || args.region.chars().any(is_unprintable) {
        bail!("the region is over {MAX_FIELD_LENGTH} bytes or holds control characters");
    }
    let fleet =
        key_file::load(&args.dir.join(FLEET_KEY_FILE)).context("read the fleet key (made by fleet init)")?;
    let not_after = now.saturating_add(args.lifetime.as_secs());
    let statement = Statement { identity: args.identity, id: args.id, region: args.region, not_after };
    let signed = statement.sign(&fleet);
    let length = signed.to_string().len();
    if length > MAX_STATEMENT_LENGTH {
        bail!(
            "the statement has {length} bytes; {MAX_STATEMENT_LENGTH} fit a registry: shorten the id or the region"
        );
    }
    Ok(signed)
}

/// A whole number and a unit: `30d`, `12h`, `90m`, `45s`. At least a second, at most ten years.
pub(crate) fn parse_lifetime(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no lifetime; write 30d, 12h, 90m or 45s, up to 3650d");
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let seconds = match unit {
        "d" => 86_400,
        "h" => 3600,
        "m" => 60,
        "s" => 1,
        _ => return Err(wrong()),
    };
    let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(seconds));
    seconds.filter(|seconds| (1..=3650 * 86_400).contains(seconds)).map(Duration::from_secs).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use cbrowse_protocol::identity::SigningKey;

    use super::*;

    fn args(dir: &Path, identity: IdentityKey) -> SignArgs {
        SignArgs {
            dir: dir.to_owned(),
            identity,
            id: "n1".parse().expect("id"),
            region: "eu-central".into(),
            lifetime: Duration::from_secs(100),
        }
    }

    #[test]
    fn what_the_fleet_signs_its_public_key_verifies() {
        let directory = tempfile::tempdir().expect("a directory");
        let identity = SigningKey::generate().public();
        assert!(sign(args(directory.path(), identity), 1000).is_err(), "no key yet");
        init(directory.path()).expect("made");
        assert!(init(directory.path()).is_err(), "a fleet key is never replaced");
        let fleet = key_file::load(&directory.path().join(FLEET_KEY_FILE)).expect("key").public();
        let statement = sign(args(directory.path(), identity), 1000).expect("signed").verify(&fleet, 1100);
        assert_eq!(statement.expect("valid").identity, identity);
    }

    #[test]
    fn a_statement_that_fits_no_registry_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        init(directory.path()).expect("made");
        let identity = SigningKey::generate().public();
        let long = SignArgs { region: "r".repeat(MAX_FIELD_LENGTH), ..args(directory.path(), identity) };
        assert!(sign(long, 0).expect_err("too long").to_string().contains("512"));
        let control = SignArgs { region: "a\u{1b}".into(), ..args(directory.path(), identity) };
        assert!(sign(control, 0).is_err());
    }

    #[test]
    fn lifetimes_read_as_documented() {
        assert_eq!(parse_lifetime("30d"), Ok(Duration::from_secs(30 * 86_400)));
        assert_eq!(parse_lifetime("12h"), Ok(Duration::from_secs(12 * 3600)));
        assert_eq!(parse_lifetime("1s"), Ok(Duration::from_secs(1)));
        for bad in ["", "d", "0d", "-1d", "1", "1w", "ü", "1ü", "3651d", "99999999999999999999d", "1.5h"] {
            assert!(parse_lifetime(bad).is_err(), "{bad:?}");
        }
    }
}
