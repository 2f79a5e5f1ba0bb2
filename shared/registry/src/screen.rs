//! Which entries of a catalog are used: those that make sense, that the catalog may name, and that fit its caps.

use std::{
    collections::{BTreeMap, HashMap, HashSet, hash_map::Entry},
    hash::Hash,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use cbrowse_protocol::{
    id::NodeId,
    node::{NodeRecord, printable},
};

use crate::{
    catalog::{Listing, Rejected},
    reach::{Reach, embedded_v4},
};

/// Most nodes of one catalog. Higher: probing them all costs a user seconds and a network its patience.
pub const MAX_NODES: usize = 10_000;
/// Most nodes at one address, unless the catalog is on this machine or the user's own. Higher: an entry a port
/// makes every client a port scanner. Lower: many nodes behind one balancer's address do not fit.
pub const MAX_NODES_PER_ADDRESS: usize = 64;
/// Most nodes in one network, the /24 of an IPv4 address or the /48 of an IPv6 address, unless the catalog is on this
/// machine or the user's own: four on each host of a /24. Higher: a poisoned catalog turns all clients against one
/// victim's network. Lower: a room full of honest nodes does not fit.
pub const MAX_NODES_PER_NETWORK: usize = 1_024;
/// Most rejected entries that are kept with their reason; more would only fill memory and screen.
pub const MAX_REJECTED: usize = 1_000;
/// How much of a stranger's text a message repeats, in characters.
const SHOWN_LENGTH: usize = 160;

/// An entry as an adapter understood it.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    /// The entry as the catalog names it; any text.
    pub(crate) entry: String,
    /// The record, or why there is none; any text.
    pub(crate) record: Result<NodeRecord, String>,
}

/// Judges every candidate by itself; order is kept, and of two with one id the first is used.
pub(crate) fn screen(candidates: impl IntoIterator<Item = Candidate>, reach: Reach) -> Listing {
    let mut listing = Listing::default();
    let mut caps = Caps::new(reach);
    let (mut over, mut unlisted) = (0_usize, 0_usize);
    for Candidate { entry, record } in candidates {
        if listing.nodes.len() == MAX_NODES {
            over += 1;
            continue;
        }
        match record.and_then(|record| judge(record, reach, &mut caps)) {
            Ok((record, address)) => {
                if address.is_none() && reach < Reach::Anything {
                    listing.names.insert(record.id.clone(), reach);
                }
                listing.nodes.push(record);
            }
            Err(_) if listing.rejected.len() == MAX_REJECTED => unlisted += 1,
            Err(reason) => listing.rejected.push(rejected(&entry, &reason)),
        }
    }
    if over > 0 {
        listing.warnings.push(format!("only the first {MAX_NODES} nodes are used; {over} more are named"));
    }
    if unlisted > 0 {
        listing.warnings.push(format!("{unlisted} more entries were rejected than are shown"));
    }
    listing
}

pub(crate) fn rejected(entry: &str, reason: &str) -> Rejected {
    Rejected {
        catalog: None,
        entry: printable(entry, SHOWN_LENGTH),
        reason: printable(reason, SHOWN_LENGTH * 2),
    }
}

/// The record, unless it is garbage. An adapter asks as soon as it has read an entry, so that garbage is not kept until
/// the whole answer is screened: an entry of a megabyte may hold a thousand tags that take ten times its room.
pub(crate) fn checked(record: NodeRecord) -> Result<NodeRecord, String> {
    record.check().map_err(|error| error.to_string())?;
    Ok(record)
}

/// The record and, where it has one, its numeric address.
fn judge(record: NodeRecord, reach: Reach, caps: &mut Caps) -> Result<(NodeRecord, Option<IpAddr>), String> {
    let record = checked(record)?;
    let address = record.address.parse().ok();
    match address {
        Some(address) => reach.permits(address).map_err(|refusal| refusal.to_string())?,
        None => check_name(&record.address, reach)?,
    }
    caps.admit(&record, address)?;
    Ok((record, address))
}

fn check_name(name: &str, reach: Reach) -> Result<(), String> {
    let last = name.rsplit('.').next().unwrap_or_default();
    // C libraries read `127.1`, `0x7f000001` and `2130706433` as addresses; a real top-level name is never a number.
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit());
    if is_number || last.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("0x")) {
        return Err(format!("{name:?} is an address in disguise"));
    }
    if last.eq_ignore_ascii_case("localhost") && !reach.permits_localhost() {
        return Err(format!(
            "{name:?} means this machine, from a catalog that is not itself at a loopback address; \
             mark the catalog with ?local=true to allow it"
        ));
    }
    Ok(())
}

/// What was admitted so far, to bound the rest.
struct Caps {
    ids: HashSet<NodeId>,
    by_name: HashMap<String, usize>,
    by_address: HashMap<IpAddr, usize>,
    by_network: HashMap<IpAddr, usize>,
    bounded: bool,
}

impl Caps {
    fn new(reach: Reach) -> Self {
        Self {
            ids: HashSet::new(),
            by_name: HashMap::new(),
            by_address: HashMap::new(),
            by_network: HashMap::new(),
            bounded: reach < Reach::Loopback,
        }
    }

    fn admit(&mut self, record: &NodeRecord, address: Option<IpAddr>) -> Result<(), String> {
        if self.ids.contains(&record.id) {
            return Err("another entry has the same id".to_owned());
        }
        if self.bounded {
            self.count(&record.address, address)?;
        }
        self.ids.insert(record.id.clone());
        Ok(())
    }

    fn count(&mut self, text: &str, address: Option<IpAddr>) -> Result<(), String> {
        let enough = |cap: usize, place: &str| {
            format!("{cap} nodes {place} are enough; mark the catalog with ?local=true to allow more")
        };
        let Some(address) = address.map(plain) else {
            return counted(&mut self.by_name, text.to_ascii_lowercase(), MAX_NODES_PER_ADDRESS)
                .map_err(|()| enough(MAX_NODES_PER_ADDRESS, &format!("at {text}")));
        };
        counted(&mut self.by_address, address, MAX_NODES_PER_ADDRESS)
            .map_err(|()| enough(MAX_NODES_PER_ADDRESS, &format!("at {text}")))?;
        let (network, length) = network(address);
        counted(&mut self.by_network, network, MAX_NODES_PER_NETWORK)
            .map_err(|()| enough(MAX_NODES_PER_NETWORK, &format!("in {network}/{length}")))
    }
}

/// The addresses that names turned out to have, so that names are no way round the caps.
#[derive(Default)]
pub(crate) struct Crowd {
    by_address: HashMap<IpAddr, usize>,
    by_network: HashMap<IpAddr, usize>,
}

impl Crowd {
    /// Counts one more node there, unless there are enough.
    pub(crate) fn admits(&mut self, address: IpAddr) -> bool {
        let address = plain(address);
        counted(&mut self.by_address, address, MAX_NODES_PER_ADDRESS).is_ok()
            && counted(&mut self.by_network, network(address).0, MAX_NODES_PER_NETWORK).is_ok()
    }
}

/// One more of `key`, unless there are `cap` already.
fn counted<Key: Eq + Hash>(counts: &mut HashMap<Key, usize>, key: Key, cap: usize) -> Result<(), ()> {
    match counts.entry(key) {
        Entry::Occupied(count) if *count.get() == cap => Err(()),
        entry => {
            *entry.or_default() += 1;
            Ok(())
        }
    }
}

/// The same host in another spelling is the same host.
fn plain(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(address) => embedded_v4(address).map_or(address.into(), Into::into),
        IpAddr::V4(_) => address,
    }
}

/// The network that somebody would be given as a whole, and its length.
fn network(address: IpAddr) -> (IpAddr, u8) {
    match address {
        IpAddr::V4(address) => (Ipv4Addr::from_bits(address.to_bits() & (u32::MAX << 8)).into(), 24),
        IpAddr::V6(address) => (Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 80)).into(), 48),
    }
}

/// The records of a listing by id, to compare two of them.
pub(crate) fn by_id(nodes: Vec<NodeRecord>) -> BTreeMap<NodeId, NodeRecord> {
    nodes.into_iter().map(|record| (record.id.clone(), record)).collect()
}

#[cfg(test)]
mod tests;
