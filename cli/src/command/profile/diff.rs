//! `cbrowse profile diff`: what differs between two versions of a profile, or between the current one and its directory.

use cbrowse_profile::{
    authority::{HeadRecord, Version},
    compare::{Change, compare},
    snapshot::Snapshot,
};
use clap_complete::ArgValueCompleter;
use serde_json::json;

use super::{key, parts, seal::Directory};
use crate::{
    command::{complete, login::blocking},
    context::Globals,
    date,
    failure::{Exit, Failure},
    keyring::passphrase::PassphraseArgs,
    output::Output,
    profile::{OpenProfile, source::Source},
};

/// Shown below the help.
pub const EXAMPLES: &str = "\
Examples:
  cbrowse profile diff work              what changed since in the directory it is sealed from
  cbrowse profile diff work 3            between generation 3 and the current one
  cbrowse profile diff work 3 5 --files
  cbrowse profile diff work 12-1a2b3c4d --json
";

/// Arguments of `cbrowse profile diff`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which profile.
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(complete::profiles))]
    pub name: String,
    /// The version before: a generation, a version kept beside, or current. Without one, the current version is compared
    /// with the directory it is sealed from, or else with the generation before it.
    #[arg(value_name = "A", add = ArgValueCompleter::new(complete::profile_versions))]
    pub before: Option<Version>,
    /// The version after; the current one without it.
    #[arg(value_name = "B", add = ArgValueCompleter::new(complete::profile_versions))]
    pub after: Option<Version>,
    /// Name every file.
    #[arg(long)]
    pub files: bool,
    /// Where the passphrase comes from when no keyring answers.
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
}

/// One side of the comparison.
struct Side {
    /// `None` for a directory.
    record: Option<HeadRecord>,
    /// In words.
    name: String,
    snapshot: Snapshot,
}

/// Compares.
pub async fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    let (paths, source, name) = (globals.paths.clone(), args.passphrase.source(), args.name.clone());
    let (before, after, output) = (args.before.clone(), args.after.clone(), globals.output.clone());
    let (before, after) = blocking(move || {
        let profile = key::open(&paths, source, &name)?;
        sides(&profile, before, after, &output)
    })
    .await?;
    let changes = compare(before.snapshot.manifest(), after.snapshot.manifest());
    report(args, globals, &before, &after, &changes)
}

fn sides(
    profile: &OpenProfile,
    before: Option<Version>,
    after: Option<Version>,
    output: &Output,
) -> Result<(Side, Side), Failure> {
    if let Some(before) = before {
        return Ok((side(profile, &before)?, side(profile, &after.unwrap_or_default())?));
    }
    let current = side(profile, &Version::Current)?;
    if let Some(source) =
        Source::of(profile.authority().directory()).filter(|source| source.directory.is_dir())
    {
        let snapshot = Directory::look(&source.directory)?.as_version(profile, output)?;
        let name = source.directory.display().to_string();
        return Ok((current, Side { record: None, name, snapshot }));
    }
    match current.snapshot.head().generation.checked_sub(1) {
        Some(previous) if previous > 0 => Ok((side(profile, &Version::Generation(previous))?, current)),
        _ => {
            let name = &profile.authority().record().name;
            let message =
                format!("profile {name} has one generation, and no directory that it is sealed from");
            Err(Failure::new(Exit::Profile, "nothing_to_compare", message).hint(format!(
                "name two versions: cbrowse profile diff {name} A B; cbrowse profile history {name}"
            )))
        }
    }
}

fn side(profile: &OpenProfile, version: &Version) -> Result<Side, Failure> {
    let record = profile.authority().record_of(version)?;
    let snapshot = profile.authority().snapshot_at(&record.head.name, profile.keys())?;
    Ok(Side { name: name_of(&record), record: Some(record), snapshot })
}

/// A version in words: `generation 3 of 2026-11-20 17:00 UTC`.
pub(super) fn name_of(record: &HeadRecord) -> String {
    let date = date::utc(record.time);
    match &record.kept_as {
        Some(kept) => format!("version {} of {date}", short(kept)),
        None => format!("generation {} of {date}", record.head.generation),
    }
}

/// The name of a version kept beside, without its leading zeros.
pub(super) fn short(kept_as: &str) -> &str {
    kept_as.trim_start_matches('0')
}

fn report(
    args: &Args,
    globals: &Globals,
    before: &Side,
    after: &Side,
    changes: &[Change],
) -> Result<(), Failure> {
    let output = &globals.output;
    if output.is_json() {
        let version = |side: &Side| match &side.record {
            Some(record) => {
                json!({"generation": record.head.generation, "kept_as": record.kept_as, "directory": null})
            }
            None => json!({"generation": null, "kept_as": null, "directory": side.name}),
        };
        return output.document(&json!({
            "profile": args.name, "before": version(before), "after": version(after), "changes": parts::to_json(changes),
        }));
    }
    if changes.is_empty() {
        return output.print(&format!("{} and {} hold the same", before.name, after.name));
    }
    output.note(format_args!("from {} to {}:", before.name, after.name));
    parts::print(output, changes, args.files)
}
