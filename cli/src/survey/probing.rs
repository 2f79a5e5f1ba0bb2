//! Whom a choice probes: everybody, or fewer for whoever has a reason.

use std::{fmt, str::FromStr};

/// Nodes that quiet probing draws unless told otherwise. Of sixteen drawn from a thousand the nearest is as near as the
/// nearest sixty; fewer are seen by fewer and choose worse.
pub const DRAWN: usize = 16;
/// Most that can be asked for: beyond, nothing is quiet about it.
pub const MOST_DRAWN: usize = 1000;

/// Whom a choice probes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Probing {
    /// All that fit, those first that history says are near.
    #[default]
    All,
    /// All that fit, as for the first time.
    Fresh,
    /// Nobody: what is remembered decides.
    Cached,
    /// So many, drawn each time; as many again while none of them serves.
    Quiet(usize),
}

impl Probing {
    /// Quiet probing of `count` nodes.
    pub fn quiet(count: &str) -> Result<Self, String> {
        let count = count.parse().ok().filter(|count| (1..=MOST_DRAWN).contains(count));
        count.map(Self::Quiet).ok_or_else(|| format!("quiet probing draws 1 to {MOST_DRAWN} nodes"))
    }
}

impl fmt::Display for Probing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => formatter.write_str("all"),
            Self::Fresh => formatter.write_str("fresh"),
            Self::Cached => formatter.write_str("cached"),
            Self::Quiet(count) => write!(formatter, "quiet={count}"),
        }
    }
}

impl FromStr for Probing {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix("quiet=")) {
            ("all", _) => Ok(Self::All),
            ("fresh", _) => Ok(Self::Fresh),
            ("cached", _) => Ok(Self::Cached),
            ("quiet", _) => Ok(Self::Quiet(DRAWN)),
            (_, Some(count)) => Self::quiet(count),
            _ => Err(format!("{text:?} is none of all, fresh, cached, quiet and quiet=N")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_as_it_is_written() {
        for probing in
            [Probing::All, Probing::Fresh, Probing::Cached, Probing::Quiet(DRAWN), Probing::Quiet(3)]
        {
            assert_eq!(probing.to_string().parse(), Ok(probing));
        }
        assert_eq!("quiet".parse(), Ok(Probing::Quiet(DRAWN)));
        assert!("loud".parse::<Probing>().is_err_and(|error| error.contains("quiet=N")));
    }

    #[test]
    fn the_number_drawn_has_its_limits() {
        for (count, is_fine) in [("0", false), ("1", true), ("1000", true), ("1001", false), ("-1", false)] {
            assert_eq!(Probing::quiet(count).is_ok(), is_fine, "{count}");
        }
    }
}
