//! `cbrowse nodes history`: what earlier probings on this network found, and how to forget it.

use std::time::Duration;

use serde_json::{Value, json};

use super::table::{Align, Table};
use crate::{
    context::Globals,
    discover::cache::age_in_words,
    failure::{Exit, Failure},
    history::{History, Recalled, content::Entry},
    output::Style,
    probe::{Method, Prior},
    words::count,
};

/// Shown below the help.
pub const EXAMPLES: &str = "\
Examples:
  cbrowse nodes history
  cbrowse nodes history --clear            # of this network
  cbrowse nodes history --clear --all      # of every network

Figures are kept for 30 days, apart for each network that this machine joins, in
history/ among the caches (~/.cache/cbrowse). The files name no network.
";

/// Arguments of `cbrowse nodes history`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Forget what was found on this network, and which node was used last.
    #[arg(long)]
    pub clear: bool,
    /// The same for every network.
    #[arg(long, requires = "clear")]
    pub all: bool,
}

/// Shows, or forgets.
pub fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    let history = History::of(&globals.paths, &globals.output);
    if args.clear {
        return clear(args, globals, &history);
    }
    let (recalled, networks) = (history.recall(), history.networks());
    let mut known: Vec<(&Entry, Prior)> = recalled.all().collect();
    known.sort_by_key(|(entry, prior)| {
        (entry.is_bound(), !prior.served, prior.measured.p50, entry.node.id.clone())
    });
    if globals.output.is_json() {
        return globals.output.document(&document(&recalled, &known, networks));
    }
    if known.is_empty() {
        globals
            .output
            .note("Nothing is remembered of nodes on this network; cbrowse nodes probe measures them.");
        return Ok(());
    }
    let measured = known.partition_point(|(entry, _)| !entry.is_bound());
    if measured > 0 {
        globals.output.print(&table(&recalled, &known[..measured]).render(&globals.output))?;
    }
    let home =
        recalled.home().map(|(node, age)| format!("; you were on {} {} ago", node.id, age_in_words(age)));
    globals.output.note(format_args!(
        "\n{} on this network{}, {} in all{}.",
        count(known.len() as u64, "node"),
        silent_in_words(known.len() - measured),
        count(networks as u64, "network"),
        home.unwrap_or_default()
    ));
    Ok(())
}

/// Those of which nothing is known but that they are far, or dead, are counted, not listed.
fn silent_in_words(count: usize) -> String {
    if count > 0 { format!(", {count} of them farther than was waited for") } else { String::new() }
}

fn clear(args: &Args, globals: &Globals, history: &History) -> Result<(), Failure> {
    let forgotten = history.forget(args.all).map_err(|error| {
        Failure::new(Exit::Configuration, "history", error.to_string())
            .hint("the files may simply be deleted: history/ in ~/.cache/cbrowse")
    })?;
    if globals.output.is_json() {
        return globals.output.document(&json!({"forgotten": forgotten}));
    }
    globals.output.note(format_args!("forgot what was found on {}", count(forgotten as u64, "network")));
    Ok(())
}

fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

fn method(prior: &Prior) -> &'static str {
    match prior.method {
        Method::Icmp => "icmp",
        Method::Tcp => "tcp",
    }
}

fn document(recalled: &Recalled, known: &[(&Entry, Prior)], networks: usize) -> Value {
    let nodes: Vec<Value> = known
        .iter()
        .map(|(entry, prior)| {
            let measured = Some(prior.measured).filter(|_| !entry.is_bound());
            let silence = prior.measured.p50;
            json!({
                "id": entry.node.id,
                "endpoint": entry.node.endpoint,
                "rtt_ms": measured.map(|rtt| json!({"min": milliseconds(rtt.min), "p50": milliseconds(rtt.p50)})),
                "jitter_ms": measured.map(|rtt| milliseconds(rtt.jitter)),
                "loss": measured.map(|rtt| (rtt.loss() * 1e4).round() / 1e4),
                "samples": measured.map(|rtt| rtt.answered + rtt.lost),
                "method": measured.map(|_| method(prior)),
                "farther_than_ms": measured.is_none().then(|| milliseconds(silence)),
                "served": prior.served,
                "age_s": prior.age.as_secs(),
            })
        })
        .collect();
    json!({
        "network": recalled.network().map(ToString::to_string),
        "networks": networks,
        "home": recalled.home().map(|(node, age)| json!({"id": node.id, "age_s": age.as_secs()})),
        "nodes": nodes,
    })
}

fn table(recalled: &Recalled, known: &[(&Entry, Prior)]) -> Table {
    let mut table = Table::new(&[
        ("", Align::Left),
        ("NODE", Align::Left),
        ("ADDRESS", Align::Left),
        ("RTT ms", Align::Right),
        ("MIN", Align::Right),
        ("JITTER", Align::Right),
        ("LOSS", Align::Right),
        ("BY", Align::Left),
        ("AGE", Align::Right),
        ("SERVED", Align::Left),
    ]);
    for (entry, prior) in known {
        let is_home = recalled.home().is_some_and(|(node, _)| *node == entry.node);
        let style = if prior.served { is_home.then_some(Style::Strong) } else { Some(Style::Faint) };
        let ms = |duration: Duration| format!("{:.1}", duration.as_secs_f64() * 1e3);
        table.row(
            style,
            vec![
                if is_home { "*" } else { "" }.to_owned(),
                entry.node.id.to_string(),
                entry.node.endpoint.clone(),
                ms(prior.measured.p50),
                ms(prior.measured.min),
                ms(prior.measured.jitter),
                format!("{:.0} %", prior.measured.loss() * 100.0),
                method(prior).to_owned(),
                age_in_words(prior.age),
                if prior.served { "yes" } else { "no" }.to_owned(),
            ],
        );
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        history::{
            content::Content,
            fading::Found,
            store::{Addition, joined},
        },
        probe::{Probed, Reach},
        select::tests::node,
    };

    #[test]
    fn a_silence_is_not_shown_as_a_round_trip() {
        let waited = Some(Duration::from_millis(45));
        let silent = Probed {
            rtt: None,
            reach: Reach::NotAwaited,
            silent_for: waited,
            method: "",
            ..node("far", "eu", 1)
        };
        let found = [node("near", "eu", 20), silent].iter().filter_map(Found::of).collect();
        let content = joined(Content::default(), &Addition { found, ..Addition::default() }, 1000);
        let recalled = Recalled::new(content, 1010);
        let known: Vec<(&Entry, Prior)> = recalled.all().collect();
        let document = document(&recalled, &known, 1);
        let (near, far) = (&document["nodes"][0], &document["nodes"][1]);
        assert_eq!(near["rtt_ms"], json!({"min": 20.0, "p50": 20.0}));
        assert_eq!((&near["farther_than_ms"], &near["method"]), (&Value::Null, &json!("icmp")));
        assert_eq!((&far["farther_than_ms"], &far["age_s"]), (&json!(45.0), &json!(10)));
        for field in ["rtt_ms", "jitter_ms", "loss", "samples", "method"] {
            assert_eq!(far[field], Value::Null, "{field}");
        }
        assert_eq!(
            (silent_in_words(0), silent_in_words(2)),
            (String::new(), ", 2 of them farther than was waited for".into())
        );
    }
}
