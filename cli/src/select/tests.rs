use cbrowse_protocol::{api::Status, identity::SigningKey};

use super::*;
use crate::probe::{Live, Measurement, Reach};

const fn ms(value: u64) -> Duration {
    Duration::from_millis(value)
}

/// Dice that fall as written, then always 0.
pub(crate) struct Scripted(std::collections::VecDeque<usize>);

impl Scripted {
    pub(crate) fn new(rolls: &[usize]) -> Self {
        Self(rolls.iter().copied().collect())
    }
}

impl Dice for Scripted {
    fn below(&mut self, sides: usize) -> usize {
        let roll = self.0.pop_front().unwrap_or(0);
        assert!(roll < sides, "{roll} of {sides}");
        roll
    }
}

pub(super) fn status() -> Status {
    Status {
        id: "n".parse().expect("id"),
        identity: SigningKey::from_seed(&[7; 32]).public(),
        statement: None,
        region: "eu-central".into(),
        zone: String::new(),
        tags: vec!["gpu".into()],
        version: "0.1.0".into(),
        browser_version: "156.0.1".into(),
        sessions: 1,
        capacity: 8,
        load: 0.2,
        cpu: 0.2,
        memory: 0.1,
        draining: false,
        bandwidth: None,
        bytes_per_second: None,
        reserved: 0,
        age_ms: 0,
        session_key: None,
    }
}

pub(crate) fn node(id: &str, region: &str, p50: u64) -> Probed {
    let record = serde_json::from_value(serde_json::json!({
        "id": id, "address": "192.0.2.1", "port": 7443, "region": region, "tags": ["gpu"],
        "version": "0.1.0", "browser_version": "156.0.1",
    }));
    Probed {
        record: record.expect("record"),
        address: "192.0.2.1:7443".parse().ok(),
        reach: Reach::Serving,
        method: "icmp+tcp",
        rtt: Some(Measurement { min: ms(p50), p50: ms(p50), jitter: ms(0), answered: 5, lost: 0 }),
        silent_for: None,
        prior: None,
        live: Live::Unasked,
    }
}

pub(crate) fn known(mut node: Probed, change: impl FnOnce(&mut Status)) -> Probed {
    let mut status = Status { region: node.record.region.clone(), ..status() };
    change(&mut status);
    node.live = Live::Known(Box::new(status));
    node
}

fn codes(node: &Probed, constraints: &Constraints) -> Vec<&'static str> {
    judge(node, constraints).reasons().iter().map(Reason::code).collect()
}

#[test]
fn a_node_stands_where_its_metadata_says_and_nowhere_without() {
    let at = |country: &str, location: &str| {
        let mut node = node("n", "", 10);
        node.record.meta = [("country".into(), country.into()), ("location".into(), location.into())].into();
        node
    };
    let frankfurt = at("de", "50.11,8.68");
    let countries = Constraints { countries: vec!["DE".into(), "AT".into()], ..Constraints::default() };
    assert_eq!(codes(&frankfurt, &countries), [""; 0]);
    assert_eq!(codes(&at("FR", ""), &countries), ["country"]);
    assert_eq!(codes(&node("n", "", 10), &countries), ["country"]);
    // Berlin is 423 km away.
    let around = |radius_km| Constraints {
        around: Some(Around { center: "52.52,13.40".parse().expect("Berlin"), radius_km }),
        ..Constraints::default()
    };
    assert_eq!(codes(&frankfurt, &around(424.0)), [""; 0]);
    assert_eq!(codes(&frankfurt, &around(422.0)), ["distance"]);
    assert_eq!(codes(&at("DE", "here"), &around(20_100.0)), ["distance"], "nobody knows");
    let reason = &judge(&frankfurt, &around(400.0)).reasons()[0].to_string();
    assert_eq!(reason, "423 km from 52.52,13.4, over 400 km");
}

#[test]
fn a_rejection_carries_every_reason() {
    let constraints = Constraints {
        regions: vec!["us-east".into()],
        tags: vec!["gpu".into(), "ssd".into()],
        nodes: vec!["other".parse().expect("id")],
        max_latency: Some(ms(10)),
        min_version: Some("0.2.0".into()),
        profile_browser: Some("157.0".into()),
        zones: vec!["us-east-1".into()],
        version: Some(">=0.2".parse().expect("a range")),
        meta: vec![("rack".into(), "r1".into())],
        healths: Some([Health::Passing].into()),
        ..Constraints::default()
    };
    let mut worst = known(node("n", "eu-central", 11), |status| {
        status.draining = true;
        status.sessions = 8;
    });
    worst.record.weight = 0;
    worst.record.health = Health::Warning;
    worst.reach = Reach::PortSilent;
    assert_eq!(
        codes(&worst, &constraints),
        [
            "node",
            "region",
            "zone",
            "tag",
            "meta",
            "health",
            "version_range",
            "version",
            "browser_too_old",
            "weight",
            "unreachable",
            "max_latency",
            "draining",
            "full"
        ]
    );
    assert!(judge(&node("n", "eu-central", 11), &Constraints::default()).is_eligible());
}

#[test]
fn what_a_catalog_leaves_open_is_held_against_a_node_only_where_nobody_else_can_tell() {
    let bare = |node: &mut Probed| {
        (node.record.version, node.record.region, node.record.tags) = Default::default();
    };
    let (mut dns, mut named) = (node("n", "", 5), node("m", "eu", 5));
    bare(&mut dns);
    named.record.zone = "a".into();
    let wanted = |change: fn(&mut Constraints)| {
        let mut constraints = Constraints::default();
        change(&mut constraints);
        constraints
    };
    let zone = wanted(|constraints| constraints.zones = vec!["b".into()]);
    let range = wanted(|constraints| constraints.version = Some("^0.2".parse().expect("a range")));
    let meta = wanted(|constraints| constraints.meta = vec![("rack".into(), "r1".into())]);
    assert!(screen(&dns.record, &zone).is_eligible() && screen(&dns.record, &range).is_eligible());
    assert_eq!(codes(&named, &zone), ["zone"]);
    assert_eq!(codes(&named, &range), ["version_range"]);
    assert_eq!(codes(&dns, &meta), ["meta"], "its status names none");
    let told = known(dns, |status| status.zone = "b".into());
    assert!(judge(&told, &zone).is_eligible());
    assert_eq!(codes(&told, &range), ["version_range"]);
}

#[test]
fn trust_and_service_are_reasons_of_their_own() {
    let mut stranger = node("n", "", 5);
    stranger.live = Live::Untrusted("the fleet never signed it".into());
    assert_eq!(codes(&stranger, &Constraints::default()), ["not_trusted"]);
    stranger.live = Live::Failed("no answer to its status".into());
    assert_eq!(codes(&stranger, &Constraints::default()), ["not_serving"]);
}

#[test]
fn limits_hold_at_and_just_above() {
    let within = |p50: Duration| {
        let mut node = node("n", "", 0);
        node.rtt = Some(Measurement { min: p50, p50, jitter: ms(0), answered: 1, lost: 0 });
        judge(&node, &Constraints { max_latency: Some(ms(50)), ..Constraints::default() }).is_eligible()
    };
    assert!(within(ms(50)));
    assert!(!within(ms(50) + Duration::from_nanos(1)));
    let seats = |sessions| {
        let node = known(node("n", "", 5), |status| status.sessions = sessions);
        judge(&node, &Constraints::default()).is_eligible()
    };
    assert!(seats(7));
    assert!(!seats(8));
    assert!(!seats(9));
}

#[test]
fn the_browser_is_compared_by_milestone() {
    let judged = |profile: &str| {
        let constraints = Constraints { profile_browser: Some(profile.into()), ..Constraints::default() };
        judge(&node("n", "", 5), &constraints).is_eligible()
    };
    assert!(judged("155.9"));
    assert!(judged("156.0.9"));
    assert!(!judged("157.0.0"));
    let constraints = Constraints { profile_browser: Some("157.0.0".into()), ..Constraints::default() };
    let verdict = judge(&node("n", "", 5), &constraints);
    let [reason] = verdict.reasons() else { panic!("{verdict:?}") };
    assert_eq!(reason.code(), "browser_too_old");
    assert!(reason.to_string().ends_with("is older than the profile's 157.0.0"), "{reason}");
}

#[test]
fn a_node_known_by_dns_is_judged_by_its_own_word() {
    let constraints = Constraints {
        regions: vec!["eu-central".into()],
        tags: vec!["gpu".into()],
        ..Constraints::default()
    };
    let mut bare = node("n", "", 5);
    bare.record.version = String::new();
    bare.record.tags.clear();
    assert!(screen(&bare.record, &constraints).is_eligible(), "unknown is not elsewhere");
    let here = known(bare.clone(), |status| status.region = "eu-central".into());
    assert!(judge(&here, &constraints).is_eligible());
    let there = known(bare.clone(), |status| status.region = "us-east".into());
    assert_eq!(codes(&there, &constraints), ["region"]);
    bare.live = Live::Failed("silence".into());
    assert_eq!(codes(&bare, &constraints), ["region_unknown", "tag", "not_serving"]);
}

#[test]
fn the_nearest_wins_outside_the_band_and_the_dice_inside() {
    let choose_from = |second: u64, rolls: &[usize]| {
        let nodes = [node("a", "", 8), node("b", "", second)];
        choose(&nodes, &Constraints::default(), Strategy::Responsive, &mut Scripted::new(rolls))
    };
    assert_eq!(choose_from(19, &[0]).order, [0, 1]);
    assert_eq!(choose_from(19, &[0]).band, 1);
    // 18 ms is still in the band of 8 ms: loads are unknown, so each has an equal share.
    assert_eq!(choose_from(18, &[0]).order, [0, 1]);
    assert_eq!(choose_from(18, &[1]).order, [1, 0]);
}

#[test]
fn between_two_equally_near_the_idle_one_wins() {
    let nodes = [
        known(node("busy", "", 8), |status| status.load = 0.9),
        known(node("idle", "", 9), |status| status.load = 0.1),
    ];
    for rolls in [[0, 0], [1, 0]] {
        let choice =
            choose(&nodes, &Constraints::default(), Strategy::Responsive, &mut Scripted::new(&rolls));
        assert_eq!(choice.order, [1, 0]);
    }
}

#[test]
fn a_node_that_accepted_a_connection_comes_first() {
    let mut nodes = [node("a", "", 8), node("b", "", 40)];
    nodes[0].reach = Reach::Unconfirmed;
    let choice = choose(&nodes, &Constraints::default(), Strategy::Responsive, &mut Scripted::new(&[]));
    assert_eq!(choice.order, [1, 0]);
}

#[test]
fn a_node_that_nobody_waited_for_is_the_last_resort_not_dead() {
    let mut nodes = [node("unknown", "", 8), node("unconfirmed", "", 9), node("serving", "", 40)];
    nodes[0].reach = Reach::NotAwaited;
    nodes[0].rtt = None;
    nodes[1].reach = Reach::Unconfirmed;
    let choice = choose(&nodes, &Constraints::default(), Strategy::Responsive, &mut Scripted::new(&[]));
    assert_eq!(choice.order, [2, 1, 0]);
}

#[test]
fn with_reports_of_one_age_a_crowd_spreads() {
    let nodes: Vec<_> = (0..50).map(|i| known(node(&format!("n{i}"), "", 8 + i % 10), |_| {})).collect();
    let mut taken = vec![0u32; nodes.len()];
    for _ in 0..5_000 {
        let choice = choose(&nodes, &Constraints::default(), Strategy::Responsive, &mut draw::SystemDice);
        taken[choice.chosen().expect("eligible")] += 1;
    }
    // The argmin would take 5,000. Of two drawn, the better goes first: at most twice the mean and noise.
    assert!(taken.iter().all(|count| *count < 300), "{taken:?}");
}

#[test]
fn latency_ignores_load_and_random_ignores_distance() {
    let nodes =
        [known(node("near", "", 8), |status| status.load = 0.95), known(node("far", "", 200), |_| {})];
    let chosen = |strategy, rolls: &[usize]| {
        choose(&nodes, &Constraints::default(), strategy, &mut Scripted::new(rolls)).order
    };
    assert_eq!(chosen(Strategy::Latency, &[]), [0, 1]);
    assert_eq!(chosen(Strategy::Random, &[0]), [1, 0]);
    assert_eq!(chosen(Strategy::Random, &[1]), [0, 1]);
}

#[test]
fn an_unknown_region_is_told_only_where_all_regions_are_known() {
    let mut records = vec![node("a", "eu-central", 1).record, node("b", "us-east", 1).record];
    let wanted = |region: &str| Constraints { regions: vec![region.into()], ..Constraints::default() };
    assert_eq!(unknown_region(&records, &wanted("mars")), Some("mars"));
    assert_eq!(unknown_region(&records, &wanted("us-east")), None);
    assert_eq!(regions(&records), ["eu-central", "us-east"]);
    records.push(node("c", "", 1).record);
    assert_eq!(unknown_region(&records, &wanted("mars")), None);
}

#[test]
fn ten_thousand_nodes_are_ordered_at_once() {
    let nodes: Vec<_> = (0..10_000).map(|i| known(node("n", "", 8 + i % 290), |_| {})).collect();
    let choice = choose(&nodes, &Constraints::default(), Strategy::Responsive, &mut draw::SystemDice);
    assert_eq!(choice.order.len(), 10_000);
    let mut once = choice.order;
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), 10_000);
}
