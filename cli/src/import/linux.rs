//! Linux: where browsers keep their profiles, and where the key of their encrypted values is.
//!
//! Chromium writes `v10` values under a password that is in its source, and `v11` values under one that it keeps in the
//! Secret Service (its `os_crypt/linux`, and the schema of its libsecret storage). A key in KWallet's own store is not read.

use std::{collections::HashMap, path::Path, sync::mpsc, thread, time::Duration};

use cbrowse_protocol::node::printable;
use secret_service::{EncryptionType, Error, blocking::SecretService};
use zeroize::Zeroizing;

use super::{browser::Browser, find::Place};

/// How long the keyring may take, a person who unlocks it included.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Under which Chromium's storage keeps its password.
const SCHEMA: &str = "chrome_libsecret_os_crypt_password_v2";

/// Below `~/.config`, then below the home directory for what is packaged as a snap or a flatpak.
const PLACES: &[(Browser, &str, &str)] = &[
    (Browser::Chrome, "stable", ".config/google-chrome"),
    (Browser::Chrome, "beta", ".config/google-chrome-beta"),
    (Browser::Chrome, "unstable", ".config/google-chrome-unstable"),
    (Browser::Chrome, "flatpak", ".var/app/com.google.Chrome/config/google-chrome"),
    (Browser::Chromium, "stable", ".config/chromium"),
    (Browser::Chromium, "snap", "snap/chromium/common/chromium"),
    (Browser::Chromium, "flatpak", ".var/app/org.chromium.Chromium/config/chromium"),
    (Browser::Brave, "stable", ".config/BraveSoftware/Brave-Browser"),
    (Browser::Brave, "beta", ".config/BraveSoftware/Brave-Browser-Beta"),
    (Browser::Brave, "nightly", ".config/BraveSoftware/Brave-Browser-Nightly"),
    (Browser::Brave, "snap", "snap/brave/current/.config/BraveSoftware/Brave-Browser"),
    (Browser::Brave, "flatpak", ".var/app/com.brave.Browser/config/BraveSoftware/Brave-Browser"),
    (Browser::Edge, "stable", ".config/microsoft-edge"),
    (Browser::Edge, "beta", ".config/microsoft-edge-beta"),
    (Browser::Edge, "dev", ".config/microsoft-edge-dev"),
    (Browser::Edge, "flatpak", ".var/app/com.microsoft.Edge/config/microsoft-edge"),
];

/// Where profiles may be. `config` is what `XDG_CONFIG_HOME` says, if it does.
pub(super) fn places(home: &Path, config: Option<&Path>) -> Vec<Place> {
    let at = |inside: &str| match (inside.strip_prefix(".config/"), config) {
        (Some(rest), Some(config)) => config.join(rest),
        _ => home.join(inside),
    };
    PLACES
        .iter()
        .map(|(browser, channel, inside)| Place { browser: *browser, channel, directory: at(inside) })
        .collect()
}

/// Passwords that are no secret.
pub(super) fn fixed_passwords() -> &'static [&'static [u8]] {
    &[b"peanuts", b""]
}

/// What the Secret Service holds for this browser, or why there is nothing.
pub(super) fn keyring_passwords(browser: Option<Browser>) -> Result<Vec<Zeroizing<Vec<u8>>>, String> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let asking = thread::Builder::new().name("browser-key".into()).spawn(move || {
        // Nobody listens any more when the time was up.
        let _ = sender.send(ask(browser));
    });
    asking.map_err(|error| error.to_string())?;
    match receiver.recv_timeout(TIMEOUT) {
        Ok(asked) => asked,
        Err(_) => Err(format!("the keyring did not answer within {} s", TIMEOUT.as_secs())),
    }
}

/// Brave and Edge kept the name of what they are made from in some versions.
fn applications(browser: Option<Browser>) -> &'static [&'static str] {
    match browser {
        Some(Browser::Chrome) => &["chrome"],
        Some(Browser::Chromium) => &["chromium"],
        Some(Browser::Brave) => &["brave", "chrome", "chromium"],
        Some(Browser::Edge) => &["microsoft-edge", "edge", "chromium", "chrome"],
        None => &["chromium", "chrome", "brave", "microsoft-edge", "edge"],
    }
}

fn ask(browser: Option<Browser>) -> Result<Vec<Zeroizing<Vec<u8>>>, String> {
    let unreachable = |error: Error| {
        let why = printable(&error.to_string(), 300);
        format!("no Secret Service answers ({why}); a key that KWallet keeps by itself is not read")
    };
    let service = SecretService::connect(EncryptionType::Dh).map_err(unreachable)?;
    let (mut passwords, mut locked) = (Vec::new(), 0);
    for application in applications(browser) {
        let wanted = HashMap::from([("application", *application), ("xdg:schema", SCHEMA)]);
        let found = service.search_items(wanted).map_err(unreachable)?;
        for item in &found.locked {
            // Whoever sits there is asked; where nobody does, it stays locked.
            let opened = item.unlock().and_then(|()| item.is_locked());
            locked += u32::from(!matches!(opened, Ok(false)));
        }
        for item in found.unlocked.iter().chain(&found.locked) {
            if matches!(item.is_locked(), Ok(false)) {
                passwords.extend(item.get_secret().ok().map(Zeroizing::new));
            }
        }
    }
    match (passwords.is_empty(), locked) {
        (false, _) => Ok(passwords),
        (true, 0) => Err(
            "the desktop's keyring holds no key of this browser; a key that KWallet keeps by itself is not \
                          read"
                .into(),
        ),
        (true, _) => Err("the desktop's keyring is locked".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_directory_moves_what_is_in_it_and_nothing_else() {
        let moved = places(Path::new("/h"), Some(Path::new("/c")));
        let at = |channel: &str| {
            let found =
                moved.iter().find(|place| place.browser == Browser::Chromium && place.channel == channel);
            found.map(|place| place.directory.to_str().unwrap().to_owned()).unwrap()
        };
        assert_eq!(at("stable"), "/c/chromium");
        assert_eq!(at("snap"), "/h/snap/chromium/common/chromium");
        let usual = places(Path::new("/h"), None);
        assert!(usual.iter().any(|place| place.directory == Path::new("/h/.config/microsoft-edge")));
        assert!(Browser::ALL.iter().all(|browser| usual.iter().any(|place| place.browser == *browser)));
    }
}
