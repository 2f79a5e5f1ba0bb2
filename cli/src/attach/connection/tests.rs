//! Against a real TLS server on loopback, set up with the node's own certificates and access checks.

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use cbrowse_node::{access::Access, tls};
use cbrowse_protocol::{
    api::MAX_OBJECT_LENGTH,
    identity::SigningKey,
    token::{Claims, Credential, Scopes},
    wire::SUBPROTOCOL,
};
use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::Full;
use hyper::service::service_fn;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::Message;

use super::*;
use crate::{
    attach::verifier::IdentityError,
    credentials::seconds,
    failure::{Exit, Failure},
    trust::{Decision, Listed, Seen, TrustStore, decide},
};

/// Generous for a loopback that shares its processors with a compiler.
const DEADLINE: Duration = Duration::from_secs(10);

type Answer = http::Response<Full<Bytes>>;
type Handler = Box<dyn Fn(&Request<Incoming>, &Node) -> Answer + Send + Sync>;

struct Node {
    identity: SigningKey,
    access: Access,
    handler: Handler,
    connections: AtomicUsize,
    seen: Mutex<Vec<String>>,
}

struct Running {
    node: Arc<Node>,
    port: u16,
    issuer: SigningKey,
    _tasks: JoinSet<()>,
    _directory: tempfile::TempDir,
}

async fn start(handler: Handler) -> Running {
    let identity = SigningKey::generate();
    let config = tls::server_config(&identity).expect("TLS");
    start_with(identity, config, handler).await
}

async fn start_with(identity: SigningKey, config: Arc<rustls::ServerConfig>, handler: Handler) -> Running {
    let directory = tempfile::tempdir().expect("a directory");
    let issuer = SigningKey::generate();
    let access = Access::new(identity.public(), directory.path(), vec![issuer.public()]);
    let node = Arc::new(Node { identity, access, handler, connections: 0.into(), seen: Mutex::default() });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let port = listener.local_addr().expect("address").port();
    let mut tasks = JoinSet::new();
    tasks.spawn(accept(listener, TlsAcceptor::from(config), Arc::clone(&node)));
    Running { node, port, issuer, _tasks: tasks, _directory: directory }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, node: Arc<Node>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        node.connections.fetch_add(1, Ordering::SeqCst);
        let (acceptor, node) = (acceptor.clone(), Arc::clone(&node));
        connections.spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = service_fn(move |request| serve(request, Arc::clone(&node)));
            let server = hyper::server::conn::http1::Builder::new();
            let _ = server.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
        });
    }
}

async fn serve(mut request: Request<Incoming>, node: Arc<Node>) -> Result<Answer, Infallible> {
    node.seen.lock().expect("lock").push(format!("{} {:?}", request.uri(), request.headers()));
    let path = request.uri().path().to_owned();
    if path.starts_with("/v1") || path.starts_with("/ws") {
        let now = seconds(SystemTime::now());
        if let Err(problem) = node.access.authenticate(request.method(), &path, request.headers(), now) {
            return Ok(refusal(&problem));
        }
    }
    while let Some(frame) = request.body_mut().frame().await {
        frame.expect("the body arrives");
    }
    let answer = (node.handler)(&request, &node);
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let io = TokioIo::new(upgrade.await.expect("upgraded"));
            let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
            while let Some(Ok(message)) = socket.next().await {
                if message.is_text() && socket.send(message).await.is_err() {
                    break;
                }
            }
        });
    }
    Ok(answer)
}

fn refusal(problem: &Problem) -> Answer {
    let body = serde_json::to_vec(problem).expect("JSON");
    http::Response::builder().status(problem.status).body(Full::new(body.into())).expect("response")
}

fn ok(body: impl Into<Bytes>) -> Answer {
    http::Response::new(Full::new(body.into()))
}

fn status_of(identity: IdentityKey) -> serde_json::Value {
    serde_json::json!({
        "id": "n1", "identity": identity, "region": "eu", "version": "0.1.0", "browser_version": "156.0",
        "sessions": 1, "capacity": 4, "load": 0.5, "cpu": 0.1, "memory": 0.2, "draining": false, "age_ms": 3
    })
}

/// Answers as a node does: status, an echo of `/v1/…` paths, and a WebSocket that echoes.
fn honest() -> Handler {
    Box::new(|request, node| match request.uri().path() {
        "/status" => ok(status_of(node.identity.public()).to_string()),
        "/ws/new" => {
            let key = request.headers()[SEC_WEBSOCKET_KEY].as_bytes();
            http::Response::builder()
                .status(101)
                .header(CONNECTION, "upgrade")
                .header(UPGRADE, "websocket")
                .header(SEC_WEBSOCKET_ACCEPT, derive_accept_key(key))
                .header(SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL)
                .body(Full::default())
                .expect("response")
        }
        path => ok(path.to_owned()),
    })
}

fn always(status: u16, body: &str) -> Handler {
    let body = Bytes::from(body.to_owned());
    Box::new(move |_, _| {
        http::Response::builder().status(status).body(Full::new(body.clone())).expect("response")
    })
}

impl Running {
    async fn open(&self) -> Result<NodeConnection, ConnectionError> {
        NodeConnection::open("127.0.0.1", self.port, DEADLINE).await
    }

    fn credentials(&self) -> Credentials {
        let seed = Credential::fresh_seed();
        let client = SigningKey::from_seed(&seed).public();
        let now = SystemTime::now();
        let claims =
            Claims::new(&self.issuer.public(), "ada", &client, Scopes::of_a_user(), seconds(now), 100);
        let credential = Credential::with_seed(claims.sign(&self.issuer), *seed);
        Credentials::new(&credential, None, now).expect("credentials")
    }

    fn requests(&self) -> Vec<String> {
        self.node.seen.lock().expect("lock").clone()
    }
}

fn trust_in(identity: &IdentityKey) -> Trusted {
    let id = "n1".parse().expect("id");
    let listed = Some(Listed::Authenticated(identity));
    let seen = Seen { id: &id, endpoint: "h:1", region: "", identity, statement: None, listed };
    match decide(&TrustStore::default(), &seen, 0) {
        Decision::Trusted(trusted) => trusted,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn status_requests_and_the_socket_share_one_connection() {
    let running = start(honest()).await;
    let mut connection = running.open().await.expect("connected");
    assert_eq!(*connection.identity(), running.node.identity.public());
    let status = connection.get_status(DEADLINE).await.expect("status");
    assert_eq!((status.id.as_str(), status.load), ("n1", 0.5));
    assert!(!running.requests()[0].contains("DPoP"), "the status carries no token");

    let credentials = running.credentials();
    let mut trusted = connection.trusted(&trust_in(&running.node.identity.public())).expect("trusted");
    let object = Bytes::from(vec![7; MAX_OBJECT_LENGTH]);
    let put = Ask::new(Method::PUT, "/v1/objects/x?y=z").octets(object);
    let response = trusted.request(put, &credentials).await.expect("answer");
    assert_eq!(&response.body[..], b"/v1/objects/x");

    let upgraded = trusted.upgrade("/ws/new", Some(SUBPROTOCOL), HeaderMap::new(), &credentials).await;
    let mut socket = upgraded.expect("a socket");
    socket.send(Message::text("hello")).await.expect("sent");
    assert_eq!(socket.next().await.expect("echo").expect("echo"), Message::text("hello"));
    assert_eq!(running.node.connections.load(Ordering::SeqCst), 1);
}

/// Promise 12: whatever the catalog said, no token reaches an identity that trust was not decided for.
#[tokio::test]
async fn a_stranger_gets_no_token() {
    let running = start(honest()).await;
    let connection = running.open().await.expect("connected");
    let elsewhere = SigningKey::generate().public();
    let refused = connection.trusted(&trust_in(&elsewhere)).expect_err("another identity");
    assert!(matches!(refused, ConnectionError::OtherIdentity { .. }));
    assert_eq!(Failure::from(refused).exit, Exit::Trust);
    assert!(running.requests().is_empty());
}

#[tokio::test]
async fn a_server_without_an_identity_is_refused() {
    let identity = SigningKey::generate();
    let (chain, key) = tls::certificates(&identity).expect("certificates");
    let leaf_only =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain[..1].to_vec(), key)
            .expect("config");
    let running = start_with(identity, Arc::new(leaf_only), honest()).await;
    let refused = running.open().await.expect_err("no identity");
    assert!(
        matches!(refused, ConnectionError::Identity { source: IdentityError::ChainLength(1), .. }),
        "{refused:?}"
    );
}

#[tokio::test]
async fn older_tls_is_refused() {
    let identity = SigningKey::generate();
    let (chain, key) = tls::certificates(&identity).expect("certificates");
    let old =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS12])
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("config");
    let running = start_with(identity, Arc::new(old), honest()).await;
    let refused = running.open().await.expect_err("TLS 1.2");
    assert!(matches!(refused, ConnectionError::Tls { .. }), "{refused:?}");
}

#[tokio::test]
async fn a_status_that_names_another_identity_is_refused() {
    let other = SigningKey::generate().public();
    let running = start(always(200, &status_of(other).to_string())).await;
    let refused = running.open().await.expect("connected").get_status(DEADLINE).await;
    assert!(matches!(refused, Err(ConnectionError::Protocol { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_status_with_terminal_escapes_or_garbage_is_refused() {
    let running = start(Box::new(|request, node| {
        let mut status = status_of(node.identity.public());
        status["region"] = "\u{1b}[2J".into();
        ok(if request.uri().path() == "/status" { status.to_string() } else { String::new() })
    }))
    .await;
    let refused = running.open().await.expect("connected").get_status(DEADLINE).await.expect_err("escapes");
    assert!(refused.to_string().contains("region"), "{refused}");
    let running = start(always(200, "<html>")).await;
    let refused = running.open().await.expect("connected").get_status(DEADLINE).await;
    assert!(matches!(refused, Err(ConnectionError::Protocol { .. })), "{refused:?}");
}

#[tokio::test]
async fn what_a_node_sends_is_bounded() {
    let running = start(always(200, &"x".repeat(MAX_STATUS_LENGTH + 1))).await;
    let refused = running.open().await.expect("connected").get_status(DEADLINE).await;
    assert!(matches!(refused, Err(ConnectionError::TooLong { limit: MAX_STATUS_LENGTH, .. })), "{refused:?}");

    let running = start(Box::new(|_, _| {
        let long = "x".repeat(MAX_HEAD_LENGTH + 1);
        http::Response::builder().header("x-long", long).body(Full::default()).expect("response")
    }))
    .await;
    let refused = running.open().await.expect("connected").get_status(DEADLINE).await;
    assert!(matches!(refused, Err(ConnectionError::Http { .. })), "{refused:?}");
}

#[tokio::test]
async fn silence_ends_at_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let port = listener.local_addr().expect("address").port();
    let short = Duration::from_millis(200);
    let refused = NodeConnection::open("127.0.0.1", port, short).await.expect_err("no handshake");
    assert!(matches!(refused, ConnectionError::Timeout { .. }), "{refused:?}");
    assert!(refused.is_retryable());
    drop(listener);
    let refused = NodeConnection::open("127.0.0.1", port, short).await.expect_err("nobody listens");
    assert!(matches!(refused, ConnectionError::Connect { .. }), "{refused:?}");
}

#[tokio::test]
async fn a_refusal_is_the_nodes_word_cleaned_for_the_terminal() {
    let problem = Problem::new(503, "full", "Full", "no seat \u{1b}[31mleft");
    let running = start(always(503, &serde_json::to_string(&problem).expect("JSON"))).await;
    let connection = running.open().await.expect("connected");
    let mut trusted = connection.trusted(&trust_in(&running.node.identity.public())).expect("trusted");
    let credentials = running.credentials();
    let refused = trusted.request(Ask::new(Method::POST, "/v1/seats"), &credentials).await.expect_err("full");
    assert!(refused.is_retryable());
    let told = refused.problem().expect("a problem");
    assert_eq!((told.code.as_str(), told.detail.as_str()), ("full", "no seat \u{fffd}[31mleft"));
    assert_eq!(Failure::from(refused).exit, Exit::Refused);

    let socket = trusted.upgrade("/ws/new", Some(SUBPROTOCOL), HeaderMap::new(), &credentials).await;
    assert_eq!(socket.expect_err("full").problem().expect("a problem").code, "full");
}

#[tokio::test]
async fn a_token_of_a_foreign_issuer_is_an_authentication_failure() {
    let (running, elsewhere) = (start(honest()).await, start(honest()).await);
    let connection = running.open().await.expect("connected");
    let mut trusted = connection.trusted(&trust_in(&running.node.identity.public())).expect("trusted");
    let refused = trusted.request(Ask::new(Method::GET, "/v1/sessions"), &elsewhere.credentials()).await;
    let refused = refused.expect_err("foreign");
    assert!(!refused.is_retryable());
    assert_eq!(refused.problem().expect("a problem").code, "token_foreign");
    assert_eq!(Failure::from(refused).exit, Exit::Authentication);
}

#[tokio::test]
async fn a_socket_of_another_version_is_refused() {
    let running = start(honest()).await;
    let connection = running.open().await.expect("connected");
    let trusted = connection.trusted(&trust_in(&running.node.identity.public())).expect("trusted");
    let newer =
        trusted.upgrade("/ws/new", Some("cbrowse.v9"), HeaderMap::new(), &running.credentials()).await;
    assert!(matches!(newer, Err(ConnectionError::Protocol { .. })), "{newer:?}");
}
