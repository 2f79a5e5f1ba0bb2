//! The command line: one root, one file a subcommand, each with its `Args` and its `run`.

pub mod address;
pub mod complete;
pub mod completions;
pub mod config;
pub mod connect;
pub mod demo;
pub mod doctor;
pub mod explain;
pub mod filter;
pub mod login;
pub mod logout;
pub mod man;
pub mod nodes;
pub mod probing;
pub mod profile;
pub mod traits;
pub mod trust;
pub mod whoami;

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueHint};
use clap_complete::ArgValueCompleter;

use crate::{
    context::Globals,
    failure::Failure,
    settings::{Flags, duration::parse_age, size::parse_size},
};

const EXAMPLES: &str = "\
Examples:
  cbrowse demo                                   see all of it on this machine
  cbrowse connect                                a private node on this machine
  cbrowse connect --catalog consul://10.0.0.5:8500 --region eu-central
  cbrowse nodes probe --catalog file:nodes.toml

Exit codes:
  0 ok  1 bug  2 usage  3 configuration  4 catalog  5 no eligible node
  6 authentication  7 trust  8 profile or key  9 session lost
  10 refused or full  130 interrupted
";

/// Remote browsers, measured and picked from your own machine.
#[derive(Debug, Parser)]
#[command(name = "cbrowse", version, after_help = EXAMPLES)]
pub struct Root {
    /// Flags that every subcommand knows.
    #[command(flatten)]
    pub globals: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags that every subcommand knows.
#[derive(Debug, Args)]
#[command(next_help_heading = "Everywhere")]
pub struct GlobalArgs {
    /// Write one JSON document to standard output, and errors as JSON to standard error.
    #[arg(long, global = true)]
    pub json: bool,
    /// A catalog of nodes: consul://, dns+srv://, etcd://, nacos://, file: or local:; may be repeated (CBROWSE_CATALOG).
    ///
    ///   consul://HOST:PORT,…/SERVICE?dc=NAME     Consul's HTTP API
    ///   dns+srv://NAME?server=IP:PORT            SRV records of a DNS name
    ///   etcd://HOST:PORT,…/PREFIX                keys of etcd v3 below a prefix
    ///   nacos://HOST:PORT,…/NAMESPACE?group=NAME a service of Nacos
    ///   file:PATH                                a TOML or JSON file of your own
    ///   local:                                   a private node on this machine
    ///
    /// Several are asked side by side and merged; one that is down costs a warning.
    /// Where none is named, neither here nor in CBROWSE_CATALOG nor in the settings
    /// file, `connect` starts a private node on this machine.
    #[arg(long = "catalog", global = true, value_name = "URI", verbatim_doc_comment)]
    pub catalogs: Vec<String>,
    /// The section [context.NAME] of the settings to use (CBROWSE_CONTEXT).
    #[arg(long, global = true, value_name = "NAME", add = ArgValueCompleter::new(complete::contexts))]
    pub context: Option<String>,
    /// Read the settings from here (CBROWSE_CONFIG) instead of ~/.config/cbrowse/config.toml.
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// How old a cached answer `connect` may start from, such as 24h; 0 always waits for the registry (CBROWSE_CACHE_TTL).
    #[arg(long, global = true, value_name = "AGE", value_parser = parse_age, hide_short_help = true)]
    pub cache_ttl: Option<Duration>,
    /// An answer younger than this is not asked for again by `connect`, such as 10s (CBROWSE_CACHE_REFRESH).
    #[arg(long, global = true, value_name = "AGE", value_parser = parse_age, hide_short_help = true)]
    pub cache_refresh: Option<Duration>,
    /// Most that all cached answers take, such as 64MiB; 0 keeps and uses none (CBROWSE_CACHE_SIZE).
    #[arg(long, global = true, value_name = "SIZE", value_parser = parse_size, hide_short_help = true)]
    pub cache_size: Option<u64>,
    /// Write results and errors only.
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Never use colour (NO_COLOR does the same).
    #[arg(long, global = true)]
    pub no_color: bool,
}

impl GlobalArgs {
    /// Those that are settings.
    pub fn flags(&self) -> Flags {
        Flags {
            config: self.config.clone(),
            context: self.context.clone(),
            catalogs: self.catalogs.clone(),
            cache_ttl: self.cache_ttl,
            cache_refresh: self.cache_refresh,
            cache_size: self.cache_size,
        }
    }
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Open a page in a browser on the best node.
    #[command(after_help = connect::EXAMPLES)]
    Connect(Box<connect::Args>),
    /// List the nodes, or measure them from here.
    Nodes(nodes::Args),
    /// Explain where the time of the last connect went, and why it came to that node.
    Explain(explain::Args),
    /// Make, list, seal and send profiles.
    #[command(after_help = profile::EXAMPLES)]
    Profile(profile::Args),
    /// Log in with the token that a node's operator made for you.
    Login(login::Args),
    /// Log out: forget the token.
    Logout(logout::Args),
    /// Show who is logged in, and until when.
    Whoami(whoami::Args),
    /// Choose which fleets and nodes to trust.
    Trust(trust::Args),
    /// Show the settings in force.
    Config(config::Args),
    /// Check what is possible on this machine, and say how to mend what is not.
    #[command(after_help = doctor::EXAMPLES)]
    Doctor(doctor::Args),
    /// Show all of it on this machine: three nodes, a profile, pictures, a lost node.
    Demo(demo::Args),
    /// Print the completion script of a shell.
    #[command(after_help = completions::EXAMPLES)]
    Completions(completions::Args),
    /// Write the manual pages.
    #[command(hide = true)]
    Man(man::Args),
}

impl Command {
    /// Whether it reads the settings; the others work with a broken file, too.
    pub fn needs_settings(&self) -> bool {
        !matches!(
            self,
            Self::Completions(_)
                | Self::Explain(_)
                | Self::Man(_)
                | Self::Login(_)
                | Self::Logout(_)
                | Self::Trust(_)
                | Self::Whoami(_)
        )
    }
}

/// Runs one subcommand to its end.
pub async fn run(command: Command, globals: &Globals) -> Result<(), Failure> {
    match command {
        Command::Nodes(args) => nodes::run(&args, globals).await,
        Command::Connect(args) => Box::pin(connect::run(&args, globals)).await,
        Command::Explain(args) => explain::run(&args, globals).await,
        Command::Profile(args) => profile::run(&args, globals).await,
        Command::Demo(args) => demo::run(&args, globals).await,
        Command::Doctor(args) => doctor::run(&args, globals).await,
        Command::Config(args) => config::run(&args, globals).await,
        Command::Man(args) => man::run(&args, globals).await,
        Command::Completions(args) => completions::run(&args, globals).await,
        Command::Login(args) => login::run(&args, globals).await,
        Command::Logout(args) => logout::run(&args, globals).await,
        Command::Trust(args) => trust::run(&args, globals).await,
        Command::Whoami(args) => whoami::run(&args, globals).await,
    }
}
