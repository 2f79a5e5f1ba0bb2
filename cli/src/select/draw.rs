//! Drawing among equals, so that a million clients do not all take the same node.

use std::{
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};

use cbrowse_protocol::api::Status;

use crate::probe::Probed;

/// Load reports up to this age decide between two; older ones would send everybody to whoever was idle then
/// (simulated: 9.8 times the mean load with reports of 10 s).
pub const FRESH: Duration = Duration::from_secs(5);

/// How many places are drawn; whoever comes after was refused this often, and is asked by score.
/// Drawing them all would take time with the square of the band.
pub const MOST_DRAWN: usize = 16;

/// A source of random numbers.
pub trait Dice {
    /// A number below `sides`, each equally likely; `sides` is at least 1.
    fn below(&mut self, sides: usize) -> usize;
}

/// The system's random source.
#[derive(Debug, Default)]
pub struct SystemDice;

impl Dice for SystemDice {
    fn below(&mut self, sides: usize) -> usize {
        // Keyed by the system's randomness, another key each time. The generator of the cryptography takes 20 ms until it
        // trusts its first seed, and nobody gains by guessing which node was drawn.
        let drawn = RandomState::new().hash_one(sides);
        // Multiply and shift (Lemire 2019): the bias is below 2^-40 for any list of nodes.
        let drawn = (u128::from(drawn) * sides as u128) >> 64;
        usize::try_from(drawn).unwrap_or(0)
    }
}

/// All of `items`, in random order (Fisher-Yates).
pub fn shuffled(mut items: Vec<usize>, dice: &mut dyn Dice) -> Vec<usize> {
    for end in (1..items.len()).rev() {
        items.swap(end, dice.below(end + 1));
    }
    items
}

/// Two different positions below `count`; the same one twice where there is only one.
pub(super) fn two_of(count: usize, dice: &mut dyn Dice) -> (usize, usize) {
    if count == 1 {
        return (0, 0);
    }
    let first = dice.below(count);
    (first, (first + 1 + dice.below(count - 1)) % count)
}

/// The first places among the nodes of a band, [`MOST_DRAWN`] at most: two are drawn and the better one goes first, again
/// and again (Mitzenmacher 2001). Where loads are unknown or stale, one is drawn by its free capacity instead.
///
/// Nodes that were asked come before those that were not: a guess is no reason to pass over what is known.
pub fn by_two_choices(
    nodes: &[Probed],
    band: &[usize],
    scores: &[Option<Duration>],
    dice: &mut dyn Dice,
) -> Vec<usize> {
    let is_asked = |index: &usize| nodes[*index].live.status().is_some();
    let (mut asked, unasked): (Vec<usize>, Vec<usize>) = band.iter().partition(|index| is_asked(index));
    let mut order = Vec::with_capacity(MOST_DRAWN);
    if asked.iter().all(|index| is_fresh(&nodes[*index])) {
        while !asked.is_empty() && order.len() < MOST_DRAWN {
            let at = better_of_two(&asked, scores, dice);
            order.push(asked.swap_remove(at));
        }
    } else {
        by_capacity(nodes, asked, &mut order, dice);
    }
    by_capacity(nodes, unasked, &mut order, dice);
    order
}

fn is_fresh(node: &Probed) -> bool {
    node.live.status().is_some_and(|status| Duration::from_millis(status.age_ms) <= FRESH)
}

/// Position of the better of two different members of the band.
fn better_of_two(band: &[usize], scores: &[Option<Duration>], dice: &mut dyn Dice) -> usize {
    let (first, second) = two_of(band.len(), dice);
    if scores[band[second]] < scores[band[first]] { second } else { first }
}

/// Fills `order` with members drawn by their weight times their free seats.
fn by_capacity(nodes: &[Probed], mut band: Vec<usize>, order: &mut Vec<usize>, dice: &mut dyn Dice) {
    by_shares(&mut band, order, |index| share(&nodes[index]), dice);
}

/// Moves members of `rest` to `order`, each drawn with a chance in proportion to its share, until [`MOST_DRAWN`] stand there.
pub(super) fn by_shares(
    rest: &mut Vec<usize>,
    order: &mut Vec<usize>,
    share: impl Fn(usize) -> usize,
    dice: &mut dyn Dice,
) {
    let mut shares: Vec<usize> = rest.iter().map(|index| share(*index)).collect();
    while !rest.is_empty() && order.len() < MOST_DRAWN {
        let total = shares.iter().copied().fold(0, usize::saturating_add);
        let mut drawn = dice.below(total.max(1));
        let at = shares.iter().position(|share| {
            let is_drawn = drawn < *share;
            drawn = drawn.saturating_sub(*share);
            is_drawn
        });
        let at = at.unwrap_or(0);
        shares.swap_remove(at);
        order.push(rest.swap_remove(at));
    }
}

/// Unknown capacity counts as one seat, and everybody keeps a chance.
fn share(node: &Probed) -> usize {
    let free = |status: &Status| status.capacity.saturating_sub(status.sessions);
    let free = node.live.status().map_or(node.record.capacity, free);
    usize::from(node.record.weight.max(1)).saturating_mul(free.max(1) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::select::tests::Scripted;

    #[test]
    fn the_system_dice_stay_below_their_sides_and_hit_them_all() {
        let mut seen = [false; 3];
        for _ in 0..1000 {
            seen[SystemDice.below(3)] = true;
        }
        assert_eq!(seen, [true; 3]);
        assert_eq!(SystemDice.below(1), 0);
    }

    #[test]
    fn the_two_drawn_differ_and_the_better_one_wins() {
        let ms = Duration::from_millis;
        let scores = [Some(ms(30)), Some(ms(10)), Some(ms(20))];
        let band = [0, 1, 2];
        assert_eq!(better_of_two(&band, &scores, &mut Scripted::new(&[0, 0])), 1);
        assert_eq!(better_of_two(&band, &scores, &mut Scripted::new(&[2, 0])), 2);
        assert_eq!(better_of_two(&band, &scores, &mut Scripted::new(&[2, 1])), 1);
    }

    #[test]
    fn a_shuffle_keeps_everybody() {
        let mut all = shuffled((0..100).collect(), &mut SystemDice);
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
    }
}
