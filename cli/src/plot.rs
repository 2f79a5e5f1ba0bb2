//! The outcome of probing as a picture: a strip of dots a region on one axis of round trips, the band shaded, the choice
//! named. SVG written by hand; readable on light and dark ground.

mod axis;
pub mod file;
mod strip;

use std::{collections::BTreeMap, fmt::Write as _};

use cbrowse_protocol::node::printable;

use self::{
    axis::Axis,
    strip::{Dot, Strip},
};
use crate::{
    outcome::{Document, Row},
    words::count,
};

/// Width of the picture, and of what stands left and right of the strips.
const WIDTH: f64 = 920.0;
const LEFT: f64 = 150.0;
const RIGHT: f64 = 150.0;
/// Above the first strip: title, subtitle, and the chosen node's name.
const TOP: f64 = 92.0;
/// Below the last: the axis and the legend.
const BOTTOM: f64 = 84.0;
/// Regions with a strip of their own, the nearest first; the others share one.
const MOST_REGIONS: usize = 24;
/// Letters of a name that comes from a stranger.
const MOST_LETTERS: usize = 18;

const STYLE: &str = "\
<style>
svg{--ground:#fff;--ink:#1c2733;--faint:#6b7886;--line:#dde3ea;--band:#e3f3e8;--near:#1f8a4c;--far:#4a6f9c;--out:#c0504d}
@media(prefers-color-scheme:dark){svg{--ground:#14191f;--ink:#e6ebf0;--faint:#93a1af;--line:#2b343e;--band:#17331f;\
--near:#4cc77f;--far:#7fa8d8;--out:#e0807d}}
text{font:12px system-ui,sans-serif;fill:var(--ink)}.faint{fill:var(--faint)}.title{font-size:16px;font-weight:600}
.chosen-name{font-weight:600;fill:var(--near)}.line{stroke:var(--line)}.middle{stroke:var(--faint);stroke-width:2}
.near{fill:var(--near);fill-opacity:.85}.far{fill:var(--far);fill-opacity:.7}
.out{fill:var(--ground);stroke:var(--out);stroke-width:1.3}
.ring{fill:none;stroke:var(--near);stroke-width:2.5}.leader{stroke:var(--near);stroke-width:1.2}
</style>
";

/// The picture. `why` is the choice in one sentence, if there is one.
pub fn svg(document: &Document, why: Option<&str>) -> String {
    let measured: Vec<f64> = document.nodes.iter().filter_map(Row::p50).collect();
    let top = document.band_ms().map(|(_, top)| top);
    let axis = Axis::over(&measured, top, LEFT, WIDTH - RIGHT);
    let mut strips = strips(document, &axis);
    let mut y = TOP;
    for strip in &mut strips {
        y = strip.place(y);
    }
    let (bottom, height) = (y, y + BOTTOM);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n{STYLE}\
         <rect width=\"100%\" height=\"100%\" style=\"fill:var(--ground)\"/>\n"
    );
    text(&mut svg, 16.0, 28.0, "title", "Round trips to browser nodes by region");
    text(&mut svg, 16.0, 48.0, "faint", &subtitle(document, why));
    draw_band(&mut svg, document, &axis, bottom);
    axis.draw(&mut svg, TOP, bottom);
    for strip in &strips {
        strip.draw(&mut svg, LEFT, WIDTH - RIGHT);
    }
    draw_choice(&mut svg, &strips);
    draw_legend(&mut svg, bottom + 62.0);
    svg + "</svg>\n"
}

fn subtitle(document: &Document, why: Option<&str>) -> String {
    let total = count(document.nodes.len() as u64, "node");
    let why = why.unwrap_or("no node is eligible");
    cut(&format!("{total} in {:.2} s. {why}", document.elapsed_ms / 1e3), 130)
}

/// The nearest regions first, by their nearest node; regions without an answer last.
fn strips(document: &Document, axis: &Axis) -> Vec<Strip> {
    let mut regions: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
    for row in &document.nodes {
        regions.entry(&row.region).or_default().push(row);
    }
    let nearest = |rows: &[&Row]| rows.iter().filter_map(|row| row.p50()).fold(f64::INFINITY, f64::min);
    let mut regions: Vec<(&str, Vec<&Row>)> = regions.into_iter().collect();
    regions.sort_by(|(_, one), (_, other)| nearest(one).total_cmp(&nearest(other)));
    let others = regions.split_off(regions.len().min(MOST_REGIONS));
    let name = |name: &str| if name.is_empty() { "no region".into() } else { cut(name, MOST_LETTERS) };
    let chosen = document.chosen.as_deref();
    let mut strips: Vec<Strip> =
        regions.iter().map(|(region, rows)| Strip::new(name(region), rows, chosen, axis)).collect();
    if !others.is_empty() {
        let rows: Vec<&Row> = others.iter().flat_map(|(_, rows)| rows.iter().copied()).collect();
        strips.push(Strip::new(format!("{} other regions", others.len()), &rows, chosen, axis));
    }
    strips
}

fn draw_band(svg: &mut String, document: &Document, axis: &Axis, bottom: f64) {
    let Some((best, top)) = document.band_ms() else { return };
    let (from, to) = (axis.at(best), axis.at(top));
    let _ = writeln!(
        svg,
        "<rect x=\"{from:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{:.1}\" style=\"fill:var(--band)\"/>",
        (to - from).max(1.0),
        bottom - TOP
    );
}

/// A ring around the chosen dot, and its name above the strips.
fn draw_choice(svg: &mut String, strips: &[Strip]) {
    let Some(dot) = strips.iter().find_map(Strip::chosen) else { return };
    let Dot { x, y, .. } = dot;
    let name = format!("{}, {}", cut(&dot.id, MOST_LETTERS * 2), milliseconds(dot.p50));
    let anchor = if *x > WIDTH / 2.0 { "end" } else { "start" };
    let _ = writeln!(
        svg,
        "<path class=\"leader\" d=\"M{x:.1} {}V{:.1}\"/><circle class=\"ring\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"8\"/>\
         <text class=\"chosen-name\" x=\"{x:.1}\" y=\"{}\" text-anchor=\"{anchor}\">chosen: {}</text>",
        TOP - 14.0,
        y - 8.0,
        TOP - 18.0,
        escaped(&name)
    );
}

fn draw_legend(svg: &mut String, y: f64) {
    let mut x = LEFT;
    for (class, words, width) in [
        ("near", "as near as the best (shaded)", 200.0),
        ("far", "eligible", 90.0),
        ("out", "rejected", 90.0),
    ] {
        let _ = writeln!(svg, "<circle class=\"{class}\" cx=\"{x}\" cy=\"{}\" r=\"4.5\"/>", y - 4.0);
        text(svg, x + 10.0, y, "faint", words);
        x += width;
    }
    let _ = writeln!(svg, "<path class=\"middle\" d=\"M{x} {}v12\"/>", y - 10.0);
    text(svg, x + 10.0, y, "faint", "median of the region");
}

fn text(svg: &mut String, x: f64, y: f64, class: &str, words: &str) {
    let _ = writeln!(svg, "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>", escaped(words));
}

/// With as many digits as tell something: a loopback takes 0.02 ms, and the far side of the world 290.
fn milliseconds(value: f64) -> String {
    match value {
        ..1.0 => format!("{value:.2} ms"),
        1.0..20.0 => format!("{value:.1} ms"),
        _ => format!("{value:.0} ms"),
    }
}

/// So many letters of a stranger's text.
fn cut(words: &str, letters: usize) -> String {
    if words.chars().count() <= letters {
        return words.to_owned();
    }
    words.chars().take(letters - 1).chain(['…']).collect()
}

/// For XML: markup is text, and what XML cannot hold is replaced.
fn escaped(words: &str) -> String {
    let mut escaped = String::with_capacity(words.len());
    for letter in printable(words, usize::MAX).chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::tests::row;

    fn document(nodes: Vec<Row>) -> Document {
        Document { chosen: nodes.first().map(|row| row.id.clone()), nodes, icmp: true, elapsed_ms: 480.0 }
    }

    #[test]
    fn strangers_text_is_no_markup() {
        let evil = "<script>alert(1)</script>&\"'\u{1b}[2J\u{ffff}";
        let mut nodes = vec![row("n0", 8.0), row("n1", 90.0)];
        nodes[0].region = evil.into();
        nodes[0].id = evil.into();
        let svg = svg(&document(nodes), Some(evil));
        assert!(!svg.contains("<script") && !svg.contains('\u{1b}') && !svg.contains('\u{ffff}'), "{svg}");
        assert!(svg.contains("&lt;script&gt;"));
    }

    #[test]
    fn every_node_is_drawn_as_what_it_is() {
        let mut nodes: Vec<Row> = (0..300).map(|n| row(&format!("n{n}"), 8.0 + f64::from(n))).collect();
        for (n, row) in nodes.iter_mut().enumerate() {
            row.in_band = n <= 10;
            row.region = format!("r{}", n % 7);
            if n % 10 == 9 {
                (row.verdict, row.in_band) = ("rejected".into(), false);
            }
        }
        nodes.push(Row { rtt_ms: None, in_band: false, verdict: "rejected".into(), ..row("gone", 0.0) });
        let svg = svg(&document(nodes), None);
        let drawn = |class: &str| svg.matches(&format!("<circle class=\"{class}\"")).count();
        // The legend shows one of each.
        assert_eq!((drawn("near"), drawn("far"), drawn("out"), drawn("ring")), (10 + 1, 260 + 1, 30 + 1, 1));
        assert!(svg.contains("1 without an answer"), "{svg}");
    }

    #[test]
    fn more_regions_than_fit_share_the_last_strip() {
        let mut nodes: Vec<Row> = (0..100).map(|n| row(&format!("n{n}"), 8.0 + f64::from(n))).collect();
        for (n, row) in nodes.iter_mut().enumerate() {
            row.region = format!("region-{n}");
        }
        let svg = svg(&document(nodes), None);
        assert!(svg.contains("76 other regions"), "{svg}");
        assert!(svg.contains(">region-23<") && !svg.contains(">region-24<"));
    }

    #[test]
    fn figures_have_the_digits_that_tell_something() {
        assert_eq!(
            [0.02, 0.994, 1.0, 8.14, 19.9].map(milliseconds),
            ["0.02 ms", "0.99 ms", "1.0 ms", "8.1 ms", "19.9 ms"]
        );
        assert_eq!([20.0, 290.4].map(milliseconds), ["20 ms", "290 ms"]);
    }

    #[test]
    fn nothing_measured_is_a_picture_too() {
        let silent = Row { rtt_ms: None, in_band: false, ..row("gone", 0.0) };
        for nodes in [vec![], vec![silent], vec![row("zero", 0.0)], vec![row("one", 5.0)]] {
            let svg = svg(&Document { chosen: None, ..document(nodes) }, None);
            assert!(svg.ends_with("</svg>\n") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }
}
