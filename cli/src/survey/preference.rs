//! By which rule nodes are ordered, for whom, and by what memory.

use std::time::SystemTime;

use super::probing::Probing;
use crate::{
    history::Recalled,
    probe::Probed,
    select::{Choice, Circumstances, Constraints, Memory, Strategy, draw::SystemDice, fallback},
};

/// How nodes are probed and ordered, and for whom.
#[derive(Debug, Clone, Default)]
pub struct Preference {
    /// The rule.
    pub strategy: Strategy,
    /// Who chooses, for `consistent-hash`.
    pub key: Option<String>,
    /// What earlier choices left behind.
    pub memory: Memory,
    /// Whom to probe.
    pub probing: Probing,
    /// What earlier probings on this network found.
    pub recalled: Recalled,
}

impl From<Strategy> for Preference {
    fn from(strategy: Strategy) -> Self {
        Self { strategy, ..Self::default() }
    }
}

impl Preference {
    /// Orders the nodes now.
    pub fn choose(&self, nodes: &[Probed], constraints: &Constraints) -> Choice {
        let at_home = self.at_home(nodes, constraints);
        let mut circumstances = Circumstances {
            dice: &mut SystemDice,
            memory: &self.memory,
            key: self.key.as_deref(),
            now: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default(),
            table: &mut None,
        };
        let constraints = at_home.as_ref().unwrap_or(constraints);
        fallback::choose_or_fall_back(nodes, constraints, self.strategy, &mut circumstances)
    }

    /// The same wishes, and to stay where this user was last unless another node is better by enough. A node that was not
    /// measured is no reason to stay: nobody knows that it is still near. What the user prefers by name goes before.
    fn at_home(&self, nodes: &[Probed], constraints: &Constraints) -> Option<Constraints> {
        if constraints.prefer.is_some() || !keeps_home(self.strategy) {
            return None;
        }
        let home = nodes.iter().find(|node| node.rtt.is_some() && self.recalled.is_home(&node.record))?;
        Some(Constraints { prefer: Some(home.record.id.clone()), ..constraints.clone() })
    }
}

/// Whether a strategy's score is what it orders by, so that a node can be left for a better score. Those that spread load
/// by turns, by lot or by sessions would not do so if everybody stayed.
fn keeps_home(strategy: Strategy) -> bool {
    matches!(strategy, Strategy::Responsive | Strategy::Latency | Strategy::Weighted(_))
}
