//! A simulated network under tokio's paused clock: delay, jitter and loss by seed, without a socket. What the prober's
//! tests and its benchmark run on; round trips are exact, as a kernel's receive timestamps would make them.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    drive::{Arrival, Road, Traffic},
    race::{Answer, Probe},
    track::Method,
};

/// How one address behaves.
#[derive(Debug, Clone, Copy)]
pub struct Behaviour {
    /// Round trip of an echo without jitter; `None`: it does not answer any.
    pub icmp: Option<Duration>,
    /// Round trip of a connection without jitter; `None`: it does not answer any.
    pub tcp: Option<Duration>,
    /// Mean of the exponentially distributed time on top.
    pub jitter: Duration,
    /// Share of the probes, 0 to 1, of which nothing comes back.
    pub loss: f64,
    /// It refuses connections instead of accepting them.
    pub refuses: bool,
    /// Answers to each echo request; more than one is a broken network.
    pub copies: u32,
    /// It answers echo requests from another address.
    pub poses_as: Option<IpAddr>,
    /// The network says at once that there is no way.
    pub is_unreachable: bool,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            icmp: None,
            tcp: None,
            jitter: Duration::ZERO,
            loss: 0.0,
            refuses: false,
            copies: 1,
            poses_as: None,
            is_unreachable: false,
        }
    }
}

/// What was sent over a simulated network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Echo requests.
    pub echoes: usize,
    /// Connections.
    pub connections: usize,
    /// How many of both were lost.
    pub lost: usize,
}

impl Tally {
    /// Everything sent.
    pub fn packets(&self) -> usize {
        self.echoes + self.connections
    }
}

/// A simulated network.
#[derive(Debug)]
pub struct Network {
    has_icmp: bool,
    seed: u64,
    behaviours: Arc<HashMap<IpAddr, Behaviour>>,
    tally: Arc<Mutex<Tally>>,
}

impl Network {
    /// A network on which chance follows `seed`, for somebody who can send echo requests, or cannot.
    pub fn new(has_icmp: bool, seed: u64) -> Self {
        Self { has_icmp, seed, behaviours: Arc::default(), tally: Arc::default() }
    }

    /// Adds an address, and says which.
    pub fn add(&mut self, behaviour: Behaviour) -> SocketAddr {
        let host = 0x0a00_0001 + u32::try_from(self.behaviours.len()).unwrap_or(u32::MAX >> 8);
        let address = SocketAddr::new(Ipv4Addr::from(host).into(), 7443);
        self.set(address.ip(), behaviour);
        address
    }

    /// Makes an address behave like this from now on.
    pub fn set(&mut self, address: IpAddr, behaviour: Behaviour) {
        Arc::make_mut(&mut self.behaviours).insert(address, behaviour);
    }

    /// What was sent since the last call.
    pub fn take_tally(&self) -> Tally {
        std::mem::take(&mut *self.tally.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Road for Network {
    type Traffic = Flow;

    fn has_icmp(&self) -> bool {
        self.has_icmp
    }

    fn begin(&self) -> Flow {
        Flow {
            behaviours: Arc::clone(&self.behaviours),
            tally: Arc::clone(&self.tally),
            chance: Chance(self.seed),
            under_way: BinaryHeap::new(),
        }
    }
}

/// The probes of one race over a simulated network.
#[derive(Debug)]
pub struct Flow {
    behaviours: Arc<HashMap<IpAddr, Behaviour>>,
    tally: Arc<Mutex<Tally>>,
    chance: Chance,
    under_way: BinaryHeap<Reverse<Coming>>,
}

/// Ordered by time, then by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Coming {
    at: Instant,
    arrival: Arrival,
}

impl Ord for Coming {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.arrival.number).cmp(&(other.at, other.arrival.number))
    }
}

impl PartialOrd for Coming {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Traffic for Flow {
    fn send(&mut self, to: SocketAddr, probe: Probe) {
        let behaviour = self.behaviours.get(&to.ip()).copied().unwrap_or_default();
        let is_lost = self.chance.unit() < behaviour.loss;
        let jitter = behaviour.jitter.mul_f64(self.chance.exponential());
        {
            let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
            tally.lost += usize::from(is_lost);
            match probe.method {
                Method::Icmp => tally.echoes += 1,
                Method::Tcp => tally.connections += 1,
            }
        }
        let (base, copies) = match probe.method {
            Method::Icmp => (behaviour.icmp, behaviour.copies),
            Method::Tcp => (behaviour.tcp, 1),
        };
        let is_echo = probe.method == Method::Icmp;
        let (rtt, answer) = match base {
            _ if behaviour.is_unreachable => (Duration::ZERO, Answer::NoRoute),
            None => return,
            Some(_) if is_lost => return,
            Some(base) if behaviour.refuses && !is_echo => (base + jitter, Answer::Refused),
            Some(base) => (base + jitter, Answer::Reply(base + jitter)),
        };
        let from = is_echo.then(|| behaviour.poses_as.unwrap_or(to.ip()));
        let coming =
            Coming { at: Instant::now() + rtt, arrival: Arrival { number: probe.number, from, answer } };
        self.under_way.extend((0..copies).map(|_| Reverse(coming)));
    }

    async fn receive(&mut self) -> Arrival {
        let Some(Reverse(next)) = self.under_way.peek() else { return std::future::pending().await };
        let arrival = next.arrival;
        tokio::time::sleep_until(next.at).await;
        self.under_way.pop();
        arrival
    }

    fn try_receive(&mut self) -> Option<Arrival> {
        let is_here = self.under_way.peek().is_some_and(|Reverse(next)| next.at <= Instant::now());
        is_here.then(|| self.under_way.pop()).flatten().map(|Reverse(next)| next.arrival)
    }
}

/// Steele, Lea and Flood's SplitMix64 (2014).
#[derive(Debug, Clone)]
pub struct Chance(pub u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// From 0 up to, without, 1.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Exponentially distributed around 1.
    pub fn exponential(&mut self) -> f64 {
        -(1.0 - self.unit()).ln()
    }
}
