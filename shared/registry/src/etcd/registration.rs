//! Keeping a node's record in etcd: a key under a lease, which the node renews, and which takes the key with it when the
//! node falls silent.

use std::{sync::Arc, time::Duration};

use cbrowse_protocol::node::NodeRecord;
use futures_util::{FutureExt as _, future::BoxFuture};
use tracing::warn;

use super::{
    Revision,
    answer::LeaseId,
    client::{Client, Deadline, Part, Range},
    entry,
    fault::Failure,
};
use crate::{
    error::{Cause, RegistryError},
    figures::Meter,
    options::Options,
    registry::{Check, Kept, Registration, Registry},
    uri::EtcdUri,
};

/// Longest wait for one call, which may be several questions. A write during an election takes two to three seconds.
const WRITE_DEADLINE: Duration = Duration::from_secs(5);
/// How long a node may be silent where nothing else is said; etcd asks no node itself. Longer: a dead node stays in the
/// catalog for as long; shorter: a loaded node loses its place, and every renewal is work for the cluster.
const DEFAULT_LEASE: Duration = Duration::from_secs(15);
/// Renewals in the time of one lease: one may be lost, one late.
const RENEWALS_PER_LEASE: u32 = 3;

/// One prefix of one etcd as a registry.
#[derive(Debug, Clone)]
pub(crate) struct EtcdRegistry {
    client: Arc<Client>,
    prefix: Arc<str>,
}

/// An entry as it was last written.
#[derive(Debug, Clone, Copy)]
struct Written {
    lease: LeaseId,
    /// The server's word.
    lasts: Duration,
    revision: Revision,
}

impl EtcdRegistry {
    /// Reads what the environment says; connects to nothing yet.
    pub(crate) fn new(uri: &EtcdUri, options: &Options) -> Result<Self, Cause> {
        let meter = options.figures.meter(uri);
        Ok(Self {
            client: Arc::new(Client::new(uri, &options.environment, meter)?),
            prefix: uri.prefix.as_str().into(),
        })
    }

    /// Under a new lease. An entry of the same id stays until this one is in its place.
    async fn write(
        &self,
        record: &NodeRecord,
        lease: Duration,
        deadline: Deadline,
    ) -> Result<Written, Cause> {
        let (lease, lasts) = self.client.grant(lease, deadline).await?;
        let revision = self.put(record, lease, deadline).await?;
        Ok(Written { lease, lasts, revision })
    }

    async fn put(
        &self,
        record: &NodeRecord,
        lease: LeaseId,
        deadline: Deadline,
    ) -> Result<Revision, Failure> {
        let own = |error: &dyn std::fmt::Display| Cause::Settings(format!("the node's own record: {error}"));
        record.check().map_err(|error| own(&error))?;
        let value = serde_json::to_string(record).map_err(|error| own(&error))?;
        self.client.put(&entry::key(&self.prefix, &record.id), &value, lease, deadline).await
    }

    /// Whether the entry is there as it was written, and not removed or overwritten by somebody else.
    async fn holds(&self, record: &NodeRecord, written: &Written, deadline: Deadline) -> Result<bool, Cause> {
        let key = entry::key(&self.prefix, &record.id).into_bytes();
        let range = Range { key, part: Part::Keys, ..Range::default() };
        let (page, _) = self.client.range(&range, deadline).await?;
        Ok(page.entries.first().is_some_and(|entry| entry.mark.modified == written.revision))
    }
}

impl Registry for EtcdRegistry {
    fn meter(&self) -> &Meter {
        self.client.meter()
    }

    fn register<'a>(
        &'a self,
        record: &'a NodeRecord,
        check: Check,
    ) -> BoxFuture<'a, Result<Box<dyn Registration>, RegistryError>> {
        async move {
            let wanted = wanted(check);
            let written = self.write(record, wanted, Deadline::within(WRITE_DEADLINE)).await;
            let written = written.map_err(|cause| cause.at(self.meter()))?;
            let registration =
                EtcdRegistration { registry: self.clone(), record: record.clone(), wanted, written };
            Ok(Box::new(registration) as Box<dyn Registration>)
        }
        .boxed()
    }
}

/// How long the lease should last.
fn wanted(check: Check) -> Duration {
    match check {
        Check::Heartbeat(silence) => silence,
        Check::Https | Check::Http | Check::Tcp | Check::Grpc => DEFAULT_LEASE,
    }
}

#[derive(Debug)]
struct EtcdRegistration {
    registry: EtcdRegistry,
    record: NodeRecord,
    wanted: Duration,
    written: Written,
}

impl EtcdRegistration {
    async fn keep(&mut self) -> Result<Kept, Cause> {
        let deadline = Deadline::within(WRITE_DEADLINE);
        let Some(lasts) = self.registry.client.keep_alive(self.written.lease, deadline).await? else {
            self.written = self.registry.write(&self.record, self.wanted, deadline).await?;
            return Ok(Kept::Again);
        };
        self.written.lasts = lasts;
        if self.registry.holds(&self.record, &self.written, deadline).await? {
            return Ok(Kept::Alive);
        }
        warn!(node = %self.record.id, "somebody removed or replaced this node's entry; putting it back");
        let record = self.record.clone();
        self.replace(&record, deadline).await?;
        Ok(Kept::Again)
    }

    /// In place, so that no watcher sees the node go.
    async fn replace(&mut self, record: &NodeRecord, deadline: Deadline) -> Result<(), Cause> {
        match self.registry.put(record, self.written.lease, deadline).await {
            Ok(revision) => self.written.revision = revision,
            Err(Failure::Fault(fault)) if fault.is_absence() => {
                self.written = self.registry.write(record, self.wanted, deadline).await?;
            }
            Err(failure) => return Err(failure.into()),
        }
        Ok(())
    }

    async fn remove(&self) -> Result<(), Cause> {
        let deadline = Deadline::within(WRITE_DEADLINE);
        match self.registry.client.revoke(self.written.lease, deadline).await {
            Err(Failure::Fault(fault)) if fault.is_absence() => Ok(()),
            outcome => outcome.map_err(Cause::from),
        }
    }
}

impl Registration for EtcdRegistration {
    fn interval(&self) -> Duration {
        self.written.lasts / RENEWALS_PER_LEASE
    }

    fn keep_alive(&mut self) -> BoxFuture<'_, Result<Kept, RegistryError>> {
        async { self.keep().await.map_err(|cause| cause.at(self.registry.meter())) }.boxed()
    }

    fn update<'a>(&'a mut self, record: &'a NodeRecord) -> BoxFuture<'a, Result<(), RegistryError>> {
        async {
            let deadline = Deadline::within(WRITE_DEADLINE);
            self.replace(record, deadline).await.map_err(|cause| cause.at(self.registry.meter()))?;
            self.record = record.clone();
            Ok(())
        }
        .boxed()
    }

    fn deregister(&mut self) -> BoxFuture<'_, Result<(), RegistryError>> {
        async { self.remove().await.map_err(|cause| cause.at(self.registry.meter())) }.boxed()
    }
}
