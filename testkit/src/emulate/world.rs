//! Which nodes there are, how far each one is, and what is wrong with it: pure, and decided by the seed.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use serde_json::{Value, json};

use super::fault::{Fault, Scenario};
use crate::seeded::Seeded;

/// Most nodes of one emulated network: as many as an IPv4 /16 and its numbering hold, and more than any test asks for.
pub const MOST_NODES: usize = 10_000;
/// Base round trips lie evenly between these two, in milliseconds: from the same city to the other side of the earth.
const ROUND_TRIP_MS: (f64, f64) = (8.0, 300.0);
/// Means of the exponential jitter lie evenly between these two, in milliseconds. At more than about 10 ms, the fifteen
/// samples of a finalist no longer tell its median within 2 ms.
const JITTER_MS: (f64, f64) = (0.5, 5.0);
/// The network of all nodes: private, so only the user's own catalog may name them.
const NETWORK_V4: [u8; 2] = [10, 128];
/// The same in IPv6, from the unique local range (RFC 4193).
const NETWORK_V6: [u16; 7] = [0xfd00, 0xcb, 0, 0, 0, 0, 0];
/// Nodes in one /24, so that no address ends in 0 or 255.
const NODES_PER_24: usize = 250;

/// The near side knows no way to it, since it has no default route.
const STRANGER: &str = "10.129.0.1";
/// A name that exists nowhere (RFC 6761).
const NO_NAME: &str = "node.invalid";
/// Nodes are spread over so many regions.
const REGIONS: usize = 10;

/// The port on which the far side serves.
pub const NODE_PORT: u16 = 7443;
/// The port on which the far side accepts connections and never says a word.
pub const MUTE_PORT: u16 = 7444;
/// A port on which the far side refuses connections, since nothing listens there.
pub const CLOSED_PORT: u16 = 7445;

/// Which protocol nodes are reached by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// One node and the way to it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Node {
    /// Shortest round trip.
    pub base: Duration,
    /// Mean of what each packet on its way back takes longer.
    pub jitter: Duration,
    /// Chance of a packet towards it to be lost, 0 to 1.
    pub loss: f64,
    /// What is the matter with it.
    pub fault: Fault,
}

impl Node {
    /// The true median of its round trips: that of an exponential distribution is its mean times ln 2.
    pub fn median(&self) -> Duration {
        self.base + self.jitter.mul_f64(std::f64::consts::LN_2)
    }
}

/// All nodes.
#[derive(Debug, Clone, PartialEq)]
pub struct World {
    /// By number.
    pub nodes: Vec<Node>,
    /// How they are reached.
    pub family: Family,
    /// Decides the fate of packets, too.
    pub seed: u64,
}

impl World {
    /// `count` nodes, [`MOST_NODES`] at most.
    pub fn new(count: usize, scenario: Scenario, family: Family, seed: u64) -> Self {
        let mut chance = Seeded::new(seed, 0);
        let nodes = (0..count.min(MOST_NODES)).map(|_| node(scenario, &mut chance)).collect();
        Self { nodes, family, seed }
    }

    /// Where a node is.
    pub fn address(&self, node: usize) -> IpAddr {
        let low = |number: usize| u8::try_from(number).unwrap_or(u8::MAX);
        match self.family {
            Family::V4 => {
                let [a, b] = NETWORK_V4;
                Ipv4Addr::new(a, b, low(node / NODES_PER_24), low(node % NODES_PER_24 + 1)).into()
            }
            Family::V6 => {
                let mut segments = [0; 8];
                segments[..7].copy_from_slice(&NETWORK_V6);
                segments[7] = u16::try_from(node + 1).unwrap_or(u16::MAX);
                Ipv6Addr::from(segments).into()
            }
        }
    }

    /// The same nodes, with what is the matter with some of them; a number that no node has changes nothing.
    #[must_use]
    pub fn with_faults(mut self, faults: impl IntoIterator<Item = (usize, Fault)>) -> Self {
        for (number, fault) in faults {
            if let Some(node) = self.nodes.get_mut(number) {
                node.fault = fault;
            }
        }
        self
    }

    /// Numbers of the nodes, nearest first by their true medians.
    pub fn nearest(&self) -> Vec<usize> {
        let mut numbers: Vec<usize> = (0..self.nodes.len()).collect();
        numbers.sort_by_key(|number| self.nodes[*number].median());
        numbers
    }

    /// A node's name in the catalog.
    pub fn id(node: usize) -> String {
        format!("node-{node:05}")
    }

    /// The catalog of all nodes; `identity` is what every one of them proves, when a real node answers for all.
    pub fn catalog(&self, identity: Option<&str>) -> Vec<Value> {
        let record = |(number, node): (usize, &Node)| {
            let (address, port) = match node.fault {
                Fault::NoRoute => (STRANGER.to_owned(), NODE_PORT),
                Fault::NoName => (NO_NAME.to_owned(), NODE_PORT),
                Fault::Mute => (self.address(number).to_string(), MUTE_PORT),
                Fault::Closed => (self.address(number).to_string(), CLOSED_PORT),
                Fault::None | Fault::Icmp | Fault::Tcp | Fault::Dead => {
                    (self.address(number).to_string(), NODE_PORT)
                }
            };
            let mut record = json!({ "id": Self::id(number), "address": address, "port": port,
                "region": format!("region-{}", number % REGIONS) });
            if let Some(identity) = identity {
                record["identity"] = identity.into();
            }
            record
        };
        self.nodes.iter().enumerate().map(record).collect()
    }

    /// What only the emulator knows, in the order of the catalog.
    pub fn truth(&self) -> Vec<Value> {
        let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
        let truth = |(number, node): (usize, &Node)| {
            json!({ "id": Self::id(number), "address": self.address(number), "base_ms": ms(node.base),
                "jitter_ms": ms(node.jitter), "median_ms": ms(node.median()), "loss": node.loss,
                "fault": node.fault.name() })
        };
        self.nodes.iter().enumerate().map(truth).collect()
    }
}

/// The number of the node at an IPv4 address, if any can be there.
pub(super) fn number_v4(octets: [u8; 4]) -> Option<usize> {
    let [a, b, high, low] = octets;
    let low = usize::from(low).checked_sub(1).filter(|low| *low < NODES_PER_24)?;
    (NETWORK_V4 == [a, b]).then_some(usize::from(high) * NODES_PER_24 + low)
}

/// The same in IPv6.
pub(super) fn number_v6(address: Ipv6Addr) -> Option<usize> {
    let (network, number) = address.segments().split_last().map(|(last, rest)| (rest.to_owned(), *last))?;
    usize::from(number).checked_sub(1).filter(|_| network == NETWORK_V6)
}

fn node(scenario: Scenario, chance: &mut Seeded) -> Node {
    let mut between =
        |(low, high): (f64, f64)| Duration::from_secs_f64((low + (high - low) * chance.unit()) / 1e3);
    let (base, jitter) = (between(ROUND_TRIP_MS), between(JITTER_MS));
    // Drawn in every scenario, so that one seed places the same nodes in all of them.
    let is_dead = chance.unit() < 0.1;
    let fault = scenario.fault(is_dead);
    Node { base, jitter, loss: scenario.loss(), fault }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world(scenario: Scenario, family: Family, seed: u64) -> World {
        World::new(MOST_NODES, scenario, family, seed)
    }

    #[test]
    fn every_node_is_found_again_at_its_address() {
        for family in [Family::V4, Family::V6] {
            let world = world(Scenario::Plain, family, 1);
            for node in 0..MOST_NODES {
                let number = match world.address(node) {
                    IpAddr::V4(address) => number_v4(address.octets()),
                    IpAddr::V6(address) => number_v6(address),
                };
                assert_eq!(number, Some(node));
            }
        }
        for stranger in [[10, 128, 0, 0], [10, 128, 0, 251], [10, 129, 0, 1]] {
            assert_eq!(number_v4(stranger), None, "{stranger:?}");
        }
        for stranger in ["fd00:cb::", "fd00:cb:1::1", "ff02::2"] {
            assert_eq!(number_v6(stranger.parse().expect("an address")), None, "{stranger}");
        }
    }

    #[test]
    fn a_seed_decides_the_places_and_a_scenario_only_the_faults() {
        let plain = world(Scenario::Plain, Family::V4, 7);
        assert_eq!(plain, world(Scenario::Plain, Family::V4, 7));
        assert_ne!(plain, world(Scenario::Plain, Family::V4, 8));
        let dead = world(Scenario::Dead, Family::V4, 7);
        let bases = |world: &World| world.nodes.iter().map(|node| node.base).collect::<Vec<_>>();
        assert_eq!(bases(&plain), bases(&dead));
        let gone = dead.nodes.iter().filter(|node| node.fault == Fault::Dead).count();
        assert!((900..1100).contains(&gone), "{gone} of 10,000 are dead");
    }

    #[test]
    fn round_trips_and_jitter_keep_their_bounds() {
        let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
        for node in world(Scenario::Lossy, Family::V4, 3).nodes {
            assert!((8.0..=300.0).contains(&ms(node.base)) && (0.5..=5.0).contains(&ms(node.jitter)));
            assert!(node.median() > node.base && node.median() < node.base + node.jitter);
        }
    }
}
