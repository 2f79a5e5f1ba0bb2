//! `least-connections`: the fewest sessions over the node's weight; the equally busy are drawn.
//!
//! Source: nginx's `least_conn` (connections over weight). Only a node that was asked has told its sessions: the others come
//! after it, nearest first.

use super::Field;
use crate::{probe::Probed, select::draw::Dice};

/// Sessions over weight is compared as a whole number of these parts; fewer would call unequal loads equal.
const PARTS: u64 = 1 << 16;

pub(super) fn order(field: &Field<'_>, dice: &mut dyn Dice) -> Vec<usize> {
    let asked = field.eligible.iter().filter_map(|index| Some((busy(&field.nodes[*index])?, *index)));
    let mut asked: Vec<(u64, usize)> = asked.collect();
    // Stable, so that among the equally busy the nearer ones stay in front.
    asked.sort_by_key(|(busy, _)| *busy);
    if let Some((least, _)) = asked.first().copied() {
        let equal = asked.partition_point(|(busy, _)| *busy == least);
        asked.swap(0, dice.below(equal));
    }
    asked.into_iter().map(|(_, index)| index).collect()
}

fn busy(node: &Probed) -> Option<u64> {
    let sessions = u64::from(node.live.status()?.sessions);
    Some(sessions * PARTS / u64::from(node.record.weight.max(1)))
}
