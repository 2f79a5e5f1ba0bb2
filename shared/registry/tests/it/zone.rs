//! SRV records as a plain DNS server gives them: shapes of an answer that Consul never sends.
//!
//! The server here answers from a fixed zone, over UDP alone or TCP alone, on a loopback port.

use std::{net::SocketAddr, sync::Arc};

use cbrowse_registry::{CatalogError, Cause};
use hickory_resolver::proto::{
    op::{Message, ResponseCode},
    rr::{
        Name, RData, Record,
        rdata::{A, AAAA, SRV},
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

struct Zone {
    address: SocketAddr,
    _serving: JoinSet<()>,
}

impl Zone {
    async fn over_tcp(records: Vec<Record>, code: ResponseCode) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback works");
        let address = listener.local_addr().expect("it is bound");
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let records = Arc::new(records);
            let mut connections = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let records = records.clone();
                connections.spawn(async move {
                    // RFC 1035 section 4.2.2: each message after its length.
                    while let Ok(length) = stream.read_u16().await {
                        let mut question = vec![0; length.into()];
                        stream.read_exact(&mut question).await.expect("a whole question");
                        let answer = answer(&question, &records, code);
                        stream
                            .write_u16(answer.len().try_into().expect("it fits"))
                            .await
                            .expect("a listener");
                        stream.write_all(&answer).await.expect("a listener");
                    }
                });
            }
        });
        Self { address, _serving: serving }
    }

    async fn over_udp(records: Vec<Record>) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("loopback works");
        let address = socket.local_addr().expect("it is bound");
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut question = [0; 4096];
            while let Ok((length, from)) = socket.recv_from(&mut question).await {
                let answer = answer(&question[..length], &records, ResponseCode::NoError);
                socket.send_to(&answer, from).await.expect("loopback works");
            }
        });
        Self { address, _serving: serving }
    }

    fn uri(&self) -> String {
        format!("dns+srv://nodes.example?server={}", self.address)
    }
}

/// What of the zone bears the asked name and type. No additional records: each address is its own question.
fn answer(question: &[u8], records: &[Record], code: ResponseCode) -> Vec<u8> {
    let question = Message::from_vec(question).expect("a question");
    let query = question.queries.first().expect("one query").clone();
    let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
    answer.metadata.response_code = code;
    let asked = |record: &&Record| record.name == *query.name() && record.record_type() == query.query_type();
    answer.add_answers(records.iter().filter(asked).cloned());
    answer.add_query(query);
    answer.to_vec().expect("an answer")
}

#[tokio::test]
async fn targets_without_an_address_beside_them_are_looked_up() {
    let zone = Zone::over_tcp(
        vec![
            service("one.example.", 7443),
            service("two.example.", 7444),
            service("nowhere.example.", 7445),
            address("one.example.", "127.0.0.1"),
            address("one.example.", "::1"),
            address("two.example.", "fd00::2"),
        ],
        ResponseCode::NoError,
    )
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
    let zone = Zone::over_udp(vec![service("7f000001.addr.dc1.consul.", 7443)]).await;
    let listing = list(&*catalog(&zone.uri())).await;
    assert_eq!(ids(&listing), ["127.0.0.1:7443"]);
    assert!(listing.warnings[0].contains("UDP only"), "{:?}", listing.warnings);
}

#[tokio::test]
async fn the_root_as_target_is_said() {
    let zone = Zone::over_tcp(vec![service(".", 0)], ResponseCode::NoError).await;
    let listing = list(&*catalog(&zone.uri())).await;
    assert_eq!(listing.nodes, []);
    assert!(listing.warnings[0].contains("not available there"), "{:?}", listing.warnings);
}

#[tokio::test]
async fn a_link_local_target_needs_the_users_mark() {
    let zone = Zone::over_tcp(vec![service("a9fea9fe.addr.dc1.consul.", 80)], ResponseCode::NoError).await;
    let listing = list(&*catalog(&zone.uri())).await;
    assert_eq!(listing.nodes, []);
    assert!(listing.rejected[0].reason.contains("link-local"), "{:?}", listing.rejected);
    assert_eq!(list(&*catalog(&format!("{}&local=true", zone.uri()))).await.nodes.len(), 1);
}

#[tokio::test]
async fn a_server_that_fails_or_refuses_is_named() {
    for code in [ResponseCode::ServFail, ResponseCode::Refused] {
        let zone = Zone::over_tcp(Vec::new(), code).await;
        let error = catalog(&zone.uri()).list().await.expect_err("no answer");
        let text = error.to_string();
        assert!(error.is_transient() && text.contains(&zone.uri()), "{text}");
    }
    let zone = Zone::over_tcp(Vec::new(), ResponseCode::NXDomain).await;
    let error = catalog(&zone.uri()).list().await.expect_err("no such name");
    assert!(matches!(error, CatalogError::One { cause: Cause::DoesNotExist(_), .. }), "{error}");
}
