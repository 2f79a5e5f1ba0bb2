//! Staying where one is: a node is left only for one that is better by enough to be felt.
//!
//! Source: Tailscale's choice of a home relay (net/netcheck), whose published sequences judge this file: the candidate is
//! compared by its best latency of the last minutes, the present one by its latest.

use std::{collections::BTreeMap, time::Duration};

/// The least gain for which a node is left. Less moves sessions for differences that nobody feels.
pub const LEAST_GAIN: Duration = Duration::from_millis(10);
/// How long a latency counts as recent (Tailscale's). Longer keeps yesterday's road in force, shorter forgets between two
/// measurements.
pub const RECENT: Duration = Duration::from_secs(300);

/// Whether to stay: `best` has to be better by more than [`LEAST_GAIN`] and by a third to be worth leaving for. A gain of
/// exactly a third is enough, as in one of the published sequences.
pub fn stays(present: Duration, best: Duration) -> bool {
    let gain = present.saturating_sub(best);
    gain <= LEAST_GAIN || gain * 3 < present
}

/// Where one is at home among places `K`, measured again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home<K> {
    reports: Vec<(Duration, BTreeMap<K, Duration>)>,
    at: Option<K>,
}

impl<K> Default for Home<K> {
    fn default() -> Self {
        Self { reports: Vec::new(), at: None }
    }
}

impl<K: Ord + Clone> Home<K> {
    /// Takes the latencies measured at `now` (on a clock of the caller's) and tells where home is: `None` only where nothing
    /// answered. A home that did not answer is left at once.
    pub fn report(&mut self, now: Duration, latencies: &BTreeMap<K, Duration>) -> Option<&K> {
        self.reports.retain(|(at, _)| now.saturating_sub(*at) <= RECENT);
        self.reports.push((now, latencies.clone()));
        let recent = |place: &K| self.reports.iter().filter_map(|(_, seen)| seen.get(place)).min().copied();
        let best = latencies.keys().filter_map(|place| Some((recent(place)?, place))).min();
        let present = self.at.as_ref().and_then(|home| latencies.get(home));
        let keeps = present.zip(best).is_some_and(|(present, (best, _))| stays(*present, best));
        if !keeps {
            self.at = best.map(|(_, place)| place.clone());
        }
        self.at.as_ref()
    }

    /// Measurements that still count.
    pub fn remembered(&self) -> usize {
        self.reports.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(value: u64) -> Duration {
        Duration::from_millis(value)
    }

    /// Seconds passed since the step before, then the latency of each place in milliseconds.
    type Step = (u64, &'static [(u8, u64)]);

    fn home(steps: &[Step]) -> (Option<u8>, usize) {
        let (mut home, mut now, mut at) = (Home::default(), Duration::ZERO, None);
        for (after, latencies) in steps {
            now += Duration::from_secs(*after);
            let latencies = latencies.iter().map(|(place, took)| (*place, ms(*took))).collect();
            at = home.report(now, &latencies).copied();
        }
        (at, home.remembered())
    }

    /// The sequences of Tailscale's TestAddReportHistoryAndSetPreferredDERP that need no relay scores and no other sign
    /// of life; its latencies are whole seconds. Expected: home, and how many reports are kept.
    #[test]
    fn the_published_home_sequences() {
        const FIRST: Step = (0, &[(1, 2000), (2, 3000)]);
        const SECOND: Step = (1, &[(1, 4000), (2, 3000)]);
        const GONE: Step = (2, &[(2, 3000)]);
        const BACK: Step = (3, &[(1, 4000), (2, 3000)]);
        const SAME: &[(u8, u64)] = &[(1, 1000), (2, 2000)];
        assert_eq!(home(&[FIRST]), (Some(1), 1));
        assert_eq!(home(&[FIRST, SECOND]), (Some(1), 2));
        assert_eq!(home(&[FIRST, SECOND, GONE]), (Some(2), 3));
        assert_eq!(home(&[FIRST, SECOND, GONE, BACK]), (Some(1), 4));
        assert_eq!(home(&[(0, SAME), (1, SAME), (2, SAME), (3, SAME), (600, &[(3, 3000)])]), (Some(3), 1));
        let calm: Step = (0, &[(1, 4000), (2, 5000)]);
        assert_eq!(home(&[calm, (1, &[(1, 4000), (2, 3000)])]), (Some(1), 2), "not by a third");
        assert_eq!(home(&[(0, &[(1, 4), (2, 5)]), (1, &[(1, 4), (2, 1)])]), (Some(1), 2), "not by 10 ms");
        assert_eq!(home(&[calm, (1, &[(1, 4000), (2, 1000)])]), (Some(2), 2));
    }

    #[test]
    fn the_limits_hold_at_and_just_above() {
        let nanosecond = Duration::from_nanos(1);
        assert!(stays(ms(20), ms(10)));
        assert!(!stays(ms(20) + nanosecond, ms(10)));
        assert!(stays(ms(90), ms(60) + nanosecond));
        assert!(!stays(ms(90), ms(60)));
        assert!(!stays(ms(90) + nanosecond, ms(60)));
        assert!(stays(ms(10), ms(50)), "the present one is the better one");
    }

    #[test]
    fn where_nothing_answers_nobody_is_at_home() {
        assert_eq!(home(&[(0, &[(1, 5)]), (1, &[])]), (None, 2));
    }
}
