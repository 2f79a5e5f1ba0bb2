//! Registers nodes that cannot register themselves: a file says which, a check says how they are.
//!
//! ```text
//! file ── every second ──▶ plan ──▶ one task a node: check it, tell every registry
//! ```
//! What the file does not say any more is deregistered. A file that cannot be read or does not parse changes nothing,
//! and neither does one that is gone, since editors replace files; an entry that makes no sense is none.

mod ask;
mod figures;
mod plan;
mod streak;
mod target;
mod tend;
mod verifier;

use std::{collections::BTreeMap, future::Future, pin::pin, sync::Arc, time::Duration};

use cbrowse_protocol::{id::NodeId, node::NodeRecord};
use cbrowse_registry::{Catalog, CatalogError, Listing};
use tokio::{sync::Notify, task::JoinSet};
use tokio_util::task::AbortOnDropHandle;

pub use self::{
    figures::Figures,
    streak::Rules,
    target::{CheckKind, Target},
};
use self::{
    plan::plan,
    tend::{Desk, Tended},
};

/// How often the file is looked at. Longer: an edit seems to have no effect.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How long the file has to say the same before it is followed. Longer: edits are followed later; shorter: half a file,
/// of an editor that is still writing, deregisters the nodes of the other half.
const SETTLE: Duration = Duration::from_millis(200);
/// How often that is waited for. A file that never rests is followed all the same.
const SETTLE_LOOKS: usize = 10;

/// How nodes are checked.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// The check of entries that name none.
    pub check: CheckKind,
    /// From the end of one check of a node to the next one.
    pub interval: Duration,
    /// How long a check may take.
    pub timeout: Duration,
    /// How many in a row change a node's standing.
    pub rules: Rules,
    /// Checks at once.
    pub concurrency: usize,
}

/// Follows the file until `stop` ends, then deregisters every node; that is over in bounded time, whether registries
/// answer or not. `look` makes it look at the file at once.
pub async fn run(
    file: &dyn Catalog,
    registries: crate::register::Registries,
    settings: Settings,
    figures: Figures,
    look: &Notify,
    stop: impl Future<Output = ()>,
) {
    let mut stop = pin!(stop);
    let mut book = Book::new(settings.check, Desk::new(registries, settings, figures));
    loop {
        match settled(file, &book.followed).await {
            Ok(listing) => book.follow(listing),
            Err(error) => book.keep(&error),
        }
        tokio::select! {
            biased;
            () = &mut stop => break,
            () = look.notified() => {}
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
        }
    }
    book.close().await;
}

/// What the file says, at rest where that is not what it said before.
async fn settled(file: &dyn Catalog, followed: &[NodeRecord]) -> Result<Listing, CatalogError> {
    let mut listing = file.list().await?;
    for _ in 0..SETTLE_LOOKS {
        if listing.nodes == followed {
            break;
        }
        tokio::time::sleep(SETTLE).await;
        let before = std::mem::replace(&mut listing, file.list().await?);
        if before.nodes == listing.nodes {
            break;
        }
    }
    Ok(listing)
}

/// TLS to whoever is there, for tests of servers.
#[cfg(test)]
pub(crate) fn unpinned_client_config() -> Result<Arc<rustls::ClientConfig>, rustls::Error> {
    verifier::client_config(None, b"http/1.1")
}

/// The nodes that are looked after.
struct Book {
    check: CheckKind,
    desk: Arc<Desk>,
    known: BTreeMap<NodeId, Tended>,
    /// The file's nodes when it was last followed.
    followed: Vec<NodeRecord>,
    /// Still deregistering: a node of the same id waits for that, lest the farewell hits the newcomer.
    leaving: BTreeMap<NodeId, AbortOnDropHandle<()>>,
    /// What was wrong with the file when it was last read.
    troubles: Vec<String>,
}

impl Book {
    fn new(check: CheckKind, desk: Desk) -> Self {
        let (known, leaving) = (BTreeMap::new(), BTreeMap::new());
        let (followed, troubles) = (Vec::new(), Vec::new());
        Self { check, desk: Arc::new(desk), known, followed, leaving, troubles }
    }

    /// Brings what is looked after in line with the file.
    fn follow(&mut self, listing: Listing) {
        let mut troubles: Vec<_> = listing
            .rejected
            .into_iter()
            .map(|rejected| format!("{} is not registered: {}", rejected.entry, rejected.reason))
            .collect();
        troubles.extend(listing.warnings);
        let mut targets = Vec::new();
        self.followed.clone_from(&listing.nodes);
        for record in listing.nodes {
            let id = record.id.clone();
            match Target::new(record, self.check) {
                Ok(target) => targets.push(target),
                Err(reason) => troubles.push(format!("{id} is not registered: {reason}")),
            }
        }
        self.complain(troubles);
        self.leaving.retain(|_, task| !task.is_finished());
        let plan = plan(self.known.iter().map(|(id, tended)| (id, tended.target())), targets);
        for id in plan.gone {
            tracing::info!(node = %id, "no longer in the file; deregistering");
            let tended = self.known.remove(&id).map(Tended::leave);
            self.leaving.extend(tended.map(|task| (id, task)));
        }
        for target in plan.changed {
            match self.known.get(&target.record.id) {
                Some(tended) => tended.change(target),
                None => self.add(target),
            }
        }
    }

    fn add(&mut self, target: Target) {
        let id = target.record.id.clone();
        tracing::info!(node = %id, check = %target.check, "in the file; checking {}", target.record.endpoint());
        let after = self.leaving.remove(&id);
        self.known.insert(id, Tended::begin(target, self.desk.clone(), after));
    }

    /// The file cannot be followed just now.
    fn keep(&mut self, error: &CatalogError) {
        self.complain(vec![format!("{error}; the {} nodes known stay as they are", self.known.len())]);
    }

    /// Says what is wrong with the file when it is not what was wrong before.
    fn complain(&mut self, troubles: Vec<String>) {
        for trouble in troubles.iter().filter(|trouble| !self.troubles.contains(trouble)) {
            tracing::warn!("{trouble}");
        }
        if troubles.is_empty() && !self.troubles.is_empty() {
            tracing::info!("the file is in order again");
        }
        self.troubles = troubles;
    }

    /// Deregisters every node.
    async fn close(self) {
        let mut leaving = JoinSet::new();
        let ending = self.known.into_values().map(Tended::leave).chain(self.leaving.into_values());
        for task in ending {
            leaving.spawn(task);
        }
        while leaving.join_next().await.is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use cbrowse_registry::{CatalogUri, ChangeStream};
    use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream};

    use super::*;

    /// Says one thing after the other, and then the last again and again.
    struct Written(CatalogUri, Mutex<Vec<Vec<NodeRecord>>>);

    impl Catalog for Written {
        fn uri(&self) -> &CatalogUri {
            &self.0
        }
        fn list(&self) -> BoxFuture<'_, Result<Listing, CatalogError>> {
            let mut said = self.1.lock().unwrap();
            let nodes = if said.len() > 1 { said.remove(0) } else { said[0].clone() };
            std::future::ready(Ok(Listing { nodes, ..Listing::default() })).boxed()
        }
        fn watch(&self) -> ChangeStream {
            stream::pending().boxed()
        }
    }

    fn nodes(ids: &[&str]) -> Vec<NodeRecord> {
        let record = |id| serde_json::json!({"id": id, "address": "127.0.0.1", "port": 1});
        ids.iter().map(|id| serde_json::from_value(record(id)).expect("a record")).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_file_deregisters_nobody() {
        let all = nodes(&["a", "b", "c"]);
        let said = vec![nodes(&[]), nodes(&["a"]), nodes(&["a", "b"]), all.clone()];
        let file = Written(CatalogUri::File("x".into()), Mutex::new(said));
        assert_eq!(settled(&file, &all).await.expect("the file").nodes, all);
        let started = tokio::time::Instant::now();
        assert_eq!(settled(&file, &all).await.expect("the file").nodes, all);
        assert_eq!(started.elapsed(), Duration::ZERO, "a file that is as it was is not waited for");
        let restless = (0..100).map(|count| nodes(&["a", "b"][..count % 2])).collect();
        let file = Written(CatalogUri::File("x".into()), Mutex::new(restless));
        settled(&file, &all).await.expect("the file");
        assert_eq!(started.elapsed(), SETTLE * u32::try_from(SETTLE_LOOKS).expect("few"));
    }
}
