//! Real nodes of this machine, and a user whose catalog names them.

use std::{
    net::Ipv4Addr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, anyhow};
use cbrowse::{
    attach::finalist::{Finalist, Interview, Judge, interview},
    context::{Globals, Paths},
    credentials::Credentials,
    discover,
    failure::Failure,
    local::{self, OwnNode},
    output::Output,
    probe::{self, Goal, Probed, Search, Sockets},
    select::{Constraints, Strategy},
    settings::{Flags, Settings},
    survey::survey,
};
use cbrowse_protocol::{node::NodeRecord, token::Credential};

use super::{road::Road, site::Site};

/// A node makes its next worker in 30 ms and ends a session in less than a second; a busy machine needs longer.
const READY_DEADLINE: Duration = Duration::from_secs(20);
/// Between two looks at whether it has.
const READY_PAUSE: Duration = Duration::from_millis(20);
/// Nodes without a profile to save end at once.
const END_PATIENCE: Duration = Duration::from_secs(20);

/// Nodes that run, and what a client needs to use the first of them.
pub struct World {
    /// The user's settings; their catalog is a file that names the nodes.
    pub globals: Arc<Globals>,
    /// Holds for the first node.
    pub credentials: Arc<Credentials>,
    /// By what the nodes are judged.
    pub judge: Judge,
    /// How long the nodes took to start.
    pub started_in: Duration,
    nodes: Vec<OwnNode>,
    _roads: Vec<Road>,
    directory: tempfile::TempDir,
}

impl World {
    /// Starts `count` nodes next door, whose pages may reach `site`.
    pub async fn start(count: usize, site: &Site) -> anyhow::Result<Self> {
        Self::at(Duration::ZERO, count, site).await
    }

    /// The same, so far away that each round trip takes `distance` longer.
    pub async fn at(distance: Duration, count: usize, site: &Site) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("cbrowse-bench-").tempdir()?;
        open_for_nodes(directory.path())?;
        let started = Instant::now();
        let mut nodes = Vec::new();
        for index in 0..count {
            nodes.push(OwnNode::start(&plan(directory.path(), index, site)?).await.map_err(plain)?);
        }
        let started_in = started.elapsed();
        let line = local::credential(&directory.path().join("node-0")).await.map_err(plain)?;
        let credential = Credential::parse(&line)?;
        let mut records: Vec<_> = nodes.iter().map(|node| node.record.clone()).collect();
        let mut roads = Vec::new();
        if !distance.is_zero() {
            for record in &mut records {
                let road = Road::to((Ipv4Addr::LOCALHOST, record.port).into(), distance).await?;
                record.port = road.address().port();
                roads.push(road);
            }
        }
        let globals = globals(directory.path(), &records)?;
        let judge = Judge::of(&globals).map_err(plain)?;
        let credentials = Credentials::new(&credential, None, SystemTime::now())?;
        Ok(Self {
            globals: Arc::new(globals),
            credentials: Arc::new(credentials),
            judge,
            started_in,
            nodes,
            _roads: roads,
            directory,
        })
    }

    /// The first node, met and trusted.
    pub async fn meet(&self) -> anyhow::Result<Finalist> {
        match interview(&Probed::unprobed(self.nodes[0].record.clone()), &self.judge).await {
            Interview::Trusted(finalist) => Ok(*finalist),
            Interview::FirstUse(_) => Err(anyhow!("the node is not trusted")),
            Interview::Refused(failure) => Err(plain(*failure)),
            Interview::Failed(unanswered) => Err(anyhow!("the node did not answer: {}", unanswered.reason)),
        }
    }

    /// Waits until the first node runs no session and has a worker waiting.
    pub async fn ready(&self) -> anyhow::Result<()> {
        let node = Probed::unprobed(self.nodes[0].record.clone());
        let waited = tokio::time::timeout(READY_DEADLINE, async {
            loop {
                if let Interview::Trusted(finalist) = interview(&node, &self.judge).await
                    && finalist.status.sessions == 0
                    && finalist.status.session_key.is_some()
                {
                    return;
                }
                tokio::time::sleep(READY_PAUSE).await;
            }
        });
        waited.await.context("the node did not become free for the next run")
    }

    /// Probes alone, without the interviews that follow.
    pub async fn probe(&self) -> anyhow::Result<Duration> {
        let listing = discover::discover(&self.globals).await.map_err(plain)?;
        let records = listing.nodes.clone();
        let permits = |id: &_, address| listing.permits(id, address);
        let report =
            probe::probe(records, permits, &Sockets::open(), Search::new(Goal::Decide), |_| {}).await;
        anyhow::ensure!(report.nodes.iter().any(|node| node.rtt.is_some()), "no node answered a probe");
        Ok(report.elapsed)
    }

    /// From the catalog to the order of the nodes, as every `connect` begins.
    pub async fn choose(&self) -> anyhow::Result<Duration> {
        let started = Instant::now();
        let listing = discover::discover(&self.globals).await.map_err(plain)?;
        let nodes = listing.nodes.len();
        let found = survey(listing, &Constraints::default(), Strategy::default(), &self.judge).await;
        let took = started.elapsed();
        anyhow::ensure!(
            found.choice.order.len() == nodes,
            "only {:?} of {nodes} nodes were eligible",
            found.choice.order
        );
        Ok(took)
    }

    /// Ends the nodes.
    pub async fn end(self) {
        for node in self.nodes {
            node.end(END_PATIENCE).await;
        }
        drop(self.directory);
    }
}

/// What went wrong, in the client's own words.
pub fn plain(failure: Failure) -> anyhow::Error {
    let hint = failure.hint.map(|hint| format!("; {hint}")).unwrap_or_default();
    anyhow!("{}{hint}", failure.message)
}

fn plan(directory: &Path, index: usize, site: &Site) -> anyhow::Result<local::Plan> {
    let id = format!("node-{index}");
    Ok(local::Plan {
        data_dir: directory.join(&id),
        id: id.parse()?,
        region: "bench".into(),
        arguments: vec![
            "--allow".into(),
            site.address().to_string(),
            "--health-disk=off".into(),
            "--health-memory=off".into(),
        ],
    })
}

/// Nodes started as root become another user, who has to find their own directories in here.
pub(super) fn open_for_nodes(directory: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o711))?;
    Ok(())
}

fn globals(directory: &Path, records: &[NodeRecord]) -> anyhow::Result<Globals> {
    let paths = Paths::below(&directory.join("user"));
    let catalog = directory.join("nodes.json");
    std::fs::write(&catalog, serde_json::to_vec(records)?)?;
    let flags = Flags { catalogs: vec![format!("file:{}", catalog.display())], ..Flags::default() };
    let settings = Settings::resolve(&flags, &|_| None, &paths.settings()).map_err(plain)?;
    Ok(Globals::new(Output::new(false, true, true), paths, settings))
}
