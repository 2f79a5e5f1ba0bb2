//! A session over one WebSocket: attached, relayed between node and viewers, and ended in order.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use cbrowse_protocol::{
    api::{SessionRequest, SessionState},
    encoding,
    id::{NodeId, SessionId},
    node::{MAX_FIELD_LENGTH, printable},
    seat::{SEAT_HEADER, Seat},
    wire::{CREATE_HEADER, ClientMessage, MAX_CONTROL_LENGTH, NodeMessage, SUBPROTOCOL, Tab, Viewport},
};
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::sync::Notify;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

use super::connection::{ConnectionError, NodeSocket, TrustedConnection};
use crate::{
    credentials::Credentials,
    timeline::{self, Stage},
    view::{Event, Hub, Inputs},
};

/// The node speaks at least every 15 s (its pings); twice that and a little means that the link is dead.
const SILENCE: Duration = Duration::from_secs(35);
/// The first message comes with the upgrade or not at all.
const WELCOME_DEADLINE: Duration = Duration::from_secs(20);
/// Ctrl-C promises an end within a second; the node answers `end` as soon as the worker owns the close.
const FAREWELL: Duration = Duration::from_millis(700);
/// A write that takes longer means that the link is dead.
const WRITE_DEADLINE: Duration = Duration::from_secs(20);

/// What to attach to.
#[derive(Debug, Clone)]
pub enum Target {
    /// A session that begins with this attachment.
    New {
        /// What is asked for.
        request: Box<SessionRequest>,
        /// The place that is kept for it.
        seat: Option<Seat>,
    },
    /// A session that runs.
    Running(SessionId),
}

/// An attached session.
pub struct Attachment {
    socket: NodeSocket,
    /// The session.
    pub session: SessionId,
    /// The node that runs it.
    pub node: NodeId,
    /// Its region.
    pub region: String,
    /// Its Chromium.
    pub browser_version: String,
    welcome: NodeMessage,
}

/// Attaches over a trusted connection; one round trip.
pub async fn attach(
    connection: TrustedConnection,
    credentials: &Credentials,
    target: Target,
) -> Result<Attachment, ConnectionError> {
    let (path, headers) = match &target {
        Target::New { request, seat } => ("/ws/new".to_owned(), create_headers(request, seat.as_ref())),
        Target::Running(session) => (format!("/ws/{session}"), HeaderMap::new()),
    };
    let endpoint = connection.identity().to_string();
    let mut socket = connection.upgrade(&path, Some(SUBPROTOCOL), headers, credentials).await?;
    timeline::enter(Stage::Browser);
    let first = tokio::time::timeout(WELCOME_DEADLINE, next_control(&mut socket)).await;
    match first {
        Ok(Some(welcome @ NodeMessage::Welcome { .. })) => Ok(Attachment::new(socket, welcome)),
        _ => {
            Err(ConnectionError::Protocol { endpoint, reason: "it sent no welcome after the upgrade".into() })
        }
    }
}

fn create_headers(request: &SessionRequest, seat: Option<&Seat>) -> HeaderMap {
    let json = serde_json::to_vec(request).expect("plain data serializes");
    let value = |text: &str| HeaderValue::from_str(text).expect("base64url is a header value");
    let mut headers = HeaderMap::new();
    headers.insert(HeaderName::from_static(CREATE_HEADER), value(&encoding::to_text(&json)));
    if let Some(seat) = seat {
        headers.insert(HeaderName::from_static(SEAT_HEADER), value(&seat.to_text()));
    }
    headers
}

async fn next_control(socket: &mut NodeSocket) -> Option<NodeMessage> {
    loop {
        if let Message::Text(text) = socket.next().await?.ok()? {
            return parse(&text);
        }
    }
}

/// Over its limit or unreadable: ignored like an unknown message.
fn parse(text: &str) -> Option<NodeMessage> {
    if text.len() > MAX_CONTROL_LENGTH { None } else { serde_json::from_str(text).ok() }
}

/// How a relay ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The session is over.
    Over {
        /// In words for a person; a stranger's text.
        reason: String,
        /// The worker owns a save that is not complete yet.
        saving: bool,
    },
    /// The link broke; the session may live.
    Lost {
        /// In words for a person.
        reason: String,
    },
    /// The user asked for the end, and the node did not confirm it in time.
    Unconfirmed,
}

/// What a relay saw, for reports and for going on elsewhere.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// When the first picture was whole on this machine.
    pub first_picture: Option<Instant>,
    /// The session's tabs, as last told.
    pub tabs: Vec<Tab>,
    /// Told whenever the node holds a new save.
    pub saved: Arc<Notify>,
    /// Why the session failed, if it did; a stranger's text.
    pub failed: Option<String>,
    /// Sent once at the first welcome: pictures flow before anybody has opened a viewer.
    pub greeting: Option<Viewport>,
}

impl Attachment {
    fn new(socket: NodeSocket, welcome: NodeMessage) -> Self {
        let NodeMessage::Welcome { session, node, region, browser_version, .. } = welcome.clone() else {
            unreachable!("the caller matched a welcome");
        };
        let browser_version = printable(&browser_version, MAX_FIELD_LENGTH);
        Self { socket, session, node, region, browser_version, welcome }
    }

    /// Passes messages between node and viewers until the session ends, the link breaks, or `stop`: then the session is
    /// ended too, and saved.
    pub async fn relay(
        &mut self,
        hub: &Hub,
        inputs: &mut Inputs,
        seen: &mut Seen,
        stop: &CancellationToken,
    ) -> End {
        let _refused_only_if_media = hub.publish(Event::Control(self.welcome.clone()));
        if let Some(viewport) = seen.greeting.take()
            && let Some(lost) = self.send(&ClientMessage::Hello { viewport }).await
        {
            return lost;
        }
        loop {
            let end = tokio::select! {
                biased;
                () = stop.cancelled() => return self.end(true).await,
                input = inputs.recv() => match input {
                    Some(message) => self.send(&message).await,
                    None => return self.end(true).await,
                },
                incoming = tokio::time::timeout(SILENCE, self.socket.next()) => match incoming {
                    Ok(Some(Ok(message))) => take(message, hub, seen),
                    Ok(Some(Err(error))) => Some(End::Lost { reason: error.to_string() }),
                    Ok(None) => Some(End::Lost { reason: "the node closed the connection".into() }),
                    Err(_) => Some(End::Lost { reason: format!("the node was silent for {} s", SILENCE.as_secs()) }),
                },
            };
            if let Some(end) = end {
                return end;
            }
        }
    }

    async fn send(&mut self, message: &ClientMessage) -> Option<End> {
        let text = serde_json::to_string(message).expect("wire messages serialize");
        match tokio::time::timeout(WRITE_DEADLINE, self.socket.send(Message::text(text))).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(End::Lost { reason: error.to_string() }),
            Err(_) => Some(End::Lost { reason: "the link takes no more bytes".into() }),
        }
    }

    /// Ends the session; returns once the worker owns the close, or after [`FAREWELL`].
    pub async fn end(&mut self, save: bool) -> End {
        let farewell = async {
            if let Some(lost) = self.send(&ClientMessage::End { save }).await {
                return lost;
            }
            loop {
                match next_control(&mut self.socket).await {
                    Some(NodeMessage::Bye { reason, saving }) => return End::Over { reason, saving },
                    Some(_) => {}
                    None => return End::Unconfirmed,
                }
            }
        };
        tokio::time::timeout(FAREWELL, farewell).await.unwrap_or(End::Unconfirmed)
    }
}

fn take(message: Message, hub: &Hub, seen: &mut Seen) -> Option<End> {
    match message {
        Message::Text(text) => take_control(parse(&text)?, hub, seen),
        Message::Binary(media) => {
            take_media(media, hub, seen);
            None
        }
        Message::Close(_) => Some(End::Lost { reason: "the node closed the connection".into() }),
        _ => None,
    }
}

fn take_control(message: NodeMessage, hub: &Hub, seen: &mut Seen) -> Option<End> {
    let end = match &message {
        NodeMessage::Bye { reason, saving } => Some(End::Over { reason: reason.clone(), saving: *saving }),
        NodeMessage::State { state: SessionState::Failed, reason } => {
            seen.failed = Some(reason.clone());
            None
        }
        NodeMessage::Saved { .. } => {
            seen.saved.notify_one();
            None
        }
        NodeMessage::Tabs { tabs } => {
            seen.tabs.clone_from(tabs);
            None
        }
        _ => None,
    };
    let _refused_only_if_media = hub.publish(Event::Control(message));
    end
}

fn take_media(media: Bytes, hub: &Hub, seen: &mut Seen) {
    // Media of a newer version or an absurd length is dropped; the session goes on.
    if hub.publish(Event::Media(media)).is_ok() {
        seen.first_picture.get_or_insert_with(Instant::now);
    }
}
