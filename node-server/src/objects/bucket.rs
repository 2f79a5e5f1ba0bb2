//! A shelf in a bucket that speaks S3, shared by the nodes of a fleet.
//!
//! Every PUT says `If-None-Match: *`, so nothing is ever overwritten, whatever two nodes do at once. [`Bucket`] has no way
//! to delete; only [`Operator`] has, which `cbrowse-node store sweep` opens with its own credentials. Credentials come from
//! the environment (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_REGION`, or the roles that the
//! AWS variables and instance metadata name), never from flags.

use std::{fmt, future::Future, net::IpAddr, str::FromStr, sync::Arc, time::Duration};

use cbrowse_protocol::id::ProfileId;
use futures_util::TryStreamExt as _;
use object_store::{
    BackoffConfig, ClientOptions, Error, ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode, PutPayload,
    RetryConfig,
    aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey},
    path::Path,
};
use tokio::runtime::Handle;

use super::shelf::{Clearable, Entry, Folder, Key, MAX_LISTED, Shelf, ShelfError, profile_of};

/// How long a connection to the store may take. It is near the node, or the node should have another.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// From a request to the end of its answer: an object of 16 MiB at 1 MiB/s. A worker waits 30 s for all.
const REQUEST_DEADLINE: Duration = Duration::from_secs(16);
/// How often a request that failed is tried again: what lasts longer is for whoever asked.
const RETRIES: usize = 2;
/// The region where nobody names one: servers that are not AWS do not care.
const DEFAULT_REGION: &str = "us-east-1";

/// `s3://BUCKET[/PREFIX]`, as `--store` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketUri {
    bucket: String,
    prefix: String,
}

impl FromStr for BucketUri {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            |why: &str| Err(format!("{text:?} is no store: {why}; write s3://BUCKET or s3://BUCKET/PREFIX"));
        let Some(rest) = text.strip_prefix("s3://") else { return wrong("only s3:// is known") };
        if rest.contains(['@', '?', '#']) {
            return wrong("a store has neither user nor query; credentials come from the environment");
        }
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let is_name = |name: &str, more: &[u8]| {
            name.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte) || more.contains(&byte))
        };
        if bucket.is_empty() || !is_name(bucket, b"") {
            return wrong("the bucket's name has letters, digits, dots and dashes");
        }
        let prefix = prefix.trim_matches('/');
        if !is_name(prefix, b"/") || prefix.split('/').any(|part| part == "." || part == "..") {
            return wrong("the prefix has letters, digits, dots, dashes and slashes");
        }
        Ok(Self { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }
}

impl fmt::Display for BucketUri {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bucket, prefix } = self;
        if prefix.is_empty() {
            write!(formatter, "s3://{bucket}")
        } else {
            write!(formatter, "s3://{bucket}/{prefix}")
        }
    }
}

impl<'de> serde::Deserialize<'de> for BucketUri {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Where a bucket is, and how it may be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketSettings {
    /// Which one.
    pub uri: BucketUri,
    /// The server, where it is not AWS.
    pub endpoint: Option<String>,
    /// Clear text on other hosts than this one is permitted.
    pub plain_http: bool,
}

/// A bucket in the hands of a node: it adds, and never deletes.
pub struct Bucket {
    store: Arc<AmazonS3>,
    settings: BucketSettings,
    runtime: Handle,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The store's own form might hold credentials.
        write!(formatter, "Bucket({})", self.settings.uri)
    }
}

impl Bucket {
    /// Prepares to use it. Needs a tokio runtime; asks nothing yet.
    pub fn open(settings: BucketSettings) -> anyhow::Result<Self> {
        Self::with(AmazonS3Builder::from_env(), settings)
    }

    /// The same with a builder that has its credentials already.
    pub fn with(builder: AmazonS3Builder, settings: BucketSettings) -> anyhow::Result<Self> {
        let builder = match &settings.endpoint {
            Some(endpoint) => builder.with_endpoint(endpoint),
            None => builder,
        };
        let endpoint = builder.get_config_value(&AmazonS3ConfigKey::Endpoint);
        let is_plain = endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http://"));
        if let Some(endpoint) = endpoint.as_deref().filter(|_| is_plain && !settings.plain_http) {
            anyhow::ensure!(
                is_loopback(endpoint),
                "the store's endpoint {endpoint} is not encrypted; use https, or say --store-plain-http where the network \
                 between is your own"
            );
        }
        let builder = match builder.get_config_value(&AmazonS3ConfigKey::Region) {
            None => builder.with_region(DEFAULT_REGION),
            Some(_) => builder,
        };
        let backoff = BackoffConfig { init_backoff: Duration::from_millis(100), ..BackoffConfig::default() };
        let retry = RetryConfig { backoff, max_retries: RETRIES, retry_timeout: REQUEST_DEADLINE };
        let client = ClientOptions::new()
            .with_allow_http(is_plain)
            .with_connect_timeout(CONNECT_DEADLINE)
            .with_timeout(REQUEST_DEADLINE);
        let builder = builder.with_bucket_name(&settings.uri.bucket).with_client_options(client);
        let store = builder.with_allow_http(is_plain).with_retry(retry).build()?;
        Ok(Self { store: Arc::new(store), settings, runtime: Handle::try_current()? })
    }

    fn path(&self, below: &str) -> Path {
        match self.settings.uri.prefix.as_str() {
            "" => Path::from(below),
            prefix => Path::from(format!("{prefix}/{below}")),
        }
    }

    /// Blocks; to be called from threads that may.
    fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    fn list_all(&self, prefix: &Path) -> Result<Vec<ObjectMeta>, ShelfError> {
        let listing = async {
            let (mut found, mut stream) = (Vec::new(), self.store.list(Some(prefix)));
            while let Some(meta) = stream.try_next().await? {
                found.push(meta);
                if found.len() > MAX_LISTED {
                    return Ok(Err(ShelfError::Overfull(prefix.to_string())));
                }
            }
            Ok(Ok(found))
        };
        self.wait(listing).map_err(elsewhere("list"))?
    }
}

fn is_loopback(endpoint: &str) -> bool {
    let rest = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(inner) => inner.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn elsewhere(step: &'static str) -> impl FnOnce(Error) -> ShelfError {
    move |error| {
        let mut detail = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(inner) = cause {
            let text = inner.to_string();
            if !detail.contains(&text) {
                detail = format!("{detail}: {text}");
            }
            cause = inner.source();
        }
        ShelfError::Elsewhere { step, detail }
    }
}

fn entry(meta: &ObjectMeta) -> Option<Entry> {
    let name = meta.location.filename()?.to_owned();
    let touched = Duration::from_secs(u64::try_from(meta.last_modified.timestamp()).unwrap_or(0));
    Some(Entry { name, length: meta.size, touched })
}

impl Shelf for Bucket {
    fn get(&self, key: &Key, limit: usize) -> Result<Option<Vec<u8>>, ShelfError> {
        let getting = async {
            let answer = self.store.get(&self.path(key.as_str())).await?;
            if answer.meta.size > limit as u64 {
                return Ok(None);
            }
            answer.bytes().await.map(Some)
        };
        match self.wait(getting) {
            Ok(Some(bytes)) if bytes.len() <= limit => Ok(Some(bytes.into())),
            Ok(_) => Err(ShelfError::Overfull(key.to_string())),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(elsewhere("read")(error)),
        }
    }

    fn put_new(&self, key: &Key, bytes: &[u8]) -> Result<bool, ShelfError> {
        let payload = PutPayload::from(bytes.to_vec());
        match self.wait(self.store.put_opts(&self.path(key.as_str()), payload, PutMode::Create.into())) {
            Ok(_) => Ok(true),
            Err(Error::AlreadyExists { .. }) => Ok(false),
            Err(error) => Err(elsewhere("write")(error)),
        }
    }

    fn list(&self, folder: &Folder) -> Result<Vec<Entry>, ShelfError> {
        let found = self.list_all(&self.path(folder.as_str()))?;
        let mut entries: Vec<_> = found.iter().filter_map(entry).collect();
        entries.sort();
        Ok(entries)
    }

    /// One question for a thousand names, instead of one for each.
    fn missing(&self, folder: &Folder, names: &[String]) -> Result<Vec<String>, ShelfError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let here: std::collections::HashSet<String> =
            self.list(folder)?.into_iter().map(|entry| entry.name).collect();
        Ok(names.iter().filter(|name| !here.contains(*name)).cloned().collect())
    }

    fn profiles_of(&self, subject: &str) -> Result<Vec<ProfileId>, ShelfError> {
        let entries = self.list(&Folder::of_owner(subject))?;
        Ok(entries.iter().filter_map(|entry| profile_of(&entry.name)).collect())
    }

    fn profiles(&self) -> Result<Vec<ProfileId>, ShelfError> {
        let prefix = match self.settings.uri.prefix.as_str() {
            "" => None,
            prefix => Some(Path::from(prefix)),
        };
        let listed = self.wait(self.store.list_with_delimiter(prefix.as_ref())).map_err(elsewhere("list"))?;
        let names = listed.common_prefixes.iter().filter_map(Path::filename);
        let mut profiles: Vec<_> = names.filter_map(profile_of).collect();
        profiles.sort();
        Ok(profiles)
    }

    fn free(&self) -> Option<u64> {
        None
    }

    fn describe(&self) -> String {
        format!("the shared store {}", self.settings.uri)
    }
}

/// A bucket in the hands of its operator, who alone removes things.
#[derive(Debug)]
pub struct Operator(pub Bucket);

impl Shelf for Operator {
    fn get(&self, key: &Key, limit: usize) -> Result<Option<Vec<u8>>, ShelfError> {
        self.0.get(key, limit)
    }
    fn put_new(&self, key: &Key, bytes: &[u8]) -> Result<bool, ShelfError> {
        self.0.put_new(key, bytes)
    }
    fn list(&self, folder: &Folder) -> Result<Vec<Entry>, ShelfError> {
        self.0.list(folder)
    }
    fn missing(&self, folder: &Folder, names: &[String]) -> Result<Vec<String>, ShelfError> {
        self.0.missing(folder, names)
    }
    fn profiles_of(&self, subject: &str) -> Result<Vec<ProfileId>, ShelfError> {
        self.0.profiles_of(subject)
    }
    fn profiles(&self) -> Result<Vec<ProfileId>, ShelfError> {
        self.0.profiles()
    }
    fn total(&self) -> Result<(u64, u64), ShelfError> {
        self.0.total()
    }
    fn free(&self) -> Option<u64> {
        None
    }
    fn describe(&self) -> String {
        self.0.describe()
    }
}

impl Clearable for Operator {
    fn remove(&self, key: &Key) -> Result<bool, ShelfError> {
        match self.0.wait(self.0.store.delete(&self.0.path(key.as_str()))) {
            Ok(()) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(elsewhere("delete")(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_a_bucket_and_perhaps_a_prefix() {
        for (text, form) in [
            ("s3://fleet", "s3://fleet"),
            ("s3://fleet/", "s3://fleet"),
            ("s3://fleet/a/b/", "s3://fleet/a/b"),
        ] {
            assert_eq!(text.parse::<BucketUri>().expect("a store").to_string(), form);
        }
        for bad in ["", "fleet", "s3://", "gs://fleet", "s3://key@fleet", "s3://fleet/../x", "s3://fleet/a b"]
        {
            assert!(bad.parse::<BucketUri>().is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_store_in_clear_text_is_on_this_machine_or_permitted() {
        let open = |endpoint: &str, plain_http| {
            let builder = AmazonS3Builder::new().with_access_key_id("id").with_secret_access_key("key");
            let uri = "s3://fleet".parse().expect("a store");
            Bucket::with(builder, BucketSettings { uri, endpoint: Some(endpoint.into()), plain_http })
        };
        for (endpoint, plain_http, is_open) in [
            ("http://127.0.0.1:9000", false, true),
            ("http://[::1]:9000/", false, true),
            ("http://localhost", false, true),
            ("http://192.0.2.1:9000", false, false),
            ("http://127.0.0.1.example", false, false),
            ("http://192.0.2.1:9000", true, true),
            ("https://192.0.2.1", false, true),
        ] {
            assert_eq!(open(endpoint, plain_http).is_ok(), is_open, "{endpoint}");
        }
        let text = format!("{:?}", open("https://192.0.2.1", false).expect("a bucket"));
        assert_eq!(text, "Bucket(s3://fleet)", "no credentials");
    }
}
