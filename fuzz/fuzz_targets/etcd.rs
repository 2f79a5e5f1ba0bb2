//! An answer of etcd's JSON gateway: a page of keys or a line of a watch, to nodes and rejections.
#![no_main]

use cbrowse_fuzz::{assert_printable, assert_sound, with_reach};
use cbrowse_registry::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((reach, body)) = with_reach(data) else { return };
    match fuzzing::etcd(body, reach) {
        Ok(listing) => assert_sound(&listing, reach),
        Err(error) => assert_printable(&error.to_string()),
    }
    for error in fuzzing::etcd_faults(body) {
        assert_printable(&error.to_string());
    }
});
