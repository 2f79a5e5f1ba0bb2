//! Which entries of a catalog are used: those that make sense, that the catalog may name, and that fit its caps.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::IpAddr,
};

use cbrowse_protocol::node::{NodeRecord, printable};

use crate::{
    catalog::{Listing, Rejected},
    reach::Reach,
};

/// Most nodes of one catalog. Higher: probing them all costs a user seconds and a network its patience.
pub const MAX_NODES: usize = 10_000;
/// Most nodes at one address, unless the catalog is on this machine or the user's own. Higher: an entry a port
/// makes every client a port scanner. Lower: many nodes behind one balancer's address do not fit.
pub const MAX_NODES_PER_ADDRESS: usize = 64;
/// Most rejected entries that are kept with their reason; more would only fill memory and screen.
pub const MAX_REJECTED: usize = 1_000;
/// How much of a stranger's text a message repeats, in characters.
const SHOWN_LENGTH: usize = 160;

/// An entry as an adapter understood it.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The entry as the catalog names it; any text.
    pub entry: String,
    /// The record, or why there is none; any text.
    pub record: Result<NodeRecord, String>,
}

/// Judges every candidate by itself; order is kept, and of two with one id the first is used.
pub fn screen(candidates: impl IntoIterator<Item = Candidate>, reach: Reach) -> Listing {
    let mut listing = Listing::default();
    let mut caps = Caps::new(reach);
    let (mut over, mut unlisted) = (0_usize, 0_usize);
    for Candidate { entry, record } in candidates {
        if listing.nodes.len() == MAX_NODES {
            over += 1;
            continue;
        }
        match record.and_then(|record| judge(record, reach, &mut caps)) {
            Ok(record) => {
                if record.address.parse::<IpAddr>().is_err() && reach < Reach::Anything {
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

fn judge(record: NodeRecord, reach: Reach, caps: &mut Caps) -> Result<NodeRecord, String> {
    record.check().map_err(|error| error.to_string())?;
    check_target(&record.address, reach)?;
    caps.admit(&record)?;
    Ok(record)
}

fn check_target(address: &str, reach: Reach) -> Result<(), String> {
    if let Ok(address) = address.parse::<IpAddr>() {
        return reach.permits(address).map_err(|refusal| refusal.to_string());
    }
    let name = address.to_ascii_lowercase();
    let last = name.rsplit('.').next().unwrap_or_default();
    // C libraries read `127.1`, `0x7f000001` and `2130706433` as addresses; a real top-level name is never a number.
    if last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x") {
        return Err(format!("{address:?} is an address in disguise"));
    }
    if last == "localhost" && !reach.permits_localhost() {
        return Err(format!(
            "{address:?} means this machine, from a catalog that is not itself at a loopback address; \
             mark the catalog with ?local=true to allow it"
        ));
    }
    Ok(())
}

/// What was admitted so far, to bound the rest.
struct Caps {
    ids: HashSet<String>,
    by_address: HashMap<String, usize>,
    bounded: bool,
}

impl Caps {
    fn new(reach: Reach) -> Self {
        Self { ids: HashSet::new(), by_address: HashMap::new(), bounded: reach < Reach::Loopback }
    }

    fn admit(&mut self, record: &NodeRecord) -> Result<(), String> {
        if self.ids.contains(record.id.as_str()) {
            return Err("another entry has the same id".to_owned());
        }
        let count = self.by_address.entry(record.address.clone()).or_default();
        if self.bounded && *count == MAX_NODES_PER_ADDRESS {
            return Err(format!("{MAX_NODES_PER_ADDRESS} nodes at {} are enough", record.address));
        }
        *count += 1;
        self.ids.insert(record.id.to_string());
        Ok(())
    }
}

/// The records of a listing by id, to compare two of them.
pub(crate) fn by_id(nodes: Vec<NodeRecord>) -> BTreeMap<cbrowse_protocol::id::NodeId, NodeRecord> {
    nodes.into_iter().map(|record| (record.id.clone(), record)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(id: &str, address: &str, port: u16) -> Candidate {
        let record = serde_json::from_value(serde_json::json!({"id": id, "address": address, "port": port}));
        Candidate { entry: id.to_owned(), record: record.map_err(|error| error.to_string()) }
    }

    fn ids(listing: &Listing) -> Vec<&str> {
        listing.nodes.iter().map(|node| node.id.as_str()).collect()
    }

    #[test]
    fn garbage_is_set_aside_one_by_one_and_the_others_serve() {
        let candidates = [
            candidate("good", "9.9.9.9", 7443),
            candidate("port", "9.9.9.9", 0),
            candidate("\u{1b}[31m", "9.9.9.9", 1),
            candidate("good", "8.8.8.8", 7443),
            candidate("inside", "192.168.1.1", 80),
            candidate("name", "node.example.com", 7443),
        ];
        let listing = screen(candidates, Reach::Public);
        assert_eq!(ids(&listing), ["good", "name"]);
        assert_eq!(listing.nodes[0].address, "9.9.9.9");
        let reasons: Vec<_> = listing.rejected.iter().map(|r| r.reason.as_str()).collect();
        assert_eq!(reasons.len(), 4);
        assert!(reasons[0].contains("port 0") && reasons[2].contains("same id"), "{reasons:?}");
        assert!(reasons[3].contains("private"), "{reasons:?}");
        assert!(!listing.rejected[1].entry.contains('\u{1b}'));
    }

    #[test]
    fn a_name_cannot_hide_an_address() {
        for address in
            ["127.1", "2130706433", "0x7f000001", "0177.0.0.1", "1.2.3.0x4", "localhost", "a.LOCALHOST"]
        {
            let listing = screen([candidate("n", address, 80)], Reach::Private);
            assert!(listing.nodes.is_empty(), "{address}");
        }
        assert_eq!(screen([candidate("n", "localhost", 80)], Reach::Loopback).nodes.len(), 1);
    }

    #[test]
    fn a_name_is_judged_again_when_it_is_resolved() {
        let listing = screen([candidate("n", "node.example.com", 80)], Reach::Public);
        let id = &listing.nodes[0].id;
        assert!(listing.permits(id, "9.9.9.9".parse().unwrap()));
        assert!(!listing.permits(id, "127.0.0.1".parse().unwrap()));
        let listing = screen([candidate("n", "node.example.com", 80)], Reach::Anything);
        assert!(listing.permits(&listing.nodes[0].id, "127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn the_cap_on_one_address_holds_at_and_above() {
        let at = |count: usize, reach| {
            let port = |index: usize| u16::try_from(index + 1).unwrap();
            screen((0..count).map(|index| candidate(&format!("n{index}"), "10.0.0.1", port(index))), reach)
        };
        assert_eq!(at(MAX_NODES_PER_ADDRESS, Reach::Private).rejected.len(), 0);
        let above = at(MAX_NODES_PER_ADDRESS + 1, Reach::Private);
        assert_eq!((above.nodes.len(), above.rejected.len()), (MAX_NODES_PER_ADDRESS, 1));
        assert_eq!(at(MAX_NODES_PER_ADDRESS + 1, Reach::Anything).rejected.len(), 0);
    }

    #[test]
    fn the_cap_on_a_catalog_holds_at_and_above() {
        let of = |count: usize| {
            screen((0..count).map(|i| candidate(&format!("n{i}"), "127.0.0.1", 1)), Reach::Loopback)
        };
        let at = of(MAX_NODES);
        assert_eq!((at.nodes.len(), at.warnings.len()), (MAX_NODES, 0));
        let above = of(MAX_NODES + 1);
        assert_eq!((above.nodes.len(), above.warnings.len()), (MAX_NODES, 1));
    }

    #[test]
    fn a_flood_of_garbage_is_counted_and_not_kept() {
        let listing = screen((0..MAX_REJECTED + 7).map(|_| candidate("", "", 0)), Reach::Public);
        assert_eq!(listing.rejected.len(), MAX_REJECTED);
        assert!(listing.warnings[0].starts_with("7 more"), "{:?}", listing.warnings);
    }
}
