//! `cbrowse completions SHELL`: the script that makes a shell ask `cbrowse` itself what could come next.

use clap_complete::env::Shells;

use crate::{
    context::Globals,
    failure::{Exit, Failure},
};

/// Arguments of `cbrowse completions`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell to write for.
    #[arg(value_parser = ["bash", "zsh", "fish", "powershell", "elvish"])]
    pub shell: String,
}

/// Prints the script.
#[expect(clippy::unused_async, reason = "every subcommand has this shape")]
pub async fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    globals.output.print_bytes(&script(&args.shell)?)
}

/// The registration script of one shell.
pub fn script(shell: &str) -> Result<Vec<u8>, Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::new(Exit::Bug, "completions", format!("cannot write completions for {shell}: {error}"))
    };
    let shells = Shells::builtins();
    let completer = shells.completer(shell).ok_or_else(|| failed(&"unknown shell"))?;
    let mut text = Vec::new();
    completer
        .write_registration("COMPLETE", "cbrowse", "cbrowse", "cbrowse", &mut text)
        .map_err(|error| failed(&error))?;
    Ok(text)
}
