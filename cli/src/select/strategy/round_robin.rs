//! `round-robin`: each choice takes the node after the last one, by id.
//!
//! Source: the scheduler of the same name. A counter would skip whenever the fleet changes, so what is remembered is the
//! last node's id. Who remembers nothing begins at a drawn place: all new users would begin at the same node.

use super::Field;
use crate::select::Circumstances;

pub(super) fn order(field: &Field<'_>, circumstances: &mut Circumstances<'_>) -> Vec<usize> {
    let mut order = field.by_id();
    if order.is_empty() {
        return order;
    }
    let start = match &circumstances.memory.last {
        Some(last) => order.partition_point(|index| field.nodes[*index].record.id <= *last) % order.len(),
        None => circumstances.dice.below(order.len()),
    };
    order.rotate_left(start);
    order
}
