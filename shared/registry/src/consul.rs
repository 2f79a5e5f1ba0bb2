//! Consul over its HTTP API: reading the instances of a service, registering one with an agent, and user events.
//!
//! ```text
//! GET /v1/health/service/NAME[?passing=1&filter=…][&index=N&wait=55s]   instances; blocks until the index is past N
//! PUT /v1/agent/service/register                             with a health check
//! PUT /v1/agent/check/{pass,warn,fail}/service:ID            heartbeat of a TTL check
//! GET /v1/agent/service/ID                                   whether the agent still knows us
//! GET /v1/agent/checks                                       whether it knows our check, and which agent it is
//! PUT /v1/agent/service/deregister/ID
//! PUT /v1/event/fire/NAME, GET /v1/event/list                user events
//! ```

mod agent;
mod definition;
mod entry;
pub mod events;
mod filter;
mod registration;
mod settings;
mod twice;
mod watch;

use std::{sync::Arc, time::Duration};

use cbrowse_protocol::node::{Health, printable};
use futures_util::{FutureExt as _, future::BoxFuture};

use self::agent::{Agent, Path};
use crate::{
    catalog::{Catalog, ChangeStream, Listing},
    error::{CatalogError, Cause},
    http::Answer,
    options::Options,
    query::Query,
    reach::Reach,
    screen::screen,
    uri::{CatalogUri, Consistency, ConsulUri},
};

pub(crate) use registration::ConsulRegistry;

/// Longest wait for a listing. Longer: a registry that is down holds up every command; shorter: ten thousand nodes
/// over a slow line do not fit.
const LIST_DEADLINE: Duration = Duration::from_secs(5);
/// How much of a filter an error repeats, in characters.
const FILTER_SHOWN_LENGTH: usize = 400;
/// How old a stale answer may be without a warning. Shorter: a leader's election, which takes seconds, warns; longer:
/// nodes that are gone are offered and nobody says why.
const OLD: Duration = Duration::from_secs(60);

/// One service of one Consul as a catalog.
#[derive(Debug, Clone)]
pub(crate) struct ConsulCatalog {
    agent: Arc<Agent>,
    settings: Arc<ConsulUri>,
    query: Arc<Query>,
    /// What the server is asked to filter by.
    filter: Option<Arc<str>>,
    uri: Arc<CatalogUri>,
}

impl ConsulCatalog {
    /// Reads what the environment says; connects to nothing yet.
    pub(crate) fn new(uri: &ConsulUri, options: &Options) -> Result<Self, Cause> {
        let meter = options.figures.meter(uri);
        Ok(Self {
            agent: Arc::new(Agent::new(uri, &options.environment, meter)?),
            settings: Arc::new(uri.clone()),
            query: Arc::new(options.query.clone()),
            filter: filter::expression(uri.filter.as_deref(), &options.query).map(Into::into),
            uri: Arc::new(CatalogUri::Consul(uri.clone())),
        })
    }

    /// What lists the nodes that are asked for, as far as the server can tell them from others.
    fn path(&self) -> Path {
        let path = match &self.filter {
            Some(expression) => self.unfiltered_path().with("filter", expression),
            None => self.unfiltered_path(),
        };
        let only_passing = self.query.health == [Health::Passing].into();
        if only_passing { path.with("passing", "1") } else { path }
    }

    fn unfiltered_path(&self) -> Path {
        let path = self.agent.path(format!("/v1/health/service/{}", self.settings.service));
        let path = match &self.settings.datacenter {
            Some(name) => path.with("dc", name),
            None => path,
        };
        match self.settings.consistency {
            Consistency::Default => path,
            Consistency::Stale => path.flag("stale"),
            Consistency::Consistent => path.flag("consistent"),
        }
    }

    async fn list_now(&self) -> Result<Listing, Cause> {
        let answer = self.agent.get(&self.path(), LIST_DEADLINE).await;
        let mut answer = answer.map_err(|cause| self.explain(cause))?;
        let mut listing = self.understand(&mut answer)?;
        if listing.rejected.is_empty() && !listing.nodes.iter().any(|record| self.query.admits(record)) {
            listing.warnings.push(self.explain_emptiness().await);
        }
        Ok(listing)
    }

    /// Takes the answer's body, which is several times as large as what it says.
    fn understand(&self, answer: &mut Answer) -> Result<Listing, Cause> {
        let reach = if self.settings.local { Reach::Anything } else { self.agent.reach(answer) };
        let instances = entry::instances(std::mem::take(&mut answer.body))?;
        let mut listing = screen(twice::settle(instances, &self.query.health), reach);
        listing.warnings.extend(self.agent.warnings().iter().cloned());
        if answer.header("X-Consul-Results-Filtered-By-ACLs") == Some("true") {
            listing.warnings.push(
                "the token's policy hides some nodes (X-Consul-Results-Filtered-By-ACLs); \
                 give it service:read and node:read"
                    .to_owned(),
            );
        }
        listing.warnings.extend(age_warning(answer));
        Ok(listing)
    }

    /// A filter that the server does not take is shown with what it says; Consul's status for it, mostly 500, would have
    /// it asked again.
    fn explain(&self, cause: Cause) -> Cause {
        match (cause, &self.filter) {
            (Cause::Status { status, message }, Some(filter))
                if message.contains("expression") && matches!(status, 400 | 500) =>
            {
                let filter = printable(filter, FILTER_SHOWN_LENGTH);
                let text = format!("Consul refused the filter {filter} with status {status} ({message})");
                Cause::Settings(text)
            }
            (cause, _) => cause,
        }
    }

    /// An empty list has several causes, and only one of them is an operator's intention.
    async fn explain_emptiness(&self) -> String {
        let service = &self.settings.service;
        let answer = self.agent.get(&self.unfiltered_path(), LIST_DEADLINE).await;
        let health = match answer.and_then(|answer| entry::instances(answer.body)) {
            Ok(instances) if instances.is_empty() => {
                return format!("no service {service:?} is registered, or the token may not read it");
            }
            Ok(instances) => {
                instances.into_iter().map(|found| found.candidate.record.ok().map(|it| it.health))
            }
            Err(cause) => {
                return format!("nothing is listed as {service:?}; asking for the others failed: {cause}");
            }
        };
        let health: Vec<Option<Health>> = health.collect();
        let query = &self.query;
        let registered = match health.len() {
            1 => "1 node is".to_owned(),
            count => format!("{count} nodes are"),
        };
        if health.iter().flatten().any(|health| query.health.contains(health)) {
            let filter = self.settings.filter.as_ref();
            let filter = filter.map_or(String::new(), |filter| format!(" and the filter {filter}"));
            return format!("{registered} registered as {service:?}, none meets {query}{filter}");
        }
        if query.health.contains(&Health::Critical) {
            return format!("{registered} registered as {service:?}, none meets {query}");
        }
        format!("{registered} registered as {service:?}, none passes its health check")
    }
}

/// A read that any server may answer can be as old as that server's last word from a leader.
fn age_warning(answer: &Answer) -> Option<String> {
    if answer.header("X-Consul-KnownLeader") == Some("false") {
        return Some("Consul has no leader; this is what one of its servers last knew".to_owned());
    }
    let age = answer.header("X-Consul-LastContact").and_then(|text| text.parse().ok());
    let age = age.map(Duration::from_millis).filter(|age| *age > OLD)?;
    Some(format!(
        "this is {} s old: the server that answered has not heard from its leader since",
        age.as_secs()
    ))
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
    Ok(twice::settle(entry::instances(body.to_vec())?, &Health::ALL.into()))
}
