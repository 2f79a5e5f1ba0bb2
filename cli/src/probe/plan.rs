//! How probes are spent: pacing, rounds, budget, and when to stop. Every number that tunes the prober stands here.
//!
//! Tuned by `bench probing`, which prints what each promise of the design comes to.

use std::time::Duration;

/// Probes sent at once. An unpaced burst of 1,000 lost 17-73 % to the sender's own queues, which looks like packet loss;
/// with fewer, screening 5,000 nodes takes more than 2.5 times as long as 1,000.
pub const BATCH: usize = 30;
/// Time between batches. tokio's timer ticks in milliseconds, so less would not be kept.
pub const TICK: Duration = Duration::from_millis(1);
/// Batches that go at once when their time has passed already. With 1, a timer that ticks in milliseconds and rounds up
/// halves the pace, and a busy machine does worse; more, and whoever wakes late sends the burst that pacing is to avoid.
pub const CATCH_UP: u32 = 4;
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
/// Nodes that are measured well. Of a thousand nodes within 300 ms, about seven are within 2 ms of the best.
pub const FINALISTS: usize = 12;
/// Samples a finalist gets on top; fewer, and the luckiest median is not the best node's.
pub const FINALIST_SAMPLES: u32 = 20;
/// How far behind the best a leader may be; more makes every decision wait for slow nodes.
pub const LEADER_MARGIN: Duration = Duration::from_millis(30);
/// Pause between two samples of one node, so that they do not queue behind each other.
pub const SPACING: Duration = Duration::from_micros(1500);
/// The same for a survey, which has time: samples 25 ms apart see different moments of a path.
pub const SURVEY_SPACING: Duration = Duration::from_millis(25);
/// A node silent on ICMP this long is asked by TCP. Shorter spends connections on nodes that are merely far.
pub const ICMP_PATIENCE: Duration = Duration::from_millis(150);
/// A node silent on TCP this long is asked by a second socket: the kernel's own retransmission comes after a second.
pub const ASK_AGAIN: Duration = Duration::from_millis(300);
/// A finalist whose port has not answered this long is asked by a second socket. Longer, and a lost packet costs the
/// best node the race; shorter asks nodes twice that are merely slow to accept.
pub const CONFIRM_AGAIN: Duration = Duration::from_millis(20);
/// A probe unanswered this long is lost. The farthest real round trips (satellite) are about 600 ms.
pub const LOST_AFTER: Duration = Duration::from_secs(1);
/// The whole search, unless the user says otherwise.
pub const DEADLINE: Duration = Duration::from_secs(3);

/// How long a node is waited for that was picked without regard to distance. Longer, and a dead one holds up the next;
/// shorter, and the far side of the world counts as dead.
pub const PICKED_DEADLINE: Duration = Duration::from_millis(400);

/// Packets that a search may spend on a node, on average, in halves. Less leaves no room for a network that filters
/// ICMP; more is felt by nodes that thousands of clients ask.
pub const BUDGET_HALVES: usize = 3;
/// Packets that a search may spend in any case: below 100 nodes, so few are no burden to anybody.
pub const SMALL_BUDGET: usize = 150;
/// This share of the budget is never spent on the silent: without it, nobody could be measured well after them.
pub const RESERVE_SHARE: usize = 8;
/// While no echo has come back, only this share of the nodes is asked for one: where the network filters ICMP, the
/// others are then asked by TCP alone, within the budget.
pub const WARY_SHARE: usize = 4;
/// Without any echo after this, ICMP counts as filtered and connections screen, until an echo does come back. Shorter
/// spends connections where all nodes are merely far; longer is lost where ICMP is filtered.
pub const SILENCE: Duration = Duration::from_millis(40);

/// Nodes measured well straight away, when an earlier probing says which.
pub const RECALLED: usize = 12;
/// Samples of each of them.
pub const RECALL_SAMPLES: u32 = 14;
/// Nodes near enough by an earlier probing that are looked at, too, with one probe.
pub const RECALL_LOOKED_AT: usize = 64;
/// Nodes asked besides, those of the oldest figures first: what is remembered of all is renewed bit by bit.
pub const RENEWED: usize = 8;
/// A remembered node that is nearer than the best one by more than this was remembered wrongly, and joins the race.
pub const SURPRISE: Duration = Duration::from_millis(2);

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

/// How many batches go `late` after the first of them was due.
pub fn batches(late: Duration) -> u32 {
    let missed = late.as_nanos() / TICK.as_nanos();
    u32::try_from(missed).map_or(CATCH_UP, |missed| missed.saturating_add(1).min(CATCH_UP))
}

/// Packets for a search among `nodes` nodes.
pub fn budget(nodes: usize) -> usize {
    (nodes * BUDGET_HALVES / 2).max(SMALL_BUDGET)
}

/// How many nodes get how many further samples each, besides one connection: `wanted` at most, for `left` packets at most.
pub fn afford(left: usize, nodes: usize, wanted: u32) -> (usize, u32) {
    // A node that gets a connection and no sample is not worth the connection.
    let nodes = nodes.min(left / 2);
    let samples = left.checked_div(nodes).unwrap_or(1) - 1;
    (nodes, wanted.min(u32::try_from(samples).unwrap_or(u32::MAX)))
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
        assert_eq!(leader_top(ms(100)), ms(130));
        assert_eq!(leader_top(ms(101)), Duration::from_micros(131_300));
        assert_eq!(leader_top(ms(200)), ms(260));
        let rtts = [Some(ms(39)), None, Some(ms(8)), Some(ms(38)), Some(ms(12))];
        assert_eq!(nearest(&rtts, 8, leader_top(ms(8))), [2, 4, 3]);
        assert_eq!(nearest(&rtts, 2, leader_top(ms(8))), [2, 4]);
    }

    #[test]
    fn whoever_wakes_late_catches_up_to_a_limit() {
        let nano = Duration::from_nanos(1);
        assert_eq!([ms(0), TICK.saturating_sub(nano), TICK].map(batches), [1, 1, 2]);
        let last = TICK * (CATCH_UP - 1);
        assert_eq!(
            [last.saturating_sub(nano), last, last + TICK].map(batches),
            [CATCH_UP - 1, CATCH_UP, CATCH_UP]
        );
        assert_eq!(batches(Duration::MAX), CATCH_UP);
    }

    #[test]
    fn the_budget_is_one_and_a_half_packets_a_node_from_a_hundred_nodes_on() {
        assert_eq!([99, 100, 101, 102, 1000].map(budget), [150, 150, 151, 153, 1500]);
    }

    #[test]
    fn a_round_spends_what_is_left_at_most() {
        assert_eq!(afford(1000, 32, 4), (32, 4));
        assert_eq!(afford(160, 32, 4), (32, 4));
        assert_eq!(afford(159, 32, 4), (32, 3));
        assert_eq!(afford(64, 32, 4), (32, 1));
        assert_eq!(afford(63, 32, 4), (31, 1));
        assert_eq!(afford(1, 32, 4), (0, 0));
        assert_eq!(afford(0, 32, 4), (0, 0));
        assert_eq!(afford(9, 0, 4), (0, 0));
    }
}
