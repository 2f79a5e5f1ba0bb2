//! What the live table shows: a line for each catalog, the nodes with their last change, and a count. Pure: the time
//! and the terminal's size come in.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use cbrowse_protocol::{
    id::NodeId,
    node::{Health, NodeRecord},
};
use cbrowse_registry::Event;

use super::lines::cause;
use crate::{
    command::nodes::{
        list,
        screen::Size,
        table::{Align, Table},
    },
    date::clock,
    output::Style,
    words::count,
};

/// How long a change stands out, and a removed node stays in sight.
pub(super) const HIGHLIGHT: Duration = Duration::from_secs(10);
/// Warnings that are shown; of more, the last.
const WARNINGS: usize = 3;

/// A line and how it stands out.
type Line = (Option<Style>, String);

/// The state behind the table.
pub(super) struct Live {
    sources: Vec<(String, State)>,
    nodes: BTreeMap<NodeId, Row>,
    warnings: VecDeque<String>,
    is_ready: bool,
}

enum State {
    Asked,
    Up(u64),
    Down(u64, String),
}

struct Row {
    node: NodeRecord,
    change: Change,
    at: Duration,
}

#[derive(PartialEq, Eq)]
enum Change {
    /// It was there from the beginning.
    None,
    Added,
    Updated(Vec<&'static str>),
    Removed,
}

impl Row {
    fn stands_out(&self, now: Duration) -> bool {
        self.change != Change::None && now.saturating_sub(self.at) < HIGHLIGHT
    }

    fn change(&self) -> String {
        let at = clock(self.at.as_secs());
        match &self.change {
            Change::None => String::new(),
            Change::Added => format!("{at} added"),
            Change::Updated(fields) => format!("{at} {}", fields.join(", ")),
            Change::Removed => format!("{at} removed"),
        }
    }

    fn style(&self, now: Duration) -> Option<Style> {
        match self.change {
            Change::Removed => Some(Style::Faint),
            _ if self.stands_out(now) => Some(Style::Strong),
            _ => list::style(self.node.health),
        }
    }
}

impl Live {
    pub(super) fn new(catalogs: impl Iterator<Item = String>) -> Self {
        Self {
            sources: catalogs.map(|name| (name, State::Asked)).collect(),
            nodes: BTreeMap::new(),
            warnings: VecDeque::new(),
            is_ready: false,
        }
    }

    /// Takes an event in.
    pub(super) fn learn(&mut self, event: Event, now: Duration) {
        match event {
            Event::Ready { .. } => self.is_ready = true,
            Event::Added(node) => {
                let change = if self.is_ready { Change::Added } else { Change::None };
                self.put(*node, change, now);
            }
            Event::Updated { node, changed } => self.put(*node, Change::Updated(changed), now),
            Event::Removed(node) => self.put(*node, Change::Removed, now),
            Event::SourceUp { catalog } => self.set(&catalog, State::Up(now.as_secs())),
            Event::SourceDown { catalog, error } => {
                // It is down since it was first seen so, whatever the cause is by now.
                let since = self.sources.iter().find_map(|(name, state)| match state {
                    State::Down(since, _) if *name == catalog => Some(*since),
                    _ => None,
                });
                self.set(&catalog, State::Down(since.unwrap_or(now.as_secs()), cause(&error)));
            }
            Event::Warning(text) => {
                self.warnings.push_back(text);
                if self.warnings.len() > WARNINGS {
                    self.warnings.pop_front();
                }
            }
            Event::Resolved(text) => self.warnings.retain(|known| *known != text),
        }
    }

    fn put(&mut self, node: NodeRecord, change: Change, at: Duration) {
        self.nodes.insert(node.id.clone(), Row { node, change, at });
    }

    fn set(&mut self, catalog: &str, state: State) {
        if let Some(source) = self.sources.iter_mut().find(|(name, _)| name == catalog) {
            source.1 = state;
        }
    }

    /// Forgets the nodes that were removed a while ago; whether anything stands out still.
    pub(super) fn settle(&mut self, now: Duration) -> bool {
        self.nodes.retain(|_, row| row.change != Change::Removed || row.stands_out(now));
        self.nodes.values().any(|row| row.stands_out(now))
    }

    /// As many lines as the terminal has rows, less the one of the cursor.
    pub(super) fn lines(&self, size: Size, now: Duration) -> Vec<Line> {
        let mut lines = self.head();
        // The table's own head, the line of what is left out, the count, the cursor.
        let room = size.rows.saturating_sub(lines.len() + 4).max(1);
        let shown = self.visible(room, now);
        let left_out = self.nodes.len() - shown.len();
        if !shown.is_empty() {
            lines.extend(table(&shown, now).lines());
        }
        if left_out > 0 {
            lines.push((Some(Style::Faint), format!("and {left_out} more")));
        }
        lines.push((Some(Style::Faint), self.count()));
        lines.truncate(size.rows.saturating_sub(1).max(1));
        lines
    }

    fn head(&self) -> Vec<Line> {
        let source = |(name, state): &(String, State)| match state {
            State::Asked => (Some(Style::Faint), format!("{name}  asked, no answer yet")),
            State::Up(since) => (None, format!("{name}  connected since {} UTC", clock(*since))),
            State::Down(since, why) => {
                (Some(Style::Bad), format!("{name}  retrying since {} UTC: {why}", clock(*since)))
            }
        };
        let warning = |text: &String| (Some(Style::Warning), format!("warning: {text}"));
        let mut lines: Vec<Line> = self.sources.iter().map(source).collect();
        lines.extend(self.warnings.iter().map(warning));
        lines.push((None, String::new()));
        lines
    }

    /// The rows that fit, by region and id. Where not all do, what changed last goes before what did not.
    fn visible(&self, room: usize, now: Duration) -> Vec<&Row> {
        let mut rows: Vec<&Row> = self.nodes.values().collect();
        if rows.len() > room {
            rows.sort_by_key(|row| {
                let at = if row.stands_out(now) { row.at } else { Duration::ZERO };
                (std::cmp::Reverse(at), &row.node.region, &row.node.id)
            });
            rows.truncate(room);
        }
        rows.sort_by_key(|row| (&row.node.region, &row.node.id));
        rows
    }

    fn count(&self) -> String {
        let of = |health: Option<Health>| {
            let there = self.nodes.values().filter(|row| row.change != Change::Removed);
            there.filter(|row| health.is_none_or(|health| row.node.health == health)).count()
        };
        let healths = Health::ALL.map(|health| (of(Some(health)), health));
        let healths: Vec<String> = healths
            .iter()
            .filter(|(number, _)| *number > 0)
            .map(|(number, health)| format!("{number} {health}"))
            .collect();
        let healths = if healths.is_empty() { String::new() } else { format!(": {}", healths.join(", ")) };
        format!("{}{healths}. Ctrl-C ends the watch", count(of(None) as u64, "node"))
    }
}

fn table(rows: &[&Row], now: Duration) -> Table {
    let mut table = Table::new(&[
        ("NODE", Align::Left),
        ("REGION", Align::Left),
        ("HEALTH", Align::Left),
        ("CHANGE (UTC)", Align::Left),
        ("ZONE", Align::Left),
        ("ADDRESS", Align::Left),
        ("VERSION", Align::Left),
        ("TAGS", Align::Left),
    ]);
    for row in rows {
        let node = &row.node;
        table.row(
            row.style(now),
            vec![
                node.id.to_string(),
                node.region.clone(),
                node.health.to_string(),
                row.change(),
                node.zone.clone(),
                node.endpoint(),
                node.version.clone(),
                node.tags.join(","),
            ],
        );
    }
    table
}

#[cfg(test)]
mod tests {
    use cbrowse_registry::{CatalogError, Cause};

    use super::*;

    const SIZE: Size = Size { columns: 100, rows: 12 };

    fn node(id: &str) -> Box<NodeRecord> {
        let record = serde_json::json!({"id": id, "address": "192.0.2.1", "port": 7443, "region": "eu"});
        Box::new(serde_json::from_value(record).expect("a record"))
    }

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn ready(nodes: usize) -> Live {
        let mut live = Live::new(["consul://".to_owned()].into_iter());
        live.learn(Event::SourceUp { catalog: "consul://".into() }, s(0));
        for index in 0..nodes {
            live.learn(Event::Added(node(&format!("n{index:03}"))), s(0));
        }
        live.learn(Event::Ready { nodes }, s(0));
        live
    }

    fn text(live: &Live, now: Duration) -> Vec<String> {
        live.lines(SIZE, now).into_iter().map(|(_, line)| line).collect()
    }

    #[test]
    fn a_change_stands_out_and_a_removed_node_leaves_after_a_while() {
        let mut live = ready(2);
        live.learn(Event::Updated { node: node("n000"), changed: vec!["tags", "zone"] }, s(100));
        live.learn(Event::Removed(node("n001")), s(100));
        assert!(live.settle(s(109)));
        let lines = live.lines(SIZE, s(109));
        let of = |id: &str| lines.iter().find(|(_, line)| line.starts_with(id)).expect(id);
        assert_eq!(of("n000").0, Some(Style::Strong));
        assert!(of("n000").1.contains("00:01:40 tags, zone") && of("n001").1.contains("00:01:40 removed"));
        assert!(lines.last().expect("a count").1.starts_with("1 node: 1 passing."));
        assert!(!live.settle(s(110)));
        let lines = text(&live, s(110));
        assert!(!lines.iter().any(|line| line.starts_with("n001")), "{lines:?}");
        assert!(lines.iter().any(|line| line.contains("00:01:40 tags, zone")), "the last change stays");
    }

    #[test]
    fn a_thousand_nodes_fit_the_terminal_and_what_changes_is_in_sight() {
        let mut live = ready(1000);
        let lines = text(&live, s(1));
        assert_eq!(lines.len(), SIZE.rows - 1);
        assert_eq!(lines[lines.len() - 2], "and 994 more");
        live.learn(Event::Updated { node: node("n777"), changed: vec!["health"] }, s(20));
        assert!(text(&live, s(21)).iter().any(|line| line.starts_with("n777")));
        let tiny = live.lines(Size { columns: 10, rows: 2 }, s(21));
        assert_eq!(tiny.len(), 1);
    }

    #[test]
    fn a_warning_stays_as_long_as_it_holds() {
        let mut live = ready(1);
        let is_shown = |live: &Live| text(live, s(1)).iter().any(|line| line == "warning: they disagree");
        live.learn(Event::Warning("they disagree".into()), s(1));
        assert!(is_shown(&live));
        live.learn(Event::Resolved("they disagree".into()), s(2));
        assert!(!is_shown(&live));
    }

    #[test]
    fn every_catalog_says_how_it_is_and_since_when() {
        let mut live = Live::new(["a", "b"].map(str::to_owned).into_iter());
        assert!(text(&live, s(0))[0].starts_with("a  asked"));
        let down = |why: &str| {
            let cause = Cause::Unreachable(why.into());
            Event::SourceDown { catalog: "b".into(), error: CatalogError::One { catalog: "b".into(), cause } }
        };
        live.learn(Event::SourceUp { catalog: "a".into() }, s(1));
        live.learn(down("refused"), s(2));
        live.learn(down("reset"), s(9));
        let lines = text(&live, s(9));
        assert_eq!(lines[0], "a  connected since 00:00:01 UTC");
        assert!(
            lines[1].starts_with("b  retrying since 00:00:02 UTC: cannot be reached (reset)"),
            "{lines:?}"
        );
    }
}
