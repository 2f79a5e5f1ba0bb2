//! What is kept of nodes that were silent: that they are farther than they were waited for, or dead.

use super::*;
use crate::probe::{Failed, Failing, Track};

/// A node that was silent for so long when the race ended.
fn not_awaited(id: &str, waited: u64) -> Found {
    silent_as(id, Reach::NotAwaited, waited)
}

/// A node that was waited for, in vain.
fn lost(id: &str) -> Found {
    silent_as(id, Reach::Silent, 1000)
}

fn silent_as(id: &str, reach: Reach, waited: u64) -> Found {
    let silent = Probed { rtt: None, reach, method: "", silent_for: Some(ms(waited)), ..node(id, "eu", 1) };
    Found::of(&silent).expect("asked")
}

fn after(before: Vec<Found>, then: Found) -> Entry {
    let after = joined(knowing(before, NOW - 60), &adding(vec![then]), NOW);
    assert_eq!(after.nodes.len(), 1);
    after.nodes[0].clone()
}

#[test]
fn a_silent_node_is_kept_as_farther_than_it_was_waited_for() {
    let content = knowing(vec![not_awaited("a", 45)], NOW);
    let bytes = content.encode(&key(1));
    let expected = format!(
        concat!(
            r#"{{"version":2,"network":"{}","home":null,"#,
            r#""nodes":[{{"node":{{"id":"a","endpoint":"192.0.2.1:7443"}},"ip":"192.0.2.1","min":45000,"p50":45000,"jitter":0,"#,
            r#""answered":0.0,"lost":0.0,"method":"icmp","served":false,"at":1800000000,"counted":1800000000}}]}}"#
        ),
        key(1)
    );
    assert_eq!(String::from_utf8(bytes.clone()).expect("text"), expected);
    let read = Content::decode(&bytes, &key(1), NOW).expect("readable");
    assert_eq!(read, content);
    let record = node("a", "eu", 1).record;
    let prior = Recalled::new(read, NOW + 10).prior(&record).expect("known");
    let silent =
        Probed { rtt: None, reach: Reach::NotAwaited, silent_for: Some(ms(45)), ..node("a", "eu", 1) };
    let expected = Prior::of(&Probed { method: "", ..silent.clone() }).expect("asked");
    assert_eq!(prior, Prior { age: Duration::from_secs(10), ..expected }, "as the prober wants it");
    // Whom nobody asked, nobody knows.
    assert_eq!(Found::of(&Probed { silent_for: None, ..silent }), None);
    assert_eq!(Track::default().silent_for(), None);
}

#[test]
fn silence_never_mixes_with_figures() {
    let entry = after(vec![not_awaited("a", 45)], found("a", 60, 1, 0));
    assert_eq!((entry.p50, entry.min, entry.answered, entry.served), (60_000, 59_000, 1.0, true));
    // True of a node 60 ms away; its figures stay as they are, and as old.
    let known = found("a", 60, 5, 0);
    let entry = after(vec![known.clone()], not_awaited("a", 45));
    assert_eq!(entry, knowing(vec![known.clone()], NOW - 60).nodes[0]);
    // Not true any more, or the one probe was lost: as one sample among those that count, and soon asked again.
    let entry = after(vec![known.clone()], not_awaited("a", 160));
    assert_eq!((entry.p50, entry.min, entry.served, entry.at), (80_000, 59_000, true, NOW - 60));
    // Waited for to the end, in vain.
    let entry = after(vec![known], lost("a"));
    assert_eq!((entry.p50, entry.served), (60_000, false));
    assert!(entry.lost > 0.99 && !entry.is_bound());
}

#[test]
fn of_two_silences_the_longer_one_counts_and_is_as_young_as_the_last() {
    for (before, then, counts) in [(130, 45, 130), (45, 130, 130), (45, 45, 45)] {
        let entry = after(vec![not_awaited("a", before)], not_awaited("a", then));
        assert_eq!((entry.p50, entry.at, entry.is_bound()), (counts * 1000, NOW, true), "{before}, {then}");
    }
    let entry = after(vec![not_awaited("a", 45)], lost("a"));
    assert_eq!((entry.p50, entry.lost), (1_000_000, 0.0));
    let entry = after(vec![not_awaited("a", 45)], refusing("a"));
    assert_eq!((entry.p50, entry.at, entry.lost), (45_000, NOW - 60, 0.0), "nothing about its distance");
    // Somewhere else, it is another node to a prober.
    for reach in [Reach::NotAwaited, Reach::Silent] {
        let elsewhere = Found { ip: "192.0.2.9".parse().expect("an address"), ..silent_as("a", reach, 45) };
        assert_eq!(after(vec![not_awaited("a", 130)], elsewhere).p50, 45_000, "{reach:?}");
    }
    let elsewhere = Found { ip: "192.0.2.9".parse().expect("an address"), ..not_awaited("a", 45) };
    assert!(after(vec![found("a", 20, 5, 0)], elsewhere).is_bound());
}

#[test]
fn who_wants_to_know_nothing_keeps_what_silence_does_not_contradict() {
    let fresh = |known: Found, silent: Found| {
        let anew = Addition { anew: true, ..adding(vec![silent]) };
        joined(knowing(vec![known], NOW - 60), &anew, NOW).nodes[0].clone()
    };
    assert_eq!(fresh(found("a", 60, 5, 0), not_awaited("a", 45)).p50, 60_000);
    let contradicted = fresh(found("a", 20, 5, 0), not_awaited("a", 45));
    assert_eq!((contradicted.p50, contradicted.is_bound()), (45_000, true));
    assert_eq!(fresh(not_awaited("a", 130), not_awaited("a", 45)).p50, 45_000, "as for the first time");
}

#[test]
fn figures_stay_figures_when_their_probes_have_faded() {
    let entry = first(&found("a", 20, 1, 0), NOW).expect("measured");
    for days in [0, 1, 2, 29] {
        let prior = entry.prior(NOW + days * 24 * 3600);
        assert_eq!((prior.measured.p50, prior.measured.answered), (ms(20), 1), "{days}");
    }
    let bound = first(&not_awaited("a", 45), NOW).expect("asked");
    assert_eq!(bound.prior(NOW + 24 * 3600).measured.answered, 0);
}

#[test]
fn a_flood_of_names_that_never_answer_drives_out_nobody_who_did() {
    let mine = knowing(vec![found("far", 290, 5, 0), not_awaited("silent", 45)], NOW - 60);
    let flood = (0..MOST_NODES + 10).map(|index| not_awaited(&format!("n{index}"), 10)).collect();
    let flooded = joined(mine, &adding(flood), NOW);
    assert_eq!(flooded.nodes.len(), MOST_NODES);
    assert!(flooded.nodes.iter().any(|entry| entry.node.id.as_str() == "far"));
}

#[test]
fn a_finalist_that_others_were_quicker_than_still_serves() {
    let failed = |reach, failing| {
        let live = Live::Failed(Failed { failing, words: String::new() });
        Found::of(&Probed { reach, live, ..node("a", "eu", 20) }).map(|found| found.serves)
    };
    assert_eq!(failed(Reach::Serving, Failing::Slow), Some(Serves::Yes));
    assert_eq!(failed(Reach::Serving, Failing::Silent), Some(Serves::No));
    assert_eq!(failed(Reach::Remembered, Failing::Slow), None);
}
