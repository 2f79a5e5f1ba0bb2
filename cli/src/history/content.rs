//! What is kept of one network: a bounded file of compact JSON.
//!
//! ```text
//! {"version":2,"network":KEY,"home":{"node":NODE,"at":SECONDS}|null,"nodes":[{"node":NODE,"ip":IP,"min":US,"p50":US,
//!  "jitter":US,"answered":N,"lost":N,"method":"icmp"|"tcp","served":BOOL,"at":SECONDS,"counted":SECONDS}…]}
//! NODE = {"id":ID,"endpoint":"HOST:PORT","identity":KEY}, the identity where the catalog names one
//! ```
//!
//! Times are seconds since the Unix epoch, round trips microseconds. Where `answered` is 0, no probe was ever answered: `min`
//! and `p50` are the time for which the node was silent, so it is farther than that, or dead. The file may be deleted at any time. Another version,
//! another network, or text that makes no sense is as good as none; an entry that makes no sense is dropped.

use std::{
    cmp::Reverse,
    net::IpAddr,
    time::{Duration, SystemTime},
};

use cbrowse_protocol::{id::NodeId, identity::IdentityKey, node::NodeRecord};
use serde::{Deserialize, Serialize};

use crate::{
    network::NetworkKey,
    probe::{Measurement, Method, Prior},
};

/// The format above.
const VERSION: u32 = 2;
/// Nodes of one network: of more, the nearest that answered are kept, since they are asked first. Fewer: a fleet of 1,000 in two catalogs
/// loses its history; more: every command reads the longer file.
pub const MOST_NODES: usize = 4096;
/// Longest file in bytes: [`MOST_NODES`] with the longest names.
pub const MAX_LENGTH: u64 = 4 << 20;
/// Older figures are no history: fleets and roads change. Shorter: whoever comes once a month probes as a stranger.
pub const MAX_AGE: Duration = Duration::from_secs(30 * 24 * 3600);
/// How far ahead of the clock a time may be, for clocks that are corrected a little; it counts as now. Beyond that the clock
/// jumped, and nobody knows how old the entry is.
pub const CLOCK_SLACK: Duration = Duration::from_secs(600);
/// Longest host and port in bytes; a record's address has at most 256.
const MAX_ENDPOINT: usize = 300;
/// Longest round trip that is believed, in microseconds: a probe is lost after a second.
const MAX_ROUND_TRIP: u32 = 60_000_000;
/// Most probes that an entry may claim; far above what fading leaves.
const MAX_PROBES: f64 = 1e6;

/// Which node is meant. One that has moved, or is somebody else now, is another node.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NodeName {
    /// Its id in the catalog.
    pub id: NodeId,
    /// Host and port, as the catalog says.
    pub endpoint: String,
    /// The identity that the catalog names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<IdentityKey>,
}

impl NodeName {
    /// The name of this node.
    pub fn of(record: &NodeRecord) -> Self {
        Self { id: record.id.clone(), endpoint: record.endpoint(), identity: record.identity }
    }

    /// Whether this is that node.
    pub fn is(&self, record: &NodeRecord) -> bool {
        self.id == record.id && self.identity == record.identity && self.endpoint == record.endpoint()
    }
}

/// The node that this user was on last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Home {
    /// Which one.
    pub node: NodeName,
    /// Since when, in seconds since the Unix epoch.
    pub at: u64,
}

/// By which method figures were taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// Echo requests.
    Icmp,
    /// Connections.
    Tcp,
}

impl From<Method> for By {
    fn from(method: Method) -> Self {
        match method {
            Method::Icmp => Self::Icmp,
            Method::Tcp => Self::Tcp,
        }
    }
}

impl From<By> for Method {
    fn from(by: By) -> Self {
        match by {
            By::Icmp => Self::Icmp,
            By::Tcp => Self::Tcp,
        }
    }
}

/// One node's figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Which node.
    pub node: NodeName,
    /// Where it was probed.
    pub ip: IpAddr,
    /// Shortest round trip, in microseconds.
    pub min: u32,
    /// Median round trip, in microseconds.
    pub p50: u32,
    /// Median absolute deviation, in microseconds.
    pub jitter: u32,
    /// Probes answered, faded; 0 where none ever was.
    pub answered: f64,
    /// Probes lost, faded.
    pub lost: f64,
    /// By which method.
    pub method: By,
    /// Its port accepted a connection.
    pub served: bool,
    /// When it was last measured.
    pub at: u64,
    /// Until when probes have faded.
    pub counted: u64,
}

/// All that is kept of one network.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Content {
    /// The node that this user was on last.
    pub home: Option<Home>,
    /// Nodes that were measured.
    pub nodes: Vec<Entry>,
}

#[derive(Serialize)]
struct Draft<'a> {
    version: u32,
    network: &'a str,
    home: &'a Option<Home>,
    nodes: &'a [Entry],
}

#[derive(Deserialize)]
struct Head {
    version: u32,
}

#[derive(Deserialize)]
struct File {
    network: String,
    home: Option<Home>,
    nodes: Vec<Entry>,
}

/// Why a file tells nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unusable {
    /// It was written by another version of cbrowse.
    Foreign,
    /// It makes no sense.
    Corrupt,
}

impl Content {
    /// Reads a file of `network` at `now`, seconds since the Unix epoch. What is too old, or of an unknowable age, is left
    /// out.
    pub fn decode(bytes: &[u8], network: &NetworkKey, now: u64) -> Result<Self, Unusable> {
        let head: Head = serde_json::from_slice(bytes).map_err(|_| Unusable::Corrupt)?;
        if head.version != VERSION {
            return Err(Unusable::Foreign);
        }
        let file: File = serde_json::from_slice(bytes).map_err(|_| Unusable::Corrupt)?;
        if file.network != network.as_str() || file.nodes.len() > MOST_NODES {
            return Err(Unusable::Corrupt);
        }
        let mut content = Self { home: file.home, nodes: file.nodes };
        content.nodes.retain(Entry::is_sane);
        content.home = content.home.filter(|home| home.node.is_sane());
        content.age(now);
        Ok(content)
    }

    /// As it stands in the file.
    pub fn encode(&self, network: &NetworkKey) -> Vec<u8> {
        let draft =
            Draft { version: VERSION, network: network.as_str(), home: &self.home, nodes: &self.nodes };
        serde_json::to_vec(&draft).expect("plain data serializes")
    }

    /// Drops what is older than [`MAX_AGE`] or from the future, and what is more than [`MOST_NODES`].
    pub fn prune(&mut self, now: u64) {
        self.age(now);
        if self.nodes.len() > MOST_NODES {
            let home = self.home.take();
            let is_home = |entry: &Entry| home.as_ref().is_some_and(|home| home.node == entry.node);
            let standing = |entry: &Entry| (!is_home(entry), entry.is_bound(), !entry.served);
            // Of those equally near the one that was measured last.
            self.nodes.sort_by_key(|entry| (standing(entry), entry.p50, Reverse(entry.at)));
            self.nodes.truncate(MOST_NODES);
            self.home = home;
        }
    }

    fn age(&mut self, now: u64) {
        self.nodes.retain_mut(|entry| {
            let at = settled(entry.at, now);
            let counted = settled(entry.counted, now).unwrap_or(now);
            (entry.at, entry.counted) = (at.unwrap_or_default(), counted);
            at.is_some()
        });
        self.home = self.home.take().and_then(|home| Some(Home { at: settled(home.at, now)?, ..home }));
    }
}

/// A time that can be counted with: none where it is older than [`MAX_AGE`] or too far ahead, now where it is a little ahead.
fn settled(at: u64, now: u64) -> Option<u64> {
    let is_known = at <= now.saturating_add(CLOCK_SLACK.as_secs());
    let is_young = now.saturating_sub(at) <= MAX_AGE.as_secs();
    (is_known && is_young).then(|| at.min(now))
}

impl NodeName {
    fn is_sane(&self) -> bool {
        self.endpoint.len() <= MAX_ENDPOINT && !self.endpoint.chars().any(char::is_control)
    }
}

impl Entry {
    fn is_sane(&self) -> bool {
        let is_count = |count: f64| (0.0..=MAX_PROBES).contains(&count);
        self.node.is_sane()
            && self.min <= self.p50
            && self.p50 <= MAX_ROUND_TRIP
            && self.jitter <= MAX_ROUND_TRIP
            && is_count(self.answered)
            && is_count(self.lost)
    }

    /// Whether all that is known is for how long it was silent.
    pub fn is_bound(&self) -> bool {
        self.answered <= 0.0
    }

    /// What it tells a probing at `now`. With none answered, the node is farther than `min` and `p50`, or dead.
    pub fn prior(&self, now: u64) -> Prior {
        let faded = self.faded(now);
        let time = |micros: u32| Duration::from_micros(u64::from(micros));
        Prior {
            measured: Measurement {
                min: time(self.min),
                p50: time(self.p50),
                jitter: time(self.jitter),
                // Figures stay figures, however long ago they were taken.
                answered: whole(faded.answered).max(u32::from(!self.is_bound())),
                lost: whole(faded.lost),
            },
            method: self.method.into(),
            served: self.served,
            age: Duration::from_secs(now.saturating_sub(self.at)),
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded by MAX_PROBES")]
fn whole(count: f64) -> u32 {
    count.clamp(0.0, MAX_PROBES).round() as u32
}

/// Seconds since the Unix epoch.
pub fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
