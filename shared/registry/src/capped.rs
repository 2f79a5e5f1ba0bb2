//! The first elements of a list. A stranger's list is as long as it likes, and an element takes many times the memory
//! of its text: 64 MiB of `0,` would become ten gigabytes of rejected entries.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor},
};

use crate::screen::{Candidate, MAX_NODES};

/// Most entries of one answer that are looked at: those of a full catalog, and as much garbage. More: whoever may write
/// to the registry fills the memory of every client; fewer: garbage crowds a full catalog's nodes out.
pub(crate) const MAX_ENTRIES: usize = 2 * MAX_NODES;
/// Longest text of one entry in bytes that is looked into: a record that passes every check has a quarter of it, and a
/// registry says as much again of its checks. Longer: one entry keeps a client busy for nothing.
const MAX_ENTRY_LENGTH: usize = 1 << 20;

/// At most [`MAX_ENTRIES`] elements, and how many more there were.
#[derive(Debug)]
pub(crate) struct Capped<Element> {
    pub(crate) first: Vec<Element>,
    pub(crate) unread: usize,
}

impl<Element> Default for Capped<Element> {
    fn default() -> Self {
        Self { first: Vec::new(), unread: 0 }
    }
}

impl<Element> Capped<Element> {
    /// What stands for the elements that were not read, among the rejected ones.
    pub(crate) fn rest(&self) -> Option<Candidate> {
        let Self { unread, .. } = self;
        (*unread > 0).then(|| Candidate {
            entry: format!("{unread} more entries"),
            record: Err(format!("only the first {MAX_ENTRIES} entries are read")),
        })
    }
}

impl<'text, Element: Deserialize<'text>> Deserialize<'text> for Capped<Element> {
    fn deserialize<D: Deserializer<'text>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Counting(PhantomData))
    }
}

struct Counting<Element>(PhantomData<Element>);

impl<'text, Element: Deserialize<'text>> Visitor<'text> for Counting<Element> {
    type Value = Capped<Element>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list")
    }

    fn visit_seq<Access: SeqAccess<'text>>(self, mut list: Access) -> Result<Self::Value, Access::Error> {
        let mut capped = Capped::default();
        while capped.first.len() < MAX_ENTRIES {
            match list.next_element()? {
                Some(element) => capped.first.push(element),
                None => return Ok(capped),
            }
        }
        while list.next_element::<IgnoredAny>()?.is_some() {
            capped.unread += 1;
        }
        Ok(capped)
    }
}

/// Refuses an entry that is too long to be one.
pub(crate) fn check_length(text: &str) -> Result<(), String> {
    let length = text.len();
    if length > MAX_ENTRY_LENGTH {
        return Err(format!("the entry has {length} bytes; {MAX_ENTRY_LENGTH} are allowed"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capped(length: usize) -> Capped<u8> {
        let text = format!("[{}]", vec!["0"; length].join(","));
        serde_json::from_str(&text).expect("a list")
    }

    #[test]
    fn no_more_than_the_first_are_kept_and_the_rest_is_counted() {
        for (length, unread) in
            [(0, 0), (MAX_ENTRIES, 0), (MAX_ENTRIES + 1, 1), (3 * MAX_ENTRIES, 2 * MAX_ENTRIES)]
        {
            let capped = capped(length);
            assert_eq!((capped.first.len(), capped.unread), (length - unread, unread));
            assert_eq!(capped.rest().is_some(), unread > 0);
        }
        assert!(
            serde_json::from_str::<Capped<u8>>("{}").is_err_and(|error| error.to_string().contains("a list"))
        );
        assert!(serde_json::from_str::<Capped<u8>>("[0,").is_err());
    }

    #[test]
    fn an_entry_is_as_long_as_it_may_be_and_no_longer() {
        let of = |length: usize| check_length(&" ".repeat(length));
        assert_eq!(of(MAX_ENTRY_LENGTH), Ok(()));
        assert!(of(MAX_ENTRY_LENGTH + 1).is_err_and(|error| error.contains("1048577")));
    }
}
