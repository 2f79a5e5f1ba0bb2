//! A profile of a browser that is installed here, read while that browser may be running: find > copy > rewrite > report.
//!
//! What is clear lies in a [`staging`] directory, in memory where the machine has such storage, and nowhere else. Nothing
//! here writes to the browser's own directory, and nothing follows a link inside it.

pub mod browser;
pub mod copy;
pub mod crypt;
pub mod database;
pub mod extensions;
pub mod find;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;
pub mod secrets;
pub mod sessions;
pub mod staging;
pub mod tally;
#[cfg(windows)]
mod windows;

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use cbrowse_profile::{allowlist::PROFILE_DIRECTORY, meter::Meter};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

#[cfg(target_os = "linux")]
use self::linux as system;
#[cfg(target_os = "macos")]
use self::macos as system;
#[cfg(windows)]
use self::windows as system;
use self::{
    copy::{Left, Plan},
    crypt::Keys,
    extensions::Extension,
    find::Source,
    secrets::Secrets,
    tally::Tally,
};

/// Why a browser's profile was not imported. Nothing of the browser's was changed.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// No such browser has left a profile here.
    #[error("{browser} has no profile here")]
    NoBrowser {
        /// Its name.
        browser: &'static str,
        /// Where it would be.
        looked: Vec<PathBuf>,
    },
    /// Neither a browser's name nor a directory of one.
    #[error("{} is neither a browser's user data directory nor one of its profiles", .0.display())]
    NotABrowser(PathBuf),
    /// The browser has others.
    #[error("there is no profile {wanted:?} in {}", directory.display())]
    NoProfile {
        /// What was asked for.
        wanted: String,
        /// Where.
        directory: PathBuf,
        /// What there is.
        known: Vec<String>,
    },
    /// Two go by one name.
    #[error("{count} profiles in {} are called {wanted:?}", directory.display())]
    Ambiguous {
        /// What was asked for.
        wanted: String,
        /// Where.
        directory: PathBuf,
        /// How many.
        count: usize,
        /// Their directories.
        known: Vec<String>,
    },
    /// The source could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The staging directory could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// More than a profile may hold.
    #[error("{0} is too much for a profile")]
    TooLarge(String),
    /// It does not fit into the memory-backed storage there is.
    #[error("{} has {free} bytes free, and the copy needs about {needed}", place.display())]
    NoRoom {
        /// Where.
        place: PathBuf,
        /// Bytes there.
        free: u64,
        /// Bytes that are needed.
        needed: u64,
    },
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Imported {
    /// Counts of what a person knows.
    pub contents: Tally,
    /// What was encrypted for this machine.
    pub secrets: Secrets,
    /// Extensions, none of which travels.
    pub extensions: Vec<Extension>,
    /// Files that did not come along.
    pub left_behind: Vec<Left>,
    /// Whether the browser worked in the profile while it was read.
    pub running: bool,
}

/// Builds a user data directory at `staging`, which is there and empty, from what was planned. Blocks; ends soon after
/// `stop` is cancelled.
pub fn build(
    source: &Source,
    plan: Plan,
    staging: &Path,
    meter: &Meter,
    stop: &CancellationToken,
) -> Result<Imported, ImportError> {
    let extensions = extensions::list(&source.profile_path());
    let copied = copy::copy(&source.profile_path(), plan, &staging.join(PROFILE_DIRECTORY), meter, stop)?;
    copy_top(source, staging);
    let running = source.running || copied.was_locked;
    let mut left_behind = copied.left;
    let profile = staging.join(PROFILE_DIRECTORY);
    let keys = keys_for(source, &profile, stop)?;
    let secrets = secrets::rewrite(&profile, &keys.0, keys.1, &mut left_behind, stop)?;
    let contents = tally::count(&profile);
    Ok(Imported { contents, secrets, extensions, left_behind, running })
}

/// The keyring is asked only where something was encrypted with its key: it may have to ask a person.
fn keys_for(
    source: &Source,
    profile: &Path,
    stop: &CancellationToken,
) -> Result<(Keys, Option<String>), ImportError> {
    let fixed = system::fixed_passwords();
    if !secrets::wants_keyring(profile, stop)? {
        return Ok((Keys::new(fixed, &[]), None));
    }
    match system::keyring_passwords(source.browser) {
        Ok(passwords) => Ok((Keys::new(fixed, &passwords), None)),
        Err(trouble) => Ok((Keys::new(fixed, &[]), Some(trouble))),
    }
}

/// `Last Version` is what the browser's version is read from, `Local State` loses all but its language on the way.
fn copy_top(source: &Source, staging: &Path) {
    for name in ["Last Version", "Local State"] {
        // Where one is missing, the browser makes it anew.
        let _made_anew = copy::copy_small(&source.directory.join(name), &staging.join(name));
    }
}

/// Makes directories below `root`, for their owner alone, and not `root` itself: once it is wiped, nothing comes back.
pub(crate) fn make_below(root: &Path, inside: &Path) -> io::Result<()> {
    let mut path = root.to_owned();
    for part in inside.components() {
        path.push(part);
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
    }
    Ok(())
}
