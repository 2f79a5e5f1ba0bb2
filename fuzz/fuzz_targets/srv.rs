//! A DNS message with SRV records, from the bytes on the wire to nodes and rejections.
#![no_main]

use cbrowse_fuzz::{assert_sound, with_reach};
use cbrowse_registry::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((reach, message)) = with_reach(data) else { return };
    if let Some(listing) = fuzzing::srv(message, reach) {
        assert_sound(&listing, reach);
    }
});
