//! What a probing is for, and what is known before it begins.

use std::time::Duration;

use super::{plan, race::Goal, statistics::Measurement, track::Method};

/// What an earlier probing on the same network found of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prior {
    /// The figures then. `answered` and `lost` count all probings that are still remembered.
    pub measured: Measurement,
    /// By which method they were taken.
    pub method: Method,
    /// Its port accepted a connection then.
    pub served: bool,
    /// How long ago that was.
    pub age: Duration,
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
