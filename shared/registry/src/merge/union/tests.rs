use cbrowse_protocol::{identity::SigningKey, node::Health};

use super::*;
use crate::merge::merge;

fn record(id: &str, address: &str) -> NodeRecord {
    serde_json::from_value(serde_json::json!({"id": id, "address": address, "port": 7443})).expect("a record")
}

fn with_identity(mut record: NodeRecord, key: &SigningKey) -> NodeRecord {
    record.identity = Some(key.public());
    record
}

fn union(catalogs: &[(&str, &[&NodeRecord])]) -> Listing {
    merge(catalogs.iter().map(|(name, nodes)| {
        (*name, Listing { nodes: nodes.iter().map(|&node| node.clone()).collect(), ..Listing::default() })
    }))
}

fn ids(listing: &Listing) -> Vec<&str> {
    listing.nodes.iter().map(|node| node.id.as_str()).collect()
}

fn assert_said(listing: &Listing, parts: &[&str]) {
    assert_eq!(listing.warnings.len(), 1, "{:?}", listing.warnings);
    for part in parts {
        assert!(listing.warnings[0].contains(part), "{part}: {}", listing.warnings[0]);
    }
}

#[test]
fn one_identity_under_two_names_at_one_endpoint_is_one_node() {
    let key = SigningKey::generate();
    let (a, b) = (with_identity(record("a", "::1"), &key), with_identity(record("b", "0:0:0::1"), &key));
    let listing = union(&[("x", &[&a]), ("y", &[&b])]);
    assert_eq!(ids(&listing), ["a"]);
    assert_said(&listing, &["a in x", "b in y", "same identity", "named a"]);
    // The other name is known from then on, wherever a third catalog puts it.
    let listing = union(&[("x", &[&a]), ("y", &[&b]), ("z", &[&record("b", "10.0.0.9")])]);
    assert_eq!((ids(&listing), listing.warnings.len()), (vec!["a"], 2));
    assert!(listing.warnings[1].contains("node b is at [::1]:7443"), "{:?}", listing.warnings);
}

#[test]
fn one_identity_at_two_endpoints_is_two_entries() {
    let key = SigningKey::generate();
    let (a, b) = (with_identity(record("a", "10.0.0.1"), &key), with_identity(record("b", "10.0.0.2"), &key));
    let listing = union(&[("x", &[&a]), ("y", &[&b])]);
    assert_eq!((ids(&listing), listing.warnings.len()), (vec!["a", "b"], 0));
}

#[test]
fn one_id_with_two_identities_or_endpoints_is_a_conflict() {
    let keys = [SigningKey::generate(), SigningKey::generate()];
    let [first, second] = keys.each_ref().map(|key| with_identity(record("a", "10.0.0.1"), key));
    let listing = union(&[("x", &[&first]), ("y", &[&second])]);
    assert_eq!(listing.nodes, [first]);
    assert_said(&listing, &["node a", "another identity", "x", "y", "first is used"]);
    let listing = union(&[("x", &[&record("a", "10.0.0.1")]), ("y", &[&record("a", "10.0.0.2")])]);
    assert_eq!(listing.nodes, [record("a", "10.0.0.1")]);
    assert_said(&listing, &["10.0.0.1:7443 in x", "10.0.0.2:7443 in y"]);
}

#[test]
fn a_name_takes_the_place_of_an_endpoint_whichever_comes_first() {
    let key = SigningKey::generate();
    let nameless = record("10.0.0.1:7443", "10.0.0.1");
    let named = with_identity(record("a", "10.0.0.1"), &key);
    let other = record("10.0.0.2:7443", "10.0.0.2");
    let listing = union(&[("dns", &[&nameless, &other]), ("consul", &[&named])]);
    assert_eq!((ids(&listing), listing.warnings.len()), (vec!["a", "10.0.0.2:7443"], 0));
    let listing = union(&[("consul", &[&named]), ("dns", &[&other, &nameless])]);
    assert_eq!((ids(&listing), listing.warnings.len()), (vec!["a", "10.0.0.2:7443"], 0));
    // A third catalog's word about that endpoint is heard, too.
    let listing = union(&[("dns", &[&nameless]), ("consul", &[&named]), ("more", &[&nameless])]);
    assert_eq!(ids(&listing), ["a"]);
}

#[test]
fn an_identity_is_filled_in_and_never_overridden() {
    let [key, other] = [SigningKey::generate(), SigningKey::generate()];
    let bare = record("10.0.0.1:7443", "10.0.0.1");
    let named = with_identity(record("a", "10.0.0.1"), &key);
    let listing = union(&[("x", &[&record("a", "10.0.0.1")]), ("y", &[&named])]);
    assert_eq!(listing.nodes[0].identity, Some(key.public()));
    let pinned = with_identity(bare, &other);
    for (catalogs, kept) in
        [([("x", &pinned), ("y", &named)], &pinned), ([("x", &named), ("y", &pinned)], &named)]
    {
        let listing = union(
            &catalogs.map(|(name, node)| (name, [node])).each_ref().map(|(name, nodes)| (*name, &nodes[..])),
        );
        assert_eq!(&listing.nodes, std::slice::from_ref(kept));
        assert_said(&listing, &["another identity"]);
    }
    // What was filled in counts as known against a third catalog.
    let forged = with_identity(record("a", "10.0.0.1"), &other);
    let listing = union(&[("x", &[&record("a", "10.0.0.1")]), ("y", &[&named]), ("z", &[&forged])]);
    assert_eq!(listing.nodes[0].identity, Some(key.public()));
    assert_said(&listing, &["another identity", "z"]);
}

#[test]
fn what_the_first_leaves_open_is_filled_from_the_others() {
    let mut full = record("a", "10.0.0.1");
    full.region = "eu".into();
    full.zone = "eu-1".into();
    full.version = "0.3.0".into();
    full.browser_version = "156.0.1.1".into();
    full.tags = vec!["fast".into()];
    full.capacity = 4;
    full.weight = 9;
    full.meta = [("rack".into(), "r1".into())].into();
    let listing = union(&[("dns", &[&record("10.0.0.1:7443", "10.0.0.1")]), ("x", &[&full])]);
    assert_eq!(listing.nodes, [full.clone()]);
    let mut first = record("a", "10.0.0.1");
    first.region = "us".into();
    first.tags = vec!["own".into()];
    let listing = union(&[("x", &[&first]), ("y", &[&full])]);
    let node = &listing.nodes[0];
    assert_eq!((node.region.as_str(), node.zone.as_str()), ("us", ""), "a zone of another region");
    assert_eq!((node.version.as_str(), node.capacity, node.tags[0].as_str()), ("0.3.0", 4, "own"));
    assert_eq!((node.weight, node.meta.len()), (1, 0), "they belong to whoever named the node");
}

#[test]
fn the_worst_health_counts_and_is_said() {
    let passing = record("a", "10.0.0.1");
    let mut critical = passing.clone();
    critical.health = Health::Critical;
    for catalogs in [[("file", &passing), ("consul", &critical)], [("consul", &critical), ("file", &passing)]]
    {
        let listing = union(
            &catalogs.map(|(name, node)| (name, [node])).each_ref().map(|(name, nodes)| (*name, &nodes[..])),
        );
        assert_eq!(listing.nodes[0].health, Health::Critical);
        assert_said(&listing, &["node a", "file", "consul", "critical"]);
    }
}

#[test]
fn two_names_at_one_endpoint_that_nothing_joins_are_both_used_and_said() {
    let listing = union(&[("x", &[&record("a", "10.0.0.1")]), ("y", &[&record("b", "10.0.0.1")])]);
    assert_eq!(ids(&listing), ["a", "b"]);
    assert_said(&listing, &["a in x", "b in y", "10.0.0.1:7443"]);
    let within_one = union(&[("x", &[&record("a", "10.0.0.1"), &record("b", "10.0.0.1")])]);
    assert_eq!((within_one.nodes.len(), within_one.warnings.len()), (2, 0), "one catalog knows its own");
}

#[test]
fn only_so_many_conflicts_are_told_one_by_one() {
    let of = |count: usize| {
        let at =
            |address: &str| (0..count).map(|index| record(&format!("n{index}"), address)).collect::<Vec<_>>();
        let (here, there) = (at("10.0.0.1"), at("10.0.0.2"));
        union(&[("x", &here.iter().collect::<Vec<_>>()), ("y", &there.iter().collect::<Vec<_>>())])
    };
    assert_eq!(of(MAX_CONFLICTS).warnings.len(), MAX_CONFLICTS);
    let above = of(MAX_CONFLICTS + 2).warnings;
    assert_eq!(above.len(), MAX_CONFLICTS + 1);
    assert!(above[MAX_CONFLICTS].contains("2 more"), "{above:?}");
}

#[test]
fn a_name_that_takes_over_brings_its_own_reach() {
    let (nameless, named) = (record("n.example:7443", "n.example"), record("a", "N.example"));
    let listing = |node: &NodeRecord, reach| Listing {
        nodes: vec![node.clone()],
        names: [(node.id.clone(), reach)].into(),
        ..Listing::default()
    };
    let merged =
        merge([("dns", listing(&nameless, Reach::Loopback)), ("consul", listing(&named, Reach::Public))]);
    assert_eq!(merged.names, [(named.id, Reach::Public)].into());
}
