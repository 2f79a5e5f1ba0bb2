//! One node: everything that serves, put together from its settings.

use std::{net::SocketAddr, sync::Arc, time::SystemTime};

use anyhow::Context as _;
use cbrowse_protocol::{
    id::NodeId,
    identity::{IdentityKey, SigningKey},
    node::{Health, NodeRecord},
    statement::SignedStatement,
};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::task::TaskTracker;

use crate::{
    access::Access,
    config::Settings,
    guard::{Guard, Policy, System},
    health::{Disk, Monitor, Usage},
    http::{
        App, seats,
        status::{self, StatusCache},
    },
    launch::chromium,
    limiter::Limiter,
    load::LoadReader,
    metrics::Metrics,
    objects::{Objects, bucket::Bucket, figures::Figures, quota::Quotas, shelf::Shelf as _},
    pages::{NodeFacts, Pages},
    session::{
        process::Template,
        table::{Parts, Table},
    },
};

/// Who a node is; does not change while it runs.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Id.
    pub id: NodeId,
    /// Public identity.
    pub identity: IdentityKey,
    /// The fleet's word about it.
    pub statement: Option<SignedStatement>,
    /// Region.
    pub region: String,
    /// Zone.
    pub zone: String,
    /// Version of this program.
    pub version: String,
    /// Version of its Chromium.
    pub browser_version: String,
}

/// A node that is ready to serve on its listener.
pub struct Node {
    /// Everything that handlers use.
    pub app: Arc<App>,
    /// Certifies the TLS key.
    pub identity: Arc<SigningKey>,
}

/// Seconds since the Unix epoch.
pub fn unix_now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl Node {
    /// Finds Chromium, opens the stores and makes the first worker: whatever is missing is said now, not to a user later.
    pub async fn build(settings: &Settings, listener: &TcpListener) -> anyhow::Result<Self> {
        let local = listener.local_addr().context("read the listening address")?;
        let binary = chromium::find(settings.chromium.as_deref()).await?;
        let identity = Arc::new(crate::identity::load_or_create(&settings.data_dir)?);
        let facts = facts(settings, local, &identity, &binary.version)?;
        let record = record(settings, local, &facts);
        record.check().context("the settings make a record that no registry takes")?;
        let metrics = Metrics::new();
        let objects = store(settings, metrics.store().clone()).await?;
        let table = Table::new(Parts {
            node: facts.id.clone(),
            identity: identity.clone(),
            browser_version: binary.version.clone(),
            template: Template {
                chromium: binary.path,
                disk: settings.session_disk,
                warm: settings.warm,
                autosave: settings.autosave,
                extensions: settings.extensions,
            },
            objects: objects.clone(),
            guard: Arc::new(guard(settings, local, &facts)?),
            idle_timeout: settings.idle_timeout,
            capacity: settings.max_sessions,
        });
        table.prepare().await?;
        let access = Access::new(facts.identity, &settings.data_dir, issuers(settings)?);
        if !access.has_issuer() {
            tracing::warn!(
                "nobody has a token yet; make the first one: cbrowse-node token --user NAME --data-dir {}",
                settings.data_dir.display()
            );
        }
        let (load, sockets) = (LoadReader::new(settings.bandwidth), TaskTracker::new());
        let health = health(settings, &load).await;
        let record = watch::Sender::new(NodeRecord { health: health.status(), ..record });
        let (status_limit, seat_limit) = (Limiter::new(status::RATE), Limiter::new(seats::RATE));
        let app = App {
            facts,
            access,
            table,
            objects,
            load,
            health,
            record,
            metrics,
            status: StatusCache::default(),
            status_limit,
            seat_limit,
            sockets,
        };
        Ok(Self { app: Arc::new(app), identity })
    }
}

/// Where sealed profiles lie. A bucket that cannot be used is found out now, not by the first user.
async fn store(settings: &Settings, figures: Figures) -> anyhow::Result<Objects> {
    let (data_dir, store) = (settings.data_dir.clone(), settings.store.clone());
    let mut quotas = Quotas { owner: store.owner_quota, store: store.store_quota };
    let Some(bucket) = store.bucket else {
        if quotas.store.is_none() {
            quotas.store = Some(Quotas::usual_share(disk_size(&data_dir)));
        }
        return Ok(Objects::in_directory(&data_dir, quotas, figures)?);
    };
    let bucket = Arc::new(Bucket::open(bucket).context("open the shared store")?);
    let opened = tokio::task::spawn_blocking(move || {
        bucket.profiles().with_context(|| format!("ask {}", bucket.describe()))?;
        anyhow::Ok(Objects::shared(bucket, &data_dir, store.cache, quotas, figures)?)
    });
    let objects = opened.await.context("open the shared store")??;
    tracing::info!("sealed profiles lie in {}", objects.describe());
    Ok(objects)
}

/// Of a file system that does not say, nothing is known, and nothing is limited.
fn disk_size(data_dir: &std::path::Path) -> u64 {
    let exists = data_dir.ancestors().find(|path| path.exists()).unwrap_or(data_dir);
    let found = nix::sys::statvfs::statvfs(exists);
    found.map_or(u64::MAX, |found| found.blocks().saturating_mul(found.fragment_size()))
}

/// Judged once, so that the first thing a registry hears is true.
async fn health(settings: &Settings, load: &LoadReader) -> Monitor {
    let monitor = Monitor::new(settings.health);
    let (load, _) = load.read();
    let disk = Disk::of(&settings.data_dir).used().await;
    monitor.observe(Usage { cpu: Some(load.cpu), memory: Some(load.memory), disk });
    monitor
}

fn facts(
    settings: &Settings,
    local: SocketAddr,
    identity: &SigningKey,
    browser_version: &str,
) -> anyhow::Result<Facts> {
    let id = match &settings.id {
        Some(id) => id.clone(),
        None => default_id(local.port()),
    };
    let identity = identity.public();
    if let Some(claimed) =
        settings.statement.as_ref().map(|signed| signed.claimed().context("read the statement"))
    {
        let claimed = claimed?;
        anyhow::ensure!(
            claimed.identity == identity && claimed.id == id && claimed.region == settings.region,
            "the fleet's statement is about node {} in {:?} with identity {}, but this node is {id} in {:?} with {identity}; \
             sign this one: cbrowse-node fleet sign --identity {identity} --id {id} --region {}",
            claimed.id,
            claimed.region,
            claimed.identity,
            settings.region,
            settings.region,
        );
    }
    Ok(Facts {
        id,
        identity,
        statement: settings.statement.clone(),
        region: settings.region.clone(),
        zone: settings.zone.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        browser_version: browser_version.into(),
    })
}

fn default_id(port: u16) -> NodeId {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host: String =
        host.trim().chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(64).collect();
    let host = host.trim_start_matches('-');
    let id = if host.is_empty() { format!("node-{port}") } else { format!("{host}-{port}") };
    id.parse().expect("letters, digits and dashes after a letter or digit are an id")
}

fn record(settings: &Settings, local: SocketAddr, facts: &Facts) -> NodeRecord {
    NodeRecord {
        id: facts.id.clone(),
        address: settings.advertise_host.clone().unwrap_or_else(|| own_address(local)),
        port: settings.advertise_port.unwrap_or(local.port()),
        region: facts.region.clone(),
        zone: facts.zone.clone(),
        version: facts.version.clone(),
        tags: settings.tags.clone(),
        weight: settings.weight,
        capacity: settings.max_sessions,
        browser_version: facts.browser_version.clone(),
        identity: Some(facts.identity),
        statement: facts.statement.clone(),
        health: Health::Passing,
        meta: settings.meta.clone(),
    }
}

/// The address by which others most likely reach a node that listens everywhere: the one it would send from.
fn own_address(local: SocketAddr) -> String {
    if !local.ip().is_unspecified() {
        return local.ip().to_string();
    }
    // Connecting a datagram socket sends nothing; it only asks the routing table. 192.0.2.1 is documentation space.
    let source = std::net::UdpSocket::bind(("0.0.0.0", 0))
        .and_then(|socket| socket.connect(("192.0.2.1", 9)).and_then(|()| socket.local_addr()));
    source.map_or_else(|_| "127.0.0.1".into(), |address| address.ip().to_string())
}

fn guard(settings: &Settings, local: SocketAddr, facts: &Facts) -> anyhow::Result<Guard> {
    let allow =
        settings.allow.iter().map(|rule| rule.parse().with_context(|| format!("understand --allow {rule}")));
    let deny =
        settings.deny.iter().map(|rule| rule.parse().with_context(|| format!("understand --deny {rule}")));
    let own = [Some(local.ip()), settings.advertise_host.as_ref().and_then(|host| host.parse().ok())];
    let policy = Policy::new(
        allow.collect::<anyhow::Result<_>>()?,
        deny.collect::<anyhow::Result<_>>()?,
        own.into_iter().flatten(),
    );
    let pages = Pages::new(&NodeFacts {
        node: facts.id.to_string(),
        region: facts.region.clone(),
        browser: facts.browser_version.clone(),
    });
    Ok(Guard::new(policy, System::default(), pages))
}

fn issuers(settings: &Settings) -> anyhow::Result<Vec<IdentityKey>> {
    let read = |key: &String| {
        if let Ok(key) = key.parse() {
            return Ok(key);
        }
        let text = std::fs::read_to_string(key)
            .with_context(|| format!("--token-key {key} is no key, and as a file it cannot be read"))?;
        text.trim().parse().with_context(|| format!("understand the key in {key}"))
    };
    settings.token_keys.iter().map(read).collect()
}
