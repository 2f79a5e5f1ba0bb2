//! `random`: every eligible node with the same chance, whatever it measures.
//!
//! Source: Fisher and Yates 1938, in Durstenfeld's form.

use super::Field;
use crate::select::draw::{Dice, shuffled};

pub(super) fn order(field: &Field<'_>, dice: &mut dyn Dice) -> Vec<usize> {
    shuffled(field.eligible.to_vec(), dice)
}
