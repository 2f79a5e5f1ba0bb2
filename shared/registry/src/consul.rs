//! Consul over its HTTP API: reading the passing instances of a service, and registering one with the local agent.
//!
//! ```text
//! GET /v1/health/service/NAME?passing=1[&index=N&wait=55s]   instances; blocks until the index is past N
//! PUT /v1/agent/service/register                             with a health check
//! PUT /v1/agent/check/pass/service:ID                        heartbeat of a TTL check
//! GET /v1/agent/service/ID                                   whether the agent still knows us
//! PUT /v1/agent/service/deregister/ID
//! ```

mod agent;
mod entry;
mod registration;
mod watch;

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt as _, future::BoxFuture};

use self::agent::Agent;
use crate::{
    catalog::{Catalog, ChangeStream, Listing},
    error::{CatalogError, Cause},
    http::Answer,
    options::Options,
    reach::Reach,
    screen::screen,
    uri::{CatalogUri, Consistency, ConsulUri},
};

pub(crate) use registration::ConsulRegistry;

/// Longest wait for a listing. Longer: a registry that is down holds up every command; shorter: ten thousand nodes
/// over a slow line do not fit.
const LIST_DEADLINE: Duration = Duration::from_secs(5);

/// One service of one Consul as a catalog.
#[derive(Debug, Clone)]
pub(crate) struct ConsulCatalog {
    agent: Arc<Agent>,
    settings: Arc<ConsulUri>,
    uri: Arc<CatalogUri>,
}

impl ConsulCatalog {
    /// Reads what the environment says; connects to nothing yet.
    pub(crate) fn new(uri: &ConsulUri, options: &Options) -> Result<Self, Cause> {
        let meter = options.figures.meter(uri);
        Ok(Self {
            agent: Arc::new(Agent::new(uri, &options.environment, meter)?),
            settings: Arc::new(uri.clone()),
            uri: Arc::new(CatalogUri::Consul(uri.clone())),
        })
    }

    fn path(&self) -> String {
        let datacenter =
            self.settings.datacenter.as_ref().map_or(String::new(), |name| format!("&dc={name}"));
        let consistency = match self.settings.consistency {
            Consistency::Default => "",
            Consistency::Stale => "&stale",
            Consistency::Consistent => "&consistent",
        };
        format!("/v1/health/service/{}?passing=1{datacenter}{consistency}", self.settings.service)
    }

    async fn list_now(&self) -> Result<Listing, Cause> {
        let answer = self.agent.get(&self.path(), LIST_DEADLINE).await?;
        let mut listing = self.understand(&answer)?;
        if listing.nodes.is_empty() && listing.rejected.is_empty() {
            listing.warnings.push(self.explain_emptiness().await);
        }
        Ok(listing)
    }

    fn understand(&self, answer: &Answer) -> Result<Listing, Cause> {
        let candidates = entry::candidates(&answer.body)?;
        let reach = match answer.peer {
            _ if self.settings.local => Reach::Anything,
            Some(peer) => Reach::of_catalog_at(peer),
            None => Reach::Public,
        };
        let mut listing = screen(candidates, reach);
        listing.warnings.extend(self.agent.warnings().iter().cloned());
        if answer.header("X-Consul-Results-Filtered-By-ACLs") == Some("true") {
            listing.warnings.push(
                "the token's policy hides some nodes (X-Consul-Results-Filtered-By-ACLs); \
                 give it service:read and node:read"
                    .to_owned(),
            );
        }
        Ok(listing)
    }

    /// An empty list has three causes, and only one of them is an operator's intention.
    async fn explain_emptiness(&self) -> String {
        let service = &self.settings.service;
        let path = self.path().replace("?passing=1", "?");
        match self.agent.get(&path, LIST_DEADLINE).await.and_then(|answer| entry::count(&answer.body)) {
            Ok(0) => format!("no service {service:?} is registered, or the token may not read it"),
            Ok(count) => format!("{count} nodes are registered as {service:?}, none passes its health check"),
            Err(cause) => format!("no node passes as {service:?}; asking for the others failed: {cause}"),
        }
    }
}

impl Catalog for ConsulCatalog {
    fn uri(&self) -> &CatalogUri {
        &self.uri
    }

    fn list(&self) -> BoxFuture<'_, Result<Listing, CatalogError>> {
        async { self.list_now().await.map_err(|cause| cause.of(&self.uri)) }.boxed()
    }

    fn watch(&self) -> ChangeStream {
        watch::changes(self.clone())
    }
}

/// For [`crate::fuzzing`].
#[cfg(fuzzing)]
pub(crate) fn candidates_of(body: &[u8]) -> Result<Vec<crate::screen::Candidate>, Cause> {
    entry::candidates(body)
}
