//! What of a data directory on disk would travel, and what stays behind and why.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    allowlist::{self, Class, Part},
    extensions::ExtensionId,
    manifest::{MAX_FILE_LENGTH, MAX_FILES, MAX_PROFILE_LENGTH},
    stat_cache::Stamp,
};

/// A file that travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Relative to the data directory, `/` between parts.
    pub path: String,
    /// Bytes, when it was looked at.
    pub size: u64,
    pub(crate) class: Class,
    pub(crate) stamp: Stamp,
}

impl Found {
    /// Whether it travels as it is.
    pub(crate) fn is_carried(&self) -> bool {
        self.class == Class::Carried
    }
}

/// What a scan saw.
#[derive(Debug, Default)]
pub struct Scan {
    /// What travels, in ascending order of path.
    pub files: Vec<Found>,
    /// What a person may miss: extensions, links, special files. Caches and locks are not listed.
    pub left_behind: Vec<LeftBehind>,
    /// Extensions whose state travels.
    stateful: BTreeSet<ExtensionId>,
}

/// A path that does not travel.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct LeftBehind {
    /// Relative to the data directory.
    pub path: String,
    /// Why.
    pub reason: Reason,
}

/// Why something stays behind, or is not written on arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// A symbolic link.
    Link,
    /// A socket, a pipe or a device.
    Special,
    /// Extensions, native messaging hosts: code.
    Executable,
    /// A settings file lost branches that could execute, or was no settings file at all.
    Settings,
    /// Not on the list of what makes a profile.
    NotListed,
    /// An extension whose files are not those that the user let travel.
    NotAsAllowed,
    /// Its name is no path that can be stored.
    Name,
    /// Gone before it could be read, or it never held still.
    Changing,
}

/// Why a directory could not be scanned.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The disk said no.
    #[error("read {path}")]
    Disk {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// More than a profile may hold.
    #[error("{path} is too much for a profile: {limit}")]
    TooLarge {
        /// Where the limit was met.
        path: String,
        /// Which one.
        limit: &'static str,
    },
}

/// Looks through a browser's data directory.
pub fn scan(data_directory: &Path) -> Result<Scan, ScanError> {
    scan_with(data_directory, BTreeSet::new())
}

/// The same, with the state of these extensions.
pub fn scan_with(data_directory: &Path, stateful: BTreeSet<ExtensionId>) -> Result<Scan, ScanError> {
    let mut scan = Scan { stateful, ..Scan::default() };
    enter(data_directory, "", &mut scan)?;
    scan.files.sort_by(|a, b| a.path.cmp(&b.path));
    scan.left_behind.sort_by(|a, b| a.path.cmp(&b.path));
    let total: u64 = scan.files.iter().map(|file| file.size).sum();
    if total > MAX_PROFILE_LENGTH {
        return Err(too_large("the whole profile", "16 GiB in all"));
    }
    if scan.files.len() > MAX_FILES {
        return Err(too_large("the whole profile", "200,000 files"));
    }
    Ok(scan)
}

fn enter(root: &Path, inside: &str, scan: &mut Scan) -> Result<(), ScanError> {
    let directory = root.join(inside);
    let failed = |source| ScanError::Disk { path: directory.clone(), source };
    for entry in fs::read_dir(&directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = if inside.is_empty() { name } else { format!("{inside}/{name}") };
        match entry.metadata() {
            Ok(metadata) => look(root, path, &metadata, scan)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(ScanError::Disk { path: entry.path(), source }),
        }
    }
    Ok(())
}

fn look(root: &Path, path: String, metadata: &fs::Metadata, scan: &mut Scan) -> Result<(), ScanError> {
    if metadata.is_dir() {
        if allowlist::is_entered(&path) {
            enter(root, &path, scan)?;
        }
        return Ok(());
    }
    let class = match allowlist::classify(&path) {
        Ok(Class::Ignored) => return Ok(()),
        Ok(class) => class,
        Err(_) => return leave(scan, path, Reason::Name),
    };
    if metadata.is_symlink() {
        leave(scan, path, Reason::Link)
    } else if !metadata.is_file() {
        leave(scan, path, Reason::Special)
    } else if class == Class::Executable && !scan.is_state(&path) {
        leave_code(scan, &path);
        Ok(())
    } else if metadata.len() > MAX_FILE_LENGTH {
        Err(too_large(&path, "4 GiB a file"))
    } else {
        scan.files.push(Found { path, size: metadata.len(), class, stamp: Stamp::of(metadata) });
        Ok(())
    }
}

impl Scan {
    fn is_state(&self, path: &str) -> bool {
        let of_carried = |id: &str| self.stateful.iter().any(|carried| carried.as_str() == id);
        matches!(allowlist::extension(path), Some((id, Part::State)) if of_carried(id))
    }
}

/// Each extension and each native messaging host once. The databases of extensions' state are not named: Chromium
/// makes them for everybody.
fn leave_code(scan: &mut Scan, path: &str) {
    let mut parts = path.split('/');
    let named = match (parts.next(), parts.next(), parts.next()) {
        (Some("NativeMessagingHosts"), ..) => path.to_owned(),
        (Some(profile), Some(directory @ ("Extensions" | "Web Applications")), Some(id)) => {
            format!("{profile}/{directory}/{id}")
        }
        _ => return,
    };
    if scan.left_behind.iter().all(|left| left.path != named) {
        scan.left_behind.push(LeftBehind { path: named, reason: Reason::Executable });
    }
}

#[expect(clippy::unnecessary_wraps, reason = "every branch of `look` answers alike")]
fn leave(scan: &mut Scan, path: String, reason: Reason) -> Result<(), ScanError> {
    scan.left_behind.push(LeftBehind { path, reason });
    Ok(())
}

fn too_large(path: &str, limit: &'static str) -> ScanError {
    ScanError::TooLarge { path: path.into(), limit }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plant(root: &Path, path: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"x").unwrap();
    }

    #[test]
    fn links_special_files_and_code_stay_behind_and_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for path in [
            "Default/Cookies",
            "Default/Bookmarks",
            "Default/Cache/x",
            "Default/Extensions/a/1/m.json",
            "Default/Extensions/a/1/n.js",
            "Default/Extension State/CURRENT",
        ] {
            plant(root, path);
        }
        std::os::unix::fs::symlink("/etc/passwd", root.join("Default/History")).unwrap();
        std::os::unix::fs::symlink("/etc", root.join("Default/IndexedDB")).unwrap();
        let socket = std::os::unix::net::UnixListener::bind(root.join("Default/Web Data")).unwrap();
        let scan = scan(root).unwrap();
        drop(socket);
        let paths: Vec<_> = scan.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["Default/Bookmarks", "Default/Cookies"]);
        let left: Vec<_> = scan.left_behind.iter().map(|left| (left.path.as_str(), left.reason)).collect();
        assert_eq!(
            left,
            [
                ("Default/Extensions/a", Reason::Executable),
                ("Default/History", Reason::Link),
                ("Default/IndexedDB", Reason::Link),
                ("Default/Web Data", Reason::Special),
            ]
        );
    }
}
