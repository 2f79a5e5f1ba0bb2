//! What is the matter with a network, or with one node. Pure.

use std::str::FromStr;

/// What is the matter with the whole network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// Nothing but 0.5 % loss.
    Plain,
    /// No node answers echo requests.
    IcmpFiltered,
    /// Every tenth node, by chance, answers nothing at all.
    Dead,
    /// 5 % loss.
    Lossy,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Plain, Self::IcmpFiltered, Self::Dead, Self::Lossy];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::IcmpFiltered => "icmp-filtered",
            Self::Dead => "dead",
            Self::Lossy => "lossy",
        }
    }

    /// Share of the packets towards a node that are lost.
    pub(super) fn loss(self) -> f64 {
        if self == Self::Lossy { 0.05 } else { 0.005 }
    }

    /// What is the matter with a node, if every tenth is `unlucky`.
    pub(super) fn fault(self, unlucky: bool) -> Fault {
        match self {
            Self::IcmpFiltered => Fault::Icmp,
            Self::Dead if unlucky => Fault::Dead,
            Self::Plain | Self::Dead | Self::Lossy => Fault::None,
        }
    }
}

impl FromStr for Scenario {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        one_of(Self::ALL, Self::name, text)
    }
}

/// What is the matter with a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// It leaves echo requests unanswered.
    Icmp,
    /// It leaves connections unanswered.
    Tcp,
    /// It leaves everything unanswered.
    Dead,
    /// It accepts connections and never says a word.
    Mute,
    /// It refuses connections: nothing listens on its port.
    Closed,
    /// The near side knows no way to its address.
    NoRoute,
    /// Its name has no address.
    NoName,
}

impl Fault {
    const ALL: [Self; 8] = [
        Self::None,
        Self::Icmp,
        Self::Tcp,
        Self::Dead,
        Self::Mute,
        Self::Closed,
        Self::NoRoute,
        Self::NoName,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Icmp => "icmp",
            Self::Tcp => "tcp",
            Self::Dead => "dead",
            Self::Mute => "mute",
            Self::Closed => "closed",
            Self::NoRoute => "no-route",
            Self::NoName => "no-name",
        }
    }

    /// Whether a session can be had there.
    pub fn serves(self) -> bool {
        matches!(self, Self::None | Self::Icmp)
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        one_of(Self::ALL, Self::name, text)
    }
}

fn one_of<T: Copy, const COUNT: usize>(
    all: [T; COUNT],
    name: fn(T) -> &'static str,
    text: &str,
) -> Result<T, String> {
    let found = all.into_iter().find(|one| name(*one) == text);
    found.ok_or_else(|| format!("{text:?} is none of {}", all.map(name).join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_others_are_told_what_there_is() {
        for scenario in Scenario::ALL {
            assert_eq!(scenario.name().parse(), Ok(scenario));
        }
        for fault in Fault::ALL {
            assert_eq!(fault.name().parse(), Ok(fault));
        }
        let error = "sunny".parse::<Scenario>().expect_err("it is none");
        assert_eq!(error, "\"sunny\" is none of plain, icmp-filtered, dead, lossy");
    }
}
