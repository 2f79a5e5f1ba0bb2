//! What a node says about itself, judged: in the right form, possible, and not better than its own other figures.
//!
//! A figure outside its range is a bug or a lie, and the choice would rest on it; so the node is refused with that figure
//! as the reason, and nothing is guessed in its place. A load below the node's own shares is raised to them: a node that
//! reports an idle average beside a full processor is taken at its worst word.

use cbrowse_protocol::{
    api::Status,
    node::{MAX_FIELD_LENGTH, MAX_TAGS, is_unprintable},
};

/// Oldest figures that still say something, in milliseconds: nodes take them every few seconds. Longer, and a node that
/// hangs is chosen by what it once was; shorter, and a node on a machine that slept for a while is refused.
pub(super) const MOST_AGE_MS: u64 = 3_600_000;
/// Most sessions that one node can serve: a machine of 1 TiB with 64 MiB each. More would draw everybody there.
pub(super) const MOST_CAPACITY: u32 = 16_384;

/// What is wrong with a status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wrong {
    /// A text that is too long, or not for people; which field.
    Garbage(&'static str),
    /// What cannot be; in words.
    Impossible(String),
}

/// The status, as far as it can be believed.
pub(super) fn check(mut status: Status) -> Result<Status, Wrong> {
    texts(&status)?;
    let shares = [
        ("load", Some(status.load)),
        ("cpu", Some(status.cpu)),
        ("memory", Some(status.memory)),
        ("bandwidth", status.bandwidth),
    ];
    for (name, share) in shares {
        // Written so that no number at all is refused, too.
        if let Some(share) = share.filter(|share| !(0.0..=1.0).contains(share)) {
            return Err(Wrong::Impossible(format!("{name} is {}, and a share is from 0 to 1", shown(share))));
        }
        status.load = status.load.max(share.unwrap_or(0.0));
    }
    if status.age_ms > MOST_AGE_MS {
        let age = status.age_ms;
        return Err(Wrong::Impossible(format!(
            "its figures are {age} ms old, and after {MOST_AGE_MS} ms they say nothing"
        )));
    }
    if status.capacity > MOST_CAPACITY {
        let capacity = status.capacity;
        return Err(Wrong::Impossible(format!(
            "it admits {capacity} sessions, and no machine serves more than {MOST_CAPACITY}"
        )));
    }
    Ok(status)
}

/// 1e308 has 309 digits otherwise.
fn shown(share: f64) -> String {
    if share.abs() < 1e6 { share.to_string() } else { format!("{share:e}") }
}

fn texts(status: &Status) -> Result<(), Wrong> {
    let garbage = |text: &str| text.len() > MAX_FIELD_LENGTH || text.chars().any(is_unprintable);
    let texts = [
        ("region", &status.region),
        ("zone", &status.zone),
        ("version", &status.version),
        ("browser_version", &status.browser_version),
    ];
    if let Some((field, _)) = texts.iter().find(|(_, text)| garbage(text)) {
        return Err(Wrong::Garbage(field));
    }
    if status.tags.len() > MAX_TAGS || status.tags.iter().any(|tag| garbage(tag)) {
        return Err(Wrong::Garbage("tags"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use cbrowse_protocol::identity::SigningKey;
    use serde_json::json;

    use super::*;

    fn judged(change: impl FnOnce(&mut Status)) -> Result<Status, Wrong> {
        let identity = SigningKey::generate().public();
        let mut status: Status = serde_json::from_value(json!({
            "id": "n", "identity": identity, "region": "eu", "version": "0.1.0", "browser_version": "156.0",
            "sessions": 1, "capacity": 8, "load": 0.5, "cpu": 0.25, "memory": 0.5, "draining": false, "age_ms": 100,
        }))
        .expect("a status");
        change(&mut status);
        check(status)
    }

    #[test]
    fn shares_are_judged_at_their_edges_and_no_number_is_none() {
        for possible in [0.0, -0.0, 0.999, 1.0] {
            assert!(judged(|status| status.load = possible).is_ok(), "{possible}");
        }
        for impossible in [-0.001, 1.001, 5.0, 1e308, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MIN] {
            for field in [
                (|status, share| status.load = share) as fn(&mut Status, f64),
                |status, share| status.cpu = share,
                |status, share| status.memory = share,
                |status, share| status.bandwidth = Some(share),
            ] {
                let Err(Wrong::Impossible(words)) = judged(|status| field(status, impossible)) else {
                    panic!("{impossible} is believed")
                };
                assert!(words.contains("a share is from 0 to 1") && words.len() < 80, "{words}");
            }
        }
    }

    #[test]
    fn a_load_below_the_nodes_own_shares_is_raised_to_them() {
        let load = |change: fn(&mut Status)| judged(change).expect("possible").load;
        assert!((load(|status| (status.load, status.cpu) = (0.0, 0.97)) - 0.97).abs() < f64::EPSILON);
        assert!((load(|status| (status.load, status.memory) = (0.0, 0.9)) - 0.9).abs() < f64::EPSILON);
        assert!(
            (load(|status| (status.load, status.bandwidth) = (0.5, Some(1.0))) - 1.0).abs() < f64::EPSILON
        );
        assert!((load(|_| {}) - 0.5).abs() < f64::EPSILON);
    }

    #[test]
    fn ages_and_capacities_are_judged_just_below_at_and_above_their_limits() {
        for (age, is_possible) in
            [(MOST_AGE_MS - 1, true), (MOST_AGE_MS, true), (MOST_AGE_MS + 1, false), (1 << 63, false)]
        {
            assert_eq!(judged(|status| status.age_ms = age).is_ok(), is_possible, "{age}");
        }
        for (capacity, is_possible) in
            [(0, true), (MOST_CAPACITY, true), (MOST_CAPACITY + 1, false), (u32::MAX, false)]
        {
            assert_eq!(judged(|status| status.capacity = capacity).is_ok(), is_possible, "{capacity}");
        }
        // More sessions than seats: the operator may have taken seats away. It is full, and no liar.
        assert!(judged(|status| (status.sessions, status.capacity) = (9, 8)).is_ok());
    }
}
