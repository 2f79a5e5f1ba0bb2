//! What DNS said, as candidates: pure, so that every shape of an answer can be tried.

use std::{
    collections::{BTreeSet, HashMap},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    ops::RangeInclusive,
    time::Duration,
};

use cbrowse_protocol::node::{Health, NodeRecord};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType, rdata::SRV};

use super::{
    order::ordered,
    text::{Text, about, describe},
};
use crate::screen::Candidate;

/// The record's priority, for whoever orders them anew (RFC 2782: the lowest that can be reached goes first).
const PRIORITY_KEY: &str = "srv_priority";
/// The target as it was named.
const TARGET_KEY: &str = "srv_target";
/// Further addresses of the same target, separated by blanks.
const ADDRESSES_KEY: &str = "srv_addresses";
/// Most further addresses that are kept (as many IPv6 addresses as fit a metadata value).
const MOST_ADDRESSES: usize = 8;
/// Longest chain of aliases (CNAME) that is followed. Higher: names that point at each other cost as many questions;
/// lower: chains that resolvers follow end in nothing here.
pub(super) const MOST_ALIASES: usize = 8;
/// Most targets about which questions are asked. More: one poisoned name makes clients flood their resolver.
const MOST_TARGETS: usize = 512;

/// One question to DNS.
pub(super) type Question = (Name, RecordType);

/// Every record of an answer, whichever section it stood in.
#[derive(Debug, Default)]
pub(super) struct Facts(HashMap<Name, Vec<Record>>);

impl Facts {
    pub(super) fn learn(&mut self, records: impl IntoIterator<Item = Record>) {
        for record in records {
            self.0.entry(record.name.clone()).or_default().push(record);
        }
    }

    /// The records of a name, the aliases on the way to them among them.
    fn about<'a>(&'a self, name: &'a Name) -> Vec<&'a Record> {
        let (mut found, mut name) = (Vec::new(), name);
        for _ in 0..=MOST_ALIASES {
            let Some(records) = self.0.get(name) else { break };
            found.extend(records);
            let Some(other) = records.iter().find_map(alias) else { break };
            name = other;
        }
        found
    }

    /// Whether there is a record of that kind, and where the aliases lead as far as they are known.
    pub(super) fn end<'a>(&'a self, (name, kind): &'a Question) -> (bool, &'a Name) {
        let records = self.about(name);
        let end = records.iter().rev().find_map(|record| alias(record)).unwrap_or(name);
        (records.iter().any(|record| record.record_type() == *kind), end)
    }

    fn has_address(&self, name: &Name) -> bool {
        self.about(name).iter().any(|record| record.data.ip_addr().is_some())
    }
}

fn alias(record: &Record) -> Option<&Name> {
    if let RData::CNAME(other) = &record.data { Some(&other.0) } else { None }
}

/// SRV records and everything known about their targets.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) services: Vec<SRV>,
    /// A record said so with the target `.`.
    pub(super) unavailable: bool,
    pub(super) facts: Facts,
    /// Why a target's addresses could not be asked for.
    pub(super) unresolved: HashMap<Name, String>,
    name: Name,
    shortest: Option<u32>,
}

/// Candidates in the order in which they are to be tried, and how long all that they rest on holds.
pub(super) struct Told {
    pub(super) candidates: Vec<Candidate>,
    pub(super) time_to_live: Duration,
}

impl Answer {
    /// The answer to a question for the SRV records of `name`.
    pub(super) fn new(name: &Name, facts: Facts) -> Self {
        let (mut services, mut unavailable, mut shortest) = (Vec::new(), false, None);
        for record in facts.about(name) {
            match &record.data {
                RData::SRV(service) if service.target.is_root() => unavailable = true,
                RData::SRV(service) => services.push(service.clone()),
                RData::CNAME(_) => {}
                _ => continue,
            }
            shorten(&mut shortest, record);
        }
        Self { services, unavailable, facts, unresolved: HashMap::new(), name: name.clone(), shortest }
    }

    /// What has to be asked yet: the addresses of targets that came without, and what TXT says of them and of all.
    /// Nothing about a target whose name spells its address: only Consul makes such names, and it has nothing there.
    pub(super) fn open_questions(&self) -> Vec<Question> {
        let is_open = |name: &Name| !self.facts.end(&(name.clone(), RecordType::TXT)).0;
        let mut questions = Vec::new();
        if is_open(&self.name) {
            questions.push((self.name.clone(), RecordType::TXT));
        }
        let targets: BTreeSet<&Name> = self.services.iter().map(|service| &service.target).collect();
        let targets = targets.into_iter().filter(|target| implied_addresses(target).is_empty());
        for target in targets.take(MOST_TARGETS) {
            if !self.facts.has_address(target) {
                questions.extend([RecordType::A, RecordType::AAAA].map(|kind| (target.clone(), kind)));
            }
            if is_open(target) {
                questions.push((target.clone(), RecordType::TXT));
            }
        }
        questions
    }

    /// `draw` is that of [`ordered`].
    pub(super) fn told(&mut self, draw: &mut impl FnMut(RangeInclusive<u64>) -> u64) -> Told {
        let mut all = self.texts(&self.name.clone());
        let services = ordered(std::mem::take(&mut self.services), draw);
        let mut own: HashMap<&Name, Vec<Text>> = HashMap::new();
        let mut candidates = Vec::with_capacity(services.len());
        for service in &services {
            // Many ports of one host are told of at once.
            let own = own.entry(&service.target).or_insert_with(|| self.texts(&service.target));
            candidates.push(self.candidate(service, own, &mut all));
        }
        Told { candidates, time_to_live: Duration::from_secs(self.shortest.unwrap_or(0).into()) }
    }

    fn candidate(&mut self, service: &SRV, own: &mut [Text], all: &mut [Text]) -> Candidate {
        let target = text(&service.target);
        let entry = format!("{target}:{}", service.port);
        let addresses: Vec<IpAddr> = self.addresses(&service.target).into_iter().collect();
        let record = match addresses.split_first() {
            Some((first, others)) => record(service, target, *first, others).and_then(|mut record| {
                describe(&mut record, about(service.port, own, all))?;
                // Nothing large is kept until all are judged.
                record.check().map_err(|error| error.to_string())?;
                Ok(record)
            }),
            None => Err(match self.unresolved.get(&service.target) {
                Some(why) => format!("its target has no address ({why})"),
                None => "its target has no address".to_owned(),
            }),
        };
        Candidate { entry, record }
    }

    /// Sorted, since servers turn records round and a node has to keep its name; IPv4 first.
    fn addresses(&mut self, target: &Name) -> BTreeSet<IpAddr> {
        let mut addresses: BTreeSet<IpAddr> = implied_addresses(target).into_iter().collect();
        if addresses.is_empty() {
            for record in self.facts.about(target) {
                addresses.extend(record.data.ip_addr());
                if alias(record).is_some() || record.data.ip_addr().is_some() {
                    shorten(&mut self.shortest, record);
                }
            }
        }
        addresses
    }

    fn texts(&mut self, name: &Name) -> Vec<Text> {
        let mut texts = Vec::new();
        for record in self.facts.about(name) {
            if let RData::TXT(strings) = &record.data
                && let Some(text) = Text::parse(&strings.txt_data)
            {
                texts.push(text);
                shorten(&mut self.shortest, record);
            }
        }
        texts
    }
}

fn shorten(shortest: &mut Option<u32>, record: &Record) {
    *shortest = Some(shortest.map_or(record.ttl, |shortest| shortest.min(record.ttl)));
}

fn record(service: &SRV, target: String, first: IpAddr, others: &[IpAddr]) -> Result<NodeRecord, String> {
    let id = SocketAddr::new(first, service.port).to_string();
    let mut meta: std::collections::BTreeMap<String, String> =
        [(PRIORITY_KEY.to_owned(), service.priority.to_string()), (TARGET_KEY.to_owned(), target)].into();
    if !others.is_empty() {
        let others: Vec<String> = others.iter().take(MOST_ADDRESSES).map(ToString::to_string).collect();
        meta.insert(ADDRESSES_KEY.to_owned(), others.join(" "));
    }
    Ok(NodeRecord {
        id: id.parse().map_err(|error| format!("{error}"))?,
        address: first.to_string(),
        port: service.port,
        region: String::new(),
        zone: String::new(),
        version: String::new(),
        tags: Vec::new(),
        // RFC 2782: 0 means that there is nothing to choose by, not that the node wants nothing.
        weight: service.weight.max(1),
        capacity: 0,
        browser_version: String::new(),
        identity: None,
        statement: None,
        health: Health::Passing,
        meta,
    })
}

/// Without the final dot, in lower case.
fn text(name: &Name) -> String {
    let text = name.to_lowercase().to_ascii();
    text.strip_suffix('.').unwrap_or(&text).to_owned()
}

/// The addresses that a name has without anybody's word: Consul's spelled ones, and this machine's (RFC 6761 section
/// 6.3: nobody is to be asked for those).
fn implied_addresses(target: &Name) -> Vec<IpAddr> {
    if target.iter().next_back().is_some_and(|last| last.eq_ignore_ascii_case(b"localhost")) {
        return vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    }
    decode_consul(target).into_iter().collect()
}

/// Consul names an address by a name that spells it, `c0000201.addr.dc1.consul` for 192.0.2.1, whatever the domain.
fn decode_consul(target: &Name) -> Option<IpAddr> {
    let mut labels = target.iter();
    let (digits, kind) = (labels.next()?, labels.next()?);
    // A datacenter and at least one label of the domain follow.
    if !kind.eq_ignore_ascii_case(b"addr") || labels.count() < 2 || !digits.iter().all(u8::is_ascii_hexdigit)
    {
        return None;
    }
    let digits = std::str::from_utf8(digits).ok()?;
    match digits.len() {
        8 => u32::from_str_radix(digits, 16).ok().map(|bits| Ipv4Addr::from(bits).into()),
        32 => u128::from_str_radix(digits, 16).ok().map(|bits| Ipv6Addr::from(bits).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
