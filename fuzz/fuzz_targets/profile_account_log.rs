//! A membership log, and one whose entries somebody signed whatever they say. See `cbrowse_profile::fuzzing`.
#![no_main]

use cbrowse_profile::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzzing::account_log(data));
