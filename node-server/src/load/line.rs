//! How busy the line is: bytes of the machine's network interfaces, and the rate that the operator states.

use std::{fmt, path::Path, str::FromStr, time::Duration};

use serde::Deserialize;

/// Bytes received and sent since each interface came up (`man 5 proc`, /proc/net/dev).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counters {
    received: u64,
    sent: u64,
}

/// What passed the line in a while.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Traffic {
    /// Both ways together.
    pub(super) bytes_per_second: u64,
    /// Of the busier direction: lines carry as much one way as the other.
    busiest: f64,
}

/// The counters now; `None` where the kernel tells none.
pub(super) fn counters() -> Option<Counters> {
    let text = std::fs::read_to_string("/proc/net/dev").ok()?;
    let is_hardware = |name: &str| Path::new("/sys/class/net").join(name).join("device").exists();
    parse(&text, is_hardware)
}

/// Hardware alone where there is some: what passes a bridge, a tunnel or a container's end of a pair has passed a card, too, and
/// would count twice. Inside a container there is no card, and everything but the loopback counts.
fn parse(text: &str, is_hardware: impl Fn(&str) -> bool) -> Option<Counters> {
    let interfaces: Vec<(&str, Counters)> = text.lines().filter_map(interface).collect();
    let any_hardware = interfaces.iter().any(|(name, _)| is_hardware(name));
    let counted = interfaces.iter().filter(|(name, _)| !any_hardware || is_hardware(name));
    counted.map(|(_, counters)| *counters).reduce(|one, other| Counters {
        received: one.received.saturating_add(other.received),
        sent: one.sent.saturating_add(other.sent),
    })
}

/// `eth0: received packets errors … (8 columns), sent packets …`.
fn interface(line: &str) -> Option<(&str, Counters)> {
    let (name, numbers) = line.split_once(':')?;
    let name = Some(name.trim()).filter(|name| *name != "lo")?;
    let mut numbers = numbers.split_whitespace().map(str::parse);
    let received = numbers.next()?.ok()?;
    let sent = numbers.nth(7)?.ok()?;
    Some((name, Counters { received, sent }))
}

/// What passed between two looks. A counter that went back belongs to an interface that is another one by now: nothing is known.
pub(super) fn between(before: Counters, now: Counters, elapsed: Duration) -> Option<Traffic> {
    let received = now.received.checked_sub(before.received)?;
    let sent = now.sent.checked_sub(before.sent)?;
    let seconds = Some(elapsed.as_secs_f64()).filter(|seconds| *seconds > 0.0)?;
    let both = received.saturating_add(sent) as f64 / seconds;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive, and far below 2^64"
    )]
    Some(Traffic { bytes_per_second: both as u64, busiest: received.max(sent) as f64 / seconds })
}

/// How fast a line is, as its provider writes it: `100Mbit`, `1Gbit`, `2.5Gbit`.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub struct LineRate {
    bits_per_second: f64,
}

impl LineRate {
    /// The share of the line that is used, 0 to 1.
    pub(super) fn share(self, traffic: Traffic) -> f64 {
        (traffic.busiest * 8.0 / self.bits_per_second).clamp(0.0, 1.0)
    }
}

/// Not the rate of a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no line rate: a number above 0 and a unit, such as 100Mbit, 1Gbit or 2.5Gbit")]
pub struct RateError(String);

const UNITS: [(&str, f64); 4] = [("Kbit", 1e3), ("Mbit", 1e6), ("Gbit", 1e9), ("Tbit", 1e12)];
/// The slowest line that is believed: below, one packet would be an overload. A slip of the unit is refused, too.
const SLOWEST: f64 = 64e3;
/// The fastest; beyond, something else was meant.
const FASTEST: f64 = 10e12;

impl FromStr for LineRate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let garbage = || RateError(text.chars().take(40).collect());
        let trimmed = text.trim();
        let split = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(garbage)?;
        let (number, unit) = trimmed.split_at(split);
        let unit = unit.trim().trim_end_matches("/s");
        let unit = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).ok_or_else(garbage)?;
        let bits_per_second = number.parse::<f64>().map_err(|_| garbage())? * unit.1;
        if (SLOWEST..=FASTEST).contains(&bits_per_second) {
            Ok(Self { bits_per_second })
        } else {
            Err(garbage())
        }
    }
}

impl TryFrom<String> for LineRate {
    type Error = RateError;

    fn try_from(text: String) -> Result<Self, RateError> {
        text.parse()
    }
}

impl fmt::Display for LineRate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(_, factor): &&(&str, f64)| self.bits_per_second >= *factor;
        let (name, factor) = UNITS.iter().rev().find(fits).unwrap_or(&UNITS[0]);
        write!(formatter, "{}{name}", self.bits_per_second / factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICES: &str = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 999 9 0 0 0 0 0 0 999 9 0 0 0 0 0 0
  eth0: 1000 10 0 0 0 0 0 0 200 2 0 0 0 0 0 0
docker0:500 5 0 0 0 0 0 0 50 1 0 0 0 0 0 0
";

    #[test]
    fn cards_count_and_the_loopback_never() {
        let card = parse(DEVICES, |name| name == "eth0");
        assert_eq!(card, Some(Counters { received: 1000, sent: 200 }));
        let container = parse(DEVICES, |_| false);
        assert_eq!(container, Some(Counters { received: 1500, sent: 250 }));
        assert_eq!(parse("lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n", |_| false), None);
        for garbage in ["", "eth0: 1 2 3", "eth0: x 0 0 0 0 0 0 0 1", "no colon"] {
            assert_eq!(parse(garbage, |_| false), None, "{garbage}");
        }
    }

    #[test]
    fn the_busier_direction_of_a_line_counts() {
        let before = Counters { received: 1_000, sent: 1_000 };
        let now = Counters { received: 251_000, sent: 1_001_000 };
        let traffic = between(before, now, Duration::from_secs(2)).expect("traffic");
        assert_eq!(traffic, Traffic { bytes_per_second: 625_000, busiest: 500_000.0 });
        let rate: LineRate = "10Mbit".parse().expect("a rate");
        assert!((rate.share(traffic) - 0.4).abs() < 1e-9);
        let slow: LineRate = "1Mbit".parse().expect("a rate");
        assert!((slow.share(traffic) - 1.0).abs() < 1e-9, "more than was stated is all of it");
        assert_eq!(between(now, before, Duration::from_secs(2)), None, "another interface by now");
        assert_eq!(between(before, now, Duration::ZERO), None);
    }

    #[test]
    fn rates_are_written_with_their_unit() {
        for (text, shown) in
            [("1Gbit", "1Gbit"), ("2.5 gbit/s", "2.5Gbit"), ("100Mbit", "100Mbit"), ("64kbit", "64Kbit")]
        {
            assert_eq!(text.parse::<LineRate>().map(|rate| rate.to_string()), Ok(shown.into()), "{text}");
        }
        for text in [
            "",
            "1",
            "1000000000",
            "Gbit",
            "0Gbit",
            "63Kbit",
            "11Tbit",
            "-1Gbit",
            "1GB",
            "1e9bit",
            "1.2.3Gbit",
        ] {
            assert!(text.parse::<LineRate>().is_err(), "{text}");
        }
    }

    #[test]
    fn this_machine_has_counters_that_only_grow() {
        // In a namespace with nothing but a loopback there is nothing to count.
        let Some(before) = counters() else { return };
        let now = counters().expect("still there");
        assert!(now.received >= before.received && now.sent >= before.sent);
    }
}
