//! `cbrowse-node`: one binary, the server and its workers.

use std::{io::IsTerminal as _, process::ExitCode};

use cbrowse_node::{
    command::{events, fleet, identity, registrar, serve, store, token},
    worker,
};
use clap::Parser;
use tracing_subscriber::EnvFilter;

/// Serves cloud browsers: one isolated Chromium per session, streamed to its owner.
#[derive(Parser)]
#[command(name = "cbrowse-node", version, arg_required_else_help = true)]
enum Cli {
    /// Serve browsers
    Serve(Box<serve::Args>),
    /// Make a token with which a user may use this node
    Token(token::Args),
    /// Make and use the key that vouches for a fleet's nodes
    Fleet(fleet::Args),
    /// Register nodes that cannot register themselves
    Registrar(registrar::Args),
    /// Fire and watch user events of Consul
    Events(events::Args),
    /// Clear a store that several nodes share
    Store(store::Args),
    /// Print this node's identity key
    Identity(identity::Args),
    /// One session's room; started by the server only
    #[command(hide = true)]
    Worker(worker::Options),
}

/// What keeps a node from serving is its settings or its machine, as exit code 3 of `cbrowse` says, too.
const CONFIGURATION: u8 = 3;

fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .with_target(false)
        .init();
    let result = match Cli::parse() {
        Cli::Serve(args) => serve::run(*args),
        Cli::Token(args) => token::run(&args),
        Cli::Registrar(args) => registrar::run(&args),
        Cli::Fleet(args) => fleet::run(args),
        Cli::Events(args) => events::run(args),
        Cli::Store(args) => store::run(args),
        Cli::Identity(args) => identity::run(&args),
        Cli::Worker(options) => return worker::main(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::from(CONFIGURATION)
        }
    }
}
