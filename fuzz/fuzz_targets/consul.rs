//! An answer of Consul's health endpoint, from its bytes to nodes and rejections.
#![no_main]

use cbrowse_fuzz::{assert_printable, assert_sound, with_reach};
use cbrowse_registry::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((reach, body)) = with_reach(data) else { return };
    match fuzzing::consul(body, reach) {
        Ok(listing) => assert_sound(&listing, reach),
        Err(error) => assert_printable(&error.to_string()),
    }
});
