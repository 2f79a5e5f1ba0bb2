//! The inside of an invitation, sealed to the device that opens it. See `cbrowse_profile::fuzzing`.
#![no_main]

use cbrowse_profile::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzzing::invitation(data));
