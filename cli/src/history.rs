//! What earlier probings found on this network: figures for the next one, and where this user was last.
//!
//! A history is a help, never a need: whatever is wrong with it costs a warning, once.

pub mod content;
pub mod fading;
pub mod store;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    fmt::Display,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use cbrowse_protocol::{id::NodeId, node::NodeRecord};
use tokio::task::JoinSet;

use self::{
    content::{Content, Entry, Home, NodeName, now},
    fading::Found,
    store::{Addition, Store},
};
use crate::{
    context::Paths,
    network::{Network, NetworkKey, Salt},
    output::Output,
    private_file::FileError,
    probe::{Prior, Probed, Report},
    survey::Probing,
};

/// The history of all networks, for one command.
#[derive(Debug)]
pub struct History {
    paths: Paths,
    output: Output,
    store: Store,
    warned: Arc<AtomicBool>,
    /// Additions that are being written.
    beside: Mutex<JoinSet<()>>,
}

/// What is remembered of the present network. Plain data.
#[derive(Debug, Clone, Default)]
pub struct Recalled {
    /// Where this machine is; `None` where no history is kept.
    network: Option<(Network, NetworkKey)>,
    content: Arc<Content>,
    index: Arc<HashMap<NodeId, usize>>,
    now: u64,
    /// What is found now replaces what was known.
    anew: bool,
}

impl Recalled {
    /// What `content` says at `at`, seconds since the Unix epoch.
    pub fn new(content: Content, at: u64) -> Self {
        let index = content.nodes.iter().enumerate().map(|(index, entry)| (entry.node.id.clone(), index));
        Self { index: Arc::new(index.collect()), content: Arc::new(content), now: at, ..Self::default() }
    }

    fn entry(&self, record: &NodeRecord) -> Option<&Entry> {
        let entry = &self.content.nodes[*self.index.get(&record.id)?];
        entry.node.is(record).then_some(entry)
    }

    /// What is known of a node; nothing of one that has moved or is somebody else now.
    pub fn prior(&self, record: &NodeRecord) -> Option<Prior> {
        self.entry(record).map(|entry| entry.prior(self.now))
    }

    /// Where that was measured.
    pub fn address(&self, record: &NodeRecord) -> Option<IpAddr> {
        self.entry(record).map(|entry| entry.ip)
    }

    /// Whether this is the node that this user was on last.
    pub fn is_home(&self, record: &NodeRecord) -> bool {
        self.content.home.as_ref().is_some_and(|home| home.node.is(record))
    }

    /// Everything that is remembered, and how old it is.
    pub fn all(&self) -> impl Iterator<Item = (&Entry, Prior)> {
        self.content.nodes.iter().map(|entry| (entry, entry.prior(self.now)))
    }

    /// The node that this user was on last, and how long ago that was.
    pub fn home(&self) -> Option<(&NodeName, Duration)> {
        let home = self.content.home.as_ref()?;
        Some((&home.node, Duration::from_secs(self.now.saturating_sub(home.at))))
    }

    /// The opaque name of the present network.
    pub fn network(&self) -> Option<&NetworkKey> {
        self.network.as_ref().map(|(_, key)| key)
    }
}

impl History {
    /// The history among the user's caches.
    pub fn of(paths: &Paths, output: &Output) -> Self {
        Self {
            paths: paths.clone(),
            output: output.clone(),
            store: Store::new(paths.cache.join("history")),
            warned: Arc::default(),
            beside: Mutex::default(),
        }
    }

    /// What is remembered of the network that this machine is on.
    pub fn recall(&self) -> Recalled {
        let recalled = self.blank();
        let Some((_, key)) = &recalled.network else { return recalled };
        let content = self.store.load(key, recalled.now).unwrap_or_else(|error| {
            warn(&self.warned, &self.output, &error);
            Content::default()
        });
        Recalled { network: recalled.network, ..Recalled::new(content, recalled.now) }
    }

    /// Nothing, as for somebody who is here for the first time; what is found now replaces what was known.
    pub fn forgotten(&self) -> Recalled {
        Recalled { anew: true, ..self.blank() }
    }

    /// What a probing may know from the start.
    pub fn recall_for(&self, probing: Probing) -> Recalled {
        if probing == Probing::Fresh { self.forgotten() } else { self.recall() }
    }

    fn blank(&self) -> Recalled {
        let network = Network::now();
        let key = Salt::of_user(&self.paths).map(|salt| network.key(&salt));
        let key = key.map_err(|error| warn(&self.warned, &self.output, &error)).ok();
        Recalled { network: key.map(|key| (network, key)), now: now(), ..Recalled::default() }
    }

    /// Notes what a probing found that began with `recalled`, beside whatever comes next.
    pub fn note(&self, recalled: &Recalled, report: &Report) {
        let found: Vec<Found> = report.nodes.iter().filter_map(Found::of).collect();
        if !found.is_empty() {
            self.add(recalled, Addition { found, home: None, anew: recalled.anew });
        }
    }

    /// Notes that a session began on this node.
    pub fn note_home(&self, recalled: &Recalled, node: &Probed) {
        let home = Home { node: NodeName::of(&node.record), at: now() };
        self.add(recalled, Addition { home: Some(home), ..Addition::default() });
    }

    fn add(&self, recalled: &Recalled, addition: Addition) {
        let Some((before, _)) = recalled.network.clone() else { return };
        let (paths, store, output, warned) =
            (self.paths.clone(), self.store.clone(), self.output.clone(), self.warned.clone());
        let write = move || {
            let network = Network::now();
            // Whoever changed networks meanwhile has measured neither of them.
            if !network.continues(&before) {
                return;
            }
            let added =
                Salt::of_user(&paths).and_then(|salt| store.add(&network.key(&salt), &addition, now()));
            if let Err(error) = added {
                warn(&warned, &output, &error);
            }
        };
        self.beside.lock().unwrap_or_else(PoisonError::into_inner).spawn_blocking(write);
    }

    /// Waits until everything is written.
    pub async fn settle(&self) {
        let writing = std::mem::take(&mut *self.beside.lock().unwrap_or_else(PoisonError::into_inner));
        writing.join_all().await;
    }

    /// Forgets the present network, or all of them; how many were known.
    pub fn forget(&self, all: bool) -> Result<usize, FileError> {
        if all {
            return self.store.forget(None);
        }
        let salt = Salt::of_user(&self.paths)?;
        self.store.forget(Some(&Network::now().key(&salt)))
    }

    /// How many networks are remembered.
    pub fn networks(&self) -> usize {
        self.store.networks()
    }
}

/// Once is enough: whatever is wrong will be wrong the next time, too.
fn warn(warned: &AtomicBool, output: &Output, error: &dyn Display) {
    if !warned.swap(true, Ordering::Relaxed) {
        output.warn(format_args!("earlier probings cannot be used as they should: {error}"));
    }
}
