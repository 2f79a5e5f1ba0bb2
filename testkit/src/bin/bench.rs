//! `cargo run --release -p cbrowse-testkit --bin bench`: cbrowse next to a bare DevTools client, on this machine;
//! with `catalogs`, its reading of catalogs next to the registries' own tools; with `probing`, its naming of the best node
//! beside what the design promises; with `profiles`, its saves next to restic and borg; with `network`, the same over an emulated network and the kernel's own ICMP and TCP.

use std::io::Write as _;

use anyhow::Context as _;
use cbrowse_testkit::bench::{
    self, Options, Part, catalogs, connect_profile, network, probing, profiles, profiles::Only, sync_remote,
};
use clap::Parser as _;

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let text = match &options.part {
        None => {
            let results = wait(tokio::task::LocalSet::new().run_until(bench::run(&options)))??;
            if options.json { results.to_json().to_string() } else { results.to_table() }
        }
        Some(Part::Catalogs(options)) => {
            let results = wait(catalogs::run(options))?;
            if options.json { results.to_json().to_string() } else { results.to_table() }
        }
        Some(Part::Status(options)) => wait(bench::status::run(options))??.to_string(),
        Some(Part::Network(options)) => {
            let results = network::run(options)?;
            if options.json { results.to_json().to_string() } else { results.to_table() }
        }
        Some(Part::Probing(options)) => {
            let results = wait(probing::run(options))??;
            if options.json { results.to_json().to_string() } else { results.to_table() }
        }
        Some(Part::Once(options)) => wait(catalogs::once::run(options))??.to_string(),
        Some(Part::Spent(options)) => catalogs::spent::run(options)?.to_string(),
        Some(Part::Profiles(options)) if options.only == Some(Only::Remote) => {
            let figures = wait(sync_remote::run(options.runs))??;
            if options.json { figures.to_json().to_string() } else { figures.to_table() }
        }
        Some(Part::Profiles(options)) if options.only == Some(Only::Connect) => {
            let local = tokio::task::LocalSet::new();
            let figures = wait(local.run_until(connect_profile::run(options.runs)))??;
            if options.json { figures.to_json().to_string() } else { figures.to_table() }
        }
        Some(Part::Profiles(options)) => match profiles::run(options)? {
            Some(results) if options.json => results.to_json().to_string(),
            Some(results) => results.to_table(),
            // Another process of this program has said it all.
            None => return Ok(()),
        },
        Some(Part::ProfilesOnce(options)) => {
            profiles::once::run(options)?;
            return Ok(());
        }
        // Moves into namespaces, which a process with the threads of a runtime cannot do.
        Some(Part::NetworkOnce(options)) => network::once::run(options)?.to_string(),
        Some(Part::Prober(options)) => {
            // As the program itself does, before there are threads.
            cbrowse::probe::limits::prepare();
            wait(network::prober::run(options))??.to_string()
        }
    };
    writeln!(std::io::stdout(), "{}", text.trim_end())?;
    Ok(())
}

fn wait<T>(future: impl Future<Output = T>) -> anyhow::Result<T> {
    Ok(tokio::runtime::Runtime::new().context("start a runtime")?.block_on(future))
}
