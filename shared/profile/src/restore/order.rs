//! What of a profile must be there before a browser starts, and in which order the rest follows.
//!
//! Essential is everything but the directories below. Chromium opens the other databases and files itself as soon as it has a
//! profile (settings, cookies, history, logins, local storage's one database for all sites, the list of service workers, the
//! list of what sites store), and takes one that is missing or cut for damaged, begins a new one, and the next save would
//! carry that off as the truth.
//!
//! What lies below the directories in [`DEFERRED`] is opened when a page of the site it belongs to, or that site's service
//! worker, asks for it, and by nothing else. So a browser may start without them as long as it loads no page: tabs are opened
//! when the rest is there. A browser that restores tabs by itself must wait.

use crate::allowlist::{COOKIES_FILE, PROFILE_DIRECTORY};

/// Directories in the profile directory that wait: databases, files and caches of single sites.
const DEFERRED: &[&str] = &[
    "File System/",
    "IndexedDB/",
    "Service Worker/CacheStorage/",
    "Service Worker/ScriptCache/",
    "WebStorage/",
    "databases/",
];

/// Files below those that tell which sites have what, and are opened without a page.
const LISTS: &[&str] =
    &["WebStorage/QuotaManager", "WebStorage/QuotaManager-journal", "WebStorage/QuotaManager-wal"];

/// The rank of what waits; lower ones are essential.
const RANK_DEFERRED: u8 = 5;

/// Whether a browser may not start without it.
pub fn is_essential(path: &str) -> bool {
    rank(path) < RANK_DEFERRED
}

/// Lower comes first.
pub(crate) fn rank(path: &str) -> u8 {
    let Some(inner) = path.strip_prefix(PROFILE_DIRECTORY).and_then(|rest| rest.strip_prefix('/')) else {
        return u8::from(path == COOKIES_FILE);
    };
    match inner {
        "Preferences" | "Secure Preferences" => 1,
        _ if inner.starts_with("Cookies") || inner.starts_with("Network/") => 2,
        _ if inner.starts_with("Sessions") => 3,
        _ if LISTS.contains(&inner) || !DEFERRED.iter().any(|directory| inner.starts_with(directory)) => 4,
        _ => RANK_DEFERRED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_browser_opens_when_it_starts_is_essential() {
        let ordered = [
            "Local State",
            "Default/Preferences",
            "Default/Network/Cookies",
            "Default/Sessions/Session_1",
            "Default/History",
            "Default/IndexedDB/https_example.org_0.indexeddb.leveldb/CURRENT",
        ];
        assert!(ordered.is_sorted_by(|a, b| rank(a) < rank(b)));
        for essential in [
            "Last Version",
            COOKIES_FILE,
            "Default/Local Storage/leveldb/000003.log",
            "Default/Service Worker/Database/MANIFEST-000001",
            "Default/WebStorage/QuotaManager",
            "Default/Login Data-journal",
        ] {
            assert!(is_essential(essential), "{essential}");
        }
        for deferred in ["Default/Service Worker/ScriptCache/index", "Default/WebStorage/3/IndexedDB/x"] {
            assert!(!is_essential(deferred), "{deferred}");
        }
    }
}
