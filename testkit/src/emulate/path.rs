//! What becomes of each packet: lost, or held for how long. Pure; decided by the seed and by how many packets of its kind
//! went the same way before.
//!
//! Half of a node's base round trip is spent on each way. Jitter is added on the way back and packets are lost on the way
//! out, so that a round trip has one draw of each. Segments of one connection keep their order, as on a real road.

use std::{collections::HashMap, time::Duration};

use super::{
    fault::Fault,
    packet::{Kind, Seen, Way},
    world::{Node, World},
};
use crate::seeded::Seeded;

/// Connections whose order is kept before the finished ones are forgotten. Less: looked through more often.
const CONNECTIONS: usize = 16_384;

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Its node leaves it unanswered.
    Unanswered,
    /// It is lost by chance.
    Lost,
    /// It arrives at this time.
    Due(Duration),
}

/// The ways to all nodes.
#[derive(Debug)]
pub(super) struct Paths {
    paths: Vec<Path>,
    /// When the latest segment back to a near port arrives, by node.
    latest: HashMap<(usize, u16), Duration>,
}

#[derive(Debug)]
struct Path {
    node: Node,
    /// A sequence for each protocol, so that the fate of an echo does not depend on when connections are made.
    echoes: Seeded,
    connections: Seeded,
}

impl Paths {
    pub(super) fn new(world: &World) -> Self {
        let path = |(number, node): (usize, &Node)| {
            let stream = |which: u64| Seeded::new(world.seed, (number as u64 + 1) * 2 + which);
            Path { node: *node, echoes: stream(0), connections: stream(1) }
        };
        Self { paths: world.nodes.iter().enumerate().map(path).collect(), latest: HashMap::new() }
    }

    /// The fate of a packet seen at `now`.
    pub(super) fn fate(&mut self, seen: Seen, way: Way, now: Duration) -> Fate {
        let Some(path) = self.paths.get_mut(seen.node) else { return Fate::Unanswered };
        match way {
            Way::Out => path.out(seen.kind, now),
            Way::Back => {
                let due = path.back(seen.kind, now);
                Fate::Due(self.in_order(seen, due, now))
            }
        }
    }

    fn in_order(&mut self, seen: Seen, due: Duration, now: Duration) -> Duration {
        let Kind::Segment { port } = seen.kind else { return due };
        if self.latest.len() >= CONNECTIONS {
            self.latest.retain(|_, latest| *latest > now);
        }
        let latest = self.latest.entry((seen.node, port)).or_default();
        *latest = due.max(*latest);
        *latest
    }
}

impl Path {
    fn out(&mut self, kind: Kind, now: Duration) -> Fate {
        let (chance, barred) = match kind {
            Kind::Icmp => (&mut self.echoes, Fault::Icmp),
            Kind::Connect | Kind::Segment { .. } => (&mut self.connections, Fault::Tcp),
        };
        if self.node.fault == barred || self.node.fault == Fault::Dead {
            return Fate::Unanswered;
        }
        if chance.unit() < self.node.loss {
            return Fate::Lost;
        }
        Fate::Due(now + self.node.base / 2)
    }

    fn back(&mut self, kind: Kind, now: Duration) -> Duration {
        let chance = if kind == Kind::Icmp { &mut self.echoes } else { &mut self.connections };
        let jitter = Duration::from_secs_f64(chance.exponential(self.node.jitter.as_secs_f64()));
        now + self.node.base / 2 + jitter
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulate::world::Family;

    const ECHO: Seen = Seen { node: 0, kind: Kind::Icmp };
    const CONNECT: Seen = Seen { node: 0, kind: Kind::Connect };
    const SEGMENT: Seen = Seen { node: 0, kind: Kind::Segment { port: 9 } };

    fn paths(loss: f64, fault: Fault) -> Paths {
        let ms = Duration::from_millis;
        let node = Node { base: ms(100), jitter: ms(4), loss, fault };
        Paths::new(&World { nodes: vec![node], family: Family::V4, seed: 7 })
    }

    fn round_trip(paths: &mut Paths, seen: Seen) -> Option<Duration> {
        let Fate::Due(there) = paths.fate(seen, Way::Out, Duration::ZERO) else { return None };
        let Fate::Due(back) = paths.fate(seen, Way::Back, there) else { return None };
        Some(back)
    }

    #[test]
    fn round_trips_have_the_median_and_the_loss_that_the_truth_says() {
        let mut paths = paths(0.05, Fault::None);
        let (count, mut trips) = (20_000, Vec::new());
        trips.extend((0..count).filter_map(|_| round_trip(&mut paths, ECHO)));
        let lost = f64::from(count) - trips.len() as f64;
        assert!((lost / f64::from(count) - 0.05).abs() < 0.01, "{lost} lost");
        trips.sort_unstable();
        let (median, truth) = (trips[trips.len() / 2], paths.paths[0].node.median());
        assert!(median.abs_diff(truth) < Duration::from_micros(200), "{median:?} {truth:?}");
        assert!(trips[0] >= paths.paths[0].node.base);
    }

    #[test]
    fn what_connections_do_does_not_change_what_becomes_of_echoes() {
        let (mut alone, mut beside) = (paths(0.5, Fault::None), paths(0.5, Fault::None));
        for _ in 0..100 {
            round_trip(&mut beside, CONNECT);
            assert_eq!(round_trip(&mut alone, ECHO), round_trip(&mut beside, ECHO));
        }
    }

    #[test]
    fn a_fault_leaves_unanswered_what_it_says_and_nothing_else() {
        for (fault, echo, connect) in [
            (Fault::None, true, true),
            (Fault::Closed, true, true),
            (Fault::Icmp, false, true),
            (Fault::Tcp, true, false),
            (Fault::Dead, false, false),
        ] {
            let mut paths = paths(0.0, fault);
            assert_eq!(round_trip(&mut paths, ECHO).is_some(), echo, "{fault:?}");
            assert_eq!(round_trip(&mut paths, CONNECT).is_some(), connect, "{fault:?}");
            assert_eq!(round_trip(&mut paths, SEGMENT).is_some(), connect, "{fault:?}");
        }
    }

    #[test]
    fn segments_of_one_connection_keep_their_order() {
        let mut paths = paths(0.0, Fault::None);
        let mut last = Duration::ZERO;
        for micros in 0..1000 {
            let Fate::Due(due) = paths.fate(SEGMENT, Way::Back, Duration::from_micros(micros)) else {
                panic!("it is not lost")
            };
            assert!(due >= last);
            last = due;
        }
        let echoes: Vec<_> =
            (0..1000).map(|us| paths.fate(ECHO, Way::Back, Duration::from_micros(us))).collect();
        let overtakes = |pair: &[Fate]| matches!(pair, [Fate::Due(one), Fate::Due(next)] if next < one);
        assert!(echoes.windows(2).any(overtakes), "echoes overtake each other");
    }

    #[test]
    fn finished_connections_are_forgotten() {
        let mut paths = paths(0.0, Fault::None);
        for number in 0..3 * CONNECTIONS {
            let port = u16::try_from(number % 60_000).expect("a port");
            let seen = Seen { node: 0, kind: Kind::Segment { port } };
            paths.fate(seen, Way::Back, Duration::from_secs(number as u64));
        }
        assert!(paths.latest.len() <= CONNECTIONS);
    }
}
