//! The outcome of probing and choosing as a table with bars, and what is said below it.

use std::collections::BTreeMap;

use crate::{
    command::nodes::{
        bar::Bars,
        table::{Align, Cell, Narrow, Table},
    },
    outcome::{Document, Row},
    output::{Output, Style},
    words::count,
};

/// Rows that a terminal is shown unless it is told otherwise: they fit one screen.
pub const SHOWN: usize = 20;
/// Of these, one in so many stands for the rejected, where there are any: a reason nobody sees helps nobody.
const REJECTED_SHARE: usize = 4;
/// Candidates whose scores are taken apart.
const TAKEN_APART: usize = 5;
/// Width of the bars on a terminal of usual width, and where there is room.
const BAR: usize = 10;
const WIDE_BAR: usize = 18;
/// From this width on there is room.
const WIDE: usize = 110;

/// For whom a table is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Columns of the terminal; `None` where it is a file or a program that reads.
    pub columns: Option<usize>,
    /// Whether blocks may be drawn.
    pub unicode: bool,
    /// Every reason on a line of its own.
    pub explains: bool,
}

impl Look {
    /// Of standard output.
    pub fn of_stdout(output: &Output, explains: bool) -> Self {
        Self { columns: output.columns(), unicode: output.is_unicode(), explains }
    }

    /// Of standard error.
    pub fn of_stderr(output: &Output, explains: bool) -> Self {
        Self { columns: output.columns_of_error(), unicode: output.is_unicode(), explains }
    }
}

/// What gives way on a narrow terminal, first things first.
const STEPS: [Narrow; 14] = [
    Narrow::Drop("BY"),
    Narrow::Drop("MIN"),
    Narrow::Shorten("VERDICT", 30),
    Narrow::Drop("SEATS"),
    Narrow::Shorten("VERDICT", 22),
    Narrow::Shorten("REGION", 12),
    Narrow::Shorten("NODE", 14),
    Narrow::Drop("SCORE"),
    Narrow::Drop("JITTER"),
    Narrow::Drop(" "),
    Narrow::Drop("LOSS"),
    Narrow::Drop("LOAD"),
    Narrow::Shorten("VERDICT", 8),
    Narrow::Shorten("NODE", 6),
];

const HEAD: [(&str, Align); 14] = [
    ("", Align::Left),
    ("NODE", Align::Left),
    ("REGION", Align::Left),
    ("RTT ms", Align::Right),
    (" ", Align::Left),
    ("CHANGE", Align::Left),
    ("MIN", Align::Right),
    ("JITTER", Align::Right),
    ("LOSS", Align::Right),
    ("BY", Align::Left),
    ("LOAD", Align::Right),
    ("SEATS", Align::Right),
    ("SCORE", Align::Right),
    ("VERDICT", Align::Left),
];

/// The rows. The chosen node is marked `*`, those that are equally near `~`.
pub fn table(rows: &[&Row], chosen: Option<&str>, look: Look) -> Table {
    table_of_changes(rows, chosen, look, |_| Cell::default())
}

/// The same with what became of each node.
pub(super) fn table_of_changes(
    rows: &[&Row],
    chosen: Option<&str>,
    look: Look,
    change: impl Fn(&Row) -> Cell,
) -> Table {
    let width = if look.columns.is_some_and(|columns| columns >= WIDE) { WIDE_BAR } else { BAR };
    let bars = Bars::of(rows.iter().filter_map(|row| row.p50()), width, look.unicode);
    let mut table = Table::new(&HEAD);
    for row in rows {
        let is_chosen = chosen == Some(&row.id);
        table.row(style(row, is_chosen), cells(row, is_chosen, &bars, look, change(row)));
        for reason in row.reasons.iter().filter(|_| look.explains) {
            table.note(&reason.message);
        }
    }
    table.within(look.columns, &STEPS)
}

fn style(row: &Row, is_chosen: bool) -> Option<Style> {
    match row.is_eligible() {
        true if is_chosen => Some(Style::Strong),
        true => None,
        false => Some(Style::Faint),
    }
}

/// Near ones green, rejected ones red; the mark and the verdict say the same without colour.
fn bar_style(row: &Row) -> Option<Style> {
    match (row.is_eligible(), row.in_band) {
        (true, true) => Some(Style::Good),
        (true, false) => None,
        (false, _) => Some(Style::Bad),
    }
}

fn mark(row: &Row, is_chosen: bool) -> &'static str {
    match (is_chosen, row.in_band) {
        (true, _) => "*",
        (false, true) => "~",
        (false, false) => "",
    }
}

fn cells(row: &Row, is_chosen: bool, bars: &Bars, look: Look, change: Cell) -> Vec<Cell> {
    let bar = row.p50().map(|p50| bars.draw(p50)).unwrap_or_default();
    let sessions = row.sessions.zip(row.capacity);
    let plain = |text: String| Cell::from(text);
    vec![
        plain(mark(row, is_chosen).to_owned()),
        plain(row.id.clone()),
        plain(row.region.clone()),
        plain(figure(row.p50())),
        Cell::new(bar_style(row), bar),
        change,
        plain(figure(row.rtt_ms.map(|rtt| rtt.min))),
        plain(figure(row.jitter_ms)),
        plain(percent(row.loss)),
        plain(row.method.clone().unwrap_or_default()),
        plain(percent(row.load)),
        plain(sessions.map(|(sessions, capacity)| format!("{sessions}/{capacity}")).unwrap_or_default()),
        plain(figure(row.score_ms)),
        plain(verdict(row, look.explains)),
    ]
}

fn figure(value: Option<f64>) -> String {
    value.map(|value| format!("{value:.1}")).unwrap_or_default()
}

fn percent(share: Option<f64>) -> String {
    share.map(|share| format!("{:.0} %", share * 100.0)).unwrap_or_default()
}

fn verdict(row: &Row, explains: bool) -> String {
    if !row.is_eligible() {
        let reasons: Vec<&str> = row.reasons.iter().map(|reason| reason.message.as_str()).collect();
        return if explains {
            row.verdict.clone()
        } else {
            format!("{}: {}", row.verdict, reasons.join("; "))
        };
    }
    match &row.remark {
        Some(remark) => format!("{}, {remark}", row.verdict),
        None => row.verdict.clone(),
    }
}

/// At most `limit` rows, the rejected among them by [`REJECTED_SHARE`]. They are sorted already.
pub fn shown(rows: &[Row], limit: Option<usize>) -> Vec<&Row> {
    let Some(limit) = limit.filter(|limit| *limit < rows.len()) else { return rows.iter().collect() };
    let (eligible, rejected): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| row.is_eligible());
    let share = rejected.len().min((limit / REJECTED_SHARE).max(limit.saturating_sub(eligible.len())));
    eligible.into_iter().take(limit - share).chain(rejected.into_iter().take(share)).collect()
}

/// How the scores of the leading candidates are made up; `None` where they are no sums.
pub fn score_table(rows: &[Row], look: Look) -> Option<Table> {
    let mut table = Table::new(&[
        ("NODE", Align::Left),
        ("RTT", Align::Right),
        ("+ JITTER", Align::Right),
        ("+ RESENDS", Align::Right),
        ("+ SERVICE", Align::Right),
        ("= SCORE ms", Align::Right),
        (" ", Align::Left),
    ]);
    let leading = rows.iter().filter(|row| row.is_eligible() && row.score_parts_ms.is_some());
    let leading: Vec<&Row> = leading.take(TAKEN_APART).collect();
    let bars = Bars::of(leading.iter().filter_map(|row| row.score_ms), BAR, look.unicode);
    for row in &leading {
        let parts = row.score_parts_ms?;
        let [rtt, jitter, resends, service] = [parts.rtt, parts.jitter, parts.resends, parts.service]
            .map(|part| Cell::from(figure(Some(part))));
        let bar = row.score_ms.map(|score| bars.draw(score)).unwrap_or_default();
        let score = Cell::from(figure(row.score_ms));
        table.row(
            None,
            vec![row.id.clone().into(), rtt, jitter, resends, service, score, Cell::new(bar_style(row), bar)],
        );
    }
    let steps = [Narrow::Drop(" "), Narrow::Shorten("NODE", 6)];
    (!leading.is_empty()).then(|| table.within(look.columns, &steps))
}

/// How many nodes are not shown, and why the rejected ones are: a sentence each.
pub fn remarks(document: &Document, shown: usize) -> Vec<String> {
    let mut remarks = Vec::new();
    let hidden = document.nodes.len() - shown;
    if hidden > 0 {
        remarks.push(format!("and {hidden} more; --all shows them, --limit N so many"));
    }
    if document.nodes.iter().any(|row| row.in_band && Some(&row.id) != document.chosen.as_ref()) {
        remarks.push("~ as near as the best, within 10 ms or a tenth".into());
    }
    let rejected = document.nodes.iter().filter(|row| !row.is_eligible()).count();
    if rejected > 0 && document.nodes.len() > SHOWN {
        remarks.push(format!("{} rejected: {}", count(rejected as u64, "node"), by_reason(&document.nodes)));
    }
    remarks
}

/// How often each reason stands against a node, the most frequent first.
fn by_reason(rows: &[Row]) -> String {
    let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in rows.iter().flat_map(|row| &row.reasons) {
        *numbers.entry(&reason.code).or_default() += 1;
    }
    let mut numbers: Vec<_> = numbers.into_iter().collect();
    numbers.sort_by_key(|(_, number)| std::cmp::Reverse(*number));
    let words: Vec<String> =
        numbers.iter().map(|(code, number)| format!("{number} {}", code.replace('_', " "))).collect();
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Objection, tests::row};

    fn look(columns: usize) -> Look {
        Look { columns: Some(columns), unicode: true, explains: false }
    }

    fn text(rows: &[Row], look: Look) -> String {
        let rows: Vec<&Row> = rows.iter().collect();
        table(&rows, Some("n0"), look).render(&Output::new(false, false, true))
    }

    fn rejected(id: &str, p50: f64) -> Row {
        let reasons = [("region", "in us-east, not eu-central"), ("full", "full (8 of 8 seats)")];
        let objection = |(code, message): (&str, &str)| Objection {
            code: code.into(),
            cause: None,
            message: message.into(),
        };
        Row {
            verdict: "rejected".into(),
            in_band: false,
            reasons: reasons.map(objection).into(),
            ..row(id, p50)
        }
    }

    #[test]
    fn no_terminal_is_too_narrow() {
        let rows = [row("n0", 8.1), rejected("a-node-with-a-rather-long-name.example.org", 120.0)];
        for columns in [40, 60, 80, 100, 120, 200] {
            for explains in [false, true] {
                let text = text(&rows, Look { explains, ..look(columns) });
                let widest = text.lines().map(unicode_width::UnicodeWidthStr::width).max();
                assert!(widest <= Some(columns), "{columns}: {text}");
                assert!(text.contains("VERDICT") && text.contains("8.1"), "{text}");
            }
        }
    }

    #[test]
    fn marks_say_what_colours_say() {
        let text = text(&[row("n0", 8.0), row("n1", 9.0), rejected("n2", 16.0)], look(120));
        let lines: Vec<&str> = text.lines().skip(1).collect();
        assert!(lines[0].starts_with("*  n0") && lines[1].starts_with("~  n1"), "{text}");
        assert!(lines[2].starts_with("   n2") && lines[2].contains("rejected: in us-east"), "{text}");
    }

    #[test]
    fn an_explanation_gives_every_reason_a_line() {
        let text = text(&[row("n0", 8.0), rejected("n2", 16.0)], Look { explains: true, ..look(80) });
        let last: Vec<&str> = text.lines().rev().take(2).collect();
        assert_eq!(last, ["      full (8 of 8 seats)", "      in us-east, not eu-central"]);
    }

    #[test]
    fn a_limit_leaves_room_for_the_rejected() {
        let mut rows: Vec<Row> = (0..50).map(|n| row(&format!("n{n}"), 8.0)).collect();
        rows.extend((0..50).map(|n| rejected(&format!("r{n}"), 9.0)));
        let eligible = |limit| shown(&rows, limit).iter().filter(|row| row.is_eligible()).count();
        assert_eq!((shown(&rows, Some(20)).len(), eligible(Some(20))), (20, 15));
        assert_eq!((shown(&rows, Some(90)).len(), eligible(Some(90))), (90, 50));
        assert_eq!((shown(&rows, Some(1)).len(), eligible(Some(1))), (1, 1));
        assert_eq!(shown(&rows, None).len(), 100);
        assert_eq!(shown(&rows[..10], Some(20)).len(), 10);
        let document =
            Document { nodes: rows.clone(), chosen: Some("n0".into()), icmp: true, elapsed_ms: 1.0 };
        let remarks = remarks(&document, 20);
        assert!(remarks[0].starts_with("and 80 more"), "{remarks:?}");
        assert_eq!(remarks[2], "50 nodes rejected: 50 full, 50 region");
    }

    #[test]
    fn a_score_is_the_sum_of_what_is_shown() {
        let table = score_table(&[row("n0", 8.0)], look(80)).expect("parts");
        let text = table.render(&Output::new(false, false, true));
        let figures: Vec<f64> = text
            .lines()
            .nth(1)
            .expect("a row")
            .split_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect();
        assert_eq!(figures, [8.0, 1.0, 2.0, 11.0, 22.0]);
        assert!(score_table(&[Row { score_parts_ms: None, ..row("n0", 8.0) }], look(80)).is_none());
    }
}
