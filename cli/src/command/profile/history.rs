//! `cbrowse profile history`: every generation and every version kept beside, oldest first.

use cbrowse_profile::{
    authority::{Authority, HeadRecord},
    head::Closing,
};
use cbrowse_protocol::node::printable;
use clap_complete::ArgValueCompleter;
use serde_json::{Value, json};

use super::{diff::short, words};
use crate::{
    command::{
        complete,
        login::blocking,
        nodes::table::{Align, Table},
    },
    context::Globals,
    date,
    failure::Failure,
};

/// Longest label of a head that is shown, in bytes.
const MAX_LABEL: usize = 128;

/// Shown below the help.
pub const EXAMPLES: &str = "\
Examples:
  cbrowse profile history work
  cbrowse profile history work --json | jq '.[] | select(.current)'

Any of them can be looked at (cbrowse connect --profile work@3 --discard) or made current again
(cbrowse profile restore work --at 3).
";

/// Arguments of `cbrowse profile history`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which profile.
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(complete::profiles))]
    pub name: String,
}

/// Shows. Needs no key.
pub async fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    let (root, name) = (globals.paths.profiles(), args.name.clone());
    let (history, current) = blocking(move || {
        let authority = Authority::open(&root, &name)?;
        Ok((authority.history()?, authority.head()?))
    })
    .await?;
    let is_current = |record: &HeadRecord| current.as_ref() == Some(&record.head);
    if globals.output.is_json() {
        let documents: Vec<Value> =
            history.iter().map(|record| document(record, is_current(record))).collect();
        return globals.output.document(&documents);
    }
    if history.is_empty() {
        globals.output.note(format_args!("{} was never saved", args.name));
        return Ok(());
    }
    let mut table = Table::new(&[
        ("", Align::Left),
        ("GENERATION", Align::Right),
        ("SAVED", Align::Left),
        ("BY", Align::Left),
        ("BROWSER", Align::Left),
        ("FILES", Align::Right),
        ("SIZE", Align::Right),
        ("", Align::Left),
    ]);
    for record in &history {
        table.row(
            None,
            vec![
                if is_current(record) { "*" } else { "" }.into(),
                record.head.generation.to_string(),
                date::utc(record.time),
                printable(&record.device, MAX_LABEL),
                printable(&record.browser_version, MAX_LABEL),
                record.files.to_string(),
                words::size(record.bytes),
                remark(record),
            ],
        );
    }
    globals.output.print(&table.render(&globals.output))
}

fn remark(record: &HeadRecord) -> String {
    let kept = record
        .kept_as
        .as_ref()
        .map(|name| format!("kept beside as {}: another save came first", short(name)));
    let crash = (record.closing == Closing::Crash).then(|| "as a crash would leave it".to_owned());
    [kept, crash].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn document(record: &HeadRecord, current: bool) -> Value {
    json!({
        "generation": record.head.generation,
        "head": record.head.name,
        "current": current,
        "saved": record.time,
        "device": record.device,
        "browser_version": record.browser_version,
        "closing": record.closing,
        "files": record.files,
        "bytes": record.bytes,
        "session": record.session,
        "kept_as": record.kept_as,
    })
}
