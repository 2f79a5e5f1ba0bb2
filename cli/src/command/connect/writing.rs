//! Which version of the profile a session opens, and whether what it changes is kept.

use std::{convert::Infallible, sync::Arc};

use cbrowse_profile::authority::{Version, lease::Manner};
use tokio::task::spawn_blocking;

use super::Args;
use crate::{
    command::{login::blocking, profile::key},
    context::Globals,
    failure::{Exit, Failure},
    output::Output,
    profile::{
        OpenProfile, chain,
        right::{RENEWAL, Right},
    },
};

/// The flags that say what becomes of a profile's changes.
#[derive(Debug, clap::Args)]
pub struct TermsArgs {
    /// Only look at the profile, while another session writes it perhaps; what changes is not kept.
    #[arg(long, requires = "profile", conflicts_with = "take_over")]
    pub read_only: bool,
    /// End the right of another session that writes the profile; what that one saves is kept beside.
    #[arg(long, requires = "profile")]
    pub take_over: bool,
    /// Keep nothing of what changes in the profile; with NAME@12, on an older version of it.
    #[arg(long, requires = "profile", conflicts_with = "take_over")]
    pub discard: bool,
}

/// How a session may change its profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Terms {
    Write(Manner),
    Throwaway,
}

/// `work`, or `work@12` for a version that is not the current one. Names have no such sign in them.
fn split(wanted: &str) -> (&str, Version) {
    match wanted.split_once('@') {
        Some((name, version)) => (name, version.parse().unwrap_or_else(|never: Infallible| match never {})),
        None => (wanted, Version::Current),
    }
}

/// What the command line asks for. A version of the past is never written: what follows it is there already.
fn terms(args: &Args, name: &str, version: &Version) -> Result<Terms, Failure> {
    if args.terms.read_only || args.terms.discard {
        return Ok(Terms::Throwaway);
    }
    if *version == Version::Current {
        return Ok(Terms::Write(if args.terms.take_over { Manner::TakeOver } else { Manner::Polite }));
    }
    let message = format!("{name}@{version} is an older version: what a session changes in it is not kept");
    Err(Failure::new(Exit::Usage, "needs_discard", message).hint(format!(
        "add --discard to open it so, or make it the current one: cbrowse profile restore {name} --at {version}"
    )))
}

/// Better said before a node is started for it.
pub(super) fn check_terms(args: &Args) -> Result<(), Failure> {
    let Some((name, version)) = args.profile.as_deref().map(split) else { return Ok(()) };
    terms(args, name, &version).map(drop)
}

/// Opens the profile that was named, and takes the right to write it where that is asked for.
pub(super) async fn open_profile(
    args: &Args,
    globals: &Globals,
) -> Result<Option<Arc<OpenProfile>>, Failure> {
    let Some(wanted) = args.profile.clone() else { return Ok(None) };
    let (name, version) = split(&wanted);
    let (name, terms) = (name.to_owned(), terms(args, name, &version)?);
    let (paths, source) = (globals.paths.clone(), args.passphrase.source());
    let opened = blocking(move || {
        // Whoever has to wait is told before anybody is asked for a passphrase.
        let right = match terms {
            Terms::Write(manner) => Some(Right::take(&paths.profiles(), &name, manner)?),
            Terms::Throwaway => None,
        };
        Ok(match right {
            Some(right) => key::open_to_grant(&paths, source, &name)?.writing(right),
            None => key::open(&paths, source, &name)?.into_throwaway(&version)?,
        })
    });
    let profile = opened.await?;
    if !profile.is_kept() {
        globals.output.note(format_args!("profile {wanted}: what this session changes is thrown away"));
    }
    Ok(Some(Arc::new(profile)))
}

/// Tells others that this process still writes, and its user when somebody else does from now on. Until dropped.
pub(super) async fn keep_right(profile: Option<Arc<OpenProfile>>, output: &Output) -> Infallible {
    let Some(profile) = profile.filter(|profile| profile.right().is_some()) else {
        return std::future::pending().await;
    };
    loop {
        tokio::time::sleep(RENEWAL).await;
        let renewing = profile.clone();
        let renewed = spawn_blocking(move || renewing.right().map(Right::renew)).await;
        match renewed {
            Ok(Some(Ok(false))) => {
                output.warn(
                    "another session has taken the profile over; what this one saves is kept beside it",
                );
                return std::future::pending().await;
            }
            Ok(Some(Err(error))) => output.warn(format_args!("renew the right to write: {}", chain(&error))),
            Ok(_) | Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn asked(line: &str) -> Result<Terms, Failure> {
        let args = Line::try_parse_from(std::iter::once("connect").chain(line.split(' '))).unwrap().args;
        let wanted = args.profile.clone().unwrap();
        let (name, version) = split(&wanted);
        terms(&args, name, &version)
    }

    #[test]
    fn only_the_current_version_is_written() {
        let polite = Terms::Write(Manner::Polite);
        assert_eq!(asked("--profile work"), Ok(polite));
        assert_eq!(asked("--profile work@current"), Ok(polite));
        assert_eq!(asked("--profile work --take-over"), Ok(Terms::Write(Manner::TakeOver)));
        for line in ["--profile work --read-only", "--profile work --discard", "--profile work@12 --discard"]
        {
            assert_eq!(asked(line), Ok(Terms::Throwaway), "{line}");
        }
        let refused = asked("--profile work@12").unwrap_err();
        assert_eq!((refused.exit, refused.code), (Exit::Usage, "needs_discard"));
        assert!(refused.hint.unwrap().contains("--discard"));
        assert_eq!(split("work@12-1a2b3c4d").1, Version::Kept("12-1a2b3c4d".into()));
        assert!(Line::try_parse_from(["connect", "--read-only"]).is_err(), "of what?");
        assert!(Line::try_parse_from(["connect", "--profile", "x", "--read-only", "--take-over"]).is_err());
    }
}
