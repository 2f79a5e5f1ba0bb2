//! Whether a page may reach a destination: a pure decision over the name, the port and the addresses it has.

use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
};

use super::{
    address::{Kind, forms, kind},
    host::Host,
    refusal::Refusal,
    rules::{Allow, Deny},
};

/// Ports no page may reach, since their servers could be made to take HTTP for their own protocol: the "bad ports"
/// of the Fetch standard, section 2.9. Mail is among them, which keeps a node from being used to send it.
const BAD_PORTS: [u16; 83] = [
    0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103,
    104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514,
    515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723,
    2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080,
];

/// Domains that never mean a place on the Internet, and that a resolver outside must not even hear of.
const RESERVED_DOMAINS: [&str; 10] = [
    "localhost",    // RFC 6761 section 6.3
    "invalid",      // RFC 6761 section 6.4
    "test",         // RFC 6761 section 6.2
    "local",        // RFC 6762: multicast DNS
    "internal",     // ICANN, 2024: private use; clouds name their metadata services here
    "home.arpa",    // RFC 8375
    "onion",        // RFC 7686
    "alt",          // RFC 9476
    "localdomain",  // by habit in /etc/hosts
    "service.arpa", // RFC 9665
];

/// An address that may be dialled, and on whose word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permit {
    /// The address that was checked: dial this one, and no name.
    pub address: SocketAddr,
    /// Who says so.
    pub grant: Grant,
}

/// On whose word an address may be dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// Nothing speaks against it.
    Public,
    /// An allow rule.
    Operator,
}

/// What the node decides about destinations. Deny rules come first, then exact allow rules, then what the fleet
/// protects, then allowed networks, then the default: the public Internet and nothing else.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    allow: Vec<Allow>,
    deny: Vec<Deny>,
    protected: HashSet<IpAddr>,
}

impl Policy {
    /// A policy with the operator's rules, and the addresses of the node (as the outside knows them; its interfaces
    /// are found by the guard itself), of its registries and its peers.
    pub fn new(allow: Vec<Allow>, deny: Vec<Deny>, protected: impl IntoIterator<Item = IpAddr>) -> Self {
        let protected = protected.into_iter().map(|address| address.to_canonical()).collect();
        Self { allow, deny, protected }
    }

    /// What can be decided before anybody is asked about the name.
    pub fn admit(&self, host: &Host, port: u16) -> Result<(), Refusal> {
        if self.deny.iter().any(|rule| rule.closes_name(host)) {
            return Err(Refusal::Denied);
        }
        if self.is_named(host, port) {
            return Ok(());
        }
        if BAD_PORTS.contains(&port) {
            return Err(Refusal::BadPort(port));
        }
        if is_reserved(host) { Err(Refusal::ReservedName) } else { Ok(()) }
    }

    /// Which of the host's addresses may be dialled, in their order. Refuses with the first address's reason when
    /// there is none; an address literal stands for itself, whatever `addresses` says.
    pub fn check(&self, host: &Host, port: u16, addresses: &[IpAddr]) -> Result<Vec<Permit>, Refusal> {
        self.admit(host, port)?;
        let itself = match host {
            Host::Address(address) => Some(*address),
            Host::Name(_) => None,
        };
        let addresses = itself.as_ref().map_or(addresses, std::slice::from_ref);
        let mut first = None;
        let mut permits = Vec::new();
        for address in addresses {
            match self.judge(host, port, *address) {
                Ok(grant) => {
                    permits.push(Permit { address: SocketAddr::new(address.to_canonical(), port), grant });
                }
                Err(refusal) => {
                    first.get_or_insert(refusal);
                }
            }
        }
        if permits.is_empty() { Err(first.unwrap_or(Refusal::Unresolved)) } else { Ok(permits) }
    }

    fn judge(&self, host: &Host, port: u16, address: IpAddr) -> Result<Grant, Refusal> {
        let forms = forms(address);
        if forms.clone().any(|form| self.deny.iter().any(|rule| rule.closes_address(form))) {
            return Err(Refusal::Denied);
        }
        if self.is_named(host, port) {
            return named(host, address);
        }
        if forms.clone().any(|form| self.protected.contains(&form)) {
            return Err(Refusal::Protected);
        }
        let Some(kind) = kind(address) else { return Ok(Grant::Public) };
        let opens = |rule: &Allow| forms.clone().any(|form| rule.opens(form, port, kind));
        if self.allow.iter().any(opens) { Ok(Grant::Operator) } else { Err(Refusal::Address(kind)) }
    }

    fn is_named(&self, host: &Host, port: u16) -> bool {
        self.allow.iter().any(|rule| rule.names(host, port))
    }
}

/// An operator who names a host trusts whoever answers for the name, but not with the machine's credentials; those
/// open only to their address itself.
fn named(host: &Host, address: IpAddr) -> Result<Grant, Refusal> {
    match (host, kind(address)) {
        (Host::Name(_), Some(Kind::Metadata)) => Err(Refusal::Address(Kind::Metadata)),
        _ => Ok(Grant::Operator),
    }
}

/// Reserved, or without a dot: such a name means something only inside a network (RFC 7085), and resolvers would try
/// their search lists on it.
fn is_reserved(host: &Host) -> bool {
    match host {
        Host::Address(_) => false,
        Host::Name(name) => {
            !name.contains('.') || RESERVED_DOMAINS.iter().any(|domain| host.is_within(domain))
        }
    }
}

#[cfg(test)]
mod tests;
