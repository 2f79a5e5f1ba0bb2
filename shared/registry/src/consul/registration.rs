//! Registering a node with its local agent, saying that it lives, and noticing when the agent forgot it.

use std::{sync::Arc, time::Duration};

use cbrowse_protocol::node::NodeRecord;
use futures_util::{FutureExt as _, future::BoxFuture};
use serde_json::{Value, json};

use super::{agent::Agent, entry};
use crate::{
    error::{Cause, RegistryError},
    figures::Meter,
    options::Options,
    registry::{Check, Kept, Registration, Registry},
    uri::ConsulUri,
};

/// Longest wait for the agent, which usually runs on the same machine.
const WRITE_DEADLINE: Duration = Duration::from_secs(5);
/// How often Consul asks `/health`. Longer: a dead node stays in the catalog for as long; shorter: more handshakes.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// How long `/health` may take before it counts as failed.
const CHECK_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a node may fail its check before Consul forgets it: Consul's own floor. Until then it is registered and
/// not passing, so no client sees it.
const DEREGISTER_AFTER: Duration = Duration::from_secs(60);
/// How often a node with an HTTPS check looks whether the agent still knows it. Longer: after the agent's restart
/// the node is missing for as long.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// Heartbeats in one TTL: one may be lost, one late.
const HEARTBEATS_PER_TTL: u32 = 3;

/// The agent as a registry for one service.
#[derive(Debug, Clone)]
pub(crate) struct ConsulRegistry {
    agent: Arc<Agent>,
    service: Arc<str>,
    name: Arc<str>,
}

impl ConsulRegistry {
    pub(crate) fn new(uri: &ConsulUri, options: &Options) -> Result<Self, Cause> {
        let meter = options.figures.meter(uri);
        Ok(Self {
            agent: Arc::new(Agent::new(uri, &options.environment, meter)?),
            service: uri.service.as_str().into(),
            name: uri.to_string().into(),
        })
    }

    async fn put(&self, path: &str, body: &Value) -> Result<(), Cause> {
        self.agent.put(path, body, WRITE_DEADLINE).await.map(drop)
    }

    async fn write(&self, record: &NodeRecord, check: Check) -> Result<(), Cause> {
        record.check().map_err(|error| Cause::Settings(format!("the node's own record: {error}")))?;
        // Checks that an earlier run left (another kind, another address) must go.
        let path = "/v1/agent/service/register?replace-existing-checks=true";
        self.put(path, &definition(&self.service, record, check)).await
    }

    async fn knows(&self, record: &NodeRecord) -> Result<bool, Cause> {
        match self.agent.get(&format!("/v1/agent/service/{}", record.id), WRITE_DEADLINE).await {
            Ok(_) => Ok(true),
            Err(Cause::Status { status: 404, .. }) => Ok(false),
            Err(cause) => Err(cause),
        }
    }

    fn failed(&self, cause: Cause) -> RegistryError {
        RegistryError { registry: self.name.to_string(), cause }
    }
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
            self.write(record, check).await.map_err(|cause| self.failed(cause))?;
            let registration = ConsulRegistration { registry: self.clone(), record: record.clone(), check };
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
}

impl ConsulRegistration {
    async fn is_alive(&self) -> Result<bool, Cause> {
        match self.check {
            Check::Https | Check::Http | Check::Tcp | Check::Grpc => self.registry.knows(&self.record).await,
            Check::Heartbeat(_) => self.heartbeat().await,
        }
    }

    async fn heartbeat(&self) -> Result<bool, Cause> {
        let path = format!("/v1/agent/check/pass/{}", check_id(&self.record));
        match self.registry.put(&path, &json!({})).await {
            Ok(()) => Ok(true),
            // An agent that does not know the check says 404, and before Consul 1.11 it said 500.
            Err(Cause::Status { status: 404 | 500, .. }) => Ok(false),
            Err(cause) => Err(cause),
        }
    }

    async fn keep(&self) -> Result<Kept, Cause> {
        if self.is_alive().await? {
            return Ok(Kept::Alive);
        }
        self.registry.write(&self.record, self.check).await?;
        Ok(Kept::Again)
    }

    async fn remove(&self) -> Result<(), Cause> {
        let path = format!("/v1/agent/service/deregister/{}", self.record.id);
        match self.registry.put(&path, &json!({})).await {
            Err(cause @ Cause::Status { status: 404 | 500, .. }) => {
                if self.registry.knows(&self.record).await? { Err(cause) } else { Ok(()) }
            }
            result => result,
        }
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
        async { self.keep().await.map_err(|cause| self.registry.failed(cause)) }.boxed()
    }

    fn update<'a>(&'a mut self, record: &'a NodeRecord) -> BoxFuture<'a, Result<(), RegistryError>> {
        async {
            self.registry.write(record, self.check).await.map_err(|cause| self.registry.failed(cause))?;
            self.record = record.clone();
            Ok(())
        }
        .boxed()
    }

    fn deregister(&mut self) -> BoxFuture<'_, Result<(), RegistryError>> {
        async { self.remove().await.map_err(|cause| self.registry.failed(cause)) }.boxed()
    }
}

fn check_id(record: &NodeRecord) -> String {
    format!("service:{}", record.id)
}

fn definition(service: &str, record: &NodeRecord, check: Check) -> Value {
    json!({
        "ID": record.id,
        "Name": service,
        "Tags": record.tags,
        "Address": record.address,
        "Port": record.port,
        "Meta": entry::meta(record),
        "Weights": {"Passing": record.weight.max(1), "Warning": 1},
        "Check": check_definition(record, check),
    })
}

fn check_definition(record: &NodeRecord, check: Check) -> Value {
    let mut definition = json!({
        "CheckID": check_id(record),
        "Name": "cbrowse node",
        // A node registers once it serves; waiting for the first check would hide it for up to an interval.
        "Status": "passing",
        "DeregisterCriticalServiceAfter": go_duration(DEREGISTER_AFTER),
    });
    match check {
        Check::Https => {
            definition["HTTP"] = json!(format!("https://{}/health?consul", record.endpoint()));
            definition["TLSSkipVerify"] = json!(true);
        }
        Check::Http => definition["HTTP"] = json!(format!("http://{}/health?consul", record.endpoint())),
        Check::Tcp => definition["TCP"] = json!(record.endpoint()),
        Check::Grpc => {
            definition["GRPC"] = json!(record.endpoint());
            definition["GRPCUseTLS"] = json!(true);
            definition["TLSSkipVerify"] = json!(true);
        }
        Check::Heartbeat(ttl) => {
            definition["TTL"] = json!(go_duration(ttl));
            return definition;
        }
    }
    definition["Interval"] = json!(go_duration(CHECK_INTERVAL));
    definition["Timeout"] = json!(go_duration(CHECK_TIMEOUT));
    definition
}

fn go_duration(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> NodeRecord {
        serde_json::from_value(json!({"id": "n1", "address": "fd00::1", "port": 7443, "weight": 0}))
            .expect("a record")
    }

    #[test]
    fn the_definition_says_how_to_check() {
        let https = definition("browser-node", &record(), Check::Https);
        assert_eq!(https["Check"]["HTTP"], "https://[fd00::1]:7443/health?consul");
        assert_eq!(https["Check"]["TLSSkipVerify"], true);
        assert_eq!(https["Check"]["Interval"], "5000ms");
        assert_eq!(https["Check"]["DeregisterCriticalServiceAfter"], "60000ms");
        assert_eq!((&https["Weights"]["Passing"], &https["Meta"]["weight"]), (&json!(1), &json!("0")));
        let heartbeat = definition("browser-node", &record(), Check::Heartbeat(Duration::from_secs(15)));
        assert_eq!(heartbeat["Check"]["TTL"], "15000ms");
        assert!(heartbeat["Check"].get("HTTP").is_none());
    }
}
