//! Those who are measured, and how each is told to do the same.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::{Step, session};
use crate::profile::CACHES;

/// Who saves and restores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tool {
    /// Our library, in a process that does nothing else.
    Library,
    /// `cbrowse profile sync` and `cbrowse profile export`.
    Program,
    /// restic, as it is.
    Restic,
    /// restic, told to leave out what we leave out.
    ResticExcluding,
    /// borg, as it is.
    Borg,
    /// borg, told to leave out what we leave out.
    BorgExcluding,
}

/// What one step took.
#[derive(Debug, Clone, Copy)]
pub struct Spent {
    /// Milliseconds from the start of the program to its end.
    pub wall_ms: f64,
    /// Largest resident set in MiB.
    pub peak_mib: f64,
    /// Bytes that came into the repository.
    pub sent: u64,
    /// Bytes of the repository.
    pub stored: u64,
}

/// Where one of them works in one run.
pub struct World {
    tool: Tool,
    root: PathBuf,
    data: PathBuf,
    /// Where it restores to.
    pub(super) out: PathBuf,
}

/// What repositories are encrypted with; it protects nothing.
const PASSWORD: &str = "bench";

impl Tool {
    /// Ours first.
    pub(super) fn all() -> Vec<Self> {
        vec![
            Self::Library,
            Self::Program,
            Self::Restic,
            Self::ResticExcluding,
            Self::Borg,
            Self::BorgExcluding,
        ]
    }

    /// Whether it is told what to leave out.
    pub(super) fn excludes(self) -> bool {
        matches!(self, Self::ResticExcluding | Self::BorgExcluding)
    }

    /// For people.
    pub fn label(self) -> &'static str {
        match self {
            Self::Library => "cbrowse library",
            Self::Program => "cbrowse program",
            Self::Restic => "restic",
            Self::ResticExcluding => "restic, excluding",
            Self::Borg => "borg",
            Self::BorgExcluding => "borg, excluding",
        }
    }

    /// For programs; stable.
    pub fn key(self) -> &'static str {
        match self {
            Self::Library => "cbrowse_library",
            Self::Program => "cbrowse",
            Self::Restic => "restic",
            Self::ResticExcluding => "restic_excluding",
            Self::Borg => "borg",
            Self::BorgExcluding => "borg_excluding",
        }
    }

    /// Whether it can be measured here.
    pub(super) fn check(self) -> anyhow::Result<()> {
        let (program, package) = match self {
            Self::Library => return Ok(()),
            Self::Program => {
                let hint = "cbrowse is not beside this program; build it with the same profile: cargo build -p cbrowse";
                ensure!(cbrowse()?.is_file(), hint);
                return Ok(());
            }
            Self::Restic | Self::ResticExcluding => ("restic", "restic"),
            Self::Borg | Self::BorgExcluding => ("borg", "borgbackup"),
        };
        let found = Command::new(program).arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status();
        ensure!(found.is_ok(), "{program} is not installed: apt-get install {package}, or --alone");
        Ok(())
    }

    /// An empty repository.
    pub(super) fn prepare(self, worlds: &Path, data: &Path) -> anyhow::Result<World> {
        let root = worlds.join(self.key());
        fs::create_dir_all(&root)?;
        fs::write(root.join("password"), PASSWORD)?;
        let world = World { tool: self, data: data.into(), out: root.join("out"), root };
        let mut first = match self {
            Self::Library => return Ok(world),
            Self::Program => world.program(&["profile", "create", PROFILE])?,
            Self::Restic | Self::ResticExcluding => world.command("restic", &["init"]),
            Self::Borg | Self::BorgExcluding => {
                let repository = world.repository();
                let mut command = world.command("borg", &["init", "-e", "repokey-blake2"]);
                command.arg(repository);
                command
            }
        };
        let output = first.stdout(Stdio::null()).output()?;
        let words = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}: cannot begin: {words}", self.label());
        Ok(world)
    }
}

/// The program's name for its profile.
const PROFILE: &str = "bench";

impl World {
    /// One step, measured.
    pub(super) fn take(&self, step: Step) -> anyhow::Result<Spent> {
        let before = length_of(&self.repository())?;
        let command = if step == Step::Restore { self.restore()? } else { self.save(step)? };
        let (wall_ms, peak_mib) = spend(&command, self.input()?)?;
        let stored = length_of(&self.repository())?;
        Ok(Spent { wall_ms, peak_mib, sent: stored.saturating_sub(before), stored })
    }
    /// What it keeps; of ours the whole profile directory, records and notes too.
    fn repository(&self) -> PathBuf {
        match self.tool {
            Tool::Program => self.root.join("home"),
            _ => self.root.join("repository"),
        }
    }

    /// Where the user data directory came out.
    pub(super) fn restored(&self) -> PathBuf {
        match self.tool {
            Tool::Library | Tool::Program => self.out.clone(),
            // Both keep the whole path.
            _ => self.out.join(self.data.strip_prefix("/").unwrap_or(&self.data)),
        }
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("RESTIC_REPOSITORY", self.repository())
            .env("RESTIC_PASSWORD_FILE", self.root.join("password"))
            .env("RESTIC_CACHE_DIR", self.root.join("cache"))
            .env("BORG_PASSCOMMAND", format!("cat {}", self.root.join("password").display()))
            .env("BORG_BASE_DIR", self.root.join("base"))
            .env("BORG_CACHE_DIR", self.root.join("cache"))
            .env("BORG_RELOCATED_REPO_ACCESS_IS_OK", "yes")
            .stdin(Stdio::null());
        command
    }

    fn program(&self, arguments: &[&str]) -> anyhow::Result<Command> {
        let home = self.repository();
        let mut command = Command::new(cbrowse()?);
        command
            .args(arguments)
            .env("HOME", &home)
            .env("XDG_DATA_HOME", home.join("share"))
            .env("XDG_CONFIG_HOME", home.join("config"))
            .env("XDG_CACHE_HOME", home.join("cache"))
            .env("XDG_STATE_HOME", home.join("state"))
            .stdin(self.input()?);
        if !session::is_inside() {
            command.args(["--passphrase-fd", "0"]);
        }
        Ok(command)
    }

    fn input(&self) -> anyhow::Result<Stdio> {
        let asks = self.tool == Tool::Program && !session::is_inside();
        Ok(if asks { File::open(self.root.join("password"))?.into() } else { Stdio::null() })
    }

    fn save(&self, step: Step) -> anyhow::Result<Command> {
        Ok(match self.tool {
            Tool::Library => self.once("--save", &self.data)?,
            Tool::Program => {
                let mut command = self.program(&["profile", "sync", PROFILE, "--quiet", "--from"])?;
                command.arg(&self.data);
                command
            }
            Tool::Restic | Tool::ResticExcluding => {
                let mut command = self.command("restic", &["backup", "--quiet"]);
                for cache in self.left_out() {
                    command.arg("--exclude").arg(cache);
                }
                if scans_ahead() {
                    command.arg("--no-scan");
                }
                command.arg(&self.data);
                command
            }
            Tool::Borg | Tool::BorgExcluding => {
                let mut command = self.command("borg", &["create", "-C", "zstd,3"]);
                for cache in self.left_out() {
                    command.arg("--exclude").arg(format!("pp:{}", cache.display()));
                }
                command.arg(format!("{}::{}", self.repository().display(), step.key())).arg(&self.data);
                command
            }
        })
    }

    fn left_out(&self) -> impl Iterator<Item = PathBuf> {
        CACHES.iter().filter(|_| self.tool.excludes()).map(|cache| self.data.join(cache))
    }

    fn restore(&self) -> anyhow::Result<Command> {
        Ok(match self.tool {
            Tool::Library => self.once("--restore", &self.out)?,
            Tool::Program => {
                let mut command = self.program(&["profile", "export", PROFILE, "--quiet"])?;
                command.arg(&self.out);
                command
            }
            Tool::Restic | Tool::ResticExcluding => {
                let mut command = self.command("restic", &["restore", "latest", "--quiet", "--target"]);
                command.arg(&self.out);
                command
            }
            Tool::Borg | Tool::BorgExcluding => {
                fs::create_dir(&self.out)?;
                let mut command = self.command("borg", &["extract"]);
                command
                    .arg(format!("{}::{}", self.repository().display(), Step::File.key()))
                    .current_dir(&self.out);
                command
            }
        })
    }

    fn once(&self, what: &str, directory: &Path) -> anyhow::Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("profiles-once").arg(self.repository()).arg(what).arg(directory).stdin(Stdio::null());
        Ok(command)
    }
}

fn cbrowse() -> anyhow::Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name("cbrowse"))
}

/// Newer ones count files while they save, for their progress bar, unless they are told not to.
fn scans_ahead() -> bool {
    let help = Command::new("restic").args(["backup", "--help"]).output();
    help.is_ok_and(|help| String::from_utf8_lossy(&help.stdout).contains("--no-scan"))
}

/// Runs it through a small process; milliseconds, and MiB.
fn spend(command: &Command, input: Stdio) -> anyhow::Result<(f64, f64)> {
    let mut through = Command::new(std::env::current_exe()?);
    through.arg("spent").arg("--").arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            through.env(name, value);
        }
    }
    if let Some(directory) = command.get_current_dir() {
        through.current_dir(directory);
    }
    let output = through.stdin(input).output()?;
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {}\n{words}", command.get_program().display(), output.status);
    let spent: Value = serde_json::from_slice(&output.stdout).context("read what was spent")?;
    let number = |key: &str| spent[key].as_f64().with_context(|| format!("{key} is missing"));
    Ok((number("wall_ms")?, number("peak_mib")?))
}

/// Bytes of all files below.
fn length_of(root: &Path) -> anyhow::Result<u64> {
    let (mut length, mut waiting) = (0, vec![root.to_path_buf()]);
    while let Some(path) = waiting.pop() {
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        if metadata.is_dir() {
            for entry in fs::read_dir(&path)? {
                waiting.push(entry?.path());
            }
        } else {
            length += metadata.len();
        }
    }
    Ok(length)
}
