//! Minimum, median, jitter and loss of a node's samples; no clock, no sockets.

use std::time::Duration;

/// What came back of the probes of one method to one node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Samples {
    /// Round trips, in order of arrival.
    pub replies: Vec<Duration>,
    /// Probes that were waited for in vain.
    pub lost: u32,
    /// Probes still out when the race had no more time for them, each with the time that it had been waited for: their
    /// round trips are longer than that. Dropping them would flatter a node that has become slow.
    pub cut: Vec<Duration>,
}

/// The figures by which nodes are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measurement {
    /// Shortest round trip.
    pub min: Duration,
    /// Median round trip.
    pub p50: Duration,
    /// Median absolute deviation from the median, unscaled.
    pub jitter: Duration,
    /// Probes answered.
    pub answered: u32,
    /// Probes lost.
    pub lost: u32,
}

impl Samples {
    /// The figures, once at least one probe was answered.
    pub fn measure(&self) -> Option<Measurement> {
        let min = self.min()?;
        let p50 = median(self.replies.iter().chain(&self.cut).copied().collect())?;
        let deviations = self.replies.iter().map(|reply| reply.abs_diff(p50)).collect();
        Some(Measurement {
            min,
            p50,
            jitter: median(deviations)?,
            answered: u32::try_from(self.replies.len()).unwrap_or(u32::MAX),
            lost: self.lost,
        })
    }

    /// Shortest round trip so far.
    pub fn min(&self) -> Option<Duration> {
        self.replies.iter().min().copied()
    }
}

impl Measurement {
    /// Lost share of all probes whose fate is known, 0 to 1.
    pub fn loss(&self) -> f64 {
        f64::from(self.lost) / f64::from((self.lost + self.answered).max(1))
    }
}

/// The middle value, or the mean of the two middle ones.
fn median(mut values: Vec<Duration>) -> Option<Duration> {
    values.sort_unstable();
    let upper = *values.get(values.len() / 2)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    Some((values[values.len() / 2 - 1] + upper) / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(replies: &[u64], lost: u32) -> Samples {
        Samples {
            replies: replies.iter().map(|ms| Duration::from_millis(*ms)).collect(),
            lost,
            ..Samples::default()
        }
    }

    #[test]
    fn nothing_answered_means_nothing_measured() {
        assert_eq!(samples(&[], 3).measure(), None);
    }

    #[test]
    fn the_figures_of_a_known_series() {
        // Sorted 8 10 11 12 90: median 11, deviations 3 1 0 1 79, their median 1.
        let measured = samples(&[12, 10, 90, 8, 11], 0).measure().expect("five answers");
        assert_eq!(measured.min, Duration::from_millis(8));
        assert_eq!(measured.p50, Duration::from_millis(11));
        assert_eq!(measured.jitter, Duration::from_millis(1));
    }

    #[test]
    fn an_even_series_has_its_median_between() {
        let measured = samples(&[10, 20], 0).measure().expect("two answers");
        assert_eq!(measured.p50, Duration::from_millis(15));
        assert_eq!(measured.jitter, Duration::from_millis(5));
    }

    #[test]
    fn loss_counts_only_what_was_waited_for() {
        let measured = samples(&[10; 9], 1).measure().expect("nine answers");
        assert!((measured.loss() - 0.1).abs() < 1e-9);
    }

    #[test]
    fn what_was_cut_short_counts_for_the_median_and_not_as_an_answer() {
        let series = Samples { cut: vec![Duration::from_millis(30); 2], ..samples(&[10, 11, 12], 0) };
        let measured = series.measure().expect("three answers");
        assert_eq!((measured.p50, measured.answered), (Duration::from_millis(12), 3));
        assert_eq!(measured.min, Duration::from_millis(10));
        assert_eq!(Samples { replies: Vec::new(), ..series }.measure(), None);
    }
}
