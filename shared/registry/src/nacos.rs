//! Nacos over its HTTP API: reading the instances of a service by asking again and again, and registering a node as
//! an instance that lives by heartbeats.
//!
//! Nacos can push changes, to clients that keep a gRPC stream of its own protocol, and, until version 3 removes it, in
//! UDP datagrams to a port that the client opens. Neither passes a firewall or a proxy that HTTP passes, and a
//! datagram that is lost is a change that is missed until the next poll, so a poll there has to be anyway.
//!
//! `server` says which requests there are, `answer` what comes back, `entry` what an instance says of a node.

mod answer;
mod entry;
mod login;
mod registration;
mod server;

use std::{sync::Arc, time::Duration};

use cbrowse_protocol::node::{Health, printable};
use futures_util::{FutureExt as _, future::BoxFuture};

use self::{
    answer::{Instances, Namespace},
    server::{Call, Dialect, Server},
};
use crate::{
    catalog::{Catalog, ChangeStream, Listing},
    changes,
    error::{CatalogError, Cause},
    http::Answer,
    options::Options,
    reach::Reach,
    retry::spread,
    screen::screen,
    uri::{CatalogUri, NacosUri},
};

pub(crate) use registration::NacosRegistry;

/// Longest wait for a listing. Longer: a registry that is down holds up every command, and r-nacos, which closes idle
/// connections after five seconds, ends the wait with an error that says less; shorter: ten thousand nodes over a slow
/// line do not fit.
const LIST_DEADLINE: Duration = Duration::from_secs(4);
/// Longest pause of a watch: for as long may an answer be used by a client that is not pushed to (Nacos's
/// `defaultCacheMillis`). A server that says more counts on its pushes. Longer: changes are seen later; shorter: every
/// watcher fetches the whole list more often.
const LONGEST_PAUSE: Duration = Duration::from_secs(3);
/// Shortest pause that a server can ask for. Shorter: a server that says 0 is asked without a pause.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

/// One service of one Nacos as a catalog.
#[derive(Debug, Clone)]
pub(crate) struct NacosCatalog {
    server: Arc<Server>,
    local: bool,
    uri: Arc<CatalogUri>,
}

impl NacosCatalog {
    /// Reads what the environment says; connects to nothing yet.
    pub(crate) fn new(uri: &NacosUri, options: &Options) -> Result<Self, Cause> {
        let meter = options.figures.meter(uri);
        Ok(Self {
            server: Arc::new(Server::new(uri, &options.environment, meter)?),
            local: uri.local,
            uri: Arc::new(CatalogUri::Nacos(uri.clone())),
        })
    }

    async fn list_now(&self) -> Result<Listing, Cause> {
        let (dialect, answer) = self.server.call(Call::List, LIST_DEADLINE).await?;
        let hosts = hosts(dialect, &answer.body)?;
        let mut listing = self.understand(&hosts, &answer);
        let count = listing.nodes.len();
        if count == 0 && listing.rejected.is_empty() {
            listing.warnings.push(self.explain_emptiness(hosts.hosts.first.len()).await);
        } else if count > 0 && listing.nodes.iter().all(|node| node.health == Health::Critical) {
            listing
                .warnings
                .push(format!("{count} nodes are registered in {}, none serves", self.server.place));
        }
        Ok(listing)
    }

    /// What is there, and how long to wait before asking again.
    async fn poll(self) -> Result<(Listing, Duration), CatalogError> {
        let asking = async {
            let (dialect, answer) = self.server.call(Call::List, LIST_DEADLINE).await?;
            let hosts = hosts(dialect, &answer.body)?;
            self.server.meter().heard();
            Ok((self.understand(&hosts, &answer), spread(pause_after(&hosts))))
        };
        asking.await.map_err(|cause: Cause| cause.of(&self.uri))
    }

    fn understand(&self, hosts: &Instances<'_>, answer: &Answer) -> Listing {
        let candidates = entry::candidates(&hosts.hosts, self.server.place.cluster.as_deref());
        let reach = match answer.peer {
            _ if self.local => Reach::Anything,
            Some(peer) => Reach::of_catalog_at(peer),
            None => Reach::Public,
        };
        let mut listing = screen(candidates, reach);
        listing.warnings.extend(self.server.warnings().iter().cloned());
        if hosts.reach_protection_threshold == Some(true) {
            listing.warnings.push(
                "fewer instances are healthy than the service's protection threshold asks for, so Nacos shows all of \
                 them as healthy"
                    .to_owned(),
            );
        }
        listing
    }

    /// A namespace that does not exist, a group without the service and a cluster without instances all look alike.
    async fn explain_emptiness(&self, elsewhere: usize) -> String {
        let place = &self.server.place;
        if elsewhere > 0 {
            let are = if elsewhere == 1 { "instance is" } else { "instances are" };
            return format!("{elsewhere} {are} registered in other clusters, none in {place}");
        }
        let advice = format!("no instance is registered in {place}");
        if place.namespace.is_empty() {
            return advice;
        }
        let known = match self.server.call(Call::Namespaces, LIST_DEADLINE).await {
            Ok((_, answer)) => answer::namespaces(&answer.body),
            Err(cause) => Err(cause),
        };
        known.ok().and_then(|known| missing_namespace(&known, &place.namespace)).unwrap_or(advice)
    }
}

impl Catalog for NacosCatalog {
    fn uri(&self) -> &CatalogUri {
        &self.uri
    }

    fn list(&self) -> BoxFuture<'_, Result<Listing, CatalogError>> {
        async { self.list_now().await.map_err(|cause| cause.of(&self.uri)) }.boxed()
    }

    fn watch(&self) -> ChangeStream {
        let catalog = self.clone();
        changes::poll(move || catalog.clone().poll())
    }
}

fn hosts(dialect: Dialect, body: &[u8]) -> Result<Instances<'_>, Cause> {
    match dialect {
        Dialect::V1 => answer::instances_v1(body),
        Dialect::V3 => answer::instances_v3(body),
    }
}

fn pause_after(hosts: &Instances<'_>) -> Duration {
    let asked = hosts.cache_millis.map_or(LONGEST_PAUSE, Duration::from_millis);
    asked.clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
}

/// What to say when the namespace is not among those that the server has.
fn missing_namespace(known: &[Namespace], id: &str) -> Option<String> {
    if known.iter().any(|namespace| namespace.id == id) {
        return None;
    }
    Some(match known.iter().find(|namespace| namespace.name == id) {
        Some(namespace) => format!(
            "there is no namespace with the id {id:?}, but one of that name: write its id, {:?}",
            printable(&namespace.id, 64)
        ),
        None => format!("there is no namespace with the id {id:?}; an operator makes one in Nacos's console"),
    })
}

/// For [`crate::fuzzing`]: the instances of an answer in either dialect.
#[cfg(fuzzing)]
pub(crate) fn candidates_of(body: &[u8]) -> Result<Vec<crate::screen::Candidate>, Cause> {
    let instances = answer::instances_v1(body).or_else(|_| answer::instances_v3(body))?;
    Ok(entry::candidates(&instances.hosts, None))
}

/// For [`crate::fuzzing`]: what the other answers get wrong, and what is said of namespaces.
#[cfg(fuzzing)]
pub(crate) fn faults_of(body: &[u8]) -> (Vec<Cause>, Vec<String>) {
    let faults = [
        answer::instances_v1(body).err(),
        answer::beat(body).err(),
        answer::granted(body).err(),
        answer::written_v1(body).err(),
        answer::written_v3(body).err(),
    ];
    let known = answer::namespaces(body);
    let said = known
        .iter()
        .flatten()
        .filter_map(|namespace| missing_namespace(known.as_deref().unwrap_or_default(), &namespace.name));
    let said = said.collect();
    (faults.into_iter().flatten().chain(known.err()).collect(), said)
}

/// Runs every parser over `bytes`, and answers how much was understood.
#[cfg(test)]
fn parse_anything(bytes: &[u8]) -> usize {
    let of_hosts = |hosts: Result<Instances<'_>, Cause>| -> Vec<crate::screen::Candidate> {
        hosts.map(|hosts| entry::candidates(&hosts.hosts, None)).unwrap_or_default()
    };
    let candidates =
        of_hosts(answer::instances_v1(bytes)).into_iter().chain(of_hosts(answer::instances_v3(bytes)));
    let listing = screen(candidates, Reach::Anything);
    let others = [
        answer::beat(bytes).is_ok(),
        answer::granted(bytes).is_ok(),
        answer::namespaces(bytes).is_ok(),
        answer::written_v1(bytes).is_ok(),
        answer::written_v3(bytes).is_ok(),
        answer::is_no_such_api(reqwest::StatusCode::NOT_FOUND, bytes),
        entry::is_of(bytes, "n1"),
    ];
    listing.nodes.len() + others.into_iter().filter(|&is| is).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pause(cache_millis: Option<u64>) -> Duration {
        pause_after(&Instances { cache_millis, ..Instances::default() })
    }

    #[test]
    fn the_server_says_how_often_to_ask_within_bounds() {
        assert_eq!((pause(None), pause(Some(10_000))), (LONGEST_PAUSE, LONGEST_PAUSE));
        assert_eq!(
            (pause(Some(0)), pause(Some(999)), pause(Some(1_000))),
            (SHORTEST_PAUSE, SHORTEST_PAUSE, SHORTEST_PAUSE)
        );
        let between = [1_001, 2_999].map(Duration::from_millis);
        assert_eq!([pause(Some(1_001)), pause(Some(2_999))], between);
    }

    #[test]
    fn a_namespace_is_known_by_its_id() {
        let known = [
            Namespace { id: String::new(), name: "public".into() },
            Namespace { id: "9f1c".into(), name: "browsers".into() },
        ];
        assert_eq!(missing_namespace(&known, "9f1c"), None);
        assert!(missing_namespace(&known, "browsers").is_some_and(|text| text.contains("\"9f1c\"")));
        assert!(missing_namespace(&known, "ghost").is_some_and(|text| text.contains("\"ghost\"")));
    }
}
