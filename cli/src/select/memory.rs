//! What some strategies remember from one choice to the next. Plain data: the caller keeps it, a choice only reads it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use cbrowse_protocol::id::NodeId;

use super::{
    Choice,
    strategy::{Strategy, p2c::Peaks, weighted_round_robin::Turns},
};
use crate::probe::Probed;

/// Empty for a user who has chosen nothing yet.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// `round-robin` and `weighted-round-robin`: the node that was taken last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) last: Option<NodeId>,
    /// `weighted-round-robin`: what each node has saved up.
    #[serde(skip_serializing_if = "Turns::is_empty")]
    pub(super) turns: Turns,
    /// `p2c`: latencies of the nodes that were used.
    #[serde(skip_serializing_if = "Peaks::is_empty")]
    pub(super) peaks: Peaks,
}

impl Memory {
    /// Remembers what `strategy` needs next time, once the first node of `choice` has been taken, at `now` since the Unix
    /// epoch.
    pub fn note(&mut self, strategy: Strategy, nodes: &[Probed], choice: &Choice, now: Duration) {
        if let Some(chosen) = choice.chosen() {
            strategy.note(self, nodes, &choice.order, chosen, now);
        }
    }
}
