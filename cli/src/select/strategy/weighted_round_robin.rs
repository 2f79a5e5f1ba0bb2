//! `weighted-round-robin`: each node as often as its weight says, evenly interleaved.
//!
//! Source: nginx's smooth weighted round-robin (2012): at each turn every node gains its weight, the one with the most is
//! taken and pays the sum of all weights. Weights 5, 1, 1 give a a b a c a a. Who remembers nothing draws the first node by
//! weight: all new users would take the heaviest.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use cbrowse_protocol::id::NodeId;

use super::Field;
use crate::{
    probe::Probed,
    select::{Circumstances, Dice, Memory},
};

/// What each node has saved up.
pub(in crate::select) type Turns = BTreeMap<NodeId, i64>;

pub(super) fn order(field: &Field<'_>, circumstances: &mut Circumstances<'_>) -> Vec<usize> {
    let mut order = field.by_id();
    let Memory { turns, last, .. } = circumstances.memory;
    let is_new = !order.iter().any(|index| turns.contains_key(&field.nodes[*index].record.id));
    if is_new {
        let drawn = drawn_by_weight(field.nodes, &order, circumstances.dice);
        order.rotate_left(drawn);
        return order;
    }
    // Of two that saved the same, the first one after the last that was taken: by id alone, the second choice of all new
    // users would be the same.
    if let Some(last) = last {
        let after = order.partition_point(|index| field.nodes[*index].record.id <= *last);
        order.rotate_left(after);
    }
    let saved = |index: &usize| {
        let node = &field.nodes[*index];
        turns.get(&node.record.id).copied().unwrap_or(0).saturating_add(weight(node))
    };
    order.sort_by_cached_key(|index| Reverse(saved(index)));
    order
}

/// Position of a node drawn by its weight; 0 where there is none.
fn drawn_by_weight(nodes: &[Probed], order: &[usize], dice: &mut dyn Dice) -> usize {
    let weight = |index: &usize| usize::from(nodes[*index].record.weight.max(1));
    let total: usize = order.iter().map(weight).sum();
    if total == 0 {
        return 0;
    }
    let mut drawn = dice.below(total);
    let at = order.iter().position(|index| {
        let is_drawn = drawn < weight(index);
        drawn = drawn.saturating_sub(weight(index));
        is_drawn
    });
    at.unwrap_or(0)
}

fn weight(node: &Probed) -> i64 {
    i64::from(node.record.weight.max(1))
}

/// Everybody gains, the chosen one pays. Who is not eligible just now neither gains nor loses, as in nginx; who has left the
/// catalog is forgotten, so that nobody comes back after a week with a week's turns.
pub(super) fn advance(turns: &mut Turns, nodes: &[Probed], eligible: &[usize], chosen: usize) {
    let total: i64 = eligible.iter().map(|index| weight(&nodes[*index])).sum();
    for index in eligible {
        let node = &nodes[*index];
        let paid = if *index == chosen { total } else { 0 };
        let gain = weight(node).saturating_sub(paid);
        match turns.get_mut(&node.record.id) {
            Some(saved) => *saved = saved.saturating_add(gain),
            None => {
                turns.insert(node.record.id.clone(), gain);
            }
        }
    }
    if turns.len() > eligible.len() {
        let listed: BTreeSet<&NodeId> = nodes.iter().map(|node| &node.record.id).collect();
        turns.retain(|id, _| listed.contains(id));
    }
}
