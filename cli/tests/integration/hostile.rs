//! Nodes that are broken, slow or lie: each gets its own verdict and reason, none holds up the others, none is chosen
//! silently.
//!
//! What a real node cannot be made to say is said by a fake on the node's own TLS set-up, with an identity of its own: its
//! answer is whatever the test writes.

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream},
    os::fd::AsRawFd as _,
    time::Duration,
};

use cbrowse_node::tls;
use cbrowse_protocol::identity::SigningKey;
use cbrowse_testkit::{
    fleet::Fleet,
    node::{Node, Options},
    ports::free_ports,
};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, getsockname, listen, socket,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinSet,
    time::sleep,
};
use tokio_rustls::TlsAcceptor;

use crate::{doctor::in_namespaces, user::User};

const PAGE: &str = "http://cbrowse.internal/colours";
/// Between two bytes of an answer that does not come to an end.
const DRIP: Duration = Duration::from_secs(1);

/// What a fake says once it was asked for its status.
#[derive(Clone)]
pub(crate) enum Says {
    /// This body, in one piece.
    Body(Vec<u8>),
    /// The same a byte at a time.
    Drips(Vec<u8>),
    /// A head that announces much, and as many bytes as are taken.
    Floods,
    /// Nothing.
    Nothing,
    /// Something that is not HTTP.
    Nonsense,
}

/// A fake node on a port of its own, ended when dropped.
pub(crate) struct Fake {
    address: SocketAddr,
    identity: SigningKey,
    _serving: JoinSet<()>,
}

impl Fake {
    /// Answers every request alike. `date` stands in its head.
    pub(crate) async fn start(identity: SigningKey, says: Says, date: &'static str) -> Self {
        let acceptor = TlsAcceptor::from(tls::server_config(&identity).unwrap());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, says) = (acceptor.clone(), says.clone());
                connections.spawn(async move {
                    // The client may go at any moment, as probes do.
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let _ = answer(&mut stream, &says, date).await;
                });
            }
        });
        Self { address, identity, _serving: serving }
    }

    /// As a catalog names it.
    pub(crate) fn record(&self, id: &str) -> Value {
        json!({"id": id, "address": self.address.ip(), "port": self.address.port(), "region": "eu-central",
               "identity": self.identity.public()})
    }
}

async fn answer(
    stream: &mut tokio_rustls::server::TlsStream<tokio::net::TcpStream>,
    says: &Says,
    date: &str,
) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await?);
    }
    let head = |length: usize| {
        format!("HTTP/1.1 200 OK\r\ndate: {date}\r\ncontent-length: {length}\r\n\r\n").into_bytes()
    };
    match says {
        Says::Body(body) => stream.write_all(&[head(body.len()), body.clone()].concat()).await?,
        Says::Drips(body) => {
            stream.write_all(&head(body.len())).await?;
            for byte in body {
                stream.write_all(&[*byte]).await?;
                stream.flush().await?;
                sleep(DRIP).await;
            }
        }
        Says::Floods => {
            stream.write_all(&head(1 << 30)).await?;
            loop {
                stream.write_all(&[b' '; 4096]).await?;
            }
        }
        Says::Nothing => {}
        Says::Nonsense => stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n\r\n").await?,
    }
    stream.flush().await?;
    // Open until the client goes.
    let _ = stream.read_u8().await;
    Ok(())
}

/// A status that could be true, with some fields changed.
fn status(identity: &SigningKey, id: &str, change: &Value) -> Vec<u8> {
    let mut status = json!({
        "id": id, "identity": identity.public(), "region": "eu-central", "version": "0.1.0",
        "browser_version": "156.0.0.0", "sessions": 0, "capacity": 8, "load": 0.1, "cpu": 0.1, "memory": 0.1,
        "draining": false, "age_ms": 10,
    });
    for (field, value) in change.as_object().unwrap() {
        status[field] = value.clone();
    }
    serde_json::to_vec(&status).unwrap()
}

async fn saying(change: Value) -> Fake {
    let identity = SigningKey::generate();
    let body = status(&identity, "fake", &change);
    Fake::start(identity, Says::Body(body), "").await
}

fn node<'a>(document: &'a Value, id: &str) -> &'a Value {
    let nodes = document["nodes"].as_array().unwrap();
    nodes.iter().find(|node| node["id"] == id).unwrap_or_else(|| panic!("{id} is not in {document}"))
}

/// Code, cause and words of the only reason against a node.
fn reason<'a>(document: &'a Value, id: &str) -> (&'a str, &'a str, &'a str) {
    let node = node(document, id);
    assert_eq!(node["verdict"], "rejected", "{node}");
    let reasons = node["reasons"].as_array().unwrap();
    assert_eq!(reasons.len(), 1, "{node}");
    let field = |name: &str| reasons[0][name].as_str().unwrap_or_default();
    (field("code"), field("cause"), field("message"))
}

#[tokio::test]
async fn every_way_to_fail_has_its_own_reason_and_none_takes_the_good_node_away() {
    let fleet = Fleet::new().unwrap();
    let good = Node::start(Options::of(&fleet, "good", "eu-central")).await.unwrap();
    let user = User::of(&fleet).await.with_catalog("file:nodes.json");
    let [closed] = free_ports().unwrap();
    // Accepts in the kernel's queue, and nobody ever takes the connection.
    let mute = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let start = |says| Fake::start(SigningKey::generate(), says, "");
    let identity = SigningKey::generate();
    let long = status(&identity, "drips", &json!({}));
    let drips = Fake::start(identity, Says::Drips(long), "").await;
    let (silent, garbage) =
        (start(Says::Nothing).await, start(Says::Body(b"{\"id\": \x1b[31m".to_vec())).await);
    let (floods, nonsense) = (start(Says::Floods).await, start(Says::Nonsense).await);
    let plain = |id: &str, address: &str, port: u16| json!({"id": id, "address": address, "port": port, "region": "eu-central"});
    user.write_catalog(&[
        plain("unresolved", "nobody.invalid", 7443),
        plain("closed", "127.0.0.1", closed),
        plain("mute", "127.0.0.1", mute.local_addr().unwrap().port()),
        silent.record("silent"),
        garbage.record("garbage"),
        floods.record("floods"),
        nonsense.record("nonsense"),
        drips.record("drips"),
        good.record(),
    ]);
    let document = user.run(&["nodes", "probe", "--json", "--count", "1"]).await.document();
    assert_eq!(document["chosen"], "good");
    for (id, code, cause, words) in [
        ("unresolved", "unreachable", "unresolved", "its name does not resolve"),
        ("closed", "unreachable", "refused", "nothing listens on its port"),
        ("mute", "not_serving", "silent", "TLS handshake"),
        ("silent", "not_serving", "silent", "did not answer within"),
        ("garbage", "not_serving", "garbage", "its status is unreadable"),
        ("floods", "not_serving", "too_long", "sent more than"),
        ("nonsense", "not_serving", "disconnected", "broke off"),
        ("drips", "not_serving", "slow", "did not answer in full"),
    ] {
        let (got, because, message) = reason(&document, id);
        assert_eq!((got, because), (code, cause), "{id}: {message}");
        assert!(message.contains(words), "{id}: {message}");
        assert!(!message.contains('\u{1b}'), "{id}: {message:?}");
    }

    // Connecting goes to the good one, past whoever is as near and says nothing.
    let picture = ["connect", PAGE, "--view", "none", "--screenshot", "page.png", "--explain", "--json"];
    let connected = user.run(&picture).await.document();
    assert_eq!((&connected["node"], &connected["choice"]["chosen"]), (&json!("good"), &json!("good")));
    // One after the other, the three that keep silent would have taken their four seconds each.
    let elapsed = connected["choice"]["elapsed_ms"].as_f64().unwrap();
    assert!(elapsed < 12_000.0, "{elapsed} ms");
}

#[tokio::test]
async fn an_address_without_a_way_to_it_is_told_from_one_that_keeps_silent() {
    let user = User::new();
    user.write_catalog(&[
        json!({"id": "nowhere", "address": "192.0.2.1", "port": 7443}),
        json!({"id": "closed", "address": "127.0.0.1", "port": 7443}),
    ]);
    // A network of its own without any route, where this machine's own gateway answers for nobody.
    let probe = "nodes probe --count 1 --catalog file:$HOME/nodes.json";
    let Some(ended) = in_namespaces(&user, "ip link set lo up", probe) else {
        eprintln!("skipped: this machine permits no namespaces");
        return;
    };
    let document = ended.document();
    for (id, cause, words) in
        [("nowhere", "no_route", "no route to it"), ("closed", "refused", "nothing listens on its port")]
    {
        assert_eq!(reason(&document, id), ("unreachable", cause, words), "{id}");
    }
}

#[tokio::test]
async fn a_port_that_drops_connections_is_silent_although_its_machine_answers() {
    // A queue for one connection that nobody takes: once it is full, the kernel drops what else comes.
    let any = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));
    let full = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    bind(full.as_raw_fd(), &any).unwrap();
    listen(&full, Backlog::new(0).unwrap()).unwrap();
    let bound: SockaddrIn = getsockname(full.as_raw_fd()).unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&SocketAddr::V4(bound.into()), Duration::from_secs(1)) {
        waiting.push(stream);
    }
    let user = User::new().with_catalog("file:nodes.json");
    user.write_catalog(&[json!({"id": "dropping", "address": "127.0.0.1", "port": bound.port()})]);
    let document = user.run(&["nodes", "probe", "--json", "--count", "1"]).await.document();
    let wanted = if document["icmp"] == true {
        ("unreachable", "port_silent", "answers ping, its port does not")
    } else {
        ("unreachable", "silent", "no answer")
    };
    assert_eq!(reason(&document, "dropping"), wanted);
}

#[tokio::test]
async fn a_node_that_lies_about_itself_is_refused_with_the_figure() {
    let mut records = Vec::new();
    let mut fakes = Vec::new();
    let cases = [
        ("negative", json!({"load": -1}), "implausible", "load is -1"),
        ("huge", json!({"load": 1e308}), "implausible", "load is 1e308"),
        ("cpu", json!({"cpu": 5.0}), "implausible", "cpu is 5"),
        ("memory", json!({"memory": -0.5}), "implausible", "memory is -0.5"),
        ("old", json!({"age_ms": 1_u64 << 63}), "implausible", "9223372036854775808 ms old"),
        ("vast", json!({"capacity": u32::MAX}), "implausible", "it admits 4294967295 sessions"),
        ("no-number", json!({"load": null}), "garbage", "unreadable"),
        ("text", json!({"load": "NaN"}), "garbage", "unreadable"),
        ("escape", json!({"region": "eu\u{1b}[2J"}), "garbage", "the field region"),
    ];
    for (id, change, ..) in &cases {
        let fake = saying(change.clone()).await;
        records.push(fake.record(id));
        fakes.push(fake);
    }
    // Neither is a lie that can be told; nobody is sent there all the same.
    let full = [
        ("idle-and-full", json!({"load": 0, "sessions": 8, "capacity": 8}), "8 of 8"),
        ("beyond", json!({"load": 0, "sessions": 9, "capacity": 8}), "9 of 8"),
        ("no-seats", json!({"capacity": 0}), "0 of 0"),
    ];
    for (id, change, _) in &full {
        let fake = saying(change.clone()).await;
        records.push(fake.record(id));
        fakes.push(fake);
    }
    let user = User::new().with_catalog("file:nodes.json");
    user.write_catalog(&records);
    let document = user.run(&["nodes", "probe", "--json", "--count", "1"]).await.document();
    assert_eq!(document["chosen"], Value::Null);
    for (id, _, cause, words) in &cases {
        let (code, because, message) = reason(&document, id);
        assert_eq!((code, because), ("not_serving", *cause), "{id}: {message}");
        assert!(message.contains(words) && !message.contains('\u{1b}'), "{id}: {message}");
    }
    for (id, _, words) in &full {
        let (code, _, message) = reason(&document, id);
        assert!(code == "full" && message.contains(words), "{id}: {code} {message}");
    }
}

#[tokio::test]
async fn a_load_below_the_nodes_own_figures_counts_as_they_do() {
    let modest = saying(json!({"load": 0, "cpu": 0.97})).await;
    let user = User::new().with_catalog("file:nodes.json");
    user.write_catalog(&[modest.record("modest")]);
    let document = user.run(&["nodes", "probe", "--json", "--count", "1"]).await.document();
    assert_eq!(node(&document, "modest")["load"], 0.97);
    assert_eq!(document["chosen"], "modest");
}

#[tokio::test]
async fn another_nodes_word_is_worth_nothing() {
    let fleet = Fleet::new().unwrap();
    let good = Node::start(Options::of(&fleet, "good", "eu-central")).await.unwrap();
    let user = User::of(&fleet).await.with_catalog("file:nodes.json");
    // It answers with its own TLS, and with the identity of the good one in its status.
    let stolen = saying(json!({"id": "good", "identity": good.identity()})).await;
    // It names itself and its region as it likes; nobody signed that.
    let unsigned = saying(json!({"id": "good", "region": "us-east"})).await;
    let anonymous = |fake: &Fake, id: &str| {
        let mut record = fake.record(id);
        record.as_object_mut().unwrap().remove("identity");
        record
    };
    // The good node itself, under another name and with a region that the fleet did not sign for it.
    let mut renamed = good.record();
    renamed["id"] = "renamed".into();
    renamed.as_object_mut().unwrap().remove("identity");
    user.write_catalog(&[anonymous(&stolen, "stolen"), anonymous(&unsigned, "unsigned"), renamed]);
    let document = user.run(&["nodes", "probe", "--json", "--count", "1"]).await.document();
    assert_eq!(document["chosen"], Value::Null);
    let (code, cause, message) = reason(&document, "stolen");
    assert_eq!((code, cause), ("not_serving", "garbage"), "{message}");
    assert!(message.contains("another identity than its TLS certificate"), "{message}");
    let (code, _, message) = reason(&document, "unsigned");
    assert_eq!(code, "not_trusted", "{message}");
    let (code, _, message) = reason(&document, "renamed");
    assert!(code == "not_trusted" && message.contains("as node good, not as renamed"), "{message}");
}

#[tokio::test]
async fn what_cannot_be_met_is_answered_with_what_there_is() {
    let user = User::new().with_token("").with_catalog("file:nodes.json");
    let [port] = free_ports().unwrap();
    let node = |id: &str, region: &str, zone: &str, tag: &str| {
        json!({"id": id, "address": "127.0.0.1", "port": port, "region": region, "zone": zone, "tags": [tag],
               "version": "0.2.0", "meta": {"rack": format!("r-{id}")}})
    };
    user.write_catalog(&[node("a", "eu", "eu-1", "gpu"), node("b", "us", "us-1", "fast")]);
    for (arguments, exit, code, words) in [
        (&["--max-latency", "0"][..], 2, "usage", "write 80ms"),
        (&["--strategy", "dance"], 2, "usage", "least-connections"),
        (&["--version", "new"], 2, "usage", "new"),
        (&["--region", "mars"], 5, "unknown_region", "eu, us"),
        (&["--node", "nobody"], 5, "unknown_node", "a, b"),
        (&["--node", "a", "--node", "nobody"], 5, "unknown_node", "a, b"),
        (&["--node", "a", "--prefer-node", "b"], 2, "contradictory_filters", "add --node b"),
    ] {
        for command in [&["nodes", "probe"][..], &["connect", "--view", "none"]] {
            let (got, name, error) = user.run(&[command, arguments, &["--json"]].concat()).await.error();
            let all = format!("{} {}", error["message"], error["hint"]);
            // Who connects has to be somebody first.
            if command[0] == "connect" && code != "usage" {
                assert_eq!((got, name.as_str()), (6, "not_logged_in"), "{arguments:?}");
                continue;
            }
            assert_eq!((got, name.as_str()), (exit, code), "{arguments:?}: {error}");
            assert!(all.contains(words), "{arguments:?}: {all}");
        }
    }
    for (arguments, words) in [
        (&["--tag", "slow"][..], "--tag fast, gpu (every other wish is met there)"),
        (&["--version", "<0.2"], "--version 0.2.0 ("),
        (&["--version", "<0.2", "--min-version", "3"], "--version 0.2.0 ("),
        (&["--meta", "rack=x"], "--meta rack=r-a, rack=r-b ("),
        (&["--region", "eu", "--zone", "us-1"], "--zone eu-1 ("),
    ] {
        let ended = user.run(&[&["nodes", "probe"][..], arguments].concat()).await;
        ended.succeeded();
        assert!(ended.stderr.contains(words), "{arguments:?}: {}", ended.stderr);
    }
    let ended = user.with("CBROWSE_STRATEGY", "dance").run(&["nodes", "probe", "--json"]).await;
    let (exit, code, error) = ended.error();
    assert_eq!((exit, code.as_str()), (3, "invalid_setting"), "{error}");
    assert!(error["message"].as_str().unwrap().contains("least-connections"), "{error}");
}

#[tokio::test]
async fn connecting_to_what_cannot_be_met_fails_with_what_there_is() {
    let fleet = Fleet::new().unwrap();
    let node = Node::start(Options::of(&fleet, "good", "eu-central")).await.unwrap();
    let user = User::of(&fleet).await.knowing(&[&node]);
    let connect = ["connect", PAGE, "--view", "none", "--screenshot", "page.png", "--json"];
    let refused = async |more: &[&str]| user.run(&[&connect[..], more].concat()).await.error();
    let (exit, code, error) = refused(&["--zone", "nowhere", "--region", "eu-central"]).await;
    assert_eq!((exit, code.as_str()), (5, "no_eligible_node"), "{error}");
    let (exit, code, error) = refused(&["--min-version", "999"]).await;
    assert_eq!((exit, code.as_str()), (5, "no_eligible_node"), "{error}");
    assert_eq!(error["details"]["instead"]["version"].as_array().map(Vec::len), Some(1), "{error}");
    assert!(error["hint"].as_str().unwrap().starts_with("--version "), "{error}");
    let (exit, code, error) = refused(&["--max-latency", "0.001ms"]).await;
    assert_eq!((exit, code.as_str()), (5, "no_eligible_node"), "{error}");
    assert!(error["hint"].as_str().unwrap().contains(" ms"), "{error}");
    let (exit, code, error) = refused(&["--node", "good", "--prefer-node", "other"]).await;
    assert_eq!((exit, code.as_str()), (2, "contradictory_filters"), "{error}");
}
