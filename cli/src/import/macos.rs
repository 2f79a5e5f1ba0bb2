//! macOS: where browsers keep their profiles. Their cookies and logins are encrypted with a key in the login keychain that
//! belongs to the browser alone, so those stay behind.

use std::path::Path;

use zeroize::Zeroizing;

use super::{browser::Browser, find::Place};

const PLACES: &[(Browser, &str, &str)] = &[
    (Browser::Chrome, "stable", "Google/Chrome"),
    (Browser::Chrome, "beta", "Google/Chrome Beta"),
    (Browser::Chromium, "stable", "Chromium"),
    (Browser::Brave, "stable", "BraveSoftware/Brave-Browser"),
    (Browser::Edge, "stable", "Microsoft Edge"),
];

pub(super) fn places(home: &Path, _config: Option<&Path>) -> Vec<Place> {
    let support = home.join("Library/Application Support");
    let place = |(browser, channel, inside): &(Browser, &'static str, &str)| Place {
        browser: *browser,
        channel,
        directory: support.join(inside),
    };
    PLACES.iter().map(place).collect()
}

pub(super) fn fixed_passwords() -> &'static [&'static [u8]] {
    &[]
}

pub(super) fn keyring_passwords(_browser: Option<Browser>) -> Result<Vec<Zeroizing<Vec<u8>>>, String> {
    Err("the key is in the login keychain, which gives it to that browser alone".into())
}
