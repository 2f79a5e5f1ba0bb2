//! How probes are spent: pacing, rounds, and when to stop. Every number that tunes the prober stands here.

use std::time::Duration;

/// Probes sent at once. An unpaced burst of 1,000 lost 17-73 % to the sender's own queues, which looks like packet loss.
pub const BATCH: usize = 25;
/// Pause between batches. tokio's timer ticks in milliseconds, so less would not be kept.
pub const TICK: Duration = Duration::from_millis(1);
/// Up to this many nodes are asked by ICMP and TCP at once. Above, TCP goes to leaders and to the silent only, because
/// a connection costs a node more than an echo; with 0, small fleets wait a round trip longer for nothing.
pub const SIDE_BY_SIDE: usize = 64;
/// Width of the band that counts as equally near: narrower sends everybody to one node, wider is felt.
pub const BAND: Duration = Duration::from_millis(10);
/// The same, as a share of the best round trip: far from everything, 10 ms are less than the jitter.
pub const BAND_SHARE: u32 = 10;
/// Nodes that get a second look. Fewer miss the best when its first sample was unlucky.
pub const LEADERS: usize = 32;
/// Samples a leader gets in the second look.
pub const LEADER_SAMPLES: u32 = 4;
/// Nodes that are measured well.
pub const FINALISTS: usize = 6;
/// Samples a finalist gets on top: a median of fifteen is within 2 ms at 10 ms jitter.
pub const FINALIST_SAMPLES: u32 = 10;
/// How far behind the best a leader may be; more makes every decision wait for slow nodes.
pub const LEADER_MARGIN: Duration = Duration::from_millis(30);
/// Pause between two samples of one node, so that they do not queue behind each other.
pub const SPACING: Duration = Duration::from_millis(2);
/// The same for a survey, which has time: samples 25 ms apart see different moments of a path.
pub const SURVEY_SPACING: Duration = Duration::from_millis(25);
/// A node silent on ICMP this long is asked by TCP. Shorter spends connections on nodes that are merely far.
pub const ICMP_PATIENCE: Duration = Duration::from_millis(150);
/// A silent node is asked once more after this: TCP's own retransmission comes after a second.
pub const ASK_AGAIN: Duration = Duration::from_millis(300);
/// A probe unanswered this long is lost. The farthest real round trips (satellite) are about 600 ms.
pub const LOST_AFTER: Duration = Duration::from_secs(1);
/// The whole search, unless the user says otherwise.
pub const DEADLINE: Duration = Duration::from_secs(3);

/// Upper end of the band in which the strategy chooses, above the best round trip.
pub fn band_top(best: Duration) -> Duration {
    best + BAND.max(best / BAND_SHARE)
}

/// The longest round trip with which a node still gets a second look.
pub fn leader_top(best: Duration) -> Duration {
    best + LEADER_MARGIN.max(best * 3 / BAND_SHARE)
}

/// Whether an unanswered probe of this age rules its node out of the band: had the node been near enough, it would have answered.
/// While nothing has answered at all, nothing is ruled out.
pub fn is_ruled_out(age: Duration, best: Option<Duration>) -> bool {
    best.is_some_and(|best| age > band_top(best))
}

/// Indices of the nearest nodes by their `rtt`, best first: at most `count`, none above `top`.
pub fn nearest(rtts: &[Option<Duration>], count: usize, top: Duration) -> Vec<usize> {
    let mut near: Vec<(Duration, usize)> = rtts
        .iter()
        .enumerate()
        .filter_map(|(index, rtt)| rtt.filter(|rtt| *rtt <= top).map(|rtt| (rtt, index)))
        .collect();
    near.sort_unstable();
    near.truncate(count);
    near.into_iter().map(|(_, index)| index).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(value: u64) -> Duration {
        Duration::from_millis(value)
    }

    #[test]
    fn the_band_is_ten_milliseconds_or_a_tenth() {
        assert_eq!(band_top(ms(8)), ms(18));
        assert_eq!(band_top(ms(99)), ms(109));
        assert_eq!(band_top(ms(100)), ms(110));
        assert_eq!(band_top(ms(101)), Duration::from_micros(111_100));
        assert_eq!(band_top(ms(200)), ms(220));
    }

    #[test]
    fn silence_rules_out_just_above_the_band_only() {
        assert!(!is_ruled_out(ms(18), Some(ms(8))));
        assert!(is_ruled_out(ms(18) + Duration::from_nanos(1), Some(ms(8))));
        assert!(!is_ruled_out(ms(10_000), None));
    }

    #[test]
    fn leaders_are_the_nearest_within_their_margin() {
        assert_eq!(leader_top(ms(8)), ms(38));
        assert_eq!(leader_top(ms(200)), ms(260));
        let rtts = [Some(ms(39)), None, Some(ms(8)), Some(ms(38)), Some(ms(12))];
        assert_eq!(nearest(&rtts, 8, leader_top(ms(8))), [2, 4, 3]);
        assert_eq!(nearest(&rtts, 2, leader_top(ms(8))), [2, 4]);
    }
}
