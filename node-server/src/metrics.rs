//! The node's counters, as OpenMetrics text. Names are stable; `docs/registering.md` explains those about health and
//! registries.

use std::sync::atomic::AtomicU64;

use cbrowse_protocol::node::Health;
use cbrowse_registry::Figures;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

use crate::{health::Report, load::Load, objects};

type Float = Gauge<f64, AtomicU64>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Check {
    check: &'static str,
}

/// All counters of a node.
pub struct Metrics {
    registry: Registry,
    sessions: Gauge,
    capacity: Gauge,
    created: Family<Outcome, Counter>,
    reserved: Gauge,
    seats: Family<Outcome, Counter>,
    status_refused: Counter,
    frames: Counter,
    frame_bytes: Counter,
    object_bytes: Counter,
    cpu: Float,
    memory: Float,
    bytes_per_second: Float,
    bandwidth: Float,
    health: Family<Check, Gauge>,
    registries: Figures,
    store: objects::figures::Figures,
}

impl Metrics {
    /// Zeroes.
    pub fn new() -> Self {
        let mut root = Registry::default();
        let metrics = Self {
            sessions: Gauge::default(),
            capacity: Gauge::default(),
            created: Family::default(),
            reserved: Gauge::default(),
            seats: Family::default(),
            status_refused: Counter::default(),
            frames: Counter::default(),
            frame_bytes: Counter::default(),
            object_bytes: Counter::default(),
            cpu: Float::default(),
            memory: Float::default(),
            bytes_per_second: Float::default(),
            bandwidth: Float::default(),
            health: Family::default(),
            registries: Figures::default(),
            store: objects::figures::Figures::default(),
            registry: Registry::default(),
        };
        metrics.registries.register(&mut root);
        metrics.store.register(&mut root);
        let registry = root.sub_registry_with_prefix("cbrowse_node");
        registry.register("sessions", "Sessions that hold a seat", metrics.sessions.clone());
        registry.register("sessions_capacity", "Sessions admitted at most", metrics.capacity.clone());
        registry.register("sessions_created", "Sessions asked for, by outcome", metrics.created.clone());
        registry.register("seats_reserved", "Places kept for sessions to come", metrics.reserved.clone());
        registry.register("seats_asked", "Seats asked for, by outcome", metrics.seats.clone());
        let refused = "Questions for the status that came too often";
        registry.register("status_refused", refused, metrics.status_refused.clone());
        registry.register("frames_sent", "Frames sent to clients", metrics.frames.clone());
        registry.register_with_unit(
            "frames_sent",
            "Frames sent to clients",
            Unit::Bytes,
            metrics.frame_bytes.clone(),
        );
        let objects = metrics.object_bytes.clone();
        registry.register_with_unit(
            "objects_received",
            "Sealed objects taken from clients",
            Unit::Bytes,
            objects,
        );
        registry.register_with_unit(
            "cpu_busy",
            "Busy share of all processors",
            Unit::Other("ratio".into()),
            metrics.cpu.clone(),
        );
        registry.register_with_unit(
            "memory_used",
            "Used share of memory",
            Unit::Other("ratio".into()),
            metrics.memory.clone(),
        );
        registry.register(
            "network_bytes_per_second",
            "Bytes a second, sent and received together",
            metrics.bytes_per_second.clone(),
        );
        registry.register_with_unit(
            "bandwidth_used",
            "Used share of the line, where its rate is set",
            Unit::Other("ratio".into()),
            metrics.bandwidth.clone(),
        );
        let health = "Health by check: 0 passing, 1 warning, 2 critical";
        registry.register("health", health, metrics.health.clone());
        Self { registry: root, ..metrics }
    }

    /// Where what is asked of registries is counted.
    pub fn registries(&self) -> &Figures {
        &self.registries
    }

    /// Where a store counts what it keeps, and what it refuses.
    pub fn store(&self) -> &objects::figures::Figures {
        &self.store
    }

    /// A session was asked for.
    pub fn created(&self, succeeded: bool) {
        let outcome = if succeeded { "created" } else { "refused" };
        self.created.get_or_create(&Outcome { outcome }).inc();
    }

    /// A seat was asked for.
    pub fn asked_for_a_seat(&self, granted: bool) {
        let outcome = if granted { "granted" } else { "refused" };
        self.seats.get_or_create(&Outcome { outcome }).inc();
    }

    /// Somebody asked for the status too often.
    pub fn status_refused(&self) {
        self.status_refused.inc();
    }

    /// A frame left for a client.
    pub fn frame_sent(&self, bytes: u64) {
        self.frames.inc();
        self.frame_bytes.inc_by(bytes);
    }

    /// A client sent an object.
    pub fn object_received(&self, bytes: u64) {
        self.object_bytes.inc_by(bytes);
    }

    /// What is measured at the time of asking; seats are those of sessions, those reserved, and all.
    pub fn observe(&self, seats: (u32, u32, u32), load: Load, health: &Report) {
        let (sessions, reserved, capacity) = seats;
        self.sessions.set(sessions.into());
        self.reserved.set(reserved.into());
        self.bytes_per_second.set(load.bytes_per_second.unwrap_or_default() as f64);
        self.bandwidth.set(load.bandwidth.unwrap_or_default());
        self.capacity.set(capacity.into());
        self.cpu.set(load.cpu);
        self.memory.set(load.memory);
        for finding in &health.checks {
            self.health.get_or_create(&Check { check: finding.name }).set(level(finding.status));
        }
        self.registries.observe();
    }

    /// OpenMetrics text.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a string takes all that is written to it");
        text
    }
}

fn level(health: Health) -> i64 {
    match health {
        Health::Passing => 0,
        Health::Warning => 1,
        Health::Critical => 2,
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::{Thresholds, Usage, assess};

    #[test]
    fn counters_appear_under_their_stable_names() {
        let metrics = Metrics::new();
        metrics.created(true);
        metrics.frame_sent(10);
        let usage = Usage { memory: Some(0.91), ..Usage::default() };
        let health = assess(&Report::default(), usage, &Thresholds::default(), true);
        metrics.asked_for_a_seat(true);
        metrics.status_refused();
        metrics.store().added(7);
        metrics.store().refused("profile_quota");
        let load = Load { cpu: 0.5, memory: 0.25, bandwidth: Some(0.125), bytes_per_second: Some(1_000_000) };
        metrics.observe((1, 2, 8), load, &health);
        let text = metrics.encode();
        for line in [
            "cbrowse_node_sessions 1",
            "cbrowse_node_sessions_capacity 8",
            "cbrowse_node_seats_reserved 2",
            "cbrowse_node_seats_asked_total{outcome=\"granted\"} 1",
            "cbrowse_node_status_refused_total 1",
            "cbrowse_node_network_bytes_per_second 1000000.0",
            "cbrowse_node_bandwidth_used_ratio 0.125",
            "cbrowse_node_sessions_created_total{outcome=\"created\"} 1",
            "cbrowse_node_frames_sent_total 1",
            "cbrowse_node_frames_sent_bytes_total 10",
            "cbrowse_node_cpu_busy_ratio 0.5",
            "cbrowse_store_bytes 7",
            "cbrowse_store_objects 1",
            "cbrowse_store_evictions_total 0",
            "cbrowse_store_collected_total 0",
            "cbrowse_store_refusals_total{reason=\"profile_quota\"} 1",
            "cbrowse_node_health{check=\"cpu\"} 0",
            "cbrowse_node_health{check=\"memory\"} 1",
            "cbrowse_node_health{check=\"draining\"} 2",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }
}
