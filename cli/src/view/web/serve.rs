//! The server: one task a connection, each checked for its user, each request for its rules.

use std::{
    convert::Infallible,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use cbrowse_protocol::wire::SUBPROTOCOL;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn, upgrade::OnUpgrade};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_util::sync::CancellationToken;

use super::{
    assets::{self, Answer},
    gate::{self, Gate, Origin, Redeemed},
    peer::{self, PeerError},
    socket,
};
use crate::view::Hub;

/// Connections at once. A browser opens six for the files and one a page; more is a program run wild.
const MAX_CONNECTIONS: usize = 64;
/// A request's head must be complete within this time; an idle connection is closed after it.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// Longest request head in bytes. Cookies of other local servers come along, so this is not tiny.
const MAX_HEAD: usize = 32 * 1024;
/// Longest body in bytes: `code=` and 43 letters.
const MAX_BODY: usize = 256;
/// A body must be complete within this time.
const BODY_DEADLINE: Duration = Duration::from_secs(5);
/// Pause after a failed accept, which is most often a lack of file descriptors and repeats at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What all connections share.
pub(super) struct House {
    hub: Hub,
    gate: Mutex<Gate>,
    door: PathBuf,
    title: String,
    stop: CancellationToken,
    /// Another user must not be able to fill the log.
    has_warned: AtomicBool,
}

impl House {
    pub(super) fn new(
        hub: Hub,
        gate: Gate,
        door: PathBuf,
        title: String,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let (gate, has_warned) = (Mutex::new(gate), AtomicBool::new(false));
        Arc::new(Self { hub, gate, door, title, stop, has_warned })
    }

    fn turn_away(&self, peer: SocketAddr, error: &PeerError) {
        if !self.has_warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(%peer, error = error as &dyn std::error::Error, "a connection to the viewer was refused");
        }
    }

    fn gate(&self) -> std::sync::MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves until stopped, then lets the pages finish; connections end with this future.
pub(super) async fn run(listener: TcpListener, house: Arc<House>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = house.stop.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, peer)) => { connections.spawn(connection(stream, peer, house.clone())); }
                Err(error) => {
                    tracing::warn!(%error, "the viewer cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    while connections.join_next().await.is_some() {}
}

async fn connection(stream: TcpStream, peer: SocketAddr, house: Arc<House>) {
    let Ok(own) = stream.local_addr() else { return };
    if let Err(error) = peer::check(peer, own).await {
        house.turn_away(peer, &error);
        return;
    }
    let visit = Visit { house, port: own.port(), upgrade: Mutex::default() };
    // Pictures are sent whole; waiting for more to send only delays their last part.
    let _without_it_slower = stream.set_nodelay(true);
    if let Some(upgrade) = visit.requests(stream).await
        && let Ok(upgraded) = upgrade.await
    {
        let House { hub, title, stop, .. } = &*visit.house;
        socket::run(TokioIo::new(upgraded), hub, title, stop).await;
    }
}

/// One connection's requests.
struct Visit {
    house: Arc<House>,
    port: u16,
    upgrade: Mutex<Option<OnUpgrade>>,
}

impl Visit {
    /// Answers requests until the connection closes, or becomes a WebSocket, which is returned.
    async fn requests(&self, stream: TcpStream) -> Option<OnUpgrade> {
        let service = service_fn(async |request| Ok::<_, Infallible>(self.answer(request).await));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_DEADLINE)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        tokio::select! {
            result = connection => result.ok()?,
            () = self.house.stop.cancelled() => return None,
        }
        self.upgrade.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    async fn answer(&self, request: Request<Incoming>) -> Answer {
        if !self.house.gate().is_our_host(request.headers()) {
            return self.refuse(StatusCode::FORBIDDEN, "This viewer answers to its own name only.\n");
        }
        let origin = Gate::origin(request.headers());
        let is_opening = request.uri().path() == "/open";
        if is_opening && request.method() == Method::POST && origin != Origin::Foreign {
            return self.open(request.into_body()).await;
        }
        // A page in a file or a sandbox has the origin `null`: it may open the door and nothing else.
        let is_ours = matches!(origin, Origin::Absent | Origin::Same);
        if !is_ours || !self.house.gate().has_cookie(request.headers()) {
            return self.refuse(StatusCode::FORBIDDEN, NO_COOKIE);
        }
        if request.method() != Method::GET {
            return self.refuse(StatusCode::METHOD_NOT_ALLOWED, "Only GET.\n");
        }
        if request.uri().path() == "/socket" {
            return self.socket(request, origin);
        }
        assets::file(request.uri().path(), self.port)
            .unwrap_or_else(|| self.refuse(StatusCode::NOT_FOUND, "There is nothing here.\n"))
    }

    /// Takes the code; the file that held it goes, whatever the code was worth.
    async fn open(&self, body: Incoming) -> Answer {
        let whole = tokio::time::timeout(BODY_DEADLINE, Limited::new(body, MAX_BODY).collect()).await;
        let Ok(Ok(body)) = whole else {
            return self.refuse(StatusCode::BAD_REQUEST, "That is not the viewer's form.\n");
        };
        let body = body.to_bytes();
        let Some(code) = gate::code_in(&body) else {
            return self.refuse(StatusCode::BAD_REQUEST, "That is not the viewer's form.\n");
        };
        let redeemed = self.house.gate().redeem(code, Instant::now());
        if redeemed == Redeemed::Wrong {
            return self.refuse(StatusCode::FORBIDDEN, "That is not this viewer's code.\n");
        }
        let _gone_already = tokio::fs::remove_file(&self.house.door).await;
        match redeemed {
            Redeemed::Yes => self.let_in(),
            Redeemed::Expired => {
                self.refuse(StatusCode::FORBIDDEN, "The code is too old. Start the viewer again.\n")
            }
            _ => self.refuse(StatusCode::FORBIDDEN, "The code was used before. Start the viewer again.\n"),
        }
    }

    fn let_in(&self) -> Answer {
        let cookie = HeaderValue::from_str(&self.house.gate().set_cookie()).expect("a cookie is ASCII");
        let mut answer = assets::opened(self.port);
        answer.headers_mut().insert(header::SET_COOKIE, cookie);
        answer
    }

    /// A browser always names its origin when it opens a WebSocket, so an absent one is refused here.
    fn socket(&self, mut request: Request<Incoming>, origin: Origin) -> Answer {
        let key = (origin == Origin::Same).then(|| handshake_key(request.headers())).flatten();
        let Some(accept) = key.and_then(|key| HeaderValue::from_str(&derive_accept_key(key)).ok()) else {
            return self.refuse(StatusCode::BAD_REQUEST, "This address speaks WebSocket cbrowse.v1.\n");
        };
        *self.upgrade.lock().unwrap_or_else(PoisonError::into_inner) = Some(hyper::upgrade::on(&mut request));
        switching(accept)
    }

    fn refuse(&self, status: StatusCode, sentence: &'static str) -> Answer {
        assets::refusal(status, sentence, self.port)
    }
}

const NO_COOKIE: &str = "This viewer opens through the file that cbrowse printed when it started.\n";

fn switching(accept: HeaderValue) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::new()));
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    answer
}

/// The key of a complete WebSocket handshake (RFC 6455, section 4.2.1) that offers this protocol.
fn handshake_key(headers: &HeaderMap) -> Option<&[u8]> {
    let lists = |name, wanted: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        value.split(',').any(|item| item.trim().eq_ignore_ascii_case(wanted))
    };
    let is_complete = lists(header::CONNECTION, "upgrade")
        && lists(header::UPGRADE, "websocket")
        && lists(header::SEC_WEBSOCKET_VERSION, "13")
        && lists(header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL);
    headers.get(header::SEC_WEBSOCKET_KEY).filter(|_| is_complete).map(HeaderValue::as_bytes)
}
