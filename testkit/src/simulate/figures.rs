//! What is counted, and when: only once as many sessions go as come.

/// What became of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figures {
    /// Mean predicted response, from the true load at the moment of attaching.
    pub mean_ms: f64,
    /// Its 99th percentile.
    pub p99_ms: f64,
    /// Sessions asked of the busiest node over the mean, averaged over time. Asked, not admitted: full nodes refuse, which
    /// would make a herd look small.
    pub imbalance: f64,
    /// The same at the worst second.
    pub worst_imbalance: f64,
    /// Seats that were refused because the node was full or gone.
    pub refused: u64,
    /// Clients that found no seat at all.
    pub unserved: u64,
    /// Sessions that lost their node and began again elsewhere.
    pub moved: u64,
    /// Choices made, those before the counting began among them.
    pub choices: u64,
}

/// Collects them.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    responses_ms: Vec<f32>,
    imbalances: Vec<f64>,
    /// What needs no arithmetic at the end.
    pub counts: Figures,
}

impl Ledger {
    /// A client attached, and this is how soon it sees what it does.
    pub fn attached(&mut self, ms: f64) {
        #[expect(clippy::cast_possible_truncation, reason = "seven digits of a millisecond suffice")]
        self.responses_ms.push(ms as f32);
    }

    /// One second's sessions as asked of each node that is up.
    pub fn sample(&mut self, asked: impl Iterator<Item = u32>) {
        let (mut most, mut sum, mut nodes) = (0u32, 0u64, 0u32);
        for asked in asked {
            most = most.max(asked);
            sum += u64::from(asked);
            nodes += 1;
        }
        if sum > 0 {
            self.imbalances.push(f64::from(most) * f64::from(nodes) / sum as f64);
        }
    }

    /// The sums.
    pub fn close(mut self) -> Figures {
        let count = self.responses_ms.len();
        let sum: f64 = self.responses_ms.iter().map(|ms| f64::from(*ms)).sum();
        let p99 = if count == 0 {
            0.0
        } else {
            let at = (count * 99 / 100).min(count - 1);
            f64::from(*self.responses_ms.select_nth_unstable_by(at, f32::total_cmp).1)
        };
        let mean = self.imbalances.iter().sum::<f64>() / self.imbalances.len().max(1) as f64;
        Figures {
            mean_ms: sum / count.max(1) as f64,
            p99_ms: p99,
            imbalance: mean,
            worst_imbalance: self.imbalances.iter().copied().fold(0.0, f64::max),
            ..self.counts
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_of_a_known_run() {
        let mut ledger = Ledger::default();
        (1..=100).for_each(|ms| ledger.attached(f64::from(ms)));
        ledger.sample([1, 2, 3].into_iter());
        ledger.sample([2, 2, 2].into_iter());
        ledger.sample([0, 0, 0].into_iter());
        let figures = ledger.close();
        assert!((figures.mean_ms - 50.5).abs() < 1e-9);
        assert!((figures.p99_ms - 100.0).abs() < 1e-9);
        assert!((figures.imbalance - 1.25).abs() < 1e-9);
        assert!((figures.worst_imbalance - 1.5).abs() < 1e-9);
    }
}
