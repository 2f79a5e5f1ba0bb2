//! `cbrowse nodes`: which nodes there are, and how far they are from here.

pub mod bar;
mod figures_file;
pub mod history;
pub mod list;
pub mod probe;
mod screen;
pub mod table;
pub mod watch;

use clap::Subcommand;

use crate::{context::Globals, failure::Failure};

/// Arguments of `cbrowse nodes`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What can be done with nodes.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List what the catalogs say, without asking the nodes.
    #[command(after_help = list::EXAMPLES)]
    List(list::Args),
    /// Watch the catalogs: a live table of the nodes, or a line for each change.
    #[command(after_help = watch::EXAMPLES)]
    Watch(watch::Args),
    /// Measure every node from here, and tell which one would be chosen.
    #[command(after_help = probe::EXAMPLES)]
    Probe(Box<probe::Args>),
    /// Show, or forget, what earlier probings on this network found.
    #[command(after_help = history::EXAMPLES)]
    History(history::Args),
}

/// Runs it.
pub async fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    match &args.command {
        Command::List(args) => list::run(args, globals).await,
        Command::Watch(args) => watch::run(args, globals).await,
        Command::Probe(args) => probe::run(args, globals).await,
        Command::History(args) => history::run(args, globals),
    }
}
