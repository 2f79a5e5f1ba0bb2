//! `cbrowse nodes probe`: every node's distance, loss, load and verdict, and which one would be chosen.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::table::{Align, Table};
use crate::{
    attach::finalist::{Judge, Patience, interview_all},
    breaker::Breakers,
    command::filter::{self, Filter},
    context::Globals,
    discover,
    failure::Failure,
    output::{Output, Style},
    probe::{self, Goal, Live, Probed, Reach, Report, Search, Sockets},
    remembered,
    select::{self, Choice, Constraints, Strategy},
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
  cbrowse nodes probe --json | jq .chosen
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
}

/// Probes.
pub async fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    let mut constraints = args.filter.constraints(&globals.settings);
    let strategy = args.filter.strategy(&globals.settings);
    let judge = Judge::of(globals)?;
    let listing = discover::discover(globals).await?;
    discover::remark(&globals.output, &listing);
    filter::check_known(&listing.nodes, &constraints)?;
    constraints.kept_out = Breakers::of(&globals.paths).kept_out(&listing.nodes);
    let start = Instant::now();
    // Which region is the nearest other one shows only once all are measured.
    let measured = select::fallback::anywhere(&constraints).unwrap_or_else(|| constraints.clone());
    let report = measure(args, globals, listing, &measured, &judge).await;
    let preference = Preference { strategy, key: None, memory: remembered::load(&globals.paths, strategy) };
    let choice = preference.choose(&report.nodes, &constraints);
    if globals.output.is_json() {
        return globals.output.document(&document(&report, &choice, start.elapsed()));
    }
    if !report.nodes.is_empty() {
        globals.output.print(&table(&report, &choice).render(&globals.output))?;
    }
    explain(&globals.output, &report, &choice, strategy, start.elapsed());
    Ok(())
}

async fn measure(
    args: &Args,
    globals: &Globals,
    listing: cbrowse_registry::Listing,
    constraints: &Constraints,
    judge: &Judge,
) -> Report {
    let (wanted, others) = select::split(listing.nodes.clone(), constraints);
    let progress = globals.output.progress(wanted.len(), "probing");
    let search = Search::new(Goal::Survey(args.count)).within(args.timeout);
    let permits = listing.gate();
    let heard = |answered| progress.at(answered);
    let mut report = probe::probe(wanted, permits, &Sockets::open(), search, heard).await;
    progress.message("asking the nearest");
    let nearest = survey::nearest(&report.nodes, MOST_ASKED);
    let asked: Vec<&Probed> = nearest.iter().map(|index| &report.nodes[*index]).collect();
    for (index, interview) in nearest.iter().zip(interview_all(&asked, judge, Patience::All).await) {
        report.nodes[*index].live = interview.live();
    }
    report.nodes.extend(others.into_iter().map(Probed::unprobed));
    report
}

/// Chosen first, then the eligible in the order in which they would be asked, then the rejected, nearest first.
pub fn best_first(report: &Report, choice: &Choice) -> Vec<usize> {
    let mut rest: Vec<usize> =
        (0..report.nodes.len()).filter(|index| !choice.verdicts[*index].is_eligible()).collect();
    rest.sort_by_key(|index| {
        let node = &report.nodes[*index];
        (node.rtt.is_none(), node.rtt.map(|rtt| rtt.p50), node.record.id.clone())
    });
    choice.order.iter().copied().chain(rest).collect()
}

/// The whole outcome for programs.
pub fn document(report: &Report, choice: &Choice, elapsed: Duration) -> Value {
    let nodes: Vec<Value> =
        best_first(report, choice).into_iter().map(|index| node_document(report, choice, index)).collect();
    json!({
        "nodes": nodes,
        "chosen": choice.chosen().map(|index| &report.nodes[index].record.id),
        "icmp": report.icmp,
        "elapsed_ms": milliseconds(elapsed),
    })
}

fn node_document(report: &Report, choice: &Choice, index: usize) -> Value {
    let node = &report.nodes[index];
    let verdict = &choice.verdicts[index];
    let status = node.live.status();
    json!({
        "id": node.record.id,
        "address": node.record.address,
        "port": node.record.port,
        "region": node.region(),
        "rtt_ms": node.rtt.map(|rtt| json!({"min": milliseconds(rtt.min), "p50": milliseconds(rtt.p50)})),
        "jitter_ms": node.rtt.map(|rtt| milliseconds(rtt.jitter)),
        "loss": node.rtt.map(|rtt| (rtt.loss() * 1e4).round() / 1e4),
        "samples": node.rtt.map(|rtt| rtt.answered + rtt.lost),
        "method": Some(node.method).filter(|method| !method.is_empty()),
        "load": status.map(|status| status.load),
        "sessions": status.map(|status| status.sessions),
        "capacity": status.map(|status| status.capacity),
        "trust": node.live.trust(),
        "score_ms": choice.scores[index].map(milliseconds),
        "verdict": if verdict.is_eligible() { "eligible" } else { "rejected" },
        "reasons": verdict.reasons(),
    })
}

/// Rounded to a microsecond: more digits would claim a precision that nothing here has.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// The whole outcome for a person. The chosen node is marked `*`.
pub fn table(report: &Report, choice: &Choice) -> Table {
    let mut table = Table::new(&[
        ("", Align::Left),
        ("NODE", Align::Left),
        ("REGION", Align::Left),
        ("RTT ms", Align::Right),
        ("MIN", Align::Right),
        ("JITTER", Align::Right),
        ("LOSS", Align::Right),
        ("BY", Align::Left),
        ("LOAD", Align::Right),
        ("SEATS", Align::Right),
        ("VERDICT", Align::Left),
    ]);
    for index in best_first(report, choice) {
        let is_chosen = choice.chosen() == Some(index);
        let style = match choice.verdicts[index].is_eligible() {
            true if is_chosen => Some(Style::Strong),
            true => None,
            false => Some(Style::Faint),
        };
        table.row(style, cells(&report.nodes[index], choice, index, is_chosen));
    }
    table
}

fn cells(node: &Probed, choice: &Choice, index: usize, is_chosen: bool) -> Vec<String> {
    let ms = |duration: Duration| format!("{:.1}", duration.as_secs_f64() * 1e3);
    let of_rtt = |figure: fn(&probe::Measurement) -> Duration| {
        node.rtt.as_ref().map(|rtt| ms(figure(rtt))).unwrap_or_default()
    };
    let status = node.live.status();
    vec![
        if is_chosen { "*" } else { "" }.to_owned(),
        node.record.id.to_string(),
        node.region().to_owned(),
        of_rtt(|rtt| rtt.p50),
        of_rtt(|rtt| rtt.min),
        of_rtt(|rtt| rtt.jitter),
        node.rtt.map(|rtt| format!("{:.0} %", rtt.loss() * 100.0)).unwrap_or_default(),
        node.method.to_owned(),
        status.map(|status| format!("{:.0} %", status.load * 100.0)).unwrap_or_default(),
        status.map(|status| format!("{}/{}", status.sessions, status.capacity)).unwrap_or_default(),
        verdict(node, choice, index),
    ]
}

fn verdict(node: &Probed, choice: &Choice, index: usize) -> String {
    let reasons: Vec<String> = choice.verdicts[index].reasons().iter().map(ToString::to_string).collect();
    match (&node.live, reasons.is_empty()) {
        (_, false) => format!("rejected: {}", reasons.join("; ")),
        (_, true) if node.reach == Reach::NotAwaited => "eligible, farther than was waited for".to_owned(),
        (Live::FirstUse(_), true) => "eligible, not known yet".to_owned(),
        (_, true) => "eligible".to_owned(),
    }
}

fn explain(output: &Output, report: &Report, choice: &Choice, strategy: Strategy, elapsed: Duration) {
    let took = format!("{} in {:.2} s", count(report.nodes.len() as u64, "node"), elapsed.as_secs_f64());
    if let Some(sentence) = select::explain(&report.nodes, choice, strategy) {
        output.note(format_args!("\n* {sentence}. {took}."));
    } else {
        output.note(format_args!("\nNo node is eligible. {took}."));
        if let Some(offer) = filter::what_there_is(&report.nodes, choice) {
            output.note(offer);
        }
    }
    if !report.icmp {
        output.note(
            "Echo requests (ICMP) are not permitted here, so connections alone were measured; to permit them: \
             sysctl -w net.ipv4.ping_group_range='0 2147483647'",
        );
    }
}
