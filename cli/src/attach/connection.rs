//! One connection to one node: TCP, TLS 1.3, HTTP/1.1, and at its end the WebSocket, all on the same socket.
//!
//! [`NodeConnection`] knows *who* answers and may ask for the status, which needs no login. Only with a trust decision
//! about that very identity does it become a [`TrustedConnection`], the one type that sends tokens; so no catalog entry
//! can lead a token to a stranger (promise 12). Everything a node sends has a limit and a deadline.

mod ask;
mod claims;
mod dial;
mod error;
mod outgoing;
#[cfg(test)]
mod tests;

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use cbrowse_protocol::{
    api::{Problem, Status},
    identity::IdentityKey,
    node::{MAX_FIELD_LENGTH, printable},
    token::PROOF_HEADER,
    wire::MAX_MEDIA_LENGTH,
};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode,
    header::{
        AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, RETRY_AFTER, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
        SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE, USER_AGENT,
    },
};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
    upgrade::Upgraded,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    task::JoinHandle,
    time::{Instant, timeout_at},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        handshake::{client::generate_key, derive_accept_key},
        protocol::{Role, WebSocketConfig},
    },
};

pub use self::{
    ask::{Ask, Body, REQUEST_TIMEOUT},
    error::{ConnectionError, Fault},
    outgoing::{Flow, Pace},
};
use self::{
    claims::Wrong,
    dial::{dial, shake},
    error::ANSWER_IN_FULL,
    outgoing::Outgoing,
};
use crate::{credentials::Credentials, trust::Trusted};

/// Longest head of an answer in bytes; hyper wants at least 8 KiB.
const MAX_HEAD_LENGTH: usize = 32 * 1024;
/// Most header lines of an answer.
const MAX_HEADERS: usize = 64;
/// Longest `/status` in bytes: 64 tags and a statement stay far below it.
const MAX_STATUS_LENGTH: usize = 64 * 1024;

/// The attached socket.
pub type NodeSocket = WebSocketStream<TokioIo<Upgraded>>;

/// A connection whose other end is known, and not yet trusted.
#[derive(Debug)]
pub struct NodeConnection {
    endpoint: String,
    peer: SocketAddr,
    identity: IdentityKey,
    sender: SendRequest<Outgoing>,
    _driver: Driver,
}

/// Runs the HTTP side; ends with its owner.
#[derive(Debug)]
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A successful answer.
#[derive(Debug, Clone)]
pub struct Response {
    /// 2xx.
    pub status: StatusCode,
    /// Its headers: a stranger's text.
    pub headers: HeaderMap,
    /// Its body, at most as long as was asked for.
    pub body: Bytes,
}

impl NodeConnection {
    /// Connects to a host name or address; the addresses of a name share the time until `deadline` from now.
    pub async fn open(host: &str, port: u16, deadline: Duration) -> Result<Self, ConnectionError> {
        let until = Instant::now() + deadline;
        let endpoint = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let stream = match timeout_at(until, dial(host, port, &endpoint, until)).await {
            Ok(dialled) => dialled?,
            Err(_) => return Err(late(&endpoint, "accept a connection", deadline)),
        };
        Self::over(stream, host, until.saturating_duration_since(Instant::now())).await
    }

    /// Connects to one address and no other. `host` is what its certificate-routing fronts and logs should see.
    pub async fn to(address: SocketAddr, host: &str, deadline: Duration) -> Result<Self, ConnectionError> {
        let until = Instant::now() + deadline;
        let endpoint = address.to_string();
        let stream = match timeout_at(until, TcpStream::connect(address)).await {
            Ok(dialled) => dialled.map_err(|source| ConnectionError::Connect { endpoint, source })?,
            Err(_) => return Err(late(&endpoint, "accept a connection", deadline)),
        };
        Self::over(stream, host, until.saturating_duration_since(Instant::now())).await
    }

    /// Goes on with a TCP connection that stands, such as the one that confirmed a finalist. `host` is what its
    /// certificate-routing fronts and logs should see.
    pub async fn over(stream: TcpStream, host: &str, deadline: Duration) -> Result<Self, ConnectionError> {
        let refused = |source| ConnectionError::Connect { endpoint: host.to_owned(), source };
        let peer = stream.peer_addr().map_err(refused)?;
        stream.set_nodelay(true).map_err(refused)?;
        let endpoint = if host.contains(':') {
            format!("[{host}]:{}", peer.port())
        } else {
            format!("{host}:{}", peer.port())
        };
        let until = Instant::now() + deadline;
        let shaken = timeout_at(until, shake(stream, host, peer, &endpoint)).await;
        let (stream, identity) =
            shaken.map_err(|_| late(&endpoint, "complete the TLS handshake", deadline))??;
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_HEAD_LENGTH)
            .max_header_size(MAX_HEAD_LENGTH)
            .max_headers(MAX_HEADERS)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|source| ConnectionError::Http { endpoint: endpoint.clone(), source })?;
        let driver = tokio::spawn(async move {
            // Every failure also reaches the request that waits for it.
            let _ = connection.with_upgrades().await;
        });
        Ok(Self { endpoint, peer, identity, sender, _driver: Driver(driver) })
    }

    /// The identity that certifies the TLS key of this connection. Established, not trusted.
    pub fn identity(&self) -> &IdentityKey {
        &self.identity
    }

    /// The address at the other end.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// `GET /status`, without a token. What it says is checked for form, and for naming the identity that answers.
    pub async fn get_status(&mut self, deadline: Duration) -> Result<Status, ConnectionError> {
        let ask = Ask { limit: MAX_STATUS_LENGTH, ..Ask::new(Method::GET, "/status") };
        let response = self.exchange(ask, None, deadline).await?;
        let against = |reason: String| ConnectionError::Protocol { endpoint: self.endpoint.clone(), reason };
        let status: Status = serde_json::from_slice(&response.body)
            .map_err(|error| against(format!("its status is unreadable ({error})")))?;
        if status.identity != self.identity {
            return Err(against("its status names another identity than its TLS certificate".into()));
        }
        claims::check(status).map_err(|wrong| match wrong {
            Wrong::Garbage(field) => against(format!("the field {field} of its status is garbage")),
            Wrong::Impossible(claim) => {
                ConnectionError::Implausible { endpoint: self.endpoint.clone(), claim }
            }
        })
    }

    /// `GET` of what needs no login, such as `/health`. Carries no token.
    pub async fn get(&mut self, path: &str, deadline: Duration) -> Result<Response, ConnectionError> {
        let ask = Ask { limit: MAX_STATUS_LENGTH, ..Ask::new(Method::GET, path) };
        self.exchange(ask, None, deadline).await
    }

    /// The same connection, now allowed to carry tokens, if `trust` is about who answers here.
    pub fn trusted(self, trust: &Trusted) -> Result<TrustedConnection, ConnectionError> {
        if *trust.identity() != self.identity {
            let (seen, decided) = (self.identity, *trust.identity());
            return Err(ConnectionError::OtherIdentity { endpoint: self.endpoint, seen, decided });
        }
        Ok(TrustedConnection { connection: self })
    }

    async fn exchange(
        &mut self,
        ask: Ask<'_>,
        credentials: Option<&Credentials>,
        deadline: Duration,
    ) -> Result<Response, ConnectionError> {
        let until = Instant::now() + deadline;
        let limit = ask.limit;
        let answer = self.send(ask, credentials, until, deadline).await?;
        let (head, body) = answer.into_parts();
        let body = self.collect(body, limit, until, deadline).await?;
        if head.status.is_success() {
            return Ok(Response { status: head.status, headers: head.headers, body });
        }
        Err(self.refused(head.status, &head.headers, &body))
    }

    async fn send(
        &mut self,
        ask: Ask<'_>,
        credentials: Option<&Credentials>,
        until: Instant,
        deadline: Duration,
    ) -> Result<http::Response<Incoming>, ConnectionError> {
        let request = self.build(ask, credentials)?;
        let sent = timeout_at(until, async {
            self.sender.ready().await?;
            self.sender.send_request(request).await
        });
        match sent.await {
            Ok(answer) => {
                answer.map_err(|source| ConnectionError::Http { endpoint: self.endpoint.clone(), source })
            }
            Err(_) => Err(late(&self.endpoint, "answer", deadline)),
        }
    }

    fn build(
        &self,
        ask: Ask<'_>,
        credentials: Option<&Credentials>,
    ) -> Result<Request<Outgoing>, ConnectionError> {
        let against = |error: http::Error| ConnectionError::Protocol {
            endpoint: self.endpoint.clone(),
            reason: format!("no request can be made of it ({error})"),
        };
        let mut request = Request::builder().method(&ask.method).uri(ask.path).header(HOST, &self.endpoint);
        request = request.header(USER_AGENT, concat!("cbrowse/", env!("CARGO_PKG_VERSION")));
        if let Some(credentials) = credentials {
            let path = ask.path.split('?').next().unwrap_or_default();
            let (authorization, proof) =
                credentials.headers(ask.method.as_str(), path, &self.identity, SystemTime::now());
            request = request.header(AUTHORIZATION, authorization).header(PROOF_HEADER, proof);
        }
        let body = match ask.body {
            Body::Empty => Bytes::new(),
            Body::Json(bytes) => {
                request = request.header(CONTENT_TYPE, "application/json");
                bytes
            }
            Body::Octets(bytes) => {
                request = request.header(CONTENT_TYPE, "application/octet-stream");
                bytes
            }
        };
        let mut request = request.body(Outgoing::new(body, ask.flow)).map_err(against)?;
        request.headers_mut().extend(ask.headers);
        Ok(request)
    }

    async fn collect(
        &self,
        body: Incoming,
        limit: usize,
        until: Instant,
        deadline: Duration,
    ) -> Result<Bytes, ConnectionError> {
        let endpoint = || self.endpoint.clone();
        let collected = timeout_at(until, Limited::new(body, limit).collect()).await;
        match collected.map_err(|_| late(&self.endpoint, ANSWER_IN_FULL, deadline))? {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => {
                Err(ConnectionError::TooLong { endpoint: endpoint(), limit })
            }
            Err(error) => Err(match error.downcast::<hyper::Error>() {
                Ok(source) => ConnectionError::Http { endpoint: endpoint(), source: *source },
                Err(error) => ConnectionError::Protocol { endpoint: endpoint(), reason: error.to_string() },
            }),
        }
    }

    /// The node's problem document, cleaned; its bare status where it sent none.
    fn refused(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> ConnectionError {
        let bare = || {
            let reason = status.canonical_reason().unwrap_or("no reason given");
            Problem::new(status.as_u16(), "http", reason, format!("HTTP status {status}"))
        };
        let told = serde_json::from_slice::<Problem>(body).unwrap_or_else(|_| bare());
        let problem = Problem {
            kind: printable(&told.kind, MAX_FIELD_LENGTH),
            status: status.as_u16(),
            code: printable(&told.code, MAX_FIELD_LENGTH),
            title: printable(&told.title, MAX_FIELD_LENGTH),
            // Long enough for an explanation, short enough for a terminal.
            detail: printable(&told.detail, 1000),
            // A front in place of the node says it in the header alone. A date there is passed over.
            retry_after: headers
                .get(RETRY_AFTER)
                .and_then(|seconds| seconds.to_str().ok()?.parse().ok())
                .or(told.retry_after),
            field: told.field.map(|field| printable(&field, MAX_FIELD_LENGTH).into()),
        };
        ConnectionError::Refused { endpoint: self.endpoint.clone(), problem: Box::new(problem) }
    }
}

/// A connection to a node that this user trusts: the only way for a token to leave the machine.
#[derive(Debug)]
pub struct TrustedConnection {
    connection: NodeConnection,
}

impl TrustedConnection {
    /// The identity at the other end.
    pub fn identity(&self) -> &IdentityKey {
        &self.connection.identity
    }

    /// The address at the other end.
    pub fn peer(&self) -> SocketAddr {
        self.connection.peer
    }

    /// One more connection to the same node at the same address. The decision about its identity stands; another identity
    /// gets nothing.
    pub async fn another(&self, deadline: Duration) -> Result<Self, ConnectionError> {
        let NodeConnection { endpoint, peer, identity, .. } = &self.connection;
        let host = endpoint.rsplit_once(':').map_or(endpoint.as_str(), |(host, _)| host);
        let connection = NodeConnection::to(*peer, host.trim_matches(['[', ']']), deadline).await?;
        if connection.identity != *identity {
            let (seen, decided) = (connection.identity, *identity);
            return Err(ConnectionError::OtherIdentity { endpoint: connection.endpoint, seen, decided });
        }
        Ok(Self { connection })
    }

    /// `GET /status` again; see [`NodeConnection::get_status`].
    pub async fn get_status(&mut self, deadline: Duration) -> Result<Status, ConnectionError> {
        self.connection.get_status(deadline).await
    }

    /// One request with its answer; anything but 2xx is [`ConnectionError::Refused`]. Not cancel safe: after a drop
    /// midway, open another connection.
    pub async fn request(
        &mut self,
        ask: Ask<'_>,
        credentials: &Credentials,
    ) -> Result<Response, ConnectionError> {
        let deadline = ask.deadline();
        self.connection.exchange(ask, Some(credentials), deadline).await
    }

    /// Turns the connection into a WebSocket at `path`. `protocol` is the subprotocol that the node must choose, if any;
    /// messages and frames above [`MAX_MEDIA_LENGTH`] end it.
    pub async fn upgrade(
        mut self,
        path: &str,
        protocol: Option<&'static str>,
        headers: HeaderMap,
        credentials: &Credentials,
    ) -> Result<NodeSocket, ConnectionError> {
        let connection = &mut self.connection;
        let key = generate_key();
        let mut ask = Ask { headers, limit: MAX_STATUS_LENGTH, ..Ask::new(Method::GET, path) };
        ask.headers.extend(upgrade_headers(&key, protocol));
        let deadline = ask.deadline();
        let until = Instant::now() + deadline;
        let answer = connection.send(ask, Some(credentials), until, deadline).await?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            let (head, body) = answer.into_parts();
            let body = connection.collect(body, MAX_STATUS_LENGTH, until, deadline).await?;
            return Err(connection.refused(head.status, &head.headers, &body));
        }
        check_upgrade(answer.headers(), &key, protocol).map_err(|reason| ConnectionError::Protocol {
            endpoint: connection.endpoint.clone(),
            reason: reason.into(),
        })?;
        let upgraded = timeout_at(until, hyper::upgrade::on(answer)).await;
        let upgraded = upgraded
            .map_err(|_| late(&connection.endpoint, "hand over the connection", deadline))?
            .map_err(|source| ConnectionError::Http { endpoint: connection.endpoint.clone(), source })?;
        Ok(WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, Some(socket_limits()))
            .await)
    }
}

fn socket_limits() -> WebSocketConfig {
    let mut limits = WebSocketConfig::default();
    limits.max_message_size = Some(MAX_MEDIA_LENGTH);
    limits.max_frame_size = Some(MAX_MEDIA_LENGTH);
    limits
}

fn upgrade_headers(key: &str, protocol: Option<&'static str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    headers.insert(SEC_WEBSOCKET_KEY, key.parse().expect("base64 is a header value"));
    if let Some(protocol) = protocol {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    }
    headers
}

/// RFC 6455 section 4.1, what the client must check.
fn check_upgrade(headers: &HeaderMap, key: &str, protocol: Option<&str>) -> Result<(), &'static str> {
    let is = |name: HeaderName, wanted: &str| {
        headers.get(name).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(wanted.as_bytes()))
    };
    if !is(UPGRADE, "websocket") {
        return Err("it switched to something else than a WebSocket");
    }
    let accepted = headers.get(SEC_WEBSOCKET_ACCEPT).map(HeaderValue::as_bytes);
    if accepted != Some(derive_accept_key(key.as_bytes()).as_bytes()) {
        return Err("it accepted another WebSocket than the one asked for");
    }
    let chosen = headers.get(SEC_WEBSOCKET_PROTOCOL).map(HeaderValue::as_bytes);
    if chosen != protocol.map(str::as_bytes) {
        return Err("it does not speak this version of the attach protocol: update the older of the two");
    }
    Ok(())
}

fn late(endpoint: &str, stage: &'static str, after: Duration) -> ConnectionError {
    ConnectionError::Timeout { endpoint: endpoint.to_owned(), stage, after }
}
