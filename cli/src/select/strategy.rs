//! By which rule the eligible nodes are ordered. One file a strategy; each is pure and names its source.
//!
//! A strategy gives the first places; whoever it leaves out follows by score, so that there is always a next one to ask.

pub mod consistent_hash;
mod latency;
mod least_connections;
pub mod maglev;
pub mod p2c;
mod random;
pub mod responsive;
mod round_robin;
mod srv;
pub mod weighted;
pub(super) mod weighted_round_robin;
pub mod xxh64;

use std::{ffi::OsStr, fmt, time::Duration};

use clap::{
    Arg, Command, ValueEnum,
    builder::{EnumValueParser, PossibleValue, TypedValueParser},
};

pub use self::weighted::Weights;
use super::{Circumstances, Memory};
use crate::probe::{Prior, Probed, Reach};

/// How eligible nodes are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Strategy {
    /// By the predicted time from a key press to its picture; near-ties are drawn.
    #[default]
    Responsive,
    /// By the median round trip alone.
    Latency,
    /// By lot.
    Random,
    /// By a weighted sum of latency, load, CPU, memory and bandwidth.
    Weighted(Weights),
    /// By the sessions that run there, over the node's weight.
    LeastConnections,
    /// One after another, each time the next.
    RoundRobin,
    /// One after another, each as often as its weight says.
    WeightedRoundRobin,
    /// Two are drawn; the lower peak-EWMA latency times sessions goes first.
    P2c,
    /// By the profile: the same one goes to the same node as long as that is there.
    ConsistentHash,
    /// As RFC 2782 has the records of a service tried.
    Srv,
}

/// One of each, in the order in which they are listed.
const ALL: [Strategy; 10] = [
    Strategy::Responsive,
    Strategy::Latency,
    Strategy::Random,
    Strategy::Weighted(Weights::CLASSIC),
    Strategy::LeastConnections,
    Strategy::RoundRobin,
    Strategy::WeightedRoundRobin,
    Strategy::P2c,
    Strategy::ConsistentHash,
    Strategy::Srv,
];

impl Strategy {
    /// Its name on the command line and in the settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Responsive => "responsive",
            Self::Latency => "latency",
            Self::Random => "random",
            Self::Weighted(_) => "weighted",
            Self::LeastConnections => "least-connections",
            Self::RoundRobin => "round-robin",
            Self::WeightedRoundRobin => "weighted-round-robin",
            Self::P2c => "p2c",
            Self::ConsistentHash => "consistent-hash",
            Self::Srv => "srv",
        }
    }

    fn help(self) -> &'static str {
        match self {
            Self::Responsive => {
                "Soonest picture after a key press: round trip, jitter, loss and load; near-ties are drawn"
            }
            Self::Latency => "Shortest median round trip",
            Self::Random => "By lot",
            Self::Weighted(_) => {
                "Least weighted sum; weighted:latency=0.6,load=0.4 sets the weights of latency, load, cpu, memory and bandwidth"
            }
            Self::LeastConnections => "Fewest sessions, over the node's weight",
            Self::RoundRobin => "One after another, remembered between commands",
            Self::WeightedRoundRobin => "One after another, each as often as its weight says",
            Self::P2c => "The better of two drawn, by peak-EWMA latency and sessions",
            Self::ConsistentHash => "The same node for the same profile",
            Self::Srv => "The lowest DNS SRV priority first, by a weighted draw inside one (RFC 2782)",
        }
    }

    /// Whether distance or load decides. Where it does not, only the nodes that were picked need be probed.
    pub fn ranks_by_measurement(self) -> bool {
        match self {
            Self::Responsive | Self::Latency | Self::Weighted(_) | Self::LeastConnections | Self::P2c => true,
            Self::Random | Self::RoundRobin | Self::WeightedRoundRobin | Self::ConsistentHash | Self::Srv => {
                false
            }
        }
    }

    /// Whether it goes on from where the last choice left off, so that [`Memory::note`] has to be told of each.
    pub fn remembers(self) -> bool {
        matches!(self, Self::RoundRobin | Self::WeightedRoundRobin | Self::P2c)
    }

    /// The figure by which it orders a node, less is better; `None` where it was not measured. Strategies that do not
    /// compare figures show the median round trip.
    pub fn score(self, node: &Probed) -> Option<Duration> {
        let rtt = node.rtt.as_ref()?;
        Some(match self {
            Self::Responsive => {
                let rtt = responsive::with_history(rtt, node.method, earlier(node));
                responsive::response(&rtt, node.live.status())
            }
            Self::Weighted(weights) => weights.cost(rtt, node),
            _ => rtt.p50,
        })
    }

    /// The first places. `field` holds the eligible nodes by score.
    pub(super) fn order(self, field: &Field<'_>, circumstances: &mut Circumstances<'_>) -> Vec<usize> {
        match self {
            Self::Responsive => responsive::order(field, circumstances.dice),
            Self::Latency | Self::Weighted(_) => latency::order(),
            Self::Random => random::order(field, circumstances.dice),
            Self::LeastConnections => least_connections::order(field, circumstances.dice),
            Self::RoundRobin => round_robin::order(field, circumstances),
            Self::WeightedRoundRobin => weighted_round_robin::order(field, circumstances),
            Self::P2c => p2c::order(field, circumstances),
            Self::ConsistentHash => consistent_hash::order(field, circumstances),
            Self::Srv => srv::order(field, circumstances.dice),
        }
    }

    /// What is to be remembered of a choice among `eligible`, of which `chosen` was taken.
    pub(super) fn note(
        self,
        memory: &mut Memory,
        nodes: &[Probed],
        eligible: &[usize],
        chosen: usize,
        now: Duration,
    ) {
        match self {
            Self::RoundRobin => memory.last = Some(nodes[chosen].record.id.clone()),
            Self::WeightedRoundRobin => {
                memory.last = Some(nodes[chosen].record.id.clone());
                weighted_round_robin::advance(&mut memory.turns, nodes, eligible, chosen);
            }
            Self::P2c => p2c::observe(&mut memory.peaks, &nodes[chosen], now),
            _ => {}
        }
    }
}

/// Name and, where they are not the usual ones, weights; what [`StrategyParser`] reads.
impl fmt::Display for Strategy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Weighted(weights) if *weights != Weights::CLASSIC => {
                write!(formatter, "weighted:{weights}")
            }
            _ => formatter.pad(self.name()),
        }
    }
}

impl ValueEnum for Strategy {
    fn value_variants<'a>() -> &'a [Self] {
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()).help(self.help()))
    }
}

impl std::str::FromStr for Strategy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(weights) = text.strip_prefix("weighted:") {
            return weights.parse().map(Self::Weighted);
        }
        ALL.into_iter()
            .find(|strategy| strategy.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| format!("{text:?} is no strategy; there are {}", ALL.map(Self::name).join(", ")))
    }
}

/// What earlier probings found, where that is not the very figure that is compared.
fn earlier(node: &Probed) -> Option<&Prior> {
    node.prior.as_ref().filter(|_| node.reach != Reach::Remembered)
}

/// Reads a [`Strategy`] from the command line, and lets shells and the help know the names.
#[derive(Debug, Clone)]
pub struct StrategyParser;

impl TypedValueParser for StrategyParser {
    type Value = Strategy;

    fn parse_ref(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
    ) -> Result<Strategy, clap::Error> {
        match value.to_str() {
            Some(text) if text.starts_with("weighted:") => {
                let read = |text: &str| text.parse::<Strategy>();
                TypedValueParser::parse_ref(&read, command, arg, value)
            }
            _ => EnumValueParser::<Strategy>::new().parse_ref(command, arg, value),
        }
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(ALL.iter().filter_map(ValueEnum::to_possible_value)))
    }
}

/// What a strategy chooses from.
pub(super) struct Field<'a> {
    /// All nodes.
    pub(super) nodes: &'a [Probed],
    /// Their scores.
    pub(super) scores: &'a [Option<Duration>],
    /// Indices of the eligible ones: those that accepted a connection first, then by score.
    pub(super) eligible: &'a [usize],
    /// Those among them whose round trips cannot be told from the best one's, in the same order.
    pub(super) band: &'a [usize],
}

impl Field<'_> {
    /// The eligible nodes by id, which is the same on every machine, whatever the catalog's order.
    fn by_id(&self) -> Vec<usize> {
        let mut sorted = self.eligible.to_vec();
        // As the catalog lists them first: that is mostly sorted already.
        sorted.sort_unstable();
        sorted.sort_by(|one, other| self.nodes[*one].record.id.cmp(&self.nodes[*other].record.id));
        sorted
    }
}

#[cfg(test)]
mod tests;
