//! `cbrowse explain last`: where the time of the last connect went, and why it came to that node.

mod waterfall;

use std::fmt::Write as _;

use clap::Subcommand;
use unicode_width::UnicodeWidthStr as _;

use self::waterfall::waterfall;
use super::nodes::probe::table::{self, Look, SHOWN};
use crate::{
    context::Globals,
    credentials::seconds,
    date::{relative, utc},
    failure::{Exit, Failure},
    output::{Output, Style, line::wrapped},
    timeline::record::{LastConnect, Outcome},
};

/// Shown below the help.
pub const EXAMPLES: &str = "\
Examples:
  cbrowse explain last
  cbrowse explain last --all                          # with every node that there was
  cbrowse explain last --json | jq '.stages[] | [.stage, .duration_ms, .rtts]'
";

/// Arguments of `cbrowse explain`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to explain.
    #[command(subcommand)]
    pub subject: Subject,
}

/// What can be explained.
#[derive(Debug, Subcommand)]
pub enum Subject {
    /// The last connect: its stages in milliseconds and in round trips, the choice with every reason, what failed over.
    #[command(after_help = EXAMPLES)]
    Last(Last),
}

/// Arguments of `cbrowse explain last`.
#[derive(Debug, clap::Args)]
pub struct Last {
    /// Show so many nodes; on a terminal, 20 unless this says otherwise.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
    /// Show all nodes, as is done where the output is no terminal.
    #[arg(long, conflicts_with = "limit")]
    pub all: bool,
}

/// Explains.
#[expect(clippy::unused_async, reason = "every subcommand has this shape")]
pub async fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    let Subject::Last(args) = &args.subject;
    let Some(last) = LastConnect::load(&globals.paths).map_err(|error| unreadable(&error.to_string()))?
    else {
        return Err(Failure::new(Exit::Configuration, "no_last_connect", "no connect is on record")
            .hint("cbrowse connect; where its time goes is kept, and shown here"));
    };
    if globals.output.is_json() {
        return globals.output.document(&last);
    }
    globals.output.print(&text(&last, args, &globals.output))
}

fn unreadable(why: &str) -> Failure {
    Failure::new(Exit::Configuration, "no_last_connect", format!("the last connect cannot be read: {why}"))
        .hint("the next cbrowse connect replaces it")
}

fn text(last: &LastConnect, args: &Last, output: &Output) -> String {
    let look = Look::of_stdout(output, true);
    let mut text = format!("{}\n\n{}", headline(last, output), waterfall(last, look).render(output));
    if let Some(failure) = &last.failure {
        let stage = output.styled(Style::Bad, format!("ended in {}", failure.stage));
        let _ = writeln!(text, "\n{stage} (exit code {})", failure.exit);
        for line in failure.message.lines() {
            let _ = writeln!(text, "{}", folded(line, look));
        }
    }
    if let Some(why) = &last.why {
        let why = format!("* {why}. Strategy: {}.", last.strategy);
        let _ = write!(text, "\n{}\n", wrapped(&why, look.columns));
    }
    for refusal in &last.failed_over {
        let from = output.styled(Style::Warning, "failed over from");
        let _ = writeln!(text, "{from} {}\n{}", refusal.node, folded(&refusal.message, look));
    }
    text + &choice(last, args, look, output)
}

/// A line of a message, broken where the terminal is narrower; what fits keeps its indentation.
fn folded(line: &str, look: Look) -> String {
    let room = look.columns.filter(|columns| line.width() > *columns);
    wrapped(line, room)
}

fn headline(last: &LastConnect, output: &Output) -> String {
    let now = seconds(std::time::SystemTime::now());
    let when = format!("{} ({})", utc(last.time), relative(now, last.time.min(now)));
    let place = |node: &str| match last.region.as_deref().filter(|region| !region.is_empty()) {
        Some(region) => format!("{node} in {region}"),
        None => node.to_owned(),
    };
    let rtts = last.total_rtts.filter(|_| last.is_worth_round_trips());
    let rtts = rtts.map(|rtts| format!(", {rtts:.1} round trips")).unwrap_or_default();
    let took = format!("{:.1} ms{rtts}", last.total_ms);
    let (style, words) = match (last.outcome, last.node.as_deref()) {
        (Outcome::Connected, Some(node)) => {
            (Style::Good, format!("connected to {}, first picture after {took}", place(node)))
        }
        (Outcome::Connected, None) => (Style::Good, format!("connected, first picture after {took}")),
        (Outcome::Failed, _) => (Style::Bad, format!("failed after {took}")),
        (Outcome::Interrupted, _) => (Style::Warning, format!("interrupted after {took}")),
    };
    format!("{}\n{when}", output.styled(style, words))
}

fn choice(last: &LastConnect, args: &Last, look: Look, output: &Output) -> String {
    let Some(document) = last.choice.as_ref().filter(|choice| !choice.nodes.is_empty()) else {
        return String::new();
    };
    let usual = look.columns.map(|_| SHOWN);
    let wanted = args.limit.and_then(|limit| usize::try_from(limit).ok());
    let rows = table::shown(&document.nodes, if args.all { None } else { wanted.or(usual) });
    let mut text = format!(
        "\nThe choice as it was:\n{}",
        table::table(&rows, document.chosen.as_deref(), look).render(output)
    );
    for remark in table::remarks(document, rows.len()) {
        let _ = writeln!(text, "{}", output.styled(Style::Faint, remark));
    }
    if last.nodes_left_out > 0 {
        let _ = writeln!(text, "{} farther nodes are not on record", last.nodes_left_out);
    }
    if let Some(scores) = table::score_table(&document.nodes, look) {
        let _ =
            write!(text, "\nHow the scores of the leading nodes were made up:\n{}", scores.render(output));
    }
    text
}
