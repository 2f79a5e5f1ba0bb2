//! What a file of a browser is to a person: cookies, history, the data of one site.

use std::{collections::BTreeMap, fmt};

use cbrowse_profile::{allowlist::COOKIES_FILE, compare::Change};
use cbrowse_protocol::node::printable;
use serde_json::{Value, json};

use super::words;
use crate::{
    command::nodes::table::{Align, Table},
    failure::Failure,
    output::Output,
};

/// Longest site, and longest path, that is shown, in characters.
const MAX_SHOWN: usize = 200;

/// A part of a profile that a person knows by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Cookies,
    Logins,
    Bookmarks,
    History,
    Tabs,
    Settings,
    Forms,
    Icons,
    SiteSecurity,
    ServiceWorkers,
    /// Of one site, or of sites together.
    SiteData(Option<String>),
    Browser,
    Other,
}

impl Part {
    /// Of a path relative to the data directory.
    pub(super) fn of(path: &str) -> Self {
        let Some(inner) = path.strip_prefix("Default/") else {
            return if path == COOKIES_FILE { Self::Cookies } else { Self::Browser };
        };
        let main = ["-journal", "-wal"].iter().find_map(|suffix| inner.strip_suffix(suffix)).unwrap_or(inner);
        match main {
            "Cookies" | "Network/Cookies" => Self::Cookies,
            "Login Data" | "Login Data For Account" => Self::Logins,
            "Bookmarks" | "BookmarkMergedSurfaceOrdering" => Self::Bookmarks,
            "History" | "Top Sites" | "Shortcuts" => Self::History,
            "Preferences" | "Secure Preferences" | "Custom Dictionary.txt" => Self::Settings,
            "Web Data" | "Account Web Data" => Self::Forms,
            "Favicons" => Self::Icons,
            "TransportSecurity" | "Network/TransportSecurity" => Self::SiteSecurity,
            _ => Self::of_directory(inner),
        }
    }

    fn of_directory(inner: &str) -> Self {
        let mut parts = inner.split('/');
        match (parts.next().unwrap_or_default(), parts.next()) {
            ("Sessions" | "Sessions_Encrypted", _) => Self::Tabs,
            ("Service Worker", _) => Self::ServiceWorkers,
            ("IndexedDB" | "databases", Some(site)) => Self::SiteData(site_of(site)),
            (
                "Local Storage" | "Session Storage" | "IndexedDB" | "WebStorage" | "File System"
                | "databases",
                _,
            ) => Self::SiteData(None),
            _ => Self::Other,
        }
    }

    /// Stable name for programs.
    fn key(&self) -> &'static str {
        match self {
            Self::Cookies => "cookies",
            Self::Logins => "logins",
            Self::Bookmarks => "bookmarks",
            Self::History => "history",
            Self::Tabs => "tabs",
            Self::Settings => "settings",
            Self::Forms => "forms",
            Self::Icons => "icons",
            Self::SiteSecurity => "site_security",
            Self::ServiceWorkers => "service_workers",
            Self::SiteData(_) => "site_data",
            Self::Browser => "browser",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Cookies => "cookies",
            Self::Logins => "logins",
            Self::Bookmarks => "bookmarks",
            Self::History => "history",
            Self::Tabs => "open tabs",
            Self::Settings => "settings",
            Self::Forms => "form data and search engines",
            Self::Icons => "icons of sites",
            Self::SiteSecurity => "sites that insist on HTTPS",
            Self::ServiceWorkers => "service workers",
            Self::SiteData(Some(site)) => return write!(formatter, "data of {}", printable(site, MAX_SHOWN)),
            Self::SiteData(None) => "data of sites",
            Self::Browser => "browser version and language",
            Self::Other => "other files",
        })
    }
}

/// Chromium's name for a site in a file name: `https_example.org_8443`, 0 for the usual port.
fn site_of(name: &str) -> Option<String> {
    let (scheme, rest) = name.split_once('_')?;
    let (host, rest) = rest.rsplit_once('_')?;
    let port = rest.split('.').next()?;
    let is_site = matches!(scheme, "http" | "https") && !host.is_empty();
    let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    (is_site && is_number).then(|| match port {
        "0" => format!("{scheme}://{host}"),
        port => format!("{scheme}://{host}:{port}"),
    })
}

/// What happened to the files of one part.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sum {
    added: u64,
    removed: u64,
    changed: u64,
    before: u64,
    after: u64,
}

fn sums(changes: &[Change]) -> BTreeMap<Part, Sum> {
    let mut sums: BTreeMap<Part, Sum> = BTreeMap::new();
    for change in changes {
        let sum = sums.entry(Part::of(&change.path)).or_default();
        match (change.before, change.after) {
            (None, _) => sum.added += 1,
            (_, None) => sum.removed += 1,
            _ => sum.changed += 1,
        }
        sum.before += change.before.unwrap_or(0);
        sum.after += change.after.unwrap_or(0);
    }
    sums
}

impl Sum {
    fn files(&self) -> String {
        let named = [(self.changed, "changed"), (self.added, "added"), (self.removed, "removed")];
        let named: Vec<String> = named
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{} {what}", words::count(count, "file")))
            .collect();
        named.join(", ")
    }
}

/// For programs: every file, and what it is.
pub(super) fn to_json(changes: &[Change]) -> Value {
    let one = |change: &Change| {
        let part = Part::of(&change.path);
        let site = if let Part::SiteData(site) = &part { site.clone() } else { None };
        let what = match (change.before, change.after) {
            (None, _) => "added",
            (_, None) => "removed",
            _ => "changed",
        };
        json!({
            "path": change.path, "change": what, "before": change.before, "after": change.after,
            "part": part.key(), "site": site,
        })
    };
    changes.iter().map(one).collect()
}

/// For a person: a line a part; with `each`, a line a file too.
pub(super) fn table(changes: &[Change], each: bool) -> Table {
    let mut table = Table::new(&[
        ("WHAT", Align::Left),
        ("FILES", Align::Left),
        ("BEFORE", Align::Right),
        ("AFTER", Align::Right),
    ]);
    for (part, sum) in sums(changes) {
        table.row(None, vec![part.to_string(), sum.files(), words::size(sum.before), words::size(sum.after)]);
        if !each {
            continue;
        }
        for change in changes.iter().filter(|change| Part::of(&change.path) == part) {
            let size = |size: Option<u64>| size.map_or_else(|| "-".into(), words::size);
            let path = format!("  {}", printable(&change.path, MAX_SHOWN));
            table.row(None, vec![path, String::new(), size(change.before), size(change.after)]);
        }
    }
    table
}

/// Prints it.
pub(super) fn print(output: &Output, changes: &[Change], each: bool) -> Result<(), Failure> {
    output.print(&table(changes, each).render(output))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_what_a_person_knows() {
        let site = |text: &str| Part::SiteData(Some(text.into()));
        for (path, part) in [
            ("Default/Cookies", Part::Cookies),
            ("Default/Network/Cookies-journal", Part::Cookies),
            ("cbrowse/cookies.json", Part::Cookies),
            ("Default/History-wal", Part::History),
            ("Default/Login Data", Part::Logins),
            ("Default/Sessions/Tabs_1", Part::Tabs),
            ("Default/IndexedDB/https_example.org_0.indexeddb.leveldb/CURRENT", site("https://example.org")),
            ("Default/IndexedDB/http_localhost_8080.indexeddb.blob/1/00/1", site("http://localhost:8080")),
            ("Default/IndexedDB/nonsense/x", Part::SiteData(None)),
            ("Default/IndexedDB/javascript_a_0.x", Part::SiteData(None)),
            ("Default/Local Storage/leveldb/000003.log", Part::SiteData(None)),
            ("Default/Service Worker/Database/CURRENT", Part::ServiceWorkers),
            ("Last Version", Part::Browser),
            ("Default/Media Device Salts", Part::Other),
        ] {
            assert_eq!(Part::of(path), part, "{path}");
        }
    }

    #[test]
    fn changes_are_summed_by_part() {
        let change = |path: &str, before, after| Change { path: path.into(), before, after };
        let changes = [
            change("Default/Cookies", Some(10), Some(20)),
            change("Default/Cookies-wal", None, Some(5)),
            change("Default/Bookmarks", Some(7), None),
        ];
        let sums = sums(&changes);
        assert_eq!(sums[&Part::Cookies].files(), "1 file changed, 1 file added");
        assert_eq!((sums[&Part::Cookies].before, sums[&Part::Cookies].after), (10, 25));
        assert_eq!(sums[&Part::Bookmarks].files(), "1 file removed");
        let json = to_json(&changes);
        assert_eq!((&json[1]["change"], &json[2]["change"]), (&json!("added"), &json!("removed")));
    }
}
