//! `cbrowse nodes probe`: every node's distance, loss, load and verdict, and which one would be chosen.

mod change;
mod rounds;
pub mod table;
mod watch;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use cbrowse_protocol::{id::NodeId, node::NodeRecord};
use cbrowse_registry::Listing;
use clap::ValueHint;

use self::table::{Look, SHOWN};
use crate::{
    attach::finalist::{Judge, Patience, interview_all},
    breaker::Breakers,
    command::filter::{self, Filter},
    context::Globals,
    discover,
    failure::Failure,
    outcome::Document,
    output::{Output, Progress, line::wrapped},
    plot::{self, file::PlotFile},
    probe::{self, Goal, Heard, Probed, Report, Search, Sockets},
    remembered,
    select::{self, Constraints, Strategy},
    settings::duration::parse_duration,
    survey::{self, Preference},
    words::count,
};

/// Nodes asked over TLS at most: each costs its node a handshake.
const MOST_ASKED: usize = 16;

/// Shown below the help.
pub const EXAMPLES: &str = "\
Examples:
  cbrowse nodes probe
  cbrowse nodes probe --region eu-central --max-latency 80ms
  cbrowse nodes probe --explain --all          # every node with every reason
  cbrowse nodes probe --plot probe.svg         # round trips by region, and the choice
  cbrowse nodes probe --watch --interval 10s
  cbrowse nodes probe --json | jq .chosen
  cbrowse nodes probe --watch --json | jq -c '[.round, .chosen]'

The chosen node is marked *, those that are as near as the best ~. With --json, one document, and with --watch one on
a line for each round; docs/json.md has its fields.
";

/// Arguments of `cbrowse nodes probe`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which nodes.
    #[command(flatten)]
    pub filter: Filter,
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
    #[arg(long)]
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
    let probing = Probing::of(args, globals)?;
    if args.watch {
        return watch::run(args, globals, &probing).await;
    }
    let listing = probing.list(globals).await?;
    let start = Instant::now();
    let report = probing.measure_once(globals, &listing).await;
    let constraints = probing.constraints_now(globals, &listing.nodes);
    let choice = probing.preference(globals).choose(&report.nodes, &constraints);
    let document = Document::new(&report, &choice, start.elapsed());
    let why = select::explain(&report.nodes, &choice, probing.strategy);
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

/// What a command measures, and how it chooses.
struct Probing {
    constraints: Constraints,
    /// Which region is the nearest other one shows only once all are measured.
    measured: Constraints,
    strategy: Strategy,
    judge: Judge,
    samples: u32,
    timeout: Duration,
}

impl Probing {
    fn of(args: &Args, globals: &Globals) -> Result<Self, Failure> {
        let constraints = args.filter.constraints(&globals.settings);
        let measured = select::fallback::anywhere(&constraints).unwrap_or_else(|| constraints.clone());
        let (samples, timeout) = (args.count, args.timeout);
        let strategy = args.filter.strategy(&globals.settings);
        Ok(Self { constraints, measured, strategy, judge: Judge::of(globals)?, samples, timeout })
    }

    async fn list(&self, globals: &Globals) -> Result<Listing, Failure> {
        let listing = discover::discover(globals).await?;
        discover::remark(&globals.output, &listing);
        filter::check_known(&listing.nodes, &self.constraints)?;
        Ok(listing)
    }

    /// What is asked of a node, and whom earlier failures keep out just now.
    fn constraints_now(&self, globals: &Globals, nodes: &[NodeRecord]) -> Constraints {
        let kept_out = Breakers::of(&globals.paths).kept_out(nodes);
        Constraints { kept_out, ..self.constraints.clone() }
    }

    fn preference(&self, globals: &Globals) -> Preference {
        let memory = remembered::load(&globals.paths, self.strategy);
        Preference { strategy: self.strategy, key: None, memory }
    }

    async fn measure_once(&self, globals: &Globals, listing: &Listing) -> Report {
        let (wanted, others) = select::split(listing.nodes.clone(), &self.measured);
        let progress = globals.output.search(wanted.len(), "probing");
        let mut report = self.measure(listing, wanted, Vec::new(), &progress).await;
        progress.message("asking the nearest");
        self.ask(&mut report.nodes, MOST_ASKED).await;
        report.nodes.extend(others.into_iter().map(Probed::unprobed));
        report
    }

    async fn measure(
        &self,
        listing: &Listing,
        wanted: Vec<NodeRecord>,
        priors: Vec<Option<probe::Prior>>,
        progress: &Progress,
    ) -> Report {
        let search = Search { priors, ..Search::new(Goal::Survey(self.samples)).within(self.timeout) };
        let sockets = Sockets::open();
        let ids: Vec<NodeId> = wanted.iter().map(|record| record.id.clone()).collect();
        let heard = |now: Heard| {
            progress.at(now.answered);
            if let Some((index, rtt)) = now.best {
                progress.message(format!("best so far: {}, {:.1} ms", ids[index], rtt.as_secs_f64() * 1e3));
            }
        };
        probe::probe(wanted, listing.gate(), &sockets, search, heard).await
    }

    /// Asks the nearest over TLS for their load.
    async fn ask(&self, nodes: &mut [Probed], most: usize) {
        let nearest = survey::nearest(nodes, most);
        let asked: Vec<&Probed> = nearest.iter().map(|index| &nodes[*index]).collect();
        let interviews = interview_all(&asked, &self.judge, Patience::All).await;
        for (index, interview) in nearest.into_iter().zip(interviews) {
            nodes[index].live = interview.live();
        }
    }
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
