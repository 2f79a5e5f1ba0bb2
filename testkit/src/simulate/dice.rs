//! Chance that a seed decides, as selection draws it.

use cbrowse::select::Dice;

pub use crate::seeded::Seeded;

impl Dice for Seeded {
    fn below(&mut self, sides: usize) -> usize {
        let drawn = (u128::from(self.next()) * sides as u128) >> 64;
        usize::try_from(drawn).unwrap_or(0)
    }
}
