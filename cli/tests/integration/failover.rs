//! A node that dies between the choice and the attach, on real nodes: the next one has the session before any timeout.
//!
//! A relay stands before each node and passes everything, until the one request that is larger than all before it: the
//! upgrade, with its token. That moment is between the choice and the attach.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use cbrowse::{
    attach::journey::Journey,
    breaker::{Breakers, FAILURES},
};
use cbrowse_protocol::node::NodeRecord;
use cbrowse_testkit::{
    fleet::Fleet,
    node::{Node, Options},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{Mutex, mpsc, oneshot},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::{caller::Caller, user::DEADLINE};

/// Without asking another node beside, a silent one would be waited for twice as long as this.
const BEFORE_ANY_TIMEOUT: Duration = Duration::from_secs(15);
/// The end of the handshake and a question for the status stay below; token and proof alone are above.
const UPGRADE: usize = 700;

/// An upgrade that a relay holds back: at which node, and the word to pass it on.
type Held = (usize, oneshot::Sender<()>);

/// Passes connections to one node.
struct Relay {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Relay {
    async fn start(index: usize, node: SocketAddr, held: mpsc::Sender<Held>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(pass(index, client, node, held.clone()));
            }
        });
        Self { address, _tasks: tasks }
    }
}

async fn pass(index: usize, mut client: TcpStream, node: SocketAddr, held: mpsc::Sender<Held>) {
    let Ok(mut node) = TcpStream::connect(node).await else { return };
    let (mut up, mut down) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    let (mut answered, mut since_answer) = (false, 0);
    loop {
        tokio::select! {
            read = client.read(&mut up) => {
                let Ok(length @ 1..) = read else { return };
                since_answer += length;
                if answered && since_answer > UPGRADE {
                    let (go, gone_on) = oneshot::channel();
                    if held.send((index, go)).await.is_ok() {
                        let _whoever_held_it_is_gone = gone_on.await;
                    }
                }
                if node.write_all(&up[..length]).await.is_err() {
                    return;
                }
            }
            read = node.read(&mut down) => {
                let Ok(length @ 1..) = read else { return };
                (answered, since_answer) = (true, 0);
                if client.write_all(&down[..length]).await.is_err() {
                    return;
                }
            }
        }
    }
}

struct World {
    nodes: Vec<Node>,
    _relays: Vec<Relay>,
    records: Vec<NodeRecord>,
    held: mpsc::Receiver<Held>,
    ada: Caller,
}

impl World {
    async fn new() -> Self {
        let fleet = Fleet::new().unwrap();
        let start = |id| Node::start(Options::of(&fleet, id, "eu-central"));
        let (one, other) = tokio::join!(start("one"), start("other"));
        let nodes = vec![one.unwrap(), other.unwrap()];
        let (sender, held) = mpsc::channel(16);
        let (mut relays, mut records) = (Vec::new(), Vec::new());
        for (index, node) in nodes.iter().enumerate() {
            let relay = Relay::start(index, node.endpoint().parse().unwrap(), sender.clone()).await;
            let mut record = node.record();
            record["port"] = relay.address.port().into();
            records.push(serde_json::from_value(record).unwrap());
            relays.push(relay);
        }
        Self { nodes, _relays: relays, records, held, ada: Caller::of(&fleet, "ada") }
    }

    /// Connects, and does `harm` to the node that was chosen. Which one that was, and how long the other needed to be asked and
    /// to have the session.
    async fn connect(&mut self, harm: impl Fn(&mut Node)) -> (usize, Duration) {
        let plan = self.ada.plan(self.records.clone());
        let mut journey = Journey::new(plan, &self.ada.globals.paths, &self.ada.globals.output);
        let first = Arc::new(Mutex::new(None));
        let (nodes, held) = (&mut self.nodes, &mut self.held);
        let watching = async {
            while let Some((index, go)) = held.recv().await {
                let mut first = first.lock().await;
                if first.is_none() {
                    harm(&mut nodes[index]);
                    *first = Some((index, Instant::now()));
                }
                let _the_client_left = go.send(());
            }
            unreachable!("the relays live as long as the world");
        };
        let mut attachment = tokio::select! {
            attached = timeout(DEADLINE, journey.begin()) => attached.expect("it ends").map_err(|failure| failure.message).unwrap(),
            () = watching => unreachable!(),
        };
        let (chosen, since) = first.lock().await.expect("somebody was asked");
        let took = since.elapsed();
        assert_eq!(attachment.node.as_str(), self.nodes[1 - chosen].id(), "the other one has it");
        attachment.end(false).await;
        (chosen, took)
    }

    async fn sessions(&self, index: usize) -> u32 {
        let mut connection = self.ada.connect(&self.nodes[index]).await;
        connection.get_status(DEADLINE).await.unwrap().sessions
    }
}

fn send(node: &Node, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(node.pid()).unwrap()), signal).unwrap();
}

#[tokio::test]
async fn a_chosen_node_that_is_killed_costs_no_timeout() {
    let mut world = World::new().await;
    let (_, took) = world.connect(Node::kill).await;
    assert!(took < BEFORE_ANY_TIMEOUT, "{took:?}");
}

#[tokio::test]
async fn a_chosen_node_that_falls_silent_is_passed_over_and_keeps_no_session() {
    let mut world = World::new().await;
    let (chosen, took) = world.connect(|node| send(node, Signal::SIGSTOP)).await;
    assert!(took < BEFORE_ANY_TIMEOUT, "{took:?}");
    // It wakes with the request still in its socket, and may begin a session for a client that is long gone.
    send(&world.nodes[chosen], Signal::SIGCONT);
    let deadline = Instant::now() + DEADLINE;
    let mut quiet = 0;
    while quiet < 3 {
        quiet = if world.sessions(chosen).await == 0 { quiet + 1 } else { 0 };
        assert!(Instant::now() < deadline, "it keeps a session that nobody has");
        sleep(Duration::from_millis(100)).await;
    }
    assert!(Breakers::of(&world.ada.globals.paths).kept_out(&world.records).is_empty(), "once is not enough");
}

#[tokio::test]
async fn a_node_that_keeps_failing_is_left_alone_and_says_why() {
    let fleet = Fleet::new().unwrap();
    let good = Node::start(Options::of(&fleet, "good", "eu-central")).await.unwrap();
    let ada = Caller::of(&fleet, "ada");
    // Accepts every connection and ends it at once, as a front does whose node is gone.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut front = JoinSet::new();
    front.spawn(async move { while listener.accept().await.is_ok() {} });
    let mut bad = good.record();
    (bad["id"], bad["port"]) = ("bad".into(), port.into());
    let records: Vec<NodeRecord> =
        [bad, good.record()].into_iter().map(|record| serde_json::from_value(record).unwrap()).collect();
    for _ in 0..FAILURES {
        assert!(Breakers::of(&ada.globals.paths).kept_out(&records).is_empty());
        let mut journey = Journey::new(ada.plan(records.clone()), &ada.globals.paths, &ada.globals.output);
        let mut attachment = journey.begin().await.map_err(|failure| failure.message).unwrap();
        assert_eq!(attachment.node.as_str(), "good");
        attachment.end(false).await;
    }
    let kept_out = Breakers::of(&ada.globals.paths).kept_out(&records);
    assert_eq!(kept_out.into_keys().map(|id| id.to_string()).collect::<Vec<_>>(), ["bad"]);
    // Alone, it is tried all the same: perhaps it works again.
    let alone = ada.plan(records[..1].to_vec());
    let mut journey = Journey::new(alone, &ada.globals.paths, &ada.globals.output);
    let Err(failure) = journey.begin().await else { panic!("nobody serves there") };
    assert!(!failure.message.contains("kept out"), "{}", failure.message);
}
