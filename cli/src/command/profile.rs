//! `cbrowse profile`: profiles that are the user's own, made, sealed, brought home and sent ahead.

pub mod create;
pub mod delete;
pub mod diff;
mod doors;
pub mod export;
pub mod extensions;
pub mod history;
pub mod import;
pub mod key;
pub mod list;
mod parts;
pub mod pull;
pub mod rename;
pub mod restore;
mod seal;
pub mod status;
mod stopping;
pub mod sync;
pub mod verify;
mod words;

use clap::Subcommand;

use crate::{context::Globals, failure::Failure};

/// Shown below the help.
pub const EXAMPLES: &str = "\
Examples:
  cbrowse profile create work
  cbrowse profile import work --from chrome
  cbrowse profile sync work
  cbrowse connect --profile work

A profile is sealed on this machine, with a key that stays in this machine's keyring.
Nodes hold ciphertext; the one worker that runs a session opens it in memory, and seals it again.
";

/// Arguments of `cbrowse profile`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What can be done with profiles.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a profile, empty or from a Chromium user data directory.
    #[command(after_help = create::EXAMPLES)]
    Create(create::Args),
    /// List the profiles of this machine.
    #[command(after_help = list::EXAMPLES)]
    List(list::Args),
    /// Show where a profile stands, and which saves still wait on nodes.
    #[command(after_help = status::EXAMPLES)]
    Status(status::Args),
    /// Take waiting saves home, seal what changed, send the best node what it lacks.
    #[command(after_help = sync::EXAMPLES)]
    Sync(Box<sync::Args>),
    /// Take over what the fleet's store holds, on a second device or after a loss.
    #[command(after_help = pull::EXAMPLES)]
    Pull(Box<pull::Args>),
    /// List every generation and every version kept beside.
    #[command(after_help = history::EXAMPLES)]
    History(history::Args),
    /// Show what differs between two versions, or between the current one and its directory.
    #[command(after_help = diff::EXAMPLES)]
    Diff(diff::Args),
    /// Make an older version current again, as a new generation.
    #[command(after_help = restore::EXAMPLES)]
    Restore(restore::Args),
    /// Seal a profile of an installed browser, or read a sealed file.
    #[command(after_help = import::EXAMPLES)]
    Import(import::Args),
    /// Open every sealed object of a profile and say what is damaged.
    #[command(after_help = verify::EXAMPLES)]
    Verify(verify::Args),
    /// Write a profile out as a plain Chromium user data directory, or as one sealed file.
    #[command(after_help = export::EXAMPLES)]
    Export(export::Args),
    /// Give a profile another name.
    #[command(after_help = rename::EXAMPLES)]
    Rename(rename::Args),
    /// Delete a profile here and on the nodes that hold sealed copies.
    #[command(after_help = delete::EXAMPLES)]
    Delete(delete::Args),
    /// Show, recover, share, revoke and rotate the key that opens every profile.
    #[command(after_help = key::EXAMPLES)]
    Key(key::Args),
}

/// Runs it.
pub async fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    match &args.command {
        Command::Create(args) => create::run(args, globals).await,
        Command::List(args) => list::run(args, globals).await,
        Command::Status(args) => status::run(args, globals).await,
        Command::Sync(args) => sync::run(args, globals).await,
        Command::Pull(args) => pull::run(args, globals).await,
        Command::History(args) => history::run(args, globals).await,
        Command::Diff(args) => diff::run(args, globals).await,
        Command::Restore(args) => restore::run(args, globals).await,
        Command::Import(args) => import::run(args, globals).await,
        Command::Verify(args) => verify::run(args, globals).await,
        Command::Export(args) => export::run(args, globals).await,
        Command::Rename(args) => rename::run(args, globals).await,
        Command::Delete(args) => delete::run(args, globals).await,
        Command::Key(args) => key::run(args, globals).await,
    }
}
