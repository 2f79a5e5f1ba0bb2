//! A head that a key signed whatever it says. See `cbrowse_profile::fuzzing`.
#![no_main]

use cbrowse_profile::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzzing::signed_head(data));
