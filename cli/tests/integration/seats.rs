//! Seats on real nodes: a place that is kept holds, ends when it should, and helps nobody else.

use std::time::Duration;

use cbrowse::attach::connection::Response;
use cbrowse_protocol::{
    api::{Problem, SessionView, Status},
    identity::SigningKey,
    seat::{SEAT_HEADER, Seat},
};
use cbrowse_testkit::{
    fleet::Fleet,
    node::{Node, Options},
};
use http::{HeaderName, Method};
use tokio::time::{Instant, sleep};

use crate::{
    caller::{Caller, seat, session},
    profile_sealing::{make_source, profile},
    user::{DEADLINE, User},
};

/// A node with one seat, and two users.
async fn stage() -> (Fleet, Node, Caller, Caller) {
    let fleet = Fleet::new().unwrap();
    let node =
        Node::start(Options::of(&fleet, "fra-1", "eu-central").with("--max-sessions", 1)).await.unwrap();
    let (ada, bob) = (Caller::of(&fleet, "ada"), Caller::of(&fleet, "bob"));
    (fleet, node, ada, bob)
}

fn read(answer: Result<Response, Problem>) -> Seat {
    serde_json::from_slice(&answer.expect("a seat").body).expect("as JSON")
}

fn on(seat: &Seat) -> cbrowse::attach::connection::Ask<'static> {
    session().header(HeaderName::from_static(SEAT_HEADER), seat.to_text().parse().unwrap())
}

/// Status, code, and whether it was said when to come again.
fn refused(answer: Result<Response, Problem>) -> (u16, String, bool) {
    let problem = answer.expect_err("refused");
    (problem.status, problem.code.clone(), problem.wait().is_some())
}

const FULL: (u16, &str, bool) = (503, "full", true);

#[track_caller]
fn assert_refused(answer: Result<Response, Problem>, (status, code, waits): (u16, &str, bool)) {
    assert_eq!(refused(answer), (status, code.to_owned(), waits));
}

async fn status(caller: &Caller, node: &Node) -> Status {
    caller.connect(node).await.get_status(Duration::from_secs(20)).await.unwrap()
}

#[tokio::test]
async fn a_seat_keeps_others_out_until_its_own_session_begins() {
    let (_fleet, node, ada, bob) = stage().await;
    let mut connection = ada.connect(&node).await;
    let held = read(ada.ask_on(&mut connection, seat()).await);
    assert!(held.is_of(connection.identity()) && held.subject == "ada", "{held:?}");
    let told = status(&bob, &node).await;
    assert_eq!((told.sessions, told.reserved, told.capacity), (0, 1, 1));
    assert_refused(bob.ask(&node, seat()).await, FULL);
    assert_refused(bob.ask(&node, session()).await, FULL);
    // Nor may its own user begin without it, on the side: the place is for one session.
    assert_refused(ada.ask(&node, session()).await, FULL);
    let begun = ada.ask_on(&mut connection, on(&held)).await.expect("a session");
    let begun: SessionView = serde_json::from_slice(&begun.body).expect("as JSON");
    let told = status(&bob, &node).await;
    assert_eq!((told.sessions, told.reserved), (1, 0));
    // Once is enough: brought again, it is worth nothing.
    assert_refused(ada.ask(&node, on(&held)).await, FULL);
    let path = format!("/v1/sessions/{}", begun.id);
    ada.ask(&node, cbrowse::attach::connection::Ask::new(Method::DELETE, &path)).await.expect("closed");
}

#[tokio::test]
async fn a_seat_ends_with_its_connection_and_when_it_is_given_back() {
    let (_fleet, node, ada, bob) = stage().await;
    let mut connection = ada.connect(&node).await;
    let held = read(ada.ask_on(&mut connection, seat()).await);
    let path = format!("/v1/seats/{}", held.id);
    let release = || cbrowse::attach::connection::Ask::new(Method::DELETE, &path);
    assert_refused(bob.ask(&node, release()).await, (404, "no_seat", false));
    ada.ask(&node, release()).await.expect("given back");
    assert_refused(ada.ask(&node, release()).await, (404, "no_seat", false));
    // As after a restart of the node: it is signed, and nobody knows it. That helps nobody, and hurts nobody.
    let mut of_bob = bob.connect(&node).await;
    read(bob.ask_on(&mut of_bob, seat()).await);
    assert_refused(ada.ask_on(&mut connection, on(&held)).await, FULL);

    drop(of_bob);
    // The node has to read the end of the connection first.
    let deadline = Instant::now() + DEADLINE;
    while status(&ada, &node).await.reserved > 0 {
        assert!(Instant::now() < deadline, "the seat is still held");
        sleep(Duration::from_millis(20)).await;
    }
    read(ada.ask_on(&mut connection, seat()).await);
}

#[tokio::test]
async fn a_seat_that_was_forged_borrowed_or_carried_elsewhere_is_refused() {
    let (fleet, node, ada, bob) = stage().await;
    let other = Node::start(Options::of(&fleet, "fra-2", "eu-central")).await.unwrap();
    let mut connection = ada.connect(&node).await;
    let held = read(ada.ask_on(&mut connection, seat()).await);
    let forged = (403, "seat_forged", false);
    let longer = Seat { expires: held.expires + 1, ..held.clone() };
    assert_refused(ada.ask(&node, on(&longer)).await, forged);
    let own = held.clone().signed(&SigningKey::generate());
    assert_refused(ada.ask(&node, on(&own)).await, forged);
    assert_refused(ada.ask(&other, on(&held)).await, forged);
    assert_refused(bob.ask(&node, on(&held)).await, (403, "seat_foreign", false));
    // The same user with another key.
    let twin = Caller::of(&fleet, "ada");
    assert_refused(twin.ask(&node, on(&held)).await, (403, "seat_foreign", false));
    let garbage = session().header(HeaderName::from_static(SEAT_HEADER), "e30".parse().unwrap());
    assert_refused(ada.ask(&node, garbage).await, (400, "seat_malformed", false));
    let told = status(&bob, &node).await;
    assert_eq!((told.sessions, told.reserved), (0, 1), "none of it moved the seat");
}

#[tokio::test]
async fn a_user_has_one_seat_and_whoever_asks_without_end_is_told_to_wait() {
    let fleet = Fleet::new().unwrap();
    let node =
        Node::start(Options::of(&fleet, "fra-1", "eu-central").with("--max-sessions", 3)).await.unwrap();
    let ada = Caller::of(&fleet, "ada");
    let mut connection = ada.connect(&node).await;
    let mut seats = Vec::new();
    let refusal = loop {
        match ada.ask_on(&mut connection, seat()).await {
            Ok(answer) => seats.push(read(Ok(answer))),
            Err(problem) => break problem,
        }
        // Three fit, and yet all of them are given: one takes the other's place.
        assert!(seats.len() < 1000, "nobody stops it");
    };
    assert_eq!((refusal.status, refusal.code.as_str()), (429, "too_many_requests"));
    assert!(refusal.wait().is_some(), "{refusal:?}");
    assert!(seats.len() > 3 && status(&ada, &node).await.reserved == 1, "{}", seats.len());
    let bob = Caller::of(&fleet, "bob");
    read(bob.ask_on(&mut bob.connect(&node).await, seat()).await);
}

#[tokio::test]
async fn an_overloaded_node_says_so_and_when_to_come_again() {
    let fleet = Fleet::new().unwrap();
    let options = Options::of(&fleet, "fra-1", "eu-central").with("--health-memory", "0%,0%");
    let node = Node::start(options).await.unwrap();
    let ada = Caller::of(&fleet, "ada");
    for ask in [seat(), session()] {
        let problem = ada.ask(&node, ask).await.expect_err("overloaded");
        assert_eq!((problem.status, problem.code.as_str()), (503, "overloaded"));
        assert!(problem.wait().is_some() && problem.detail.contains("memory"), "{problem:?}");
    }
    // Whoever connects hears it once, and so does whoever asks later.
    let user = User::of(&fleet).await.knowing(&[&node]);
    let ended = user.run(&["connect", "--view", "none", "--screenshot", "page.png"]).await;
    assert_ne!(ended.code, Some(0), "{}", ended.stderr);
    let last = user.run(&["explain", "last", "--json"]).await.document();
    let failed: Vec<_> = last["failed_over"].as_array().expect("a list").iter().collect();
    assert_eq!(failed.len(), 1, "{last}");
    assert_eq!(failed[0]["node"], "fra-1");
}

#[tokio::test]
async fn the_place_is_held_while_a_profile_travels_and_nothing_is_asked_for_without_one() {
    let fleet = Fleet::new().unwrap();
    let node = Node::start(Options::of(&fleet, "fra-1", "eu-central")).await.unwrap();
    let user = User::of(&fleet).await.knowing(&[&node]);
    let source = make_source(&user);
    profile(&user, &["create", "work", "--from", &source]).await.succeeded();
    let picture =
        ["connect", "http://cbrowse.internal/colours", "--view", "none", "--screenshot", "page.png"];
    for (more, granted) in [(&[][..], 0), (&["--profile", "work", "--passphrase-fd", "0"], 1)] {
        user.run(&[&picture[..], more].concat()).await.succeeded();
        let line = format!("cbrowse_node_seats_asked_total{{outcome=\"granted\"}} {granted}");
        let metrics = metrics(&node).await;
        let found = metrics.lines().any(|found| found == line);
        // A counter that nobody has counted is not there.
        assert_eq!(found, granted > 0, "{line} in\n{metrics}");
        assert!(granted > 0 || !metrics.contains("seats_asked_total{"), "{metrics}");
        assert!(metrics.lines().any(|line| line == "cbrowse_node_seats_reserved 0"), "{metrics}");
    }
}

async fn metrics(node: &Node) -> String {
    let output = tokio::process::Command::new("curl")
        .args(["--silent", "--show-error", "--insecure", "--max-time", "20"])
        .arg(format!("https://{}/metrics", node.endpoint()))
        .output()
        .await
        .expect("curl runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}
