//! What a registry says about a node. Static facts only; load is asked of the node itself.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{id::NodeId, identity::IdentityKey, statement::SignedStatement};

/// The service name under which nodes register.
pub const SERVICE: &str = "browser-node";
/// The port a node listens on unless told otherwise.
pub const DEFAULT_PORT: u16 = 7443;
/// Longest text field of a record in bytes; a longer one is garbage, not a name.
pub const MAX_FIELD_LENGTH: usize = 256;
/// Most tags of one record.
pub const MAX_TAGS: usize = 64;
/// Most metadata pairs of one record (Consul's own limit).
pub const MAX_META: usize = 64;
/// Longest metadata value in bytes (Consul's own limit is 512).
pub const MAX_META_VALUE_LENGTH: usize = 512;

/// One node as a catalog names it. Nothing in it is proof of who answers at that address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Unique within the fleet.
    pub id: NodeId,
    /// Host name or IP address, without brackets or port.
    pub address: String,
    /// TCP port of the node's HTTPS listener.
    pub port: u16,
    /// Where it stands, such as `eu-central`; empty when the catalog does not say (plain DNS).
    #[serde(default)]
    pub region: String,
    /// A part of the region, such as `eu-central-1a`; may be empty.
    #[serde(default)]
    pub zone: String,
    /// Version of `cbrowse-node`; may be empty.
    #[serde(default)]
    pub version: String,
    /// Free words to filter by.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Share of load relative to its peers, 1 unless an operator says otherwise; 0 takes no new session.
    #[serde(default = "one")]
    pub weight: u16,
    /// How many sessions it is built for; 0 when unknown.
    #[serde(default)]
    pub capacity: u32,
    /// Version of its Chromium, such as `156.0.8078.79`; may be empty.
    #[serde(default)]
    pub browser_version: String,
    /// The identity the entry claims: a hint, unless a fleet statement or the user's own file backs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<IdentityKey>,
    /// The fleet's word about that identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statement: Option<SignedStatement>,
    /// What the registry's health check last said.
    #[serde(default)]
    pub health: Health,
    /// Whatever else the registry holds.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub meta: BTreeMap<String, String>,
}

/// A node's health as registries tell it, best first. Catalogs without health checks list everything as passing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Serves.
    #[default]
    Passing,
    /// Serves, but is short of something; chosen after the others.
    Warning,
    /// Does not serve, or is in maintenance.
    Critical,
}

impl Health {
    /// All of them, best first.
    pub const ALL: [Self; 3] = [Self::Passing, Self::Warning, Self::Critical];
}

impl fmt::Display for Health {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Passing => "passing",
            Self::Warning => "warning",
            Self::Critical => "critical",
        })
    }
}

impl FromStr for Health {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|health| health.to_string() == text);
        found.ok_or_else(|| format!("{text:?} is not a health (passing, warning or critical)"))
    }
}

fn one() -> u16 {
    1
}

/// Why a record is not usable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Port 0 cannot be dialled.
    #[error("port 0 cannot be dialled")]
    PortZero,
    /// No address at all.
    #[error("the address is empty")]
    NoAddress,
    /// The address is neither an IP address nor a host name.
    #[error("{0:?} is neither an IP address nor a host name")]
    Address(String),
    /// A field over its limit.
    #[error("{field} has {length} bytes; {limit} are allowed")]
    TooLong {
        /// The field's name.
        field: &'static str,
        /// Its length in bytes.
        length: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// More items than a record may have.
    #[error("{field} has {count} entries; {limit} are allowed")]
    TooMany {
        /// The field's name.
        field: &'static str,
        /// How many there are.
        count: usize,
        /// How many may be.
        limit: usize,
    },
    /// Control characters could drive the user's terminal.
    #[error("{0} holds a control character")]
    Control(&'static str),
}

impl NodeRecord {
    /// Checks what no type can: a port, an address that could be one, lengths, and no control characters.
    pub fn check(&self) -> Result<(), RecordError> {
        if self.port == 0 {
            return Err(RecordError::PortZero);
        }
        check_address(&self.address)?;
        check_text("region", &self.region, MAX_FIELD_LENGTH)?;
        check_text("zone", &self.zone, MAX_FIELD_LENGTH)?;
        check_text("version", &self.version, MAX_FIELD_LENGTH)?;
        check_text("browser_version", &self.browser_version, MAX_FIELD_LENGTH)?;
        check_count("tags", self.tags.len(), MAX_TAGS)?;
        for tag in &self.tags {
            check_text("tags", tag, MAX_FIELD_LENGTH)?;
        }
        check_count("meta", self.meta.len(), MAX_META)?;
        for (key, value) in &self.meta {
            check_text("meta", key, MAX_FIELD_LENGTH)?;
            check_text("meta", value, MAX_META_VALUE_LENGTH)?;
        }
        Ok(())
    }

    /// `host:port` as a socket address is written, IPv6 in brackets.
    pub fn endpoint(&self) -> String {
        if self.address.contains(':') {
            format!("[{}]:{}", self.address, self.port)
        } else {
            format!("{}:{}", self.address, self.port)
        }
    }
}

fn check_address(address: &str) -> Result<(), RecordError> {
    if address.is_empty() {
        return Err(RecordError::NoAddress);
    }
    // RFC 1035: 253 characters is the longest name that DNS can carry.
    let host_name = address.len() <= 253
        && address.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
                && !label.starts_with('-')
        });
    if host_name || address.parse::<std::net::IpAddr>().is_ok() {
        return Ok(());
    }
    Err(RecordError::Address(address.chars().take(80).collect()))
}

fn check_text(field: &'static str, text: &str, limit: usize) -> Result<(), RecordError> {
    if text.len() > limit {
        return Err(RecordError::TooLong { field, length: text.len(), limit });
    }
    // Nearly all text is plain ASCII, which many bytes at once are seen to be.
    let is_plain = text.bytes().fold(true, |so_far, byte| so_far & (b' '..=b'~').contains(&byte));
    if !is_plain && text.chars().any(is_unprintable) {
        return Err(RecordError::Control(field));
    }
    Ok(())
}

fn check_count(field: &'static str, count: usize, limit: usize) -> Result<(), RecordError> {
    if count > limit {
        return Err(RecordError::TooMany { field, count, limit });
    }
    Ok(())
}

/// Control characters, and the marks that reorder text on a terminal (Unicode bidirectional controls).
pub fn is_unprintable(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Text from a stranger made safe for a terminal: unprintable characters become `\u{fffd}`, length is capped.
pub fn printable(text: &str, limit: usize) -> String {
    text.chars()
        .take(limit)
        .map(|character| if is_unprintable(character) { '\u{fffd}' } else { character })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> NodeRecord {
        serde_json::from_str(r#"{"id":"n1","address":"192.0.2.7","port":7443}"#).expect("a minimal record")
    }

    #[test]
    fn a_minimal_record_is_enough() {
        let record = record();
        assert_eq!(record.check(), Ok(()));
        assert_eq!(record.weight, 1);
        assert_eq!(record.endpoint(), "192.0.2.7:7443");
    }

    #[test]
    fn garbage_is_named() {
        let spoil = |change: fn(&mut NodeRecord)| {
            let mut record = record();
            change(&mut record);
            record.check().expect_err("garbage")
        };
        assert_eq!(spoil(|r| r.port = 0), RecordError::PortZero);
        assert_eq!(spoil(|r| r.address.clear()), RecordError::NoAddress);
        assert!(matches!(spoil(|r| r.address = "a b".into()), RecordError::Address(_)));
        assert!(matches!(spoil(|r| r.address = "http://x/".into()), RecordError::Address(_)));
        assert_eq!(spoil(|r| r.region = "\u{1b}[31m".into()), RecordError::Control("region"));
        assert_eq!(spoil(|r| r.zone = "a\u{202e}b".into()), RecordError::Control("zone"));
        assert!(matches!(
            spoil(|r| r.meta = [("k".into(), "v".repeat(1 << 20))].into()),
            RecordError::TooLong { field: "meta", .. }
        ));
        assert!(matches!(
            spoil(|r| r.tags = vec![String::new(); MAX_TAGS + 1]),
            RecordError::TooMany { field: "tags", .. }
        ));
    }

    #[test]
    fn ipv6_is_written_in_brackets() {
        let mut record = record();
        record.address = "2001:db8::1".into();
        assert_eq!(record.check(), Ok(()));
        assert_eq!(record.endpoint(), "[2001:db8::1]:7443");
    }

    #[test]
    fn strangers_text_is_cleaned_for_the_terminal() {
        assert_eq!(printable("a\u{1b}[2J\n", 4), "a\u{fffd}[2");
    }
}
