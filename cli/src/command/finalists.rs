//! Whom to interview, and by what to judge the answers: what `nodes probe` and `connect` share between probe and attach.

use std::time::Duration;

use cbrowse_protocol::identity::IdentityKey;
use futures_util::future::join_all;
use serde_json::json;

use crate::{
    attach::finalist::{Judge, interview},
    context::Globals,
    discover::Sources,
    failure::{Exit, Failure},
    probe::{Live, Probed, Reach},
    trust::TrustStore,
};

/// Nodes interviewed at most: each interview costs its node a TLS handshake.
pub const MOST_ASKED: usize = 16;
/// How long a probe waits for an interview: three round trips of the farthest node, and some work.
const DEADLINE: Duration = Duration::from_secs(2);
/// Name under which the settings' fleet key counts.
const FLEET_OF_SETTINGS: &str = "settings";

/// The user's trust store, and with it the fleet key that the settings name.
pub fn trust_store(globals: &Globals) -> Result<TrustStore, Failure> {
    let mut store = TrustStore::load(&globals.paths)?;
    if let Some(path) = &globals.settings.fleet_key.value {
        // A fleet of that name in the store is the user's own doing, and says more than a path.
        let _ = store.add_fleet(FLEET_OF_SETTINGS, read_key(path)?);
    }
    Ok(store)
}

fn read_key(path: &std::path::Path) -> Result<IdentityKey, Failure> {
    let unusable = |why: String| {
        let message = format!("the fleet key in {} cannot be used: {why}", path.display());
        Failure::new(Exit::Configuration, "fleet_key", message).details(json!({"file": path}))
    };
    let text = std::fs::read_to_string(path).map_err(|error| unusable(error.to_string()))?;
    text.trim().parse().map_err(|error| unusable(format!("{error}")))
}

/// Whether every catalog in force is a file of the user's own, whose word about identities counts.
pub fn is_own_catalog(globals: &Globals) -> Result<bool, Failure> {
    let sources = Sources::of_settings(&globals.settings)?;
    Ok(sources.catalogs.iter().all(cbrowse_registry::CatalogUri::is_own_file))
}

/// The reachable nodes worth an interview: nearest first, [`MOST_ASKED`] at most.
pub fn nearest(nodes: &[Probed]) -> Vec<usize> {
    let mut near: Vec<usize> = (0..nodes.len())
        .filter(|index| matches!(nodes[*index].reach, Reach::Serving | Reach::Unconfirmed))
        .collect();
    near.sort_by_key(|index| (nodes[*index].reach != Reach::Serving, nodes[*index].rtt.map(|rtt| rtt.p50)));
    near.truncate(MOST_ASKED);
    near
}

/// Interviews the nearest nodes side by side, and notes what they say of themselves.
pub async fn note_live(nodes: &mut [Probed], judge: Judge<'_>) {
    let which = nearest(nodes);
    let heard = join_all(which.iter().map(|index| live(&nodes[*index], judge))).await;
    for (index, live) in which.into_iter().zip(heard) {
        nodes[index].live = live;
    }
}

async fn live(node: &Probed, judge: Judge<'_>) -> Live {
    match tokio::time::timeout(DEADLINE, interview(node, judge)).await {
        Ok(interview) => interview.live(),
        Err(_) => Live::Failed(format!("no status within {} s", DEADLINE.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::Measurement;

    fn node(reach: Reach, p50: u64) -> Probed {
        let record = serde_json::from_str(r#"{"id":"n","address":"192.0.2.1","port":7443}"#).unwrap();
        let p50 = Duration::from_millis(p50);
        let rtt = Measurement { min: p50, p50, jitter: Duration::ZERO, answered: 1, lost: 0 };
        Probed { reach, rtt: Some(rtt), ..Probed::unprobed(record) }
    }

    #[test]
    fn the_nearest_that_serve_are_asked_first_and_the_dead_never() {
        let nodes = [
            node(Reach::Serving, 30),
            node(Reach::Unconfirmed, 5),
            node(Reach::Silent, 1),
            node(Reach::Serving, 10),
            node(Reach::PortSilent, 2),
        ];
        assert_eq!(nearest(&nodes), [3, 0, 1]);
        let many: Vec<_> = (0..100).map(|i| node(Reach::Serving, 100 - i)).collect();
        assert_eq!(nearest(&many).len(), MOST_ASKED);
        assert_eq!(nearest(&many)[0], 99);
    }
}
