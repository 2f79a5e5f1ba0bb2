//! A node's fields as words in a registry's own metadata, for registries that have no field for them, and back.
//!
//! Empty words say nothing. What is no field's word stays what it is: the record's own metadata.

use std::{collections::BTreeMap, str::FromStr};

use cbrowse_protocol::node::NodeRecord;
use serde::de::DeserializeOwned;

/// What a registry holds, of which fields are taken word by word; the rest is the node's own metadata.
#[derive(Debug, Default)]
pub(crate) struct Words(BTreeMap<String, String>);

impl Words {
    /// The word under a key, if it says something.
    pub(crate) fn take(&mut self, key: &str) -> Option<String> {
        self.0.remove(key).filter(|text| !text.is_empty())
    }

    pub(crate) fn number<Number: FromStr>(&mut self, key: &str) -> Result<Option<Number>, String> {
        let parse =
            |text: String| text.parse().map_err(|_| format!("{key} {text:?} is not a number in range"));
        self.take(key).map(parse).transpose()
    }

    /// What JSON writes as a string: keys and statements.
    pub(crate) fn value<Value: DeserializeOwned>(&mut self, key: &str) -> Result<Option<Value>, String> {
        let parse = |text: String| {
            serde_json::from_value(serde_json::Value::String(text)).map_err(|error| format!("{key}: {error}"))
        };
        self.take(key).map(parse).transpose()
    }

    /// What nobody took.
    pub(crate) fn rest(self) -> BTreeMap<String, String> {
        self.0
    }
}

impl From<BTreeMap<String, String>> for Words {
    fn from(words: BTreeMap<String, String>) -> Self {
        Self(words)
    }
}

/// The fields that no registry has one for, beside the record's own metadata and `more`, which this registry has none
/// for either.
pub(crate) fn of<'key>(
    record: &NodeRecord,
    more: impl IntoIterator<Item = (&'key str, Option<String>)>,
) -> BTreeMap<String, String> {
    let fields = [
        ("region", Some(record.region.clone())),
        ("zone", Some(record.zone.clone())),
        ("version", Some(record.version.clone())),
        ("browser_version", Some(record.browser_version.clone())),
        ("capacity", (record.capacity > 0).then(|| record.capacity.to_string())),
        ("identity", record.identity.map(|identity| identity.to_string())),
        ("statement", record.statement.as_ref().map(ToString::to_string)),
    ];
    let mut words = record.meta.clone();
    for (key, word) in fields.into_iter().chain(more) {
        if let Some(word) = word.filter(|word| !word.is_empty()) {
            words.insert(key.to_owned(), word);
        }
    }
    words
}

/// The words between commas.
pub(crate) fn between_commas(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// A number that a registry holds as such.
pub(crate) fn in_range(field: &str, number: i64) -> Result<u16, String> {
    u16::try_from(number).map_err(|_| format!("{field} {number} is not between 0 and {}", u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_words_say_nothing_and_what_nobody_takes_is_left() {
        let pairs = [("capacity", ""), ("port", "65536"), ("rack", "r1"), ("zone", "a")];
        let mut words = Words(pairs.map(|(key, word)| (key.to_owned(), word.to_owned())).into());
        assert_eq!((words.take("zone"), words.take("zone")), (Some("a".to_owned()), None));
        assert_eq!(words.number::<u32>("capacity"), Ok(None));
        assert_eq!(words.number::<u16>("port"), Err("port \"65536\" is not a number in range".to_owned()));
        assert_eq!(words.rest(), BTreeMap::from([("rack".to_owned(), "r1".to_owned())]));
    }

    #[test]
    fn numbers_are_of_16_bits() {
        assert_eq!((in_range("port", 0), in_range("port", 65_535)), (Ok(0), Ok(65_535)));
        assert!(in_range("port", -1).is_err_and(|text| text.contains("port -1")));
        assert!(in_range("port", 65_536).is_err());
    }

    #[test]
    fn commas_part_words_and_blanks_do_not_count() {
        assert_eq!(between_commas(" fast ,, gpu,"), ["fast", "gpu"]);
        assert!(between_commas(" , ").is_empty());
    }
}
