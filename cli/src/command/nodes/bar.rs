//! Bars for lengths of time, drawn in eighths of a character where the terminal knows them.

/// Left eighths of a block, from one to seven.
const EIGHTHS: [char; 7] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉'];
/// A bar as long as this many times the middle one is cut: one far node must not press all others into the first column.
const LONGEST: f64 = 6.0;
/// Milliseconds of a full bar, at least: nodes on this machine are all equally near.
const LEAST: f64 = 1.0;

/// The scale that the bars of one picture share: linear, so that twice as long means twice as far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bars {
    top: f64,
    width: usize,
    unicode: bool,
}

impl Bars {
    /// Bars of at most `width` characters for these values.
    pub fn of(values: impl Iterator<Item = f64>, width: usize, unicode: bool) -> Self {
        let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let middle = values.get(values.len() / 2).copied().unwrap_or_default();
        let top = values.last().copied().unwrap_or_default().min(middle * LONGEST).max(LEAST);
        Self { top, width, unicode }
    }

    /// The same with a scale that is known.
    pub fn up_to(top: f64, width: usize, unicode: bool) -> Self {
        Self { top, width, unicode }
    }

    /// The bar of one value: never empty, and marked where it was cut.
    pub fn draw(&self, value: f64) -> String {
        if value > self.top {
            let mark = if self.unicode { '▶' } else { '>' };
            return self.solid(self.width * 8 - 8) + &mark.to_string();
        }
        self.solid(self.eighths(value, self.top).max(1))
    }

    /// A bar that begins where another one ended.
    pub fn segment(&self, from: f64, length: f64) -> String {
        let start = self.eighths(from, self.top) / 8;
        let start = start.min(self.width.saturating_sub(1));
        let room = (self.width - start) * 8;
        format!("{}{}", " ".repeat(start), self.solid(self.eighths(length, self.top).clamp(1, room)))
    }

    fn eighths(&self, value: f64, top: f64) -> usize {
        let share = (value / top.max(f64::MIN_POSITIVE)).clamp(0.0, 1.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a terminal's width"
        )]
        let eighths = (share * self.width as f64 * 8.0).round() as usize;
        eighths
    }

    fn solid(&self, eighths: usize) -> String {
        if !self.unicode {
            return "#".repeat(eighths.div_ceil(8));
        }
        let mut bar = "█".repeat(eighths / 8);
        bar.extend((eighths % 8).checked_sub(1).map(|part| EIGHTHS[part]));
        bar
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_in_proportion_down_to_an_eighth() {
        let bars = Bars::of([8.0, 16.0, 40.0].into_iter(), 5, true);
        assert_eq!([8.0, 16.0, 40.0].map(|value| bars.draw(value)), ["█", "██", "█████"]);
        assert_eq!([9.0, 12.0, 0.001].map(|value| bars.draw(value)), ["█▏", "█▌", "▏"]);
        let plain = Bars { unicode: false, ..bars };
        assert_eq!([8.0, 9.0, 0.0].map(|value| plain.draw(value)), ["#", "##", "#"]);
    }

    #[test]
    fn one_far_value_does_not_press_the_others_together() {
        let bars = Bars::of([10.0, 10.0, 10.0, 600.0].into_iter(), 6, true);
        assert_eq!((bars.draw(10.0), bars.draw(600.0)), ("█".into(), "█████▶".into()));
        assert_eq!(Bars { unicode: false, ..bars }.draw(600.0), "#####>");
    }

    #[test]
    fn nothing_measured_is_no_panic() {
        let none = Bars::of(std::iter::empty(), 4, true);
        assert_eq!((none.draw(0.0), none.draw(f64::NAN)), ("▏".into(), "▏".into()));
    }

    #[test]
    fn segments_stand_where_they_began_and_within_the_width() {
        let bars = Bars::up_to(100.0, 10, true);
        assert_eq!(bars.segment(50.0, 20.0), "     ██");
        assert_eq!(bars.segment(99.0, 50.0), "         █");
        assert_eq!(bars.segment(100.0, 0.0), "         ▏");
    }
}
