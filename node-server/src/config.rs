//! The node's settings: flags over environment over file over defaults, resolved once.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use cbrowse_protocol::{id::NodeId, node, statement::SignedStatement};
use cbrowse_registry::CatalogUri;
use serde::Deserialize;

use crate::{
    health::{Limits, Thresholds},
    load::LineRate,
    objects::{
        DEFAULT_CACHE,
        bucket::{BucketSettings, BucketUri},
        quota::DEFAULT_OWNER_QUOTA,
    },
};

/// Sessions of a node that was not told: a browser with a few tabs takes 300-500 MB.
const DEFAULT_MAX_SESSIONS: u32 = 8;
/// A session's writable file system in MiB: profile, downloads, shared memory and caches.
const DEFAULT_SESSION_DISK: u64 = 1024;
/// A fresh profile, shared memory and caches of one page.
const LEAST_SESSION_DISK: u64 = 128;
/// A terabyte of memory is a typing error.
const MOST_SESSION_DISK: u64 = 1024 * 1024;
/// Seconds a session lives without a client.
const DEFAULT_IDLE_TIMEOUT: u64 = 300;
/// Seconds between two saves of a running profile. With the 10 s in which Chromium itself writes files down, 30 s are lost
/// at most by a node that dies.
const DEFAULT_AUTOSAVE: u64 = 20;
/// Longer, and a node that dies takes more with it than clients are promised.
const MOST_AUTOSAVE: u64 = 20;
/// Seconds a drain may take before what is left is cut off.
const DEFAULT_DRAIN_DEADLINE: u64 = 30;

/// The settings as flags and as keys of `node.toml` (the same words with underscores).
#[derive(Debug, Clone, Default, clap::Args, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Given {
    /// Address to listen on
    #[arg(long, value_name = "IP:PORT", env = "CBROWSE_NODE_LISTEN")]
    listen: Option<SocketAddr>,
    /// Address by which clients and registries reach this node [default: the listening address]
    #[arg(long, value_name = "HOST[:PORT]", env = "CBROWSE_NODE_ADVERTISE")]
    advertise: Option<String>,
    /// Unique name of this node [default: the host's name and the port]
    #[arg(long, value_name = "ID", env = "CBROWSE_NODE_ID")]
    id: Option<NodeId>,
    /// Region, such as eu-central
    #[arg(long, value_name = "REGION", env = "CBROWSE_NODE_REGION")]
    region: Option<String>,
    /// Zone inside the region
    #[arg(long, value_name = "ZONE", env = "CBROWSE_NODE_ZONE")]
    zone: Option<String>,
    /// Word to filter by; repeat for more
    #[arg(long = "tag", value_name = "TAG")]
    #[serde(default)]
    tags: Vec<String>,
    /// Fact to filter by; repeat for more. In the file a table: meta = { rack = "r1" }
    #[arg(long = "meta", value_name = "KEY=VALUE", value_parser = pair)]
    #[serde(default, deserialize_with = "table")]
    meta: Vec<(String, String)>,
    /// Share of load relative to other nodes [default: 1]
    #[arg(long, value_name = "N")]
    weight: Option<u16>,
    /// Registry to register in: consul://, etcd:// or nacos://, named as a catalog; repeat for more
    #[arg(long, value_name = "URI")]
    #[serde(default, deserialize_with = "catalog_uris")]
    register: Vec<CatalogUri>,
    /// How the registry checks this node's health [default: https]
    #[arg(long, value_name = "KIND", value_enum)]
    check: Option<CheckKind>,
    /// Busy processor time from which the node's health is warning, then critical [default: 95%,off]
    #[arg(long, value_name = "WARN[,CRIT]")]
    health_cpu: Option<Limits>,
    /// The same for used memory [default: 90%,97%]
    #[arg(long, value_name = "WARN[,CRIT]")]
    health_memory: Option<Limits>,
    /// The same for the disk of the data directory [default: 90%,97%]
    #[arg(long, value_name = "WARN[,CRIT]")]
    health_disk: Option<Limits>,
    /// How fast this node's line is: its used share then counts as load, and /status tells it
    #[arg(long, value_name = "RATE")]
    bandwidth: Option<LineRate>,
    /// Where the node keeps its identity, its keys and sealed profiles
    #[arg(long, value_name = "DIR", env = "CBROWSE_NODE_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Sessions to admit at most [default: 8]
    #[arg(long, value_name = "N", env = "CBROWSE_NODE_MAX_SESSIONS")]
    max_sessions: Option<u32>,
    /// Chromium's binary, where it is not in a usual place
    #[arg(long, value_name = "PATH", env = "CBROWSE_NODE_CHROMIUM")]
    chromium: Option<PathBuf>,
    /// Do not start a browser before there is a session for it: saves memory, costs each first picture 0.3 s
    #[arg(long, action = clap::ArgAction::SetTrue)]
    #[serde(default)]
    no_warm: bool,
    /// Run no extension that a user's profile carries; it stays in the profile
    #[arg(long, action = clap::ArgAction::SetTrue)]
    #[serde(default)]
    no_extensions: bool,
    /// MiB a session may write [default: 1024]
    #[arg(long, value_name = "MIB")]
    session_disk: Option<u64>,
    /// Seconds a session lives without a client [default: 300]
    #[arg(long, value_name = "SECONDS")]
    idle_timeout: Option<u64>,
    /// Seconds between two saves of a running profile that changes, 1 to 20 [default: 20]
    #[arg(long, value_name = "SECONDS")]
    autosave: Option<u64>,
    /// Seconds a drain may take [default: 30]
    #[arg(long, value_name = "SECONDS")]
    drain_deadline: Option<u64>,
    /// Network or host that pages may reach although it is refused by default; repeat for more
    #[arg(long = "allow", value_name = "CIDR[:PORT]|HOST:PORT")]
    #[serde(default)]
    allow: Vec<String>,
    /// Network or domain that pages may not reach; repeat for more
    #[arg(long = "deny", value_name = "CIDR|DOMAIN")]
    #[serde(default)]
    deny: Vec<String>,
    /// Bucket that the fleet's nodes share for sealed profiles, such as s3://fleet/profiles; credentials come from the AWS_* variables [default: the data directory]
    #[arg(long, value_name = "s3://BUCKET[/PREFIX]", env = "CBROWSE_NODE_STORE")]
    store: Option<BucketUri>,
    /// The bucket's server, where it is not AWS
    #[arg(long, value_name = "URL", env = "CBROWSE_NODE_STORE_ENDPOINT")]
    store_endpoint: Option<String>,
    /// Permit an endpoint in clear text that is not on this machine
    #[arg(long, action = clap::ArgAction::SetTrue)]
    #[serde(default)]
    store_plain_http: bool,
    /// Most bytes of a shared store's objects that this node keeps copies of, such as 8G [default: 8G]
    #[arg(long, value_name = "BYTES")]
    store_cache: Option<Bytes>,
    /// Most bytes of sealed objects that one user may keep here [default: 4G]
    #[arg(long, value_name = "BYTES")]
    profile_quota: Option<Bytes>,
    /// Most bytes of sealed objects of all users [default: half of the disk; none for a shared store]
    #[arg(long, value_name = "BYTES")]
    store_quota: Option<Bytes>,
    /// File with the fleet's statement about this node (cbrowse-node fleet sign)
    #[arg(long, value_name = "FILE")]
    statement: Option<PathBuf>,
    /// Public key of a further token issuer, or a file with it; repeat for more
    #[arg(long = "token-key", value_name = "KEY|FILE", allow_hyphen_values = true)]
    #[serde(default)]
    token_keys: Vec<String>,
    /// User to become when started as root [default: cbrowse if it exists, else a number that owns nothing]
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
}

/// A number of bytes: `8G`, `512M`, `4096`; a letter stands for a power of 1024.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl std::str::FromStr for Bytes {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no number of bytes; write one such as 4096, 512M or 8G");
        let (digits, shift) = match text.chars().last().map(|last| last.to_ascii_uppercase()) {
            Some('K') => (&text[..text.len() - 1], 10),
            Some('M') => (&text[..text.len() - 1], 20),
            Some('G') => (&text[..text.len() - 1], 30),
            Some('T') => (&text[..text.len() - 1], 40),
            _ => (text, 0),
        };
        let number: u64 = digits.parse().map_err(|_| wrong())?;
        number.checked_mul(1 << shift).map(Self).ok_or_else(wrong)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Where sealed profiles lie, and how much of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreSettings {
    /// A bucket that several nodes share; `None`: the data directory.
    pub bucket: Option<BucketSettings>,
    /// Bytes of copies in front of a bucket.
    pub cache: u64,
    /// Bytes to each owner.
    pub owner_quota: u64,
    /// Bytes to all; `None`: what is usual.
    pub store_quota: Option<u64>,
}

fn catalog_uris<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<CatalogUri>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| text.parse().map_err(serde::de::Error::custom)).collect()
}

fn table<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<(String, String)>, D::Error> {
    Ok(BTreeMap::<String, String>::deserialize(deserializer)?.into_iter().collect())
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or_else(|| {
        format!("{text:?} is no fact; write a word, an equals sign and a value, such as rack=r1")
    })?;
    Ok((key.to_owned(), value.to_owned()))
}

/// How a registry checks a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum CheckKind {
    /// The registry asks the node over HTTPS, and learns its health by the status.
    #[default]
    Https,
    /// The same without TLS, where something in front of the node ends it.
    Http,
    /// The registry connects, and learns only that something listens.
    Tcp,
    /// The registry asks grpc.health.v1 over TLS.
    Grpc,
    /// The node reports its health to the registry.
    Ttl,
}

/// The settings that are in force.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Listening address.
    pub listen: SocketAddr,
    /// Host that others use; `None`: the listening address.
    pub advertise_host: Option<String>,
    /// Port that others use; `None`: the listening port.
    pub advertise_port: Option<u16>,
    /// The node's id; `None`: host name and port.
    pub id: Option<NodeId>,
    /// Region.
    pub region: String,
    /// Zone.
    pub zone: String,
    /// Tags.
    pub tags: Vec<String>,
    /// Facts to filter by.
    pub meta: BTreeMap<String, String>,
    /// Weight.
    pub weight: u16,
    /// Registries.
    pub register: Vec<CatalogUri>,
    /// Kind of health check.
    pub check: CheckKind,
    /// From which figures on the node is not well.
    pub health: Thresholds,
    /// How fast the line is.
    pub bandwidth: Option<LineRate>,
    /// Data directory.
    pub data_dir: PathBuf,
    /// Most sessions.
    pub max_sessions: u32,
    /// Chromium's binary.
    pub chromium: Option<PathBuf>,
    /// A browser waits for the next session.
    pub warm: bool,
    /// Extensions that a user's profile carries run in its sessions.
    pub extensions: bool,
    /// A session's disk in bytes.
    pub session_disk: u64,
    /// How long a session lives without a client.
    pub idle_timeout: Duration,
    /// Between two saves of a running profile that changes.
    pub autosave: Duration,
    /// How long a drain may take.
    pub drain_deadline: Duration,
    /// Guard rules.
    pub allow: Vec<String>,
    /// Guard rules.
    pub deny: Vec<String>,
    /// Where sealed profiles lie, and how much of them.
    pub store: StoreSettings,
    /// The fleet's statement.
    pub statement: Option<SignedStatement>,
    /// Further token issuers' public keys, or files with them.
    pub token_keys: Vec<String>,
    /// User to become.
    pub user: Option<String>,
}

/// Reads `file` if there is one and lays `flags` over it.
pub fn resolve(flags: Given, file: Option<&Path>) -> anyhow::Result<Settings> {
    let file = match file {
        Some(path) => read(path)?,
        None => Given::default(),
    };
    let listen =
        flags.listen.or(file.listen).unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], node::DEFAULT_PORT)));
    let (advertise_host, advertise_port) = match flags.advertise.or(file.advertise) {
        Some(text) => split_advertise(&text)?,
        None => (None, None),
    };
    let statement = flags.statement.or(file.statement).map(|path| read_statement(&path)).transpose()?;
    let max_sessions = flags.max_sessions.or(file.max_sessions).unwrap_or(DEFAULT_MAX_SESSIONS);
    anyhow::ensure!(max_sessions > 0, "max_sessions is 0: a node that admits nobody serves nobody");
    let session_disk = flags.session_disk.or(file.session_disk).unwrap_or(DEFAULT_SESSION_DISK);
    anyhow::ensure!(
        (LEAST_SESSION_DISK..=MOST_SESSION_DISK).contains(&session_disk),
        "session_disk is {session_disk} MiB: from {LEAST_SESSION_DISK} (Chromium does not start with less) to {MOST_SESSION_DISK}"
    );
    let autosave = flags.autosave.or(file.autosave).unwrap_or(DEFAULT_AUTOSAVE);
    anyhow::ensure!(
        (1..=MOST_AUTOSAVE).contains(&autosave),
        "autosave is {autosave} s: from 1 to {MOST_AUTOSAVE}, so that a node that dies takes no more than 30 s with it"
    );
    let store = StoreSettings {
        bucket: flags.store.or(file.store).map(|uri| BucketSettings {
            uri,
            endpoint: flags.store_endpoint.or(file.store_endpoint),
            plain_http: flags.store_plain_http || file.store_plain_http,
        }),
        cache: flags.store_cache.or(file.store_cache).map_or(DEFAULT_CACHE, |Bytes(bytes)| bytes),
        owner_quota: flags
            .profile_quota
            .or(file.profile_quota)
            .map_or(DEFAULT_OWNER_QUOTA, |Bytes(bytes)| bytes),
        store_quota: flags.store_quota.or(file.store_quota).map(|Bytes(bytes)| bytes),
    };
    let usual = Thresholds::default();
    let health = Thresholds {
        cpu: flags.health_cpu.or(file.health_cpu).unwrap_or(usual.cpu),
        memory: flags.health_memory.or(file.health_memory).unwrap_or(usual.memory),
        disk: flags.health_disk.or(file.health_disk).unwrap_or(usual.disk),
    };
    Ok(Settings {
        listen,
        advertise_host,
        advertise_port,
        id: flags.id.or(file.id),
        region: flags.region.or(file.region).unwrap_or_else(|| "local".into()),
        zone: flags.zone.or(file.zone).unwrap_or_default(),
        tags: either(flags.tags, file.tags),
        meta: either(flags.meta, file.meta).into_iter().collect(),
        weight: flags.weight.or(file.weight).unwrap_or(1),
        register: either(flags.register, file.register),
        check: flags.check.or(file.check).unwrap_or_default(),
        health,
        bandwidth: flags.bandwidth.or(file.bandwidth),
        data_dir: flags.data_dir.or(file.data_dir).unwrap_or_else(default_data_dir),
        max_sessions,
        chromium: flags.chromium.or(file.chromium),
        warm: !(flags.no_warm || file.no_warm),
        extensions: !(flags.no_extensions || file.no_extensions),
        session_disk: session_disk << 20,
        idle_timeout: Duration::from_secs(
            flags.idle_timeout.or(file.idle_timeout).unwrap_or(DEFAULT_IDLE_TIMEOUT),
        ),
        autosave: Duration::from_secs(autosave),
        drain_deadline: Duration::from_secs(
            flags.drain_deadline.or(file.drain_deadline).unwrap_or(DEFAULT_DRAIN_DEADLINE),
        ),
        allow: either(flags.allow, file.allow),
        deny: either(flags.deny, file.deny),
        store,
        statement,
        token_keys: either(flags.token_keys, file.token_keys),
        user: flags.user.or(file.user),
    })
}

fn either<T>(flags: Vec<T>, file: Vec<T>) -> Vec<T> {
    if flags.is_empty() { file } else { flags }
}

fn read(path: &Path) -> anyhow::Result<Given> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    toml::from_str(&text).map_err(|error| {
        // The error's own text quotes the line, which may be a secret when the wrong file was named.
        let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
        anyhow::anyhow!("{}:{line}: {}", path.display(), error.message())
    })
}

fn read_statement(path: &Path) -> anyhow::Result<SignedStatement> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    text.trim().parse().with_context(|| format!("understand {}", path.display()))
}

/// `/var/lib/cbrowse-node` for root and for who has no home, `~/.local/share/cbrowse-node` for everybody else.
pub fn default_data_dir() -> PathBuf {
    let system = PathBuf::from("/var/lib/cbrowse-node");
    if nix::unistd::geteuid().is_root() {
        return system;
    }
    let data = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from);
    let data = data.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share")));
    data.map_or(system, |data| data.join("cbrowse-node"))
}

fn split_advertise(text: &str) -> anyhow::Result<(Option<String>, Option<u16>)> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok((Some(address.ip().to_string()), Some(address.port())));
    }
    if text.parse::<std::net::IpAddr>().is_ok() {
        return Ok((Some(text.to_owned()), None));
    }
    match text.rsplit_once(':') {
        Some((host, port)) => {
            let port = port.parse().with_context(|| format!("understand the port in --advertise {text}"))?;
            Ok((Some(host.to_owned()), Some(port)))
        }
        None => Ok((Some(text.to_owned()), None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_over_the_file_and_unknown_keys_are_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("node.toml");
        std::fs::write(&path, "region = 'eu'\nmax_sessions = 3\n").expect("write");
        let flags = Given { region: Some("us".into()), data_dir: Some("/x".into()), ..Given::default() };
        let settings = resolve(flags, Some(&path)).expect("settings");
        assert_eq!((settings.region.as_str(), settings.max_sessions), ("us", 3));
        std::fs::write(&path, "regoin = 'eu'\n").expect("write");
        let error = format!("{:#}", resolve(Given::default(), Some(&path)).expect_err("a typo"));
        assert!(error.contains("regoin") && error.contains("node.toml"), "{error}");
        for (line, at_fault) in [
            ("max_sessions = 0\n", "max_sessions is 0"),
            ("session_disk = 127\n", "127 MiB"),
            ("autosave = 0\n", "autosave is 0"),
            ("autosave = 21\n", "autosave is 21"),
        ] {
            std::fs::write(&path, line).expect("write");
            let error = resolve(Given::default(), Some(&path)).expect_err(line).to_string();
            assert!(error.contains(at_fault), "{error}");
        }
    }

    #[test]
    fn facts_and_thresholds_come_from_flags_else_from_the_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("node.toml");
        std::fs::write(&path, "meta = { rack = 'r1', row = '2' }\nhealth_disk = '80%,off'\n").expect("write");
        let settings = resolve(Given::default(), Some(&path)).expect("settings");
        assert_eq!(settings.meta, [("rack".into(), "r1".into()), ("row".into(), "2".into())].into());
        let disk = Limits { warning: Some(0.8), critical: None };
        assert_eq!(settings.health, Thresholds { disk, ..Thresholds::default() });
        let flags = Given {
            meta: vec![pair("a=b=c").expect("a fact")],
            health_disk: Some("off".parse().expect("thresholds")),
            ..Given::default()
        };
        let settings = resolve(flags, Some(&path)).expect("settings");
        assert_eq!(settings.meta, [("a".into(), "b=c".into())].into());
        assert_eq!(settings.health.disk, Limits { warning: None, critical: None });
        assert!(pair("rack").is_err() && pair("=r1").is_err());
        std::fs::write(&path, "health_disk = '97%,80%'\n").expect("write");
        let error = format!("{:#}", resolve(Given::default(), Some(&path)).expect_err("the wrong order"));
        assert!(error.contains("97%,80%") && error.contains("node.toml:1"), "{error}");
    }

    #[test]
    fn a_number_of_bytes_has_a_unit_or_none() {
        for (text, bytes) in
            [("4096", 4096), ("2k", 2048), ("512M", 512 << 20), ("8G", 8 << 30), ("1T", 1 << 40)]
        {
            assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
        }
        for bad in ["", "G", "-1", "1.5G", "8GB", "99999999T"] {
            assert!(bad.parse::<Bytes>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_store_is_a_bucket_only_when_it_is_named() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("node.toml");
        std::fs::write(&path, "store = 's3://fleet/p'\nstore_cache = '1G'\nprofile_quota = '2M'\n")
            .expect("write");
        let flags = Given { store_endpoint: Some("http://127.0.0.1:1".into()), ..Given::default() };
        let store = resolve(flags, Some(&path)).expect("settings").store;
        let bucket = store.bucket.expect("a bucket");
        assert_eq!((bucket.uri.to_string().as_str(), bucket.plain_http), ("s3://fleet/p", false));
        assert_eq!((store.cache, store.owner_quota, store.store_quota), (1 << 30, 2 << 20, None));
        assert_eq!(resolve(Given::default(), None).expect("settings").store.bucket, None);
    }

    #[test]
    fn an_advertised_address_may_leave_the_port_out() {
        assert_eq!(split_advertise("a.example").expect("host"), (Some("a.example".into()), None));
        assert_eq!(split_advertise("a.example:1").expect("both"), (Some("a.example".into()), Some(1)));
        assert_eq!(split_advertise("[::1]:2").expect("v6"), (Some("::1".into()), Some(2)));
        assert_eq!(split_advertise("::1").expect("v6"), (Some("::1".into()), None));
        assert!(split_advertise("a:b").is_err());
    }
}
