//! `cbrowse profile export`: a version written out as a plain Chromium user data directory, or as one sealed file.

mod sealed;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use cbrowse_profile::{
    authority::{AuthorityError, HeadRecord, HeadRef, Version},
    meter::Meter,
    restore::{Restored, restore_metered},
};
use clap::ValueHint;
use clap_complete::ArgValueCompleter;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{key, stopping::Stopping, words};
use crate::{
    command::{complete, login::blocking},
    context::Globals,
    failure::{Exit, Failure},
    keyring::passphrase::PassphraseArgs,
    output::Output,
    profile::{OpenProfile, chain, store_trouble},
};

/// Shown below the help.
pub const EXAMPLES: &str = "\
Examples:
  cbrowse profile export work ./work-in-clear
  cbrowse profile export work ./as-it-was --at 3
  cbrowse profile export work --sealed work.cbrowse
  cbrowse profile export work --sealed for-a-friend.cbrowse --passphrase

A directory is not sealed: cookies and saved logins can be read by whoever can read it (it is made
for its owner alone). Use it with: chromium --user-data-dir=DIR
A sealed file can lie anywhere. It opens with your account key, and with --passphrase by whoever is
told that passphrase: they read this version and no other. Read it: cbrowse profile import NAME --from FILE
";

/// Arguments of `cbrowse profile export`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which profile.
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(complete::profiles))]
    pub name: String,
    /// Where to: a directory that is empty or not there yet.
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath, required_unless_present = "sealed")]
    pub directory: Option<PathBuf>,
    /// Write one sealed file instead, which must not be there yet.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "directory")]
    pub sealed: Option<PathBuf>,
    /// Ask for a passphrase that opens the sealed file, too.
    #[arg(long = "passphrase", requires = "sealed")]
    pub with_passphrase: bool,
    /// Read that passphrase from this file descriptor.
    #[arg(long, value_name = "N", requires = "sealed", value_parser = clap::value_parser!(i32).range(0..))]
    pub file_passphrase_fd: Option<i32>,
    /// This version instead of the current one: a generation, or one kept beside (cbrowse profile history).
    #[arg(long, value_name = "GENERATION|KEPT", add = ArgValueCompleter::new(complete::profile_versions))]
    pub at: Option<Version>,
    /// Only say what would be written.
    #[arg(long)]
    pub dry_run: bool,
    /// Where the passphrase comes from when no keyring answers.
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
}

/// Exports.
pub async fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    match (&args.sealed, &args.directory) {
        (Some(file), _) => sealed::run(args, globals, file).await,
        (None, Some(directory)) => plain(args, globals, directory).await,
        (None, None) => {
            Err(Failure::new(Exit::Usage, "usage", "neither a directory nor --sealed FILE is named"))
        }
    }
}

async fn plain(args: &Args, globals: &Globals, directory: &Path) -> Result<(), Failure> {
    check_empty(directory)?;
    let (paths, source, name) = (globals.paths.clone(), args.passphrase.source(), args.name.clone());
    // After Ctrl-C the thread is given the time to remove what is clear.
    let stop = globals.interrupt.watch();
    let (target, at, dry_run, output) =
        (directory.to_owned(), args.at.clone(), args.dry_run, globals.output.clone());
    let (head, restored) = blocking(move || {
        let profile = key::open(&paths, source, &name)?;
        let record = pick(&profile, &name, at)?;
        let restored = if dry_run {
            Restored { files: record.files, bytes: record.bytes, ..Restored::default() }
        } else {
            export(&profile, &record.head, &target, &output, &stop)?
        };
        Ok((record.head, restored))
    })
    .await?;
    let output = &globals.output;
    if output.is_json() {
        return output.document(&json!({
            "profile": args.name, "generation": head.generation, "directory": directory, "dry_run": dry_run,
            "files": restored.files, "bytes": restored.bytes, "left_behind": restored.stripped,
        }));
    }
    let what = format!("{}, {}", words::count(restored.files, "file"), words::size(restored.bytes));
    let directory = directory.display();
    if dry_run {
        return output.print(&format!(
            "would write generation {} to {directory}, in the clear: {what}",
            head.generation
        ));
    }
    output.print(&format!("generation {} is in {directory}: {what}", head.generation))?;
    words::tell_left_behind(output, &restored.stripped);
    output.note("it is not sealed there: remove it when it is not needed any more");
    Ok(())
}

fn pick(profile: &OpenProfile, name: &str, at: Option<Version>) -> Result<HeadRecord, Failure> {
    if profile.head()?.is_none() {
        let message = format!("profile {name} was never saved; there is nothing to export");
        return Err(Failure::new(Exit::Profile, "never_saved", message)
            .hint(format!("seal something: cbrowse profile sync {name} --from USER_DATA_DIR")));
    }
    let at = at.unwrap_or_default();
    match profile.authority().record_of(&at) {
        // What this command has always called it.
        Err(AuthorityError::NoVersion { .. }) if matches!(at, Version::Generation(_)) => Err(Failure::new(
            Exit::Profile,
            "no_generation",
            format!("profile {name} has no generation {at}"),
        )
        .hint(format!("see which there are: cbrowse profile history {name}"))),
        record => Ok(record?),
    }
}

fn check_empty(directory: &Path) -> Result<(), Failure> {
    let refused = |why: String| {
        Failure::new(Exit::Profile, "not_empty", why)
            .hint("name a directory that is empty or not there yet; nothing was written")
    };
    // What is moved into place would have to take the link's place.
    if directory.symlink_metadata().is_ok_and(|found| found.is_symlink()) {
        return Err(refused(format!("{} is a symbolic link", directory.display())));
    }
    match fs::read_dir(directory).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(false) => Err(refused(format!("{} is not empty", directory.display()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(refused(format!("cannot use {}: {error}", directory.display()))),
    }
}

/// Written beside and then moved into place: the directory holds all of it or is as it was.
fn export(
    profile: &OpenProfile,
    head: &HeadRef,
    directory: &Path,
    output: &Output,
    stop: &CancellationToken,
) -> Result<Restored, Failure> {
    let failed = |error: std::io::Error| {
        let (code, hint) = store_trouble(&error);
        Failure::new(Exit::Profile, code, format!("write {}: {error}", directory.display())).hint(hint)
    };
    let absolute = std::path::absolute(directory).map_err(failed)?;
    let parent = absolute.parent().unwrap_or(&absolute);
    fs::create_dir_all(parent).map_err(failed)?;
    let beside = tempfile::Builder::new().prefix(".cbrowse-export-").tempdir_in(parent).map_err(failed)?;
    let snapshot = profile.authority().snapshot_at(&head.name, profile.keys())?;
    let meter = Arc::new(Meter::default());
    let drawn = output.follow("opening", "files", meter.clone());
    let store = Stopping { behind: profile.authority().store(), stop };
    let restored = restore_metered(&snapshot, &store, beside.path(), &meter);
    drop(drawn);
    let restored = store.or_interrupted(restored.map_err(|error| {
        let (code, hint) = store_trouble(&error);
        Failure::new(Exit::Profile, code, format!("{}; nothing was exported", chain(&error))).hint(hint)
    }))?;
    fs::rename(beside.path(), &absolute).map_err(failed)?;
    // It has moved, so there is nothing to remove.
    let _moved = beside.keep();
    Ok(restored)
}
