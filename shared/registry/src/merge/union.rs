//! What several catalogs say together. An entry is the node that another catalog named already when both bear one id,
//! or one identity at one endpoint, or one endpoint and one of them no name of its own (plain DNS knows none).
//!
//! The first catalog's word counts. What it leaves open is filled from the others, never overridden by them: an
//! identity that comes in this way is a hint like any that a catalog names. Health is the exception, the worst of all:
//! a catalog without health checks calls everything passing, so only a worse word says that somebody looked.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
};

use cbrowse_protocol::{
    id::NodeId,
    identity::IdentityKey,
    node::{NodeRecord, printable},
};

use crate::{catalog::Listing, reach::Reach};

/// Most disagreements that are told one by one. More: two catalogs that contradict each other throughout bury every
/// other warning.
const MAX_CONFLICTS: usize = 20;
/// How much of a catalog's name stands beside an entry, in characters.
const SHOWN_LENGTH: usize = 200;

#[derive(Default)]
pub(super) struct Union<'a> {
    listing: Listing,
    /// Which catalog named the record in the same place.
    origins: Vec<&'a str>,
    by_id: HashMap<NodeId, usize>,
    by_identity: HashMap<(String, IdentityKey), usize>,
    /// The first one there.
    by_endpoint: HashMap<String, usize>,
    /// Places whose record is still without a name of its own.
    nameless: HashMap<String, usize>,
    conflicts: usize,
}

impl<'a> Union<'a> {
    pub(super) fn add(&mut self, catalog: &'a str, listing: Listing) {
        let Listing { nodes, mut rejected, warnings, mut names } = listing;
        for entry in &mut rejected {
            entry.catalog = Some(printable(catalog, SHOWN_LENGTH));
        }
        self.listing.rejected.append(&mut rejected);
        self.listing.warnings.extend(warnings.iter().map(|warning| format!("{catalog}: {warning}")));
        self.listing.nodes.reserve(nodes.len());
        self.origins.reserve(nodes.len());
        self.by_id.reserve(nodes.len());
        self.by_identity.reserve(nodes.len());
        self.by_endpoint.reserve(nodes.len());
        for record in nodes {
            let reach = names.remove(&record.id);
            let endpoint = endpoint(&record);
            match self.find(&record, &endpoint) {
                Some(place) => self.join(place, catalog, record, reach, endpoint),
                None => self.append(catalog, record, reach, endpoint),
            }
        }
    }

    pub(super) fn finish(mut self) -> Listing {
        if self.conflicts > MAX_CONFLICTS {
            let more = self.conflicts - MAX_CONFLICTS;
            self.listing.warnings.push(format!("the catalogs disagree about {more} more nodes"));
        }
        self.listing
    }

    fn find(&self, record: &NodeRecord, endpoint: &str) -> Option<usize> {
        let of_identity = || self.by_identity.get(&(endpoint.to_owned(), record.identity?));
        let of_endpoint =
            || if is_nameless(record) { self.by_endpoint.get(endpoint) } else { self.nameless.get(endpoint) };
        self.by_id.get(&record.id).or_else(of_identity).or_else(of_endpoint).copied()
    }

    fn append(&mut self, catalog: &'a str, record: NodeRecord, reach: Option<Reach>, endpoint: String) {
        let place = self.listing.nodes.len();
        if is_nameless(&record) {
            self.nameless.insert(endpoint.clone(), place);
        }
        if let Some(identity) = record.identity {
            self.by_identity.insert((endpoint.clone(), identity), place);
        }
        match self.by_endpoint.entry(endpoint) {
            Entry::Vacant(vacant) => {
                vacant.insert(place);
            }
            Entry::Occupied(first) if self.origins[*first.get()] != catalog => {
                let (known, origin) = (&self.listing.nodes[*first.get()].id, self.origins[*first.get()]);
                let text = format!(
                    "{known} in {origin} and {} in {catalog} are both at {}; \
                     nothing says that they are one node, so both are used",
                    record.id,
                    first.key()
                );
                self.conflict(text);
            }
            Entry::Occupied(_) => {}
        }
        self.by_id.insert(record.id.clone(), place);
        self.listing.names.extend(reach.map(|reach| (record.id.clone(), reach)));
        self.listing.nodes.push(record);
        self.origins.push(catalog);
    }

    /// Another catalog's word, or the same one's under another id, about the node in this place.
    fn join(
        &mut self,
        place: usize,
        catalog: &'a str,
        record: NodeRecord,
        reach: Option<Reach>,
        endpoint: String,
    ) {
        let origin = self.origins[place];
        if let Some(text) = contradiction(origin, &self.listing.nodes[place], catalog, &record, &endpoint) {
            self.conflict(text);
            return;
        }
        self.by_id.entry(record.id.clone()).or_insert(place);
        let other = if is_nameless(&self.listing.nodes[place]) && !is_nameless(&record) {
            self.nameless.remove(&endpoint);
            self.origins[place] = catalog;
            self.listing.names.remove(&self.listing.nodes[place].id);
            self.listing.names.extend(reach.map(|reach| (record.id.clone(), reach)));
            std::mem::replace(&mut self.listing.nodes[place], record)
        } else {
            record
        };
        let known = &mut self.listing.nodes[place];
        let remark = remark(origin, known, catalog, &other);
        fill(known, other);
        if let Some(identity) = known.identity {
            self.by_identity.insert((endpoint, identity), place);
        }
        if let Some(remark) = remark {
            self.conflict(remark);
        }
    }

    fn conflict(&mut self, text: String) {
        self.conflicts += 1;
        if self.conflicts <= MAX_CONFLICTS {
            self.listing.warnings.push(text);
        }
    }
}

/// Why two entries cannot be one node, whatever joins them.
fn contradiction(
    origin: &str,
    known: &NodeRecord,
    catalog: &str,
    other: &NodeRecord,
    other_at: &str,
) -> Option<String> {
    let known_at = endpoint(known);
    if known_at != other_at {
        return Some(format!(
            "node {} is at {known_at} in {origin} and at {other_at} in {catalog}; the first is used",
            other.id
        ));
    }
    let differ = known.identity.zip(other.identity).is_some_and(|(known, other)| known != other);
    differ.then(|| {
        format!(
            "node {} has another identity in {origin} than {} has in {catalog}; the first is used",
            known.id,
            if known.id == other.id { "it" } else { other.id.as_str() }
        )
    })
}

/// What is worth saying about two entries that are one node.
fn remark(origin: &str, known: &NodeRecord, catalog: &str, other: &NodeRecord) -> Option<String> {
    if known.id != other.id && !is_nameless(known) && !is_nameless(other) {
        return Some(format!(
            "{} in {origin} and {} in {catalog} are one node (same identity at {}); it is named {}",
            known.id,
            other.id,
            known.endpoint(),
            known.id
        ));
    }
    (known.health != other.health).then(|| {
        format!(
            "node {} is not as well in one catalog as in another ({origin}, {catalog}); it is taken to be {}",
            known.id,
            known.health.max(other.health)
        )
    })
}

/// What the first leaves open. Metadata and weight belong to whoever named the node.
fn fill(known: &mut NodeRecord, other: NodeRecord) {
    fn absent(text: &mut String, other: String) {
        if text.is_empty() {
            *text = other;
        }
    }
    known.health = known.health.max(other.health);
    // A zone is a part of its region, so it is not taken beside another one.
    if known.region.is_empty() || known.region == other.region {
        absent(&mut known.zone, other.zone);
    }
    absent(&mut known.region, other.region);
    absent(&mut known.version, other.version);
    absent(&mut known.browser_version, other.browser_version);
    if known.tags.is_empty() {
        known.tags = other.tags;
    }
    if known.capacity == 0 {
        known.capacity = other.capacity;
    }
    known.identity = known.identity.or(other.identity);
    known.statement = known.statement.take().or(other.statement);
}

/// Named by its endpoint, because its catalog knows no names.
fn is_nameless(record: &NodeRecord) -> bool {
    record.id.as_str() == record.endpoint()
}

/// One text for one endpoint, however a catalog spells it.
fn endpoint(record: &NodeRecord) -> String {
    match record.address.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => format!("[{address}]:{}", record.port),
        Ok(IpAddr::V4(_)) => record.endpoint(),
        Err(_) => record.endpoint().to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests;
