//! What SRV records say, as candidates: pure, so that every shape of an answer can be tried.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use cbrowse_protocol::node::{Health, NodeRecord};
use hickory_resolver::proto::rr::{Name, RData, Record, rdata::SRV};

use crate::screen::Candidate;

/// The record's priority, for whoever orders them (RFC 2782: the lowest that can be reached goes first).
const PRIORITY_KEY: &str = "srv_priority";
/// The target as it was named.
const TARGET_KEY: &str = "srv_target";
/// Further addresses of the same target, separated by blanks.
const ADDRESSES_KEY: &str = "srv_addresses";
/// Most further addresses that are kept (as many IPv6 addresses as fit a metadata value).
const MOST_ADDRESSES: usize = 8;

/// SRV records and the addresses known for their targets.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) services: Vec<SRV>,
    pub(super) addresses: HashMap<Name, Vec<IpAddr>>,
    /// A record said so with the target `.`.
    pub(super) unavailable: bool,
    /// The shortest of all records.
    pub(super) time_to_live: Duration,
}

impl Answer {
    pub(super) fn from_records(answers: &[Record], additionals: &[Record]) -> Self {
        let mut answer = Self::default();
        let mut shortest = None;
        for record in answers {
            if let RData::SRV(service) = &record.data {
                shortest = Some(shortest.map_or(record.ttl, |ttl: u32| ttl.min(record.ttl)));
                answer.add(service);
            }
        }
        for record in answers.iter().chain(additionals) {
            if let Some(address) = record.data.ip_addr() {
                let addresses = answer.addresses.entry(record.name.clone()).or_default();
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
        }
        answer.time_to_live = Duration::from_secs(shortest.unwrap_or(0).into());
        answer
    }

    fn add(&mut self, service: &SRV) {
        if service.target.is_root() {
            self.unavailable = true;
            return;
        }
        if let Some(address) = decode_consul(&service.target) {
            self.addresses.insert(service.target.clone(), vec![address]);
        }
        self.services.push(service.clone());
    }

    /// Targets that somebody has to look up.
    pub(super) fn without_address(&self) -> impl Iterator<Item = &Name> {
        self.services
            .iter()
            .map(|service| &service.target)
            .filter(|target| !self.addresses.contains_key(*target))
    }

    pub(super) fn candidates(&self) -> Vec<Candidate> {
        self.services.iter().map(|service| self.candidate(service)).collect()
    }

    fn candidate(&self, service: &SRV) -> Candidate {
        let target = text(&service.target);
        let entry = format!("{target}:{}", service.port);
        let record = match self.addresses.get(&service.target).and_then(|addresses| addresses.split_first()) {
            Some((first, others)) => record(service, target, *first, others),
            None => Err("its target has no address".to_owned()),
        };
        Candidate { entry, record }
    }
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
mod tests {
    use hickory_resolver::proto::rr::rdata::{A, AAAA};

    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).expect(text)
    }

    fn service(priority: u16, weight: u16, port: u16, target: &str) -> Record {
        Record::from_rdata(name("s.example."), 30, RData::SRV(SRV::new(priority, weight, port, name(target))))
    }

    fn address(of: &str, address: &str) -> Record {
        let data = match address.parse().expect(address) {
            IpAddr::V4(address) => RData::A(A(address)),
            IpAddr::V6(address) => RData::AAAA(AAAA(address)),
        };
        Record::from_rdata(name(of), 10, data)
    }

    fn records(answer: &Answer) -> Vec<NodeRecord> {
        answer.candidates().into_iter().map(|candidate| candidate.record.expect("a record")).collect()
    }

    #[test]
    fn consul_spells_addresses_out() {
        for (target, address) in [
            ("c0000201.addr.dc1.consul.", Some("192.0.2.1")),
            ("7F000001.ADDR.dc1.consul.", Some("127.0.0.1")),
            ("20010db8000000000000000000000001.addr.dc1.my.domain.", Some("2001:db8::1")),
            ("c0000201.addr.consul.", None),
            ("c000020.addr.dc1.consul.", None),
            ("c000020g.addr.dc1.consul.", None),
            ("0000_201.addr.dc1.consul.", None),
            ("c0000201.node.dc1.consul.", None),
            ("addr.", None),
        ] {
            assert_eq!(decode_consul(&name(target)), address.map(|text| text.parse().unwrap()), "{target}");
        }
    }

    #[test]
    fn additional_records_save_lookups() {
        let answers = [
            service(10, 5, 7443, "N1.example."),
            service(20, 0, 7444, "n2.example."),
            service(10, 1, 7445, "7f000001.addr.dc1.consul."),
        ];
        let answer = Answer::from_records(
            &answers,
            &[address("n1.example.", "10.0.0.1"), address("n1.example.", "fd00::1")],
        );
        assert_eq!(answer.without_address().collect::<Vec<_>>(), [&name("n2.example.")]);
        assert_eq!(answer.time_to_live, Duration::from_secs(30));
        let candidates = answer.candidates();
        let first = candidates[0].record.as_ref().unwrap();
        assert_eq!(
            (first.id.as_str(), first.address.as_str(), first.weight),
            ("10.0.0.1:7443", "10.0.0.1", 5)
        );
        assert_eq!(first.meta[PRIORITY_KEY], "10");
        assert_eq!(
            (first.meta[TARGET_KEY].as_str(), first.meta[ADDRESSES_KEY].as_str()),
            ("n1.example", "fd00::1")
        );
        assert_eq!(candidates[1].record, Err("its target has no address".into()));
        assert_eq!(candidates[2].record.as_ref().unwrap().id.as_str(), "127.0.0.1:7445");
    }

    #[test]
    fn a_weight_of_zero_is_no_refusal() {
        let answer = Answer::from_records(&[service(1, 0, 1, "7f000001.addr.dc1.consul.")], &[]);
        assert_eq!(records(&answer)[0].weight, 1);
    }

    #[test]
    fn an_ipv6_node_is_named_in_brackets() {
        let answer = Answer::from_records(
            &[service(1, 1, 7443, "n.example.")],
            &[address("n.example.", "2001:db8::1")],
        );
        let record = &records(&answer)[0];
        assert_eq!((record.id.as_str(), record.endpoint()), ("[2001:db8::1]:7443", record.id.to_string()));
    }

    #[test]
    fn the_root_as_target_means_not_available() {
        let answer = Answer::from_records(&[service(0, 0, 0, ".")], &[]);
        assert!(answer.unavailable && answer.services.is_empty());
    }
}
