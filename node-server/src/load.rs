//! How busy the machine is: processor, memory and line, from the kernel's own counters.

mod line;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

pub use self::line::{LineRate, RateError};
use self::line::{Traffic, between, counters};

/// Shorter intervals measure the scheduler's noise, longer ones are stale when a client chooses by them.
const INTERVAL: Duration = Duration::from_secs(2);

/// Shares from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Load {
    /// Busy processor time over the last interval.
    pub cpu: f64,
    /// Memory that is not available.
    pub memory: f64,
    /// Used share of the line over the last interval; `None` where its rate is not stated.
    pub bandwidth: Option<f64>,
    /// Sent and received over the last interval; `None` where nothing counts them.
    pub bytes_per_second: Option<u64>,
}

impl Load {
    /// The largest share.
    pub fn worst(&self) -> f64 {
        self.cpu.max(self.memory).max(self.bandwidth.unwrap_or(0.0))
    }
}

/// The newest measurement and its age.
#[derive(Clone)]
pub struct LoadReader {
    line: Option<LineRate>,
    newest: Arc<Mutex<(Load, Instant)>>,
}

impl LoadReader {
    /// Starts at "idle"; [`LoadReader::measure`] keeps it true.
    pub fn new(line: Option<LineRate>) -> Self {
        let load = Load { memory: memory().unwrap_or(0.0), ..Load::default() };
        Self { line, newest: Arc::new(Mutex::new((load, Instant::now()))) }
    }

    /// The newest figures, and how old they are.
    pub fn read(&self) -> (Load, Duration) {
        let (load, at) = *self.newest.lock().expect("no holder panics");
        (load, at.elapsed())
    }

    /// Measures for ever.
    pub async fn measure(self) {
        let mut before = (processor().unwrap_or_default(), counters(), Instant::now());
        loop {
            tokio::time::sleep(INTERVAL).await;
            let now = (processor().unwrap_or_default(), counters(), Instant::now());
            let traffic = before.1.zip(now.1).and_then(|(one, other)| between(one, other, now.2 - before.2));
            let load = Load {
                cpu: busy_share(before.0, now.0),
                memory: memory().unwrap_or(0.0),
                bandwidth: self.line.zip(traffic).map(|(line, traffic)| line.share(traffic)),
                bytes_per_second: traffic.map(|Traffic { bytes_per_second, .. }| bytes_per_second),
            };
            before = now;
            *self.newest.lock().expect("no holder panics") = (load, Instant::now());
        }
    }
}

/// Idle and total jiffies since boot (`man 5 proc`, /proc/stat).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Jiffies {
    idle: u64,
    total: u64,
}

fn processor() -> Option<Jiffies> {
    parse_stat(&std::fs::read_to_string("/proc/stat").ok()?)
}

fn parse_stat(text: &str) -> Option<Jiffies> {
    let numbers: Vec<u64> = text
        .lines()
        .next()?
        .strip_prefix("cpu ")?
        .split_whitespace()
        // Guest time is already part of user time.
        .take(8)
        .map_while(|word| word.parse().ok())
        .collect();
    let idle = numbers.get(3)? + numbers.get(4).copied().unwrap_or(0);
    Some(Jiffies { idle, total: numbers.iter().sum() })
}

fn busy_share(before: Jiffies, now: Jiffies) -> f64 {
    let total = now.total.saturating_sub(before.total);
    let idle = now.idle.saturating_sub(before.idle);
    if total == 0 { 0.0 } else { 1.0 - (idle as f64 / total as f64).min(1.0) }
}

fn memory() -> Option<f64> {
    parse_meminfo(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

fn parse_meminfo(text: &str) -> Option<f64> {
    let field = |name: &str| -> Option<f64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim_start_matches(':').split_whitespace().next()?.parse().ok()
    };
    Some(1.0 - field("MemAvailable")? / field("MemTotal")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_part_is_the_load() {
        let load = Load { cpu: 0.2, memory: 0.3, ..Load::default() };
        assert!((load.worst() - 0.3).abs() < 1e-9);
        assert!((Load { bandwidth: Some(0.9), ..load }.worst() - 0.9).abs() < 1e-9);
    }

    #[test]
    fn shares_come_from_the_kernels_counters() {
        let before = parse_stat("cpu  100 0 100 700 100 0 0 0 0 0\ncpu0 …").expect("stat");
        assert_eq!(before, Jiffies { idle: 800, total: 1000 });
        let now = Jiffies { idle: 850, total: 1100 };
        assert!((busy_share(before, now) - 0.5).abs() < 1e-9);
        assert!(busy_share(now, now).abs() < 1e-9);
        // A counter that jumps back (a moved virtual machine) is idleness, not a panic.
        assert!((0.0..=1.0).contains(&busy_share(now, before)));
        let memory =
            parse_meminfo("MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 250 kB\n").expect("meminfo");
        assert!((memory - 0.75).abs() < 1e-9);
    }
}
