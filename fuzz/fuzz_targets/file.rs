//! A catalog file in TOML and in JSON. What `cbrowse nodes list --json` prints of it is a catalog file again.
#![no_main]

use cbrowse_fuzz::{assert_printable, assert_sound};
use cbrowse_registry::{Reach, fuzzing};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for path in ["nodes.toml", "nodes.json", "nodes"] {
        match fuzzing::file(path, text) {
            Ok(listing) => {
                assert_sound(&listing, Reach::Anything);
                let printed = serde_json::to_string(&listing).expect("a listing serializes");
                let again = fuzzing::file("nodes.json", &printed).expect("what was printed is read");
                assert_eq!((again.nodes, again.rejected), (listing.nodes, Vec::new()));
            }
            Err(error) => assert_printable(&error.to_string()),
        }
    }
});
