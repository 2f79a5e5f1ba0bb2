//! The last answer of every catalog, on disk: one JSON file each, replaced as a whole, set aside when it is broken.
//!
//! ```text
//! {"version":1,"catalog":URI,"query":TEXT,"time":SECONDS,"nodes":[RECORD…],
//!  "names":{ID:"public"|"private"|"loopback"|"anything"}}
//! ```
//!
//! The query is empty for the answer that `connect` starts from. Two commands may write at once: each writes a file of
//! its own and renames it, and the last one wins.

mod catalog;
mod glance;
mod room;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use cbrowse_protocol::{id::NodeId, node::NodeRecord};
use cbrowse_registry::{CatalogUri, Listing, Query, Reach, screen::MAX_NODES};
use serde::{Deserialize, Serialize};

pub use self::catalog::CachedCatalog;
use crate::context::Globals;

/// The format above; another version is as good as none.
const VERSION: u32 = 1;
/// Longest file that is read, in bytes: the 10,000 nodes a catalog may have, at 4 KiB each.
const MAX_LENGTH: u64 = 40 * 1024 * 1024;

/// How long answers are good for, and how much room they take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Oldest answer that `connect` starts from.
    pub ttl: Duration,
    /// A younger answer need not be asked for again.
    pub refresh: Duration,
    /// Most bytes of the whole directory; 0: nothing is kept or used.
    pub size: u64,
}

/// A directory of answers.
#[derive(Debug, Clone)]
pub struct Cache {
    directory: PathBuf,
    rules: Rules,
}

/// An answer of the past.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cached {
    /// What the catalog said.
    pub listing: Listing,
    /// Seconds since the Unix epoch when it said so.
    pub time: u64,
}

/// Why there is no cached answer.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The catalog never answered here.
    #[error("there is no copy of an earlier answer")]
    Nothing,
    /// The file cannot be read.
    #[error("its copy {} cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file was read and makes no sense.
    #[error("its copy was corrupt, and is set aside as {}", .0.display())]
    Corrupt(PathBuf),
}

/// The same as [`Content`], of what somebody else holds.
#[derive(Serialize)]
struct Draft<'a> {
    version: u32,
    catalog: String,
    query: String,
    time: u64,
    nodes: &'a [NodeRecord],
    names: BTreeMap<&'a NodeId, String>,
}

#[derive(Deserialize)]
struct Content {
    version: u32,
    catalog: String,
    #[serde(default)]
    query: String,
    time: u64,
    nodes: Vec<NodeRecord>,
    #[serde(default)]
    names: BTreeMap<NodeId, String>,
}

impl Cache {
    /// A cache in `directory`, which is made when something is stored.
    pub fn new(directory: PathBuf, rules: Rules) -> Self {
        Self { directory, rules }
    }

    /// The user's own, by the settings in force.
    pub fn of(globals: &Globals) -> Self {
        let settings = &globals.settings;
        let rules = Rules {
            ttl: settings.cache_ttl.value,
            refresh: settings.cache_refresh.value,
            size: settings.cache_size.value,
        };
        Self::new(globals.paths.catalogs(), rules)
    }

    /// By what it keeps.
    pub fn rules(&self) -> Rules {
        self.rules
    }

    /// Replaces one catalog's answer to `query` as a whole; readers see the old or the new one. Older answers go where
    /// there is no room for all.
    pub fn store(&self, uri: &CatalogUri, query: &Query, listing: &Listing, now: u64) -> io::Result<()> {
        if self.rules.size == 0 {
            return Ok(());
        }
        let content = Draft {
            version: VERSION,
            catalog: uri.to_string(),
            query: text_of(query),
            time: now,
            nodes: &listing.nodes,
            names: listing.names.iter().map(|(id, reach)| (id, reach.to_string())).collect(),
        };
        let bytes = serde_json::to_vec(&content)?;
        if bytes.len() as u64 > self.rules.size.min(MAX_LENGTH) {
            return Err(io::Error::other(format!(
                "its {} bytes are more than cache_size allows",
                bytes.len()
            )));
        }
        fs::create_dir_all(&self.directory)?;
        let path = self.path(uri, query);
        let mut draft = room::draft(&self.directory)?;
        draft.write_all(&bytes)?;
        draft.persist(&path).map_err(|error| error.error)?;
        room::make_room(&self.directory, self.rules.size, &path)
    }

    /// One catalog's last answer to `query`: the one that was asked for so, or that for all nodes, whichever is younger.
    pub fn load(&self, uri: &CatalogUri, query: &Query) -> Result<Cached, CacheError> {
        if self.rules.size == 0 {
            return Err(CacheError::Nothing);
        }
        let whole = Query::default();
        let exact = self.read(uri, query);
        if *query == whole || !query.health.is_subset(&whole.health) {
            return exact;
        }
        let Ok(mut all) = self.read(uri, &whole) else { return exact };
        if exact.as_ref().is_ok_and(|exact| exact.time >= all.time) {
            return exact;
        }
        all.listing.nodes.retain(|record| query.admits(record));
        Ok(all)
    }

    fn read(&self, uri: &CatalogUri, query: &Query) -> Result<Cached, CacheError> {
        let path = self.path(uri, query);
        let unreadable = |source| CacheError::Unreadable { path: path.clone(), source };
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(CacheError::Nothing),
            Err(error) => return Err(unreadable(error)),
        };
        let bytes = read_limited(&mut file).map_err(unreadable)?;
        decode(&bytes, uri, query).ok_or_else(|| CacheError::Corrupt(set_aside(&path, &file)))
    }

    fn path(&self, uri: &CatalogUri, query: &Query) -> PathBuf {
        use std::fmt::Write as _;
        let mut key = uri.to_string();
        let query = text_of(query);
        if !query.is_empty() {
            // No catalog's name holds a line end.
            key = format!("{key}\n{query}");
        }
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key.as_bytes());
        let mut name = String::new();
        for byte in &digest.as_ref()[..16] {
            let _ = write!(name, "{byte:02x}");
        }
        self.directory.join(name + ".json")
    }
}

impl Cached {
    /// How long ago the catalog said so.
    pub fn age(&self) -> Duration {
        Duration::from_secs(now().saturating_sub(self.time))
    }

    /// Whether it is younger than `limit`. One from the future, kept before the clock was set back, is of any age.
    pub fn is_younger(&self, limit: Duration) -> bool {
        now().checked_sub(self.time).is_some_and(|age| Duration::from_secs(age) < limit)
    }
}

/// Empty for the answer that everybody asks for.
fn text_of(query: &Query) -> String {
    if *query == Query::default() { String::new() } else { query.to_string() }
}

fn read_limited(file: &mut File) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len();
    let mut bytes = Vec::with_capacity(usize::try_from(length.min(MAX_LENGTH)).unwrap_or(0));
    file.take(MAX_LENGTH + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_LENGTH {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("more than {MAX_LENGTH} bytes")));
    }
    Ok(bytes)
}

fn decode(bytes: &[u8], uri: &CatalogUri, query: &Query) -> Option<Cached> {
    let content: Content = serde_json::from_str(std::str::from_utf8(bytes).ok()?).ok()?;
    let is_ours = content.version == VERSION
        && content.catalog == uri.to_string()
        && content.query == text_of(query)
        && content.nodes.len() <= MAX_NODES;
    if !is_ours || content.nodes.iter().any(|node| node.check().is_err()) {
        return None;
    }
    let names: Option<_> = content.names.into_iter().map(|(id, text)| Some((id, reach_of(&text)?))).collect();
    let listing = Listing { nodes: content.nodes, names: names?, ..Listing::default() };
    Some(Cached { listing, time: content.time })
}

fn reach_of(text: &str) -> Option<Reach> {
    let all = [Reach::Public, Reach::Private, Reach::Loopback, Reach::Anything];
    all.into_iter().find(|reach| reach.to_string() == text)
}

/// Moves a broken file out of the way, for whoever wants to know what happened to it; not one that another command has
/// put there meanwhile.
fn set_aside(path: &Path, broken: &File) -> PathBuf {
    let aside = path.with_extension("corrupt");
    let is_same = |there: fs::Metadata| {
        broken.metadata().is_ok_and(|read| (read.dev(), read.ino()) == (there.dev(), there.ino()))
    };
    if fs::metadata(path).is_ok_and(is_same) {
        // Where even that fails, the next good answer replaces it.
        let _ = fs::rename(path, &aside);
    }
    aside
}

pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// An age in its largest unit, as people say it.
pub fn age_in_words(age: Duration) -> String {
    let seconds = age.as_secs();
    let (count, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..86_400 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}
