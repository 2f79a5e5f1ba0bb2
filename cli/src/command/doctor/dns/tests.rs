use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, UdpSocket},
};

use super::{super::finding::State, *};

fn catalogs(uris: &[&str]) -> Vec<CatalogUri> {
    uris.iter().map(|uri| uri.parse().expect("a catalog")).collect()
}

fn heard(records: usize, is_cut: bool) -> io::Result<Heard> {
    Ok(Heard { took: Duration::from_millis(2), is_cut, records })
}

fn refused() -> io::Result<Heard> {
    Err(io::ErrorKind::ConnectionRefused.into())
}

fn asked(udp: io::Result<Heard>, tcp: io::Result<Heard>) -> Asked {
    Asked { server: "192.0.2.53:53".parse().expect("an address"), udp, tcp }
}

#[test]
fn what_is_asked_for_is_what_the_catalogs_need() {
    let asked = |uris: &[&str]| question(&catalogs(uris)).to_string();
    assert!(asked(&[]).starts_with(". IN NS"), "{}", asked(&[]));
    let named = asked(&["file:a", "dns+srv://_b._tcp.example.org"]);
    assert!(named.starts_with("_b._tcp.example.org. IN SRV"), "{named}");
    assert!(asked(&["dns+srv://x.example?server=192.0.2.1"]).starts_with(". IN NS"));
}

#[test]
fn without_a_name_to_resolve_a_dead_resolver_is_no_problem() {
    for (uris, state) in [
        (
            &["file:nodes.toml", "consul://192.0.2.1", "consul://localhost", "etcd://[::1]"][..],
            State::Warning,
        ),
        (&["consul://consul.example.org"], State::Problem),
        (&["dns+srv://x.example"], State::Problem),
        (&["dns+srv://x.example?server=192.0.2.1"], State::Warning),
    ] {
        let need = need(&catalogs(uris));
        assert_eq!(udp(&[asked(refused(), refused())], &need).state, state, "{uris:?}");
        assert_eq!(tcp(&[asked(refused(), refused())], &need, &question(&[])).state, state, "{uris:?}");
        assert_eq!(udp(&[asked(heard(3, false), refused())], &need).state, State::Ok);
    }
}

#[test]
fn an_answer_that_is_cut_has_to_say_so() {
    let judged = |udp, tcp_| tcp(&[asked(udp, tcp_)], &Need(None), &question(&[]));
    assert_eq!(judged(heard(13, false), heard(13, false)).state, State::Ok);
    let honest = judged(heard(0, true), heard(13, false));
    assert!(
        honest.state == State::Ok && honest.found.contains("whole over TCP (13 records)"),
        "{}",
        honest.found
    );
    let silent = judged(heard(3, false), heard(13, false));
    assert_eq!(silent.state, State::Warning);
    assert!(silent.found.contains("3 records over UDP, 13 over TCP"), "{}", silent.found);
    let blocked = judged(heard(3, false), refused());
    assert!(blocked.state == State::Warning && blocked.found.contains("UDP works"), "{}", blocked.found);
}

#[test]
fn one_dead_resolver_among_good_ones_is_named() {
    let other = Asked { server: "192.0.2.54:53".parse().expect("an address"), ..asked(refused(), refused()) };
    let finding = udp(&[asked(heard(1, false), heard(1, false)), other], &Need(None));
    assert_eq!(finding.state, State::Warning);
    assert!(finding.found.contains("192.0.2.53:53 answers") && finding.found.contains("192.0.2.54:53:"));
    assert_eq!(finding.details[1]["records"], Value::Null);
}

#[tokio::test]
async fn a_closed_port_is_told_from_silence_and_from_nonsense() {
    let query = question(&[]);
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("bound").local_addr().expect("an address");
    for error in [over_udp(closed, &query).await, over_tcp(closed, &query).await] {
        assert!(error.as_ref().is_err_and(|error| error.to_string().contains("refused")), "{error:?}");
    }
    let silent = UdpSocket::bind("127.0.0.1:0").await.expect("bound");
    let late = over_udp(silent.local_addr().expect("an address"), &query).await;
    assert!(late.as_ref().is_err_and(|error| error.to_string().contains("no answer within")), "{late:?}");

    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("an address");
    let serve = async {
        let (mut stream, _) = listener.accept().await.expect("accepted");
        let mut question = [0; 12];
        stream.read_exact(&mut question).await.expect("a question");
        stream.write_all(b"\0\x04junk").await.expect("sent");
        // Open until it has been read.
        let _ = stream.read_u8().await;
    };
    let (senseless, ()) = tokio::join!(over_tcp(address, &query), serve);
    assert!(
        senseless.as_ref().is_err_and(|error| error.to_string().contains("makes no sense")),
        "{senseless:?}"
    );
}
