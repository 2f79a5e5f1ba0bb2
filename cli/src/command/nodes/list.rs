//! `cbrowse nodes list`: the nodes of the catalogs, as the catalogs name them.

use std::{mem::ManuallyDrop, path::PathBuf};

use cbrowse_protocol::node::{Health, NodeRecord};
use cbrowse_registry::{Figures, Listing, Options, Query, Rejected};
use clap::ValueHint;

use super::{
    figures_file::FiguresFile,
    table::{Align, Table},
};
use crate::{command::traits::Traits, context::Globals, discover, failure::Failure, output::Style};

/// Shown below the help.
pub const EXAMPLES: &str = "\
Examples:
  cbrowse nodes list --catalog consul://10.0.0.5:8500,10.0.0.6:8500
  cbrowse nodes list --catalog 'dns+srv://browser-node.service.consul?server=127.0.0.1:8600'
  cbrowse nodes list --catalog etcd://10.0.0.5:2379/browser-node --catalog nacos://10.0.0.7:8848
  cbrowse nodes list --region eu-central --tag gpu --version '>=0.2' --meta rack=r1 --health all
  cbrowse nodes list --cached                 # the last answers, without asking anybody
  cbrowse nodes list --json > nodes.json      # usable as --catalog file:nodes.json
";

/// Arguments of `cbrowse nodes list`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Answer from the copies of the last answers alone; nobody is asked.
    #[arg(long)]
    pub cached: bool,
    /// List the entries that cannot be used instead, each with its catalog and its reason.
    #[arg(long, conflicts_with_all = ["regions", "zones", "tags", "version_range", "meta", "health", "cached"])]
    pub rejected: bool,
    /// Write what registries were asked, and how they answered, to this file as OpenMetrics text.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "cached")]
    pub metrics_file: Option<PathBuf>,
    /// Which nodes.
    #[command(flatten)]
    pub traits: Traits,
}

/// Lists.
pub async fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    let options = Options::of_process();
    let file = args.metrics_file.as_deref().map(|path| FiguresFile::new(path, &options.figures));
    let file = file.transpose()?;
    let outcome = list(args, globals, &options.figures).await;
    // Failures are what its reader waits for.
    if let Some(file) = file {
        file.write()?;
    }
    outcome
}

async fn list(args: &Args, globals: &Globals, figures: &Figures) -> Result<(), Failure> {
    let options = |query| Options::of_process().with_query(query).with_figures(figures.clone());
    if args.rejected {
        let listing = discover::discover_with(globals, &options(Query::default())).await?;
        for warning in &listing.warnings {
            globals.output.warn(warning);
        }
        return print_rejected(&listing.rejected, globals);
    }
    let ask = async |query: Query| {
        if args.cached {
            discover::recall(globals, &query)
        } else {
            Ok((discover::discover_with(globals, &options(query)).await?, Vec::new()))
        }
    };
    let (listing, ages) = ask(args.traits.query()).await?;
    discover::remark(&globals.output, &listing);
    for age in ages {
        globals.output.note(age);
    }
    if listing.nodes.is_empty() && args.traits.is_any() {
        // Only now is it worth knowing what there is instead.
        let all = if args.cached { Query::default() } else { args.traits.query_for_all() };
        let (whole, _) = ask(all).await?;
        globals.output.note(args.traits.explain_emptiness(&whole.nodes)?);
    }
    for missing in args.traits.missing(&listing.nodes).filter(|_| !listing.nodes.is_empty()) {
        globals.output.warn(format_args!("no such node is in {missing}"));
    }
    print(listing, args, globals)
}

fn print(listing: Listing, args: &Args, globals: &Globals) -> Result<(), Failure> {
    // A process that ends now has no use for the memory, and thousands of strings take long to give back one by one.
    let listing = ManuallyDrop::new(listing);
    let mut nodes: Vec<&NodeRecord> = listing.nodes.iter().collect();
    nodes.sort_by(|one, other| (&one.region, &one.id).cmp(&(&other.region, &other.id)));
    if globals.output.is_json() {
        return globals.output.document(&nodes);
    }
    if nodes.is_empty() {
        if !args.traits.is_any() {
            globals.output.note("The catalog holds no node.");
        }
        return Ok(());
    }
    globals.output.print(&table(&nodes).render(&globals.output))
}

fn table(nodes: &[&NodeRecord]) -> Table {
    let mut table = Table::new(&[
        ("NODE", Align::Left),
        ("REGION", Align::Left),
        ("ZONE", Align::Left),
        ("ADDRESS", Align::Left),
        ("VERSION", Align::Left),
        ("BROWSER", Align::Left),
        ("SEATS", Align::Right),
        ("HEALTH", Align::Left),
        ("TAGS", Align::Left),
    ]);
    // Where all is well, there is nothing to read.
    let tells_health = nodes.iter().any(|node| node.health != Health::Passing);
    for node in nodes {
        let seats = if node.capacity == 0 { String::new() } else { node.capacity.to_string() };
        let health = if tells_health { node.health.to_string() } else { String::new() };
        table.row(
            style(node.health),
            vec![
                node.id.to_string(),
                node.region.clone(),
                node.zone.clone(),
                node.endpoint(),
                node.version.clone(),
                node.browser_version.clone(),
                seats,
                health,
                node.tags.join(","),
            ],
        );
    }
    table
}

/// How a node of this health stands out.
pub(super) fn style(health: Health) -> Option<Style> {
    match health {
        Health::Passing => None,
        Health::Warning => Some(Style::Warning),
        Health::Critical => Some(Style::Bad),
    }
}

fn print_rejected(rejected: &[Rejected], globals: &Globals) -> Result<(), Failure> {
    if globals.output.is_json() {
        return globals.output.document(&rejected);
    }
    if rejected.is_empty() {
        globals.output.note("Every entry of the catalog can be used.");
        return Ok(());
    }
    let mut table = Table::new(&[("CATALOG", Align::Left), ("ENTRY", Align::Left), ("REASON", Align::Left)]);
    for entry in rejected {
        let catalog = entry.catalog.clone().unwrap_or_default();
        table.row(Some(Style::Warning), vec![catalog, entry.entry.clone(), entry.reason.clone()]);
    }
    globals.output.print(&table.render(&globals.output))
}
