//! What has to hold for whatever came out of a parser, besides that it came out at all.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use cbrowse_protocol::node::{NodeRecord, is_unprintable};
use cbrowse_registry::{
    Listing, Reach,
    screen::{MAX_NODES, MAX_NODES_PER_ADDRESS, MAX_REJECTED},
};
use serde_json::Value;

/// Longest text of a rejection that may come out, in characters: what the screen shows of an entry, and twice that.
const MAX_REJECTION_LENGTH: usize = 320;

/// The first byte tells from where the rest came.
pub fn with_reach(data: &[u8]) -> Option<(Reach, &[u8])> {
    let (first, rest) = data.split_first()?;
    let reaches = [Reach::Public, Reach::Private, Reach::Loopback, Reach::Anything];
    Some((reaches[usize::from(*first) % reaches.len()], rest))
}

/// No text that could drive a terminal.
pub fn assert_printable(text: &str) {
    assert!(!text.chars().any(is_unprintable), "unprintable: {text:?}");
}

/// Every record is usable and every text is fit to be shown.
pub fn assert_sound(listing: &Listing, reach: Reach) {
    assert!(listing.nodes.len() <= MAX_NODES && listing.rejected.len() <= MAX_REJECTED);
    let mut ids = BTreeSet::new();
    let mut by_address: BTreeMap<&str, usize> = BTreeMap::new();
    for record in &listing.nodes {
        assert_usable(record);
        assert!(ids.insert(&record.id), "twice: {}", record.id);
        *by_address.entry(&record.address).or_default() += 1;
        match record.address.parse::<IpAddr>() {
            Ok(address) => assert!(reach.permits(address).is_ok(), "{address} from {reach}"),
            Err(_) => assert_name_is_bound(listing, record, reach),
        }
    }
    if reach < Reach::Loopback {
        assert!(by_address.values().all(|count| *count <= MAX_NODES_PER_ADDRESS), "{by_address:?}");
    }
    assert!(listing.names.keys().all(|id| ids.contains(id)), "a name without its node");
    for rejected in &listing.rejected {
        for text in [&rejected.entry, &rejected.reason] {
            assert_printable(text);
            assert!(text.chars().count() <= MAX_REJECTION_LENGTH, "long: {text:?}");
        }
    }
    listing.warnings.iter().for_each(|warning| assert_printable(warning));
}

/// A record that passes its own check, holds no character that could drive a terminal, and survives its JSON.
pub fn assert_usable(record: &NodeRecord) {
    assert_eq!(record.check(), Ok(()));
    let json = serde_json::to_value(record).expect("plain data serializes");
    assert_texts_printable(&json);
    assert_eq!(serde_json::from_value::<NodeRecord>(json).expect("what was written is read"), *record);
    if record.address.parse::<IpAddr>().is_ok() {
        assert!(record.endpoint().parse::<SocketAddr>().is_ok(), "{}", record.endpoint());
    }
}

fn assert_name_is_bound(listing: &Listing, record: &NodeRecord, reach: Reach) {
    let loopback = IpAddr::from([127, 0, 0, 1]);
    assert_eq!(listing.permits(&record.id, loopback), reach >= Reach::Loopback, "{record:?}");
    // What C libraries would dial without asking anybody.
    let last = record.address.rsplit('.').next().unwrap_or_default();
    assert!(!last.bytes().all(|byte| byte.is_ascii_digit()), "{:?}", record.address);
}

fn assert_texts_printable(value: &Value) {
    match value {
        Value::String(text) => assert_printable(text),
        Value::Array(values) => values.iter().for_each(assert_texts_printable),
        Value::Object(pairs) => pairs.iter().for_each(|(key, value)| {
            assert_printable(key);
            assert_texts_printable(value);
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
