//! `cbrowse`: discovers browser nodes, probes them from the user's own network, picks one, attaches to it and shows it.

pub mod attach;
pub mod breaker;
pub mod command;
pub mod context;
pub mod credentials;
pub mod date;
pub mod discover;
pub mod failure;
pub mod history;
pub mod import;
pub mod interrupt;
pub mod keyring;
pub mod local;
pub mod network;
pub mod outcome;
pub mod output;
pub mod pending;
pub mod plot;
pub mod private_file;
pub mod probe;
pub mod profile;
pub mod remembered;
pub mod select;
pub mod settings;
pub mod survey;
pub mod timeline;
pub mod trust;
pub mod view;
pub mod words;

use std::{ffi::OsString, path::Path, process::ExitCode};

use clap::{Parser as _, error::ErrorKind};

use crate::{
    command::{Command, Root},
    context::{Globals, Paths},
    failure::{Exit, Failure},
    output::Output,
    settings::{Flags, Settings},
};

/// Parses `arguments` (the program's name first), runs the subcommand and tells the exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if command::completions::answer_shell(&arguments) {
        return ExitCode::SUCCESS;
    }
    let root = match Root::try_parse_from(&arguments) {
        Ok(root) => root,
        Err(error) => return answer_parse(&error, &Output::of_raw(&arguments)),
    };
    let output = Output::new(root.globals.json, root.globals.quiet, root.globals.no_color);
    match dispatch(root, output.clone()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => output.fail(&failure),
    }
}

/// `--help` and `--version` come as errors, too.
fn answer_parse(error: &clap::Error, output: &Output) -> ExitCode {
    if !error.use_stderr() {
        return output
            .print(&error.render())
            .map_or_else(|failure| output.fail(&failure), |()| ExitCode::SUCCESS);
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        output.note(error.render());
        let failure =
            Failure::new(Exit::Usage, "usage", "no command is named").hint("cbrowse --help lists them");
        return if output.is_json() { output.fail(&failure) } else { ExitCode::from(Exit::Usage.code()) };
    }
    output.fail(&Failure::from_usage(error))
}

fn dispatch(mut root: Root, output: Output) -> Result<(), Failure> {
    let paths = Paths::of_user()?;
    let settings = match (settings(&root, &paths), &mut root.command) {
        // Settings that are broken are one of the things it tells.
        (Err(broken), Command::Doctor(args)) => {
            args.broken_settings = Some(broken);
            Settings::resolve(&Flags::default(), &|_| None, Path::new(""))?
        }
        (settings, _) => settings?,
    };
    let globals = Globals::new(output, paths, settings);
    run_async(&globals, command::run(root.command, &globals))
}

/// A broken settings file keeps nobody from completions and man pages, which read nothing from it.
fn settings(root: &Root, paths: &Paths) -> Result<Settings, Failure> {
    if root.command.needs_settings() {
        Settings::resolve(&root.globals.flags(), &|name| std::env::var(name).ok(), &paths.settings())
    } else {
        Settings::resolve(&Flags::default(), &|_| None, Path::new(""))
    }
}

/// Runs one subcommand on a runtime that starts only now, so that `--version` does not pay for it.
fn run_async(globals: &Globals, work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    probe::limits::prepare();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Bug, "runtime", format!("cannot start the runtime: {error}")))?;
    let result = runtime.block_on(globals.interrupt.run(work));
    runtime.shutdown_background();
    result
}
