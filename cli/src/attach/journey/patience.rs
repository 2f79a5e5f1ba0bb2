//! How long an answer is waited for before somebody else is asked beside, and how long a full fleet is asked again.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::probe::Probed;

/// Round trips that an answer may take before the next candidate is asked beside. Fewer: one late packet costs a second node
/// a session that is thrown away; more: a node that died costs more than the way to the next one.
const ROUND_TRIPS: u32 = 2;
/// A node needs some time of its own to start a session; less, and a busy one is given up while it answers.
const LEAST: Duration = Duration::from_millis(250);
/// For a node that was never measured, and the most for one that was.
const MOST: Duration = Duration::from_secs(2);

/// First pause of those who ask a full fleet again. Shorter: a crowd that waits keeps its nodes busy with refusals.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause of our own; longer ones only where a node asks for them.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// How long a candidate may be silent.
pub(super) fn silence(node: &Probed) -> Duration {
    node.rtt.map_or(MOST, |rtt| (rtt.p50 * ROUND_TRIPS).clamp(LEAST, MOST))
}

/// The pause before a full fleet is asked again for the `tries`th time: doubled each time, drawn from its upper half (`chance`,
/// 0 to 1), and not before the first of the nodes said. `None`: that would be later than `left`.
pub(super) fn pause(tries: u32, asked: Duration, chance: f64, left: Duration) -> Option<Duration> {
    let doubled = FIRST_PAUSE.saturating_mul(1 << tries.min(16)).min(LONGEST_PAUSE);
    let drawn = doubled.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0);
    Some(drawn.max(asked)).filter(|pause| *pause <= left)
}

/// Whether a candidate is expected to say something, and since when.
#[derive(Debug)]
pub(super) struct Pulse(watch::Sender<Stage>);

#[derive(Debug, Clone, Copy)]
enum Stage {
    /// It was asked something that takes a round trip.
    Asked(Instant),
    /// This side is at work: a person decides, or a profile travels.
    Ours,
}

impl Pulse {
    /// Asked now.
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(Stage::Asked(Instant::now())))
    }

    /// The next answer is due from now.
    pub(super) fn asked(&self) {
        self.0.send_replace(Stage::Asked(Instant::now()));
    }

    /// No answer is due.
    pub(super) fn ours(&self) {
        self.0.send_replace(Stage::Ours);
    }

    /// Returns once an answer has been due for `silence`.
    pub(super) async fn silent(&self, silence: Duration) {
        let mut stages = self.0.subscribe();
        loop {
            let stage = *stages.borrow_and_update();
            tokio::select! {
                () = until(stage, silence) => return,
                // The sender lives as long as this borrow of it.
                _ = stages.changed() => {}
            }
        }
    }
}

/// A candidate that was asked, and how long it may be silent.
#[derive(Debug)]
pub(super) struct Awaited {
    pub(super) pulse: Arc<Pulse>,
    pub(super) patience: Duration,
}

impl Awaited {
    /// Returns once an answer has been due for too long; at once, if that is so.
    pub(super) async fn silent(&self) {
        self.pulse.silent(self.patience).await;
    }

    /// Whether an answer has been due for too long.
    pub(super) fn is_overdue(&self) -> bool {
        matches!(*self.pulse.0.borrow(), Stage::Asked(since) if since.elapsed() >= self.patience)
    }
}

async fn until(stage: Stage, silence: Duration) {
    match stage {
        Stage::Asked(since) => sleep_until(since + silence).await,
        Stage::Ours => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::select::tests::node;

    const NEAR: Duration = Duration::from_millis(1);

    #[test]
    fn a_candidate_may_be_silent_for_two_round_trips_within_limits() {
        let ms = Duration::from_millis;
        for (p50, expected) in [
            (1, LEAST),
            (124, LEAST),
            (125, LEAST),
            (126, ms(252)),
            (999, ms(1998)),
            (1000, MOST),
            (1001, MOST),
        ] {
            assert_eq!(silence(&node("n", "eu", p50)), expected, "{p50} ms");
        }
        let mut unmeasured = node("n", "eu", 1);
        unmeasured.rtt = None;
        assert_eq!(silence(&unmeasured), MOST);
    }

    #[test]
    fn pauses_double_are_drawn_and_never_end_too_late() {
        let all = Duration::MAX;
        let upper: Vec<_> = (0..7).filter_map(|tries| pause(tries, Duration::ZERO, 1.0, all)).collect();
        assert_eq!(upper, [500, 1000, 2000, 4000, 8000, 8000, 8000].map(Duration::from_millis));
        assert_eq!(pause(u32::MAX, Duration::ZERO, 1.0, all), Some(LONGEST_PAUSE));
        assert_eq!(pause(0, Duration::ZERO, 0.0, all), Some(FIRST_PAUSE / 2));
        let asked = Duration::from_secs(3);
        assert_eq!(pause(0, asked, 1.0, all), Some(asked), "not before a node said so");
        assert_eq!(pause(0, asked, 1.0, asked), Some(asked));
        assert_eq!(
            pause(0, asked, 1.0, asked.saturating_sub(NEAR)),
            None,
            "the time is better spent on saying so"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn silence_counts_from_the_last_question() {
        let (pulse, started) = (Pulse::new(), Instant::now());
        let life = async {
            tokio::time::sleep(LEAST.saturating_sub(NEAR)).await;
            pulse.asked();
            tokio::time::sleep(LEAST.saturating_sub(NEAR)).await;
            pulse.ours();
            tokio::time::sleep(LEAST * 100).await;
            pulse.asked();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = pulse.silent(LEAST) => {}
            () = life => {}
        }
        assert_eq!(started.elapsed(), LEAST.saturating_sub(NEAR) * 2 + LEAST * 100 + LEAST);
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_just_asked_or_is_not_to_answer_is_not_overdue() {
        let awaited = Awaited { pulse: Arc::new(Pulse::new()), patience: LEAST };
        tokio::time::advance(LEAST.saturating_sub(NEAR)).await;
        assert!(!awaited.is_overdue(), "another was faster, and that is no fault");
        tokio::time::advance(NEAR).await;
        assert!(awaited.is_overdue());
        awaited.silent().await;
        awaited.pulse.ours();
        tokio::time::advance(LEAST * 100).await;
        assert!(!awaited.is_overdue(), "the profile travels");
        awaited.pulse.asked();
        assert!(!awaited.is_overdue());
        tokio::time::advance(LEAST + NEAR).await;
        assert!(awaited.is_overdue());
    }
}
