//! Checks of servers that answer well, badly, slowly and not at all; real nodes are checked in the integration tests.

use std::sync::Arc;

use axum::{Router, routing::get};
use cbrowse_protocol::identity::{IdentityKey, SigningKey};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::*;
use crate::{http::server, tls};

const DEADLINE: Duration = Duration::from_secs(20);

fn target(port: u16, check: CheckKind, identity: Option<IdentityKey>) -> Target {
    let record = serde_json::json!({"id": "n1", "address": "127.0.0.1", "port": port, "identity": identity});
    Target::new(serde_json::from_value(record).expect("a record"), check).expect("a target")
}

/// Answers the first connection with `answer`, and holds it open when there is none.
async fn scripted(answer: &'static str) -> (u16, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let task = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.expect("a connection");
        if answer.is_empty() {
            std::future::pending::<()>().await;
        }
        let mut head = [0; 1024];
        let read = socket.read(&mut head).await.expect("a request");
        assert!(
            head[..read].starts_with(b"GET /health?consul HTTP/1.1\r\n"),
            "{}",
            String::from_utf8_lossy(&head)
        );
        socket.write_all(answer.as_bytes()).await.expect("written");
    });
    (port, AbortOnDropHandle::new(task))
}

#[tokio::test]
async fn a_status_is_a_health() {
    for (answer, health) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", Health::Passing),
        ("HTTP/1.1 204 No Content\r\n\r\n", Health::Passing),
        ("HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\n\r\n", Health::Warning),
        ("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1/\r\n\r\n", Health::Critical),
        ("HTTP/1.1 503 Service Unavailable\r\n\r\n", Health::Critical),
        ("SSH-2.0-OpenSSH\r\n", Health::Critical),
    ] {
        let (port, _server) = scripted(answer).await;
        let finding = ask(&target(port, CheckKind::Http, None), DEADLINE).await;
        assert_eq!(finding.health, health, "{answer}: {}", finding.words);
    }
}

#[tokio::test]
async fn silence_and_a_closed_port_are_told_apart() {
    let (port, _server) = scripted("").await;
    let finding = ask(&target(port, CheckKind::Http, None), Duration::from_millis(200)).await;
    assert_eq!((finding.health, finding.words.as_str()), (Health::Critical, "no answer within 0.2 s"));
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
    for check in [CheckKind::Tcp, CheckKind::Http, CheckKind::Https] {
        let finding = ask(&target(closed.port(), check, None), DEADLINE).await;
        assert_eq!(finding.health, Health::Critical);
        assert!(finding.words.contains("refused"), "{check}: {}", finding.words);
    }
}

/// A node's listener with other answers.
async fn node(router: Router) -> (u16, IdentityKey, AbortOnDropHandle<()>) {
    let identity = SigningKey::generate();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let tls: Arc<_> = tls::server_config(&identity).expect("certificates");
    let task = tokio::spawn(server::serve(listener, tls, router, CancellationToken::new()));
    (port, identity.public(), AbortOnDropHandle::new(task))
}

#[tokio::test]
async fn only_the_identity_that_the_entry_names_will_do() {
    let (port, identity, _node) = node(Router::new().route("/health", get(|| async { "fine" }))).await;
    let other = SigningKey::generate().public();
    for (pin, health) in
        [(None, Health::Passing), (Some(identity), Health::Passing), (Some(other), Health::Critical)]
    {
        let finding = ask(&target(port, CheckKind::Https, pin), DEADLINE).await;
        assert_eq!(finding.health, health, "{}", finding.words);
    }
    let finding = ask(&target(port, CheckKind::Tcp, Some(other)), DEADLINE).await;
    assert_eq!(finding.health, Health::Passing, "a connection shows no identity");
}

#[cfg(feature = "grpc-health")]
#[tokio::test]
async fn a_grpc_answer_is_a_health() {
    use crate::grpc::{CHECK, Serving, response};
    let answering = |code: &'static str, body: Bytes| {
        let answer = move || async move {
            ([("content-type", "application/grpc"), ("grpc-status", code)], axum::body::Body::from(body))
        };
        node(Router::new().route(CHECK, axum::routing::post(answer)))
    };
    for (code, body, health, words) in [
        ("0", response(Serving::Serving), Health::Passing, "Serving"),
        ("0", response(Serving::NotServing), Health::Critical, "NotServing"),
        ("0", Bytes::from_static(&[0; 4]), Health::Critical, "not one gRPC message"),
        ("0", Bytes::from_static(&[0; 4096]), Health::Critical, "length limit"),
        ("12", Bytes::new(), Health::Critical, "grpc-status 12"),
    ] {
        let (port, identity, _node) = answering(code, body).await;
        let finding = ask(&target(port, CheckKind::Grpc, Some(identity)), DEADLINE).await;
        assert_eq!(finding.health, health, "{}", finding.words);
        assert!(finding.words.contains(words), "{words}: {}", finding.words);
    }
    let (port, _, stopped) = node(Router::new()).await;
    let finding = ask(&target(port, CheckKind::Grpc, None), DEADLINE).await;
    assert!(finding.words.contains("404"), "{}", finding.words);
    drop(stopped);
}
