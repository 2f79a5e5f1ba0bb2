//! Which protocol a client gets: what it offers, and HTTP/1.1 wherever it can.

use axum::{http::Version, routing::get};
use cbrowse_protocol::identity::SigningKey;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::{TlsConnector, client};

use super::*;
use crate::{registrar::unpinned_client_config, tls};

/// How a client begins, with empty settings (RFC 9113 section 3.4).
#[cfg(feature = "grpc-health")]
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

async fn start() -> (std::net::SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let tls = tls::server_config(&SigningKey::generate()).expect("certificates");
    let router = Router::new().route("/", get(|version: Version| async move { format!("{version:?}") }));
    let stop = CancellationToken::new();
    (address, stop.clone(), tokio::spawn(serve(listener, tls, router, stop)))
}

async fn connect(
    address: std::net::SocketAddr,
    offered: &[&[u8]],
) -> std::io::Result<client::TlsStream<TcpStream>> {
    let mut config = (*unpinned_client_config().expect("TLS")).clone();
    config.alpn_protocols = offered.iter().map(|protocol| protocol.to_vec()).collect();
    let name = ServerName::try_from("node.example").expect("a name");
    TlsConnector::from(Arc::new(config)).connect(name, TcpStream::connect(address).await?).await
}

#[tokio::test]
async fn hundreds_may_connect_before_the_first_is_accepted() {
    const CLIENTS: usize = 300;
    let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn").expect("a limit");
    if most.trim().parse::<usize>().expect("a number") < CLIENTS {
        // The kernel's own limit is lower, and nothing that a program asks for changes that.
        return;
    }
    let listener = listen("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let address = listener.local_addr().expect("an address");
    // Were one dropped, the kernel would try again until this gives up.
    let all = async {
        let mut open = Vec::new();
        for _ in 0..CLIENTS {
            open.push(TcpStream::connect(address).await.expect("a connection"));
        }
        open.len()
    };
    let connected = tokio::time::timeout(Duration::from_secs(60), all).await;
    assert_eq!(connected.ok(), Some(CLIENTS), "nobody accepts them, and none is dropped");
    let again = listen(address).map_err(|error| error.kind());
    assert!(matches!(again, Err(io::ErrorKind::AddrInUse)), "{again:?}");
}

#[tokio::test]
async fn whoever_can_speak_http1_does() {
    let (address, _stop, _server) = start().await;
    for offered in [&[][..], &[&b"http/1.1"[..]], &[b"h2", b"http/1.1"], &[b"spdy/3", b"http/1.1"]] {
        let mut stream = connect(address, offered).await.expect("a connection");
        let chosen = stream.get_ref().1.alpn_protocol();
        assert_eq!(chosen, (!offered.is_empty()).then_some(&b"http/1.1"[..]), "{offered:?}");
        stream.write_all(b"GET / HTTP/1.1\r\nhost: n\r\nconnection: close\r\n\r\n").await.expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("HTTP/1.1"), "{answer}");
    }
    let error = connect(address, &[b"spdy/3"]).await.expect_err("nothing in common");
    assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
}

#[tokio::test]
async fn one_client_cannot_take_every_connection() {
    let (address, _stop, _server) = start().await;
    let mut open = Vec::new();
    // Whoever connects and says nothing shakes hands for as long as that may take.
    for _ in 0..MAX_HANDSHAKES_OF_ONE {
        open.push(TcpStream::connect(address).await.expect("a connection"));
    }
    let mut over = TcpStream::connect(address).await.expect("a connection");
    assert!(over.read_u8().await.is_err(), "there is no place for it");
    // Another address has its own.
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind(([127, 0, 0, 2], 0).into()).expect("another address of this machine");
    let other = socket.connect(address).await.expect("a connection");
    let config = unpinned_client_config().expect("TLS");
    let name = ServerName::try_from("node.example").expect("a name");
    TlsConnector::from(config).connect(name, other).await.expect("a handshake");
    drop(open);
}

#[tokio::test]
async fn every_request_knows_its_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let tls = tls::server_config(&SigningKey::generate()).expect("certificates");
    let peer = |axum::Extension(connection): axum::Extension<Arc<Connection>>| async move {
        connection.peer.to_string()
    };
    let router = Router::new().route("/", get(peer));
    let server = tokio::spawn(serve(listener, tls, router, CancellationToken::new()));
    let mut stream = connect(address, &[]).await.expect("a connection");
    let own = stream.get_ref().0.local_addr().expect("an address").to_string();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: n\r\nconnection: close\r\n\r\n").await.expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.ends_with(&own), "{answer}");
    server.abort();
}

#[cfg(feature = "grpc-health")]
#[tokio::test]
async fn whoever_speaks_http2_only_gets_it_until_the_server_stops() {
    use http_body_util::{BodyExt as _, Empty};
    let (address, stop, server) = start().await;
    let stream = connect(address, &[b"h2"]).await.expect("a connection");
    let io = TokioIo::new(stream);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.expect("HTTP/2");
    let connection = tokio::spawn(connection);
    let request =
        axum::http::Request::get("https://n/").body(Empty::<bytes::Bytes>::new()).expect("a request");
    let answer = sender.send_request(request).await.expect("an answer").into_body().collect().await;
    assert_eq!(answer.expect("a body").to_bytes(), "HTTP/2.0");
    stop.cancel();
    server.await.expect("it ends");
    connection.await.expect("no panic").expect("a farewell and no reset");
}

#[cfg(feature = "grpc-health")]
#[tokio::test]
async fn those_that_speak_http2_leave_room_for_the_others() {
    let (address, _stop, _server) = start().await;
    let mut open = Vec::new();
    for _ in 0..MAX_HTTP2_CONNECTIONS {
        let mut stream = connect(address, &[b"h2"]).await.expect("a connection");
        stream.write_all(PREFACE).await.expect("written");
        // The server's settings, its first frame: by then it has its place.
        stream.read_u8().await.expect("a frame");
        open.push(stream);
    }
    let mut over = connect(address, &[b"h2"]).await.expect("a handshake");
    assert!(over.read_u8().await.is_err(), "there is no place for it");
    let mut other = connect(address, &[b"http/1.1"]).await.expect("a connection");
    other.write_all(b"GET / HTTP/1.0\r\n\r\n").await.expect("written");
    assert_eq!(other.read_u8().await.expect("an answer"), b'H');
}

#[cfg(feature = "grpc-health")]
#[tokio::test]
async fn a_silent_connection_and_an_old_one_are_ended() {
    let (address, _stop, _server) = start().await;
    let mut silent = connect(address, &[b"h2"]).await.expect("a connection");
    let mut old = connect(address, &[b"h2"]).await.expect("a connection");
    old.write_all(PREFACE).await.expect("written");
    let mut frames = [0; 9];
    old.read_exact(&mut frames).await.expect("settings");
    assert_eq!(frames[3], 4, "{frames:?}");
    // Both sides have done their handshake: from here on only the clock has anything to do.
    tokio::time::pause();
    let started = tokio::time::Instant::now();
    let mut rest = Vec::new();
    let _ = silent.read_to_end(&mut rest).await;
    assert!(started.elapsed() <= HEADER_DEADLINE * 2, "{:?}", started.elapsed());
    // It answers no ping, so that it goes before its time.
    let _ = old.read_to_end(&mut rest).await;
    assert!(started.elapsed() <= MAX_HTTP2_AGE + FINISH_DEADLINE, "{:?}", started.elapsed());
    let _ = old.shutdown().await;
}
