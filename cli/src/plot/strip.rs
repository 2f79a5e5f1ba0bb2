//! One region: its dots, stacked where they would cover each other, its name and its median.

use std::fmt::Write as _;

use super::{axis::Axis, escaped, milliseconds, text};
use crate::outcome::Row;

/// Of a dot.
const RADIUS: f64 = 4.0;
/// Between the middles of two lanes of dots.
const LANE: f64 = 7.0;
/// Lanes on either side of the middle one; of more dots at one place, some cover each other.
const LANES: i32 = 4;
/// Least height of a strip, and the space around its dots.
const LEAST_HEIGHT: f64 = 30.0;
const MARGIN: f64 = 9.0;

/// A node in the picture.
#[derive(Debug, Clone)]
pub(super) struct Dot {
    pub(super) id: String,
    pub(super) p50: f64,
    pub(super) x: f64,
    pub(super) y: f64,
    lane: i32,
    class: &'static str,
    is_chosen: bool,
}

/// The dots of one region.
#[derive(Debug, Clone)]
pub(super) struct Strip {
    name: String,
    dots: Vec<Dot>,
    /// Of all dots: milliseconds, and where that is.
    median: Option<(f64, f64)>,
    nodes: usize,
    top: f64,
    height: f64,
}

impl Strip {
    pub(super) fn new(name: String, rows: &[&Row], chosen: Option<&str>, axis: &Axis) -> Self {
        let dot = |row: &&Row| {
            let p50 = row.p50()?;
            let class = match (row.is_eligible(), row.in_band) {
                (true, true) => "near",
                (true, false) => "far",
                (false, _) => "out",
            };
            let is_chosen = chosen == Some(&row.id);
            Some(Dot { id: row.id.clone(), p50, x: axis.at(p50), y: 0.0, lane: 0, class, is_chosen })
        };
        let mut dots: Vec<Dot> = rows.iter().filter_map(dot).collect();
        dots.sort_by(|one, other| one.p50.total_cmp(&other.p50));
        stack(&mut dots);
        let median = dots.get(dots.len() / 2).map(|dot| (dot.p50, dot.x));
        Self { name, dots, median, nodes: rows.len(), top: 0.0, height: 0.0 }
    }

    /// Puts it below `top`; where the next one begins.
    pub(super) fn place(&mut self, top: f64) -> f64 {
        let lanes = self.dots.iter().map(|dot| dot.lane.abs()).max().unwrap_or(0);
        self.top = top;
        self.height = (f64::from(lanes) * 2.0 * LANE + 2.0 * (RADIUS + MARGIN)).max(LEAST_HEIGHT);
        let middle = self.middle();
        for dot in &mut self.dots {
            dot.y = middle + f64::from(dot.lane) * LANE;
        }
        top + self.height
    }

    fn middle(&self) -> f64 {
        self.top + self.height / 2.0
    }

    /// The chosen node, if it is here.
    pub(super) fn chosen(&self) -> Option<&Dot> {
        self.dots.iter().find(|dot| dot.is_chosen)
    }

    pub(super) fn draw(&self, svg: &mut String, left: f64, right: f64) {
        let (middle, bottom) = (self.middle(), self.top + self.height);
        let _ = writeln!(svg, "<path class=\"line\" d=\"M16 {bottom:.1}H{:.1}\"/>", right + 134.0);
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            left - 12.0,
            middle + 4.0,
            escaped(&self.name)
        );
        if let Some((_, x)) = self.median.filter(|_| self.dots.len() > 2) {
            let (from, to) = (self.top + 4.0, bottom - 4.0);
            let _ = writeln!(svg, "<path class=\"middle\" d=\"M{x:.1} {from:.1}V{to:.1}\"/>");
        }
        for dot in &self.dots {
            let _ = writeln!(
                svg,
                "<circle class=\"{}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"{RADIUS}\"/>",
                dot.class, dot.x, dot.y
            );
        }
        self.draw_count(svg, right + 12.0);
    }

    fn draw_count(&self, svg: &mut String, x: f64) {
        let silent = self.nodes - self.dots.len();
        let median =
            self.median.map(|(median, _)| format!(", median {}", milliseconds(median))).unwrap_or_default();
        let y = if silent > 0 { self.middle() - 3.0 } else { self.middle() + 4.0 };
        text(svg, x, y, "faint", &format!("{}{median}", self.dots.len()));
        if silent > 0 {
            text(svg, x, y + 14.0, "faint", &format!("{silent} without an answer"));
        }
    }
}

/// Gives each dot, from left to right, the lane nearest to the middle where it covers no other.
fn stack(dots: &mut [Dot]) {
    let lanes: Vec<i32> =
        (0..=LANES).flat_map(|lane| if lane == 0 { vec![0] } else { vec![-lane, lane] }).collect();
    let mut ends: Vec<f64> = vec![f64::NEG_INFINITY; lanes.len()];
    for dot in dots {
        let free = ends.iter().position(|end| *end <= dot.x - RADIUS);
        // Where all are taken, the one that ends first is covered least.
        let least = || (0..ends.len()).min_by(|one, other| ends[*one].total_cmp(&ends[*other])).unwrap_or(0);
        let lane = free.unwrap_or_else(least);
        (dot.lane, ends[lane]) = (lanes[lane], dot.x + RADIUS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::tests::row;

    #[test]
    fn dots_at_one_place_are_stacked_around_the_middle() {
        let axis = Axis::over(&[10.0, 100.0], None, 0.0, 800.0);
        let rows = [row("a", 10.0), row("b", 10.0), row("c", 10.0), row("d", 100.0)];
        let rows: Vec<&Row> = rows.iter().collect();
        let mut strip = Strip::new("eu".into(), &rows, Some("b"), &axis);
        assert_eq!(strip.dots.iter().map(|dot| dot.lane).collect::<Vec<_>>(), [0, -1, 1, 0]);
        let bottom = strip.place(100.0);
        assert!(strip.dots.iter().all(|dot| dot.y - RADIUS > 100.0 && dot.y + RADIUS < bottom));
        assert_eq!(strip.chosen().map(|dot| dot.id.as_str()), Some("b"));
    }

    #[test]
    fn a_crowd_stays_within_its_strip() {
        let axis = Axis::over(&[10.0], None, 0.0, 800.0);
        let rows: Vec<Row> = (0..500).map(|n| row(&format!("n{n}"), 10.0)).collect();
        let rows: Vec<&Row> = rows.iter().collect();
        let mut strip = Strip::new("eu".into(), &rows, None, &axis);
        assert!(strip.place(0.0) < 100.0);
        assert!(strip.dots.iter().all(|dot| dot.lane.abs() <= LANES));
    }
}
