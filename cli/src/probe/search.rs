//! What a probing is for, and what is known before it begins.

use std::time::Duration;

use super::{
    Probed, plan,
    race::Goal,
    statistics::Measurement,
    track::{Method, Reach},
};

/// What an earlier probing on the same network found of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prior {
    /// The figures then. `answered` and `lost` count all probings that are still remembered. With none `answered`, the
    /// node was silent for the time that stands as `min` and `p50`: it is farther than that, or dead.
    pub measured: Measurement,
    /// By which method they were taken.
    pub method: Method,
    /// Its port accepted a connection then.
    pub served: bool,
    /// How long ago that was.
    pub age: Duration,
}

impl Prior {
    /// What is to be remembered of a node that was just probed; `None` when nothing was found out.
    pub fn of(node: &Probed) -> Option<Self> {
        let silent =
            |waited| Measurement { min: waited, p50: waited, jitter: Duration::ZERO, answered: 0, lost: 0 };
        Some(Self {
            measured: node.rtt.or_else(|| node.silent_for.map(silent))?,
            method: if node.method == "tcp" { Method::Tcp } else { Method::Icmp },
            served: node.reach == Reach::Serving,
            age: Duration::ZERO,
        })
    }
}

/// What a probing is for, and what is known already.
#[derive(Debug, Clone)]
pub struct Search {
    /// What it is to find out.
    pub goal: Goal,
    /// It ends after this at the latest.
    pub deadline: Duration,
    /// What is known of each node, in the order of the records; missing ones count as unknown.
    pub priors: Vec<Option<Prior>>,
    /// The present node's place among the records: it is measured well, however near others were.
    pub present: Option<usize>,
}

impl Search {
    /// A search by somebody who knows nothing yet.
    pub fn new(goal: Goal) -> Self {
        Self { goal, deadline: plan::DEADLINE, priors: Vec::new(), present: None }
    }

    /// The same, with another deadline.
    #[must_use]
    pub fn within(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::select::tests::node;

    #[test]
    fn what_answered_is_remembered_by_its_figures_and_what_was_silent_by_how_long() {
        let near = Probed { method: "icmp+tcp", ..node("near", "eu", 20) };
        let prior = Prior::of(&near).expect("measured");
        assert_eq!((Some(prior.measured), prior.method, prior.served), (near.rtt, Method::Icmp, true));
        assert_eq!(
            Prior::of(&Probed { method: "tcp", ..near.clone() }).map(|prior| prior.method),
            Some(Method::Tcp)
        );
        let waited = Duration::from_millis(130);
        let far = Probed { rtt: None, reach: Reach::NotAwaited, silent_for: Some(waited), ..near };
        let prior = Prior::of(&far).expect("asked");
        assert_eq!((prior.measured.min, prior.measured.p50, prior.measured.answered), (waited, waited, 0));
        assert!(!prior.served);
        assert_eq!(Prior::of(&Probed { silent_for: None, ..far }), None, "nobody asked it");
    }
}
