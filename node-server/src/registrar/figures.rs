//! The registrar's counters, as OpenMetrics text in a file: it listens nowhere. Names are stable.
//!
//! ```text
//! cbrowse_registrar_nodes{health}          nodes by what registries are told
//! cbrowse_registrar_checks_total{health}   checks by what they found
//! cbrowse_registry_…                       as in the registries' own module
//! ```

use std::{io, path::Path, sync::Arc};

use cbrowse_protocol::node::Health;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    health: String,
}

impl Labels {
    fn of(health: Health) -> Self {
        Self { health: health.to_string() }
    }
}

/// All counters; clones share them.
#[derive(Clone)]
pub struct Figures {
    all: Arc<Registry>,
    nodes: Family<Labels, Gauge>,
    checks: Family<Labels, Counter>,
    registries: cbrowse_registry::Figures,
}

impl Default for Figures {
    fn default() -> Self {
        let (nodes, checks) = (Family::<Labels, Gauge>::default(), Family::<Labels, Counter>::default());
        let registries = cbrowse_registry::Figures::default();
        let mut all = Registry::default();
        registries.register(&mut all);
        let own = all.sub_registry_with_prefix("cbrowse_registrar");
        own.register("nodes", "Nodes by the health that registries are told", nodes.clone());
        own.register("checks", "Checks by the health that they found", checks.clone());
        for health in Health::ALL {
            nodes.get_or_create(&Labels::of(health)).set(0);
        }
        Self { all: Arc::new(all), nodes, checks, registries }
    }
}

impl Figures {
    /// Where what is asked of registries is counted.
    pub fn registries(&self) -> &cbrowse_registry::Figures {
        &self.registries
    }

    /// A check was made.
    pub(super) fn checked(&self, found: Health) {
        self.checks.get_or_create(&Labels::of(found)).inc();
    }

    /// A node came, changed its standing, or went.
    pub(super) fn moved(&self, from: Option<Health>, to: Option<Health>) {
        if let Some(from) = from {
            self.nodes.get_or_create(&Labels::of(from)).dec();
        }
        if let Some(to) = to {
            self.nodes.get_or_create(&Labels::of(to)).inc();
        }
    }

    /// OpenMetrics text.
    pub fn encode(&self) -> String {
        self.registries.observe();
        let mut text = String::new();
        encode(&mut text, &self.all).expect("a string takes all that is written to it");
        text
    }

    /// Replaces a file with them, so that a reader sees the old or the new text and never half of it.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let fresh = path.with_file_name(name);
        std::fs::write(&fresh, self.encode())?;
        std::fs::rename(fresh, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_appear_in_the_file_under_their_stable_names() {
        let (figures, directory) = (Figures::default(), tempfile::tempdir().expect("a directory"));
        let path = directory.path().join("registrar.prom");
        figures.checked(Health::Critical);
        figures.moved(None, Some(Health::Passing));
        figures.moved(Some(Health::Passing), Some(Health::Critical));
        figures.write(&path).expect("writes");
        let text = std::fs::read_to_string(&path).expect("a file");
        for line in [
            "cbrowse_registrar_nodes{health=\"passing\"} 0",
            "cbrowse_registrar_nodes{health=\"critical\"} 1",
            "cbrowse_registrar_checks_total{health=\"critical\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        assert_eq!(std::fs::read_dir(directory.path()).expect("a directory").count(), 1, "nothing beside it");
    }
}
