//! `cargo run --release -p cbrowse-testkit --bin bench`: cbrowse next to a bare DevTools client, on this machine.

use std::io::Write as _;

use cbrowse_testkit::bench::{self, Options};
use clap::Parser as _;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let results = tokio::task::LocalSet::new().run_until(bench::run(&options)).await?;
    let text = if options.json { results.to_json().to_string() } else { results.to_table() };
    writeln!(std::io::stdout(), "{}", text.trim_end())?;
    Ok(())
}
