//! Asking the finalists over TLS who and how they are. Needs no token, and sends none.

use std::time::{Duration, SystemTime};

use cbrowse_protocol::{api::Status, identity::IdentityKey};
use serde_json::json;
use tokio::task::JoinSet;

use crate::{
    attach::connection::{ConnectionError, NodeConnection},
    context::Globals,
    discover::Sources,
    failure::{Exit, Failure},
    probe::{Live, Probed, Reach},
    trust::{self, Decision, Listed, Seen, TrustStore},
};

/// How long a finalist may take for TLS and its status; three round trips of the farthest, and some work.
const DEADLINE: Duration = Duration::from_secs(2);
/// Finalists asked at most: each costs its node a TLS handshake.
pub const MOST_ASKED: usize = 16;
/// Name under which the settings' fleet key counts.
const FLEET_OF_SETTINGS: &str = "settings";

/// By what answers are judged.
#[derive(Debug, Clone)]
pub struct Judge {
    store: TrustStore,
    /// Whether every catalog in force is a file of the user's own, whose word about identities counts.
    own_files: bool,
}

impl Judge {
    /// The user's trust store, the fleet key of the settings, and what the catalogs' word is worth.
    pub fn of(globals: &Globals) -> Result<Self, Failure> {
        let mut store = TrustStore::load(&globals.paths)?;
        if let Some(path) = &globals.settings.fleet_key.value {
            let key = read_key(path)?;
            // A fleet of that name in the store is the user's own doing, and says more than a path.
            let _ = store.add_fleet(FLEET_OF_SETTINGS, key);
        }
        let sources = Sources::of_settings(&globals.settings)?;
        Ok(Self { store, own_files: sources.catalogs.iter().all(cbrowse_registry::CatalogUri::is_own_file) })
    }

    /// What is to be held of a node that answered with `identity` and `status`.
    pub fn judge(&self, node: &Probed, identity: &IdentityKey, status: &Status) -> Decision {
        let listed = node.record.identity.as_ref();
        let listed =
            listed.map(|key| if self.own_files { Listed::Authenticated(key) } else { Listed::Hint(key) });
        let endpoint = node.record.endpoint();
        // Plain DNS has no names: its ids are endpoints, and the node's own word stands in.
        let id = if node.record.id.as_str() == endpoint { &status.id } else { &node.record.id };
        let seen = Seen {
            id,
            endpoint: &endpoint,
            region: &status.region,
            identity,
            statement: status.statement.as_ref().or(node.record.statement.as_ref()),
            listed,
        };
        trust::decide(&self.store, &seen, now())
    }
}

fn read_key(path: &std::path::Path) -> Result<IdentityKey, Failure> {
    let unusable = |why: String| {
        let message = format!("the fleet key in {} cannot be used: {why}", path.display());
        Failure::new(Exit::Configuration, "fleet_key", message).details(json!({"file": path}))
    };
    let text = std::fs::read_to_string(path).map_err(|error| unusable(error.to_string()))?;
    text.trim().parse().map_err(|error| unusable(format!("{error}")))
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Asks the nodes at these indices side by side, and notes what they say. Returns the connections that stand, in the order
/// of the answers, for whoever goes on with one of them.
pub async fn ask(nodes: &mut [Probed], which: &[usize], judge: &Judge) -> Vec<(usize, NodeConnection)> {
    let mut asked = JoinSet::new();
    for index in which.iter().copied().take(MOST_ASKED) {
        let Some(address) = nodes[index].address else { continue };
        let host = nodes[index].record.address.clone();
        asked.spawn(async move { (index, status_of(address, &host).await) });
    }
    let mut standing = Vec::new();
    while let Some(answer) = asked.join_next().await {
        let Ok((index, answer)) = answer else { continue };
        match answer {
            Ok((connection, status)) => {
                nodes[index].live = live(judge.judge(&nodes[index], connection.identity(), &status), status);
                standing.push((index, connection));
            }
            Err(error) => nodes[index].live = Live::Failed(error.to_string()),
        }
    }
    standing
}

async fn status_of(
    address: std::net::SocketAddr,
    host: &str,
) -> Result<(NodeConnection, Status), ConnectionError> {
    // The address that was probed and permitted, not whatever the name leads to by now.
    let dialled = tokio::time::timeout(DEADLINE, tokio::net::TcpStream::connect(address)).await;
    let refused = |source| ConnectionError::Connect { endpoint: address.to_string(), source };
    let stream = dialled.map_err(|_| refused(std::io::ErrorKind::TimedOut.into()))?.map_err(refused)?;
    let mut connection = NodeConnection::over(stream, host, DEADLINE).await?;
    let status = connection.get_status(DEADLINE).await?;
    Ok((connection, status))
}

fn live(decision: Decision, status: Status) -> Live {
    match decision {
        Decision::Trusted(_) => Live::Known(Box::new(status)),
        Decision::FirstUse => Live::FirstUse(Box::new(status)),
        Decision::Refused(reasons) => {
            let reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
            Live::Untrusted(reasons.join("; "))
        }
    }
}

/// The reachable nodes worth asking: nearest first, [`MOST_ASKED`] at most.
pub fn nearest(nodes: &[Probed]) -> Vec<usize> {
    let mut near: Vec<usize> = (0..nodes.len())
        .filter(|index| matches!(nodes[*index].reach, Reach::Serving | Reach::Unconfirmed))
        .collect();
    near.sort_by_key(|index| (nodes[*index].reach != Reach::Serving, nodes[*index].rtt.map(|rtt| rtt.p50)));
    near.truncate(MOST_ASKED);
    near
}
