//! `cbrowse profile import`: a profile of a browser that is installed here, or a sealed file, becomes a profile of this machine.

mod listing;
mod sealed;
mod told;

use std::{path::PathBuf, sync::Arc};

use cbrowse_profile::{authority::Authority, bundle::Bundle, meter::Meter};
use cbrowse_protocol::id::ProfileName;
use clap::ValueHint;
use clap_complete::ArgValueCompleter;
use tokio_util::sync::CancellationToken;

use super::{
    create::{self, NewProfile},
    key,
    seal::{Directory, Sealed},
    stopping::Stopping,
};
use crate::{
    command::{complete, login::blocking},
    context::{Globals, Paths},
    failure::{Exit, Failure},
    import::{self as browsers, Imported, copy, find::Home, find::Source, staging::Staging},
    keyring::passphrase::{PassphraseArgs, PassphraseSource},
    output::Output,
    profile::OpenProfile,
};

/// Shown below the help.
pub const EXAMPLES: &str = "\
Examples:
  cbrowse profile import --list
  cbrowse profile import work --from chrome --profile \"Profile 1\"
  cbrowse profile import work --from ~/.config/chromium
  cbrowse profile import work --from brave --dry-run
  cbrowse profile import work --from work.cbrowse

The browser may be running. Nothing of it is changed, and what is read lies in the clear in memory
alone. Bookmarks, history, cookies, logins, tabs and the data of sites come along; extensions, the
browser's sign-in to its maker's account, and what only this machine can decrypt do not.
";

/// Arguments of `cbrowse profile import`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The profile to make, or to give its next generation; the browser's name without it.
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(complete::profiles))]
    pub name: Option<ProfileName>,
    /// chrome, chromium, brave, edge, a user data directory, or a sealed file of `profile export --sealed`.
    #[arg(long, value_name = "BROWSER|PATH", required_unless_present = "list", add = ArgValueCompleter::new(complete::browsers))]
    pub from: Option<String>,
    /// Which of the browser's profiles, by its directory or its name; the one used last without it.
    #[arg(long, value_name = "PROFILE", add = ArgValueCompleter::new(complete::browser_profiles))]
    pub profile: Option<String>,
    /// List the browsers' profiles on this machine instead.
    #[arg(long, conflicts_with_all = ["from", "profile", "dry_run"])]
    pub list: bool,
    /// Read everything, and say what would come along.
    #[arg(long)]
    pub dry_run: bool,
    /// Build the clear copy in this directory instead of in memory. It is wiped either way.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub staging: Option<PathBuf>,
    /// Read the passphrase of a sealed file from this file descriptor.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    pub file_passphrase_fd: Option<i32>,
    /// Where the passphrase of this machine's own keys comes from when no keyring answers.
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
}

/// Where the contents go.
enum Target {
    Existing(Box<OpenProfile>),
    New(ProfileName),
}

/// What came of an import.
struct Done {
    imported: Imported,
    /// `None` for a dry run of a profile that does not exist.
    sealed: Option<Sealed>,
    /// Where the account key is kept, if it was made now.
    key_made: Option<String>,
    is_new: bool,
}

/// Imports.
pub async fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    let Some(from) = args.from.clone() else { return listing::run(globals).await };
    let path = PathBuf::from(&from);
    if path.is_file() {
        return sealed::run(args, globals, &path).await;
    }
    let stop = globals.interrupt.watch();
    let (paths, wanted, name) = (globals.paths.clone(), args.profile.clone(), args.name.clone());
    let source_of_keys = args.passphrase.source();
    let opening = source_of_keys.clone();
    let (source, plan, name, target) = blocking(move || {
        let home = Home::of_user().ok_or_else(|| {
            Failure::new(Exit::Configuration, "no_home", "this user has no home directory")
                .hint("set HOME to a directory that you can read")
        })?;
        let source = home.choose(&from, wanted.as_deref())?;
        let plan = copy::plan(&source.profile_path())?;
        let name = name.unwrap_or_else(|| default_name(&source));
        let target = target(&paths, opening, &name)?;
        Ok((source, plan, name, target))
    })
    .await?;
    let staging = Staging::make(args.staging.as_deref(), plan.bytes())?;
    if !staging.is_in_memory() {
        globals.output.warn(format_args!(
            "{} is on a disk: until the profile is sealed, it lies there in the clear; it is wiped afterwards",
            staging.path().display()
        ));
    }
    let work = Work {
        paths: globals.paths.clone(),
        output: globals.output.clone(),
        keys: source_of_keys,
        source: source.clone(),
        data: staging.data(),
        dry_run: args.dry_run,
        stop,
    };
    let done = blocking(move || work.run(plan, target)).await;
    // Before anything is said, and when this future is dropped halfway.
    let in_memory = staging.is_in_memory();
    drop(staging);
    told::report(globals, &name, &source, &done?, args.dry_run, in_memory)
}

struct Work {
    paths: Paths,
    output: Output,
    keys: PassphraseSource,
    source: Source,
    data: PathBuf,
    dry_run: bool,
    stop: CancellationToken,
}

impl Work {
    fn run(self, plan: copy::Plan, target: Target) -> Result<Done, Failure> {
        let meter = Arc::new(Meter::default());
        let drawn = self.output.follow("reading", "files", meter.clone());
        let imported = browsers::build(&self.source, plan, &self.data, &meter, &self.stop)?;
        drop(drawn);
        let directory = Directory::made(self.data.clone(), self.source.profile_path(), imported.running);
        match target {
            Target::Existing(profile) if self.dry_run => {
                let sealed = Some(directory.try_out(&profile, &self.output)?);
                Ok(Done { imported, sealed, key_made: None, is_new: false })
            }
            Target::New(_) if self.dry_run => {
                Ok(Done { imported, sealed: None, key_made: None, is_new: true })
            }
            Target::Existing(profile) => {
                let sealed = Some(self.seal(&directory, &profile)?);
                Ok(Done { imported, sealed, key_made: None, is_new: false })
            }
            Target::New(name) => {
                let NewProfile { profile, key_made, key_place } =
                    create::make(&self.paths, self.keys.clone(), &name)?;
                let sealed = self.seal(&directory, &profile);
                let sealed = sealed.map_err(|failure| create::undo(&self.paths, &name, failure))?;
                Ok(Done {
                    imported,
                    sealed: Some(sealed),
                    key_made: key_made.then_some(key_place),
                    is_new: true,
                })
            }
        }
    }

    fn seal(&self, directory: &Directory, profile: &OpenProfile) -> Result<Sealed, Failure> {
        let store = Stopping { behind: profile.authority().store(), stop: &self.stop };
        store.or_interrupted(directory.seal_through(profile, &store, &self.output))
    }
}

/// What can be refused without reading the browser's files is refused first.
fn target(paths: &Paths, keys: PassphraseSource, name: &ProfileName) -> Result<Target, Failure> {
    if key::check_free(paths, name).is_ok() {
        return Ok(Target::New(name.clone()));
    }
    let profile = key::open(paths, keys, name.as_str())?;
    Ok(Target::Existing(Box::new(profile)))
}

fn default_name(source: &Source) -> ProfileName {
    let name = source.browser.map_or("imported", browsers::browser::Browser::name);
    name.parse().expect("a browser's name is a profile's")
}
