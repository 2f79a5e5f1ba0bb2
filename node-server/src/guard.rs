//! Opens connections on behalf of pages: resolves a name, checks its addresses, dials the very one it checked.
//!
//! The worker, and Chromium with it, sits in a network namespace with no road out. It asks over [`channel`]; the
//! answer is a connected socket or a [`Refusal`]. The reserved name [`START_HOST`] is answered by the node itself.

pub mod address;
pub mod channel;
mod counters;
mod dial;
mod host;
mod inside;
mod network;
mod policy;
mod refusal;
mod rules;

use std::{
    fmt,
    net::IpAddr,
    os::fd::OwnedFd,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use futures_util::future::BoxFuture;

use self::inside::Site;
pub use self::{
    counters::Counters,
    host::{Host, MalformedHost},
    network::{Network, System},
    policy::{Grant, Permit, Policy},
    refusal::Refusal,
    rules::{Allow, Deny, RuleError},
};
use crate::pages::Pages;

/// The name under which the node's own pages live, on [`HTTP_PORT`].
pub const START_HOST: &str = "cbrowse.internal";
/// Plain HTTP, the one protocol in which the guard can say why it refuses.
const HTTP_PORT: u16 = 80;
/// How long a name may take to resolve. glibc asks again after 5 s; shorter fails where one packet was lost.
const RESOLVE_DEADLINE: Duration = Duration::from_secs(8);

/// A connection for a page.
pub struct Opened {
    /// A connected, non-blocking stream socket: TCP, or Unix for the node's own pages.
    pub socket: OwnedFd,
    /// Answers one request at the other end of the socket, for the node's own pages; drive it until it ends, which
    /// is soon. Dropping it closes the connection.
    pub service: Option<BoxFuture<'static, ()>>,
}

impl fmt::Debug for Opened {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Opened").field("socket", &self.socket).finish_non_exhaustive()
    }
}

/// The one door of all sessions.
pub struct Guard {
    policy: RwLock<Arc<Policy>>,
    network: Box<dyn Network>,
    pages: Arc<Pages>,
    counters: Counters,
}

impl fmt::Debug for Guard {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Guard").field("counters", &self.counters).finish_non_exhaustive()
    }
}

impl Guard {
    /// A guard over the given network ([`System`] outside of tests).
    pub fn new(policy: Policy, network: impl Network, pages: Pages) -> Self {
        Self {
            policy: RwLock::new(Arc::new(policy)),
            network: Box::new(network),
            pages: Arc::new(pages),
            counters: Counters::default(),
        }
    }

    /// Takes new rules for connections opened from now on, as when peers or registries moved.
    pub fn replace_policy(&self, policy: Policy) {
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
    }

    /// What was opened and refused so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Opens a connection. Where the rules refuse a plain-HTTP destination, the connection leads to a page that says
    /// so. Dropping the future abandons the attempt (a lookup under way ends by itself).
    pub async fn open(&self, host: &str, port: u16) -> Result<Opened, Refusal> {
        let refusal = match self.connect(host, port).await {
            Ok(opened) => return Ok(opened),
            Err(refusal) => refusal,
        };
        self.counters.count_refused(refusal);
        tracing::debug!(reason = refusal.name(), port, "a connection is refused");
        if port == HTTP_PORT && refusal.is_policy() { self.inside(Site::Refused) } else { Err(refusal) }
    }

    async fn connect(&self, host: &str, port: u16) -> Result<Opened, Refusal> {
        let host = Host::parse(host).map_err(|MalformedHost| Refusal::MalformedHost)?;
        if port == HTTP_PORT && host == Host::Name(START_HOST.to_owned()) {
            self.counters.count_page();
            return self.inside(Site::Start);
        }
        let policy = Arc::clone(&self.policy.read().unwrap_or_else(PoisonError::into_inner));
        policy.admit(&host, port)?;
        let addresses = self.resolve(&host).await?;
        let permits = policy.check(&host, port, &addresses)?;
        let stream = dial::dial(self.network.as_ref(), permits).await?;
        self.counters.count_opened();
        Ok(Opened { socket: stream.into_std()?.into(), service: None })
    }

    async fn resolve(&self, host: &Host) -> Result<Vec<IpAddr>, Refusal> {
        let name = match host {
            Host::Address(address) => return Ok(vec![*address]),
            Host::Name(name) => name.clone(),
        };
        match tokio::time::timeout(RESOLVE_DEADLINE, self.network.resolve(name)).await {
            Ok(Ok(addresses)) => Ok(addresses),
            Ok(Err(_)) => Err(Refusal::Unresolved),
            Err(_) => Err(Refusal::Deadline),
        }
    }

    fn inside(&self, site: Site) -> Result<Opened, Refusal> {
        let (socket, service) = inside::serve(Arc::clone(&self.pages), site)?;
        Ok(Opened { socket, service: Some(service) })
    }
}

#[cfg(test)]
mod tests;
