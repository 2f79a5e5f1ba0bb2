//! The newest judgement, for everybody who asks or waits for a change, and the task that measures.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use cbrowse_protocol::node::Health;
use tokio::sync::watch;

use super::{Disk, Report, Thresholds, Usage, assess};
use crate::load::LoadReader;

/// How often a node is judged, as often as its load is measured.
const INTERVAL: Duration = Duration::from_secs(2);
/// Over how many of these a processor's load is averaged: half a minute. Fewer: a page that loads is a warning; more:
/// a node that has been short of processor for long is not told apart from one that just had a busy moment.
const WINDOW: usize = 15;

/// Judges, remembers and tells.
#[derive(Debug)]
pub struct Monitor {
    state: Mutex<State>,
    report: watch::Sender<Report>,
}

#[derive(Debug)]
struct State {
    usage: Usage,
    thresholds: Thresholds,
    draining: bool,
}

impl Monitor {
    /// Nothing is measured yet.
    pub fn new(thresholds: Thresholds) -> Self {
        let state = State { usage: Usage::default(), thresholds, draining: false };
        let report = assess(&Report::default(), state.usage, &state.thresholds, false);
        Self { state: Mutex::new(state), report: watch::Sender::new(report) }
    }

    /// The newest judgement.
    pub fn report(&self) -> Report {
        self.report.borrow().clone()
    }

    /// The newest judgement's outcome.
    pub fn status(&self) -> Health {
        self.report.borrow().status
    }

    /// Told whenever a judgement is made, changed or not.
    pub fn subscribe(&self) -> watch::Receiver<Report> {
        self.report.subscribe()
    }

    /// Something was measured.
    pub fn observe(&self, usage: Usage) {
        self.change(|state| state.usage = usage);
    }

    /// Other thresholds count from now on.
    pub fn set(&self, thresholds: Thresholds) {
        self.change(|state| state.thresholds = thresholds);
    }

    /// The node is about to end.
    pub fn drain(&self) {
        self.change(|state| state.draining = true);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        let before = self.report.borrow().clone();
        let after = assess(&before, state.usage, &state.thresholds, state.draining);
        // A drain is told by whoever began it.
        if before.status != after.status && !after.is_draining() {
            match after.status {
                Health::Passing => tracing::info!("health: {} again", after.status),
                Health::Warning | Health::Critical => {
                    tracing::warn!("health: {}: {}", after.status, after.troubles());
                }
            }
        }
        self.report.send_replace(after);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The mean of the newest figures. It begins with idleness: what lasts shorter than the window weighs less.
#[derive(Debug)]
pub struct Window(VecDeque<f64>);

impl Default for Window {
    fn default() -> Self {
        Self([0.0; WINDOW].into())
    }
}

impl Window {
    /// Takes a figure and answers the mean.
    pub fn push(&mut self, figure: f64) -> f64 {
        self.0.pop_front();
        self.0.push_back(figure);
        self.0.iter().sum::<f64>() / WINDOW as f64
    }
}

/// Measures and judges for ever, at once and then at intervals.
pub async fn keep(monitor: &Monitor, load: &LoadReader, mut disk: Disk) {
    let mut processor = Window::default();
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (load, _) = load.read();
        monitor.observe(Usage {
            cpu: Some(processor.push(load.cpu)),
            memory: Some(load.memory),
            disk: disk.used().await,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lasts_is_a_busy_processor() {
        let mut window = Window::default();
        for _ in 1..WINDOW {
            assert!(window.push(1.0) < 0.95);
        }
        assert!((window.push(1.0) - 1.0).abs() < 1e-9);
        for _ in 1..WINDOW {
            window.push(0.0);
        }
        assert!(window.push(0.0).abs() < 1e-9);
    }

    #[test]
    fn other_thresholds_and_a_drain_are_felt_at_once() {
        let monitor = Monitor::new(Thresholds::default());
        let changes = monitor.subscribe();
        monitor.observe(Usage { memory: Some(0.5), ..Usage::default() });
        assert_eq!(monitor.status(), Health::Passing);
        let strict = "40%,45%".parse().expect("thresholds");
        monitor.set(Thresholds { memory: strict, ..Thresholds::default() });
        assert_eq!(monitor.status(), Health::Critical);
        monitor.set(Thresholds::default());
        assert_eq!(monitor.status(), Health::Passing);
        monitor.drain();
        assert_eq!(monitor.status(), Health::Critical);
        assert!(changes.has_changed().expect("a sender"));
    }
}
