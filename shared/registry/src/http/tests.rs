use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    thread::{self, JoinHandle},
};

use super::*;
use crate::figures::Figures;

const WORDS: Words = Words { token: "TEST_TOKEN", authority: "TEST_CACERT" };
const DEADLINE: Duration = Duration::from_secs(5);

fn transport(endpoints: &[Authority]) -> Transport {
    let meter = Figures::default().meter(&"test");
    Transport::new(endpoints, &Tls::default(), WORDS, meter).expect("settings that work")
}

/// Answers `count` requests, each with the same bytes.
fn answering(answer: &'static str, count: usize) -> (Authority, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback works");
    let port = listener.local_addr().expect("it is bound").port();
    let server = thread::spawn(move || {
        for _ in 0..count {
            let (mut stream, _) = listener.accept().expect("loopback works");
            let _ = stream.read(&mut [0; 4096]).expect("a request comes");
            stream.write_all(answer.as_bytes()).expect("the client reads");
        }
    });
    (Authority { host: "127.0.0.1".into(), port }, server)
}

/// A port where nobody listens.
fn dead() -> Authority {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback works");
    Authority { host: "127.0.0.1".into(), port: listener.local_addr().expect("it is bound").port() }
}

const GOOD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\ngood";
const TROUBLE: &str = "HTTP/1.1 503 No leader\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbad";

#[tokio::test]
async fn the_next_endpoint_answers_for_one_that_is_down_and_is_asked_first_from_then_on() {
    let (good, server) = answering(GOOD, 2);
    let transport = transport(&[dead(), good]);
    for _ in 0..2 {
        let answer = transport.ask(&Question::get("/"), DEADLINE).await.expect("the second answers");
        assert_eq!(answer.body, b"good");
        assert_eq!(transport.order(), [1, 0]);
    }
    server.join().expect("both requests came");
}

#[tokio::test]
async fn a_read_moves_past_trouble_and_a_write_does_not() {
    let (bad, _bad) = answering(TROUBLE, 2);
    let (good, _good) = answering(GOOD, 1);
    let transport = transport(&[bad, good]);
    let write = Question::new(Method::PUT, "/");
    assert_eq!(transport.ask(&write, DEADLINE).await.expect("an answer").status, 503);
    assert_eq!(transport.ask(&Question::get("/"), DEADLINE).await.expect("an answer").body, b"good");
}

#[tokio::test]
async fn a_silent_endpoint_does_not_hold_up_a_read() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("loopback works");
    let silent = (silent.local_addr().expect("it is bound").port(), silent);
    let (good, _good) = answering(GOOD, 1);
    let transport = transport(&[Authority { host: "127.0.0.1".into(), port: silent.0 }, good]);
    let started = Instant::now();
    assert_eq!(transport.ask(&Question::get("/"), DEADLINE).await.expect("an answer").body, b"good");
    assert!(started.elapsed() >= HEDGE_DELAY, "the first had its chance");
    assert_eq!(transport.order(), [1, 0]);
}

#[tokio::test]
async fn of_many_failures_the_one_that_says_most_is_told() {
    let (bad, _bad) = answering(TROUBLE, 1);
    let answer = transport(&[dead(), bad, dead()]).ask(&Question::get("/"), DEADLINE).await;
    assert!(
        matches!(answer.expect("an answer").ok(), Err(Cause::Status { status: 503, message }) if message == "bad")
    );
    let error = transport(&[dead(), dead()]).ask(&Question::get("/"), DEADLINE).await.expect_err("nobody");
    assert!(matches!(error, Cause::Unreachable(_)), "{error}");
}

#[tokio::test]
async fn lines_come_whole_however_they_are_cut() {
    let (good, _server) =
        answering("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"a\":1}\n\n{\"b\":\n2}\nrest", 1);
    let transport = transport(&[dead(), good]);
    let mut lines = transport.lines(&Question::get("/").held(), DEADLINE).await.expect("an answer");
    let mut found = Vec::new();
    while let Some(line) = lines.next().await.expect("it can be read") {
        found.push(String::from_utf8(line).expect("text"));
    }
    assert_eq!(found, ["{\"a\":1}", "", "{\"b\":", "2}", "rest"]);
}

#[test]
fn a_secret_in_the_clear_is_said_unless_it_stays_on_this_machine() {
    let said = |host: &str, tls: Tls<'_>| {
        let (endpoint, meter) = (Authority { host: host.into(), port: 1 }, Figures::default().meter(&"test"));
        let near = Authority { host: "127.0.0.1".into(), port: 1 };
        let transport = Transport::new(&[near, endpoint], &tls, WORDS, meter).expect("settings that work");
        transport.warnings().concat()
    };
    let secret = Tls { secret: Some("TEST_TOKEN"), ..Tls::default() };
    for near in ["127.0.0.2", "::1", "localhost", "a.LocalHost"] {
        assert_eq!(said(near, secret), "");
    }
    for far in ["192.0.2.1", "10.0.0.1", "::ffff:127.0.0.1", "registry.example", "localhost.example"] {
        let said = said(far, secret);
        assert!(said.contains("TEST_TOKEN") && said.contains(far) && said.contains("?ssl"), "{said}");
    }
    assert_eq!(said("192.0.2.1", Tls::default()), "", "there is none");
    assert_eq!(said("192.0.2.1", Tls { is_on: true, ..secret }), "");
}

const HTML: &str = "HTTP/1.1 404 Not Found\r\nContent-Length: 13\r\nConnection: close\r\n\r\n<!DOCTYPE x>\n";

#[tokio::test]
async fn a_page_for_people_is_not_repeated() {
    let (page, _page) = answering(HTML, 1);
    let answer = transport(&[page]).ask(&Question::get("/"), DEADLINE).await.expect("an answer");
    let told = answer.refusal().to_string();
    assert!(told.contains("404") && told.contains("HTML") && !told.contains('<'), "{told}");
}

const WRAPPED: &str = "HTTP/1.1 403 Forbidden\r\nContent-Length: 50\r\nConnection: close\r\n\r\n\
                       {\"status\":403,\"message\":\"unknown user! \\u001b[2J\"}";

#[tokio::test]
async fn an_error_as_json_is_shown_by_its_text() {
    let (server, _server) = answering(WRAPPED, 1);
    let answer = transport(&[server]).ask(&Question::get("/"), DEADLINE).await.expect("an answer");
    let told = answer.refusal().to_string();
    assert!(told.contains("(unknown user!") && told.contains("TEST_TOKEN") && !told.contains('{'), "{told}");
    assert!(!told.contains('\u{1b}'), "{told}");
}

#[tokio::test]
async fn a_server_that_hangs_up_may_speak_tls_only() {
    let (silent, _silent) = answering("", 2);
    let transport = transport(&[silent]);
    let told = transport.ask(&Question::get("/"), DEADLINE).await.expect_err("no answer").to_string();
    assert!(told.contains("add ?ssl"), "{told}");
    // What is held back ends like this whenever a registry restarts.
    let told = transport.ask(&Question::get("/").held(), DEADLINE).await.expect_err("no answer").to_string();
    assert!(!told.contains("ssl"), "{told}");
}
