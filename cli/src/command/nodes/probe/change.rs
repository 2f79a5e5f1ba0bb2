//! What differs between two rounds of `--watch`. Pure.

use std::collections::HashMap;

use super::rows::{Document, Row};
use crate::{command::nodes::table::Cell, output::Style};

/// A round trip that differs by less, in milliseconds or as a share, is the same to a person.
const FELT_MS: f64 = 1.0;
const FELT_SHARE: f64 = 0.1;

/// What became of one node.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Change {
    /// Nothing to speak of.
    None,
    /// It was not there.
    New,
    /// It was another one's turn.
    Chosen,
    /// It answers, and did not.
    Back,
    /// It answered, and does not.
    Silent,
    /// Nearer by so many milliseconds.
    Nearer(f64),
    /// Farther by so many milliseconds.
    Farther(f64),
}

impl Change {
    /// Arrow and figure; the sign says the same as the arrow.
    pub(super) fn cell(self, unicode: bool) -> Cell {
        let arrow = |up: bool| match (unicode, up) {
            (false, true) => "+",
            (false, false) => "-",
            (true, true) => "▲ ",
            (true, false) => "▼ ",
        };
        match self {
            Self::None => Cell::default(),
            Self::New => Cell::new(Some(Style::Strong), "new"),
            Self::Chosen => Cell::new(Some(Style::Good), "now chosen"),
            Self::Back => Cell::new(Some(Style::Good), "answers"),
            Self::Silent => Cell::new(Some(Style::Bad), "silent"),
            Self::Nearer(by) => Cell::new(Some(Style::Good), format!("{}{by:.1}", arrow(false))),
            Self::Farther(by) => Cell::new(Some(Style::Warning), format!("{}{by:.1}", arrow(true))),
        }
    }
}

/// The changes of each node since `before`, by id; empty in the first round.
pub(super) fn changes(before: Option<&Document>, now: &Document) -> HashMap<String, Change> {
    let Some(before) = before else { return HashMap::new() };
    let known: HashMap<&str, &Row> = before.nodes.iter().map(|row| (row.id.as_str(), row)).collect();
    let is_now_chosen = |row: &Row| now.chosen.as_ref() == Some(&row.id) && before.chosen != now.chosen;
    let change = |row: &Row| match known.get(row.id.as_str()) {
        _ if is_now_chosen(row) => Change::Chosen,
        None => Change::New,
        Some(earlier) => of_round_trips(earlier.p50(), row.p50()),
    };
    now.nodes.iter().map(|row| (row.id.clone(), change(row))).collect()
}

fn of_round_trips(before: Option<f64>, now: Option<f64>) -> Change {
    match (before, now) {
        (None, None) => Change::None,
        (None, Some(_)) => Change::Back,
        (Some(_), None) => Change::Silent,
        (Some(before), Some(now)) => {
            let by = now - before;
            if by.abs() < FELT_MS.max(before * FELT_SHARE) {
                Change::None
            } else if by < 0.0 {
                Change::Nearer(-by)
            } else {
                Change::Farther(by)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::nodes::probe::rows::tests::row;

    fn document(chosen: &str, nodes: Vec<Row>) -> Document {
        Document { nodes, chosen: Some(chosen.into()), icmp: true, elapsed_ms: 1.0 }
    }

    #[test]
    fn changes_are_told_from_what_nobody_feels() {
        let silent = |id: &str| Row { rtt_ms: None, ..row(id, 0.0) };
        let before =
            document("a", vec![row("a", 10.0), row("b", 100.0), row("c", 9.0), silent("d"), row("e", 5.0)]);
        let now = document(
            "b",
            vec![row("b", 80.0), row("a", 10.9), row("c", 11.0), row("d", 5.0), silent("e"), row("f", 1.0)],
        );
        let changes = changes(Some(&before), &now);
        let of = |id: &str| changes[id];
        assert_eq!((of("a"), of("b"), of("c")), (Change::None, Change::Chosen, Change::Farther(2.0)));
        assert_eq!((of("d"), of("e"), of("f")), (Change::Back, Change::Silent, Change::New));
        assert_eq!(of_round_trips(Some(100.0), Some(89.0)), Change::Nearer(11.0));
        assert_eq!(of_round_trips(Some(100.0), Some(91.0)), Change::None);
    }

    #[test]
    fn the_first_round_changes_nothing() {
        assert!(changes(None, &document("a", vec![row("a", 1.0)])).is_empty());
    }

    #[test]
    fn arrows_have_a_sign_where_blocks_are_not_known() {
        assert_eq!(Change::Farther(3.14).cell(true), Cell::new(Some(Style::Warning), "▲ 3.1"));
        assert_eq!(Change::Nearer(3.14).cell(false), Cell::new(Some(Style::Good), "-3.1"));
    }
}
