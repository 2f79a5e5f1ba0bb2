//! What a page may name: a DNS name in the plainest form, or one IP address in its one canonical form.

use std::{fmt, net::IpAddr};

/// Longest name in bytes (RFC 1035 section 2.3.4, without the root's dot).
const MAX_NAME: usize = 253;
/// Longest label in bytes (RFC 1035 section 2.3.4).
const MAX_LABEL: usize = 63;

/// A destination's host.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// A name in lower case, without a trailing dot, which is no number in any notation.
    Name(String),
    /// An address; an IPv4-mapped one is held as the IPv4 address it is.
    Address(IpAddr),
}

/// The text is neither a plain name nor a canonical address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a plain host name or address")]
pub struct MalformedHost;

impl Host {
    /// Reads a host strictly.
    ///
    /// What `inet_aton` would take for an address and this does not (`127.1`, `0x7f.1`, `017700000001`,
    /// `2130706433`) is refused rather than left to a resolver: a name whose last label is a number is no name
    /// (RFC 3696 section 2; the URL standard's "ends in a number").
    pub fn parse(text: &str) -> Result<Self, MalformedHost> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Address(address.to_canonical()));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.len() > MAX_NAME || !name.split('.').all(is_label) || ends_in_number(name) {
            return Err(MalformedHost);
        }
        Ok(Self::Name(name.to_ascii_lowercase()))
    }

    /// Whether this is `domain` (lower case) or a name below it.
    pub fn is_within(&self, domain: &str) -> bool {
        let Self::Name(name) = self else { return false };
        name.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }
}

/// Letters, digits, hyphens inside (RFC 1123 section 2.1), and the underscore that real names carry.
fn is_label(label: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let edge = |byte: Option<&u8>| byte.is_some_and(|byte| *byte != b'-');
    let bytes = label.as_bytes();
    bytes.len() <= MAX_LABEL && bytes.iter().copied().all(plain) && edge(bytes.first()) && edge(bytes.last())
}

fn ends_in_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    let hexadecimal = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    last.bytes().all(|byte| byte.is_ascii_digit())
        || hexadecimal.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

impl fmt::Display for Host {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => formatter.write_str(name),
            Self::Address(address) => address.fmt(formatter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_and_addresses_are_read() {
        for (text, expected) in [
            ("example.com", "example.com"),
            ("EXAMPLE.com.", "example.com"),
            ("a_b.example", "a_b.example"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("1.2.3.4.example", "1.2.3.4.example"),
            ("0xyz.example", "0xyz.example"),
            ("127.0.0.1", "127.0.0.1"),
            ("::ffff:127.0.0.1", "127.0.0.1"),
            ("::FFFF:7f00:1", "127.0.0.1"),
            ("2606:4700::1111", "2606:4700::1111"),
        ] {
            assert_eq!(Host::parse(text).map(|host| host.to_string()).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn odd_forms_are_refused() {
        let long_label = format!("{}.example", "a".repeat(64));
        let long_name = format!("{}a", "a.".repeat(127));
        for text in [
            "",
            ".",
            "..",
            "a..b",
            "example.com..",
            "127.1",
            "127.0.1",
            "127.0.0.1.",
            "2130706433",
            "0x7f.1",
            "0x7f000001",
            "0X7F.0.0.1",
            "0x",
            "a.0x",
            "017700000001",
            "0177.0.0.1",
            "127.0.0.01",
            "127.0.0.256",
            "1.2.3.4.5",
            "example.1",
            "[::1]",
            "::1.",
            "fe80::1%eth0",
            "fe80::1%25eth0",
            "%31%32%37.0.0.1",
            "127%2e0.0.1",
            "localhost%00.example",
            "localhost\0",
            "a b",
            " localhost",
            "localhost\n",
            "user@host",
            "host:80",
            "a/b",
            "a\\b",
            "127。0。0。1",
            "①②⑦.0.0.1",
            "bücher.example",
            "-a.example",
            "a-.example",
            "::ffff:0x7f.1",
            "1::2::3",
            &long_label,
            &long_name,
        ] {
            assert_eq!(Host::parse(text), Err(MalformedHost), "{text:?}");
        }
    }

    #[test]
    fn a_domain_holds_itself_and_what_is_below() {
        let host = Host::parse("a.b.example").unwrap();
        assert!(host.is_within("b.example") && host.is_within("a.b.example") && host.is_within("example"));
        assert!(!host.is_within("x.a.b.example") && !host.is_within(".example") && !host.is_within("ample"));
        assert!(!Host::parse("127.0.0.1").unwrap().is_within("0.0.1"));
    }
}
