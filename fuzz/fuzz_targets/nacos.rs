//! An answer of Nacos, in either version of its API, to nodes and rejections.
#![no_main]

use cbrowse_fuzz::{assert_printable, assert_sound, with_reach};
use cbrowse_registry::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((reach, body)) = with_reach(data) else { return };
    match fuzzing::nacos(body, reach) {
        Ok(listing) => assert_sound(&listing, reach),
        Err(error) => assert_printable(&error.to_string()),
    }
    let (errors, said) = fuzzing::nacos_faults(body);
    errors.iter().for_each(|error| assert_printable(&error.to_string()));
    said.iter().for_each(|said| assert_printable(said));
});
