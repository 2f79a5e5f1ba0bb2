//! Which resolvers a network has: the servers and search domains of `resolv.conf`, and behind a stub on this machine those
//! that it asks in turn.

use std::{collections::BTreeSet, net::IpAddr};

use super::text;

/// Where the system's own resolver reads.
const CONFIGURATION: &str = "/etc/resolv.conf";
/// Where stubs write down whom they ask: systemd-resolved, NetworkManager, resolvconf.
const UPSTREAM: [&str; 3] = [
    "/run/systemd/resolve/resolv.conf",
    "/run/NetworkManager/no-stub-resolv.conf",
    "/run/dnsmasq/resolv.conf",
];
/// Servers and search domains that count, of each; systems use three and six.
const MOST: usize = 16;
/// Longest search domain in bytes, which is a name's own limit.
const MAX_DOMAIN: usize = 255;

/// What tells this network's resolvers from others.
pub(super) fn marks() -> BTreeSet<String> {
    let own = parse(&text(CONFIGURATION));
    let mut marks = own.marks();
    if own.is_stub() {
        marks.extend(
            UPSTREAM
                .iter()
                .map(|path| parse(&text(path)))
                .find(|found| !found.servers.is_empty())
                .iter()
                .flat_map(Resolvers::marks),
        );
    }
    marks
}

/// What a `resolv.conf` says, in no order: some systems turn the servers round.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolvers {
    servers: BTreeSet<String>,
    search: BTreeSet<String>,
}

impl Resolvers {
    /// Whether all of them are on this machine, as in every network that it joins.
    pub fn is_stub(&self) -> bool {
        let is_loopback =
            |server: &String| server.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        !self.servers.is_empty() && self.servers.iter().all(is_loopback)
    }

    /// One line each.
    pub fn marks(&self) -> BTreeSet<String> {
        let servers = self.servers.iter().map(|server| format!("resolver {server}"));
        servers.chain(self.search.iter().map(|domain| format!("search {domain}"))).collect()
    }
}

/// Reads a `resolv.conf`. Lines that make no sense are passed over.
pub fn parse(text: &str) -> Resolvers {
    let mut resolvers = Resolvers::default();
    for line in text.lines() {
        let line = line.split(['#', ';']).next().unwrap_or_default();
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") if resolvers.servers.len() < MOST => {
                // The interface behind a link-local address has another name on another day.
                let address = words.next().and_then(|word| word.split('%').next());
                let address = address.and_then(|address| address.parse::<IpAddr>().ok());
                resolvers.servers.extend(address.map(|address| address.to_string()));
            }
            Some("search" | "domain") => {
                let domains = words.filter(|domain| domain.len() <= MAX_DOMAIN);
                let domains = domains.map(|domain| domain.trim_end_matches('.').to_ascii_lowercase());
                let room = MOST.saturating_sub(resolvers.search.len());
                resolvers.search.extend(domains.filter(|domain| !domain.is_empty()).take(room));
            }
            _ => {}
        }
    }
    resolvers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks_of(text: &str) -> Vec<String> {
        parse(text).marks().into_iter().collect()
    }

    #[test]
    fn servers_and_domains_count_in_any_order_and_spelling() {
        let text = "# made by dhclient\nsearch Lan.Example. corp.example\nnameserver 192.168.1.1\n\
                    nameserver fe80::1%wlan0\noptions edns0 trust-ad\nnameserver\nnameserver garbage\n";
        let expected =
            ["resolver 192.168.1.1", "resolver fe80::1", "search corp.example", "search lan.example"];
        assert_eq!(marks_of(text), expected);
        let turned = "nameserver fe80::1%eth0\nnameserver 192.168.1.1 ; first\ndomain corp.example\nsearch lan.example";
        assert_eq!(marks_of(turned), expected);
    }

    #[test]
    fn a_stub_is_one_only_when_every_server_is_on_this_machine() {
        assert!(parse("nameserver 127.0.0.53\nsearch lan\n").is_stub());
        assert!(parse("nameserver 127.0.0.1\nnameserver ::1").is_stub());
        assert!(!parse("nameserver 127.0.0.53\nnameserver 9.9.9.9").is_stub());
        assert!(!parse("search lan").is_stub());
    }

    #[test]
    fn what_is_endless_is_cut() {
        let many = |count: usize| {
            let servers = (0..count).map(|index| format!("nameserver 10.0.0.{index}\n"));
            let domains = (0..count).map(|index| format!("search d{index}\n"));
            let lines = servers.chain(domains).collect::<Vec<_>>().concat();
            parse(&(lines + &"x".repeat(10_000)))
        };
        for (count, kept) in [(MOST - 1, MOST - 1), (MOST, MOST), (MOST + 1, MOST)] {
            assert_eq!((many(count).servers.len(), many(count).search.len()), (kept, kept));
        }
        let long = format!("search {} {}", "a".repeat(MAX_DOMAIN), "b".repeat(MAX_DOMAIN + 1));
        assert_eq!(parse(&long).search.len(), 1);
        assert_eq!(marks_of("\u{0}\u{1}\nnameserver\tnameserver\nsearch .\n"), Vec::<String>::new());
    }
}
