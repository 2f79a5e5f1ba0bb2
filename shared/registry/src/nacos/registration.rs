//! Registering a node as an instance, saying that it lives, and noticing when the server forgot it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use cbrowse_protocol::node::NodeRecord;
use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::{sync::Mutex, time::Instant};
use tracing::warn;

use super::{
    LIST_DEADLINE,
    answer::{self, Beat},
    entry::{self, Spot},
    hosts,
    server::{Call, Dialect, Server, speaks_neither, succeeded},
};
use crate::{
    error::{Cause, RegistryError},
    figures::Meter,
    options::Options,
    registry::{Check, Kept, Registration, Registry},
    uri::NacosUri,
};

/// Longest wait for one write. Longer: a server that hangs keeps a node from its next heartbeat.
const WRITE_DEADLINE: Duration = Duration::from_secs(4);
/// How long a node may be silent where the caller asked for a check that Nacos does not do: Nacos's own default.
/// Longer: a dead node is listed for as long; shorter: a slow moment takes a node off the list.
const DEFAULT_TTL: Duration = Duration::from_secs(15);
/// Heartbeats in one TTL: one may be lost, one late.
const HEARTBEATS_PER_TTL: u32 = 3;
/// Longest pause between heartbeats: Nacos's own default. A server that ignores the TTL we ask for (r-nacos) goes by
/// its own of fifteen seconds, so a longer one loses the node there.
const LONGEST_INTERVAL: Duration = Duration::from_secs(5);
/// Shortest pause that a server can ask for. Shorter: one that says 0 is flooded.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);
/// A weight of 1 for a server that takes `1` for "not given" and keeps the old one (r-nacos): the nearest number of
/// single precision, which is 1 again once it is read.
const EXPLICIT_ONE: &str = "1.0000001";

/// The servers as a registry for one service.
#[derive(Debug, Clone)]
pub(crate) struct NacosRegistry {
    server: Arc<Server>,
    latest: Arc<Mutex<Latest>>,
}

/// A list of the service, for those who register.
#[derive(Debug, Default)]
struct Latest {
    asked: Option<Instant>,
    spots: BTreeMap<String, Vec<Spot>>,
}

impl NacosRegistry {
    pub(crate) fn new(uri: &NacosUri, options: &Options) -> Result<Self, Cause> {
        let meter = options.figures.meter(uri);
        Ok(Self { server: Arc::new(Server::new(uri, &options.environment, meter)?), latest: Arc::default() })
    }

    async fn write(&self, record: &NodeRecord, ttl: Duration) -> Result<(), Cause> {
        record.check().map_err(|error| Cause::Settings(format!("the node's own record: {error}")))?;
        let instance = Written {
            spot: Spot::of(record),
            weight: entry::nacos_weight(record),
            meta: entry::meta(record, interval_of(ttl), ttl),
        };
        let dialect = self.post(&instance, &instance.weight.to_string()).await?;
        if dialect == Dialect::V1 && !self.says(&instance).await? {
            let weight = if instance.weight == 1 { EXPLICIT_ONE.into() } else { instance.weight.to_string() };
            self.post(&instance, &weight).await?;
        }
        Ok(())
    }

    async fn post(&self, instance: &Written, weight: &str) -> Result<Dialect, Cause> {
        let call = Call::Register { spot: &instance.spot, weight, meta: &instance.meta };
        let (dialect, answer) = self.server.call(call, WRITE_DEADLINE).await?;
        written(dialect, &answer.body)?;
        Ok(dialect)
    }

    /// Whether the server now says what it was told. r-nacos gives a new instance the metadata that another one had
    /// at the same address; only a second write, to an instance that is there, replaces it.
    async fn says(&self, instance: &Written) -> Result<bool, Cause> {
        let until = Instant::now() + WRITE_DEADLINE;
        let answer = self.server.try_call(Dialect::V1, Call::Peek(&instance.spot), until).await?;
        let said = answer.filter(|answer| answer.status.is_success());
        Ok(said.is_some_and(|answer| entry::says(&answer.body, instance.weight, &instance.meta)))
    }

    async fn beat(&self, spot: &Spot, id: &str) -> Result<Beat, Cause> {
        let until = Instant::now() + WRITE_DEADLINE;
        for dialect in self.server.dialects() {
            // v1 makes an instance out of a heartbeat for one that is not there, without its metadata.
            if dialect == Dialect::V1 && !self.is_there(spot, id, until).await? {
                return Ok(Beat::Unknown);
            }
            if let Some(answer) = self.server.try_call(dialect, Call::Beat(spot), until).await? {
                return match answer::beat(&answer.body) {
                    // v3 says so with a status of its own.
                    Ok(Beat::Unknown) => Ok(Beat::Unknown),
                    understood => succeeded(answer).and(understood),
                };
            }
        }
        Err(speaks_neither())
    }

    async fn is_there(&self, spot: &Spot, id: &str, until: Instant) -> Result<bool, Cause> {
        match self.server.try_call(Dialect::V1, Call::Peek(spot), until).await? {
            // No such API: the heartbeat will say so, too.
            None => Ok(true),
            // Nacos says 404, r-nacos 500; to register again is right after either.
            Some(answer) if matches!(answer.status.as_u16(), 404 | 500) => Ok(false),
            Some(answer) => Ok(entry::is_of(&succeeded(answer)?.body, id)),
        }
    }

    async fn remove(&self, spot: &Spot) -> Result<(), Cause> {
        match self.server.call(Call::Deregister(spot), WRITE_DEADLINE).await {
            Ok((dialect, answer)) => written(dialect, &answer.body),
            // What is gone is gone.
            Err(Cause::Status { status: 404, .. }) => Ok(()),
            Err(cause) => Err(cause),
        }
    }

    /// Removes what an earlier run of this node left at other addresses: Nacos takes it for another instance.
    async fn remove_former(&self, id: &str, spot: &Spot) -> Result<(), Cause> {
        for former in self.spots_of(id).await? {
            if former != *spot {
                self.remove(&former).await?;
            }
        }
        Ok(())
    }

    /// Where the node of this id stands now. Many that register at once share a list, as long as it was asked for
    /// after they began.
    async fn spots_of(&self, id: &str) -> Result<Vec<Spot>, Cause> {
        let began = Instant::now();
        let mut latest = self.latest.lock().await;
        if latest.asked.is_none_or(|asked| asked < began) {
            let asked = Instant::now();
            let (dialect, answer) = self.server.call(Call::List, LIST_DEADLINE).await?;
            let cluster = self.server.place.cluster.as_deref();
            let spots = entry::spots(&hosts(dialect, &answer.body)?.hosts, cluster);
            *latest = Latest { asked: Some(asked), spots };
        }
        Ok(latest.spots.get(id).cloned().unwrap_or_default())
    }
}

impl Registry for NacosRegistry {
    fn meter(&self) -> &Meter {
        self.server.meter()
    }

    fn register<'a>(
        &'a self,
        record: &'a NodeRecord,
        check: Check,
    ) -> BoxFuture<'a, Result<Box<dyn Registration>, RegistryError>> {
        async move {
            let ttl = ttl_of(check);
            self.write(record, ttl).await.map_err(|cause| cause.at(self.meter()))?;
            if let Err(cause) = self.remove_former(record.id.as_str(), &Spot::of(record)).await {
                // It leaves by itself, for want of heartbeats.
                warn!(registry = self.meter().name(), %cause, "an older entry of this node may still be listed");
            }
            let registration = NacosRegistration {
                registry: self.clone(),
                record: record.clone(),
                ttl,
                interval: interval_of(ttl),
            };
            Ok(Box::new(registration) as Box<dyn Registration>)
        }
        .boxed()
    }
}

/// An instance as it is written.
struct Written {
    spot: Spot,
    weight: u16,
    meta: BTreeMap<String, String>,
}

#[derive(Debug)]
struct NacosRegistration {
    registry: NacosRegistry,
    record: NodeRecord,
    ttl: Duration,
    interval: Duration,
}

impl NacosRegistration {
    async fn keep(&mut self) -> Result<Kept, Cause> {
        match self.registry.beat(&Spot::of(&self.record), self.record.id.as_str()).await? {
            Beat::Heard(asked) => {
                self.interval = interval(self.ttl, asked);
                Ok(Kept::Alive)
            }
            Beat::Unknown => {
                self.registry.write(&self.record, self.ttl).await?;
                Ok(Kept::Again)
            }
        }
    }

    /// Another address is another instance to Nacos: the new one is there before the old one leaves.
    async fn replace(&mut self, record: &NodeRecord) -> Result<(), Cause> {
        self.registry.write(record, self.ttl).await?;
        let old = std::mem::replace(&mut self.record, record.clone());
        if Spot::of(&old) != Spot::of(record) {
            self.registry.remove(&Spot::of(&old)).await?;
        }
        Ok(())
    }
}

impl Registration for NacosRegistration {
    fn interval(&self) -> Duration {
        self.interval
    }

    fn keep_alive(&mut self) -> BoxFuture<'_, Result<Kept, RegistryError>> {
        async { self.keep().await.map_err(|cause| cause.at(self.registry.meter())) }.boxed()
    }

    fn update<'a>(&'a mut self, record: &'a NodeRecord) -> BoxFuture<'a, Result<(), RegistryError>> {
        async { self.replace(record).await.map_err(|cause| cause.at(self.registry.meter())) }.boxed()
    }

    fn deregister(&mut self) -> BoxFuture<'_, Result<(), RegistryError>> {
        async {
            let removed = self.registry.remove(&Spot::of(&self.record)).await;
            removed.map_err(|cause| cause.at(self.registry.meter()))
        }
        .boxed()
    }
}

fn written(dialect: Dialect, body: &[u8]) -> Result<(), Cause> {
    match dialect {
        Dialect::V1 => answer::written_v1(body),
        Dialect::V3 => answer::written_v3(body),
    }
}

/// Nacos lets nobody in to look: an instance that says nothing is dead, whatever else it would answer.
fn ttl_of(check: Check) -> Duration {
    match check {
        Check::Https | Check::Http | Check::Tcp | Check::Grpc => DEFAULT_TTL,
        Check::Heartbeat(ttl) => ttl,
    }
}

/// How often a node says that it lives, before the server has said anything.
fn interval_of(ttl: Duration) -> Duration {
    (ttl / HEARTBEATS_PER_TTL).min(LONGEST_INTERVAL)
}

/// How often it does once the server has: as often as it asks, and as the TTL needs.
fn interval(ttl: Duration, asked: Option<Duration>) -> Duration {
    let own = interval_of(ttl);
    asked.map_or(own, |asked| asked.max(SHORTEST_INTERVAL).min(own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heartbeats_are_as_often_as_the_ttl_and_the_server_need() {
        let seconds = Duration::from_secs;
        assert_eq!(interval_of(seconds(3)), seconds(1));
        assert_eq!((interval_of(seconds(15)), interval_of(seconds(300))), (seconds(5), seconds(5)));
        assert_eq!(ttl_of(Check::Https), DEFAULT_TTL);
        assert_eq!(interval(seconds(15), None), seconds(5));
        assert_eq!(interval(seconds(15), Some(seconds(2))), seconds(2));
        assert_eq!(interval(seconds(15), Some(Duration::ZERO)), SHORTEST_INTERVAL);
        assert_eq!(interval(seconds(15), Some(Duration::MAX)), seconds(5), "the TTL would run out");
        let short = Duration::from_millis(900);
        assert_eq!(interval(short, Some(seconds(5))), short / 3, "the TTL is the caller's own wish");
    }
}
