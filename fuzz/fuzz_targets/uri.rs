//! A catalog's name: it survives being printed, and neither it nor the error about it holds what could drive a
//! terminal, or a secret.
#![no_main]

use cbrowse_fuzz::assert_printable;
use cbrowse_registry::CatalogUri;
use libfuzzer_sys::fuzz_target;

const SECRET: &str = "hunter2";

fuzz_target!(|text: &str| {
    match text.parse::<CatalogUri>() {
        Ok(uri) => {
            let printed = uri.to_string();
            assert_printable(&printed);
            assert_eq!(printed.parse::<CatalogUri>().as_ref(), Ok(&uri), "{printed:?}");
        }
        Err(error) => {
            assert_printable(&error.to_string());
            assert!(error.example.parse::<CatalogUri>().is_ok());
        }
    }
    if text.contains(SECRET) {
        return;
    }
    // One scheme a text: all of them would take most of the time.
    let schemes = ["consul", "dns+srv", "etcd", "nacos"];
    let scheme = schemes[text.len() % schemes.len()];
    for name in [
        format!("{scheme}://u:{SECRET}@{text}"),
        format!("{scheme}://{SECRET}@{text}"),
        format!("{scheme}://h?token={SECRET}&{text}"),
        format!("{scheme}://h?{text}&password={SECRET}"),
    ] {
        let error = name.parse::<CatalogUri>().expect_err("a secret in it").to_string();
        assert!(!error.contains(SECRET), "{name:?}: {error}");
    }
});
