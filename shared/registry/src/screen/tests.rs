use super::*;

fn candidate(id: &str, address: &str, port: u16) -> Candidate {
    let record = serde_json::from_value(serde_json::json!({"id": id, "address": address, "port": port}));
    Candidate { entry: id.to_owned(), record: record.map_err(|error| error.to_string()) }
}

fn ids(listing: &Listing) -> Vec<&str> {
    listing.nodes.iter().map(|node| node.id.as_str()).collect()
}

#[test]
fn garbage_is_set_aside_one_by_one_and_the_others_serve() {
    let candidates = [
        candidate("good", "9.9.9.9", 7443),
        candidate("port", "9.9.9.9", 0),
        candidate("\u{1b}[31m", "9.9.9.9", 1),
        candidate("good", "8.8.8.8", 7443),
        candidate("inside", "192.168.1.1", 80),
        candidate("name", "node.example.com", 7443),
    ];
    let listing = screen(candidates, Reach::Public);
    assert_eq!(ids(&listing), ["good", "name"]);
    assert_eq!(listing.nodes[0].address, "9.9.9.9");
    let reasons: Vec<_> = listing.rejected.iter().map(|r| r.reason.as_str()).collect();
    assert_eq!(reasons.len(), 4);
    assert!(reasons[0].contains("port 0") && reasons[2].contains("same id"), "{reasons:?}");
    assert!(reasons[3].contains("private"), "{reasons:?}");
    assert!(!listing.rejected[1].entry.contains('\u{1b}'));
}

#[test]
fn a_name_cannot_hide_an_address() {
    for address in
        ["127.1", "2130706433", "0x7f000001", "0177.0.0.1", "1.2.3.0x4", "localhost", "a.LOCALHOST"]
    {
        let listing = screen([candidate("n", address, 80)], Reach::Private);
        assert!(listing.nodes.is_empty(), "{address}");
    }
    assert_eq!(screen([candidate("n", "localhost", 80)], Reach::Loopback).nodes.len(), 1);
}

#[test]
fn a_name_is_judged_again_when_it_is_resolved() {
    let listing = screen([candidate("n", "node.example.com", 80)], Reach::Public);
    let id = &listing.nodes[0].id;
    assert!(listing.permits(id, "9.9.9.9".parse().unwrap()));
    assert!(!listing.permits(id, "127.0.0.1".parse().unwrap()));
    let listing = screen([candidate("n", "node.example.com", 80)], Reach::Anything);
    assert!(listing.permits(&listing.nodes[0].id, "127.0.0.1".parse().unwrap()));
}

/// As many nodes as asked for, the address of each out of its number.
fn many(count: usize, address: impl Fn(usize) -> String, reach: Reach) -> Listing {
    let port = |index: usize| u16::try_from(index + 1).unwrap();
    screen((0..count).map(|index| candidate(&format!("n{index}"), &address(index), port(index))), reach)
}

#[test]
fn the_cap_on_one_address_holds_below_at_and_above() {
    // Another spelling of one host does not help.
    let spelled = |index: usize| match index % 3 {
        0 => "10.0.0.1".to_owned(),
        1 => "::ffff:10.0.0.1".to_owned(),
        _ => "::ffff:0a00:0001".to_owned(),
    };
    for (count, over) in
        [(MAX_NODES_PER_ADDRESS - 1, 0), (MAX_NODES_PER_ADDRESS, 0), (MAX_NODES_PER_ADDRESS + 1, 1)]
    {
        assert_eq!(many(count, spelled, Reach::Private).rejected.len(), over, "{count}");
        let names = many(
            count,
            |index| if index % 2 == 0 { "n.example" } else { "N.example" }.into(),
            Reach::Private,
        );
        assert_eq!(names.rejected.len(), over, "{count} names");
    }
    let above = many(MAX_NODES_PER_ADDRESS + 1, spelled, Reach::Private);
    assert!(
        above.rejected[0].reason.contains("64 nodes at ::ffff:10.0.0.1 are enough"),
        "{:?}",
        above.rejected
    );
    assert_eq!(many(MAX_NODES_PER_ADDRESS + 1, spelled, Reach::Anything).rejected.len(), 0);
}

#[test]
fn the_cap_on_one_network_holds_below_at_and_above() {
    let v4 = |index: usize| format!("9.9.9.{}", index % 256);
    let v6 = |index: usize| format!("2620:fe:1:{index:x}::{index:x}");
    for (count, over) in
        [(MAX_NODES_PER_NETWORK - 1, 0), (MAX_NODES_PER_NETWORK, 0), (MAX_NODES_PER_NETWORK + 1, 1)]
    {
        assert_eq!(many(count, v4, Reach::Public).rejected.len(), over, "{count}");
        assert_eq!(many(count, v6, Reach::Public).rejected.len(), over, "{count} over IPv6");
        let neighbours = many(count, |index| format!("9.9.{}.{}", 8 + index % 2, index % 256), Reach::Public);
        assert_eq!(neighbours.rejected.len(), 0, "{count} in two networks");
    }
    let above = |address: &dyn Fn(usize) -> String| {
        many(MAX_NODES_PER_NETWORK + 1, address, Reach::Public).rejected.remove(0).reason
    };
    assert!(above(&v4).starts_with("1024 nodes in 9.9.9.0/24 are enough"), "{}", above(&v4));
    assert!(above(&v6).starts_with("1024 nodes in 2620:fe:1::/48 are enough"), "{}", above(&v6));
    assert_eq!(many(MAX_NODES_PER_NETWORK + 1, v4, Reach::Loopback).rejected.len(), 0);
}

#[test]
fn every_limit_of_a_record_holds_below_at_and_above() {
    use cbrowse_protocol::node::{MAX_FIELD_LENGTH, MAX_META, MAX_META_VALUE_LENGTH, MAX_TAGS};
    type Spoil = fn(&mut NodeRecord, usize);
    let limits: [(&str, usize, Spoil); 7] = [
        ("region", MAX_FIELD_LENGTH, |record, length| record.region = "x".repeat(length)),
        ("zone", MAX_FIELD_LENGTH, |record, length| record.zone = "x".repeat(length)),
        ("version", MAX_FIELD_LENGTH, |record, length| record.version = "x".repeat(length)),
        ("tags", MAX_TAGS, |record, count| record.tags = vec!["x".into(); count]),
        ("tags", MAX_FIELD_LENGTH, |record, length| record.tags = vec!["x".repeat(length)]),
        ("meta", MAX_META, |record, count| {
            record.meta = (0..count).map(|index| (index.to_string(), String::new())).collect();
        }),
        ("meta", MAX_META_VALUE_LENGTH, |record, length| {
            record.meta = [("k".into(), "x".repeat(length))].into();
        }),
    ];
    for (field, limit, spoil) in limits {
        for (size, fits) in [(limit - 1, true), (limit, true), (limit + 1, false), (1 << 20, false)] {
            let mut entry = candidate("n", "9.9.9.9", 1);
            spoil(entry.record.as_mut().unwrap(), size);
            let listing = screen([entry], Reach::Public);
            assert_eq!(listing.nodes.len(), usize::from(fits), "{field} of {size}");
            let reason = listing.rejected.first().map_or(String::new(), |rejected| rejected.reason.clone());
            assert!(fits || (reason.contains(field) && reason.contains(&limit.to_string())), "{reason}");
        }
    }
    for (port, fits) in [(0, false), (1, true), (u16::MAX, true)] {
        assert_eq!(screen([candidate("n", "9.9.9.9", port)], Reach::Public).nodes.len(), usize::from(fits));
    }
}

#[test]
fn a_reason_and_an_entry_of_any_length_are_cut() {
    let long = "\u{1b}]0;x".repeat(1 << 18);
    let entry = Candidate { entry: long.clone(), record: Err(long) };
    let listing = screen([entry], Reach::Public);
    let Rejected { entry, reason, .. } = &listing.rejected[0];
    assert_eq!((entry.chars().count(), reason.chars().count()), (SHOWN_LENGTH, 2 * SHOWN_LENGTH));
    assert!(!entry.contains('\u{1b}') && !reason.contains('\u{1b}'));
}

#[test]
fn the_cap_on_a_catalog_holds_at_and_above() {
    let of = |count: usize| {
        screen((0..count).map(|i| candidate(&format!("n{i}"), "127.0.0.1", 1)), Reach::Loopback)
    };
    let at = of(MAX_NODES);
    assert_eq!((at.nodes.len(), at.warnings.len()), (MAX_NODES, 0));
    let above = of(MAX_NODES + 1);
    assert_eq!((above.nodes.len(), above.warnings.len()), (MAX_NODES, 1));
}

#[test]
fn a_flood_of_garbage_is_counted_and_not_kept() {
    let listing = screen((0..MAX_REJECTED + 7).map(|_| candidate("", "", 0)), Reach::Public);
    assert_eq!(listing.rejected.len(), MAX_REJECTED);
    assert!(listing.warnings[0].starts_with("7 more"), "{:?}", listing.warnings);
}

#[test]
fn names_are_no_way_round_the_caps() {
    let count = MAX_NODES_PER_NETWORK + 1;
    let node = |index: usize| candidate(&format!("n{index}"), &format!("n{index}.example"), 80);
    let leads = |reach, address: fn(usize) -> [u8; 4]| {
        let listing = screen((0..count).map(node), reach);
        let permits = listing.gate();
        let led = (0..count).filter(|&at| permits(&listing.nodes[at].id, IpAddr::from(address(at))));
        led.count()
    };
    assert_eq!(leads(Reach::Public, |_| [192, 0, 2, 1]), MAX_NODES_PER_ADDRESS);
    let spread = |at: usize| [192, 0, 2, u8::try_from(at % 256).unwrap_or(0)];
    assert_eq!(leads(Reach::Public, spread), MAX_NODES_PER_NETWORK);
    assert_eq!(leads(Reach::Private, |_| [127, 0, 0, 1]), 0);
    assert_eq!(leads(Reach::Loopback, |_| [127, 0, 0, 1]), count);
    assert_eq!(leads(Reach::Anything, |_| [127, 0, 0, 1]), count);
}
