//! Events as lines: JSON for programs, a sentence for a log.

use std::time::Duration;

use cbrowse_protocol::node::{NodeRecord, printable};
use cbrowse_registry::{CatalogError, Event};
use serde_json::{Value, json};

use crate::{date::rfc3339, words::count};

/// Most of a registry's error that is repeated, in characters.
const SHOWN_LENGTH: usize = 400;

/// An event as the help of the command describes it; stable.
pub(super) fn document(event: &Event, now: Duration) -> Value {
    let time = (now.as_secs_f64() * 1e3).round() / 1e3;
    match event {
        Event::Ready { nodes } => json!({"event": "ready", "time": time, "nodes": nodes}),
        Event::Added(node) => json!({"event": "added", "time": time, "node": node}),
        Event::Updated { node, changed } => {
            json!({"event": "updated", "time": time, "node": node, "changed": changed})
        }
        Event::Removed(node) => json!({"event": "removed", "time": time, "node": node}),
        Event::SourceUp { catalog } => json!({"event": "source_up", "time": time, "catalog": catalog}),
        Event::SourceDown { catalog, error } => {
            json!({"event": "source_down", "time": time, "catalog": catalog, "error": cause(error)})
        }
        Event::Warning(message) => {
            json!({"event": "warning", "time": time, "message": printable(message, SHOWN_LENGTH)})
        }
        Event::Resolved(message) => {
            json!({"event": "resolved", "time": time, "message": printable(message, SHOWN_LENGTH)})
        }
    }
}

/// An event as a line that begins with its time.
pub(super) fn sentence(event: &Event, now: u64) -> String {
    let text = match event {
        Event::Ready { nodes } => format!("ready: {}", count(*nodes as u64, "node")),
        Event::Added(node) => format!("added {}", description(node)),
        Event::Updated { node, changed } => format!("updated {}: {}", description(node), changed.join(", ")),
        Event::Removed(node) => format!("removed {}", description(node)),
        Event::SourceUp { catalog } => format!("connected to {catalog}"),
        Event::SourceDown { catalog, error } => format!("{catalog} {}; trying again", cause(error)),
        Event::Warning(message) => format!("warning: {message}"),
        Event::Resolved(message) => format!("no longer so: {message}"),
    };
    // Records were checked; names of files and words of registries were not.
    format!("{} {}", rfc3339(now), printable(&text, SHOWN_LENGTH * 2))
}

fn description(node: &NodeRecord) -> String {
    let region = if node.region.is_empty() { String::new() } else { format!(" in {}", node.region) };
    format!("{}{region} at {} ({})", node.id, node.endpoint(), node.health)
}

/// Without the catalog's name, which stands beside it.
pub(super) fn cause(error: &CatalogError) -> String {
    let text = match error {
        CatalogError::One { cause, .. } => cause.to_string(),
        several @ CatalogError::All(_) => several.to_string(),
    };
    printable(&text, SHOWN_LENGTH)
}

#[cfg(test)]
mod tests {
    use cbrowse_registry::Cause;

    use super::*;

    fn node() -> Box<NodeRecord> {
        let record = json!({"id": "fra-1", "address": "192.0.2.1", "port": 7443, "region": "eu"});
        Box::new(serde_json::from_value(record).expect("a record"))
    }

    /// What programs rely on.
    #[test]
    fn the_json_form_is_stable() {
        let text = |event: &Event| document(event, Duration::from_micros(1_795_000_000_123_456)).to_string();
        assert_eq!(text(&Event::Ready { nodes: 3 }), r#"{"event":"ready","nodes":3,"time":1795000000.123}"#);
        assert_eq!(
            text(&Event::SourceUp { catalog: "consul://".into() }),
            r#"{"catalog":"consul://","event":"source_up","time":1795000000.123}"#
        );
        let error = CatalogError::One { catalog: "x".into(), cause: Cause::Unreachable("\u{1b}[2J".into()) };
        let down = document(&Event::SourceDown { catalog: "x".into(), error }, Duration::ZERO);
        assert_eq!((&down["event"], &down["catalog"]), (&"source_down".into(), &"x".into()));
        assert!(down["error"].as_str().unwrap().starts_with("cannot be reached (\u{fffd}[2J)"), "{down}");
        for (event, name) in [
            (Event::Added(node()), "added"),
            (Event::Removed(node()), "removed"),
            (Event::Updated { node: node(), changed: vec!["health"] }, "updated"),
        ] {
            let line = document(&event, Duration::ZERO);
            assert_eq!((&line["event"], &line["node"]["id"]), (&name.into(), &"fra-1".into()));
            assert_eq!(line["node"]["health"], "passing");
        }
    }

    #[test]
    fn a_sentence_is_one_line_without_escapes() {
        let event = Event::Warning("two\nlines\u{1b}[31m".into());
        assert_eq!(sentence(&event, 0), "1970-01-01T00:00:00Z warning: two\u{fffd}lines\u{fffd}[31m");
        let updated = Event::Updated { node: node(), changed: vec!["health", "tags"] };
        assert_eq!(
            sentence(&updated, 7),
            "1970-01-01T00:00:07Z updated fra-1 in eu at 192.0.2.1:7443 (passing): health, tags"
        );
    }
}
