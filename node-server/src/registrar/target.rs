//! One entry of the file: what registries are told, and how the node is checked.

use std::fmt;

use cbrowse_protocol::node::{NodeRecord, printable};
use serde::Deserialize;

/// Metadata that says how a node is checked; registries are not told.
const CHECK_KEY: &str = "check";
/// Metadata that says what is asked for over HTTP; registries are not told.
const PATH_KEY: &str = "check_path";
/// What a node of ours answers with a status that says how it is; others ignore the query.
const USUAL_PATH: &str = "/health?consul";

/// How a node is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum CheckKind {
    /// GET over TLS: 2xx is passing, 429 is warning, anything else is critical.
    #[default]
    Https,
    /// The same without TLS.
    Http,
    /// A connection.
    Tcp,
    /// grpc.health.v1 over TLS.
    Grpc,
    /// Not at all: the entry's own `health` is what counts.
    None,
}

impl fmt::Display for CheckKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Https => "https",
            Self::Http => "http",
            Self::Tcp => "tcp",
            Self::Grpc => "grpc",
            Self::None => "none",
        })
    }
}

/// A node to register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// What registries are told, its health aside.
    pub record: NodeRecord,
    /// How it is checked.
    pub check: CheckKind,
    /// What is asked for over HTTP, query included.
    pub path: String,
}

impl Target {
    /// Understands an entry; `usual` is the check of one that names none. The error is for people.
    pub fn new(mut record: NodeRecord, usual: CheckKind) -> Result<Self, String> {
        let check = match record.meta.remove(CHECK_KEY) {
            Some(word) => kind(&word)?,
            None => usual,
        };
        if check == CheckKind::Grpc && !cfg!(feature = "grpc-health") {
            return Err("this cbrowse-node is built without gRPC; check it by https".to_owned());
        }
        let path = record.meta.remove(PATH_KEY).unwrap_or_else(|| USUAL_PATH.to_owned());
        if !path.starts_with('/') || path.parse::<http::uri::PathAndQuery>().is_err() {
            let path = printable(&path, 80);
            return Err(format!("its {PATH_KEY} {path:?} is no path, such as /health"));
        }
        Ok(Self { record, check, path })
    }

    /// Whether what is known of the node's health holds for `other`, too.
    pub(super) fn is_checked_like(&self, other: &Self) -> bool {
        let place = |target: &Self| (target.record.endpoint(), target.record.identity, target.check);
        place(self) == place(other) && self.path == other.path
    }
}

fn kind(word: &str) -> Result<CheckKind, String> {
    clap::ValueEnum::from_str(word, false).map_err(|_| {
        let word = printable(word, 40);
        format!("its {CHECK_KEY} {word:?} is none of https, http, tcp, grpc and none")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(meta: &[(&str, &str)]) -> NodeRecord {
        let record =
            serde_json::json!({"id": "n1", "address": "127.0.0.1", "port": 1, "meta": {"rack": "r1"}});
        let mut record: NodeRecord = serde_json::from_value(record).expect("a record");
        record.meta.extend(meta.iter().map(|&(key, value)| (key.into(), value.into())));
        record
    }

    #[test]
    fn how_a_node_is_checked_stays_between_the_file_and_us() {
        let target = Target::new(entry(&[("check", "http"), ("check_path", "/up?x=1")]), CheckKind::Tcp);
        let target = target.expect("a target");
        assert_eq!((target.check, target.path.as_str()), (CheckKind::Http, "/up?x=1"));
        assert_eq!(target.record.meta, [("rack".into(), "r1".into())].into());
        let usual = Target::new(entry(&[]), CheckKind::Tcp).expect("a target");
        assert_eq!((usual.check, usual.path.as_str()), (CheckKind::Tcp, USUAL_PATH));
        assert!(!usual.is_checked_like(&target));
        let retagged = Target { record: NodeRecord { weight: 9, ..usual.record.clone() }, ..usual.clone() };
        assert!(usual.is_checked_like(&retagged) && usual != retagged);
    }

    #[test]
    fn garbage_is_named() {
        for (key, value) in
            [("check", "ping"), ("check", "HTTPS"), ("check_path", "health"), ("check_path", "/a b")]
        {
            let error = Target::new(entry(&[(key, value)]), CheckKind::Https).expect_err(value);
            assert!(error.contains(key) && error.contains(value), "{error}");
        }
    }
}
