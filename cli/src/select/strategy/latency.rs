//! `latency`, and `weighted`: the least score first, nothing drawn.
//!
//! Source: the textbook argmin. Everybody who sees the same figures goes to the same node; see docs/simulation.md for what
//! that does to a fleet.

/// No place is given away before the scores decide.
pub(super) fn order() -> Vec<usize> {
    Vec::new()
}
