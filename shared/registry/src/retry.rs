//! How long to wait after a failure: twice as long each time, up to a limit, and never all clients at once.

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    ops::RangeInclusive,
    time::Duration,
};

/// First pause. Shorter: a registry that restarts is hammered; longer: a hiccup is felt.
const FIRST: Duration = Duration::from_millis(500);
/// Longest pause. Longer: a registry that came back goes unnoticed; shorter: one that is down for hours is asked
/// thousands of times by every client.
const LONGEST: Duration = Duration::from_secs(30);

/// Consecutive failures so far.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// Counts a failure and answers how long to wait.
    pub(crate) fn failed(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        spread(pause_after(self.failures))
    }
}

/// Somewhere between half of `pause` and all of it, so that clients that began together do not stay together.
pub(crate) fn spread(pause: Duration) -> Duration {
    jittered(pause, random())
}

fn pause_after(failures: u32) -> Duration {
    let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
    FIRST.saturating_mul(doubled).min(LONGEST)
}

/// Between half of `pause` and all of it: `random` from 0 to 1.
fn jittered(pause: Duration, random: f64) -> Duration {
    pause.mul_f64(0.5 + random / 2.0)
}

/// Any number of the range, each as likely as the other.
pub(crate) fn random_in(range: RangeInclusive<u64>) -> u64 {
    let (first, last) = range.into_inner();
    let numbers = u128::from(last.saturating_sub(first)) + 1;
    // Of 2^64 equal steps, those that fall to a number differ by at most one.
    let offset = (u128::from(random_bits()) * numbers) >> 64;
    first + u64::try_from(offset).unwrap_or(0)
}

/// The standard library's own source of random hash keys: good enough to spread clients, nothing more.
fn random_bits() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// From 0 to 1.
fn random() -> f64 {
    random_bits() as f64 / u64::MAX as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_limit() {
        assert_eq!(pause_after(1), FIRST);
        assert_eq!(pause_after(2), FIRST * 2);
        assert_eq!(pause_after(6), FIRST * 32);
        assert_eq!(pause_after(7), LONGEST);
        assert_eq!(pause_after(u32::MAX), LONGEST);
        assert_eq!((jittered(LONGEST, 0.0), jittered(LONGEST, 1.0)), (LONGEST / 2, LONGEST));
    }

    #[test]
    fn a_success_starts_over() {
        let mut backoff = Backoff::default();
        for _ in 0..10 {
            backoff.failed();
        }
        backoff.succeeded();
        assert!(backoff.failed() <= FIRST);
    }
}
