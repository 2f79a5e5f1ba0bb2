//! Staying registered: a loop that registers, keeps alive, follows changes of the record, and deregisters at the end.

use std::{future::Future, pin::pin, time::Duration};

use cbrowse_protocol::node::NodeRecord;
use tokio::{sync::watch, time::sleep};
use tracing::{info, warn};

use crate::{
    error::RegistryError,
    registry::{Check, Kept, Registration, Registry},
    retry::Backoff,
};

/// Keeps one node registered in one registry until `stop` ends, then deregisters; the result is that of the
/// deregistration. A registry that is down is asked again and again: the node serves without it meanwhile. An
/// update that fails is tried again. Run one of these for each registry.
pub async fn stay_registered(
    registry: &dyn Registry,
    mut records: watch::Receiver<NodeRecord>,
    check: Check,
    stop: impl Future<Output = ()>,
) -> Result<(), RegistryError> {
    let mut stop = pin!(stop);
    let mut backoff = Backoff::default();
    let mut registration: Option<Box<dyn Registration>> = None;
    loop {
        // Never cut short: a call that was given up half-way could leave an entry that nobody removes. Each call has
        // a deadline of its own.
        let (pause, well) = match step(registry, &mut registration, &mut records, check).await {
            Ok(interval) => {
                backoff.succeeded();
                (interval, true)
            }
            Err(error) => {
                let pause = backoff.failed();
                warn!(%error, ?pause, "not registered; trying again");
                (pause, false)
            }
        };
        tokio::select! {
            biased;
            () = &mut stop => break,
            () = changed(&mut records), if well => {}
            () = sleep(pause) => {}
        }
    }
    match registration {
        Some(mut registration) => {
            registry.meter().registered(false);
            registration.deregister().await
        }
        None => Ok(()),
    }
}

/// One call to the registry: the one that is due.
async fn step(
    registry: &dyn Registry,
    registration: &mut Option<Box<dyn Registration>>,
    records: &mut watch::Receiver<NodeRecord>,
    check: Check,
) -> Result<Duration, RegistryError> {
    let Some(held) = registration else {
        let record = records.borrow_and_update().clone();
        let held = registration.insert(registry.register(&record, check).await?);
        registry.meter().registered(true);
        info!(node = %record.id, "registered");
        return Ok(held.interval());
    };
    if records.has_changed().unwrap_or(false) {
        let record = records.borrow_and_update().clone();
        if let Err(error) = held.update(&record).await {
            records.mark_changed();
            return Err(error);
        }
    } else if held.keep_alive().await? == Kept::Again {
        warn!("the registry had forgotten this node; registered again");
    }
    Ok(held.interval())
}

/// Ends when the record changed; never, once nobody can change it any more.
async fn changed(records: &mut watch::Receiver<NodeRecord>) {
    if records.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
    // Seen here, not yet told to the registry.
    records.mark_changed();
}
