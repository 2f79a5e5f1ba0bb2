//! The last answer of every catalog, on disk: one JSON file each, replaced as a whole, set aside when it is broken.
//!
//! ```text
//! {"version":1,"catalog":URI,"time":SECONDS,"nodes":[RECORD…],"names":{ID:"public"|"private"|"loopback"|"anything"}}
//! ```

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use cbrowse_protocol::{id::NodeId, node::NodeRecord};
use cbrowse_registry::{Catalog, CatalogError, CatalogUri, ChangeStream, Listing, Reach};
use futures_util::{FutureExt as _, future::BoxFuture};
use serde::{Deserialize, Serialize};

/// The format above; another version is as good as none.
const VERSION: u32 = 1;
/// Longest file that is read, in bytes: the 10,000 nodes a catalog may have, at 4 KiB each.
const MAX_LENGTH: u64 = 40 * 1024 * 1024;

/// A directory of answers.
#[derive(Debug, Clone)]
pub struct Cache {
    directory: PathBuf,
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

#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    catalog: String,
    time: u64,
    nodes: Vec<NodeRecord>,
    #[serde(default)]
    names: BTreeMap<NodeId, String>,
}

impl Cache {
    /// A cache in `directory`, which is made when something is stored.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Replaces the answer of one catalog as a whole; readers see the old or the new one.
    pub fn store(&self, uri: &CatalogUri, listing: &Listing, now: u64) -> io::Result<()> {
        fs::create_dir_all(&self.directory)?;
        let file = File {
            version: VERSION,
            catalog: uri.to_string(),
            time: now,
            nodes: listing.nodes.clone(),
            names: listing.names.iter().map(|(id, reach)| (id.clone(), reach.to_string())).collect(),
        };
        let temporary = tempfile::NamedTempFile::new_in(&self.directory)?;
        serde_json::to_writer(io::BufWriter::new(temporary.as_file()), &file)?;
        temporary.persist(self.path(uri)).map_err(|error| error.error)?;
        Ok(())
    }

    /// The last answer of one catalog.
    pub fn load(&self, uri: &CatalogUri) -> Result<Cached, CacheError> {
        let path = self.path(uri);
        let bytes = match read_limited(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(CacheError::Nothing),
            Err(source) => return Err(CacheError::Unreadable { path, source }),
        };
        decode(&bytes, uri).ok_or_else(|| CacheError::Corrupt(set_aside(&path)))
    }

    fn path(&self, uri: &CatalogUri) -> PathBuf {
        use std::fmt::Write as _;
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, uri.to_string().as_bytes());
        let mut name = String::new();
        for byte in &digest.as_ref()[..16] {
            let _ = write!(name, "{byte:02x}");
        }
        self.directory.join(name + ".json")
    }
}

fn read_limited(path: &Path) -> io::Result<Vec<u8>> {
    if fs::metadata(path)?.len() > MAX_LENGTH {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("more than {MAX_LENGTH} bytes")));
    }
    fs::read(path)
}

fn decode(bytes: &[u8], uri: &CatalogUri) -> Option<Cached> {
    let file: File = serde_json::from_slice(bytes).ok()?;
    if file.version != VERSION || file.catalog != uri.to_string() {
        return None;
    }
    if file.nodes.iter().any(|node| node.check().is_err()) {
        return None;
    }
    let names: Option<_> = file.names.into_iter().map(|(id, text)| Some((id, reach_of(&text)?))).collect();
    let listing = Listing { nodes: file.nodes, names: names?, ..Listing::default() };
    Some(Cached { listing, time: file.time })
}

fn reach_of(text: &str) -> Option<Reach> {
    let all = [Reach::Public, Reach::Private, Reach::Loopback, Reach::Anything];
    all.into_iter().find(|reach| reach.to_string() == text)
}

/// Moves a broken file out of the way, for whoever wants to know what happened to it.
fn set_aside(path: &Path) -> PathBuf {
    let aside = path.with_extension("corrupt");
    // Where even that fails, the next good answer replaces it.
    let _ = fs::rename(path, &aside);
    aside
}

/// A catalog that remembers what it said, and says it again, with its age, while its registry is down.
pub struct CachedCatalog {
    catalog: Box<dyn Catalog>,
    cache: Cache,
}

impl CachedCatalog {
    /// Puts a cache in front of a catalog.
    pub fn new(catalog: Box<dyn Catalog>, cache: Cache) -> Self {
        Self { catalog, cache }
    }

    async fn list_or_recall(&self) -> Result<Listing, CatalogError> {
        match self.catalog.list().await {
            Ok(mut listing) => {
                self.remember(&mut listing);
                Ok(listing)
            }
            Err(error) if error.is_transient() => self.recall(error, now()),
            Err(error) => Err(error),
        }
    }

    fn remember(&self, listing: &mut Listing) {
        // An empty answer with a warning is one that was cut short or filtered, not an empty catalog.
        if listing.nodes.is_empty() && !listing.warnings.is_empty() {
            return;
        }
        if let Err(error) = self.cache.store(self.uri(), listing, now()) {
            listing.warnings.push(format!("its copy cannot be kept: {error}"));
        }
    }

    fn recall(&self, error: CatalogError, now: u64) -> Result<Listing, CatalogError> {
        match self.cache.load(self.uri()) {
            Ok(Cached { mut listing, time }) => {
                let age = age_in_words(Duration::from_secs(now.saturating_sub(time)));
                let cause = match error {
                    CatalogError::One { cause, .. } => cause.to_string(),
                    several @ CatalogError::All(_) => several.to_string(),
                };
                listing.warnings.push(format!("{cause}; using its answer of {age} ago"));
                Ok(listing)
            }
            Err(CacheError::Nothing) => Err(error),
            Err(unusable) => Err(with_remark(error, &unusable)),
        }
    }
}

/// The registry's own error comes first; that the copy was no help is part of the story.
fn with_remark(error: CatalogError, unusable: &CacheError) -> CatalogError {
    match error {
        CatalogError::One { catalog, cause } => {
            CatalogError::One { catalog: format!("{catalog} ({unusable})"), cause }
        }
        several @ CatalogError::All(_) => several,
    }
}

impl Catalog for CachedCatalog {
    fn uri(&self) -> &CatalogUri {
        self.catalog.uri()
    }

    fn list(&self) -> BoxFuture<'_, Result<Listing, CatalogError>> {
        self.list_or_recall().boxed()
    }

    fn watch(&self) -> ChangeStream {
        self.catalog.watch()
    }
}

fn now() -> u64 {
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

#[cfg(test)]
mod tests {
    use cbrowse_registry::Cause;

    use super::*;

    struct Fixed(CatalogUri, Result<Listing, CatalogError>);

    impl Catalog for Fixed {
        fn uri(&self) -> &CatalogUri {
            &self.0
        }
        fn list(&self) -> BoxFuture<'_, Result<Listing, CatalogError>> {
            std::future::ready(self.1.clone()).boxed()
        }
        fn watch(&self) -> ChangeStream {
            use futures_util::StreamExt as _;
            futures_util::stream::pending().boxed()
        }
    }

    fn uri() -> CatalogUri {
        "consul://127.0.0.1:1".parse().expect("a catalog")
    }

    fn listing() -> Listing {
        let node: NodeRecord = serde_json::from_value(
            serde_json::json!({"id": "n1", "address": "node.example.com", "port": 7443, "region": "eu"}),
        )
        .expect("a record");
        let names = [(node.id.clone(), Reach::Private)].into();
        Listing { nodes: vec![node], names, ..Listing::default() }
    }

    fn down() -> Result<Listing, CatalogError> {
        let cause = Cause::Unreachable("connection refused".into());
        Err(CatalogError::One { catalog: uri().to_string(), cause })
    }

    async fn list(cache: &Cache, answer: Result<Listing, CatalogError>) -> Result<Listing, CatalogError> {
        CachedCatalog::new(Box::new(Fixed(uri(), answer)), cache.clone()).list().await
    }

    #[tokio::test]
    async fn a_registry_that_is_down_is_served_from_its_last_answer_with_its_age() {
        let directory = tempfile::tempdir().expect("a directory");
        let cache = Cache::new(directory.path().join("catalogs"));
        assert!(list(&cache, down()).await.is_err(), "nothing is cached yet");
        assert_eq!(list(&cache, Ok(listing())).await, Ok(listing()));
        let recalled = list(&cache, down()).await.expect("from the cache");
        assert_eq!((&recalled.nodes, &recalled.names), (&listing().nodes, &listing().names));
        let warning = &recalled.warnings[0];
        assert!(warning.contains("connection refused") && warning.contains("ago"), "{warning}");
    }

    #[tokio::test]
    async fn an_error_that_will_not_pass_is_not_hidden_by_the_cache() {
        let directory = tempfile::tempdir().expect("a directory");
        let cache = Cache::new(directory.path().to_owned());
        list(&cache, Ok(listing())).await.expect("stored");
        let cause =
            Cause::Refused { status: 403, message: "ACL not found".into(), token: "CONSUL_HTTP_TOKEN" };
        let refused = CatalogError::One { catalog: uri().to_string(), cause };
        assert_eq!(list(&cache, Err(refused.clone())).await, Err(refused));
    }

    #[tokio::test]
    async fn a_corrupt_copy_is_set_aside_and_said() {
        let directory = tempfile::tempdir().expect("a directory");
        let cache = Cache::new(directory.path().to_owned());
        list(&cache, Ok(listing())).await.expect("stored");
        let path = cache.path(&uri());
        let whole = fs::read(&path).expect("stored");
        for cut in [0, 1, whole.len() / 2, whole.len() - 1] {
            fs::write(&path, &whole[..cut]).expect("written");
            let error = list(&cache, down()).await.expect_err("corrupt").to_string();
            assert!(error.contains("set aside") && error.contains("connection refused"), "{error}");
            assert!(!path.exists() && path.with_extension("corrupt").exists());
        }
        list(&cache, Ok(listing())).await.expect("stored again");
        assert!(list(&cache, down()).await.is_ok());
    }

    #[test]
    fn a_copy_of_another_catalog_version_or_with_garbage_is_no_copy() {
        let directory = tempfile::tempdir().expect("a directory");
        let cache = Cache::new(directory.path().to_owned());
        cache.store(&uri(), &listing(), 7).expect("stored");
        let text = fs::read_to_string(cache.path(&uri())).expect("stored");
        assert_eq!(decode(text.as_bytes(), &uri()).map(|cached| cached.time), Some(7));
        let other: CatalogUri = "consul://127.0.0.1:2".parse().expect("a catalog");
        assert!(decode(text.as_bytes(), &other).is_none());
        for (from, to) in [("\"version\":1", "\"version\":2"), ("7443", "0"), ("\"private\"", "\"all\"")] {
            assert!(text.contains(from));
            assert!(decode(text.replace(from, to).as_bytes(), &uri()).is_none(), "{to}");
        }
    }

    #[tokio::test]
    async fn an_empty_answer_with_a_warning_does_not_replace_a_good_one() {
        let directory = tempfile::tempdir().expect("a directory");
        let cache = Cache::new(directory.path().to_owned());
        list(&cache, Ok(listing())).await.expect("stored");
        let filtered = Listing { warnings: vec!["filtered by ACLs".into()], ..Listing::default() };
        list(&cache, Ok(filtered)).await.expect("an answer");
        assert_eq!(list(&cache, down()).await.expect("the copy").nodes.len(), 1);
    }

    #[test]
    fn ages_read_as_people_say_them() {
        let words = |seconds| age_in_words(Duration::from_secs(seconds));
        assert_eq!(
            [0, 1, 59, 60, 3599, 3600, 86_399, 86_400, 200_000].map(words),
            [
                "0 seconds",
                "1 second",
                "59 seconds",
                "1 minute",
                "59 minutes",
                "1 hour",
                "23 hours",
                "1 day",
                "2 days"
            ]
        );
    }
}
