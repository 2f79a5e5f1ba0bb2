//! How many checks in a row it takes to believe that a node is gone, and that it is back.

use cbrowse_protocol::node::Health;

/// Both at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Failed checks that make a node critical.
    pub failures: u32,
    /// Good ones that end that.
    pub successes: u32,
}

/// A node's standing. The first check alone decides at the start: nothing better is known.
#[derive(Debug, Default)]
pub(super) struct Streak {
    standing: Option<Health>,
    /// Checks in a row that say otherwise.
    against: u32,
}

impl Streak {
    /// Takes what a check found and answers the standing. Between passing and warning a node goes back and forth at
    /// once: it says so itself, and it does so with hysteresis of its own.
    pub(super) fn learn(&mut self, found: Health, rules: Rules) -> Health {
        let standing = self.standing.unwrap_or(found);
        let enough = match (standing, found) {
            (Health::Critical, Health::Critical)
            | (Health::Passing | Health::Warning, Health::Passing | Health::Warning) => 0,
            (_, Health::Critical) => rules.failures,
            (Health::Critical, _) => rules.successes,
        };
        self.against = if enough == 0 { 0 } else { self.against + 1 };
        let standing = if self.against >= enough { found } else { standing };
        if standing == found {
            self.against = 0;
        }
        self.standing = Some(standing);
        standing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standing_changes_after_enough_in_a_row() {
        use Health::{Critical as C, Passing as P, Warning as W};
        let rules = Rules { failures: 3, successes: 2 };
        let follow = |found: &[Health]| {
            let mut streak = Streak::default();
            found.iter().map(|&found| streak.learn(found, rules)).collect::<Vec<_>>()
        };
        assert_eq!(follow(&[P, C, C, C, C]), [P, P, P, C, C]);
        assert_eq!(follow(&[P, C, C, P, C, C, C]), [P, P, P, P, P, P, C], "in a row");
        assert_eq!(follow(&[C, P, C, P, P]), [C, C, C, C, P]);
        assert_eq!(follow(&[P, W, P, C, W]), [P, W, P, P, W]);
        assert_eq!(follow(&[C, W, P]), [C, C, P], "any good check counts, the last one says how good");
        let mut hasty = Streak::default();
        let rules = Rules { failures: 1, successes: 1 };
        assert_eq!([P, C, P].map(|found| hasty.learn(found, rules)), [P, C, P]);
    }
}
