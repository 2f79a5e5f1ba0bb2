//! Echo requests: may this process send them, on which kind of socket, and do they come back?

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use nix::{
    errno::Errno,
    unistd::{getegid, getgroups},
};
use serde_json::json;

use super::{
    echo::{Echo, Kind},
    finding::{Check, Finding},
    routes,
};

/// Loopback answers in microseconds.
const LOOPBACK_DEADLINE: Duration = Duration::from_millis(500);
/// A gateway answers in milliseconds, where it does; many do not.
const GATEWAY_DEADLINE: Duration = Duration::from_secs(1);
/// Holds the groups that may send echo requests over datagram sockets, for both families (icmp(7)).
const RANGE_FILE: &str = "/proc/sys/net/ipv4/ping_group_range";
/// What permits them, until the next start and after it.
const PERMIT: &str = "sudo sysctl -w net.ipv4.ping_group_range='0 2147483647' (to keep it: the same line, without \
                      sudo sysctl -w, in /etc/sysctl.d/60-ping.conf)";

/// Which addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    fn check(self) -> Check {
        match self {
            Self::V4 => Check::IcmpV4,
            Self::V6 => Check::IcmpV6,
        }
    }

    fn loopback(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::LOCALHOST.into(),
            Self::V6 => Ipv6Addr::LOCALHOST.into(),
        }
    }
}

/// What was tried, and how it came out.
#[derive(Debug, Clone)]
struct Seen {
    /// The groups that are permitted, first and last.
    range: Option<(u64, u64)>,
    /// Groups of this process.
    groups: Vec<u64>,
    /// Why there is no datagram socket.
    datagram: Option<Errno>,
    /// How an echo to loopback came out.
    loopback: Option<Result<Duration, Errno>>,
    /// How one to the gateway came out.
    gateway: Option<(IpAddr, Result<Duration, Errno>)>,
}

/// Really sends, to loopback and to this machine's own gateway.
pub(super) async fn check(family: Family) -> Finding {
    match tokio::task::spawn_blocking(move || look(family)).await {
        Ok(seen) => judge(family, &seen),
        Err(error) => Finding::skipped(family.check(), format!("the check ended early: {error}")),
    }
}

fn look(family: Family) -> Seen {
    let is_v6 = family == Family::V6;
    let datagram = Echo::open(Kind::Datagram, is_v6);
    let mut seen = Seen {
        range: fs::read_to_string(RANGE_FILE).ok().as_deref().and_then(parse_range),
        groups: own_groups(),
        datagram: datagram.as_ref().err().copied(),
        loopback: None,
        gateway: None,
    };
    if let Ok(echo) = datagram.or_else(|_| Echo::open(Kind::Raw, is_v6)) {
        seen.loopback = Some(echo.ask(family.loopback(), LOOPBACK_DEADLINE));
        let gateway = if is_v6 { None } else { routes::gateway() };
        seen.gateway = gateway.map(|gateway| (gateway, echo.ask(gateway, GATEWAY_DEADLINE)));
    }
    seen
}

fn own_groups() -> Vec<u64> {
    let own = std::iter::once(getegid());
    own.chain(getgroups().unwrap_or_default()).map(|group| u64::from(group.as_raw())).collect()
}

fn parse_range(text: &str) -> Option<(u64, u64)> {
    let mut numbers = text.split_whitespace().map(str::parse);
    match (numbers.next()?, numbers.next()?) {
        (Ok(first), Ok(last)) => Some((first, last)),
        _ => None,
    }
}

fn judge(family: Family, seen: &Seen) -> Finding {
    let check = family.check();
    let details = json!({
        "ping_group_range": seen.range.map(|(first, last)| [first, last]),
        "socket": socket_name(seen),
        "loopback_ms": seen.loopback.and_then(Result::ok).map(milliseconds),
        "gateway": seen.gateway.map(|(address, _)| address),
        "gateway_ms": seen.gateway.and_then(|(_, asked)| asked.ok()).map(milliseconds),
    });
    outcome(check, seen).details(details)
}

fn outcome(check: Check, seen: &Seen) -> Finding {
    let Some(loopback) = seen.loopback else { return no_socket(check, seen) };
    let kind = socket_name(seen).unwrap_or_default();
    match loopback {
        Ok(rtt) => {
            let mut found = format!("permitted ({kind} socket); loopback answers in {}", shown(rtt));
            match seen.gateway {
                Some((gateway, Ok(rtt))) => found += &format!(", the gateway {gateway} in {}", shown(rtt)),
                Some((gateway, Err(_))) => {
                    found += &format!("; the gateway {gateway} does not answer, as many do not");
                }
                None => {}
            }
            Finding::ok(check, found)
        }
        Err(Errno::EADDRNOTAVAIL | Errno::ENETUNREACH) => Finding::skipped(
            check,
            format!("permitted ({kind} socket), and this machine has no such address"),
        ),
        Err(error) => Finding::warning(
            check,
            format!("permitted ({kind} socket), and loopback does not answer ({})", error.desc()),
            "look for a firewall rule that drops echo requests: sudo nft list ruleset",
        ),
    }
}

fn no_socket(check: Check, seen: &Seen) -> Finding {
    let unsupported = [Errno::EAFNOSUPPORT, Errno::EPROTONOSUPPORT];
    if seen.datagram.is_some_and(|error| unsupported.contains(&error)) {
        return Finding::skipped(check, "this kernel does not speak it");
    }
    let range = match seen.range {
        None => "the kernel does not tell its ping_group_range".to_owned(),
        Some((first, last)) if first > last => {
            format!("ping_group_range is \"{first} {last}\", which no group is in")
        }
        Some((first, last)) if seen.groups.iter().any(|group| (first..=last).contains(group)) => {
            format!(
                "ping_group_range \"{first} {last}\" permits them, and something else does not (a container, seccomp)"
            )
        }
        Some((first, last)) => {
            let own = seen.groups.first().copied().unwrap_or_default();
            format!("ping_group_range is \"{first} {last}\", which your group {own} is not in")
        }
    };
    Finding::warning(
        check,
        format!("not permitted: {range}, and raw sockets are root's; nodes are measured by TCP alone"),
        PERMIT,
    )
}

fn socket_name(seen: &Seen) -> Option<&'static str> {
    match (seen.loopback, seen.datagram) {
        (None, _) => None,
        (Some(_), None) => Some("datagram"),
        (Some(_), Some(_)) => Some("raw"),
    }
}

fn shown(rtt: Duration) -> String {
    format!("{:.2} ms", rtt.as_secs_f64() * 1e3)
}

fn milliseconds(rtt: Duration) -> f64 {
    (rtt.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::{super::finding::State, *};

    fn closed(range: (u64, u64)) -> Seen {
        Seen {
            range: Some(range),
            groups: vec![1000, 27],
            datagram: Some(Errno::EACCES),
            loopback: None,
            gateway: None,
        }
    }

    #[test]
    fn a_closed_range_is_explained_by_its_values() {
        for (range, words) in [
            ((1, 0), "\"1 0\", which no group is in"),
            ((28, 999), "which your group 1000 is not in"),
            // Just at its edge: it would permit, so something else forbids.
            ((1000, 1000), "something else does not"),
            ((27, 27), "something else does not"),
        ] {
            let finding = judge(Family::V4, &closed(range));
            assert_eq!(finding.state, State::Warning);
            assert!(finding.found.contains(words), "{}", finding.found);
            assert!(finding.mend.is_some_and(|mend| mend.contains("ping_group_range='0 2147483647'")));
        }
    }

    #[test]
    fn what_answers_is_fine_and_a_silent_gateway_is_no_fault() {
        let open = Seen {
            loopback: Some(Ok(Duration::from_micros(40))),
            gateway: Some(("192.0.2.1".parse().expect("an address"), Err(Errno::ETIMEDOUT))),
            datagram: None,
            ..closed((0, 100))
        };
        let finding = judge(Family::V4, &open);
        assert_eq!((finding.state, &finding.details["socket"]), (State::Ok, &json!("datagram")));
        assert!(finding.found.contains("0.04 ms") && finding.found.contains("as many do not"));
        let raw = Seen { datagram: Some(Errno::EACCES), ..open.clone() };
        assert_eq!(judge(Family::V4, &raw).details["socket"], "raw");
        let dropped = Seen { loopback: Some(Err(Errno::ETIMEDOUT)), ..open.clone() };
        assert_eq!(judge(Family::V4, &dropped).state, State::Warning);
        let absent = Seen { loopback: Some(Err(Errno::EADDRNOTAVAIL)), ..open };
        assert_eq!(judge(Family::V6, &absent).state, State::Skipped);
    }

    #[test]
    fn ranges_are_two_numbers() {
        assert_eq!(parse_range("1\t0\n"), Some((1, 0)));
        assert_eq!(parse_range("0\t2147483647\n"), Some((0, 2_147_483_647)));
        assert_eq!((parse_range("x 1"), parse_range("1"), parse_range("")), (None, None, None));
    }
}
