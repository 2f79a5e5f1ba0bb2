//! A fleet on a simulated network: where its nodes are, by seed, and what is true of them.

use std::time::Duration;

use anyhow::Context as _;
use cbrowse::probe::simulated::{Behaviour, Chance, Network};
use cbrowse_protocol::node::NodeRecord;

use super::scenario::Scenario;

/// Nearest and farthest node, in milliseconds.
const DISTANCES: [f64; 2] = [8.0, 300.0];
/// Dead nodes, where some are.
const DEAD: f64 = 0.1;

/// A fleet.
pub struct Fleet {
    /// Its nodes, in the catalog's order.
    pub records: Vec<NodeRecord>,
    /// Median round trip of each node; `None`: it is dead.
    pub truth: Vec<Option<Duration>>,
    /// The network it stands in.
    pub network: Network,
}

impl Fleet {
    /// The fleet of a seed; `chance` is the seed of what happens on the network.
    pub fn new(
        scenario: Scenario,
        nodes: u32,
        jitter: Duration,
        seed: u64,
        chance: u64,
    ) -> anyhow::Result<Self> {
        let mut dice = Chance(seed.wrapping_mul(0xD1B5_4A32_D192_ED03));
        let mut network = Network::new(scenario != Scenario::TcpOnly, chance);
        let (mut records, mut truth) = (Vec::new(), Vec::new());
        for index in 0..nodes {
            let distance = DISTANCES[0] + (DISTANCES[1] - DISTANCES[0]) * dice.unit();
            let distance = Duration::from_secs_f64(distance / 1e3);
            let is_dead = scenario == Scenario::TenthDead && dice.unit() < DEAD;
            let alive = (!is_dead).then_some(distance);
            let address = network.add(Behaviour {
                icmp: alive.filter(|_| scenario != Scenario::IcmpFiltered),
                tcp: alive,
                jitter,
                loss: scenario.loss(),
                ..Behaviour::default()
            });
            // Half of an exponential distribution lies below this.
            truth.push(alive.map(|distance| distance + jitter.mul_f64(std::f64::consts::LN_2)));
            let record = serde_json::json!({"id": format!("node-{index}"), "address": address.ip(), "port": address.port()});
            records.push(serde_json::from_value(record).context("a node's record")?);
        }
        Ok(Self { records, truth, network })
    }

    /// The best node's round trip.
    pub fn best(&self) -> Duration {
        self.truth.iter().flatten().min().copied().unwrap_or_default()
    }
}
