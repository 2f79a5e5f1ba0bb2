//! The rules of blocking queries, one by one. Where the index has to do what no Consul can be made to do on request, a
//! server of our own answers with headers as Consul 1.8.7 sends them.

use std::time::{Duration, Instant};

use cbrowse_registry::{CatalogError, Change, Check, open};
use cbrowse_testkit::consul::Consul;
use futures_util::StreamExt as _;

use super::{
    fake::{Scripted, good, instance, status},
    start,
};
use crate::support::{DEADLINE, added, catalog, ids, list, list_until, next_change, record, registry};

const LONG: Check = Check::Heartbeat(Duration::from_secs(300));

fn index(index: u64) -> String {
    format!("X-Consul-Index: {index}\r\n")
}

/// The part of a request line that says what is waited for.
fn waits(line: &str) -> Option<&str> {
    line.split_once("index=").map(|(_, rest)| rest.split('&').next().unwrap_or(rest))
}

#[tokio::test]
async fn an_index_that_goes_back_starts_over_and_zero_is_never_sent() {
    let server = Scripted::start(|line, number| {
        let body = format!("[{}]", instance(&format!("n{number}")));
        match number {
            0 => Some(good(&index(9), &body)),
            1 => Some(good(&index(4), &body)),
            2 => Some(good(&index(0), &body)),
            3 => Some(good(&index(7), &body)),
            _ => {
                assert_eq!(waits(line), Some("7"), "{line}");
                None
            }
        }
    })
    .await;
    let mut changes = catalog(&server.uri()).watch();
    for _ in 0..7 {
        // A reset, then each time another node: one removed, one added.
        next_change(&mut changes).await;
    }
    // The next question is on its way only when the stream is asked for more.
    let more = tokio::time::timeout(Duration::from_millis(300), changes.next()).await;
    assert!(more.is_err(), "nothing more happened: {more:?}");
    let asked = server.asked();
    let waited: Vec<_> = asked.iter().map(|line| waits(line)).collect();
    assert_eq!(waited, [None, Some("9"), None, Some("1"), Some("7")], "{asked:?}");
    for line in asked.iter().filter(|line| waits(line).is_some()) {
        assert!(line.contains("wait=55s"), "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_client_gives_up_only_after_the_servers_own_jitter() {
    // A server that holds the question for ever. Time is virtual: what passes is what the client waits.
    let server = Scripted::start(|_, number| (number == 0).then(|| good(&index(9), "[]"))).await;
    let mut changes = catalog(&server.uri()).watch();
    assert!(matches!(changes.next().await, Some(Ok(Change::Reset(_)))));
    let began = tokio::time::Instant::now();
    let error = changes.next().await.expect("goes on").expect_err("no answer");
    let waited = began.elapsed();
    // wait=55s, and Consul adds up to a sixteenth of it.
    assert!(waited > Duration::from_secs(55) + Duration::from_secs(55) / 16, "{waited:?}");
    assert!(waited < Duration::from_secs(70), "{waited:?}");
    assert!(error.is_transient(), "{error}");
}

#[tokio::test(start_paused = true)]
async fn errors_back_off_with_growing_pauses_and_list_anew() {
    let server = Scripted::start(|_, number| {
        Some(match number {
            0 => good(&index(9), "[]"),
            // As Consul 1.8.7 answers while servers elect a leader.
            1..=4 => status("500 Internal Server Error", "", "No cluster leader"),
            _ => good(&index(12), &format!("[{}]", instance("n1"))),
        })
    })
    .await;
    let mut changes = catalog(&server.uri()).watch();
    assert!(matches!(changes.next().await, Some(Ok(Change::Reset(_)))));
    let mut pauses = Vec::new();
    for _ in 0..4 {
        let before = tokio::time::Instant::now();
        let error = changes.next().await.expect("goes on").expect_err("no leader");
        assert!(error.is_transient() && error.to_string().contains("?stale"), "{error}");
        pauses.push(before.elapsed());
    }
    // Between half of the pause and all of it, and the pause doubles: the fourth is longer than the second for sure.
    assert!(pauses[1] >= Duration::from_millis(250) && pauses[3] >= Duration::from_secs(1), "{pauses:?}");
    assert!(pauses[3] <= Duration::from_secs(3), "{pauses:?}");
    assert!(matches!(changes.next().await, Some(Ok(Change::Add(_)))));
    assert_eq!(waits(&server.asked()[2]), None, "an old index would wait for nothing");
}

#[tokio::test]
async fn another_agent_is_not_asked_with_the_first_ones_index() {
    // Agents of two makings: the second counts from the start, so that the first one's index would wait for long. Two
    // real ones in one datacenter share their servers' index.
    let first = Scripted::start(|_, number| match number {
        0 => Some(good(&index(5000), &format!("[{}]", instance("n1")))),
        // It breaks off.
        _ => Some(String::new()),
    })
    .await;
    let second = Scripted::start(|line, _| {
        let body = format!("[{}]", instance("n2"));
        waits(line).is_none().then(|| good(&index(3), &body))
    })
    .await;
    let uri = format!("{},127.0.0.1:{}", first.uri(), second.port());
    let mut changes = catalog(&uri).watch();
    assert!(matches!(next_change(&mut changes).await, Change::Reset(listing) if ids(&listing) == ["n1"]));
    // No error between: the other agent answered.
    assert!(matches!(next_change(&mut changes).await, Change::Remove(_)));
    assert!(matches!(next_change(&mut changes).await, Change::Add(listing) if ids(&listing) == ["n2"]));
    let _ = tokio::time::timeout(Duration::from_millis(300), changes.next()).await;
    let waited: Vec<_> = second.asked().iter().map(|line| waits(line).map(str::to_owned)).collect();
    assert_eq!(waited, [None, Some("3".to_owned())]);
}

#[tokio::test]
async fn a_watch_goes_on_with_another_agent_of_the_datacenter() {
    let server = start().await;
    let mut agent = server.client(&[]).await.expect("a client joins");
    let uri = format!("{},{}", agent.http_uri(), server.http_address());
    let mut changes = catalog(&uri).watch();
    assert!(matches!(next_change(&mut changes).await, Change::Reset(listing) if listing.nodes.is_empty()));
    let node = record("n1", 1);
    registry(&server.http_uri()).register(&node, LONG).await.expect("registers");
    assert_eq!(next_change(&mut changes).await, added(&node));
    agent.kill();
    let other = record("n2", 2);
    registry(&server.http_uri()).register(&other, LONG).await.expect("registers");
    assert_eq!(next_change(&mut changes).await, added(&other), "and no error was told");
}

#[tokio::test]
async fn a_stale_read_survives_a_lost_quorum_and_says_so() {
    let [one, mut other] = Consul::two_servers().await.expect("two servers");
    registry(&one.http_uri()).register(&record("n1", 1), LONG).await.expect("registers");
    let (firm, stale) = (catalog(&one.http_uri()), catalog(&format!("{}?stale", one.http_uri())));
    let before = list_until(&*stale, |listing| listing.nodes.len() == 1).await;
    assert_eq!(before.warnings, [""; 0]);
    other.kill();
    let began = Instant::now();
    let error = loop {
        match firm.list().await {
            Err(error) => break error,
            Ok(_) => assert!(began.elapsed() < DEADLINE, "a leader without a quorum"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let text = error.to_string();
    assert!(error.is_transient(), "{text}");
    let listing = list_until(&*stale, |listing| !listing.warnings.is_empty()).await;
    assert_eq!(ids(&listing), ["n1"]);
    assert!(listing.warnings[0].contains("no leader"), "{:?}", listing.warnings);
    firm.list().await.expect_err("the other reads do not");
}

#[tokio::test]
async fn an_old_answer_is_said_to_be_old() {
    // A real server that lost its leader says so instead; a follower cut off for a minute is what this is about.
    for (contact, warned) in [(60_000, false), (60_001, true)] {
        let server = Scripted::start(move |_, _| {
            let headers = format!("X-Consul-KnownLeader: true\r\nX-Consul-LastContact: {contact}\r\n");
            Some(good(&headers, &format!("[{}]", instance("n1"))))
        })
        .await;
        let listing = list(&*catalog(&format!("{}?stale", server.uri()))).await;
        assert_eq!(listing.warnings.iter().any(|text| text.contains("60 s old")), warned, "{contact}");
    }
}

#[tokio::test]
async fn consistency_and_place_are_asked_for_as_the_name_says() {
    // Which server answers how is Consul's business; that it is asked for is ours.
    let server = Scripted::start(|_, _| Some(good("", "[]"))).await;
    for (query, part, missing) in [
        ("", "/v1/health/service/browser-node ", "stale"),
        ("?stale", "?stale ", "consistent"),
        ("?consistent", "?consistent ", "stale"),
        ("?dc=far&stale", "?dc=far&stale ", "consistent"),
        ("?ns=team&partition=west", "?ns=team&partition=west ", "stale"),
    ] {
        let uri = format!("{}{query}", server.uri()).parse().expect(query);
        open(&uri, &cbrowse_registry::Options::default()).expect("opens").list().await.expect("an answer");
        let asked = server.asked();
        let line = &asked[asked.len() - 2];
        assert!(line.contains(part) && !line.contains(missing), "{query}: {line}");
    }
}

#[tokio::test]
async fn enterprise_parameters_that_this_consul_refuses_are_explained() {
    let consul = start().await;
    let error = catalog(&format!("{}?ns=team", consul.http_uri())).list().await.expect_err("no namespaces");
    assert!(matches!(error, CatalogError::One { .. }) && !error.is_transient(), "{error}");
    let text = error.to_string();
    for part in ["ns", "Consul Enterprise feature", "CONSUL_NAMESPACE"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}
