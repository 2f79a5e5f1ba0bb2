//! `weighted-round-robin`: each node as often as its weight says, evenly interleaved.
//!
//! Source: nginx's smooth weighted round-robin (2012): at each turn every node gains its weight, the one with the most is
//! taken and pays the sum of all weights. Weights 5, 1, 1 give a a b a c a a. Who remembers nothing draws the first node by
//! weight: all new users would take the heaviest.

use std::{cmp::Reverse, collections::BTreeMap};

use cbrowse_protocol::id::NodeId;

use super::Field;
use crate::{probe::Probed, select::Circumstances};

/// What each node has saved up.
pub(in crate::select) type Turns = BTreeMap<NodeId, i64>;

pub(super) fn order(field: &Field<'_>, circumstances: &mut Circumstances<'_>) -> Vec<usize> {
    let mut order = field.by_id();
    let turns = &circumstances.memory.turns;
    let is_new = !order.iter().any(|index| turns.contains_key(&field.nodes[*index].record.id));
    let saved = |index: &usize| {
        let record = &field.nodes[*index].record;
        turns.get(&record.id).copied().unwrap_or(0).saturating_add(weight(&field.nodes[*index]))
    };
    // Stable: of two that saved the same, the first by id.
    order.sort_by_cached_key(|index| Reverse(saved(index)));
    if is_new && !order.is_empty() {
        let total: i64 = order.iter().map(|index| weight(&field.nodes[*index])).sum();
        let mut drawn = circumstances.dice.below(usize::try_from(total).unwrap_or(usize::MAX));
        let at = order.iter().position(|index| {
            let weight = usize::try_from(weight(&field.nodes[*index])).unwrap_or(0);
            let is_drawn = drawn < weight;
            drawn = drawn.saturating_sub(weight);
            is_drawn
        });
        let at = at.unwrap_or(0);
        order[..=at].rotate_right(1);
    }
    order
}

fn weight(node: &Probed) -> i64 {
    i64::from(node.record.weight.max(1))
}

/// Everybody gains, the chosen one pays. Nodes that are not eligible keep nothing: a node that was away for a week must not
/// come back with a week's turns.
pub(super) fn advance(turns: &mut Turns, nodes: &[Probed], eligible: &[usize], chosen: usize) {
    let total: i64 = eligible.iter().map(|index| weight(&nodes[*index])).sum();
    let next = eligible.iter().map(|index| {
        let node = &nodes[*index];
        let saved = turns.get(&node.record.id).copied().unwrap_or(0);
        let paid = if *index == chosen { total } else { 0 };
        (node.record.id.clone(), saved.saturating_add(weight(node)).saturating_sub(paid))
    });
    *turns = next.collect();
}
