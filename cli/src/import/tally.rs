//! How much of what a person knows is in a profile: for the report alone, so what cannot be counted counts as nothing.

use std::{collections::BTreeSet, fs, path::Path};

use rusqlite::{Connection, OpenFlags};
use serde::Serialize;
use serde_json::Value;

use super::copy::read_small;

/// Longest file of bookmarks that is counted, in bytes.
const MAX_BOOKMARKS: u64 = 64 * 1024 * 1024;

/// Counts.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Bookmarks, folders not counted.
    pub bookmarks: u64,
    /// Addresses in the history.
    pub history: u64,
    /// Cookies.
    pub cookies: u64,
    /// Saved logins.
    pub logins: u64,
    /// Sites with databases of their own.
    pub sites_with_data: u64,
}

/// Counts what lies in a profile's directory.
pub fn count(profile: &Path) -> Tally {
    let rows = |files: &[&str], sql| files.iter().map(|file| rows(&profile.join(file), sql)).sum();
    Tally {
        bookmarks: bookmarks(&profile.join("Bookmarks")),
        history: rows(&["History"], "SELECT count(*) FROM urls"),
        cookies: rows(&["Cookies", "Network/Cookies"], "SELECT count(*) FROM cookies"),
        logins: rows(
            &["Login Data", "Login Data For Account"],
            "SELECT count(*) FROM logins WHERE length(password_value) > 0",
        ),
        sites_with_data: sites(&profile.join("IndexedDB")),
    }
}

fn rows(path: &Path, sql: &str) -> u64 {
    let counted = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .and_then(|connection| connection.query_row(sql, [], |row| row.get::<_, i64>(0)));
    counted.ok().and_then(|count| count.try_into().ok()).unwrap_or(0)
}

fn bookmarks(path: &Path) -> u64 {
    let bytes = read_small(path, MAX_BOOKMARKS).unwrap_or_default();
    let tree: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    tree["roots"].as_object().map_or(0, |roots| roots.values().map(urls).sum())
}

/// The parser has bounded the depth.
fn urls(node: &Value) -> u64 {
    let own = u64::from(node["type"] == "url");
    own + node["children"].as_array().map_or(0, |children| children.iter().map(urls).sum())
}

fn sites(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let sites: BTreeSet<String> =
        names.map(|name| name.split(".indexeddb").next().unwrap_or_default().to_owned()).collect();
    sites.len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_counted_and_what_is_not_is_nothing() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(count(directory.path()), Tally::default());
        let folder =
            r#"{"type":"folder","children":[{"type":"url"},{"type":"folder","children":[{"type":"url"}]}]}"#;
        let text =
            format!(r#"{{"roots":{{"bookmark_bar":{folder},"other":{{"type":"folder","children":[]}}}}}}"#);
        fs::write(directory.path().join("Bookmarks"), text).unwrap();
        let history = Connection::open(directory.path().join("History")).unwrap();
        history.execute_batch("CREATE TABLE urls(id); INSERT INTO urls VALUES (1), (2), (3)").unwrap();
        for name in ["https_a.example_0.indexeddb.leveldb", "https_a.example_0.indexeddb.blob"] {
            fs::create_dir_all(directory.path().join("IndexedDB").join(name)).unwrap();
        }
        let expected = Tally { bookmarks: 2, history: 3, sites_with_data: 1, ..Tally::default() };
        assert_eq!(count(directory.path()), expected);
    }
}
