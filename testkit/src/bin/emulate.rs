//! `cargo run -p cbrowse-testkit --bin emulate -- --nodes 1000 -- cbrowse nodes probe`: a command among many nodes, each
//! at its own distance.

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use cbrowse_testkit::emulate::{self, Family, Far, Fault, Network, Ping, Scenario, Unavailable, World};
use clap::Parser as _;
use serde_json::json;

/// What to run, and among which nodes.
#[derive(Debug, clap::Parser)]
#[command(about = "Runs a command on the near side of an emulated network, as an ordinary user")]
#[command(after_help = "\
The command finds CBROWSE_CATALOG set to the catalog of the nodes, CBROWSE_TOKEN to a credential of the real node with
--node, and EMULATED to the directory of nodes.json, truth.json (what only the emulator knows) and, once the command has
ended, counters.json. Exit code: the command's own; 77 where this machine does not permit such a network.")]
struct Options {
    /// How many nodes
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    nodes: u32,
    /// Where chance begins
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// plain, icmp-filtered, dead or lossy
    #[arg(long, value_name = "NAME", default_value = "plain")]
    scenario: Scenario,
    /// What is the matter with one node: icmp, tcp or dead (left unanswered), mute, closed, no-route, no-name
    #[arg(long = "fault", value_name = "NUMBER=KIND", value_parser = fault)]
    faults: Vec<(usize, Fault)>,
    /// Ordinary users may not send echo requests
    #[arg(long)]
    no_ping: bool,
    /// Nodes have IPv6 addresses
    #[arg(long)]
    ipv6: bool,
    /// A real cbrowse-node answers at every address; without, connections are accepted and nothing is said
    #[arg(long)]
    node: bool,
    /// Where the files are written; without, in a directory that is removed again
    #[arg(long, value_name = "DIRECTORY")]
    files: Option<PathBuf>,
    /// The command and its arguments; without, only whether such a network is permitted here
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    match run(&options) {
        Err(error) if error.is::<Unavailable>() => {
            say(format_args!("no emulated network here: {error:#}"));
            Ok(code(emulate::SKIPPED))
        }
        ran => ran,
    }
}

fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let family = if options.ipv6 { Family::V6 } else { Family::V4 };
    let ping = if options.no_ping { Ping::Closed } else { Ping::Open };
    let far = if options.node { Far::Node } else { Far::Listener };
    let world = World::new(usize::try_from(options.nodes)?, options.scenario, family, options.seed);
    let world = world.with_faults(options.faults.iter().copied());
    let network = Network::start(world, ping, far)?;
    let Some((program, arguments)) = options.command.split_first() else {
        say(format_args!("an emulated network is permitted here"));
        return Ok(ExitCode::SUCCESS);
    };
    let temporary = tempfile::Builder::new().prefix("emulate-").tempdir().context("make a directory")?;
    let directory = options.files.as_deref().unwrap_or(temporary.path());
    network.describe(directory)?;
    let mut command = emulate::near_command(program);
    command
        .args(arguments)
        .env("CBROWSE_CATALOG", format!("file:{}", directory.join("nodes.json").display()))
        .env("EMULATED", directory);
    if let Some(identity) = &network.identity {
        command.env("CBROWSE_TOKEN", &identity.token);
    }
    let status = command.status().with_context(|| format!("start {}", program.display()))?;
    let counters = network.counters();
    let counts = counters.read();
    let mut all = json!({ "counts": counts.document(), "late": counters.lateness().document() });
    say(format_args!("emulated network: {all}"));
    all["nodes"] = counts.node_documents().into();
    std::fs::write(directory.join("counters.json"), all.to_string()).context("write the counters")?;
    Ok(code(status.code().unwrap_or(1)))
}

fn fault(text: &str) -> Result<(usize, Fault), String> {
    let (number, kind) = text.split_once('=').ok_or_else(|| format!("{text:?} is nothing such as 7=dead"))?;
    let number = number.parse().map_err(|error| format!("{number:?} is no number of a node: {error}"))?;
    Ok((number, kind.parse()?))
}

fn code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

#[expect(
    clippy::print_stderr,
    reason = "the command's output is its own; what the emulator says goes beside it"
)]
fn say(words: std::fmt::Arguments<'_>) {
    eprintln!("{words}");
}
