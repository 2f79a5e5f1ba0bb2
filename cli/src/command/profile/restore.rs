//! `cbrowse profile restore`: an older version made current again, as a new generation with the same contents.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::SystemTime,
};

use cbrowse_profile::{
    authority::{HeadRef, RevertError, Reverted, Reverting, Version},
    compare::{Change, compare},
    secret::SystemRandom,
    snapshot::Snapshot,
};
use clap_complete::ArgValueCompleter;
use serde_json::json;

use super::{diff, key, parts};
use crate::{
    command::{complete, login::blocking},
    context::Globals,
    credentials::seconds,
    failure::{Exit, Failure},
    import::find::host_name,
    keyring::passphrase::PassphraseArgs,
    profile::OpenProfile,
};

/// Shown below the help.
pub const EXAMPLES: &str = "\
Examples:
  cbrowse profile restore work --at 12
  cbrowse profile restore work --at 14-1a2b3c4d --dry-run

The version becomes a new generation with the same contents. Nothing is deleted: what is current
now stays in the history, and can be restored in the same way.
";

/// Arguments of `cbrowse profile restore`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which profile.
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(complete::profiles))]
    pub name: String,
    /// A generation, or a version kept beside (cbrowse profile history).
    #[arg(long, value_name = "GENERATION|KEPT", add = ArgValueCompleter::new(complete::profile_versions))]
    pub at: Version,
    /// Do not ask.
    #[arg(long)]
    pub yes: bool,
    /// Only say what would change.
    #[arg(long)]
    pub dry_run: bool,
    /// Name every file that changes.
    #[arg(long)]
    pub files: bool,
    /// Where the passphrase comes from when no keyring answers.
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
}

struct Planned {
    profile: OpenProfile,
    upon: HeadRef,
    version: Snapshot,
    words: String,
    changes: Vec<Change>,
}

/// Restores.
pub async fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    let (paths, source, name) = (globals.paths.clone(), args.passphrase.source(), args.name.clone());
    let at = args.at.clone();
    let planned = blocking(move || plan(key::open(&paths, source, &name)?, &at)).await?;
    let output = &globals.output;
    if !output.is_json() && !planned.changes.is_empty() {
        output.note(format_args!("from generation {} to {}:", planned.upon.generation, planned.words));
        parts::print(output, &planned.changes, args.files)?;
    }
    if args.dry_run || planned.changes.is_empty() {
        return report(args, globals, &planned, None);
    }
    if !args.yes {
        blocking(ask).await?;
    }
    let (planned, reverted) = blocking(move || revert(planned)).await?;
    report(args, globals, &planned, Some(&reverted))
}

fn plan(profile: OpenProfile, at: &Version) -> Result<Planned, Failure> {
    let authority = profile.authority();
    let record = authority.record_of(at)?;
    let current = authority.record_of(&Version::Current)?;
    let version = authority.snapshot_at(&record.head.name, profile.keys())?;
    let now = authority.snapshot_at(&current.head.name, profile.keys())?;
    let changes = compare(now.manifest(), version.manifest());
    Ok(Planned { upon: current.head, words: diff::name_of(&record), version, changes, profile })
}

fn revert(planned: Planned) -> Result<(Planned, HeadRef), Failure> {
    let by = Reverting { now: seconds(SystemTime::now()), device: host_name() };
    let Planned { profile, upon, version, .. } = &planned;
    let reverted = profile.authority().revert(version, Some(upon), profile.keys(), &by, &mut SystemRandom);
    let (Reverted::Current(head) | Reverted::Unchanged(head)) = reverted.map_err(failure)?;
    Ok((planned, head))
}

/// What to do when a version did not become current.
pub(super) fn failure(error: RevertError) -> Failure {
    match error {
        RevertError::Authority(error) => error.into(),
        moved @ RevertError::Moved(_) => Failure::new(Exit::Profile, "profile_moved_on", moved.to_string())
            .hint("look at what it is now (cbrowse profile status), and give the command again"),
    }
}

fn ask() -> Result<(), Failure> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        let message = "restoring changes what is current, and nobody is at a terminal to ask";
        return Err(Failure::new(Exit::Usage, "confirm", message).hint("if that is meant, add --yes"));
    }
    let failed = |error: io::Error| Failure::new(Exit::Usage, "confirm", format!("cannot ask: {error}"));
    write!(io::stderr(), "Make this version current? [y/N] ").map_err(failed)?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(failed)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    Err(Failure::new(Exit::Usage, "not_confirmed", "not confirmed; nothing was changed"))
}

fn report(args: &Args, globals: &Globals, planned: &Planned, head: Option<&HeadRef>) -> Result<(), Failure> {
    let output = &globals.output;
    let generation = head.map_or(planned.upon.generation, |head| head.generation);
    if output.is_json() {
        return output.document(&json!({
            "profile": args.name, "restored": args.at.to_string(), "was": planned.upon.generation,
            "generation": generation, "changed": head.is_some(), "dry_run": args.dry_run,
            "changes": parts::to_json(&planned.changes),
        }));
    }
    match head {
        None if planned.changes.is_empty() => output.print(&format!(
            "{} holds what is current already; generation {generation} stays current",
            planned.words
        )),
        None => {
            output.note("this was a dry run; nothing was changed");
            Ok(())
        }
        Some(_) => {
            output.print(&format!(
                "generation {generation} is current, with the contents of {}",
                planned.words
            ))?;
            output.note(format_args!(
                "generation {0} stays in the history; to go back: cbrowse profile restore {1} --at {0}",
                planned.upon.generation, args.name
            ));
            Ok(())
        }
    }
}
