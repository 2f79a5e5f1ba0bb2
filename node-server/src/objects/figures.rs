//! What a node's store counts, for `/metrics`.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

/// Counters of a store; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    bytes: Gauge,
    objects: Gauge,
    evictions: Counter,
    collected: Counter,
    refusals: Family<Reason, Counter>,
}

impl Figures {
    /// Makes them part of a node's metrics.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("cbrowse_store");
        let bytes = "Sealed objects on this node's disk";
        registry.register("bytes", bytes, self.bytes.clone());
        registry.register("objects", "Number of sealed objects on this node's disk", self.objects.clone());
        let evictions = "Objects that left the cache of a shared store";
        registry.register("evictions", evictions, self.evictions.clone());
        let collected = "Objects removed because no retain list of their owner names them";
        registry.register("collected", collected, self.collected.clone());
        registry.register("refusals", "Objects refused, by reason", self.refusals.clone());
    }

    /// What was measured.
    pub fn set(&self, bytes: u64, objects: u64) {
        self.bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.objects.set(i64::try_from(objects).unwrap_or(i64::MAX));
    }

    /// One more object.
    pub fn added(&self, bytes: u64) {
        self.bytes.inc_by(i64::try_from(bytes).unwrap_or(0));
        self.objects.inc();
    }

    /// One fewer.
    pub fn removed(&self, bytes: u64) {
        self.bytes.dec_by(i64::try_from(bytes).unwrap_or(0));
        self.objects.dec();
    }

    /// One left the cache.
    pub fn evicted(&self, bytes: u64) {
        self.evictions.inc();
        self.removed(bytes);
    }

    /// One was garbage.
    pub fn collected(&self, bytes: u64) {
        self.collected.inc();
        self.removed(bytes);
    }

    /// One was refused.
    pub fn refused(&self, reason: &'static str) {
        self.refusals.get_or_create(&Reason { reason }).inc();
    }
}
