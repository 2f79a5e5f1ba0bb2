//! Registering a node with an agent, saying that it lives, and noticing when the agent forgot it or is gone.
//!
//! An entry belongs to the agent that took it: only that one runs its check, and only that one is asked about it. When
//! that agent cannot be spoken to, the node registers with the next one; what it left behind is removed as soon as the
//! old agent answers again, and expires there otherwise.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use cbrowse_protocol::node::NodeRecord;
use futures_util::{
    FutureExt as _,
    future::{BoxFuture, join_all},
};
use serde::Deserialize;
use serde_json::json;
use tracing::{debug, info};

use super::{
    agent::Agent,
    definition::{check_fits, check_id, definition, verb},
    filter::literal,
};
use crate::{
    error::{Cause, RegistryError},
    figures::Meter,
    options::Options,
    registry::{Check, Kept, Registration, Registry},
    uri::ConsulUri,
};

/// Longest wait for the agent, which usually runs on the same machine.
const WRITE_DEADLINE: Duration = Duration::from_secs(5);
/// Longest wait for an agent that may hold an old entry. Longer: one that hangs delays the next heartbeat by as much.
const TIDY_DEADLINE: Duration = Duration::from_secs(1);
/// How often a node with an HTTPS check looks whether the agent still knows it. Longer: after the agent's restart
/// the node is missing for as long.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// Heartbeats in one TTL: one may be lost, one late.
const HEARTBEATS_PER_TTL: u32 = 3;

/// The agents as a registry for one service.
#[derive(Debug, Clone)]
pub(crate) struct ConsulRegistry {
    agent: Arc<Agent>,
    service: Arc<str>,
}

/// Our check as an agent knows it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Held {
    /// The agent's own name, one a datacenter.
    node: String,
    service_name: String,
}

impl ConsulRegistry {
    pub(crate) fn new(uri: &ConsulUri, options: &Options) -> Result<Self, Cause> {
        let meter = options.figures.meter(uri);
        Ok(Self {
            agent: Arc::new(Agent::new(uri, &options.environment, meter)?),
            service: uri.service.as_str().into(),
        })
    }

    /// Writes the entry to the first agent that takes it.
    async fn place(&self, record: &NodeRecord, check: Check) -> Result<usize, Cause> {
        let mut failure = Cause::Settings("no agent is named".into());
        for agent in self.agent.order() {
            match self.write(agent, record, check).await {
                Ok(()) => return Ok(agent),
                Err(cause) if is_the_agents(&cause) => {
                    debug!(agent = self.agent.base(agent), %cause, "not registered there");
                    failure = cause;
                }
                Err(cause) => return Err(cause),
            }
        }
        Err(failure)
    }

    async fn write(&self, agent: usize, record: &NodeRecord, check: Check) -> Result<(), Cause> {
        check_fits(record)?;
        // Checks that an earlier run left (another kind, another address) must go.
        let path = self.agent.path("/v1/agent/service/register").with("replace-existing-checks", "true");
        let body = definition(&self.service, record, check);
        self.agent.put_at(agent, &path, &body, WRITE_DEADLINE).await?;
        // An agent that knew the check before keeps its old status.
        if matches!(check, Check::Heartbeat(_)) { self.report(agent, record).await } else { Ok(()) }
    }

    /// A heartbeat.
    async fn report(&self, agent: usize, record: &NodeRecord) -> Result<(), Cause> {
        let path = self.agent.path(format!("/v1/agent/check/{}/{}", verb(record.health), check_id(record)));
        let path = path.with("note", &format!("the node says: {}", record.health));
        self.agent.put_at(agent, &path, &json!({}), WRITE_DEADLINE).await.map(drop)
    }

    async fn knows(&self, agent: usize, record: &NodeRecord) -> Result<bool, Cause> {
        let path = self.agent.path(format!("/v1/agent/service/{}", record.id));
        match self.agent.get_at(agent, &path, WRITE_DEADLINE).await {
            Ok(_) => Ok(true),
            Err(Cause::Status { status: 404, .. }) => Ok(false),
            Err(cause) => Err(cause),
        }
    }

    /// What an agent says of our check, if it has it.
    async fn held(
        &self,
        agent: usize,
        record: &NodeRecord,
        deadline: Duration,
    ) -> Result<Option<Held>, Cause> {
        let id = check_id(record);
        let path = self.agent.path("/v1/agent/checks");
        let path = path.with("filter", &format!("CheckID == {}", literal(&id)));
        let answer = self.agent.get_at(agent, &path, deadline).await?;
        let mut checks: BTreeMap<String, Held> =
            serde_json::from_slice(&answer.body).map_err(|error| Cause::Malformed(error.to_string()))?;
        Ok(checks.remove(&id))
    }

    async fn remove(&self, agent: usize, record: &NodeRecord, deadline: Duration) -> Result<(), Cause> {
        let path = self.agent.path(format!("/v1/agent/service/deregister/{}", record.id));
        match self.agent.put_at(agent, &path, &json!({}), deadline).await {
            Err(cause @ Cause::Status { status: 404 | 500, .. }) => {
                if self.knows(agent, record).await? {
                    Err(cause)
                } else {
                    Ok(())
                }
            }
            outcome => outcome.map(drop),
        }
    }
}

/// Whether another agent may take what this one did not: the trouble is not in what was asked.
fn is_the_agents(cause: &Cause) -> bool {
    cause.is_transient() || matches!(cause, Cause::Tls { .. } | Cause::Malformed(_))
}

impl Registry for ConsulRegistry {
    fn meter(&self) -> &Meter {
        self.agent.meter()
    }

    fn register<'a>(
        &'a self,
        record: &'a NodeRecord,
        check: Check,
    ) -> BoxFuture<'a, Result<Box<dyn Registration>, RegistryError>> {
        async move {
            let home = self.place(record, check).await.map_err(|cause| cause.at(self.meter()))?;
            let mut registration = ConsulRegistration {
                registry: self.clone(),
                record: record.clone(),
                check,
                home,
                elsewhere: Vec::new(),
            };
            registration.settle(home);
            Ok(Box::new(registration) as Box<dyn Registration>)
        }
        .boxed()
    }
}

#[derive(Debug)]
struct ConsulRegistration {
    registry: ConsulRegistry,
    record: NodeRecord,
    check: Check,
    /// The agent that holds the entry.
    home: usize,
    /// Agents that may hold one, too: from before a move, from an earlier run, from a write whose answer was lost.
    elsewhere: Vec<usize>,
}

impl ConsulRegistration {
    fn settle(&mut self, home: usize) {
        self.home = home;
        self.elsewhere = self.registry.agent.order();
        self.elsewhere.retain(|agent| *agent != home);
    }

    async fn keep(&mut self) -> Result<Kept, Cause> {
        let kept = match self.is_alive().await {
            Ok(true) => Kept::Alive,
            Ok(false) => {
                self.write().await?;
                Kept::Again
            }
            Err(cause) => {
                self.move_on(cause).await?;
                Kept::Again
            }
        };
        Ok(kept)
    }

    async fn is_alive(&self) -> Result<bool, Cause> {
        match self.check {
            Check::Https | Check::Http | Check::Tcp | Check::Grpc => {
                self.registry.knows(self.home, &self.record).await
            }
            Check::Heartbeat(_) => self.heartbeat().await,
        }
    }

    async fn heartbeat(&self) -> Result<bool, Cause> {
        match self.registry.report(self.home, &self.record).await {
            Ok(()) => Ok(true),
            // An agent that does not know the check says 404, and before Consul 1.11 it said 500, as to any trouble.
            Err(cause @ Cause::Status { status: 404 | 500, .. }) => {
                match self.registry.held(self.home, &self.record, WRITE_DEADLINE).await? {
                    Some(_) => Err(cause),
                    None => Ok(false),
                }
            }
            Err(cause) => Err(cause),
        }
    }

    /// Writes the entry where it is, or where else it is taken.
    async fn write(&mut self) -> Result<(), Cause> {
        match self.registry.write(self.home, &self.record, self.check).await {
            Ok(()) => Ok(()),
            Err(cause) => self.move_on(cause).await,
        }
    }

    /// Registers with another agent, if it is this one's `cause` that the entry cannot be kept there.
    async fn move_on(&mut self, cause: Cause) -> Result<(), Cause> {
        if !is_the_agents(&cause) || self.registry.agent.order().len() == 1 {
            return Err(cause);
        }
        let home = self.registry.place(&self.record, self.check).await?;
        if home != self.home {
            let (from, to) = (self.registry.agent.base(self.home), self.registry.agent.base(home));
            info!(node = %self.record.id, from, to, %cause, "registered with another agent");
        }
        self.settle(home);
        Ok(())
    }

    /// Removes what other agents still hold; one that does not answer is asked again the next time.
    async fn tidy(&mut self) {
        let this = &*self;
        let left = join_all(this.elsewhere.iter().map(async |&agent| match this.leave(agent).await {
            Err(cause) if is_the_agents(&cause) => Some(agent),
            Err(cause) => {
                info!(agent = this.registry.agent.base(agent), %cause, "an old entry is left to expire");
                None
            }
            Ok(()) => None,
        }));
        self.elsewhere = left.await.into_iter().flatten().collect();
    }

    async fn leave(&self, agent: usize) -> Result<(), Cause> {
        let registry = &self.registry;
        let Some(there) = registry.held(agent, &self.record, TIDY_DEADLINE).await? else { return Ok(()) };
        let here = registry.held(self.home, &self.record, TIDY_DEADLINE).await?;
        // Two addresses may lead to one agent.
        let is_another = here.is_some_and(|here| here.node != there.node);
        if !is_another || there.service_name != *registry.service {
            return Ok(());
        }
        registry.remove(agent, &self.record, TIDY_DEADLINE).await?;
        info!(node = %self.record.id, agent = registry.agent.base(agent), "removed an old entry");
        Ok(())
    }

    async fn change(&mut self, record: &NodeRecord) -> Result<(), Cause> {
        let only_health = NodeRecord { health: self.record.health, ..record.clone() } == self.record;
        let before = std::mem::replace(&mut self.record, record.clone());
        let outcome = match self.check {
            Check::Heartbeat(_) if only_health => self.keep().await.map(drop),
            _ if only_health => Ok(()),
            _ => self.write().await,
        };
        if outcome.is_err() {
            self.record = before;
        }
        outcome
    }

    async fn end(&mut self) -> Result<(), Cause> {
        self.tidy().await;
        self.registry.remove(self.home, &self.record, WRITE_DEADLINE).await
    }
}

impl Registration for ConsulRegistration {
    fn interval(&self) -> Duration {
        match self.check {
            Check::Https | Check::Http | Check::Tcp | Check::Grpc => LOOK_INTERVAL,
            Check::Heartbeat(ttl) => ttl / HEARTBEATS_PER_TTL,
        }
    }

    fn keep_alive(&mut self) -> BoxFuture<'_, Result<Kept, RegistryError>> {
        async {
            let kept = self.keep().await.map_err(|cause| cause.at(self.registry.meter()))?;
            self.tidy().await;
            Ok(kept)
        }
        .boxed()
    }

    fn update<'a>(&'a mut self, record: &'a NodeRecord) -> BoxFuture<'a, Result<(), RegistryError>> {
        async { self.change(record).await.map_err(|cause| cause.at(self.registry.meter())) }.boxed()
    }

    fn deregister(&mut self) -> BoxFuture<'_, Result<(), RegistryError>> {
        async { self.end().await.map_err(|cause| cause.at(self.registry.meter())) }.boxed()
    }
}
