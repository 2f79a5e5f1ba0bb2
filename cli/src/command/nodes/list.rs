//! `cbrowse nodes list`: the nodes of the catalogs, as the catalogs name them.

use cbrowse_protocol::node::NodeRecord;
use cbrowse_registry::Rejected;
use clap_complete::ArgValueCompleter;

use super::table::{Align, Table};
use crate::{
    command::{complete, filter},
    context::Globals,
    discover,
    failure::Failure,
    output::Style,
    select::Constraints,
};

/// Shown below the help.
pub const EXAMPLES: &str = "\
Examples:
  cbrowse nodes list --catalog consul://127.0.0.1:8500
  cbrowse nodes list --catalog 'dns+srv://browser-node.service.consul?server=127.0.0.1:8600'
  cbrowse nodes list --json > nodes.json      # usable as --catalog file:nodes.json
";

/// Arguments of `cbrowse nodes list`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only nodes in this region; several may be named.
    #[arg(long = "region", short, value_name = "REGION", add = ArgValueCompleter::new(complete::regions))]
    pub regions: Vec<String>,
    /// List the entries that cannot be used instead, each with its reason.
    #[arg(long, conflicts_with = "regions")]
    pub rejected: bool,
}

/// Lists.
pub async fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    let mut listing = discover::discover(globals).await?;
    if args.rejected {
        return print_rejected(&listing.rejected, globals);
    }
    discover::remark(&globals.output, &listing);
    let wanted = Constraints { regions: args.regions.clone(), ..Constraints::default() };
    filter::check_known(&listing.nodes, &wanted)?;
    listing.nodes.retain(|node| args.regions.is_empty() || args.regions.contains(&node.region));
    listing.nodes.sort_by(|one, other| (&one.region, &one.id).cmp(&(&other.region, &other.id)));
    if globals.output.is_json() {
        return globals.output.document(&listing.nodes);
    }
    if listing.nodes.is_empty() {
        globals.output.note("The catalog holds no node.");
        return Ok(());
    }
    globals.output.print(&table(&listing.nodes).render(&globals.output))
}

fn table(nodes: &[NodeRecord]) -> Table {
    let mut table = Table::new(&[
        ("NODE", Align::Left),
        ("REGION", Align::Left),
        ("ZONE", Align::Left),
        ("ADDRESS", Align::Left),
        ("VERSION", Align::Left),
        ("BROWSER", Align::Left),
        ("SEATS", Align::Right),
        ("TAGS", Align::Left),
    ]);
    for node in nodes {
        let seats = if node.capacity == 0 { String::new() } else { node.capacity.to_string() };
        table.row(
            None,
            vec![
                node.id.to_string(),
                node.region.clone(),
                node.zone.clone(),
                node.endpoint(),
                node.version.clone(),
                node.browser_version.clone(),
                seats,
                node.tags.join(","),
            ],
        );
    }
    table
}

fn print_rejected(rejected: &[Rejected], globals: &Globals) -> Result<(), Failure> {
    if globals.output.is_json() {
        return globals.output.document(&rejected);
    }
    if rejected.is_empty() {
        globals.output.note("Every entry of the catalog can be used.");
        return Ok(());
    }
    let mut table = Table::new(&[("ENTRY", Align::Left), ("REASON", Align::Left)]);
    for entry in rejected {
        table.row(Some(Style::Warning), vec![entry.entry.clone(), entry.reason.clone()]);
    }
    globals.output.print(&table.render(&globals.output))
}
