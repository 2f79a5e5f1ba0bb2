//! A proposal, and the same under a good signature. See `cbrowse_profile::fuzzing`.
#![no_main]

use cbrowse_profile::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzzing::proposal(data));
