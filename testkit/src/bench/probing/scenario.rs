//! What is simulated, and what the design promises of it.

use clap::ValueEnum as _;

use super::Options;

/// A kind of network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Scenario {
    /// RTT 8-300 ms, exponential jitter, 0.5 % loss
    Plain,
    /// The same; echo requests vanish in the network
    IcmpFiltered,
    /// The same; this machine may not send echo requests
    TcpOnly,
    /// The same; 10 % of the nodes are dead
    TenthDead,
    /// The same with 5 % loss
    FivePercentLoss,
    /// The same, with what a run of the day before found
    History,
    /// As with history, and since then every node's distance is another
    HistoryWrong,
    /// A fleet of 5,000
    FiveThousand,
    /// All nodes are measured five times
    Survey,
}

/// Upper ends of a decision's time: this many times the best round trip, and these milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limit {
    /// Times the best round trip.
    pub times: f64,
    /// Milliseconds on top.
    pub plus: f64,
}

impl Limit {
    const fn new(times: f64, plus: f64) -> Self {
        Self { times, plus }
    }

    /// Half as much again.
    fn relaxed(self) -> Self {
        Self::new(self.times * 1.5, self.plus * 1.5)
    }
}

/// The promise for a cold start: at the median, and in 99 of 100 runs.
const COLD: [Limit; 2] = [Limit::new(3.0, 130.0), Limit::new(4.0, 250.0)];
/// The promise with history, at the median.
const WARM: Limit = Limit::new(2.0, 30.0);

impl Scenario {
    /// Those that are asked for; all, where none is.
    pub fn chosen(asked: &[Self]) -> Vec<Self> {
        let all = Self::value_variants().iter().copied();
        all.filter(|scenario| asked.is_empty() || asked.contains(scenario)).collect()
    }

    /// Its name on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Size of its fleet.
    pub fn nodes(self, options: &Options) -> u32 {
        match self {
            Self::FiveThousand => 5_000,
            Self::Survey => options.nodes.min(200),
            _ => options.nodes,
        }
    }

    /// Lost share of the probes.
    pub fn loss(self) -> f64 {
        if self == Self::FivePercentLoss { 0.05 } else { 0.005 }
    }

    /// The promised time at the median and in 99 of 100 runs, where one is given.
    pub fn limits(self) -> [Option<Limit>; 2] {
        match self {
            Self::Plain => COLD.map(Some),
            Self::IcmpFiltered | Self::TcpOnly | Self::TenthDead | Self::FivePercentLoss => {
                COLD.map(|limit| Some(limit.relaxed()))
            }
            Self::History => [Some(WARM), Some(COLD[1])],
            Self::HistoryWrong | Self::FiveThousand | Self::Survey => [None, None],
        }
    }
}
