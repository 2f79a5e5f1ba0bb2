//! Registers: one record in several registries at once, each on its own, and out of all of them in bounded time.

mod bounded;

use std::{sync::Arc, time::Duration};

use cbrowse_protocol::node::NodeRecord;
use cbrowse_registry::{CatalogUri, Check, Options, Registry, open_registry, stay_registered};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

use self::bounded::Bounded;

/// How long registries have to take a farewell, all together: a call under way and the farewell itself, of 5 s each.
/// Longer: one that does not answer holds up an end; shorter: one that is slow keeps an entry until it expires.
const FAREWELL_DEADLINE: Duration = Duration::from_secs(11);

/// The registries of one operator.
#[derive(Clone)]
pub struct Registries(Vec<(CatalogUri, Arc<dyn Registry>)>);

impl Registries {
    /// Connects to nothing yet, so an error is one of settings.
    pub fn open(uris: &[CatalogUri], options: &Options) -> anyhow::Result<Self> {
        let open = |uri: &CatalogUri| {
            let registry = open_registry(uri, options)?;
            let registry: Arc<dyn Registry> = Arc::new(Bounded::new(registry));
            Ok((uri.clone(), registry))
        };
        uris.iter().map(open).collect::<anyhow::Result<_>>().map(Self)
    }

    /// Keeps a record in all of them, whatever becomes of the others.
    pub fn stay(&self, records: &watch::Sender<NodeRecord>, check: Check) -> Registrations {
        let mut registrations = Registrations { tasks: JoinSet::new(), leave: CancellationToken::new() };
        for (uri, registry) in self.0.clone() {
            let (records, leave) = (records.subscribe(), registrations.leave.clone());
            registrations.tasks.spawn(async move {
                stay(&uri, &*registry, records, check, leave).await;
            });
        }
        registrations
    }
}

async fn stay(
    uri: &CatalogUri,
    registry: &dyn Registry,
    records: watch::Receiver<NodeRecord>,
    check: Check,
    leave: CancellationToken,
) {
    let node = records.borrow().id.clone();
    let too_late = async {
        leave.cancelled().await;
        tokio::time::sleep(FAREWELL_DEADLINE).await;
    };
    tokio::select! {
        result = stay_registered(registry, records, check, leave.cancelled()) => match result {
            Ok(()) => tracing::info!(%node, "no longer registered in {uri}"),
            Err(error) => {
                tracing::error!(%node, "not deregistered, so that the entry has to expire by itself: {error}");
            }
        },
        () = too_late => {
            tracing::error!(%node, "{uri} does not answer; the entry there has to expire by itself");
        }
    }
}

/// One record's entries. Dropping it leaves them to expire.
pub struct Registrations {
    tasks: JoinSet<()>,
    leave: CancellationToken,
}

impl Registrations {
    /// Deregisters everywhere; over within [`FAREWELL_DEADLINE`], whether every registry answered or not.
    pub async fn end(mut self) {
        self.leave.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}
