//! `cbrowse nodes probe`: every node's distance, loss, load and verdict, and which one would be chosen.

mod change;
mod rounds;
pub mod rows;
pub mod table;
mod watch;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use cbrowse_protocol::{id::NodeId, node::NodeRecord};
use cbrowse_registry::Listing;
use clap::ValueHint;

use self::{
    rows::Document,
    table::{Look, SHOWN},
};
use crate::{
    attach::finalist::{Judge, Patience, interview_all},
    breaker::Breakers,
    command::{
        filter::{self, Filter},
        probing::ProbingArgs,
    },
    context::Globals,
    discover,
    failure::Failure,
    history::{History, Recalled},
    output::{Output, Progress},
    plot::{self, file::PlotFile},
    probe::{self, Goal, Heard, Probed, Report, Search, Sockets},
    remembered,
    select::{self, Constraints, Strategy, draw::SystemDice},
    settings::duration::parse_duration,
    survey::{self, Preference, Probing as Whom, ground},
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
  cbrowse nodes probe --cached                 # what earlier probings found, and how long ago
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
    let probing = Probing::of(args, globals)?;
    if args.watch {
        return watch::run(args, globals, &probing).await;
    }
    let listing = probing.list(globals).await?;
    let start = Instant::now();
    let history = History::of(&globals.paths, &globals.output);
    let preference = probing.preference(globals, history.recall_for(probing.whom));
    let report = probing.measure_once(globals, &listing, &preference.recalled).await;
    history.note(&preference.recalled, &report);
    let constraints = probing.constraints_now(globals, &listing.nodes);
    let choice = preference.choose(&report.nodes, &constraints);
    history.settle().await;
    let document = Document::new(&report, &choice, start.elapsed());
    let why = select::explain(&report.nodes, &choice, probing.strategy);
    if let Some(file) = plot {
        file.write(&plot::svg(&document, why.as_deref()))?;
    }
    if globals.output.is_json() {
        return globals.output.document(&document);
    }
    show(args, &globals.output, &document)?;
    let offer = filter::what_there_is(&report.nodes, &choice);
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
    whom: Whom,
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
        let whom = args.probing.probing(&globals.settings);
        Ok(Self { constraints, measured, strategy, whom, judge: Judge::of(globals)?, samples, timeout })
    }

    async fn list(&self, globals: &Globals) -> Result<Listing, Failure> {
        let listing = match self.whom {
            Whom::Cached => discover::start::remembered(globals).await?,
            Whom::All | Whom::Fresh | Whom::Quiet(_) => discover::discover(globals).await?,
        };
        discover::remark(&globals.output, &listing);
        filter::check_known(&listing.nodes, &self.constraints)?;
        Ok(listing)
    }

    /// What is asked of a node, and whom earlier failures keep out just now.
    fn constraints_now(&self, globals: &Globals, nodes: &[NodeRecord]) -> Constraints {
        let kept_out = Breakers::of(&globals.paths).kept_out(nodes);
        Constraints { kept_out, ..self.constraints.clone() }
    }

    fn preference(&self, globals: &Globals, recalled: Recalled) -> Preference {
        let memory = remembered::load(&globals.paths, self.strategy);
        Preference { strategy: self.strategy, key: None, memory, probing: self.whom, recalled }
    }

    async fn measure_once(&self, globals: &Globals, listing: &Listing, recalled: &Recalled) -> Report {
        let (wanted, others) = select::split(listing.nodes.clone(), &self.measured);
        if self.whom == Whom::Cached {
            let ranks = self.strategy.ranks_by_measurement();
            let mut report = ground::remembered(wanted, listing.gate(), recalled, ranks).await;
            report.nodes.extend(others.into_iter().map(Probed::unprobed));
            return report;
        }
        let (mut wanted, most) = ground::in_turn(wanted, self.whom, recalled, &mut SystemDice);
        let left_out = wanted.split_off(most.min(wanted.len()));
        let progress = globals.output.search(wanted.len(), "probing");
        let priors = ground::priors(&wanted, recalled);
        let mut report = self.measure(listing, wanted, priors, &progress).await;
        ground::forget_the_moved(&mut report.nodes, recalled);
        progress.message("asking the nearest");
        self.ask(&mut report.nodes, MOST_ASKED).await;
        report.nodes.extend(left_out.into_iter().map(ground::not_drawn));
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
    if args.explain
        && let Some(scores) = table::score_table(&document.nodes, look)
    {
        output.print(&format!(
            "\nHow the scores of the leading nodes are made up, in ms:\n{}",
            scores.render(output)
        ))?;
    }
    for remark in table::remarks(document, rows.len()) {
        output.note(remark);
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
    match why {
        Some(sentence) => output.note(format_args!("\n* {sentence}. {took}.")),
        None => {
            output.note(format_args!("\nNo node is eligible. {took}."));
            if let Some(offer) = offer {
                output.note(offer);
            }
        }
    }
    if !document.icmp {
        output.note(
            "Echo requests (ICMP) are not permitted here, so connections alone were measured; to permit them: \
             sysctl -w net.ipv4.ping_group_range='0 2147483647'",
        );
    }
}
