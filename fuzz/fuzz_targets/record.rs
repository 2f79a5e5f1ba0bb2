//! A node's record as JSON: what passes its check is printable and survives being written.
#![no_main]

use cbrowse_fuzz::{assert_printable, assert_usable};
use cbrowse_protocol::node::NodeRecord;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(record) = serde_json::from_slice::<NodeRecord>(data) else { return };
    match record.check() {
        Ok(()) => assert_usable(&record),
        Err(error) => assert_printable(&error.to_string()),
    }
});
