//! `cbrowse profile export`: a generation written out as a plain Chromium user data directory.

use std::{
    fs,
    path::{Path, PathBuf},
};

use cbrowse_profile::{
    authority::HeadRef,
    restore::{Restored, restore},
};
use clap::ValueHint;
use clap_complete::ArgValueCompleter;
use serde_json::json;

use super::{key, words};
use crate::{
    command::{complete, login::blocking},
    context::Globals,
    failure::{Exit, Failure},
    keyring::passphrase::PassphraseArgs,
    profile::{OpenProfile, chain, store_trouble},
};

/// Shown below the help.
pub const EXAMPLES: &str = "\
Examples:
  cbrowse profile export work ./work-in-clear
  cbrowse profile export work ./as-it-was --at 3

What is written is not sealed: cookies and saved logins can be read by whoever can read the
directory (made for its owner alone). Use it with: chromium --user-data-dir=DIR
";

/// Arguments of `cbrowse profile export`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which profile.
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(complete::profiles))]
    pub name: String,
    /// Where to: a directory that is empty or not there yet.
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub directory: PathBuf,
    /// This generation instead of the current one (cbrowse profile history).
    #[arg(long, value_name = "GENERATION")]
    pub at: Option<u64>,
    /// Where the passphrase comes from when no keyring answers.
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
}

/// Exports.
pub async fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    check_empty(&args.directory)?;
    let (paths, source, name) = (globals.paths.clone(), args.passphrase.source(), args.name.clone());
    let (directory, at) = (args.directory.clone(), args.at);
    let (head, restored) = blocking(move || {
        let profile = key::open(&paths, source, &name)?;
        let head = pick(&profile, &name, at)?;
        Ok((head.clone(), export(&profile, &head, &directory)?))
    })
    .await?;
    let output = &globals.output;
    if output.is_json() {
        return output.document(&json!({
            "profile": args.name, "generation": head.generation, "directory": args.directory,
            "files": restored.files, "bytes": restored.bytes, "left_behind": restored.stripped,
        }));
    }
    let what = format!("{}, {}", words::count(restored.files, "file"), words::size(restored.bytes));
    let directory = args.directory.display();
    output.print(&format!("generation {} is in {directory}: {what}", head.generation))?;
    words::tell_left_behind(output, &restored.stripped);
    output.note("it is not sealed there: remove it when it is not needed any more");
    Ok(())
}

fn pick(profile: &OpenProfile, name: &str, at: Option<u64>) -> Result<HeadRef, Failure> {
    let never = || {
        Failure::new(
            Exit::Profile,
            "never_saved",
            format!("profile {name} was never saved; there is nothing to export"),
        )
        .hint(format!("seal something: cbrowse profile sync {name} --from USER_DATA_DIR"))
    };
    let Some(at) = at else { return profile.head()?.ok_or_else(never) };
    let history = profile.authority().history()?;
    let found = history.into_iter().find(|record| record.kept_as.is_none() && record.head.generation == at);
    found.map(|record| record.head).ok_or_else(|| {
        Failure::new(Exit::Profile, "no_generation", format!("profile {name} has no generation {at}"))
            .hint(format!("see which there are: cbrowse profile history {name}"))
    })
}

fn check_empty(directory: &Path) -> Result<(), Failure> {
    let refused = |why: String| {
        Failure::new(Exit::Profile, "not_empty", why)
            .hint("name a directory that is empty or not there yet; nothing was written")
    };
    match fs::read_dir(directory).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(false) => Err(refused(format!("{} is not empty", directory.display()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(refused(format!("cannot use {}: {error}", directory.display()))),
    }
}

/// Written beside and then moved into place: the directory holds all of it or is as it was.
fn export(profile: &OpenProfile, head: &HeadRef, directory: &Path) -> Result<Restored, Failure> {
    let failed = |error: std::io::Error| {
        let (code, hint) = store_trouble(&error);
        Failure::new(Exit::Profile, code, format!("write {}: {error}", directory.display())).hint(hint)
    };
    let absolute = std::path::absolute(directory).map_err(failed)?;
    let parent = absolute.parent().unwrap_or(&absolute);
    fs::create_dir_all(parent).map_err(failed)?;
    let beside = tempfile::Builder::new().prefix(".cbrowse-export-").tempdir_in(parent).map_err(failed)?;
    let snapshot = profile.authority().snapshot_at(&head.name, profile.keys())?;
    let restored = restore(&snapshot, profile.authority().store(), beside.path()).map_err(|error| {
        let (code, hint) = store_trouble(&error);
        Failure::new(Exit::Profile, code, format!("{}; nothing was exported", chain(&error))).hint(hint)
    })?;
    fs::rename(beside.path(), &absolute).map_err(failed)?;
    // It has moved, so there is nothing to remove.
    let _moved = beside.keep();
    Ok(restored)
}
