//! User events on real agents: fired here, heard there, told once.

use std::time::Duration;

use cbrowse_registry::{
    CatalogError, Cause, Environment, Options,
    events::{Event, EventStream, Events, Filters, MAX_EVENT_LENGTH, Past},
};
use cbrowse_testkit::consul::Consul;
use futures_util::StreamExt as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{
    fake::{Scripted, good},
    start,
};
use crate::support::DEADLINE;

fn events(uri: &str) -> Events {
    Events::open(&uri.parse().expect(uri), &Options::default()).expect("opens")
}

async fn fire(events: &Events, name: &str, payload: &[u8]) -> String {
    events.fire(name, payload, &Filters::default()).await.expect("fires")
}

async fn next(stream: &mut EventStream) -> Event {
    let next = tokio::time::timeout(DEADLINE, stream.next()).await.expect("no event came");
    next.expect("a watch has no end").expect("an agent answers")
}

/// Until an agent heard the event, so that what follows is later.
async fn heard(consul: &Consul, id: &str) {
    let waiting = async {
        loop {
            let all = consul.request("GET", "/v1/event/list", None).await.expect("events").to_string();
            if all.contains(id) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, waiting).await.expect("the event never came");
}

#[tokio::test]
async fn what_is_fired_is_told_once_with_its_bytes_and_the_past_only_when_asked() {
    let consul = start().await;
    let events = events(&consul.http_uri());
    let early = fire(&events, "deploy", b"early").await;
    heard(&consul, &early).await;
    let mut fresh = events.watch(Some("deploy"), Past::Skip).await.expect("begins");
    let mut all = events.watch(None, Past::Tell).await.expect("begins");
    assert_eq!(next(&mut all).await.id, early);

    let bytes = b"\x00\xff\x1b[2J";
    let mut expected = Vec::new();
    for payload in [&bytes[..], b"", b"two"] {
        let id = fire(&events, "deploy", payload).await;
        heard(&consul, &id).await;
        expected.push((id, payload.to_vec()));
    }
    let other = fire(&events, "other", b"x").await;
    for (id, payload) in &expected {
        let event = next(&mut fresh).await;
        assert_eq!((&event.id, &event.payload, event.name.as_str()), (id, payload, "deploy"));
        assert_eq!(&next(&mut all).await.id, id);
    }
    assert_eq!(next(&mut all).await.id, other);
    // The last one of that name ends the silence of the others: nothing was told between.
    let last = fire(&events, "deploy", b"last").await;
    assert_eq!(next(&mut fresh).await.id, last);
}

#[tokio::test]
async fn many_events_arrive_each_once() {
    const COUNT: usize = 40;
    let consul = start().await;
    let events = events(&consul.http_uri());
    let mut stream = events.watch(Some("tick"), Past::Skip).await.expect("begins");
    let firing = async {
        let mut ids = Vec::new();
        for number in 0..COUNT {
            ids.push(fire(&events, "tick", number.to_string().as_bytes()).await);
        }
        ids
    };
    let hearing = async {
        let mut ids = Vec::new();
        while ids.len() < COUNT {
            ids.push(next(&mut stream).await.id);
        }
        ids
    };
    let (mut fired, mut told) = tokio::join!(firing, hearing);
    fired.sort_unstable();
    told.sort_unstable();
    assert_eq!(fired, told);
}

#[tokio::test]
async fn another_agent_goes_on_where_the_first_one_broke_off() {
    let server = start().await;
    let mut agent = server.client(&[]).await.expect("a client joins");
    let events = events(&format!("{},{}", agent.http_uri(), server.http_address()));
    let mut stream = events.watch(Some("deploy"), Past::Skip).await.expect("begins");
    let before = fire(&events, "deploy", b"1").await;
    assert_eq!(next(&mut stream).await.id, before);
    heard(&server, &before).await;
    agent.kill();
    // The server's list holds the first event, too.
    let after = fire(&events, "deploy", b"2").await;
    let event = next(&mut stream).await;
    assert_eq!((event.id, event.payload), (after, b"2".to_vec()));
}

#[tokio::test]
async fn a_watch_survives_the_agents_restart() {
    let mut consul = start().await;
    let events = events(&consul.http_uri());
    let mut stream = events.watch(Some("deploy"), Past::Skip).await.expect("begins");
    fire(&events, "deploy", b"1").await;
    assert_eq!(next(&mut stream).await.payload, b"1");
    consul.kill();
    let error = tokio::time::timeout(DEADLINE, stream.next()).await.expect("in time").expect("goes on");
    assert!(error.expect_err("nobody is there").is_transient());
    assert!(events.watch(None, Past::Skip).await.is_err(), "a new one does not begin");
    consul.restart().await.expect("it comes back");
    // The stream comes back in its own time; what it hears then is new to it.
    let hearing = async {
        loop {
            if let Some(Ok(event)) = stream.next().await {
                break event;
            }
        }
    };
    let firing = async {
        loop {
            let _ = events.fire("deploy", b"2", &Filters::default()).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let event = tokio::select! {
        event = tokio::time::timeout(DEADLINE, hearing) => event.expect("in time"),
        () = firing => unreachable!("it fires for ever"),
    };
    assert_eq!(event.payload, b"2");
}

/// Whether Consul itself takes this payload.
async fn takes(consul: &Consul, name: &str, payload: &[u8]) -> bool {
    let mut stream = TcpStream::connect(consul.http_address()).await.expect("loopback works");
    let length = payload.len();
    let head = format!("PUT /v1/event/fire/{name} HTTP/1.0\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(&[head.as_bytes(), payload].concat()).await.expect("it is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    answer.starts_with("HTTP/1.0 200")
}

#[tokio::test]
async fn consul_takes_what_is_let_through_and_hardly_more() {
    let consul = start().await;
    let events = events(&consul.http_uri());
    for name in ["d", "deploy", "a-rather-long-name-for-an-event-of-a-fleet"] {
        let refused = async |length: usize| {
            events
                .fire(name, &vec![b'x'; length], &Filters::default())
                .await
                .err()
                .map(|error| error.to_string())
        };
        let mut limit = MAX_EVENT_LENGTH;
        while refused(limit).await.is_some() {
            limit -= 1;
        }
        let text = refused(limit + 1).await.expect("one more does not fit");
        assert!(text.contains(&(limit + 1).to_string()) && text.contains(&limit.to_string()), "{text}");
        assert!(!takes(&consul, name, &vec![b'x'; limit + 32]).await, "{name}: {limit} is far too careful");
    }
}

#[tokio::test]
async fn filters_travel_and_bad_ones_are_refused() {
    let consul = start().await;
    let events = events(&consul.http_uri());
    let mut stream = events.watch(None, Past::Skip).await.expect("begins");
    let to_nobody = Filters { service: "^none$".into(), ..Filters::default() };
    events.fire("missed", b"", &to_nobody).await.expect("fires");
    let to_all = Filters { node: "^.+$".into(), ..Filters::default() };
    events.fire("a b/ü?", b"hello", &to_all).await.expect("fires");
    let event = next(&mut stream).await;
    assert_eq!((event.name.as_str(), event.filters), ("a b/ü?", to_all));
    let bad = Filters { node: "(".into(), ..Filters::default() };
    let error = events.fire("deploy", b"", &bad).await.expect_err("no regular expression").to_string();
    assert!(
        error.contains("regex") || error.contains("regexp") || error.contains("missing closing"),
        "{error}"
    );
}

#[tokio::test]
async fn a_token_without_the_right_is_refused() {
    let configuration = r#"acl { enabled = true
default_policy = "deny"
tokens { master = "11111111-2222-3333-4444-555555555555" } }"#;
    let token = "11111111-2222-3333-4444-555555555555";
    let consul = Consul::start_with(&[configuration], Some(token)).await.expect("consul starts");
    let error =
        events(&consul.http_uri()).fire("deploy", b"", &Filters::default()).await.expect_err("no right");
    assert!(matches!(error, CatalogError::One { cause: Cause::Refused { status: 403, .. }, .. }), "{error}");
    let options: Options = Environment::default().with("CONSUL_HTTP_TOKEN", token).into();
    let events = Events::open(&consul.http_uri().parse().expect("a catalog"), &options).expect("opens");
    fire(&events, "deploy", b"").await;
}

#[tokio::test]
async fn an_index_of_zero_is_never_sent_and_garbage_is_an_error() {
    // The index is a hash of the last event's id; no real one can be made to be zero.
    let server = Scripted::start(|_, number| match number {
        0 => Some(good("X-Consul-Index: 0\r\n", "[]")),
        1 => Some(good("X-Consul-Index: 7\r\n", r#"[{"ID":"a","Name":"deploy","Payload":"!!"}]"#)),
        _ => None,
    })
    .await;
    let mut stream = events(&server.uri()).watch(Some("de&ploy"), Past::Skip).await.expect("begins");
    let error = stream.next().await.expect("goes on").expect_err("no base64");
    assert!(error.to_string().contains("payload"), "{error}");
    let asked = server.asked();
    assert!(asked[0].contains("name=de%26ploy ") && asked[1].contains("index=1&wait="), "{asked:?}");
}
