//! Where clients and nodes are, and how far from each other.
//!
//! Regions lie on a square. A round trip is 3 ms, 180 ms over the whole side of it, something of its own for each pair of a
//! place and a node (exponential, 2 ms: their networks meet somewhere), and the client's last mile, which is the same to
//! all nodes.

use std::{collections::BTreeMap, time::Duration};

use cbrowse::probe::{Live, Measurement, Probed, Reach};
use cbrowse_protocol::{
    api::Status,
    identity::SigningKey,
    node::{DEFAULT_PORT, Health, NodeRecord},
};

use super::{Options, Scenario, dice::Seeded};

/// Seconds in which the clients come.
pub const HORIZON: f64 = 300.0;
/// How long a session lasts, in seconds, exponentially distributed. Longer ones herd less: what comes within the age of a
/// report is a smaller part of what stands.
pub const SESSION: f64 = 45.0;
/// Share of what saturates all nodes that is taken once as many go as come.
const TAKEN: f64 = 0.6;
/// Nodes of a region.
const REGION: usize = 25;
/// Places from which clients come.
const PLACES: usize = 200;

/// A city with its networks.
#[derive(Debug, Clone)]
pub struct Place {
    /// The region it lies in.
    pub region: usize,
    /// Round trip to each node.
    pub rtts: Vec<Duration>,
    /// Deviation of a round trip.
    pub jitter: Duration,
}

/// All of it.
#[derive(Debug, Clone)]
pub struct World {
    /// As a client sees them; distances are the client's own.
    pub nodes: Vec<Probed>,
    /// Region of each node.
    pub regions: Vec<usize>,
    /// Where clients come from.
    pub places: Vec<Place>,
    /// How likely a client comes from a place or one before it.
    chances: Vec<f64>,
    /// Sessions that saturate a node.
    pub capacity: u32,
    /// Sessions that it admits. In a herd, everybody: a node that refuses corrects the strategy that is to be measured.
    pub seats: u32,
}

impl World {
    /// The world in which `clients` come.
    pub fn new(options: &Options, clients: u32) -> Self {
        let mut chance = Seeded::new(options.seed, 1);
        let count = options.nodes as usize;
        let regions = if options.scenario == Scenario::Herd { 1 } else { count.div_ceil(REGION) };
        let region_of: Vec<usize> = (0..count).map(|node| node % regions).collect();
        let centres: Vec<(f64, f64)> = (0..regions).map(|_| (chance.unit(), chance.unit())).collect();
        let capacity = capacity(clients, count);
        let nodes =
            region_of.iter().enumerate().map(|(index, region)| node(index, *region, capacity)).collect();
        let mut places: Vec<Place> = (0..PLACES.max(regions))
            .map(|place| self::place(place % regions, &centres, &region_of, &mut chance))
            .collect();
        if options.scenario == Scenario::Herd {
            // One city: what is nearest and idlest is so for everybody.
            let rtts = places[0].rtts.clone();
            for place in &mut places {
                place.rtts.clone_from(&rtts);
            }
        }
        let chances = chances(&places, &region_of, regions, &mut chance);
        let seats = if options.scenario == Scenario::Herd { u32::MAX } else { capacity };
        Self { nodes, regions: region_of, places, chances, capacity, seats }
    }

    /// Where the next client comes from; `unit` is drawn from 0 to 1.
    pub fn place(&self, unit: f64) -> usize {
        self.chances.partition_point(|upto| *upto < unit).min(self.places.len() - 1)
    }

    /// Shows the nodes as a client at `place` measures them, `last_mile` from its network.
    pub fn look_from(&mut self, place: usize, last_mile: Duration) {
        let place = &self.places[place];
        for (node, rtt) in self.nodes.iter_mut().zip(&place.rtts) {
            let p50 = *rtt + last_mile;
            node.rtt = Some(Measurement {
                min: p50.saturating_sub(place.jitter),
                p50,
                jitter: place.jitter,
                answered: 15,
                lost: 0,
            });
        }
    }
}

/// What saturates a node, for the sessions that stand once as many go as come.
fn capacity(clients: u32, nodes: usize) -> u32 {
    let standing = f64::from(clients) / HORIZON * SESSION;
    let seats = (standing / TAKEN / nodes as f64).ceil().max(1.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and the clients")]
    let seats = seats as u32;
    seats
}

/// As many clients come from a region as its nodes can bear, from its places as chance will have it.
fn chances(places: &[Place], region_of: &[usize], regions: usize, chance: &mut Seeded) -> Vec<f64> {
    let mut sizes = vec![0.0; regions];
    for region in region_of {
        sizes[*region] += 1.0;
    }
    let drawn: Vec<f64> = places.iter().map(|_| 0.2 + chance.unit()).collect();
    let mut sums = vec![0.0; regions];
    for (place, drawn) in places.iter().zip(&drawn) {
        sums[place.region] += drawn;
    }
    let shares =
        places.iter().zip(drawn).map(|(place, drawn)| drawn / sums[place.region] * sizes[place.region]);
    let total = region_of.len() as f64;
    let running = shares.scan(0.0, |sum, share| {
        *sum += share / total;
        Some(*sum)
    });
    running.collect()
}

fn place(region: usize, centres: &[(f64, f64)], region_of: &[usize], chance: &mut Seeded) -> Place {
    let near = |centre: f64, chance: &mut Seeded| centre + (chance.unit() - 0.5) * 0.04;
    let at = (near(centres[region].0, chance), near(centres[region].1, chance));
    let rtts = region_of.iter().map(|region| {
        let (x, y) = centres[*region];
        let ms = 3.0 + 180.0 * (x - at.0).hypot(y - at.1) + chance.exponential(2.0);
        Duration::from_secs_f64(ms / 1e3)
    });
    let rtts = rtts.collect();
    Place { region, rtts, jitter: Duration::from_secs_f64((0.2 + chance.unit()) / 1e3) }
}

fn node(index: usize, region: usize, capacity: u32) -> Probed {
    // Sorted by name as by number.
    let id = format!("node-{index:06}").parse().expect("a valid id");
    let record = NodeRecord {
        id,
        address: "192.0.2.1".into(),
        port: DEFAULT_PORT,
        region: format!("region-{region:03}"),
        zone: String::new(),
        version: "0.1.0".into(),
        tags: vec!["gpu".into()],
        weight: 1,
        capacity,
        browser_version: "156.0.8078.79".into(),
        identity: None,
        statement: None,
        health: Health::Passing,
        meta: BTreeMap::new(),
    };
    let status = Status {
        id: record.id.clone(),
        identity: SigningKey::from_seed(&[1; 32]).public(),
        statement: None,
        region: record.region.clone(),
        zone: String::new(),
        tags: record.tags.clone(),
        version: record.version.clone(),
        browser_version: record.browser_version.clone(),
        sessions: 0,
        capacity,
        load: 0.0,
        cpu: 0.0,
        memory: 0.0,
        draining: false,
        bandwidth: None,
        bytes_per_second: None,
        reserved: 0,
        age_ms: 0,
        session_key: None,
    };
    Probed {
        record,
        address: None,
        reach: Reach::Serving,
        method: "icmp",
        rtt: None,
        prior: None,
        live: Live::Known(Box::new(status)),
    }
}
