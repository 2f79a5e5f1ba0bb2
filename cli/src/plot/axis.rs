//! The common axis of round trips: linear, or logarithmic where the farthest is many times the nearest.

use std::fmt::Write as _;

use super::text;

/// With a farthest so many times the nearest, a linear axis would press the near ones together.
const LOGARITHMIC_FROM: f64 = 6.0;
/// Least that is told apart, in milliseconds: a loopback takes some 0.02.
const LEAST: f64 = 0.01;

/// Maps milliseconds to the picture.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    is_logarithmic: bool,
    left: f64,
    right: f64,
}

impl Axis {
    /// For these values, with room for the band; from `left` to `right`.
    pub(super) fn over(values: &[f64], band_top: Option<f64>, left: f64, right: f64) -> Self {
        let values = values.iter().copied().chain(band_top).filter(|value| value.is_finite());
        let (low, high) = values.fold((f64::INFINITY, 0.0), |(low, high): (f64, f64), value| {
            (low.min(value.max(LEAST)), high.max(value))
        });
        let (low, high) = if low.is_finite() { (low, high.max(low)) } else { (1.0, 100.0) };
        let is_logarithmic = high / low > LOGARITHMIC_FROM;
        let (low, high) = if is_logarithmic { (low / 1.25, high * 1.1) } else { (0.0, high * 1.1) };
        Self { low, high, is_logarithmic, left, right }
    }

    /// Where a value stands.
    pub(super) fn at(&self, value: f64) -> f64 {
        let share = if self.is_logarithmic {
            (value.max(LEAST) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.left + share.clamp(0.0, 1.0) * (self.right - self.left)
    }

    /// Lines and figures.
    pub(super) fn draw(&self, svg: &mut String, top: f64, bottom: f64) {
        for tick in self.ticks() {
            let x = self.at(tick);
            let _ = writeln!(svg, "<path class=\"line\" d=\"M{x:.1} {top}V{bottom:.1}\"/>");
            let _ = writeln!(
                svg,
                "<text class=\"faint\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{tick}</text>",
                bottom + 18.0
            );
        }
        let words =
            if self.is_logarithmic { "median round trip, ms (logarithmic)" } else { "median round trip, ms" };
        text(svg, self.left, bottom + 38.0, "faint", words);
    }

    fn ticks(&self) -> Vec<f64> {
        if self.is_logarithmic {
            let decades = (-2..=5).map(|power| 10_f64.powi(power));
            let ticks = decades.flat_map(|decade| [1.0, 2.0, 5.0].map(|step| rounded(step * decade)));
            return ticks.filter(|tick| (self.low..=self.high).contains(tick)).collect();
        }
        let step = step(self.high / 6.0);
        (0..=12_u32).map(|n| rounded(f64::from(n) * step)).filter(|tick| *tick <= self.high).collect()
    }
}

/// The next of 1, 2, 5, 10, 20, …
fn step(least: f64) -> f64 {
    let decade = 10_f64.powf(least.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().find(|step| step * decade >= least).unwrap_or(10.0);
    step * decade
}

/// Without the digits that binary fractions add.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_values_stand_on_a_line_and_far_ones_on_decades() {
        let near = Axis::over(&[10.0, 50.0], None, 0.0, 550.0);
        assert!(!near.is_logarithmic);
        assert!((near.at(50.0) - 500.0).abs() < 1e-6 && near.at(0.0).abs() < 1e-6);
        assert_eq!(near.ticks(), [0.0, 10.0, 20.0, 30.0, 40.0, 50.0]);
        let far = Axis::over(&[8.0, 300.0], Some(18.0), 0.0, 100.0);
        assert!(far.is_logarithmic);
        assert_eq!(far.ticks(), [10.0, 20.0, 50.0, 100.0, 200.0]);
        assert!(far.at(8.0) < far.at(18.0) && far.at(18.0) < far.at(300.0));
    }

    #[test]
    fn no_value_leaves_the_picture() {
        let axis = Axis::over(&[0.0, f64::NAN, 5.0], None, 10.0, 90.0);
        for value in [0.0, 1e-9, 5.0, 1e9] {
            assert!((10.0..=90.0).contains(&axis.at(value)), "{value}");
        }
    }
}
