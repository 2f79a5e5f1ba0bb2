//! `cbrowse profile list`: every profile of this machine, a line each.

use cbrowse_profile::{authority, head::Closing};

use super::{status::Facts, words};
use crate::{
    command::{
        login::blocking,
        nodes::table::{Align, Table},
    },
    context::Globals,
    date,
    failure::Failure,
};

/// Shown below the help.
pub const EXAMPLES: &str = "\
Examples:
  cbrowse profile list
  cbrowse profile list --json | jq -r '.[].profile'
";

/// Arguments of `cbrowse profile list`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Lists. Needs no key.
pub async fn run(_: &Args, globals: &Globals) -> Result<(), Failure> {
    let paths = globals.paths.clone();
    let all = blocking(move || all(&paths)).await?;
    if globals.output.is_json() {
        let documents: Vec<_> = all.iter().map(Facts::to_json).collect();
        return globals.output.document(&documents);
    }
    if all.is_empty() {
        globals.output.note("there are no profiles on this machine; make one: cbrowse profile create NAME");
        return Ok(());
    }
    globals.output.print(&table(&all).render(&globals.output))
}

/// Every profile by name.
pub(super) fn all(paths: &crate::context::Paths) -> Result<Vec<Facts>, Failure> {
    let records = authority::list(&paths.profiles())?;
    records.into_iter().map(|record| Facts::gather(paths, record.name.as_str())).collect()
}

fn table(all: &[Facts]) -> Table {
    let mut table = Table::new(&[
        ("NAME", Align::Left),
        ("GENERATION", Align::Right),
        ("SAVED", Align::Left),
        ("FILES", Align::Right),
        ("SIZE", Align::Right),
        ("STORED", Align::Right),
        ("BROWSER", Align::Left),
        ("WAITING", Align::Left),
        ("", Align::Left),
    ]);
    for facts in all {
        let current = facts.current.as_ref();
        let text = |value: Option<String>| value.unwrap_or_default();
        table.row(
            None,
            vec![
                facts.record.name.to_string(),
                match (&facts.problem, current) {
                    (Some(_), _) => "damaged".into(),
                    (None, Some(current)) => current.head.generation.to_string(),
                    (None, None) => "-".into(),
                },
                current.map_or_else(|| "never".into(), |current| date::utc(current.time)),
                text(current.map(|current| current.files.to_string())),
                text(current.map(|current| words::size(current.bytes))),
                words::size(facts.stored_bytes),
                text(current.map(|current| current.browser_version.clone())),
                facts
                    .waiting
                    .iter()
                    .map(|pending| pending.node.id.to_string())
                    .collect::<Vec<_>>()
                    .join(", "),
                remark(facts),
            ],
        );
    }
    table
}

fn remark(facts: &Facts) -> String {
    let crashed = facts.current.as_ref().is_some_and(|current| current.closing == Closing::Crash);
    let crash = crashed.then(|| "as a crash would leave it".to_owned());
    let kept = (!facts.kept.is_empty())
        .then(|| format!("{} kept beside", words::count(facts.kept.len() as u64, "version")));
    [crash, kept].into_iter().flatten().collect::<Vec<_>>().join("; ")
}
