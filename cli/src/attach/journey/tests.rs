//! Journeys to a node that means no good: real TLS on loopback, and whatever welcome it likes.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use cbrowse_node::tls;
use cbrowse_profile::{authority::Authority, keys::AccountKey, secret::SystemRandom};
use cbrowse_protocol::{
    identity::SigningKey,
    token::{Claims, Credential, Scopes},
    wire::{NodeMessage, Role, SUBPROTOCOL},
};
use futures_util::SinkExt as _;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, handshake::derive_accept_key, protocol},
};

use super::{mending::MAX_FLAPS, *};
use crate::{
    context::Globals,
    probe::Reach,
    select::RegionFallback,
    settings::{Flags, Settings},
    survey::Probing,
};

/// Drops every link right after its welcome, and takes the session back each time.
struct Node {
    identity: SigningKey,
    welcomes_as: &'static str,
    links: AtomicUsize,
    /// Accepts connections and says nothing on them, as over a network that fails.
    silent: AtomicBool,
    /// Connections, probes among them.
    accepted: AtomicUsize,
}

impl Node {
    fn answer(self: &Arc<Self>, mut request: Request<Incoming>) -> Response<Full<bytes::Bytes>> {
        if request.uri().path() == "/status" {
            let status = serde_json::json!({
                "id": "eu-1", "region": "eu", "identity": self.identity.public(), "version": "1", "browser_version": "156",
                "sessions": 0, "capacity": 9, "load": 0.0, "cpu": 0.0, "memory": 0.0, "draining": false, "age_ms": 0,
            });
            return Response::new(Full::new(status.to_string().into()));
        }
        if request.uri().path().ends_with("/proposals") {
            return Response::new(Full::new(r#"{"proposals":[],"closing":0,"running":0}"#.into()));
        }
        let key = request.headers()[header::SEC_WEBSOCKET_KEY].as_bytes().to_vec();
        let (node, upgrade) = (Arc::clone(self), hyper::upgrade::on(&mut request));
        tokio::spawn(async move {
            let io = TokioIo::new(upgrade.await.expect("upgraded"));
            let mut socket = WebSocketStream::from_raw_socket(io, protocol::Role::Server, None).await;
            node.links.fetch_add(1, Ordering::SeqCst);
            let welcome = NodeMessage::Welcome {
                session: "s1".parse().expect("id"),
                node: node.welcomes_as.parse().expect("id"),
                region: "eu".into(),
                browser_version: "156".into(),
                role: Role::Control,
            };
            let _ = socket.send(Message::text(serde_json::to_string(&welcome).expect("JSON"))).await;
        });
        Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_ACCEPT, derive_accept_key(&key))
            .header(header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL)
            .body(Full::default())
            .expect("response")
    }
}

async fn start(welcomes_as: &'static str) -> (Arc<Node>, NodeRecord) {
    let identity = SigningKey::generate();
    let acceptor = TlsAcceptor::from(tls::server_config(&identity).expect("TLS"));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address");
    let record = serde_json::json!({
        "id": "eu-1", "address": address.ip(), "port": address.port(), "region": "eu", "identity": identity.public(),
    });
    let node = Arc::new(Node {
        identity,
        welcomes_as,
        links: AtomicUsize::new(0),
        silent: AtomicBool::new(false),
        accepted: AtomicUsize::new(0),
    });
    let served = Arc::clone(&node);
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            served.accepted.fetch_add(1, Ordering::SeqCst);
            if served.silent.load(Ordering::SeqCst) {
                held.push(stream);
                continue;
            }
            let (acceptor, node) = (acceptor.clone(), Arc::clone(&served));
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = service_fn(move |request| {
                    let answer = node.answer(request);
                    async move { Ok::<_, std::convert::Infallible>(answer) }
                });
                let server = hyper::server::conn::http1::Builder::new();
                let _ = server.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
            });
        }
    });
    (node, serde_json::from_value(record).expect("record"))
}

fn globals(directory: &std::path::Path) -> Globals {
    let paths = Paths::below(directory);
    let flags = Flags { catalogs: vec!["file:nodes.json".into()], ..Flags::default() };
    let settings = Settings::resolve(&flags, &|_| None, &paths.settings()).expect("settings");
    Globals::new(Output::new(false, true, true), paths, settings)
}

fn plan(globals: &Globals, record: NodeRecord) -> Plan {
    let (issuer, seed) = (SigningKey::generate(), Credential::fresh_seed());
    let client = SigningKey::from_seed(&seed).public();
    let now = std::time::SystemTime::now();
    let claims = Claims::new(&issuer.public(), "u", &client, Scopes::of_a_user(), seconds(now), 3600);
    let credential = Credential::with_seed(claims.sign(&issuer), *seed);
    Plan {
        listing: Listing { nodes: vec![record], ..Listing::default() },
        judge: Judge::of(globals).expect("judge").of_own_record(),
        constraints: Constraints::default(),
        strategy: Strategy::default(),
        probing: Probing::default(),
        history: None,
        request: SessionRequest::default(),
        profile: None,
        credentials: Arc::new(Credentials::new(&credential, None, now).expect("credentials")),
    }
}

#[tokio::test]
async fn a_node_that_takes_the_session_back_and_drops_it_again_is_left() {
    let directory = tempfile::tempdir().expect("a directory");
    let globals = globals(directory.path());
    let (node, record) = start("eu-1").await;
    let mut journey = Journey::new(plan(&globals, record), &globals.paths, &globals.output);
    let attachment = journey.begin().await.map_err(|failure| failure.message).expect("attached");
    assert_eq!(journey.session().map(SessionId::as_str), Some("s1"));
    let (hub, mut inputs) = Hub::new();
    let (mut seen, stop) = (Seen::default(), CancellationToken::new());
    let travelled = journey.travel(attachment, &hub, &mut inputs, &mut seen, &stop);
    let ended =
        tokio::time::timeout(Duration::from_secs(60), travelled).await.expect("it gives up by itself");
    assert_eq!(ended.expect_err("no other node is there").exit, Exit::SessionLost);
    assert_eq!(node.links.load(Ordering::SeqCst), 1 + MAX_FLAPS as usize);
}

#[tokio::test]
async fn an_outage_of_every_road_ends_in_the_same_session() {
    let directory = tempfile::tempdir().expect("a directory");
    let globals = globals(directory.path());
    let (node, record) = start("eu-1").await;
    let mut journey = Journey::new(plan(&globals, record), &globals.paths, &globals.output);
    let attachment = journey.begin().await.map_err(|failure| failure.message).expect("attached");
    node.silent.store(true, Ordering::SeqCst);
    let (hub, mut inputs) = Hub::new();
    let (mut seen, stop) = (Seen::default(), CancellationToken::new());
    let network = async {
        // The old node has been given up by then, and no other is there.
        tokio::time::sleep(RESUME_FOR + Duration::from_secs(1)).await;
        assert_eq!(node.links.load(Ordering::SeqCst), 1);
        node.silent.store(false, Ordering::SeqCst);
        // A third link says that the second was taken for the same session, and not only that it was opened.
        while node.links.load(Ordering::SeqCst) < 3 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        stop.cancel();
    };
    let both =
        async { tokio::join!(journey.travel(attachment, &hub, &mut inputs, &mut seen, &stop), network) };
    let (travelled, ()) = tokio::time::timeout(Duration::from_secs(60), both).await.expect("it comes back");
    assert!(travelled.is_ok(), "{travelled:?}");
    assert!(journey.gone.is_empty(), "{:?}", journey.gone);
}

#[tokio::test]
async fn a_welcome_in_another_nodes_name_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let globals = globals(directory.path());
    let (_node, record) = start("us-1").await;
    let mut journey = Journey::new(plan(&globals, record), &globals.paths, &globals.output);
    let Err(failure) = journey.begin().await else { panic!("it is not who it says") };
    assert!(failure.message.contains("names another node"), "{failure}");
    assert!(journey.node().is_none());
}

#[tokio::test]
async fn after_a_move_the_save_of_the_present_session_is_taken_home_and_the_lost_one_still_waits() {
    let directory = tempfile::tempdir().expect("a directory");
    let globals = globals(directory.path());
    let account = AccountKey::generate(&mut SystemRandom);
    let (root, name) = (globals.paths.profiles(), "work".parse().expect("name"));
    Authority::create(&root, &name, &account, 1, &mut SystemRandom).expect("created");
    let profile = Arc::new(OpenProfile::open(&root, "work", &account).expect("opened"));
    let (_node, record) = start("eu-1").await;
    let mut plan = plan(&globals, record.clone());
    plan.profile = Some(profile.clone());
    let mut journey = Journey::new(plan, &globals.paths, &globals.output);
    for session in ["lost", "present"] {
        let session: SessionId = session.parse().expect("id");
        journey.note(&session, &record);
        (journey.session, journey.at) = (Some(session), Some(record.clone()));
    }
    let settled = journey.settle(Duration::ZERO).await.map_err(|failure| failure.message);
    assert!(settled.expect("answered").is_some());
    let waiting = pending::of_profile(&globals.paths, profile.id());
    assert_eq!(waiting.iter().map(|one| one.session.as_str()).collect::<Vec<_>>(), ["lost"]);
}

#[tokio::test]
async fn where_nobody_of_the_wanted_region_will_do_the_nearest_other_one_is_taken_if_that_is_allowed() {
    let directory = tempfile::tempdir().expect("a directory");
    let globals = globals(directory.path());
    let (_node, record) = start("eu-1").await;
    let mut strict = plan(&globals, record);
    strict.constraints.regions = vec!["mars".into()];
    let mut lenient =
        Plan { listing: strict.listing.clone(), ..plan(&globals, strict.listing.nodes[0].clone()) };
    lenient.constraints =
        Constraints { region_fallback: RegionFallback::Nearest, ..strict.constraints.clone() };
    lenient.strategy = Strategy::RoundRobin;
    let refused = Journey::new(strict, &globals.paths, &globals.output).begin().await;
    assert_eq!(refused.err().map(|failure| failure.exit), Some(Exit::NoEligibleNode));
    let mut journey = Journey::new(lenient, &globals.paths, &globals.output);
    journey.begin().await.map_err(|failure| failure.message).expect("attached");
    assert_eq!(journey.node().map(|node| node.region.as_str()), Some("eu"));
    // The next turn goes on from there.
    let remembered = crate::remembered::load(&globals.paths, Strategy::RoundRobin);
    assert_eq!(serde_json::to_value(&remembered).expect("plain data")["last"], "eu-1");
}

#[tokio::test]
async fn a_journey_leaves_its_node_as_home_and_the_next_one_begins_there_without_probing() {
    let directory = tempfile::tempdir().expect("a directory");
    let globals = globals(directory.path());
    let (node, record) = start("eu-1").await;
    let journey = |probing: Probing| {
        let history = Some(Arc::new(History::of(&globals.paths, &globals.output)));
        let plan = Plan { probing, history, ..plan(&globals, record.clone()) };
        Journey::new(plan, &globals.paths, &globals.output)
    };
    let refused = journey(Probing::Cached).begin().await.err().expect("nothing is remembered");
    assert_eq!(refused.exit, Exit::NoEligibleNode);
    assert_eq!(refused.details["nodes"][0]["reasons"][0]["code"], "not_remembered");
    let mut first = journey(Probing::All);
    first.begin().await.map_err(|failure| failure.message).expect("attached");
    first.settle_history().await;
    assert!(History::of(&globals.paths, &globals.output).recall().is_home(&record));
    let before = node.accepted.load(Ordering::SeqCst);
    let mut second = journey(Probing::Cached);
    second.begin().await.map_err(|failure| failure.message).expect("attached");
    assert_eq!(
        node.accepted.load(Ordering::SeqCst) - before,
        1,
        "the connection that attached, and no probe"
    );
    let surveyed = second.surveyed.as_ref().expect("surveyed");
    assert_eq!(surveyed.report.nodes[0].reach, Reach::Remembered);
    // A node that moved is not the one that is remembered.
    let (_moved, record) = start("eu-1").await;
    let history = History::of(&globals.paths, &globals.output).recall();
    assert!(history.prior(&record).is_none() && !history.is_home(&record));
}
