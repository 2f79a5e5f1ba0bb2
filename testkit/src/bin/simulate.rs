//! `cargo run --release -p cbrowse-testkit --bin simulate`: what becomes of a fleet when every client chooses for itself.

use std::io::Write as _;

use cbrowse_testkit::simulate::{self, Options};
use clap::Parser as _;

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let mut out = std::io::stdout().lock();
    simulate::run(&options, &mut |line| Ok(writeln!(out, "{line}")?))
}
