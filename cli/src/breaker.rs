//! Circuit breakers: a node that failed this user is left alone for a while, then tried once, and taken back when that works.
//!
//! ```text
//! closed --[FAILURES in a row]--> open --[its time]--> half-open: one trial at a time
//!   ^                              ^                       | fails: open again, twice as long
//!   +------------ works ----------- ------------------------+
//! ```
//! Pure: time and chance come in. Time is the wall clock's, since the state outlives the process; a clock that jumps costs a
//! trial, and never keeps a node out for longer than was decided. Source: Nygard, "Release It!" (2007), circuit breaker; the
//! doubling with jitter as in section 7 of the design.

mod store;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::store::{Breakers, Event, Key, chance};

/// Failures in a row after which a node is left alone. Fewer: one packet lost on a bad link costs a good node; more: each
/// connect in the meantime pays for finding out again.
pub const FAILURES: u32 = 3;
/// A failure that lies longer ago says nothing about now. Longer: three bad moments of a week keep a node out.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);
/// How long a node is left alone the first time. Longer: a node that restarts is missed; shorter: nobody is spared.
const FIRST_OPEN: Duration = Duration::from_secs(10);
/// How long at most, however often it failed. Longer: a node that was repaired is not found again that day.
const LONGEST_OPEN: Duration = Duration::from_secs(600);
/// A node that asks to be left alone is believed up to here; a stranger's word must not keep itself out for a week.
const LONGEST_ASKED: Duration = Duration::from_secs(300);
/// Share by which each of these times is longer at most, drawn anew: clients that failed together come back apart.
const JITTER: f64 = 0.2;
/// A trial that has not ended by then has ended with its process.
const TRIAL_LASTS: Duration = Duration::from_secs(30);

/// What is remembered of one node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Breaker {
    /// Failures in a row.
    failures: u32,
    /// How often in a row it has opened for them.
    opened: u32,
    /// Milliseconds since the Unix epoch of the last thing that was noted.
    at_ms: u64,
    /// Milliseconds that it stays open from then; 0: it is closed.
    open_ms: u64,
    /// Milliseconds since the Unix epoch at which a trial began.
    trial_ms: Option<u64>,
}

/// Where a breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The node is used as any other.
    Closed,
    /// It is left alone for this long.
    Open(Duration),
    /// It may be tried.
    HalfOpen,
    /// Somebody tries it; if nothing more is heard, it may be tried again after this.
    Trying(Duration),
}

/// Why a node is kept out, for verdicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptOut {
    /// Failures in a row; 0: it asked for it itself.
    pub failures: u32,
    /// When it is tried again.
    pub wait: Duration,
}

impl Breaker {
    /// Where it stands at `now` (since the Unix epoch).
    pub fn state(&self, now: Duration) -> State {
        if self.open_ms == 0 {
            return State::Closed;
        }
        let left = left(self.at_ms, Duration::from_millis(self.open_ms), now);
        if !left.is_zero() {
            return State::Open(left);
        }
        match self.trial_ms.map(|began| self::left(began, TRIAL_LASTS, now)) {
            Some(left) if !left.is_zero() => State::Trying(left),
            _ => State::HalfOpen,
        }
    }

    /// Why it is not to be used at `now`; `None`: it is.
    pub fn kept_out(&self, now: Duration) -> Option<KeptOut> {
        match self.state(now) {
            State::Open(wait) | State::Trying(wait) => Some(KeptOut { failures: self.failures, wait }),
            State::Closed | State::HalfOpen => None,
        }
    }

    /// Takes the one trial of a half-open breaker. False: another has it.
    pub fn begin(&mut self, now: Duration) -> bool {
        match self.state(now) {
            State::Trying(_) => false,
            State::HalfOpen => {
                self.trial_ms = Some(millis(now));
                true
            }
            State::Closed | State::Open(_) => true,
        }
    }

    /// The node failed. `chance` is from 0 to 1.
    pub fn failed(&mut self, now: Duration, chance: f64) {
        let state = self.state(now);
        if state == State::Closed && left(self.at_ms, FORGOTTEN_AFTER, now).is_zero() {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        let is_trial = matches!(state, State::HalfOpen | State::Trying(_)) && self.failures > FAILURES;
        if is_trial || (self.failures >= FAILURES && !matches!(state, State::Open(_))) {
            let doubled = FIRST_OPEN.saturating_mul(1 << self.opened.min(16)).min(LONGEST_OPEN);
            self.opened = self.opened.saturating_add(1);
            self.open(now, doubled, chance);
        } else if state == State::Closed {
            self.at_ms = millis(now);
        }
    }

    /// The node asked to be left alone; that is no failure.
    pub fn asked(&mut self, now: Duration, wait: Duration, chance: f64) {
        self.open(now, wait.min(LONGEST_ASKED), chance);
    }

    /// The node served.
    pub fn worked(&mut self) {
        *self = Self::default();
    }

    /// Whether nothing of it is worth keeping.
    pub fn is_forgotten(&self, now: Duration) -> bool {
        let kept = FORGOTTEN_AFTER + LONGEST_OPEN + Duration::from_millis(self.open_ms);
        left(self.at_ms, kept, now).is_zero()
    }

    fn open(&mut self, now: Duration, wait: Duration, chance: f64) {
        let wait = wait.mul_f64(1.0 + JITTER * chance.clamp(0.0, 1.0));
        (self.at_ms, self.open_ms, self.trial_ms) = (millis(now), millis(wait).max(1), None);
    }
}

/// What is left at `now` of a time that began then. Nothing, if it began in the future: the clock was set back, and nobody
/// knows by how much.
fn left(began_ms: u64, lasts: Duration, now: Duration) -> Duration {
    let elapsed = now.checked_sub(Duration::from_millis(began_ms));
    elapsed.map_or(Duration::ZERO, |elapsed| lasts.saturating_sub(elapsed))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_700_000_000);
    const NEAR: Duration = Duration::from_millis(1);

    fn failing(times: u32) -> Breaker {
        let mut breaker = Breaker::default();
        (0..times).for_each(|_| breaker.failed(NOW, 0.0));
        breaker
    }

    #[test]
    fn it_opens_at_the_last_of_the_failures() {
        for (times, state) in [
            (FAILURES - 1, State::Closed),
            (FAILURES, State::Open(FIRST_OPEN)),
            // Nobody asked it to be tried: what fails meanwhile makes it no longer.
            (FAILURES + 1, State::Open(FIRST_OPEN)),
        ] {
            assert_eq!(failing(times).state(NOW), state, "{times}");
        }
        let mut breaker = failing(FAILURES - 1);
        breaker.worked();
        breaker.failed(NOW, 0.0);
        assert_eq!(breaker.state(NOW), State::Closed, "in a row");
    }

    #[test]
    fn failures_are_forgotten() {
        for (later, state) in [
            (FORGOTTEN_AFTER.saturating_sub(NEAR), State::Open(FIRST_OPEN)),
            (FORGOTTEN_AFTER, State::Closed),
            (FORGOTTEN_AFTER + NEAR, State::Closed),
        ] {
            let mut breaker = failing(FAILURES - 1);
            breaker.failed(NOW + later, 0.0);
            assert_eq!(breaker.state(NOW + later), state, "{later:?}");
        }
    }

    #[test]
    fn its_time_ends_in_one_trial_at_a_time() {
        let mut breaker = failing(FAILURES);
        assert_eq!(breaker.state(NOW + FIRST_OPEN.saturating_sub(NEAR)), State::Open(NEAR));
        let now = NOW + FIRST_OPEN;
        assert_eq!((breaker.state(now), breaker.kept_out(now)), (State::HalfOpen, None));
        assert!(breaker.begin(now), "the first has it");
        assert!(!breaker.begin(now), "and nobody else");
        assert_eq!(breaker.kept_out(now), Some(KeptOut { failures: FAILURES, wait: TRIAL_LASTS }));
        // Its process was killed.
        assert!(!breaker.clone().begin(now + TRIAL_LASTS.saturating_sub(NEAR)));
        assert!(breaker.clone().begin(now + TRIAL_LASTS));
        breaker.failed(now + NEAR, 0.0);
        assert_eq!(breaker.state(now + NEAR), State::Open(FIRST_OPEN * 2), "twice as long");
        let now = now + NEAR + FIRST_OPEN * 2;
        assert!(breaker.begin(now));
        breaker.worked();
        assert_eq!((breaker.state(now), breaker.failures), (State::Closed, 0));
    }

    #[test]
    fn its_time_doubles_up_to_a_limit_and_is_drawn() {
        let (mut breaker, mut now, mut times) = (failing(FAILURES), NOW, Vec::new());
        for _ in 0..20 {
            let State::Open(wait) = breaker.state(now) else { panic!("{breaker:?}") };
            times.push(wait.as_secs());
            now += wait;
            assert!(breaker.begin(now));
            breaker.failed(now, 0.0);
        }
        assert_eq!(times[..7], [10, 20, 40, 80, 160, 320, 600]);
        assert!(times[7..].iter().all(|seconds| *seconds == LONGEST_OPEN.as_secs()), "{times:?}");
        let drawn = |chance| {
            let mut breaker = failing(FAILURES - 1);
            breaker.failed(NOW, chance);
            breaker.state(NOW)
        };
        assert_eq!(drawn(1.0), State::Open(FIRST_OPEN.mul_f64(1.0 + JITTER)));
        assert_eq!(drawn(7.0), drawn(1.0));
    }

    #[test]
    fn who_asks_to_be_left_alone_is_and_has_not_failed() {
        for (asked, wait) in [
            (LONGEST_ASKED.saturating_sub(NEAR), LONGEST_ASKED.saturating_sub(NEAR)),
            (LONGEST_ASKED, LONGEST_ASKED),
            (LONGEST_ASKED + NEAR, LONGEST_ASKED),
            (Duration::MAX, LONGEST_ASKED),
            (Duration::ZERO, NEAR),
        ] {
            let mut breaker = Breaker::default();
            breaker.asked(NOW, asked, 0.0);
            assert_eq!(breaker.kept_out(NOW), Some(KeptOut { failures: 0, wait }), "{asked:?}");
            assert_eq!(breaker.state(NOW + wait), State::HalfOpen);
        }
        let mut breaker = Breaker::default();
        breaker.asked(NOW, FIRST_OPEN, 0.0);
        breaker.failed(NOW + FIRST_OPEN, 0.0);
        assert_eq!(breaker.state(NOW + FIRST_OPEN), State::HalfOpen, "one failure is not enough");
    }

    #[test]
    fn a_clock_that_jumps_keeps_nobody_out() {
        let breaker = failing(FAILURES);
        assert_eq!(breaker.state(NOW.saturating_sub(Duration::from_secs(3600))), State::HalfOpen);
        assert_eq!(breaker.state(Duration::ZERO), State::HalfOpen);
        assert_eq!(breaker.state(NOW + Duration::from_secs(86_400 * 365)), State::HalfOpen);
        let far: Breaker = serde_json::from_str(
            r#"{"failures":9,"opened":4000000000,"at_ms":18446744073709551615,"open_ms":18446744073709551615}"#,
        )
        .expect("what somebody wrote there");
        assert_eq!(far.state(NOW), State::HalfOpen);
        let mut far = Breaker { at_ms: 0, ..far };
        assert!(far.kept_out(NOW).is_some());
        far.failed(NOW, 0.5);
        assert!(breaker.is_forgotten(NOW + Duration::from_secs(3600)) && !breaker.is_forgotten(NOW));
    }
}
