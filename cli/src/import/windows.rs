//! Windows: where browsers keep their profiles. Their cookies are bound to the browser's own program (app-bound encryption)
//! and their logins to the Windows account, so those stay behind.

use std::path::Path;

use zeroize::Zeroizing;

use super::{browser::Browser, find::Place};

const PLACES: &[(Browser, &str, &str)] = &[
    (Browser::Chrome, "stable", "Google/Chrome/User Data"),
    (Browser::Chrome, "beta", "Google/Chrome Beta/User Data"),
    (Browser::Chromium, "stable", "Chromium/User Data"),
    (Browser::Brave, "stable", "BraveSoftware/Brave-Browser/User Data"),
    (Browser::Edge, "stable", "Microsoft/Edge/User Data"),
];

pub(super) fn places(home: &Path, _config: Option<&Path>) -> Vec<Place> {
    let local = home.join("AppData/Local");
    let place = |(browser, channel, inside): &(Browser, &'static str, &str)| Place {
        browser: *browser,
        channel,
        directory: local.join(inside),
    };
    PLACES.iter().map(place).collect()
}

pub(super) fn fixed_passwords() -> &'static [&'static [u8]] {
    &[]
}

pub(super) fn keyring_passwords(_browser: Option<Browser>) -> Result<Vec<Zeroizing<Vec<u8>>>, String> {
    Err("the key belongs to the browser's own program and to the Windows account".into())
}
