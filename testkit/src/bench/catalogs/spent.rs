//! What another program spends, told by a process of its own that is small: the kernel counts into a program's peak
//! what its parent held when it was started.

use std::{
    ffi::OsString,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use serde_json::{Value, json};

use super::once::cpu;

/// What to run.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<OsString>,
}

/// Runs it to its end without an output, and tells `{"wall_ms", "cpu_ms", "peak_mib"}`.
pub fn run(options: &Options) -> anyhow::Result<Value> {
    let (program, arguments) = options.command.split_first().context("a program is required")?;
    let began = Instant::now();
    let status = Command::new(program).args(arguments).stdout(Stdio::null()).status()?;
    let wall = began.elapsed();
    ensure!(status.success(), "{}: {status}", program.display());
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let wall_ms = wall.as_secs_f64() * 1e3;
    Ok(json!({ "wall_ms": wall_ms, "cpu_ms": cpu(&usage), "peak_mib": usage.max_rss() as f64 / 1024.0 }))
}
