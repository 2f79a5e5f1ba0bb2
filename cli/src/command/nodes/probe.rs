//! `cbrowse nodes probe`: every node's distance, loss, load and verdict, and which one would be chosen.

mod change;
mod rounds;
mod surveyor;
pub mod table;
mod watch;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::ValueHint;

use self::{
    surveyor::Surveyor,
    table::{Look, SHOWN},
};
use crate::{
    command::{
        filter::{self, Filter},
        probing::ProbingArgs,
    },
    context::Globals,
    failure::Failure,
    outcome::Document,
    output::{Output, line::wrapped},
    plot::{self, file::PlotFile},
    select,
    settings::duration::parse_duration,
    words::count,
};

/// Shown below the help.
pub const EXAMPLES: &str = "\
Examples:
  cbrowse nodes probe
  cbrowse nodes probe --region eu-central --max-latency 80ms
  cbrowse nodes probe --explain --all          # every node with every reason
  cbrowse nodes probe --plot probe.svg         # round trips by region, and the choice
  cbrowse nodes probe --watch --interval 10s
  cbrowse nodes probe --json | jq .chosen
  cbrowse nodes probe --cached                 # what earlier probings found, and how long ago
  cbrowse nodes probe --watch --json | jq -c '[.round, .chosen]'

The chosen node is marked *, those that are as near as the best ~. With --json, one document,
and with --watch one on a line for each round; docs/json.md has its fields.
";

/// Arguments of `cbrowse nodes probe`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which nodes.
    #[command(flatten)]
    pub filter: Filter,
    /// Whom to probe.
    #[command(flatten)]
    pub probing: ProbingArgs,
    /// Samples of each node.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub count: u32,
    /// End after this, with what is known by then.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    pub timeout: Duration,
    /// Show every reason on a line of its own, and how the scores are made up.
    #[arg(long)]
    pub explain: bool,
    /// Show so many nodes; on a terminal, 20 unless this says otherwise.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
    /// Show all nodes, as is done where the output is no terminal.
    #[arg(long, conflicts_with = "limit")]
    pub all: bool,
    /// Draw the round trips by region, and the choice, to this SVG file.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "watch")]
    pub plot: Option<PathBuf>,
    /// Measure again and again until Ctrl-C, and mark what changed.
    #[arg(long, conflicts_with_all = ["fresh", "cached", "quiet_probing"])]
    pub watch: bool,
    /// Time from one round of --watch to the next.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_duration, requires = "watch")]
    pub interval: Duration,
}

impl Args {
    /// Rows that are shown; `None`: all.
    fn limit(&self, output: &Output) -> Option<usize> {
        let wanted = self.limit.and_then(|limit| usize::try_from(limit).ok());
        let usual = output.columns().map(|_| SHOWN);
        if self.all { None } else { wanted.or(usual) }
    }
}

/// Probes.
pub async fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    let plot = args.plot.as_deref().map(PlotFile::open).transpose()?;
    let surveyor = Surveyor::of(args, globals)?;
    if args.watch {
        watch::check(&globals.settings)?;
        return watch::run(args, globals, &surveyor).await;
    }
    let listing = surveyor.list().await?;
    let start = Instant::now();
    let (report, choice) = surveyor.survey(&listing).await;
    let document = Document::new(&report, &choice, start.elapsed());
    let why = select::explain(&report.nodes, &choice, surveyor.strategy);
    if let Some(file) = plot {
        file.write(&plot::svg(&document, why.as_deref()))?;
    }
    if globals.output.is_json() {
        return globals.output.document(&document);
    }
    show(args, &globals.output, &document)?;
    let offer = if why.is_none() { filter::what_there_is(&report.nodes, &choice) } else { None };
    conclude(&globals.output, &document, why.as_deref(), offer.as_deref());
    if let Some(path) = &args.plot {
        globals.output.note(format_args!("Plot: {}", path.display()));
    }
    Ok(())
}

fn show(args: &Args, output: &Output, document: &Document) -> Result<(), Failure> {
    if document.nodes.is_empty() {
        return Ok(());
    }
    let look = Look::of_stdout(output, args.explain);
    let rows = table::shown(&document.nodes, args.limit(output));
    output.print(&table::table(&rows, document.chosen.as_deref(), look).render(output))?;
    for remark in table::remarks(document, rows.len()) {
        output.note(remark);
    }
    if args.explain
        && let Some(scores) = table::score_table(&document.nodes, look)
    {
        output.print(&format!(
            "\nHow the scores of the leading nodes are made up, in ms:\n{}",
            scores.render(output)
        ))?;
    }
    Ok(())
}

/// The outcome as `--explain` of other commands shows it, for standard error.
pub fn explanation(output: &Output, document: &Document) -> String {
    let look = Look::of_stderr(output, true);
    let limit = look.columns.map(|_| SHOWN);
    let rows = table::shown(&document.nodes, limit);
    let mut text = table::table(&rows, document.chosen.as_deref(), look).render(output);
    if let Some(scores) = table::score_table(&document.nodes, look) {
        text = format!("{text}\n{}", scores.render(output));
    }
    let hidden = document.nodes.len() - rows.len();
    if hidden > 0 {
        text = format!("{text}and {hidden} more; cbrowse explain last --all shows them\n");
    }
    text
}

fn conclude(output: &Output, document: &Document, why: Option<&str>, offer: Option<&str>) {
    let took =
        format!("{} in {:.2} s", count(document.nodes.len() as u64, "node"), document.elapsed_ms / 1e3);
    let say = |sentence: &str| wrapped(sentence, output.columns_of_error());
    let sentence = why.map_or_else(|| "No node is eligible".to_owned(), |why| format!("* {why}"));
    output.note(format_args!("\n{}", say(&format!("{sentence}. {took}."))));
    if let Some(offer) = offer {
        output.note(say(offer));
    }
    if !document.icmp {
        output.note(say(
            "Echo requests (ICMP) are not permitted here, so connections alone were measured; to permit them: \
             sysctl -w net.ipv4.ping_group_range='0 2147483647'",
        ));
    }
}
