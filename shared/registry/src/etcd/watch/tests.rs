use super::*;

fn record(index: usize, address: &str) -> NodeRecord {
    serde_json::from_value(serde_json::json!({"id": format!("n{index}"), "address": address, "port": 1}))
        .expect("a record")
}

fn listing(count: usize, address: &str) -> Listing {
    Listing { nodes: (0..count).map(|index| record(index, address)).collect(), ..Listing::default() }
}

fn known(count: usize, address: &str) -> Known {
    let mut known = Known::default();
    known.learn(listing(count, address));
    known
}

fn news(records: &[NodeRecord]) -> BTreeMap<NodeId, Option<Entry>> {
    records.iter().map(|record| (record.id.clone(), None)).collect()
}

fn crowded(known: &Known, fresh: Vec<NodeRecord>, reach: Reach) -> bool {
    let news = news(&fresh);
    is_crowded(known, &news, &Listing { nodes: fresh, ..Listing::default() }, reach)
}

#[test]
fn one_more_than_a_catalog_may_hold_is_a_matter_of_the_whole() {
    let new = vec![record(MAX_NODES, "127.0.0.1")];
    assert!(!crowded(&known(MAX_NODES - 1, "127.0.0.1"), new.clone(), Reach::Loopback));
    assert!(crowded(&known(MAX_NODES, "127.0.0.1"), new, Reach::Loopback));
}

#[test]
fn so_is_an_address_that_is_full_or_has_a_seat_again() {
    let new = vec![record(MAX_NODES, "10.0.0.1")];
    assert!(!crowded(&known(MAX_NODES_PER_ADDRESS - 2, "10.0.0.1"), new.clone(), Reach::Private));
    let full = known(MAX_NODES_PER_ADDRESS, "10.0.0.1");
    assert!(crowded(&full, new.clone(), Reach::Private));
    assert!(!crowded(&full, new, Reach::Loopback), "no cap on what is near");
    assert!(!crowded(&full, vec![record(MAX_NODES, "10.0.0.2")], Reach::Private), "another address");
    let gone = news(&[record(3, "10.0.0.1")]);
    assert!(
        is_crowded(&full, &gone, &Listing::default(), Reach::Private),
        "others may be waiting for that seat"
    );
    let stranger = news(&[record(MAX_NODES, "10.0.0.1")]);
    assert!(!is_crowded(&full, &stranger, &Listing::default(), Reach::Private), "it had none");
}
