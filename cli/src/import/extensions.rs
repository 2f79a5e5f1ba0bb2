//! Which extensions the browser had, and why each of them stays behind.

use std::{collections::BTreeMap, path::Path};

use cbrowse_protocol::node::printable;
use serde::Serialize;
use serde_json::Value;

use super::copy::read_small;

/// Longest file of preferences that is read, in bytes.
const MAX_PREFERENCES: u64 = 16 * 1024 * 1024;
/// Longest name that is shown, in characters.
const MAX_NAME: usize = 100;
/// Most extensions that are named.
const MAX_EXTENSIONS: usize = 1000;
/// Length of an id: sixteen bytes, a letter for each half.
const ID_LENGTH: usize = 32;
/// Chromium's own (`ManifestLocation`): components, external ones of them, and the policy's.
const COMPONENTS: [u64; 2] = [5, 10];
const BY_POLICY: [u64; 2] = [7, 9];
const UNPACKED: [u64; 2] = [4, 8];

/// An extension that the browser had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Extension {
    /// Thirty-two letters.
    pub id: String,
    /// What it calls itself, where that can be told.
    pub name: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// Where it came from.
    pub origin: Origin,
}

/// Where an extension came from, and so why it stays behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A web store.
    Store,
    /// A directory of this machine.
    Unpacked,
    /// The policy of this machine or of its organization.
    Policy,
    /// Another program, or a file.
    Other,
}

impl Origin {
    /// For a person.
    pub fn words(self) -> &'static str {
        match self {
            Self::Store => "from a web store; extensions are code and do not travel",
            Self::Unpacked => "loaded from a directory of this machine, which does not travel",
            Self::Policy => "installed by a policy of this machine, which does not travel",
            Self::Other => "installed by another program; extensions are code and do not travel",
        }
    }
}

/// The extensions of a profile, by name; the browser's own components are none.
pub fn list(profile: &Path) -> Vec<Extension> {
    let mut found = BTreeMap::new();
    for file in ["Preferences", "Secure Preferences"] {
        let bytes = read_small(&profile.join(file), MAX_PREFERENCES).unwrap_or_default();
        let tree: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let Some(settings) = tree["extensions"]["settings"].as_object() else { continue };
        for (id, setting) in settings {
            if let Some(extension) = read(id, setting) {
                found.insert(id.clone(), extension);
            }
        }
    }
    let mut extensions: Vec<Extension> = found.into_values().take(MAX_EXTENSIONS).collect();
    extensions.sort_by(|a, b| a.name.cmp(&b.name).then_with(|| a.id.cmp(&b.id)));
    extensions
}

fn read(id: &str, setting: &Value) -> Option<Extension> {
    let is_id = id.len() == ID_LENGTH && id.bytes().all(|byte| matches!(byte, b'a'..=b'p'));
    let location = setting["location"].as_u64().filter(|location| !COMPONENTS.contains(location))?;
    let origin = match location {
        _ if BY_POLICY.contains(&location) => Origin::Policy,
        _ if UNPACKED.contains(&location) => Origin::Unpacked,
        _ if setting["from_webstore"] == true => Origin::Store,
        _ => Origin::Other,
    };
    let text = |value: &Value| value.as_str().map(|text| printable(text, MAX_NAME));
    // A name that is looked up in the extension's own translations says nothing by itself.
    let name = text(&setting["manifest"]["name"]).filter(|name| !name.starts_with("__MSG_"));
    is_id.then(|| Extension {
        id: id.to_owned(),
        name,
        version: text(&setting["manifest"]["version"]),
        origin,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_are_named_and_components_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let id = |letter: char| letter.to_string().repeat(ID_LENGTH);
        let settings = serde_json::json!({"extensions": {"settings": {
            id('a'): {"location": 1, "from_webstore": true, "manifest": {"name": "Block\u{1b}er", "version": "1.2"}},
            id('b'): {"location": 5, "manifest": {"name": "PDF Viewer"}},
            id('c'): {"location": 4, "path": "/home/x/mine"},
            id('d'): {"location": 7, "manifest": {"name": "__MSG_appName__"}},
            "../../etc": {"location": 1},
            id('e'): "nonsense",
        }}});
        std::fs::write(directory.path().join("Secure Preferences"), settings.to_string()).unwrap();
        std::fs::write(directory.path().join("Preferences"), "[]").unwrap();
        let told: Vec<_> = list(directory.path())
            .into_iter()
            .map(|extension| (extension.id, extension.name, extension.origin))
            .collect();
        let expected = [
            (id('c'), None, Origin::Unpacked),
            (id('d'), None, Origin::Policy),
            (id('a'), Some("Block\u{fffd}er".to_owned()), Origin::Store),
        ];
        assert_eq!(told, expected);
        assert!(list(Path::new("/nowhere")).is_empty());
    }
}
