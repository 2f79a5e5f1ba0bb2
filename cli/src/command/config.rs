//! `cbrowse config show`: the settings in force, and where each value came from.

use clap::Subcommand;
use serde_json::{Map, Value, json};

use super::nodes::table::{Align, Table};
use crate::{context::Globals, failure::Failure, settings::Origin};

const EXAMPLES: &str = "\
Examples:
  cbrowse config show --origin
  cbrowse config show --context work --json

The settings file is TOML, with a section for each fleet:
  default_context = \"work\"
  [context.work]
  catalog = [\"consul://consul.example.com:8500\"]
  region = \"eu-central\"
  max_latency = \"80ms\"
  strategy = \"responsive\"
  fleet_key = \"work.fleet\"     # beside the settings file
  cache_ttl = \"24h\"            # how old a cached answer connect may start from
  cache_refresh = \"10s\"        # a younger answer is not asked for again
  cache_size = \"64MiB\"         # of all cached answers together
  probing = \"quiet=16\"         # whom connect probes: all, fresh, cached, quiet
  limit_rate = \"2M\"           # at which profiles go to nodes, bytes a second
";

/// Arguments of `cbrowse config`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What can be done with settings.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print the settings in force: flag over environment over file over default.
    #[command(after_help = EXAMPLES)]
    Show {
        /// Say where each value came from.
        #[arg(long)]
        origin: bool,
    },
}

/// Runs it.
#[expect(clippy::unused_async, reason = "every subcommand has this shape")]
pub async fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    let Command::Show { origin } = args.command;
    let settings = globals.settings.list();
    if globals.output.is_json() {
        return globals.output.document(&document(&settings, origin));
    }
    let head = [("SETTING", Align::Left), ("VALUE", Align::Left), ("ORIGIN", Align::Left)];
    let mut table = Table::new(&head);
    for (name, value, from) in settings {
        let from = if origin { from.to_string() } else { String::new() };
        table.row(None, vec![name.to_owned(), in_words(&value), from]);
    }
    globals.output.print(&table.render(&globals.output))
}

/// `{"catalog": […], …}`, or with origins `{"catalog": {"value": […], "origin": "…"}, …}`.
fn document(settings: &[(&'static str, Value, &Origin)], origin: bool) -> Value {
    let entry = |value: &Value, from: &Origin| {
        if origin { json!({"value": value, "origin": from.to_string()}) } else { value.clone() }
    };
    let entries = settings.iter().map(|(name, value, from)| ((*name).to_owned(), entry(value, from)));
    Value::Object(entries.collect::<Map<_, _>>())
}

fn in_words(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) => items.iter().map(in_words).collect::<Vec<_>>().join(" "),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
