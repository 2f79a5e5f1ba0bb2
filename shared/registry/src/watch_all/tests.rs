use std::time::Duration;

use cbrowse_protocol::node::Health;
use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::sync::mpsc;

use super::*;
use crate::{catalog::ChangeStream, uri::CatalogUri};

fn record(id: &str, port: u16) -> NodeRecord {
    serde_json::from_value(serde_json::json!({"id": id, "address": "127.0.0.1", "port": port}))
        .expect("a record")
}

fn listing<const COUNT: usize>(nodes: [&NodeRecord; COUNT]) -> Listing {
    Listing { nodes: nodes.map(NodeRecord::clone).to_vec(), ..Listing::default() }
}

fn down(why: &str) -> CatalogError {
    Cause::Unreachable(why.into()).of(&"a")
}

fn board() -> Board {
    Board::new(["a", "b"].map(str::to_owned).into_iter())
}

fn added(record: &NodeRecord) -> Event {
    Event::Added(Box::new(record.clone()))
}

fn removed(record: &NodeRecord) -> Event {
    Event::Removed(Box::new(record.clone()))
}

fn up(catalog: &str) -> Event {
    Event::SourceUp { catalog: catalog.into() }
}

fn failed(catalog: &str, error: CatalogError) -> Event {
    Event::SourceDown { catalog: catalog.into(), error }
}

#[test]
fn a_node_of_two_catalogs_is_one_and_stays_until_both_have_lost_it() {
    let (mut board, now) = (board(), Instant::now());
    let (one, two) = (record("one", 1), record("two", 2));
    assert_eq!(board.learn(0, Ok(Change::Reset(listing([&one]))), now), [up("a"), added(&one)]);
    let both = Change::Reset(listing([&one, &two]));
    assert_eq!(board.learn(1, Ok(both), now), [up("b"), added(&two), Event::Ready { nodes: 2 }]);
    assert_eq!(board.learn(0, Ok(Change::Remove(vec![one.id.clone()])), now), []);
    assert_eq!(board.learn(1, Ok(Change::Remove(vec![one.id.clone()])), now), [removed(&one)]);
}

#[test]
fn an_update_says_what_differs() {
    let (mut board, now) = (board(), Instant::now());
    let before = record("one", 1);
    board.learn(0, Ok(Change::Reset(listing([&before]))), now);
    let after = NodeRecord { health: Health::Warning, version: "0.2.0".into(), ..before };
    let events = board.learn(0, Ok(Change::Add(listing([&after]))), now);
    assert_eq!(events, [Event::Updated { node: Box::new(after), changed: vec!["version", "health"] }]);
}

#[test]
fn a_failure_keeps_what_is_known_and_is_told_once() {
    let (mut board, now) = (board(), Instant::now());
    let one = record("one", 1);
    board.learn(0, Ok(Change::Reset(listing([&one]))), now);
    assert_eq!(
        board.learn(1, Err(down("refused")), now),
        [failed("b", down("refused")), Event::Ready { nodes: 1 }]
    );
    assert_eq!(board.learn(0, Err(down("refused")), now), [failed("a", down("refused"))]);
    assert_eq!(board.learn(0, Err(down("refused")), now), []);
    assert_eq!(board.learn(0, Err(down("reset")), now), [failed("a", down("reset"))]);
    assert_eq!(board.nodes.len(), 1);
    // Back, and empty: what it held is gone.
    assert_eq!(board.learn(0, Ok(Change::Reset(Listing::default())), now), [up("a"), removed(&one)]);
}

#[test]
fn a_warning_is_told_once_and_once_more_when_it_holds_no_longer() {
    let (mut board, now) = (board(), Instant::now());
    let well = record("one", 1);
    let unwell = NodeRecord { health: Health::Warning, ..well.clone() };
    board.learn(0, Ok(Change::Reset(listing([&well]))), now);
    let events = board.learn(1, Ok(Change::Reset(listing([&unwell]))), now);
    let told = events.iter().find_map(|event| match event {
        Event::Warning(text) => Some(text.clone()),
        _ => None,
    });
    let told = told.expect("the catalogs disagree");
    assert_eq!(board.learn(1, Ok(Change::Reset(listing([&unwell]))), now), []);
    let events = board.learn(1, Ok(Change::Reset(listing([&well]))), now);
    assert!(events.contains(&Event::Resolved(told)), "{events:?}");
}

#[test]
fn a_catalog_that_is_heard_again_is_up_although_nothing_changed() {
    let (mut board, now) = (board(), Instant::now());
    board.learn(0, Ok(Change::Reset(Listing::default())), now);
    board.learn(0, Err(down("refused")), now);
    assert_eq!(board.recover(|_| Some(now)), [], "that was before it failed");
    let later = now + Duration::from_millis(1);
    assert_eq!(board.recover(|_| Some(later)), [up("a")]);
    assert_eq!(board.recover(|_| Some(later)), []);
}

#[test]
fn what_is_not_there_any_more_holds_nothing() {
    let (mut board, now) = (board(), Instant::now());
    let one = record("one", 1);
    board.learn(0, Ok(Change::Reset(listing([&one]))), now);
    let events = board.learn(0, Ok(Change::DoesNotExist), now);
    assert!(matches!(&events[0], Event::SourceDown { catalog, .. } if catalog == "a"), "{events:?}");
    assert_eq!(events[1..], [removed(&one)]);
}

#[test]
fn a_conflict_is_said_when_it_begins() {
    let (mut board, now) = (board(), Instant::now());
    board.learn(0, Ok(Change::Reset(listing([&record("one", 1)]))), now);
    let conflicting = Change::Reset(listing([&record("one", 2)]));
    let events = board.learn(1, Ok(conflicting.clone()), now);
    let warnings = |events: &[Event]| {
        events.iter().filter(|event| matches!(event, Event::Warning(text) if text.contains("one"))).count()
    };
    assert_eq!(warnings(&events), 1, "{events:?}");
    assert_eq!(board.learn(1, Ok(conflicting), now), []);
}

/// Tells what its test sends it, and that it was heard.
struct Told(CatalogUri, std::sync::Mutex<Option<mpsc::Receiver<Result<Change, CatalogError>>>>);

impl Catalog for Told {
    fn uri(&self) -> &CatalogUri {
        &self.0
    }
    fn list(&self) -> BoxFuture<'_, Result<Listing, CatalogError>> {
        std::future::pending().boxed()
    }
    fn watch(&self) -> ChangeStream {
        let told = self.1.lock().unwrap().take().expect("watched once");
        stream::unfold(told, |mut told| async { Some((told.recv().await?, told)) }).boxed()
    }
}

#[tokio::test]
async fn word_from_a_silent_registry_wakes_the_watcher() {
    let figures = Figures::default();
    let uri: CatalogUri = "file:x".parse().unwrap();
    let (sender, told) = mpsc::channel(4);
    let catalog: Box<dyn Catalog> = Box::new(Told(uri.clone(), std::sync::Mutex::new(Some(told))));
    let mut events = watch_all(&[catalog], &figures);
    sender.send(Ok(Change::Reset(Listing::default()))).await.unwrap();
    assert_eq!(events.next().await, Some(up("file:x")));
    assert_eq!(events.next().await, Some(Event::Ready { nodes: 0 }));
    sender.send(Err(down("refused"))).await.unwrap();
    assert!(matches!(events.next().await, Some(Event::SourceDown { .. })));
    assert_eq!(events.next().now_or_never(), None);
    figures.meter(&uri).heard();
    assert_eq!(events.next().await, Some(up("file:x")));
}
