//! `cargo run --release -p cbrowse-testkit --bin bench`: cbrowse next to a bare DevTools client, on this machine;
//! with `catalogs`, its reading of catalogs next to the registries' own tools.

use std::io::Write as _;

use cbrowse_testkit::bench::{self, Options, Part, catalogs};
use clap::Parser as _;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let text = match &options.part {
        None => {
            let results = tokio::task::LocalSet::new().run_until(bench::run(&options)).await?;
            if options.json { results.to_json().to_string() } else { results.to_table() }
        }
        Some(Part::Catalogs(options)) => {
            let results = catalogs::run(options).await;
            if options.json { results.to_json().to_string() } else { results.to_table() }
        }
        Some(Part::Status(options)) => bench::status::run(options).await?.to_string(),
        Some(Part::Once(options)) => catalogs::once::run(options).await?.to_string(),
        Some(Part::Spent(options)) => catalogs::spent::run(options)?.to_string(),
    };
    writeln!(std::io::stdout(), "{}", text.trim_end())?;
    Ok(())
}
