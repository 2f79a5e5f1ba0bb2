//! Which files of a Chromium data directory are the profile, and which never travel.
//!
//! What is not named here stays behind: caches, locks, logs, crash dumps, downloaded components, and everything
//! that a later Chromium invents until somebody has looked at it. Checked against Chromium 156. The same function
//! judges what is read from a disk and what arrives from a stranger.

use std::collections::{HashMap, hash_map::Entry};

use crate::{manifest::MAX_PATH_LENGTH, sanitize::Settings};

/// The one profile directory inside a data directory.
pub const PROFILE_DIRECTORY: &str = "Default";

/// Cookies that a running browser held in memory when it was saved, as DevTools tells them; a worker writes it beside the
/// browser's own files and hands it to the next browser.
pub const COOKIES_FILE: &str = "cbrowse/cookies.json";

/// What the user allowed to travel of extensions, in the generations that the user made; see [`crate::extensions`].
pub const LISTING_FILE: &str = "cbrowse/extensions.json";

/// What becomes of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Travels as it is.
    Carried,
    /// Travels without what can execute.
    Cleaned(Settings),
    /// Code, or what starts code: stays behind, and is named to the user.
    Executable,
    /// No part of a profile.
    Ignored,
}

/// A path that no honest writer makes: it climbs, is absolute, or hides bytes from a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a path inside a profile")]
pub struct PathError(pub String);

/// Databases and single files in the profile directory. Their `-journal` and `-wal` come along.
const FILES: &[&str] = &[
    "Account Web Data",
    "BookmarkMergedSurfaceOrdering",
    "Bookmarks",
    "Cookies",
    "Custom Dictionary.txt",
    "Favicons",
    "History",
    "Login Data",
    "Login Data For Account",
    "Media Device Salts",
    "Network/Cookies",
    "Network/TransportSecurity",
    "Shortcuts",
    "Top Sites",
    "TransportSecurity",
    "Web Data",
];

/// Whole directories in the profile directory.
const DIRECTORIES: &[&str] = &[
    "File System",
    "IndexedDB",
    "Local Storage",
    "Service Worker/CacheStorage",
    "Service Worker/Database",
    "Service Worker/ScriptCache",
    "Session Storage",
    "Sessions",
    "Sessions_Encrypted",
    "WebStorage",
    "databases",
];

/// Extensions and their state.
const EXECUTABLE_DIRECTORIES: &[&str] = &[
    "DNR Extension Rules",
    "Extension Rules",
    "Extension Scripts",
    "Extension State",
    "Extensions",
    "Local App Settings",
    "Local Extension Settings",
    "Managed Extension Settings",
    "Sync App Settings",
    "Sync Extension Settings",
    "Web Applications",
];

/// Where each extension's state lies in a directory of its own. What all extensions keep in one database (`Extension State`,
/// rules, scripts registered at run time) cannot be parted by extension and stays behind.
const STATE_DIRECTORIES: &[&str] = &["Local Extension Settings", "Sync Extension Settings"];
/// Letters of an extension's id: its key's hash in digits from `a` to `p`.
pub const EXTENSION_ID_LENGTH: usize = 32;
const MAX_EXTENSION_VERSION_LENGTH: usize = 48;

/// Names that LevelDB and others rebuild or that only say who was here.
const IGNORED_NAMES: &[&str] = &["LOCK", "LOG", "LOG.old", "lockfile"];
const IGNORED_SUFFIXES: &[&str] = &["-shm", ".tmp", ".TMP", ".bak", ".log.old"];
const COMPANIONS: &[&str] = &["-journal", "-wal"];

/// Judges a path relative to the data directory, with `/` between its parts.
pub fn classify(path: &str) -> Result<Class, PathError> {
    check_path(path)?;
    Ok(match path.split_once('/') {
        None => classify_top(path),
        Some((PROFILE_DIRECTORY, inner)) => classify_inner(inner),
        Some(_) if path == COOKIES_FILE => Class::Carried,
        Some(_) if path == LISTING_FILE => Class::Executable,
        Some(("NativeMessagingHosts", _)) => Class::Executable,
        Some(_) => Class::Ignored,
    })
}

/// Which part of an extension a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// What it was installed with.
    Code,
    /// What it wrote down.
    State,
}

/// The extension that a file belongs to, where such a file may travel at all: by the user's word, in spite of what
/// [`classify`] says of it. `None` for everything else, paths that climb included.
pub fn extension(path: &str) -> Option<(&str, Part)> {
    if classify(path) != Ok(Class::Executable) {
        return None;
    }
    let (directory, inner) = path.strip_prefix(PROFILE_DIRECTORY)?.strip_prefix('/')?.split_once('/')?;
    let (first, rest) = inner.split_once('/')?;
    let (id, part) = match directory {
        "Extensions" => (first, Part::Code),
        "IndexedDB" => (id_of_origin(first)?, Part::State),
        _ if STATE_DIRECTORIES.contains(&directory) => (first, Part::State),
        _ => return None,
    };
    let fits = is_extension_id(id) && (part == Part::State || is_code(rest));
    fits.then_some((id, part))
}

/// Whether a text is what Chromium calls an extension by.
pub fn is_extension_id(text: &str) -> bool {
    text.len() == EXTENSION_ID_LENGTH && text.bytes().all(|byte| matches!(byte, b'a'..=b'p'))
}

/// `chrome-extension_ID_0.indexeddb.leveldb` or `.blob`.
fn id_of_origin(name: &str) -> Option<&str> {
    let (id, rest) = name.strip_prefix("chrome-extension_")?.split_once('_')?;
    matches!(rest, "0.indexeddb.leveldb" | "0.indexeddb.blob").then_some(id)
}

/// `VERSION/FILE`. What a web store signed lies in `_metadata` and is nothing to a browser that did not install it.
fn is_code(inner: &str) -> bool {
    let Some((version, file)) = inner.split_once('/') else { return false };
    is_extension_version(version) && file != "_metadata" && !file.starts_with("_metadata/")
}

/// One to four numbers with dots between them; a store adds `_0`.
pub(crate) fn is_extension_version(text: &str) -> bool {
    (1..=MAX_EXTENSION_VERSION_LENGTH).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'_'))
}

/// A path that clashes with another of these: they differ in case only, which some file systems do not tell apart, or one
/// is a file where the other needs a directory. No browser makes such; restored they could not be.
pub(crate) fn clash<'a>(paths: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut seen: HashMap<String, (&str, bool)> = HashMap::new();
    for path in paths {
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        for end in ends {
            let (place, is_file) = (&path[..end], end == path.len());
            match seen.entry(place.to_lowercase()) {
                Entry::Occupied(known) if *known.get() != (place, is_file) => return Some(path),
                Entry::Occupied(_) => {}
                Entry::Vacant(new) => drop(new.insert((place, is_file))),
            }
        }
    }
    None
}

/// Whether a directory may hold anything but ignored files, so that a scan need not enter caches.
pub fn is_entered(path: &str) -> bool {
    if path == PROFILE_DIRECTORY
        || path == "NativeMessagingHosts"
        || COOKIES_FILE.starts_with(&format!("{path}/"))
    {
        return true;
    }
    let Some(inner) = path.strip_prefix(PROFILE_DIRECTORY).and_then(|rest| rest.strip_prefix('/')) else {
        return false;
    };
    let related =
        |known: &&str| lies_in(inner, known) || known.strip_prefix(inner).is_some_and(|r| r.starts_with('/'));
    FILES.iter().chain(DIRECTORIES).chain(EXECUTABLE_DIRECTORIES).any(related)
}

fn check_path(path: &str) -> Result<(), PathError> {
    let parts_fit = path.split('/').all(|part| !matches!(part, "" | "." | ".."));
    let readable = !path.chars().any(|character| character.is_control() || character == '\\');
    if parts_fit && readable && path.len() <= MAX_PATH_LENGTH {
        Ok(())
    } else {
        Err(PathError(path.chars().take(MAX_PATH_LENGTH).collect()))
    }
}

fn classify_top(name: &str) -> Class {
    match name {
        "Last Version" => Class::Carried,
        "Local State" => Class::Cleaned(Settings::LocalState),
        _ => Class::Ignored,
    }
}

fn classify_inner(inner: &str) -> Class {
    let name = inner.rsplit('/').next().unwrap_or(inner);
    if IGNORED_NAMES.contains(&name) || IGNORED_SUFFIXES.iter().any(|suffix| name.ends_with(suffix)) {
        return Class::Ignored;
    }
    match inner {
        "Preferences" | "Secure Preferences" => return Class::Cleaned(Settings::Preferences),
        "Extension Cookies" => return Class::Executable,
        _ => {}
    }
    let of_extension = inner.split('/').any(|part| part.starts_with("chrome-extension_"));
    if of_extension || EXECUTABLE_DIRECTORIES.iter().any(|directory| lies_in(inner, directory)) {
        return Class::Executable;
    }
    let main = COMPANIONS.iter().find_map(|companion| inner.strip_suffix(companion)).unwrap_or(inner);
    if FILES.contains(&main) || DIRECTORIES.iter().any(|directory| lies_in(inner, directory)) {
        return Class::Carried;
    }
    Class::Ignored
}

fn lies_in(inner: &str, directory: &str) -> bool {
    inner == directory || inner.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_travels_and_nothing_else() {
        for carried in [
            "Last Version",
            "Default/Cookies",
            "Default/Cookies-journal",
            "Default/Network/Cookies-wal",
            "Default/Local Storage/leveldb/000003.log",
            "Default/IndexedDB/https_example.org_0.indexeddb.leveldb/CURRENT",
            "Default/Sessions/Session_1",
            "Default/Service Worker/ScriptCache/index",
        ] {
            assert_eq!(classify(carried), Ok(Class::Carried), "{carried}");
        }
        for ignored in [
            "SingletonLock",
            "First Run",
            "Default/Cache/Cache_Data/f_000001",
            "Default/Code Cache/js/x",
            "Default/GPUCache/data_0",
            "Default/LOCK",
            "Default/Local Storage/leveldb/LOG.old",
            "Default/Local Storage/leveldb/LOCK",
            "Default/WebStorage/x.sqlite-shm",
            "Default/Local Storagex/y",
            "Crash Reports/x",
            "Profile 1/Cookies",
            "Default/Cookies/x",
            "Default/Service Worker/x",
        ] {
            assert_eq!(classify(ignored), Ok(Class::Ignored), "{ignored}");
        }
    }

    #[test]
    fn what_can_execute_is_told_apart() {
        for executable in [
            "NativeMessagingHosts/x.json",
            "Default/Extensions/a/manifest.json",
            "Default/Extension State/CURRENT",
            "Default/IndexedDB/chrome-extension_abc_0.indexeddb.leveldb/CURRENT",
            "Default/Extension Cookies",
        ] {
            assert_eq!(classify(executable), Ok(Class::Executable), "{executable}");
        }
        assert_eq!(classify(LISTING_FILE), Ok(Class::Executable));
        assert_eq!(classify("Default/Preferences"), Ok(Class::Cleaned(Settings::Preferences)));
        assert_eq!(classify("Local State"), Ok(Class::Cleaned(Settings::LocalState)));
    }

    #[test]
    fn an_extensions_files_are_known_by_its_id() {
        let id = "abcdefghijklmnopabcdefghijklmnop";
        for (path, part) in [
            ("Default/Extensions/ID/1.0_0/manifest.json", Part::Code),
            ("Default/Extensions/ID/1/_locales/de/messages.json", Part::Code),
            ("Default/Local Extension Settings/ID/000003.log", Part::State),
            ("Default/Sync Extension Settings/ID/CURRENT", Part::State),
            ("Default/IndexedDB/chrome-extension_ID_0.indexeddb.leveldb/CURRENT", Part::State),
            ("Default/IndexedDB/chrome-extension_ID_0.indexeddb.blob/1/00/1", Part::State),
        ] {
            let path = path.replace("ID", id);
            assert_eq!(extension(&path), Some((id, part)), "{path}");
        }
        for path in [
            "Default/Extensions/ID",
            "Default/Extensions/ID/1.0_0",
            "Default/Extensions/ID/Temp/manifest.json",
            "Default/Extensions/ID/1/_metadata/verified_contents.json",
            "Default/Extensions/ID/1/../../x",
            "Default/Extensions/ID/1/a\\b",
            "Default/Extensions/abc/1/manifest.json",
            "Default/Extensions/ABCDEFGHIJKLMNOPABCDEFGHIJKLMNOP/1/manifest.json",
            "Default/Local Extension Settings/ID/LOCK",
            "Default/Extension State/ID/CURRENT",
            "Default/Extension Scripts/ID/CURRENT",
            "Default/Managed Extension Settings/ID/CURRENT",
            "Default/Web Applications/ID/x",
            "Default/IndexedDB/chrome-extension_ID_1.indexeddb.leveldb/CURRENT",
            "Default/IndexedDB/https_example.org_0.indexeddb.leveldb/CURRENT",
            "Extensions/ID/1/manifest.json",
            LISTING_FILE,
        ] {
            let path = path.replace("ID", id);
            assert_eq!(extension(&path), None, "{path}");
        }
    }

    #[test]
    fn paths_that_climb_are_no_paths() {
        for bad in
            ["", "/etc/passwd", "../x", "Default/../../x", "Default//x", "Default/./x", "a\\b", "a\nb", "a\0"]
        {
            assert!(classify(bad).is_err(), "{bad:?}");
        }
        assert!(classify(&"a".repeat(MAX_PATH_LENGTH)).is_ok());
        assert!(classify(&"a".repeat(MAX_PATH_LENGTH + 1)).is_err());
    }

    #[test]
    fn a_scan_enters_what_it_needs_only() {
        for entered in
            ["Default", "Default/Network", "Default/Service Worker", "Default/Local Storage/leveldb"]
        {
            assert!(is_entered(entered), "{entered}");
        }
        for passed in ["Default/Cache", "Safe Browsing", "Default/Service Worker/x", "Default/Net"] {
            assert!(!is_entered(passed), "{passed}");
        }
    }
}
