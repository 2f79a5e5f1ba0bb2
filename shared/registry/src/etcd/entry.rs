//! Keys and what stands there, to node records and back.
//!
//! The key is `PREFIX/ID`, the value the record as JSON: what `cbrowse nodes list --json` prints for one node.

use cbrowse_protocol::{id::NodeId, node::NodeRecord};

use super::{answer::Entry, client::Range};
use crate::{
    record,
    screen::{Candidate, checked},
};

/// Longest value in bytes that is looked into: the largest record that passes every check is shorter. Longer: a page of
/// such values keeps a client busy for nothing.
pub(super) const MAX_VALUE_LENGTH: usize = 256 << 10;

/// Every key below a prefix.
pub(super) fn below(prefix: &str) -> Range {
    let mut key = prefix.as_bytes().to_vec();
    let mut end = key.clone();
    key.push(b'/');
    end.push(b'/' + 1);
    Range { key, end, ..Range::default() }
}

/// Where a node's record stands.
pub(super) fn key(prefix: &str, id: &NodeId) -> String {
    format!("{prefix}/{id}")
}

/// Which node a key below `prefix` is for, if for any.
pub(super) fn id(prefix: &str, key: &[u8]) -> Option<NodeId> {
    std::str::from_utf8(last_part(prefix, key)?).ok()?.parse().ok()
}

/// An entry below `prefix`, understood as far as it can be.
pub(super) fn candidate(prefix: &str, entry: &Entry) -> Candidate {
    Candidate { entry: String::from_utf8_lossy(&entry.key).into_owned(), record: record(prefix, entry) }
}

fn last_part<'key>(prefix: &str, key: &'key [u8]) -> Option<&'key [u8]> {
    key.strip_prefix(prefix.as_bytes())?.strip_prefix(b"/")
}

fn record(prefix: &str, entry: &Entry) -> Result<NodeRecord, String> {
    let length = entry.value.len();
    if length > MAX_VALUE_LENGTH {
        return Err(format!("the value has {length} bytes; {MAX_VALUE_LENGTH} are allowed"));
    }
    let record: NodeRecord = record::from_json(&entry.value).map_err(|error| {
        format!(
            "the value is no node record as JSON ({error}); cbrowse nodes list --json prints such records"
        )
    })?;
    let last = last_part(prefix, &entry.key).unwrap_or_default();
    if last != record.id.as_str().as_bytes() {
        let last = String::from_utf8_lossy(last);
        return Err(format!("the key ends with {last:?}, the record is that of {:?}", record.id.as_str()));
    }
    checked(record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd::{Revision, answer::Mark};

    fn judged(key: &str, value: &str) -> Result<NodeRecord, String> {
        let mark = Mark { created: Revision::default(), modified: Revision::default(), lease: None };
        let entry = Entry { key: key.into(), value: value.into(), mark };
        candidate("a/b", &entry).record
    }

    const VALUE: &str = r#"{"id":"n1","address":"10.0.0.1","port":7443}"#;

    #[test]
    fn the_key_says_which_node_it_is() {
        assert_eq!(judged("a/b/n1", VALUE).expect("the same id").id.as_str(), "n1");
        for key in ["a/b/n2", "a/b/n1/", "a/b/c/n1", "a/b", "other/n1"] {
            let reason = judged(key, VALUE).expect_err(key);
            assert!(reason.contains("\"n1\""), "{reason}");
        }
        let id = |key: &[u8]| id("a/b", key).map(String::from);
        assert_eq!(id(b"a/b/n1").as_deref(), Some("n1"));
        for key in [&b"a/b/"[..], b"a/b", b"a/b/c/n1", b"a/bn1", b"a/b/\xff", b"a/b/\x1b"] {
            assert_eq!(id(key), None);
        }
    }

    #[test]
    fn what_is_no_record_says_what_is_missing() {
        let reason = judged("a/b/n1", r#"{"id":"n1","address":"10.0.0.1"}"#).unwrap_err();
        assert!(reason.contains("`port`") && reason.contains("nodes list --json"), "{reason}");
        assert!(judged("a/b/n1", "").is_err());
        let padded = |length: usize| format!("{VALUE}{}", " ".repeat(length - VALUE.len()));
        assert!(judged("a/b/n1", &padded(MAX_VALUE_LENGTH)).is_ok());
        assert!(judged("a/b/n1", &padded(MAX_VALUE_LENGTH + 1)).unwrap_err().contains("bytes"));
    }

    #[test]
    fn the_range_holds_what_is_below_and_nothing_else() {
        let range = below("a/b");
        let holds = |key: &str| (&*range.key..&*range.end).contains(&key.as_bytes());
        for (key, inside) in
            [("a/b/n1", true), ("a/b/", true), ("a/b", false), ("a/b0", false), ("a/bc/n", false)]
        {
            assert_eq!(holds(key), inside, "{key}");
        }
    }
}
