//! The guard against resolvers that lie, and networks that are slow.

use std::{
    io,
    net::SocketAddr,
    sync::Mutex,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
};

use super::*;
use crate::pages::NodeFacts;

/// A network whose resolver gives another answer every time, and that notes what is dialled.
#[derive(Clone)]
struct Lying {
    answers: Arc<Mutex<Vec<Vec<IpAddr>>>>,
    dialled: Arc<Mutex<Vec<SocketAddr>>>,
    server: SocketAddr,
    silent: Vec<IpAddr>,
    own: Vec<IpAddr>,
}

impl Network for Lying {
    fn resolve(&self, _name: String) -> BoxFuture<'_, io::Result<Vec<IpAddr>>> {
        let answer = self.answers.lock().unwrap().pop();
        Box::pin(async move { answer.ok_or_else(|| io::ErrorKind::NotFound.into()) })
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>> {
        self.dialled.lock().unwrap().push(address);
        let silent = self.silent.contains(&address.ip());
        Box::pin(async move {
            if silent {
                std::future::pending::<()>().await;
            }
            TcpStream::connect(self.server).await
        })
    }

    fn is_own(&self, address: SocketAddr) -> bool {
        self.own.contains(&address.ip())
    }
}

struct Scene {
    guard: Guard,
    network: Lying,
    _server: TcpListener,
}

async fn scene(answers: &[&[&str]], change: impl FnOnce(&mut Lying)) -> Scene {
    let parse = |list: &&[&str]| list.iter().map(|address| address.parse().unwrap()).collect();
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut network = Lying {
        answers: Arc::new(Mutex::new(answers.iter().rev().map(parse).collect())),
        dialled: Arc::default(),
        server: server.local_addr().unwrap(),
        silent: Vec::new(),
        own: Vec::new(),
    };
    change(&mut network);
    let guard = Guard::new(Policy::default(), network.clone(), pages());
    Scene { guard, network, _server: server }
}

fn pages() -> Pages {
    Pages::new(&NodeFacts { node: "n".into(), region: "r".into(), browser: "b".into() })
}

impl Scene {
    fn dialled(&self) -> Vec<String> {
        self.network.dialled.lock().unwrap().iter().map(ToString::to_string).collect()
    }
}

#[tokio::test]
async fn the_checked_address_is_the_dialled_one_whatever_the_name_becomes() {
    let scene = scene(&[&["8.8.8.8"], &["127.0.0.1"]], |_| {}).await;
    scene.guard.open("rebind.example", 443).await.unwrap();
    assert_eq!(scene.dialled(), ["8.8.8.8:443"]);
    assert_eq!(scene.network.answers.lock().unwrap().len(), 1, "the name was asked for once");
    let second = scene.guard.open("rebind.example", 443).await;
    assert_eq!(second.unwrap_err(), Refusal::Address(address::Kind::Loopback));
    assert_eq!(scene.dialled().len(), 1);
}

#[tokio::test]
async fn a_mixed_answer_never_leads_inside() {
    let scene = scene(&[&["10.0.0.1", "8.8.8.8", "169.254.169.254", "::1"]], |_| {}).await;
    scene.guard.open("mixed.example", 443).await.unwrap();
    assert_eq!(scene.dialled(), ["8.8.8.8:443"]);
}

#[tokio::test]
async fn the_machines_own_public_address_is_not_dialled() {
    let own = "8.8.8.8".parse().unwrap();
    let scene = scene(&[&["8.8.8.8"]], |network| network.own.push(own)).await;
    assert_eq!(scene.guard.open("me.example", 443).await.unwrap_err(), Refusal::Protected);
    assert_eq!(scene.dialled(), [""; 0]);
    let rule = "8.8.8.8:443".parse().unwrap();
    scene.guard.replace_policy(Policy::new(vec![rule], vec![], []));
    assert!(scene.guard.open("8.8.8.8", 443).await.is_ok(), "but for an operator's rule");
}

#[tokio::test]
async fn refused_names_are_never_looked_up() {
    let scene = scene(&[&["8.8.8.8"]], |_| {}).await;
    for (host, port, refusal) in [
        ("localhost", 443, Refusal::ReservedName),
        ("metadata.google.internal", 443, Refusal::ReservedName),
        ("a.example", 25, Refusal::BadPort(25)),
        ("0x7f.1", 443, Refusal::MalformedHost),
    ] {
        assert_eq!(scene.guard.open(host, port).await.unwrap_err(), refusal);
    }
    assert_eq!(scene.network.answers.lock().unwrap().len(), 1);
    assert_eq!(scene.guard.counters().refused()["reserved_name"], 2);
}

#[tokio::test]
async fn a_silent_address_holds_up_the_next_by_a_moment_only() {
    let silent = "2606:4700::1".parse().unwrap();
    let scene =
        scene(&[&["2606:4700::1", "2606:4700::1", "1.1.1.1"]], |network| network.silent.push(silent)).await;
    let start = Instant::now();
    scene.guard.open("slow.example", 443).await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(250) && start.elapsed() < Duration::from_secs(5));
    assert_eq!(scene.dialled(), ["[2606:4700::1]:443", "1.1.1.1:443"], "families alternate");
    assert_eq!(scene.guard.counters().opened(), 1);
}

#[tokio::test(start_paused = true)]
async fn silence_and_crowds_end() {
    let address = "1.1.1.1";
    let scene = scene(&[&[address; 40]], |network| network.silent.push(address.parse().unwrap())).await;
    assert_eq!(scene.guard.open("dead.example", 443).await.unwrap_err(), Refusal::Deadline);
    assert_eq!(scene.dialled().len(), 8, "a name is no scanner");
    assert_eq!(scene.guard.open("gone.example", 443).await.unwrap_err(), Refusal::Unresolved);
}

#[tokio::test]
async fn plain_http_is_told_why() {
    let scene = scene(&[], |_| {}).await;
    for (host, expected) in [
        ("cbrowse.internal", "HTTP/1.1 200 OK"),
        ("CBROWSE.INTERNAL.", "HTTP/1.1 200 OK"),
        ("169.254.169.254", "HTTP/1.1 403 Forbidden"),
        ("127.1", "HTTP/1.1 403 Forbidden"),
    ] {
        let opened = scene.guard.open(host, 80).await.unwrap();
        let service = tokio::spawn(opened.service.unwrap());
        let mut stream = UnixStream::from_std(opened.socket.into()).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(expected), "{host}: {answer}");
        service.await.unwrap();
    }
    assert_eq!(scene.guard.open("gone.example", 80).await.unwrap_err(), Refusal::Unresolved, "not the rules");
    assert_eq!(scene.guard.open("cbrowse.internal", 443).await.unwrap_err(), Refusal::ReservedName);
    assert_eq!(scene.dialled(), [""; 0]);
}
