//! Saving and restoring a profile: our library and the whole program next to Debian's restic and borg.
//!
//! All of them read one generated directory and write encrypted repositories on the same disk. They take turns, and who
//! begins changes with every run. A run is: first sync, nothing changed, one row changed in a database of 4 MB, one file
//! added, and everything restored. Each step is a process of its own, started by a small one, so that times hold the start of
//! a program and peaks do not hold what the benchmark has in memory.

pub mod once;
pub mod report;
mod session;
pub mod tool;

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};

use self::{
    report::{Input, Results},
    tool::{Tool, World},
};
use crate::profile::{self, Shape};

/// What is done one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Into an empty repository.
    First,
    /// Again.
    Nothing,
    /// After one row of a database changed.
    Row,
    /// After a file was added.
    File,
    /// Into an empty directory.
    Restore,
}

impl Step {
    /// In their order.
    pub const ALL: [Self; 5] = [Self::First, Self::Nothing, Self::Row, Self::File, Self::Restore];

    /// For people.
    pub fn label(self) -> &'static str {
        match self {
            Self::First => "first sync",
            Self::Nothing => "nothing changed",
            Self::Row => "one row changed",
            Self::File => "one file added",
            Self::Restore => "restore",
        }
    }

    /// For programs; stable.
    pub fn key(self) -> &'static str {
        match self {
            Self::First => "first_sync",
            Self::Nothing => "nothing_changed",
            Self::Row => "one_row",
            Self::File => "one_file",
            Self::Restore => "restore",
        }
    }
}

/// A profile of so many bytes is saved when the peak of memory is asked for, unless another size is named.
const LARGE: u64 = 2_000_000_000;
/// What was touched so recently is read again by whoever is careful; all of them are then.
const SETTLE: Duration = Duration::from_secs(3);

/// What to measure.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// How often everything is measured
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub runs: u32,
    /// Bytes of the generated profile [default: 470 MB; with --large 2 GB]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(20_000_000..))]
    pub bytes: Option<u64>,
    /// Files of the generated profile
    #[arg(long, value_name = "N", default_value_t = 5_000)]
    pub files: usize,
    /// Decides what the profile holds
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Only our own peak of memory, for a large profile of which everything travels; needs three times its bytes of disk
    #[arg(long)]
    pub large: bool,
    /// Only our library, for whoever works on it
    #[arg(long)]
    pub alone: bool,
    /// Only this part
    #[arg(long, value_name = "PART", value_enum)]
    pub only: Option<Only>,
    /// Where everything lies meanwhile [default: the system's temporary directory]
    #[arg(long, value_name = "DIR")]
    pub directory: Option<PathBuf>,
    /// Print one JSON document instead of tables
    #[arg(long)]
    pub json: bool,
}

/// A part that is measured by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Only {
    /// Syncs over a long road, in its round trips
    Remote,
    /// What a profile adds to the first picture of a warm node
    Connect,
}

/// Measures all. `None` where another process of this program did, in a session with a keyring.
pub fn run(options: &Options) -> anyhow::Result<Option<Results>> {
    let tools = if options.large || options.alone { vec![Tool::Library] } else { Tool::all() };
    tools.iter().try_for_each(|tool| tool.check())?;
    if tools.contains(&Tool::Program) && session::run_inside()? {
        return Ok(None);
    }
    let ground = match &options.directory {
        Some(directory) => tempfile::tempdir_in(directory)?,
        None => tempfile::tempdir()?,
    };
    let started = Instant::now();
    let bytes = options.bytes.unwrap_or(if options.large { LARGE } else { Shape::default().bytes });
    let shape = Shape { bytes, files: options.files, seed: options.seed, ..Shape::default() };
    let mut results = Results::new(options.runs, session::key_comes_from());
    if options.large {
        let shape = Shape { travels: 100, ..shape };
        results.push(measure("large", &tools, &shape, 1, ground.path())?);
        return Ok(Some(results.taking(started.elapsed())));
    }
    results.push(measure("realistic", &tools, &shape, options.runs, ground.path())?);
    let all = Shape { travels: 100, ..shape };
    let tools: Vec<Tool> = tools.into_iter().filter(|tool| !tool.excludes()).collect();
    results.push(measure("everything-travels", &tools, &all, options.runs, ground.path())?);
    Ok(Some(results.taking(started.elapsed())))
}

fn measure(
    name: &'static str,
    tools: &[Tool],
    shape: &Shape,
    runs: u32,
    ground: &Path,
) -> anyhow::Result<Input> {
    let data = ground.join(format!("{name}-data"));
    let made = profile::make(&data, shape)?;
    // What is still on its way to the disk would be somebody's first sync's to wait for.
    nix::unistd::sync();
    let mut input = Input::new(name, made, tools);
    for run in 0..runs {
        let worlds = ground.join("repositories");
        let mut order = tools.to_vec();
        order.rotate_left(run as usize % tools.len());
        let turns: Vec<(Tool, World)> = order
            .iter()
            .map(|tool| Ok((*tool, tool.prepare(&worlds, &data)?)))
            .collect::<anyhow::Result<_>>()?;
        for step in Step::ALL {
            match step {
                Step::Row => profile::change_row(&data, run + 1)?,
                Step::File => profile::add_file(&data, run + 1)?,
                _ => {}
            }
            if matches!(step, Step::First | Step::Nothing) {
                thread::sleep(SETTLE);
            }
            for (tool, world) in &turns {
                let spent =
                    world.take(step).with_context(|| format!("{}: {}", tool.label(), step.label()))?;
                input.push(*tool, step, &spent);
                if step == Step::Restore {
                    check(&data, &world.restored(), run + 1)?;
                    fs::remove_dir_all(&world.out)?;
                }
                nix::unistd::sync();
            }
        }
        fs::remove_dir_all(&worlds)?;
    }
    fs::remove_dir_all(&data)?;
    Ok(input)
}

/// Whoever is fast must also have restored what was changed last.
fn check(data: &Path, restored: &Path, number: u32) -> anyhow::Result<()> {
    let added = format!("Default/IndexedDB/https_site0.example_0.indexeddb.leveldb/added-{number}.log");
    for path in [profile::CHANGED_DATABASE, &added] {
        let (expected, found) = (fs::read(data.join(path))?, fs::read(restored.join(path)));
        let found = found.with_context(|| format!("read {} of {}", path, restored.display()))?;
        ensure!(expected == found, "{path} was not restored as it is");
    }
    Ok(())
}
