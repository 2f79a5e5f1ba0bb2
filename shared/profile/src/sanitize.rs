//! Settings files without what can execute or reach out of the browser.
//!
//! Preferences lose named branches and keep the rest; of Local State only what is known to be harmless stays,
//! since it carries startup flags and belongs to the machine more than to the person.

use serde_json::{Map, Value};

/// Largest settings file in bytes. A larger one is dropped; Chromium then starts from its defaults.
pub const MAX_SETTINGS_LENGTH: u64 = 16 * 1024 * 1024;

/// Which settings file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settings {
    /// `Preferences` and `Secure Preferences`.
    Preferences,
    /// `Local State`.
    LocalState,
}

/// Branches of the preferences that start code, move files out of the browser, or change its road.
/// Extensions: (tried) a remembered extension overrides `--proxy-server`. `protection` holds MACs over the
/// branches removed here; without them Chromium computes new ones.
const REMOVED: &[&str] = &[
    "apps",
    "browser.enabled_labs_experiments",
    "custom_handlers",
    "devtools",
    "download",
    "extensions",
    "homepage",
    "native_messaging",
    "printing",
    "profile.managed",
    "protection",
    "protocol_handler",
    "proxy",
    "savefile",
    "selectfile",
    "web_app",
    "web_apps",
];

/// The branches of Local State that stay.
const KEPT_OF_LOCAL_STATE: &[&str] = &["intl"];

/// The file's bytes without what can execute; `None` where it is no JSON object at all.
/// What comes out goes through a second time unchanged.
pub fn sanitize(settings: Settings, bytes: &[u8]) -> Option<Vec<u8>> {
    let Value::Object(mut tree) = serde_json::from_slice(bytes).ok()? else { return None };
    match settings {
        Settings::Preferences => clean_preferences(&mut tree),
        Settings::LocalState => tree.retain(|key, _| KEPT_OF_LOCAL_STATE.contains(&key.as_str())),
    }
    serde_json::to_vec(&tree).ok()
}

/// The branches that [`sanitize`] would take away, for a report; extensions by their ids.
pub fn offending(settings: Settings, bytes: &[u8]) -> Vec<String> {
    let Ok(Value::Object(tree)) = serde_json::from_slice(bytes) else {
        return vec!["unreadable settings".into()];
    };
    if settings == Settings::LocalState {
        let extra = tree.keys().filter(|key| !KEPT_OF_LOCAL_STATE.contains(&key.as_str()));
        return extra.cloned().collect();
    }
    let mut found: Vec<String> =
        REMOVED.iter().filter(|path| look_up(&tree, path).is_some()).map(|path| (*path).into()).collect();
    if let Some(Value::Array(urls)) = look_up(&tree, STARTUP_URLS) {
        let harmful = urls.iter().filter(|url| !is_web_address(url));
        found.extend(harmful.map(|_| STARTUP_URLS.to_owned()));
    }
    found
}

const STARTUP_URLS: &str = "session.startup_urls";

fn clean_preferences(tree: &mut Map<String, Value>) {
    for path in REMOVED {
        remove(tree, path);
    }
    if let Some(Value::Array(urls)) = tree.get_mut(STARTUP_URLS) {
        urls.retain(is_web_address);
    }
    if let Some(Value::Object(session)) = tree.get_mut("session")
        && let Some(Value::Array(urls)) = session.get_mut("startup_urls")
    {
        urls.retain(is_web_address);
    }
}

fn is_web_address(url: &Value) -> bool {
    url.as_str().is_some_and(|url| url.starts_with("https://") || url.starts_with("http://"))
}

/// A preference lies in a tree, or, as Chromium also accepts, under its whole dotted name.
fn remove(tree: &mut Map<String, Value>, path: &str) {
    tree.retain(|key, _| key != path && !key.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')));
    if let Some((branch, rest)) = path.split_once('.')
        && let Some(Value::Object(inner)) = tree.get_mut(branch)
    {
        remove(inner, rest);
    }
}

fn look_up<'a>(tree: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    let dotted = tree
        .iter()
        .find(|(key, _)| *key == path || key.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')));
    if let Some((_, found)) = dotted {
        return Some(found);
    }
    let (branch, rest) = path.split_once('.')?;
    look_up(tree.get(branch)?.as_object()?, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean(settings: Settings, text: &str) -> String {
        String::from_utf8(sanitize(settings, text.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn what_executes_goes_and_the_rest_stays() {
        let planted = r#"{"extensions":{"settings":{"abc":{"path":"/x"}}},"proxy":{"mode":"direct"},
            "extensions.settings":1,
            "browser":{"enabled_labs_experiments":["x@1"],"window":2},
            "session":{"restore_on_startup":1,"startup_urls":["javascript:1","https://example.org/"]},
            "download":{"default_directory":"/etc"},"protection":{"macs":{}}}"#;
        let cleaned = clean(Settings::Preferences, planted);
        assert_eq!(
            cleaned,
            r#"{"browser":{"window":2},"session":{"restore_on_startup":1,"startup_urls":["https://example.org/"]}}"#
        );
        assert_eq!(clean(Settings::Preferences, &cleaned), cleaned);
        assert!(offending(Settings::Preferences, cleaned.as_bytes()).is_empty());
        let found = offending(Settings::Preferences, planted.as_bytes());
        for branch in ["extensions", "proxy", "browser.enabled_labs_experiments", "session.startup_urls"] {
            assert!(found.iter().any(|item| item == branch), "{branch} in {found:?}");
        }
    }

    /// Both found by fuzzing, or on its way.
    #[test]
    fn dotted_names_are_cleaned_too_and_numbers_stay_what_they_are() {
        let dotted = r#"{"session.startup_urls":["javascript:1","http://x/"]}"#;
        assert_eq!(clean(Settings::Preferences, dotted), r#"{"session.startup_urls":["http://x/"]}"#);
        let long = format!(r#"{{"n":{}1}}"#, "9".repeat(124));
        let cleaned = clean(Settings::Preferences, &long);
        assert_eq!(clean(Settings::Preferences, &cleaned), cleaned);
    }

    #[test]
    fn local_state_carries_no_startup_flags() {
        let planted = r#"{"browser":{"enabled_labs_experiments":["x@1"]},"intl":{"app_locale":"de"}}"#;
        assert_eq!(clean(Settings::LocalState, planted), r#"{"intl":{"app_locale":"de"}}"#);
        assert_eq!(offending(Settings::LocalState, planted.as_bytes()), ["browser"]);
    }

    #[test]
    fn anything_but_an_object_is_dropped() {
        for bad in ["", "[]", "1", "{", "\u{0}"] {
            assert!(sanitize(Settings::Preferences, bad.as_bytes()).is_none(), "{bad:?}");
        }
        let deep = "[".repeat(100_000);
        assert!(sanitize(Settings::Preferences, deep.as_bytes()).is_none());
    }
}
