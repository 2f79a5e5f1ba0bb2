//! `consistent-hash`: the same profile goes to the same node, whose cache holds its chunks already.
//!
//! Source: [`super::maglev`]. Without a profile the user's own key takes its place; without either the node is drawn, since
//! an empty key would send everybody to one node.

use super::{
    Field,
    maglev::{SLOTS, Table},
    xxh64::xxh64,
};
use crate::select::{
    Circumstances,
    draw::{MOST_DRAWN, shuffled},
};

/// Attempts in which [`MOST_DRAWN`] different nodes are looked for; a small fleet has no more to offer.
const MOST_ATTEMPTS: u64 = 4 * MOST_DRAWN as u64;

pub(super) fn order(field: &Field<'_>, circumstances: &mut Circumstances<'_>) -> Vec<usize> {
    let Some(key) = circumstances.key else {
        return shuffled(field.eligible.to_vec(), circumstances.dice);
    };
    let ids = field.by_id();
    let members = ids.iter().map(|index| {
        let record = &field.nodes[*index].record;
        (record.id.as_str(), record.weight)
    });
    let known = circumstances.table.take().filter(|table| table.is_of(members.clone()));
    let mut table = known.unwrap_or_else(|| Table::new(members, SLOTS));
    let hash = xxh64(key.as_bytes(), 0);
    let mut order: Vec<usize> = Vec::with_capacity(MOST_DRAWN);
    for attempt in 0..MOST_ATTEMPTS {
        let Some(index) = table.member(hash, attempt).map(|member| ids[member]) else { break };
        if !order.contains(&index) {
            order.push(index);
        }
        if order.len() == MOST_DRAWN.min(ids.len()) {
            break;
        }
    }
    *circumstances.table = Some(table);
    order
}
