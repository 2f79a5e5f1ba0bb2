//! The operator's own rules, as they are written in the settings: what to open, what to close.

use std::{net::IpAddr, str::FromStr};

use ipnet::IpNet;

use super::{
    address::{Kind, is_loopback},
    host::Host,
};

/// Opens what the defaults close.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allow {
    /// `10.1.0.0/16` or `10.1.0.0/16:8080`: a network, on one port or on all that are fit for pages. Any name that
    /// resolves into it passes, so a page whose owner points a name there can read what it serves (DNS rebinding).
    Network {
        /// The addresses.
        network: IpNet,
        /// The port; all of them without.
        port: Option<u16>,
    },
    /// `intranet.example:443`, `10.1.2.3:8080`, `[fd00::1]:80`: what the page names, letter for letter.
    Exact {
        /// The host.
        host: Host,
        /// The port.
        port: u16,
    },
}

/// Closes what the defaults and the allow rules open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deny {
    /// `example.com`: the name and every name below it.
    Domain(String),
    /// `203.0.113.0/24` or one address.
    Network(IpNet),
}

/// A rule that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// Not an allow rule.
    #[error(
        "{0:?} is no allow rule: write a network (10.1.0.0/16, 10.1.0.0/16:8080) or a host and port (intranet.example:443)"
    )]
    Allow(String),
    /// Not a deny rule.
    #[error("{0:?} is no deny rule: write a domain (example.com) or a network (203.0.113.0/24)")]
    Deny(String),
}

impl Allow {
    /// Whether this names the destination as the page named it.
    pub(crate) fn names(&self, host: &Host, port: u16) -> bool {
        matches!(self, Self::Exact { host: ours, port: its } if ours == host && *its == port)
    }

    /// Whether this opens a special address. Credentials (metadata) and what is no single machine stay closed to a
    /// network however wide; the machine itself opens only to a rule that speaks of nothing else, so that
    /// `0.0.0.0/0` is no way in.
    pub(crate) fn opens(&self, address: IpAddr, port: u16, kind: Kind) -> bool {
        let Self::Network { network, port: its } = self else { return false };
        let fits = match kind {
            Kind::Metadata | Kind::Unspecified | Kind::Multicast | Kind::Broadcast => false,
            Kind::Loopback => is_loopback(*network),
            _ => true,
        };
        fits && network.contains(&address) && its.is_none_or(|its| its == port)
    }
}

impl Deny {
    pub(crate) fn closes_name(&self, host: &Host) -> bool {
        matches!(self, Self::Domain(domain) if host.is_within(domain))
    }

    pub(crate) fn closes_address(&self, address: IpAddr) -> bool {
        matches!(self, Self::Network(network) if network.contains(&address))
    }
}

impl FromStr for Allow {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let error = || RuleError::Allow(text.to_owned());
        if let Ok(network) = network(text) {
            return Ok(Self::Network { network, port: None });
        }
        let (left, port) = text.rsplit_once(':').ok_or_else(error)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(error)?;
        if left.contains('/') {
            return Ok(Self::Network { network: network(left).map_err(|()| error())?, port: Some(port) });
        }
        let inner = left.strip_prefix('[').and_then(|left| left.strip_suffix(']'));
        let host = Host::parse(inner.unwrap_or(left)).map_err(|_| error())?;
        // `::1:80` could be read twice; brackets say which.
        let is_v6 = matches!(host, Host::Address(IpAddr::V6(_))) || left.contains("::");
        if is_v6 != inner.is_some() {
            return Err(error());
        }
        Ok(Self::Exact { host, port })
    }
}

impl FromStr for Deny {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        if let Ok(network) = network(text) {
            return Ok(Self::Network(network));
        }
        match Host::parse(text.strip_prefix('.').unwrap_or(text)) {
            Ok(Host::Name(domain)) => Ok(Self::Domain(domain)),
            _ => Err(RuleError::Deny(text.to_owned())),
        }
    }
}

/// A network, or an address as the network that holds it alone. Bits beyond the prefix are dropped.
fn network(text: &str) -> Result<IpNet, ()> {
    let address = text.parse::<IpAddr>().map(IpNet::from);
    text.parse::<IpNet>().or(address).map(|network| network.trunc()).map_err(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read() {
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        let exact = |host: &str, port| Allow::Exact { host: Host::parse(host).unwrap(), port };
        let wide = |text: &str, port| Allow::Network { network: net(text), port };
        for (text, expected) in [
            ("10.1.0.0/16", wide("10.1.0.0/16", None)),
            ("10.1.2.3/16:8080", wide("10.1.0.0/16", Some(8080))),
            ("10.1.2.3", wide("10.1.2.3/32", None)),
            ("fd00::/8", wide("fd00::/8", None)),
            ("fd00::/8:443", wide("fd00::/8", Some(443))),
            ("Intranet.example:443", exact("intranet.example", 443)),
            ("127.0.0.1:9000", exact("127.0.0.1", 9000)),
            ("[::1]:80", exact("::1", 80)),
        ] {
            assert_eq!(text.parse::<Allow>(), Ok(expected), "{text}");
        }
        assert_eq!("example.com".parse(), Ok(Deny::Domain("example.com".into())));
        assert_eq!(".example.com".parse(), Ok(Deny::Domain("example.com".into())));
        assert_eq!("10.0.0.1".parse(), Ok(Deny::Network(net("10.0.0.1/32"))));
    }

    #[test]
    fn what_is_no_rule_is_named() {
        for text in [
            "",
            "intranet.example",
            "a:b",
            "host:0",
            "host:65536",
            "10.0.0.0/33",
            "10.0.0.0/8:",
            "*",
            "[::1:80",
            "[a.example]:80",
            "127.1:80",
        ] {
            assert_eq!(text.parse::<Allow>(), Err(RuleError::Allow(text.into())), "{text}");
        }
        for text in ["", "*.example.com", "127.1", "10.0.0.0/40", "http://x"] {
            assert_eq!(text.parse::<Deny>(), Err(RuleError::Deny(text.into())), "{text}");
        }
    }
}
