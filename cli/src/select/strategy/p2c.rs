//! `p2c`: two are drawn from all that are eligible, and the one with the lower cost goes first, again and again.
//!
//! Sources: Mitzenmacher 2001 for two choices; the cost is Finagle's peak EWMA, as Envoy and linkerd have it: the latency
//! estimate times one more than what is outstanding, where the estimate jumps to a worse latency at once and returns to a
//! better one over [`DECAY`]. What is outstanding at a browser node is its sessions; they count only where both of the two
//! were asked for theirs.

use std::{collections::BTreeMap, time::Duration};

use cbrowse_protocol::id::NodeId;
use serde::{Deserialize, Serialize};

use super::Field;
use crate::{
    probe::Probed,
    select::{
        Circumstances,
        draw::{MOST_DRAWN, two_of},
    },
};

/// Time constant with which a bad latency is forgotten (Finagle's default). Longer shuns a node for one bad moment,
/// shorter forgets between two commands.
pub const DECAY: Duration = Duration::from_secs(10);
/// Cost of a busy node of which no latency is known (Envoy's default): after everybody else.
pub const PENALTY: f64 = 1_000_000.0;
/// Nodes whose estimate is kept. More makes the file that holds them slow to read; fewer forgets favourites.
pub const MOST_KEPT: usize = 256;

/// What is remembered of the nodes that were used.
pub(in crate::select) type Peaks = BTreeMap<NodeId, Peak>;

/// A latency estimate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Peak {
    /// In milliseconds.
    pub estimate: f64,
    /// When it was last brought up to date, since the Unix epoch.
    pub at: Duration,
}

impl Peak {
    /// The estimate after a latency of `seen` milliseconds was seen at `now`. A clock that went back decays nothing.
    #[must_use]
    pub fn after(self, seen: f64, now: Duration, decay: Duration) -> Self {
        if seen > self.estimate {
            return Self { estimate: seen, at: now };
        }
        let elapsed = now.saturating_sub(self.at);
        let kept = (-elapsed.as_secs_f64() / decay.as_secs_f64()).exp();
        Self { estimate: self.estimate * kept + seen * (1.0 - kept), at: now }
    }
}

/// Cost of a node with `outstanding` sessions. `unknown` stands in for an idle node's latency.
pub fn cost(latency: Option<f64>, outstanding: u32, unknown: f64) -> f64 {
    match latency {
        Some(latency) => latency * (f64::from(outstanding) + 1.0),
        None if outstanding > 0 => PENALTY + f64::from(outstanding),
        None => unknown,
    }
}

pub(super) fn order(field: &Field<'_>, circumstances: &mut Circumstances<'_>) -> Vec<usize> {
    let mut left = field.eligible.to_vec();
    let mut order = Vec::with_capacity(MOST_DRAWN);
    while !left.is_empty() && order.len() < MOST_DRAWN {
        let (first, second) = two_of(left.len(), circumstances.dice);
        let (one, other) = (&field.nodes[left[first]], &field.nodes[left[second]]);
        let at = if is_cheaper(other, one, &circumstances.memory.peaks, circumstances.now) {
            second
        } else {
            first
        };
        order.push(left.swap_remove(at));
    }
    order
}

fn is_cheaper(one: &Probed, other: &Probed, peaks: &Peaks, now: Duration) -> bool {
    let sessions = |node: &Probed| node.live.status().map(|status| status.sessions);
    let (ours, theirs) = sessions(one).zip(sessions(other)).unwrap_or((0, 0));
    let cost = |node, sessions| cost(latency(node, peaks, now), sessions, f64::INFINITY);
    cost(one, ours) < cost(other, theirs)
}

/// What was just measured, unless it was worse not long ago.
fn latency(node: &Probed, peaks: &Peaks, now: Duration) -> Option<f64> {
    let seen = node.rtt?.p50.as_secs_f64() * 1e3;
    Some(peaks.get(&node.record.id).map_or(seen, |peak| peak.after(seen, now, DECAY).estimate))
}

/// Notes what the chosen node measured.
pub(super) fn observe(peaks: &mut Peaks, chosen: &Probed, now: Duration) {
    let Some(estimate) = latency(chosen, peaks, now) else { return };
    peaks.insert(chosen.record.id.clone(), Peak { estimate, at: now });
    while peaks.len() > MOST_KEPT {
        let oldest = peaks.iter().min_by_key(|(_, peak)| peak.at).map(|(id, _)| id.clone());
        let Some(oldest) = oldest else { break };
        peaks.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(value: f64, expected: f64) {
        assert!((value - expected).abs() < 1e-6 * expected.max(1.0), "{value} is not {expected}");
    }

    /// The figures of Envoy's tests of its cost function (default round trip 10 ms).
    #[test]
    fn the_cost_is_envoys() {
        near(cost(Some(20.0), 5, 10.0), 120.0);
        near(cost(Some(30.0), 0, 10.0), 30.0);
        near(cost(None, 3, 10.0), 1_000_003.0);
        near(cost(None, 0, 10.0), 10.0);
        near(cost(Some(50.0), 2, 10.0), 150.0);
    }

    /// The sequence of tower's tests, which are Finagle's: decay 1 s, estimate 20 ms, two requests of 200 ms each.
    #[test]
    fn the_estimate_peaks_at_once_and_decays_as_finagles() {
        let (second, at) = (Duration::from_secs(1), Duration::from_millis);
        let idle = |estimate, now| Peak { estimate, at: at(0) }.after(0.0, at(now), second).estimate;
        assert!((9.0..10.0).contains(&idle(10.0, 100)));
        assert!((8.0..9.0).contains(&idle(10.0, 200)));
        let peak = Peak { estimate: 20.0, at: at(0) }.after(0.0, at(100), second);
        assert!(cost(Some(peak.estimate), 1, 0.0) > 20.0);
        let peak = peak.after(0.0, at(200), second);
        assert!(cost(Some(peak.estimate), 2, 0.0) > 40.0);
        let peak = peak.after(200.0, at(300), second);
        near(cost(Some(peak.estimate), 1, 0.0), 400.0);
        let peak = peak.after(200.0, at(400), second);
        near(cost(Some(peak.estimate), 0, 0.0), 200.0);
        let peak = peak.after(0.0, at(1400), second);
        assert!(peak.estimate < 100.0);
        assert!(peak.after(0.0, at(11_400), second).estimate < 0.1);
    }

    #[test]
    fn a_clock_that_went_back_decays_nothing() {
        let peak = Peak { estimate: 20.0, at: Duration::from_secs(100) };
        near(peak.after(5.0, Duration::from_secs(1), DECAY).estimate, 20.0);
    }
}
