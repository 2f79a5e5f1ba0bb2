//! Reading catalogs, next to the tool that each registry's own people use: how late a change is heard, and what a
//! listing costs.
//!
//! Registries are started here, on loopback. What is compared happens side by side (changes) or in turns (listings),
//! so that a machine that becomes slower meanwhile does so for both.

pub mod cached;
pub mod client;
pub mod completion;
pub mod dns;
pub mod figure;
pub mod listing;
pub mod once;
pub mod other;
pub mod population;
pub mod reaction;
pub mod spent;

use clap::ValueEnum as _;

use self::figure::Results;

/// What to measure.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Only these parts; several may be named
    #[arg(long = "only", value_name = "PART")]
    pub parts: Vec<Part>,
    /// How many changes are watched
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub changes: u32,
    /// How often everything else is measured
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub runs: u32,
    /// Print one JSON document instead of a table
    #[arg(long)]
    pub json: bool,
}

/// A part of this benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// A change in Consul reaches a watching client, next to curl
    ConsulWatch,
    /// A change in etcd reaches a watching client, next to etcdctl
    EtcdWatch,
    /// Consul lists 1,000 and 10,000 nodes, next to curl
    Listing,
    /// The client's own copy of a list of 1,000 nodes
    Cached,
    /// A shell completes a region of 1,000 and 10,000 nodes, next to cbrowse --version
    Completion,
    /// A file lists 1,000 nodes, next to reading it
    File,
    /// DNS lists 1,000 nodes, next to kdig
    Dns,
}

/// Measures what the options name. A part that cannot be measured, mostly for want of its server, is remarked and takes
/// no other's figures along.
pub async fn run(options: &Options) -> Results {
    let mut results = Results::new(options.changes, options.runs);
    for part in Part::value_variants() {
        if !options.parts.is_empty() && !options.parts.contains(part) {
            continue;
        }
        let measured = match part {
            Part::ConsulWatch => reaction::consul(&mut results, options.changes).await,
            Part::EtcdWatch => reaction::etcd(&mut results, options.changes).await,
            Part::Listing => listing::measure(&mut results, options.runs).await,
            Part::Cached => cached::measure(&mut results, options.runs).await,
            Part::Completion => completion::measure(&mut results, options.runs),
            Part::File => other::file(&mut results, options.runs).await,
            Part::Dns => other::dns(&mut results, options.runs).await,
        };
        if let Err(error) = measured {
            results.remark(format!("{} was not measured: {error:#}", part.name()));
        }
    }
    results
}

impl Part {
    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}
