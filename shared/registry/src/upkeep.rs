//! Staying registered: a loop that registers, keeps alive, follows changes of the record, and deregisters at the end.

mod tell;

use std::{future::Future, pin::pin, time::Duration};

use cbrowse_protocol::node::NodeRecord;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use self::tell::Standing;
use crate::{
    error::RegistryError,
    figures::Meter,
    registry::{Check, Kept, Registration, Registry},
    retry::Backoff,
};

/// Keeps one node registered in one registry until `stop` ends, then deregisters; the result is that of the
/// deregistration. A registry that is down is asked again and again: the node serves without it meanwhile. An
/// update that fails is tried again. Run one of these for each registry. Dropping it leaves the entry to expire.
///
/// The log has a line when the registration begins, breaks, breaks for another reason and is whole again; not one a try.
pub async fn stay_registered(
    registry: &dyn Registry,
    records: watch::Receiver<NodeRecord>,
    check: Check,
    stop: impl Future<Output = ()>,
) -> Result<(), RegistryError> {
    let mut stop = pin!(stop);
    let mut backoff = Backoff::default();
    let mut standing = Standing::default();
    let mut upkeep = Upkeep { registry, records, check, held: None };
    loop {
        // Never cut short: a call that was given up half-way could leave an entry that nobody removes. Each call has
        // a deadline of its own.
        let outcome = upkeep.step().await;
        standing.learn(outcome.as_ref().copied(), std::time::Instant::now()).log(
            registry.meter().name(),
            &upkeep.records,
            outcome.as_ref().err(),
        );
        let (pause, well) = match outcome {
            Ok(_) => {
                backoff.succeeded();
                (upkeep.until_due(), true)
            }
            Err(_) => (upkeep.until_retry(backoff.failed()), false),
        };
        tokio::select! {
            biased;
            () = &mut stop => break,
            () = changed(&mut upkeep.records), if well => {}
            () = sleep(pause) => {}
        }
    }
    match upkeep.held {
        Some(mut held) => held.registration.deregister().await,
        None => Ok(()),
    }
}

/// What a call to the registry came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    Registered,
    Updated,
    Kept(Kept),
}

struct Upkeep<'a> {
    registry: &'a dyn Registry,
    records: watch::Receiver<NodeRecord>,
    check: Check,
    held: Option<Held>,
}

struct Held {
    registration: Box<dyn Registration>,
    /// When the registry has to hear of the node again. An update is no heartbeat in every registry.
    due: Instant,
    _counted: Counted,
}

impl Upkeep<'_> {
    /// One call to the registry: the one that is due.
    async fn step(&mut self) -> Result<Done, RegistryError> {
        let Some(held) = &mut self.held else {
            let record = self.records.borrow_and_update().clone();
            let registration = self.registry.register(&record, self.check).await?;
            let due = Instant::now() + registration.interval();
            self.held = Some(Held { registration, due, _counted: Counted::new(self.registry.meter()) });
            return Ok(Done::Registered);
        };
        if !self.records.has_changed().unwrap_or(false) {
            return held.keep_alive().await.map(Done::Kept);
        }
        let record = self.records.borrow_and_update().clone();
        let Err(error) = held.registration.update(&record).await else { return Ok(Done::Updated) };
        self.records.mark_changed();
        // A change that the registry does not take must not cost the node the entry that it has.
        if Instant::now() >= held.due {
            held.keep_alive().await?;
        }
        Err(error)
    }

    /// A change that is refused again and again must not put heartbeats off beyond the entry's life; where it is they
    /// that fail, the pause is the registry's due.
    fn until_retry(&self, pause: Duration) -> Duration {
        match self.until_due() {
            Duration::ZERO => pause,
            due => pause.min(due),
        }
    }

    fn until_due(&self) -> Duration {
        self.held.as_ref().map_or(Duration::ZERO, |held| held.due.saturating_duration_since(Instant::now()))
    }
}

impl Held {
    async fn keep_alive(&mut self) -> Result<Kept, RegistryError> {
        let kept = self.registration.keep_alive().await?;
        self.due = Instant::now() + self.registration.interval();
        Ok(kept)
    }
}

/// Counts one entry for as long as it is held, given up half-way included.
struct Counted(Meter);

impl Counted {
    fn new(meter: &Meter) -> Self {
        meter.registered(true);
        Self(meter.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.registered(false);
    }
}

/// Ends when the record changed; never, once nobody can change it any more.
async fn changed(records: &mut watch::Receiver<NodeRecord>) {
    if records.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
    // Seen here, not yet told to the registry.
    records.mark_changed();
}

#[cfg(test)]
mod tests;
