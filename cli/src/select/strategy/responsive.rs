//! `responsive`, the default: the predicted time from a key press to its picture, and a draw among those that are equally near.
//!
//! Sources: section 7 of the design for the sum (queueing gives service / (1 - load)); Mitzenmacher 2001 for the better of
//! two drawn. Where reports are stale, comparing them would send everybody to whoever was idle then, so one is drawn by its
//! free capacity instead (docs/simulation.md has the figures).

use std::time::Duration;

use cbrowse_protocol::api::Status;

use super::Field;
use crate::{
    probe::{Measurement, Method, Prior},
    select::draw::{Dice, by_two_choices},
};

/// Input to frame on an idle node, measured p50. Larger lets load weigh more than distance.
pub const SERVICE: Duration = Duration::from_millis(11);
/// Loads above count as this: 1 / (1 - load) has a pole at 1.
pub const LOAD_CEILING: f64 = 0.95;
/// The load of a node that nobody asked. 0 would prefer the unasked to all others.
pub const ASSUMED_LOAD: f64 = 0.5;
/// A load report of this age counts half, the rest is [`ASSUMED_LOAD`].
pub const LOAD_HALF_LIFE: Duration = Duration::from_secs(10);
/// The loss rate of an ordinary path, of which every node is suspected before it is measured.
pub const PRIOR_LOSS: f64 = 0.005;
/// How many probes that suspicion is worth: with 20, one lost in eleven reads as 3.5 %, not as 9 %.
pub const PRIOR_PROBES: f64 = 20.0;
/// Least wait before TCP sends again (Linux `TCP_RTO_MIN`), on top of a round trip.
pub const RETRANSMISSION: Duration = Duration::from_millis(200);

/// What the predicted time is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    /// Median round trip.
    pub rtt: Duration,
    /// Jitter.
    pub jitter: Duration,
    /// What is spent on average on sending lost packets again.
    pub resends: Duration,
    /// Input to frame on the node, longer the busier it is.
    pub service: Duration,
}

impl Parts {
    /// Their sum.
    pub fn total(&self) -> Duration {
        self.rtt + self.jitter + self.resends + self.service
    }
}

/// What was measured, with the probes that earlier probings on this network lost and got answered. Those of another method
/// say nothing of this one: echo requests are dropped where connections are not.
pub fn with_history(rtt: &Measurement, by: &str, prior: Option<&Prior>) -> Measurement {
    let is_icmp = by.contains("icmp");
    let alike = |prior: &&Prior| (prior.method == Method::Icmp) == is_icmp;
    let Some(earlier) = prior.filter(alike).map(|prior| prior.measured) else { return *rtt };
    Measurement {
        answered: rtt.answered.saturating_add(earlier.answered),
        lost: rtt.lost.saturating_add(earlier.lost),
        ..*rtt
    }
}

/// The predicted time from a key press to its picture.
pub fn response(rtt: &Measurement, status: Option<&Status>) -> Duration {
    parts(rtt, status).total()
}

/// The same in its parts.
pub fn parts(rtt: &Measurement, status: Option<&Status>) -> Parts {
    let again = (RETRANSMISSION + rtt.p50).as_secs_f64() * shrunk_loss(rtt);
    let service = SERVICE.as_secs_f64() / (1.0 - effective_load(status));
    let (resends, service) = (Duration::from_secs_f64(again), Duration::from_secs_f64(service));
    Parts { rtt: rtt.p50, jitter: rtt.jitter, resends, service }
}

/// Loss rate, drawn towards [`PRIOR_LOSS`] as long as there are few samples.
fn shrunk_loss(rtt: &Measurement) -> f64 {
    let sent = f64::from(rtt.answered) + f64::from(rtt.lost);
    (f64::from(rtt.lost) + PRIOR_LOSS * PRIOR_PROBES) / (sent + PRIOR_PROBES)
}

fn effective_load(status: Option<&Status>) -> f64 {
    aged(status, |status| status.load)
}

/// A share that the node reports, drawn towards [`ASSUMED_LOAD`] as the report ages. A node's word is bounded, whatever it says.
pub(super) fn aged(status: Option<&Status>, figure: impl Fn(&Status) -> f64) -> f64 {
    let Some(status) = status else { return ASSUMED_LOAD };
    let said = figure(status);
    let said = if said.is_finite() { said.clamp(0.0, LOAD_CEILING) } else { LOAD_CEILING };
    let age = Duration::from_millis(status.age_ms).as_secs_f64() / LOAD_HALF_LIFE.as_secs_f64();
    let trust = (-age).exp2();
    said * trust + ASSUMED_LOAD * (1.0 - trust)
}

pub(super) fn order(field: &Field<'_>, dice: &mut dyn Dice) -> Vec<usize> {
    by_two_choices(field.nodes, field.band, field.scores, dice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::select::tests::status;

    fn measured(lost: u32) -> Measurement {
        let ms = Duration::from_millis;
        Measurement { min: ms(9), p50: ms(10), jitter: ms(1), answered: 11 - lost, lost }
    }

    fn load(load: f64, age_ms: u64) -> f64 {
        effective_load(Some(&Status { load, age_ms, ..status() }))
    }

    fn near(value: f64, expected: f64) -> bool {
        (value - expected).abs() < 1e-9
    }

    #[test]
    fn one_lost_probe_in_eleven_is_not_nine_percent() {
        assert!(near(shrunk_loss(&measured(1)), 1.1 / 31.0));
        assert!(near(shrunk_loss(&measured(0)), 0.1 / 31.0));
    }

    #[test]
    fn one_lost_probe_is_less_on_a_path_that_lost_none_of_a_hundred_and_more_on_a_bad_one() {
        let earlier = |answered, lost, method| Prior {
            measured: Measurement { answered, lost, ..measured(0) },
            method,
            served: true,
            age: Duration::from_secs(60),
        };
        let loss =
            |prior: Option<Prior>| shrunk_loss(&with_history(&measured(1), "icmp+tcp", prior.as_ref()));
        assert!(near(loss(None), 1.1 / 31.0));
        assert!(near(loss(Some(earlier(100, 0, Method::Icmp))), 1.1 / 131.0));
        assert!(near(loss(Some(earlier(90, 10, Method::Icmp))), 11.1 / 131.0));
        assert!(near(loss(Some(earlier(100, 0, Method::Tcp))), 1.1 / 31.0), "by another method");
        let full = with_history(&measured(1), "tcp", Some(&earlier(u32::MAX, u32::MAX, Method::Tcp)));
        assert_eq!((full.answered, full.lost, full.p50), (u32::MAX, u32::MAX, measured(1).p50));
    }

    #[test]
    fn load_has_a_ceiling_just_below_its_pole() {
        assert!(near(load(0.94, 0), 0.94));
        assert!(near(load(0.95, 0), 0.95));
        assert!(near(load(0.96, 0), 0.95));
        assert!(near(load(f64::NAN, 0), 0.95));
        assert!(near(load(-3.0, 0), 0.0));
    }

    #[test]
    fn old_load_fades_into_the_assumed_one() {
        assert!(near(load(0.1, 10_000), 0.3));
        assert!(near(load(0.1, 20_000), 0.4));
        assert!(near(effective_load(None), ASSUMED_LOAD));
    }

    #[test]
    fn the_response_is_the_sum_of_its_parts() {
        let idle = Status { load: 0.0, age_ms: 0, ..status() };
        let expected = 10.0 + 1.0 + 210.0 * (0.1 / 31.0) + 11.0;
        let response = response(&measured(0), Some(&idle)).as_secs_f64() * 1e3;
        assert!((response - expected).abs() < 1e-3, "{response} {expected}");
    }
}
