//! This machine's clock: tokens, proofs and statements hold by it. Compared with what nodes say over TLS, and with itself.

use std::{
    net::SocketAddr,
    time::{Duration, Instant, SystemTime},
};

use cbrowse_protocol::{node::NodeRecord, token::PROOF_TOLERANCE};
use futures_util::future::join_all;
use serde_json::json;

use super::{
    catalogs::Answer,
    examine::Catalogs,
    finding::{Check, Finding},
    trusted::Known,
};
use crate::{attach::connection::NodeConnection, context::Globals, credentials::seconds, date};

/// Nodes that are asked: enough that one of them may be wrong, few enough to spare them.
const ASKED: usize = 5;
/// For each: connect, agree on TLS, answer.
const DEADLINE: Duration = Duration::from_millis(1100);
/// A clock that shows an earlier day was never set: this program is younger. 2026-01-01.
const EARLIEST: u64 = 1_767_225_600;
/// Within this, clocks count as equal: HTTP tells whole seconds, and the road has its own time.
const SLACK: i64 = 2;
/// A wall clock that runs this far apart from the monotonic one within seconds was set meanwhile.
const JUMP: Duration = Duration::from_millis(500);
/// What sets a clock by the network.
const SET: &str = "sudo timedatectl set-ntp true (or run chrony or ntpd), then: cbrowse doctor --only clock";

/// What one node's clock says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hint {
    /// Seconds by which this machine is ahead of the node; negative: behind.
    ahead: i64,
    /// A fleet or the user vouches for that node, whatever day it is.
    is_trusted: bool,
}

/// Asks up to [`ASKED`] nodes of the catalogs what time it is.
pub(super) async fn check(globals: &Globals, catalogs: Catalogs<'_>) -> Finding {
    let (wall, monotonic) = (SystemTime::now(), Instant::now());
    if seconds(wall) < EARLIEST {
        let found = format!("it shows {}, before this program was made", date::utc(seconds(wall)));
        return Finding::problem(Check::Clock, found, SET);
    }
    let surveyed = catalogs.await;
    let known = Known::of(globals);
    let nodes = surveyed.nodes().take(ASKED);
    let asked = join_all(nodes.map(|(answer, node)| hint(answer, node, &known))).await;
    let hints: Vec<Hint> = asked.into_iter().flatten().collect();
    let jump = apart(wall, monotonic.elapsed());
    judge(&hints, jump).details(json!({
        "offset_s": offset(&hints).map(|(ahead, _)| ahead), "nodes": hints.len(),
        "trusted": offset(&hints).map(|(_, is_trusted)| is_trusted),
    }))
}

/// How far the wall clock has run apart from the monotonic one since `wall`.
fn apart(wall: SystemTime, passed: Duration) -> Duration {
    SystemTime::now()
        .duration_since(wall)
        .map_or_else(|back| back.duration() + passed, |gone| gone.abs_diff(passed))
}

async fn hint(answer: &Answer, node: &NodeRecord, known: &Known) -> Option<Hint> {
    tokio::time::timeout(DEADLINE, ask(answer, node, known)).await.ok().flatten()
}

/// Whatever it answers, a refusal included, bears a date. Carries no token.
async fn ask(answer: &Answer, node: &NodeRecord, known: &Known) -> Option<Hint> {
    let host = node.address.as_str();
    let found: Vec<SocketAddr> = tokio::net::lookup_host((host, node.port)).await.ok()?.collect();
    let address = found.into_iter().find(|address| answer.listing.permits(&node.id, address.ip()))?;
    let mut connection = NodeConnection::to(address, host, DEADLINE).await.ok()?;
    let asked = SystemTime::now();
    let response = connection.get("/health", DEADLINE).await.ok()?;
    let middle = seconds(asked + asked.elapsed().unwrap_or_default() / 2);
    let there = date::parse_http(response.headers.get(http::header::DATE)?.to_str().ok()?)?;
    let ahead = i64::try_from(middle).ok()?.checked_sub_unsigned(there)?;
    let is_trusted = known.vouches_for(answer, node, connection.identity());
    Some(Hint { ahead, is_trusted })
}

/// The median, of trusted nodes where there are any.
fn offset(hints: &[Hint]) -> Option<(i64, bool)> {
    let is_trusted = hints.iter().any(|hint| hint.is_trusted);
    let mut counted: Vec<i64> =
        hints.iter().filter(|hint| hint.is_trusted == is_trusted).map(|hint| hint.ahead).collect();
    counted.sort_unstable();
    counted.get(counted.len() / 2).map(|median| (*median, is_trusted))
}

fn judge(hints: &[Hint], jump: Duration) -> Finding {
    if jump > JUMP {
        let found = format!("it was set by {:.1} s while this ran", jump.as_secs_f64());
        return Finding::warning(Check::Clock, found, "once it is set: cbrowse doctor --only clock");
    }
    let Some((ahead, is_trusted)) = offset(hints) else {
        return Finding::skipped(Check::Clock, "no node answered whose clock it could be compared with");
    };
    let who = match (hints.len(), is_trusted) {
        (1, true) => "a node you trust".to_owned(),
        (1, false) => "a node that nobody vouches for".to_owned(),
        (number, true) => format!("{number} nodes, at least one of them trusted"),
        (number, false) => format!("{number} nodes that nobody vouches for"),
    };
    if ahead.abs() <= SLACK {
        return Finding::ok(Check::Clock, format!("as that of {who}, within {SLACK} s"));
    }
    let words = format!("{} {} that of {who}", spelled(ahead), if ahead > 0 { "ahead of" } else { "behind" });
    let tolerance = i64::try_from(PROOF_TOLERANCE.as_secs()).unwrap_or(i64::MAX);
    if ahead.abs() <= tolerance {
        let found = format!("{words}; nodes accept up to {tolerance} s");
        return Finding::warning(Check::Clock, found, SET);
    }
    let found = format!(
        "{words}; nodes refuse every request beyond {tolerance} s, and statements and tokens expire by it"
    );
    if is_trusted {
        return Finding::problem(Check::Clock, found, SET);
    }
    // A stranger's clock is no proof of ours.
    Finding::warning(Check::Clock, found, format!("compare it with a clock you trust (date -u); then {SET}"))
}

fn spelled(ahead: i64) -> String {
    match ahead.unsigned_abs() {
        seconds @ 0..120 => format!("{seconds} seconds"),
        seconds @ 120..7200 => format!("{} minutes", seconds / 60),
        seconds @ 7200..172_800 => format!("{} hours", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::finding::State, *};

    fn hints(of: &[(i64, bool)]) -> Vec<Hint> {
        of.iter().map(|(ahead, is_trusted)| Hint { ahead: *ahead, is_trusted: *is_trusted }).collect()
    }

    #[test]
    fn offsets_are_judged_just_within_and_just_beyond_what_nodes_accept() {
        for (ahead, state) in [
            (0, State::Ok),
            (SLACK, State::Ok),
            (-SLACK - 1, State::Warning),
            (60, State::Warning),
            (61, State::Problem),
            (-61, State::Problem),
            (i64::MIN + 1, State::Problem),
        ] {
            assert_eq!(judge(&hints(&[(ahead, true)]), Duration::ZERO).state, state, "{ahead}");
        }
        let stranger = judge(&hints(&[(86_400 * 3, false)]), Duration::ZERO);
        assert_eq!(stranger.state, State::Warning);
        assert!(stranger.found.starts_with("3 days ahead of"), "{}", stranger.found);
    }

    #[test]
    fn one_liar_among_five_moves_nothing_and_trust_outvotes_numbers() {
        let honest = hints(&[(0, true), (1, true), (-1, true), (0, true), (999_999, true)]);
        assert_eq!(judge(&honest, Duration::ZERO).state, State::Ok);
        let strangers = hints(&[(5000, false), (5000, false), (5000, false), (0, true)]);
        assert_eq!(offset(&strangers), Some((0, true)));
        assert_eq!(judge(&[], Duration::ZERO).state, State::Skipped);
    }

    #[test]
    fn a_clock_that_is_set_meanwhile_is_told() {
        let judged = |jump| judge(&hints(&[(0, true)]), jump).state;
        assert_eq!(judged(JUMP), State::Ok);
        assert_eq!(judged(JUMP + Duration::from_millis(1)), State::Warning);
        let now = SystemTime::now();
        assert!(apart(now - Duration::from_secs(3600), Duration::ZERO) >= Duration::from_secs(3600));
        assert!(apart(now + Duration::from_secs(3600), Duration::ZERO) >= Duration::from_secs(3500));
    }
}
