//! Probing: how far is each node from here, and does it serve? Measured from the user's own network, without privileges.
//!
//! [`plan`] holds the numbers, [`race`] decides (pure), [`drive`] acts, [`icmp`] and [`tcp`] hold the sockets.
//! What a node says about itself ([`Live`]) is added for the finalists by whoever may speak TLS to them.

pub mod drive;
pub mod failing;
pub mod icmp;
pub mod limits;
pub mod plan;
pub mod race;
pub mod resolve;
pub mod search;
pub mod simulated;
pub mod sockets;
pub mod statistics;
pub mod tcp;
pub mod track;

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use cbrowse_protocol::{api::Status, id::NodeId, node::NodeRecord};

use self::resolve::Addresses;
pub use self::{
    drive::{Heard, Road, Target},
    failing::{Failed, Failing},
    race::{Goal, Oddities},
    search::{Prior, Search},
    sockets::Sockets,
    statistics::Measurement,
    track::{Method, Reach, Track},
};

/// One node after probing.
#[derive(Debug, Clone)]
pub struct Probed {
    /// What the catalog says of it.
    pub record: NodeRecord,
    /// Where it was probed and is to be dialled; `None` when its name did not resolve.
    pub address: Option<SocketAddr>,
    /// How it was reached.
    pub reach: Reach,
    /// By which methods it answered, as `icmp`, `tcp`, `icmp+tcp`, or empty.
    pub method: &'static str,
    /// Round trips; `None` without an answer.
    pub rtt: Option<Measurement>,
    /// What an earlier probing on this network found.
    pub prior: Option<Prior>,
    /// What it says about itself.
    pub live: Live,
}

/// What a node says about itself over TLS, as far as it was asked.
#[derive(Debug, Clone, Default)]
pub enum Live {
    /// Not a finalist, or nobody asked.
    #[default]
    Unasked,
    /// It proved who it is, and is trusted.
    Known(Box<Status>),
    /// It proved who it is, and nobody vouches for that yet: a person has to accept it first.
    FirstUse(Box<Status>),
    /// It answered, and is not who it should be. In words for a person.
    Untrusted(String),
    /// It did not answer the question, or not in time, or with what cannot be.
    Failed(Failed),
}

impl Live {
    /// Its state, if it is known.
    pub fn status(&self) -> Option<&Status> {
        match self {
            Self::Known(status) | Self::FirstUse(status) => Some(status),
            Self::Unasked | Self::Untrusted(_) | Self::Failed(_) => None,
        }
    }

    /// Stable name for programs; `None` where nobody asked, or nothing was answered.
    pub fn trust(&self) -> Option<&'static str> {
        match self {
            Self::Known(_) => Some("trusted"),
            Self::FirstUse(_) => Some("first_use"),
            Self::Untrusted(_) => Some("refused"),
            Self::Unasked | Self::Failed(_) => None,
        }
    }
}

impl Probed {
    /// A node that was not probed, since the catalog alone speaks against it.
    pub fn unprobed(record: NodeRecord) -> Self {
        Self {
            record,
            address: None,
            reach: Reach::NotProbed,
            method: "",
            rtt: None,
            prior: None,
            live: Live::Unasked,
        }
    }

    /// Where it stands: by its own word once it is trusted, else by the catalog's.
    pub fn region(&self) -> &str {
        self.live.status().map_or(&self.record.region, |status| &status.region)
    }
}

/// The outcome of probing.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Every node, in the order given.
    pub nodes: Vec<Probed>,
    /// Whether echo requests could be sent.
    pub icmp: bool,
    /// Time from the first probe to the end.
    pub elapsed: Duration,
    /// Probes sent, by both methods.
    pub sent: usize,
    /// What came back and was not simply an answer.
    pub oddities: Oddities,
}

/// Probes `records`, likely best first, over `road`; `permits` says which addresses a host name may lead to
/// ([`cbrowse_registry::Listing::permits`]). `heard` is told how it goes, nodes by their place in `records`.
pub async fn probe(
    records: Vec<NodeRecord>,
    permits: impl Fn(&NodeId, IpAddr) -> bool,
    road: &impl Road,
    search: Search,
    mut heard: impl FnMut(Heard),
) -> Report {
    let Search { goal, deadline, mut priors, present } = search;
    priors.resize(records.len(), None);
    limits::raise_open_files();
    let addresses = resolve::resolve(&records, permits).await;
    let targets: Vec<Target> = (addresses.iter().zip(&priors).enumerate())
        .filter_map(|(index, (addresses, prior))| {
            let Addresses { first, second } = *addresses.as_ref().ok()?;
            Some(Target { first, second, prior: *prior, is_present: present == Some(index) })
        })
        .collect();
    let places: Vec<usize> = (0..records.len()).filter(|index| addresses[*index].is_ok()).collect();
    let placed = |(target, rtt): (usize, Duration)| (places[target], rtt);
    let heard = |now: Heard| heard(Heard { best: now.best.map(placed), ..now });
    let outcome = drive::drive(road, &targets, goal, deadline, heard).await;
    let mut found = outcome.found.into_iter();
    let nodes = records
        .into_iter()
        .zip(addresses)
        .zip(priors)
        .map(|((record, addresses), prior)| {
            let found = addresses.and_then(|_| found.next().ok_or(Reach::Silent));
            Probed { prior, ..describe(record, found) }
        })
        .collect();
    Report {
        nodes,
        icmp: road.has_icmp(),
        elapsed: outcome.took,
        sent: outcome.sent,
        oddities: outcome.oddities,
    }
}

/// Races the nodes that the last race did not wait for, among themselves, for whoever found nobody among the nearer ones.
/// False when there are none. Each call settles at least one, so calling until then ends.
pub async fn probe_rest(report: &mut Report, road: &impl Road, deadline: Duration) -> bool {
    let rest: Vec<(usize, SocketAddr)> = report
        .nodes
        .iter()
        .enumerate()
        .filter(|(_, node)| node.reach == Reach::NotAwaited)
        .filter_map(|(index, node)| Some((index, node.address?)))
        .collect();
    let targets: Vec<Target> = rest.iter().map(|(_, address)| (*address).into()).collect();
    let outcome = drive::drive(road, &targets, Goal::Decide, deadline, |_| {}).await;
    for ((index, _), (_, track)) in rest.iter().zip(&outcome.found) {
        let node = &mut report.nodes[*index];
        (node.reach, node.method, node.rtt) = (track.reach(), track.method(), track.measure());
    }
    report.elapsed += outcome.took;
    report.sent += outcome.sent;
    report.oddities += outcome.oddities;
    !rest.is_empty()
}

fn describe(record: NodeRecord, found: Result<(SocketAddr, Track), Reach>) -> Probed {
    match found {
        Err(reach) => Probed { reach, ..Probed::unprobed(record) },
        Ok((address, track)) => Probed {
            address: Some(address),
            reach: track.reach(),
            method: track.method(),
            rtt: track.measure(),
            ..Probed::unprobed(record)
        },
    }
}
