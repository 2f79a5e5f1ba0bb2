//! Finalists are asked over TLS who they are and how busy; the connection that answered is the one that attaches.

use std::time::Duration;

use cbrowse_protocol::{api::Status, id::NodeId, identity::IdentityKey};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::time::Instant;

use super::connection::{ConnectionError, Fault, NodeConnection, TrustedConnection};
use crate::{
    context::{Globals, Paths},
    credentials::seconds,
    discover::Sources,
    failure::{Exit, Failure},
    probe::{Failed, Failing, Live, Probed},
    trust::{self, Decision, Listed, Seen, TrustStore, Trusted, Via},
};

/// TCP and TLS take two round trips; four seconds reach the far side of the earth over a bad link.
const CONNECT_DEADLINE: Duration = Duration::from_secs(4);
/// `/status` is answered from memory.
const STATUS_DEADLINE: Duration = Duration::from_secs(4);
/// Least extra time for the others once one node has answered; less would drop nodes for a scheduler's hiccup.
const LEAST_EXTRA: Duration = Duration::from_millis(150);

/// By what answers are judged.
#[derive(Debug, Clone)]
pub struct Judge {
    store: TrustStore,
    /// Whether every catalog in force is a file of the user's own, whose word about identities counts.
    own_catalog: bool,
}

impl Judge {
    /// The user's trust store, the fleet key of the settings, and what the catalogs' word is worth.
    pub fn of(globals: &Globals) -> Result<Self, Failure> {
        let mut store = TrustStore::load(&globals.paths)?;
        if let Some(path) = &globals.settings.fleet_key.value {
            store = store.with_fleet_file(path)?;
        }
        let sources = Sources::of_settings(&globals.settings)?;
        Ok(Self {
            store,
            own_catalog: sources.catalogs.iter().all(cbrowse_registry::CatalogUri::is_own_file),
        })
    }

    /// The same, for a record that this machine wrote down itself.
    #[must_use]
    pub fn of_own_record(&self) -> Self {
        Self { store: self.store.clone(), own_catalog: true }
    }

    /// What is to be held of a node that answered with `identity` and `status`.
    fn judge(&self, seen: &Seen<'_>) -> Decision {
        trust::decide(&self.store, seen, seconds(std::time::SystemTime::now()))
    }
}

/// How an interview came out.
pub enum Interview {
    /// It may be given a token.
    Trusted(Box<Finalist>),
    /// Nobody vouches for it; a person may.
    FirstUse(Box<Stranger>),
    /// It may not, whatever it measures.
    Refused(Box<Failure>),
    /// It did not answer, or not with a status.
    Failed(Unanswered),
}

/// Why there was no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unanswered {
    /// In words for a person.
    pub reason: String,
    /// In which way it failed.
    pub failing: Failing,
    /// What that says about the node.
    pub fault: Fault,
}

impl From<ConnectionError> for Unanswered {
    fn from(error: ConnectionError) -> Self {
        Self { reason: error.to_string(), failing: error.failing(), fault: error.fault() }
    }
}

impl From<Unanswered> for String {
    fn from(unanswered: Unanswered) -> Self {
        unanswered.reason
    }
}

/// A node that may be given a token.
pub struct Finalist {
    /// What it said of itself.
    pub status: Status,
    /// Where it said so.
    pub connection: TrustedConnection,
    /// Why it is trusted.
    pub via: Via,
}

/// A node that only a person can accept.
pub struct Stranger {
    /// What it said of itself.
    pub status: Status,
    /// The name under which it was judged; its own word may be that of a node that is known.
    id: NodeId,
    connection: NodeConnection,
    endpoint: String,
    listed: Option<IdentityKey>,
}

/// How long slow nodes are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Each as long as its own deadlines allow: for a report on all of them.
    All,
    /// Once a usable node has answered, the others get twice its time, and [`LEAST_EXTRA`]: a near node that accepts and
    /// then says nothing must not hold up a choice.
    First,
}

/// Interviews several nodes side by side; results in the order given.
pub async fn interview_all(nodes: &[&Probed], judge: &Judge, patience: Patience) -> Vec<Interview> {
    let started = Instant::now();
    let mut running: FuturesUnordered<_> = nodes
        .iter()
        .enumerate()
        .map(|(index, node)| async move { (index, interview(node, judge).await) })
        .collect();
    let mut outcomes: Vec<Option<Interview>> = nodes.iter().map(|_| None).collect();
    let mut until = None;
    loop {
        let next = tokio::select! {
            next = running.next() => next,
            () = at(until) => None,
        };
        let Some((index, outcome)) = next else { break };
        if patience == Patience::First && until.is_none() && outcome.is_usable() {
            until = Some(Instant::now() + (started.elapsed() * 2).max(LEAST_EXTRA));
        }
        outcomes[index] = Some(outcome);
    }
    // Being farther away than the others is no fault.
    let reason = "it did not answer while others did";
    let late = || {
        Interview::Failed(Unanswered {
            reason: reason.into(),
            failing: Failing::Slow,
            fault: Fault::Innocent,
        })
    };
    outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(late)).collect()
}

async fn at(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

/// Connects, asks for the status, and decides about trust. Carries no token.
pub async fn interview(node: &Probed, judge: &Judge) -> Interview {
    let (connection, status) = match meet(node).await {
        Ok(met) => met,
        Err(error) => return Interview::Failed(error.into()),
    };
    let endpoint = node.record.endpoint();
    let listed = node.record.identity;
    let seen = seen(node, &status, &endpoint, connection.identity(), judge.own_catalog);
    match judge.judge(&seen) {
        Decision::Trusted(trusted) => finalist(connection, status, &trusted),
        Decision::FirstUse => {
            let id = seen.id.clone();
            Interview::FirstUse(Box::new(Stranger { status, id, connection, endpoint, listed }))
        }
        Decision::Refused(reasons) => Interview::Refused(Box::new(trust::ask::refused(&seen, &reasons))),
    }
}

async fn meet(node: &Probed) -> Result<(NodeConnection, Status), ConnectionError> {
    let host = &node.record.address;
    let mut connection = match node.address {
        // The address that was probed and permitted, not whatever the name leads to by now.
        Some(address) => NodeConnection::to(address, host, CONNECT_DEADLINE).await?,
        None => NodeConnection::open(host, node.record.port, CONNECT_DEADLINE).await?,
    };
    let status = connection.get_status(STATUS_DEADLINE).await?;
    Ok((connection, status))
}

fn seen<'a>(
    node: &'a Probed,
    status: &'a Status,
    endpoint: &'a str,
    identity: &'a IdentityKey,
    own_catalog: bool,
) -> Seen<'a> {
    let listed = node.record.identity.as_ref();
    Seen {
        // Plain DNS has no names: its ids are endpoints, and the node's own word stands in.
        id: if node.record.id.as_str() == endpoint { &status.id } else { &node.record.id },
        endpoint,
        region: &status.region,
        identity,
        statement: status.statement.as_ref().or(node.record.statement.as_ref()),
        listed: listed.map(|key| if own_catalog { Listed::Authenticated(key) } else { Listed::Hint(key) }),
    }
}

fn finalist(connection: NodeConnection, status: Status, trusted: &Trusted) -> Interview {
    match connection.trusted(trusted) {
        Ok(connection) => {
            Interview::Trusted(Box::new(Finalist { status, connection, via: trusted.via().clone() }))
        }
        Err(error) => Interview::Failed(error.into()),
    }
}

impl Interview {
    /// Whether a session could begin there, perhaps after a person's word.
    pub fn is_usable(&self) -> bool {
        matches!(self, Self::Trusted(_) | Self::FirstUse(_))
    }

    /// For the report: what the node said, or why it cannot be chosen.
    pub fn live(&self) -> Live {
        match self {
            Self::Trusted(finalist) => Live::Known(Box::new(finalist.status.clone())),
            Self::FirstUse(stranger) => Live::FirstUse(Box::new(stranger.status.clone())),
            Self::Refused(failure) => Live::Untrusted(failure.message.clone()),
            Self::Failed(unanswered) => {
                Live::Failed(Failed { failing: unanswered.failing, words: unanswered.reason.clone() })
            }
        }
    }
}

impl Stranger {
    /// Asks the person at the terminal; refuses where there is none. A yes is remembered.
    pub async fn introduce(self, paths: &Paths) -> Result<Finalist, Failure> {
        let Self { status, id, connection, endpoint, listed } = self;
        let (told, identity, paths) = (status.clone(), *connection.identity(), paths.clone());
        // A person takes time to compare, and Ctrl-C has to be heard meanwhile.
        let asked = tokio::task::spawn_blocking(move || {
            let seen = Seen {
                id: &id,
                endpoint: &endpoint,
                region: &told.region,
                identity: &identity,
                statement: told.statement.as_ref(),
                listed: listed.as_ref().map(Listed::Hint),
            };
            trust::ask::ask(&seen)?;
            let now = seconds(std::time::SystemTime::now());
            Ok(TrustStore::update(&paths, |store| trust::accept(store, &seen, now))?)
        });
        let trusted = asked.await.unwrap_or_else(|error| {
            Err(Failure::new(Exit::Bug, "panic", format!("a task ended early: {error}")))
        })?;
        match finalist(connection, status, &trusted) {
            Interview::Trusted(finalist) => Ok(*finalist),
            Interview::Failed(reason) => Err(Failure::new(Exit::SessionLost, "connection", reason)),
            Interview::FirstUse(_) | Interview::Refused(_) => unreachable!("finalist() only trusts or fails"),
        }
    }
}
