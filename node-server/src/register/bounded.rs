//! A registry of which only so much is asked at once, however many nodes one process looks after.

use std::{sync::Arc, time::Duration};

use cbrowse_protocol::node::NodeRecord;
use cbrowse_registry::{Check, Kept, Meter, Registration, Registry, RegistryError};
use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::sync::Semaphore;

/// Calls at once to one registry. More: a Consul agent refuses a client's 201st connection, and with it others' from the
/// same address; fewer: heartbeats of thousands of nodes queue up behind a slow registry.
const MAX_CALLS: usize = 32;

/// A registry, and room for so many calls.
pub(super) struct Bounded {
    registry: Box<dyn Registry>,
    permits: Arc<Semaphore>,
}

impl Bounded {
    pub(super) fn new(registry: Box<dyn Registry>) -> Self {
        Self { registry, permits: Arc::new(Semaphore::new(MAX_CALLS)) }
    }
}

impl Registry for Bounded {
    fn meter(&self) -> &Meter {
        self.registry.meter()
    }

    fn register<'a>(
        &'a self,
        record: &'a NodeRecord,
        check: Check,
    ) -> BoxFuture<'a, Result<Box<dyn Registration>, RegistryError>> {
        async move {
            // Never closed, so that there is always a permit to wait for.
            let _permit = self.permits.acquire().await;
            let registration = self.registry.register(record, check).await?;
            Ok(Box::new(Held { registration, permits: self.permits.clone() }) as Box<dyn Registration>)
        }
        .boxed()
    }
}

struct Held {
    registration: Box<dyn Registration>,
    permits: Arc<Semaphore>,
}

impl Registration for Held {
    fn interval(&self) -> Duration {
        self.registration.interval()
    }

    fn keep_alive(&mut self) -> BoxFuture<'_, Result<Kept, RegistryError>> {
        async move {
            let _permit = self.permits.acquire().await;
            self.registration.keep_alive().await
        }
        .boxed()
    }

    fn update<'a>(&'a mut self, record: &'a NodeRecord) -> BoxFuture<'a, Result<(), RegistryError>> {
        async move {
            let _permit = self.permits.acquire().await;
            self.registration.update(record).await
        }
        .boxed()
    }

    fn deregister(&mut self) -> BoxFuture<'_, Result<(), RegistryError>> {
        async move {
            let _permit = self.permits.acquire().await;
            self.registration.deregister().await
        }
        .boxed()
    }
}
