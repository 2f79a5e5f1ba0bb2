//! What every subcommand is given: how to write, what was set, and where the user's files lie.

use std::path::PathBuf;

use directories::ProjectDirs;

use crate::{
    failure::{Exit, Failure},
    interrupt::Interrupt,
    output::Output,
    settings::Settings,
};

/// Shared by all subcommands.
#[derive(Debug)]
pub struct Globals {
    /// Where results and remarks go.
    pub output: Output,
    /// What was set, and where.
    pub settings: Settings,
    /// The user's directories.
    pub paths: Paths,
    /// Ctrl-C.
    pub interrupt: Interrupt,
}

impl Globals {
    /// Puts them together.
    pub fn new(output: Output, paths: Paths, settings: Settings) -> Self {
        Self { output, settings, paths, interrupt: Interrupt::default() }
    }
}

/// The user's directories, by the XDG rules; none of them need exist yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// `~/.config/cbrowse`: settings, trusted fleets.
    pub config: PathBuf,
    /// `~/.local/share/cbrowse`: profiles, known nodes.
    pub data: PathBuf,
    /// `~/.cache/cbrowse`: catalogs; may be deleted at any time.
    pub cache: PathBuf,
}

impl Paths {
    /// The directories of the user who runs this process.
    pub fn of_user() -> Result<Self, Failure> {
        let directories = ProjectDirs::from("", "", "cbrowse").ok_or_else(|| {
            Failure::new(Exit::Configuration, "no_home", "this user has no home directory")
                .hint("set HOME to a directory that you can write to")
        })?;
        Ok(Self {
            config: directories.config_dir().to_owned(),
            data: directories.data_dir().to_owned(),
            cache: directories.cache_dir().to_owned(),
        })
    }

    /// The settings file, unless another is named.
    pub fn settings(&self) -> PathBuf {
        self.config.join("config.toml")
    }

    /// Last answers of the catalogs.
    pub fn catalogs(&self) -> PathBuf {
        self.cache.join("catalogs")
    }

    /// Where this user's profiles lie, sealed.
    pub fn profiles(&self) -> PathBuf {
        self.data.join("profiles")
    }

    /// What is known of this user's account key: the membership log, the passphrase slot. Nothing there opens anything by itself.
    pub fn account(&self) -> PathBuf {
        self.data.join("account")
    }

    /// Everything below one directory, for tests and demonstrations.
    pub fn below(root: &std::path::Path) -> Self {
        Self { config: root.join("config"), data: root.join("data"), cache: root.join("cache") }
    }
}
