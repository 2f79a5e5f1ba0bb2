//! `GET /ws/{id}` and `GET /ws/new`: a WebSocket of subprotocol `cbrowse.v1` between a client and a session.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    extract::{Path, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use cbrowse_protocol::{
    api::{Problem, SessionRequest},
    encoding,
    id::SessionId,
    token::Scope,
    wire::{CREATE_HEADER, ClientMessage, MAX_CONTROL_LENGTH, NodeMessage, Role, SUBPROTOCOL},
};
use futures_util::{SinkExt as _, StreamExt as _};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        handshake::derive_accept_key,
        protocol::{Role as SocketRole, WebSocketConfig},
    },
};

use crate::{
    http::{App, Authenticated, problem, problem::Refusal, sessions},
    session::{
        relay::Session,
        viewer::{Flight, Picture, ViewerFeed},
    },
    worker::link::Viewer,
};

/// The word in place of an id that creates a session.
const NEW: &str = "new";
/// A dead link is noticed after two of these.
const PING_INTERVAL: Duration = Duration::from_secs(15);
/// A client that takes longer to read one message holds its socket only.
const WRITE_DEADLINE: Duration = Duration::from_secs(20);
/// Bytes that may wait in the socket's own buffer before a write blocks: pictures must not queue up there.
const WRITE_BUFFER: usize = 64 * 1024;

/// A session that was begun for a client which then never said a word is kept this long. Shorter: a client on a bad link does
/// not find it again; longer: a client that asked two nodes at once and went on with the other keeps a seat here.
const UNCLAIMED: Duration = Duration::from_secs(5);

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Checks everything that can be refused with a problem document, then upgrades.
pub async fn attach(
    State(app): State<Arc<App>>,
    caller: Authenticated,
    Path(id): Path<String>,
    mut request: Request,
) -> Result<Response, Refusal> {
    let accept = check_upgrade(request.headers())?;
    let role = role(&caller)?;
    let session = match id.as_str() {
        NEW => sessions::start(&app, &caller, request.headers(), requested(request.headers())?).await?,
        _ => existing(&app, &caller, &id)?,
    };
    let begins = id == NEW;
    let upgrade = hyper::upgrade::on(&mut request);
    let owner = app.clone();
    owner.sockets.spawn(async move {
        if let Ok(upgraded) = upgrade.await {
            let config = WebSocketConfig::default()
                .max_message_size(Some(MAX_CONTROL_LENGTH))
                .max_frame_size(Some(MAX_CONTROL_LENGTH))
                .write_buffer_size(WRITE_BUFFER);
            let io = TokioIo::new(upgraded);
            let socket = WebSocketStream::from_raw_socket(io, SocketRole::Server, Some(config)).await;
            serve(&app, &session, role, begins, socket).await;
        } else if begins {
            session.close(false, sessions::NOBODY_CAME).await;
        }
    });
    let headers = [
        (header::UPGRADE, HeaderValue::from_static("websocket")),
        (header::CONNECTION, HeaderValue::from_static("Upgrade")),
        (header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL)),
        (header::SEC_WEBSOCKET_ACCEPT, accept),
    ];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers).into_response())
}

/// RFC 6455 section 4.2.1, and our subprotocol among those offered.
fn check_upgrade(headers: &HeaderMap) -> Result<HeaderValue, Problem> {
    let bad = |detail: &str| Problem::new(400, "upgrade", "Not a WebSocket upgrade", detail);
    let has = |name, word: &str| {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case(word))
    };
    if !has(header::UPGRADE, "websocket") || !has(header::SEC_WEBSOCKET_VERSION, "13") {
        return Err(bad("`Upgrade: websocket` and `Sec-WebSocket-Version: 13` are needed"));
    }
    // A page of another origin has no token, but is refused by name all the same.
    if headers.contains_key(header::ORIGIN) {
        return Err(Problem::new(
            403,
            "origin",
            "No browser pages",
            "a node takes no WebSocket from a web page",
        ));
    }
    if !has(header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL) {
        let offered: Vec<_> = headers
            .get_all(header::SEC_WEBSOCKET_PROTOCOL)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .collect();
        let detail = format!("this node speaks {SUBPROTOCOL}; the client offers {:?}", offered.join(", "));
        return Err(Problem::new(426, "protocol_version", "Unknown protocol version", detail));
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).ok_or_else(|| bad("`Sec-WebSocket-Key` is missing"))?;
    HeaderValue::from_str(&derive_accept_key(key.as_bytes()))
        .map_err(|_| bad("`Sec-WebSocket-Key` is garbled"))
}

fn role(caller: &Authenticated) -> Result<Role, Problem> {
    if caller.allowed(Scope::Control).is_ok() {
        return Ok(Role::Control);
    }
    caller.allowed(Scope::View).map(|_| Role::View)
}

fn requested(headers: &HeaderMap) -> Result<SessionRequest, Problem> {
    let bad = |detail: String| Problem::new(400, "body", "Bad session request", detail).at(CREATE_HEADER);
    let Some(value) = headers.get(CREATE_HEADER) else { return Ok(SessionRequest::default()) };
    let bytes = value.to_str().ok().and_then(encoding::from_text);
    let bytes = bytes.ok_or_else(|| bad("the header is not base64url".into()))?;
    serde_json::from_slice(&bytes).map_err(|error| bad(error.to_string()))
}

fn existing(app: &App, caller: &Authenticated, id: &str) -> Result<Arc<Session>, Refusal> {
    let owner = caller.allowed(Scope::View)?;
    let id: SessionId = id.parse().map_err(|_| problem::no_session())?;
    app.table.get(&id, owner).filter(|session| !session.is_over()).ok_or_else(problem::no_session)
}

/// One attached client, from welcome to bye.
async fn serve(app: &App, session: &Session, role: Role, begins: bool, mut socket: Socket) {
    let (viewer, feed) = session.attach(role);
    let welcome = NodeMessage::Welcome {
        session: session.id.clone(),
        node: app.facts.id.clone(),
        region: app.facts.region.clone(),
        browser_version: app.facts.browser_version.clone(),
        role,
    };
    if send(&mut socket, text(&welcome)).await {
        if begins {
            // The request has named the size, so pictures need not wait a round trip for the first hello.
            session.want_pictures(viewer).await;
        }
        let flight = Flight::default();
        let attachment = Attachment { app, session, viewer, role, flight, quiet_pings: 0 };
        attachment.relay(&mut socket, feed).await;
    }
    let _ = tokio::time::timeout(WRITE_DEADLINE, socket.close(None)).await;
    session.detach(viewer).await;
    if begins && !session.is_claimed() {
        let _over_or_late = tokio::time::timeout(UNCLAIMED, session.ended()).await;
        // It may have come back, said its word, and gone again.
        if !session.is_claimed() && session.view().attached == 0 {
            session.close(false, sessions::NOBODY_CAME).await;
        }
    }
}

struct Attachment<'a> {
    app: &'a App,
    session: &'a Session,
    viewer: Viewer,
    role: Role,
    flight: Flight,
    quiet_pings: u32,
}

impl Attachment<'_> {
    /// Until either side ends. Input comes before control, control before pictures.
    async fn relay(mut self, socket: &mut Socket, mut feed: ViewerFeed) {
        let mut ping = tokio::time::interval(PING_INTERVAL);
        ping.reset();
        loop {
            let going_on = tokio::select! {
                biased;
                incoming = socket.next() => match incoming {
                    Some(Ok(message)) => self.on_message(socket, message).await,
                    _ => false,
                },
                control = feed.control.recv() => match control {
                    Some(message) => send(socket, text(&message)).await && !matches!(message, NodeMessage::Bye { .. }),
                    None => false,
                },
                Some(media) = feed.media.recv() => send(socket, Message::Binary(media)).await,
                Ok(()) = feed.frame.changed(), if self.flight.has_room() => {
                    let newest = feed.frame.borrow_and_update().clone();
                    match newest {
                        Some(picture) => self.show(socket, picture).await,
                        None => true,
                    }
                }
                _ = ping.tick() => {
                    self.quiet_pings += 1;
                    self.quiet_pings <= 2 && send(socket, Message::Ping(bytes::Bytes::new())).await
                }
            };
            if !going_on {
                return;
            }
        }
    }

    async fn show(&mut self, socket: &mut Socket, picture: Picture) -> bool {
        self.flight.departed(picture.sequence, Instant::now());
        self.session.taken(picture.sequence);
        self.app.metrics.frame_sent(picture.message.len() as u64);
        send(socket, Message::Binary(picture.message)).await
    }

    async fn on_message(&mut self, socket: &mut Socket, message: Message) -> bool {
        self.quiet_pings = 0;
        if matches!(message, Message::Close(_)) {
            return false;
        }
        self.session.claim();
        let Message::Text(text_message) = message else { return true };
        match serde_json::from_str::<ClientMessage>(&text_message) {
            Ok(message) => self.on_control(socket, message).await,
            Err(error) => {
                let failed = NodeMessage::Failed { request: "message".into(), message: error.to_string() };
                send(socket, text(&failed)).await
            }
        }
    }

    async fn on_control(&mut self, socket: &mut Socket, message: ClientMessage) -> bool {
        match message {
            ClientMessage::Shown { sequence } => self.flight.shown(sequence, Instant::now()),
            ClientMessage::Ping { token } => return send(socket, text(&NodeMessage::Pong { token })).await,
            ClientMessage::Unknown => {}
            // Who only looks gets the pictures at the size that is there.
            ClientMessage::Hello { .. } if self.role == Role::View => {
                self.session.want_pictures(self.viewer).await;
            }
            ClientMessage::Screenshot { .. } => self.session.tell(self.viewer, message).await,
            _ if self.role == Role::View => {
                let failed = NodeMessage::Failed {
                    request: "input".into(),
                    message: "this client may only look".into(),
                };
                return send(socket, text(&failed)).await;
            }
            ClientMessage::End { save } => {
                if !self.session.is_closing() {
                    self.session.close(save, "ended by its user").await;
                }
                let saving = save && self.session.profile.is_some();
                let reason = "as asked".into();
                send(socket, text(&NodeMessage::Bye { reason, saving })).await;
                return false;
            }
            other => self.session.tell(self.viewer, other).await,
        }
        true
    }
}

fn text(message: &NodeMessage) -> Message {
    Message::text(serde_json::to_string(message).expect("wire messages serialize"))
}

async fn send(socket: &mut Socket, message: Message) -> bool {
    matches!(tokio::time::timeout(WRITE_DEADLINE, socket.send(message)).await, Ok(Ok(())))
}
