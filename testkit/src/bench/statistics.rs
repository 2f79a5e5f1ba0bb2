//! Samples, what is said of them, and the ratio of two sides. Pure.

/// Samples of one measure, all in one unit.
#[derive(Debug, Clone, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// Adds one.
    pub fn push(&mut self, sample: f64) {
        self.0.push(sample);
    }

    /// Adds a duration in milliseconds.
    pub fn push_time(&mut self, time: std::time::Duration) {
        self.push(time.as_secs_f64() * 1e3);
    }

    /// What is said of them; `None` without any.
    pub fn summary(&self) -> Option<Summary> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        Some(Summary {
            count: sorted.len(),
            mean: sorted.iter().sum::<f64>() / sorted.len() as f64,
            median: quantile(&sorted, 0.5),
            p95: quantile(&sorted, 0.95),
            p99: quantile(&sorted, 0.99),
            min,
            max,
        })
    }
}

/// What is said of some samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// How many there are.
    pub count: usize,
    /// Their mean.
    pub mean: f64,
    /// Half of them lie below.
    pub median: f64,
    /// 95 of a hundred lie below.
    pub p95: f64,
    /// 99 of a hundred lie below.
    pub p99: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

/// Between the two samples nearest to the rank (Hyndman and Fan 1996, definition 7).
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let rank = share * (sorted.len() - 1) as f64;
    let below = sorted.iter().enumerate().rev().find(|(index, _)| *index as f64 <= rank);
    let (index, value) = below.map_or((0, sorted[0]), |(index, value)| (index, *value));
    let above = sorted.get(index + 1).copied().unwrap_or(value);
    value + (above - value) * (rank - index as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(values: &[f64]) -> Option<Summary> {
        Samples(values.to_vec()).summary()
    }

    #[test]
    fn quantiles_lie_between_neighbours() {
        let four = summary(&[4.0, 1.0, 3.0, 2.0]).unwrap();
        assert!((four.median - 2.5).abs() < 1e-9 && (four.p95 - 3.85).abs() < 1e-9, "{four:?}");
        assert_eq!((four.count, four.mean, four.min, four.max), (4, 2.5, 1.0, 4.0));
        let one = summary(&[7.0]).unwrap();
        assert_eq!((one.median, one.p95), (7.0, 7.0));
        assert_eq!(summary(&[]), None);
    }
}
