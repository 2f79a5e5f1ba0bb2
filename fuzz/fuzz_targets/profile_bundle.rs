//! A sealed file of a profile: an index that is read before anything is believed.
#![no_main]

use std::path::PathBuf;

use cbrowse_profile::{bundle::Bundle, meter::Meter, object::ObjectStore as _};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let path: PathBuf = std::env::temp_dir().join(format!("cbrowse-fuzz-bundle-{}", std::process::id()));
    // The sum at the end is set right, so that what is before it is looked at.
    let mut file = data.to_vec();
    file.extend_from_slice(blake3::hash(data).as_bytes());
    for bytes in [data, &file] {
        if std::fs::write(&path, bytes).is_err() {
            return;
        }
        let Ok(bundle) = Bundle::open(&path, &Meter::default()) else { continue };
        let (objects, length) = bundle.size();
        assert!(length <= bytes.len() as u64 && objects <= length / 36);
        let _ = bundle.get(&bundle.head());
    }
});
