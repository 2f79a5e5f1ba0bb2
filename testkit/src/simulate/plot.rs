//! The outcome as a picture: three panels of bars, one row a strategy. Written by hand, so that it stays small.

use std::fmt::Write as _;

use super::Row;

const ROW: usize = 26;
const TOP: usize = 58;
const NAMES: usize = 160;
const PANEL: usize = 200;
const GAP: usize = 60;
/// The limit of max/mean that the default strategy has to keep (docs/simulation.md).
const LIMIT: f64 = 1.3;
const DARK: &str = "#2f5d8a";
const LIGHT: &str = "#a9c4de";

/// The rows of the largest number of clients, as SVG; the last panel compares all numbers.
pub fn svg(rows: &[Row], title: &str) -> String {
    let most = rows.iter().map(|row| row.clients).max().unwrap_or(0);
    let shown: Vec<&Row> = rows.iter().filter(|row| row.clients == most).collect();
    let (width, height) = (NAMES + 3 * (PANEL + GAP), TOP + shown.len() * ROW + 20);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"8\" y=\"20\" font-size=\"14\">{most} clients, {title}</text>\n"
    );
    for (at, row) in shown.iter().enumerate() {
        text(&mut svg, 8, TOP + at * ROW + 15, &row.rule.to_string());
    }
    let panel = |number: usize| NAMES + number * (PANEL + GAP);
    bars(&mut svg, panel(0), "response, ms: mean (dark), p99", &shown, |row| {
        vec![row.figures.p99_ms, row.figures.mean_ms]
    });
    let top =
        bars(&mut svg, panel(1), "load, max/mean; line at 1.3", &shown, |row| vec![row.figures.imbalance]);
    let x = panel(1) + along(LIMIT, top);
    let bottom = TOP + shown.len() * ROW;
    let _ = writeln!(svg, "<path d=\"M{x} {TOP}V{bottom}\" stroke=\"#b33\" stroke-dasharray=\"4 3\"/>");
    let cost = |row: &Row| {
        let same = rows.iter().filter(|other| other.rule == row.rule);
        let mut seconds: Vec<f64> = same.map(|row| row.choosing.as_secs_f64()).collect();
        seconds.sort_by(f64::total_cmp);
        seconds.reverse();
        seconds
    };
    bars(&mut svg, panel(2), "choosing, s, for each number of clients", &shown, cost);
    svg + "</svg>\n"
}

/// Draws one panel, the first value of a row behind the others; the largest value spans it and is returned.
fn bars(svg: &mut String, x: usize, title: &str, rows: &[&Row], values: impl Fn(&Row) -> Vec<f64>) -> f64 {
    let top = rows.iter().flat_map(|row| values(row)).fold(0.0, f64::max);
    text(svg, x, TOP - 10, title);
    for (at, row) in rows.iter().enumerate() {
        let y = TOP + at * ROW;
        let values = values(row);
        for (nth, value) in values.iter().enumerate() {
            let (width, inset) = (along(*value, top), 3 * nth.min(2));
            let fill = if nth + 1 == values.len() { DARK } else { LIGHT };
            let (y, height) = (y + 2 + inset, ROW - 8 - 2 * inset);
            let _ = writeln!(
                svg,
                "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" fill=\"{fill}\"/>"
            );
        }
        let widest = values.iter().copied().fold(0.0, f64::max);
        let label: Vec<String> = values.iter().rev().map(|value| short(*value)).collect();
        text(svg, x + along(widest, top) + 4, y + 15, &label.join(" / "));
    }
    top
}

fn short(value: f64) -> String {
    if value < 10.0 { format!("{value:.2}") } else { format!("{value:.0}") }
}

fn along(value: f64, top: f64) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and the panel's width"
    )]
    let width = (value / top.max(f64::MIN_POSITIVE) * PANEL as f64 * 0.8).clamp(0.0, PANEL as f64) as usize;
    width
}

fn text(svg: &mut String, x: usize, y: usize, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(svg, "<text x=\"{x}\" y=\"{y}\">{words}</text>");
}
