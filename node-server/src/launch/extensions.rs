//! A profile's extensions in a session: taken out of the data directory, let in by policy, loaded over the pipe.
//!
//! The restore has written those alone that the user signed, with the hash that the user's list says. Chromium deletes from
//! its own `Extensions` directory what its settings do not name, and those were cleaned, so they are loaded from a place beside it.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use cbrowse_profile::{
    allowlist::{PROFILE_DIRECTORY, is_extension_id},
    extensions::ExtensionId,
};
use serde_json::{Value, json};

use crate::{
    launch::{
        chromium,
        devtools::{CallError, DevTools},
    },
    sys::namespace,
};

/// Where they lie during the session.
pub const DIRECTORY: &str = "/home/user/extensions";
/// Lets the pipe load them. Clients' own orders never reach this method.
const FLAG: &str = "--enable-unsafe-extension-debugging";

/// One that can be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Extension {
    id: String,
    path: PathBuf,
}

/// What Chromium must be started with, if this session has any.
pub fn flag() -> Option<&'static str> {
    are_there().then_some(FLAG)
}

/// Whose state belongs to the profile.
pub fn ids() -> BTreeSet<ExtensionId> {
    listed(Path::new(DIRECTORY)).iter().filter_map(|extension| extension.id.parse().ok()).collect()
}

/// Whether this session has any. Such a one needs a browser that is started for it: policy and flag are read at a start only.
pub fn are_there() -> bool {
    !listed(Path::new(DIRECTORY)).is_empty()
}

/// Takes the extensions out of a restored data directory, and lets them in. To be called before Chromium starts.
pub fn prepare(data: &Path) -> io::Result<()> {
    let policies = namespace::POLICY_DIRECTORIES
        .map(|directory| Path::new("/").join(directory).join(namespace::POLICY_FILE));
    move_and_allow(data, Path::new(DIRECTORY), &policies)
}

fn move_and_allow(data: &Path, aside: &Path, policies: &[PathBuf]) -> io::Result<()> {
    match fs::rename(data.join(PROFILE_DIRECTORY).join("Extensions"), aside) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    let ids: Vec<String> = listed(aside).into_iter().map(|extension| extension.id).collect();
    let policy = chromium::policy_with(&ids);
    policies.iter().filter(|path| path.exists()).try_for_each(|path| fs::write(path, &policy))
}

/// `ID/VERSION` with a manifest.
fn listed(directory: &Path) -> Vec<Extension> {
    let inside = |path: &Path| {
        let mut found: Vec<PathBuf> =
            fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        found.sort();
        found
    };
    let mut extensions = Vec::new();
    for place in inside(directory) {
        let Some(id) = place.file_name().and_then(|name| name.to_str()).filter(|id| is_extension_id(id))
        else {
            continue;
        };
        let mut versions =
            inside(&place).into_iter().filter(|version| version.join("manifest.json").is_file());
        extensions.extend(versions.next_back().map(|path| Extension { id: id.to_owned(), path }));
    }
    extensions
}

/// Loads them into a browser that has just started, before it has a window, so that the profile's tabs find them there. Gives
/// what it said to those that it did not take; the session goes on without these.
pub async fn load(tools: &DevTools) -> Vec<String> {
    let mut refused = Vec::new();
    for Extension { id, path } in listed(Path::new(DIRECTORY)) {
        let loaded = tools.call("", "Extensions.loadUnpacked", json!({ "path": path })).await;
        match loaded.map(|answer| answer["id"] == *id) {
            Ok(true) => {}
            Ok(false) => refused.push(format!("extension {id} was loaded under another id")),
            Err(error) => refused.push(format!("extension {id} was not loaded: {error}")),
        }
    }
    refused
}

/// Makes a browser that has just started forget the service workers of these extensions. The script of a registered one is kept
/// beside those of pages, where the node before could have changed it, and Chromium runs that one (tried); forgotten, it is
/// registered anew from the extension's files. Opens and closes a window, which brings back the profile's tabs, if there are any.
pub async fn forget_workers(tools: &DevTools) -> Result<(), CallError> {
    let extensions = listed(Path::new(DIRECTORY));
    let page = json!({ "url": "about:blank" });
    let target = tools.call("", "Target.createTarget", page).await?["targetId"].take();
    let attach = json!({ "targetId": target, "flatten": true });
    let session = tools.call("", "Target.attachToTarget", attach).await?;
    let session = session["sessionId"].as_str().unwrap_or_default();
    let mut forgotten: Result<Value, _> = Ok(Value::Null);
    for extension in &extensions {
        let origin = format!("chrome-extension://{}", extension.id);
        let workers = json!({ "origin": origin, "storageTypes": "service_workers" });
        forgotten = forgotten.and(tools.call(session, "Storage.clearDataForOrigin", workers).await);
    }
    let closed = tools.call("", "Target.closeTarget", json!({ "targetId": target })).await;
    forgotten.and(closed).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "abcdefghijklmnopabcdefghijklmnop";

    #[test]
    fn extensions_leave_the_data_directory_and_policy_lets_them_in_and_nobody_else() {
        let directory = tempfile::tempdir().expect("a directory");
        let (data, aside) = (directory.path().join("data"), directory.path().join("aside"));
        let policy = directory.path().join("cbrowse.json");
        fs::write(&policy, chromium::policy()).expect("write");
        let absent = directory.path().join("no such browser/cbrowse.json");
        move_and_allow(&data, &aside, &[policy.clone(), absent.clone()]).expect("nothing to do");
        assert_eq!(fs::read_to_string(&policy).expect("read"), chromium::policy());

        for path in
            [format!("{ID}/1.0/manifest.json"), format!("{ID}/2.0/x.js"), "other/1/manifest.json".into()]
        {
            let path = data.join("Default/Extensions").join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("make");
            fs::write(path, "{}").expect("write");
        }
        move_and_allow(&data, &aside, &[policy.clone(), absent.clone()]).expect("moved");
        assert!(!data.join("Default/Extensions").exists() && !absent.exists());
        assert_eq!(listed(&aside), [Extension { id: ID.into(), path: aside.join(ID).join("1.0") }]);
        let policy: Value = serde_json::from_str(&fs::read_to_string(policy).expect("read")).expect("JSON");
        assert_eq!(policy["ExtensionSettings"][ID]["installation_mode"], "allowed");
        assert_eq!(
            policy["ExtensionSettings"].as_object().map(serde_json::Map::len),
            Some(2),
            "and the store, blocked"
        );
        assert_eq!(
            (&policy["BlockExternalExtensions"], &policy["ExtensionInstallBlocklist"]),
            (&true.into(), &Value::Null)
        );
        assert_eq!(policy["NativeMessagingBlocklist"], json!(["*"]));
    }
}
