//! One node: checked at intervals, registered once the first check has said how it is, and told of what changes.

use std::{sync::Arc, time::Duration};

use cbrowse_protocol::node::{Health, NodeRecord};
use cbrowse_registry::Check;
use tokio::sync::{Semaphore, watch};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{CheckKind, Figures, Settings, Target, ask, ask::Finding, streak::Streak};
use crate::register::{Registrations, Registries};

/// How long registries wait for a heartbeat. Longer: nodes outlive a registrar that died for as long; shorter: a
/// thousand nodes are more than a hundred heartbeats a second.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// What every node's task uses.
pub(super) struct Desk {
    registries: Registries,
    settings: Settings,
    figures: Figures,
    permits: Semaphore,
}

impl Desk {
    pub(super) fn new(registries: Registries, settings: Settings, figures: Figures) -> Self {
        Self { registries, settings, figures, permits: Semaphore::new(settings.concurrency) }
    }

    async fn look(&self, target: &Target) -> Finding {
        if target.check == CheckKind::None {
            return Finding { health: target.record.health, words: "by the file's word".into() };
        }
        // Never closed, so that there is always a permit to wait for.
        let _permit = self.permits.acquire().await;
        let finding = ask::ask(target, self.settings.timeout).await;
        self.figures.checked(finding.health);
        finding
    }
}

/// A node that is looked after.
pub(super) struct Tended {
    targets: watch::Sender<Target>,
    stop: CancellationToken,
    task: AbortOnDropHandle<()>,
}

impl Tended {
    /// Begins, `after` an earlier node of the same id has left.
    pub(super) fn begin(target: Target, desk: Arc<Desk>, after: Option<AbortOnDropHandle<()>>) -> Self {
        let (targets, receiver) = watch::channel(target);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            if let Some(after) = after {
                // However it ended, it is over.
                let _ = after.await;
            }
            tend(receiver, &desk, &stopped).await;
        });
        Self { targets, stop, task: AbortOnDropHandle::new(task) }
    }

    pub(super) fn target(&self) -> Target {
        self.targets.borrow().clone()
    }

    pub(super) fn change(&self, target: Target) {
        self.targets.send_replace(target);
    }

    /// Deregisters; what is returned ends when that is over.
    pub(super) fn leave(self) -> AbortOnDropHandle<()> {
        self.stop.cancel();
        self.task
    }
}

async fn tend(mut targets: watch::Receiver<Target>, desk: &Desk, stop: &CancellationToken) {
    let mut streak = Streak::default();
    let mut checked: Option<Target> = None;
    let mut entry: Option<Entry> = None;
    loop {
        let target = targets.borrow_and_update().clone();
        if !checked.is_some_and(|checked| checked.is_checked_like(&target)) {
            streak = Streak::default();
        }
        let finding = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            finding = desk.look(&target) => finding,
        };
        let health = streak.learn(finding.health, desk.settings.rules);
        let record = NodeRecord { health, ..target.record.clone() };
        match &entry {
            Some(entry) => entry.update(record, &finding, &desk.figures),
            None => entry = Some(Entry::begin(record, &finding, desk)),
        }
        checked = Some(target);
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            changed = targets.changed() => if changed.is_err() { break },
            () = tokio::time::sleep(desk.settings.interval) => {}
        }
    }
    if let Some(entry) = entry {
        entry.end(&desk.figures).await;
    }
}

/// A node's entries in the registries.
struct Entry {
    records: watch::Sender<NodeRecord>,
    registrations: Registrations,
}

impl Entry {
    fn begin(record: NodeRecord, finding: &Finding, desk: &Desk) -> Self {
        tell(&record, finding);
        desk.figures.moved(None, Some(record.health));
        let records = watch::Sender::new(record);
        let registrations = desk.registries.stay(&records, Check::Heartbeat(HEARTBEAT));
        Self { records, registrations }
    }

    fn update(&self, record: NodeRecord, finding: &Finding, figures: &Figures) {
        let before = self.records.borrow().health;
        if before != record.health {
            tell(&record, finding);
            figures.moved(Some(before), Some(record.health));
        } else if finding.health != before {
            tracing::debug!(node = %record.id, "a check says {}: {}", finding.health, finding.words);
        }
        self.records.send_if_modified(|current| {
            let changed = *current != record;
            *current = record;
            changed
        });
    }

    async fn end(self, figures: &Figures) {
        figures.moved(Some(self.records.borrow().health), None);
        self.registrations.end().await;
    }
}

fn tell(record: &NodeRecord, finding: &Finding) {
    let (node, health, words) = (&record.id, record.health, &finding.words);
    match health {
        Health::Passing => tracing::info!(%node, "passing: {words}"),
        Health::Warning | Health::Critical => tracing::warn!(%node, "{health}: {words}"),
    }
}
