//! SRV records as a plain DNS server gives them: shapes of an answer that Consul never sends.
//!
//! The server here answers from a fixed zone, over UDP alone or TCP alone, on a loopback port.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use cbrowse_registry::{CatalogError, Cause};
use hickory_resolver::proto::{
    op::{Message, ResponseCode},
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, AAAA, SRV, TXT},
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, UdpSocket},
    task::JoinSet,
};

use crate::support::{catalog, ids, list};

const NAME: &str = "nodes.example.";

fn name(text: &str) -> Name {
    Name::from_ascii(text).expect(text)
}

fn service(target: &str, port: u16) -> Record {
    Record::from_rdata(name(NAME), 30, RData::SRV(SRV::new(10, 3, port, name(target))))
}

fn address(of: &str, address: &str) -> Record {
    let data = match address.parse().expect(address) {
        std::net::IpAddr::V4(address) => RData::A(A(address)),
        std::net::IpAddr::V6(address) => RData::AAAA(AAAA(address)),
    };
    Record::from_rdata(name(of), 30, data)
}

/// What the server knows, does, and was asked.
#[derive(Default)]
struct Script {
    records: Vec<Record>,
    /// Beside every answer for SRV.
    additionals: Vec<Record>,
    code: ResponseCode,
    /// Questions of that kind are answered with SERVFAIL.
    failing: Mutex<Option<RecordType>>,
    asked: Mutex<Vec<(String, RecordType)>>,
}

impl Script {
    fn knowing(records: Vec<Record>) -> Self {
        Self { records, ..Self::default() }
    }

    /// What of the zone bears the asked name and type. Each address is its own question.
    fn answer(&self, question: &[u8]) -> Vec<u8> {
        let question = Message::from_vec(question).expect("a question");
        let query = question.queries.first().expect("one query").clone();
        let kind = query.query_type();
        self.asked.lock().expect("no holder panics").push((query.name().to_string(), kind));
        let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
        answer.metadata.response_code = self.code;
        if *self.failing.lock().expect("no holder panics") == Some(kind) {
            answer.metadata.response_code = ResponseCode::ServFail;
        } else {
            let asked = |record: &&Record| record.name == *query.name() && record.record_type() == kind;
            answer.add_answers(self.records.iter().filter(asked).cloned());
            if kind == RecordType::SRV {
                answer.add_additionals(self.additionals.iter().cloned());
            }
        }
        answer.add_query(query);
        answer.to_vec().expect("an answer")
    }
}

struct Zone {
    address: SocketAddr,
    script: Arc<Script>,
    _serving: JoinSet<()>,
}

impl Zone {
    async fn over_tcp(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback works");
        let (address, script) = (listener.local_addr().expect("it is bound"), Arc::new(script));
        let mut serving = JoinSet::new();
        let shared = script.clone();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let script = shared.clone();
                connections.spawn(async move {
                    // RFC 1035 section 4.2.2: each message after its length.
                    while let Ok(length) = stream.read_u16().await {
                        let mut question = vec![0; length.into()];
                        stream.read_exact(&mut question).await.expect("a whole question");
                        let answer = script.answer(&question);
                        let length = u16::try_from(answer.len()).expect("it fits");
                        let message = [&length.to_be_bytes()[..], &answer].concat();
                        stream.write_all(&message).await.expect("a listener");
                    }
                });
            }
        });
        Self { address, script, _serving: serving }
    }

    async fn over_udp(script: Script) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("loopback works");
        let (address, script) = (socket.local_addr().expect("it is bound"), Arc::new(script));
        let mut serving = JoinSet::new();
        let shared = script.clone();
        serving.spawn(async move {
            let mut question = [0; 4096];
            while let Ok((length, from)) = socket.recv_from(&mut question).await {
                let answer = shared.answer(&question[..length]);
                socket.send_to(&answer, from).await.expect("loopback works");
            }
        });
        Self { address, script, _serving: serving }
    }

    fn uri(&self) -> String {
        format!("dns+srv://nodes.example?server={}", self.address)
    }

    fn asked(&self) -> Vec<(String, RecordType)> {
        std::mem::take(&mut *self.script.asked.lock().expect("no holder panics"))
    }
}

#[tokio::test]
async fn what_stands_beside_the_answer_is_used_and_not_asked_for() {
    let text = |of: &str, text: &str| {
        let strings = vec!["cbrowse=1".to_owned(), text.to_owned()];
        Record::from_rdata(name(of), 30, RData::TXT(TXT::new(strings)))
    };
    // Only the SRV records themselves are in the zone: whatever else were asked for would not be found.
    let zone = Zone::over_tcp(Script {
        records: vec![service("one.example.", 7443), service("7f000001.addr.dc1.consul.", 7444)],
        additionals: vec![address("one.example.", "127.0.0.1"), text("one.example.", "id=one")],
        ..Script::default()
    })
    .await;
    let listing = list(&*catalog(&zone.uri())).await;
    assert_eq!(ids(&listing), ["127.0.0.1:7444", "one"]);
    assert_eq!(zone.asked(), [(NAME.to_owned(), RecordType::SRV), (NAME.to_owned(), RecordType::TXT)]);
    let zone = Zone::over_tcp(Script {
        records: vec![service("one.example.", 7443)],
        additionals: vec![address("one.example.", "127.0.0.1")],
        ..Script::default()
    })
    .await;
    list(&*catalog(&zone.uri())).await;
    let asked = zone.asked();
    assert!(asked.contains(&("one.example.".to_owned(), RecordType::TXT)), "{asked:?}");
    assert_eq!(asked.len(), 3, "no address: {asked:?}");
}

#[tokio::test]
async fn a_lost_answer_about_a_target_does_not_take_its_node_away() {
    let zone = Zone::over_tcp(Script::knowing(vec![
        service("one.example.", 7443),
        address("one.example.", "127.0.0.1"),
    ]))
    .await;
    let fresh = catalog(&zone.uri());
    let catalog = catalog(&zone.uri());
    assert_eq!(list(&*catalog).await.warnings, [""; 0]);
    *zone.script.failing.lock().unwrap() = Some(RecordType::A);
    for _ in 0..2 {
        let listing = list(&*catalog).await;
        assert_eq!(ids(&listing), ["127.0.0.1:7443"], "as it was");
        assert!(
            listing.warnings[0].contains("1 of 4") && listing.warnings[0].contains("SERVFAIL"),
            "{:?}",
            listing.warnings
        );
    }
    // Who never knew it cannot know it now, and says why.
    let listing = list(&*fresh).await;
    assert_eq!(listing.nodes, []);
    assert!(listing.rejected[0].reason.contains("SERVFAIL"), "{:?}", listing.rejected);
}

#[tokio::test]
async fn targets_without_an_address_beside_them_are_looked_up() {
    let zone = Zone::over_tcp(Script::knowing(vec![
        service("one.example.", 7443),
        service("two.example.", 7444),
        service("nowhere.example.", 7445),
        address("one.example.", "127.0.0.1"),
        address("one.example.", "::1"),
        address("two.example.", "fd00::2"),
    ]))
    .await;
    let listing = list(&*catalog(&zone.uri())).await;
    assert_eq!(ids(&listing), ["127.0.0.1:7443", "[fd00::2]:7444"]);
    let one = listing.nodes.iter().find(|node| node.port == 7443).unwrap();
    assert_eq!((one.meta["srv_target"].as_str(), one.meta["srv_addresses"].as_str()), ("one.example", "::1"));
    assert_eq!((one.meta["srv_priority"].as_str(), one.weight), ("10", 3));
    assert_eq!(listing.rejected[0].entry, "nowhere.example:7445");
    assert!(listing.rejected[0].reason.contains("no address"), "{:?}", listing.rejected);
}

#[tokio::test]
async fn a_server_that_speaks_udp_alone_is_heard_with_a_warning() {
    let zone = Zone::over_udp(Script::knowing(vec![service("7f000001.addr.dc1.consul.", 7443)])).await;
    let listing = list(&*catalog(&zone.uri())).await;
    assert_eq!(ids(&listing), ["127.0.0.1:7443"]);
    assert!(listing.warnings[0].contains("UDP only"), "{:?}", listing.warnings);
}

#[tokio::test]
async fn the_root_as_target_is_said() {
    let zone = Zone::over_tcp(Script::knowing(vec![service(".", 0)])).await;
    let listing = list(&*catalog(&zone.uri())).await;
    assert_eq!(listing.nodes, []);
    assert!(listing.warnings[0].contains("not available there"), "{:?}", listing.warnings);
}

#[tokio::test]
async fn a_link_local_target_needs_the_users_mark() {
    let zone = Zone::over_tcp(Script::knowing(vec![service("a9fea9fe.addr.dc1.consul.", 80)])).await;
    let listing = list(&*catalog(&zone.uri())).await;
    assert_eq!(listing.nodes, []);
    assert!(listing.rejected[0].reason.contains("link-local"), "{:?}", listing.rejected);
    assert_eq!(list(&*catalog(&format!("{}&local=true", zone.uri()))).await.nodes.len(), 1);
}

#[tokio::test]
async fn a_server_that_fails_or_refuses_is_named() {
    for (code, part) in [
        (ResponseCode::ServFail, "SERVFAIL"),
        (ResponseCode::Refused, "REFUSED"),
        (ResponseCode::NotImp, "Not Implemented"),
    ] {
        let zone = Zone::over_tcp(Script { code, ..Script::default() }).await;
        let error = catalog(&zone.uri()).list().await.expect_err("no answer");
        let text = error.to_string();
        assert!(error.is_transient() && text.contains(&zone.uri()) && text.contains(part), "{text}");
        assert_eq!(zone.asked().len(), 1, "who has spoken is not asked again");
    }
    let zone = Zone::over_tcp(Script { code: ResponseCode::NXDomain, ..Script::default() }).await;
    let error = catalog(&zone.uri()).list().await.expect_err("no such name");
    assert!(matches!(error, CatalogError::One { cause: Cause::DoesNotExist(_), .. }), "{error}");
}

#[tokio::test]
async fn a_server_that_says_nothing_is_named_with_the_time_it_had() {
    // Over both roads, at one port: each takes what comes.
    let (tcp, _udp) = loop {
        let tcp = TcpListener::bind("127.0.0.1:0").await.expect("loopback works");
        let address = tcp.local_addr().expect("it is bound");
        if let Ok(udp) = UdpSocket::bind(address).await {
            break (tcp, udp);
        }
    };
    let uri = format!("dns+srv://nodes.example?server={}", tcp.local_addr().expect("it is bound"));
    let error = catalog(&uri).list().await.expect_err("silence");
    let text = error.to_string();
    assert!(error.is_transient() && text.contains(&uri) && text.contains("no answer within"), "{text}");
}
