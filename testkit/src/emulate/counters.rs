//! What passed the emulator, what it dropped, and how late it was itself.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    packet::{Kind, Seen},
    world::World,
};

/// Width of a bucket of lateness. Wider hides what the emulator adds to a round trip.
const BUCKET: Duration = Duration::from_micros(20);
/// Everything from 20 ms is in the last bucket.
const BUCKETS: usize = 1000;

/// Counts, written by the emulator and read by anybody.
#[derive(Debug)]
pub struct Counters {
    nodes: Vec<OfNode>,
    packets: AtomicU64,
    overflowed: AtomicU64,
    late: Vec<AtomicU64>,
    latest: AtomicU64,
}

#[derive(Debug, Default)]
struct OfNode {
    echoes: AtomicU32,
    connects: AtomicU32,
    dropped: AtomicU32,
}

/// The counts of one moment, or the difference of two.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// By number.
    pub nodes: Vec<NodeCounts>,
    /// All packets of the near side towards nodes, those of the kernel's TCP included.
    pub packets: u64,
    /// Packets that found the emulator full or an interface closed: there must be none.
    pub overflowed: u64,
}

/// Of one node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NodeCounts {
    /// ICMP packets towards it.
    pub echoes: u32,
    /// First packets of connections towards it, repetitions by the kernel included.
    pub connects: u32,
    /// Packets towards it that did not arrive, by chance or for its fault.
    pub dropped: u32,
}

/// How late the emulator let packets go, after the time that it had set itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lateness {
    /// Half of all packets were less late.
    pub p50: Duration,
    /// 99 of a hundred were less late.
    pub p99: Duration,
    /// The latest of all.
    pub max: Duration,
}

impl Counters {
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            nodes: (0..nodes).map(|_| OfNode::default()).collect(),
            packets: AtomicU64::new(0),
            overflowed: AtomicU64::new(0),
            late: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
            latest: AtomicU64::new(0),
        }
    }

    pub(super) fn sent(&self, seen: Seen) {
        self.packets.fetch_add(1, Relaxed);
        let Some(node) = self.nodes.get(seen.node) else { return };
        match seen.kind {
            Kind::Icmp => node.echoes.fetch_add(1, Relaxed),
            Kind::Connect => node.connects.fetch_add(1, Relaxed),
            Kind::Segment { .. } => return,
        };
    }

    pub(super) fn dropped(&self, node: usize) {
        if let Some(node) = self.nodes.get(node) {
            node.dropped.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn overflowed(&self) {
        self.overflowed.fetch_add(1, Relaxed);
    }

    pub(super) fn late(&self, by: Duration) {
        let bucket = usize::try_from(by.as_micros() / BUCKET.as_micros()).unwrap_or(BUCKETS);
        self.late[bucket.min(BUCKETS - 1)].fetch_add(1, Relaxed);
        self.latest.fetch_max(u64::try_from(by.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    /// As they stand.
    pub fn read(&self) -> Counts {
        let of = |node: &OfNode| NodeCounts {
            echoes: node.echoes.load(Relaxed),
            connects: node.connects.load(Relaxed),
            dropped: node.dropped.load(Relaxed),
        };
        Counts {
            nodes: self.nodes.iter().map(of).collect(),
            packets: self.packets.load(Relaxed),
            overflowed: self.overflowed.load(Relaxed),
        }
    }

    /// Over everything that was let go.
    pub fn lateness(&self) -> Lateness {
        let counts: Vec<u64> = self.late.iter().map(|bucket| bucket.load(Relaxed)).collect();
        let share = |share: f64| quantile(&counts, share);
        Lateness { p50: share(0.5), p99: share(0.99), max: Duration::from_micros(self.latest.load(Relaxed)) }
    }
}

/// Upper end of the bucket below which this share lies.
fn quantile(counts: &[u64], share: f64) -> Duration {
    let wanted = counts.iter().sum::<u64>() as f64 * share;
    let mut below = 0;
    let within = counts.iter().take_while(|count| {
        let is_below = (below as f64) < wanted;
        below += **count;
        is_below
    });
    BUCKET * u32::try_from(within.count()).unwrap_or(u32::MAX)
}

impl Counts {
    /// What came to pass since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let none = NodeCounts::default();
        let of = |(index, now): (usize, &NodeCounts)| {
            let before = before.nodes.get(index).unwrap_or(&none);
            NodeCounts {
                echoes: now.echoes - before.echoes,
                connects: now.connects - before.connects,
                dropped: now.dropped - before.dropped,
            }
        };
        Self {
            nodes: self.nodes.iter().enumerate().map(of).collect(),
            packets: self.packets - before.packets,
            overflowed: self.overflowed - before.overflowed,
        }
    }

    /// Echo requests and connections: what a prober sent by its own will.
    pub fn probes(&self) -> u64 {
        self.nodes.iter().map(|node| u64::from(node.echoes) + u64::from(node.connects)).sum()
    }

    /// Of each node, for programs.
    pub fn node_documents(&self) -> Vec<Value> {
        let of = |(number, node): (usize, &NodeCounts)| {
            json!({ "id": World::id(number), "echoes": node.echoes, "connects": node.connects,
                "dropped": node.dropped })
        };
        self.nodes.iter().enumerate().map(of).collect()
    }

    /// Of all nodes together, for programs.
    pub fn document(&self) -> Value {
        let sum = |of: fn(&NodeCounts) -> u32| self.nodes.iter().map(|node| u64::from(of(node))).sum::<u64>();
        json!({ "packets": self.packets, "probes": self.probes(), "echoes": sum(|node| node.echoes),
            "connects": sum(|node| node.connects), "dropped": sum(|node| node.dropped),
            "overflowed": self.overflowed })
    }
}

impl Lateness {
    /// For programs.
    pub fn document(&self) -> Value {
        let us = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        json!({ "p50_us": us(self.p50), "p99_us": us(self.p99), "max_us": us(self.max) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_of_the_node_and_of_the_time_between() {
        let counters = Counters::new(2);
        counters.sent(Seen { node: 0, kind: Kind::Icmp });
        let before = counters.read();
        counters.sent(Seen { node: 1, kind: Kind::Connect });
        counters.sent(Seen { node: 1, kind: Kind::Segment { port: 1 } });
        counters.dropped(1);
        let counts = counters.read().since(&before);
        assert_eq!((counts.packets, counts.probes()), (2, 1));
        assert_eq!(counts.nodes[0], NodeCounts::default());
        assert_eq!(counts.nodes[1], NodeCounts { echoes: 0, connects: 1, dropped: 1 });
    }

    #[test]
    fn lateness_is_told_by_its_buckets() {
        let counters = Counters::new(0);
        assert_eq!(counters.lateness(), Lateness::default());
        for late in 0..100 {
            counters.late(Duration::from_micros(late * 20 + 10));
        }
        counters.late(Duration::from_secs(1));
        let Lateness { p50, p99, max } = counters.lateness();
        assert_eq!((p50, p99), (Duration::from_micros(1020), Duration::from_millis(2)));
        assert_eq!(max, Duration::from_secs(1));
    }
}
