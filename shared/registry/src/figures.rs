//! Counters of what registries were asked and how they answered. Names are stable.
//!
//! ```text
//! cbrowse_registry_requests_total{registry}                   questions, those that the registry holds back too
//! cbrowse_registry_failures_total{registry,cause}             of those, the failed ones
//! cbrowse_registry_request_duration_seconds{registry}         histogram; without those that are held back
//! cbrowse_registry_instances{registry}                        nodes known
//! cbrowse_registry_watch_lag_seconds{registry}                since a watch last had word: what is known is at most this old
//! cbrowse_registry_registered{registry}                       entries of ours that the registry holds
//! ```

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, atomic::AtomicU64},
    time::{Duration, Instant},
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};
use tokio::sync::Notify;

use crate::error::Cause;

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, EncodeLabelSet)]
struct Labels {
    registry: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FailureLabels {
    registry: String,
    cause: &'static str,
}

type Latency = Family<Labels, Histogram, fn() -> Histogram>;

/// From one millisecond, a registry on this machine, to eight seconds, beyond every deadline of a listing.
fn latency_buckets() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 14))
}

/// All counters; clones share them.
#[derive(Clone)]
pub struct Figures {
    requests: Family<Labels, Counter>,
    failures: Family<FailureLabels, Counter>,
    latency: Latency,
    instances: Family<Labels, Gauge>,
    registered: Family<Labels, Gauge>,
    lag: Family<Labels, Gauge<f64, AtomicU64>>,
    heard: Arc<Mutex<BTreeMap<Labels, Instant>>>,
    /// Whoever waits for word from any registry.
    word: Arc<Notify>,
}

impl Default for Figures {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            failures: Family::default(),
            latency: Family::new_with_constructor(latency_buckets),
            instances: Family::default(),
            registered: Family::default(),
            lag: Family::default(),
            heard: Arc::default(),
            word: Arc::default(),
        }
    }
}

impl Figures {
    /// Makes them part of a program's metrics.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("cbrowse_registry");
        registry.register("requests", "Questions to a registry", self.requests.clone());
        registry.register("failures", "Questions to a registry that failed", self.failures.clone());
        registry.register_with_unit(
            "request_duration",
            "How long a registry took to answer",
            Unit::Seconds,
            self.latency.clone(),
        );
        registry.register("instances", "Nodes known from a registry", self.instances.clone());
        registry.register("registered", "Entries of ours that a registry holds", self.registered.clone());
        let lag = "How long ago a watch last had word from its registry";
        registry.register_with_unit("watch_lag", lag, Unit::Seconds, self.lag.clone());
    }

    /// Brings up to date what grows by itself; due before the counters are read.
    pub fn observe(&self) {
        for (labels, at) in &*self.heard.lock().expect("no holder panics") {
            self.lag.get_or_create(labels).set(at.elapsed().as_secs_f64());
        }
    }

    /// Ends when any watch has had word, from this call on.
    pub(crate) fn word(&self) -> impl Future<Output = ()> + Send + use<> {
        Arc::clone(&self.word).notified_owned()
    }

    /// The counters of one registry.
    pub(crate) fn meter(&self, registry: &impl ToString) -> Meter {
        Meter { figures: self.clone(), labels: Labels { registry: registry.to_string() } }
    }
}

impl fmt::Debug for Figures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Figures")
    }
}

/// The counters of one registry. Only adapters count; others hand it on ([`crate::Registry::meter`]).
#[derive(Debug, Clone)]
pub struct Meter {
    figures: Figures,
    labels: Labels,
}

impl Meter {
    /// The registry's name; holds no secret.
    pub(crate) fn name(&self) -> &str {
        &self.labels.registry
    }

    /// A question was answered, after `took` unless the registry held it back.
    pub(crate) fn answered(&self, took: Option<Duration>) {
        self.figures.requests.get_or_create(&self.labels).inc();
        if let Some(took) = took {
            self.figures.latency.get_or_create(&self.labels).observe(took.as_secs_f64());
        }
    }

    /// A question was not answered, or badly.
    pub(crate) fn failed(&self, cause: &Cause) {
        self.figures.requests.get_or_create(&self.labels).inc();
        let labels = FailureLabels { registry: self.labels.registry.clone(), cause: cause.code() };
        self.figures.failures.get_or_create(&labels).inc();
    }

    /// How many nodes are known.
    pub(crate) fn knows(&self, instances: usize) {
        self.figures.instances.get_or_create(&self.labels).set(i64::try_from(instances).unwrap_or(i64::MAX));
    }

    /// A watch had word.
    pub(crate) fn heard(&self) {
        self.figures.heard.lock().expect("no holder panics").insert(self.labels.clone(), Instant::now());
        self.figures.word.notify_waiters();
    }

    /// When it last had.
    pub(crate) fn last_heard(&self) -> Option<Instant> {
        self.figures.heard.lock().expect("no holder panics").get(&self.labels).copied()
    }

    /// An entry of ours is in the registry, or no longer.
    pub(crate) fn registered(&self, is: bool) {
        let gauge = self.figures.registered.get_or_create(&self.labels);
        if is {
            gauge.inc()
        } else {
            gauge.dec()
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_appear_under_their_stable_names() {
        let (figures, mut registry) = (Figures::default(), Registry::default());
        figures.register(&mut registry);
        let meter = figures.meter(&"consul://");
        meter.answered(Some(Duration::from_millis(3)));
        meter.answered(None);
        meter.failed(&Cause::Unreachable("refused".into()));
        meter.knows(7);
        meter.heard();
        meter.registered(true);
        figures.observe();
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("a string takes all");
        for line in [
            "cbrowse_registry_requests_total{registry=\"consul://\"} 3",
            "cbrowse_registry_failures_total{registry=\"consul://\",cause=\"unreachable\"} 1",
            "cbrowse_registry_request_duration_seconds_count{registry=\"consul://\"} 1",
            "cbrowse_registry_instances{registry=\"consul://\"} 7",
            "cbrowse_registry_registered{registry=\"consul://\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        assert!(text.contains("cbrowse_registry_watch_lag_seconds{registry=\"consul://\"} "), "{text}");
    }
}
