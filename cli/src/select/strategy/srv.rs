//! `srv`: in the order in which RFC 2782 has the records of a service tried, the lowest priority first and by a weighted
//! draw inside one; no distance, no load.
//!
//! Source: RFC 2782, "Usage rules". A node from DNS brings its priority as metadata, nodes of other catalogs may (`srv_priority`);
//! one without stands among those of priority 0, as a catalog without priorities means all of them alike.

use super::Field;
use crate::{
    probe::Probed,
    select::draw::{Dice, by_shares},
};

/// Where the priority stands in a record's metadata.
const PRIORITY_KEY: &str = "srv_priority";

pub(super) fn order(field: &Field<'_>, dice: &mut dyn Dice) -> Vec<usize> {
    let mut ranked: Vec<(u16, usize)> =
        field.by_id().into_iter().map(|index| (priority(&field.nodes[index]), index)).collect();
    ranked.sort_by_key(|(priority, _)| *priority);
    let mut order = Vec::with_capacity(ranked.len());
    for equals in ranked.chunk_by(|(one, _), (other, _)| one == other) {
        let mut rest = equals.iter().map(|(_, index)| *index).collect();
        by_shares(&mut rest, &mut order, |index| usize::from(field.nodes[index].record.weight), dice);
        // Beyond what is drawn, equals follow by id.
        order.append(&mut rest);
    }
    order
}

/// What cannot be read goes last: its operator meant something by it.
fn priority(node: &Probed) -> u16 {
    node.record.meta.get(PRIORITY_KEY).map_or(0, |text| text.parse().unwrap_or(u16::MAX))
}
