//! `cbrowse-node registrar` with real registries and real targets.

use std::{
    fs::File,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use cbrowse_testkit::{
    consul::Consul,
    node::{Node, Options},
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::stage::{check, entry, save, send, until, until_gone, until_status};

/// A running registrar, killed and reaped when dropped.
struct Registrar {
    child: Child,
    directory: TempDir,
}

impl Registrar {
    fn start(registries: &[&Consul], nodes: &Value) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("nodes.json");
        save(&file, &nodes.to_string());
        let log = File::create(directory.path().join("log")).expect("a log");
        let child = Command::new(env!("CARGO_BIN_EXE_cbrowse-node"))
            .args(["registrar", "--interval", "1", "--failures", "2", "--check", "tcp", "--file"])
            .arg(&file)
            .args(registries.iter().flat_map(|consul| ["--register".to_owned(), consul.http_uri()]))
            .arg("--metrics-file")
            .arg(directory.path().join("registrar.prom"))
            .env_clear()
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("a registrar");
        Self { child, directory }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("nodes.json")
    }

    fn say(&self, nodes: &Value) {
        save(&self.file(), &nodes.to_string());
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.directory.path().join(name)).unwrap_or_default()
    }

    async fn until_logged(&self, words: &str) {
        until(words, || async { self.read("log") }, |log| log.contains(words)).await;
    }
}

impl Drop for Registrar {
    fn drop(&mut self) {
        // Only fails when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            #[expect(
                clippy::print_stderr,
                reason = "the log of a failed test's registrar is what explains it"
            )]
            {
                eprintln!("--- log of the registrar\n{}", self.read("log"));
            }
        }
    }
}

fn plain(id: &str, port: u16) -> Value {
    json!({"id": id, "address": "127.0.0.1", "port": port, "region": "eu-central", "tags": ["plain"]})
}

async fn listener(port: u16) -> TcpListener {
    TcpListener::bind(("127.0.0.1", port)).await.expect("a port")
}

fn port(listener: &TcpListener) -> u16 {
    listener.local_addr().expect("an address").port()
}

#[tokio::test]
async fn the_registries_follow_the_file_and_the_nodes() {
    let consul = Consul::start().await.expect("Consul");
    let (one, two) = (listener(0).await, listener(0).await);
    let (first, second) = (plain("first", port(&one)), plain("second", port(&two)));
    let mut registrar = Registrar::start(&[&consul], &json!([first]));
    let found = until_status(&consul, "first", "passing").await;
    assert_eq!(
        (&found["Service"]["Port"], &found["Service"]["Tags"][0]),
        (&json!(port(&one)), &json!("plain"))
    );

    // One more, one that makes no sense, one that cannot be checked so.
    let mut absurd = plain("absurd", 1);
    absurd["meta"] = json!({"check": "ping"});
    registrar.say(&json!([first, plain("none", 0), absurd, second]));
    until_status(&consul, "second", "passing").await;
    registrar.until_logged("none (line 1) is not registered: port 0").await;
    registrar.until_logged("absurd is not registered: its check \"ping\"").await;

    // A file that is broken for a moment, or gone, changes nothing.
    save(&registrar.file(), "[{");
    registrar.until_logged("the 2 nodes known stay as they are").await;
    std::fs::remove_file(registrar.file()).expect("removed");
    registrar.until_logged("there is no such file").await;
    for id in ["first", "second"] {
        assert_eq!(check(&entry(&consul, id).await.expect("still there"))["Status"], "passing");
    }
    let mut moved = first.clone();
    moved["tags"] = json!(["moved"]);
    registrar.say(&json!([moved, second]));
    let is_moved =
        |entry: &Option<Value>| entry.as_ref().expect("never missing")["Service"]["Tags"][0] == "moved";
    until("moved", || entry(&consul, "first"), is_moved).await;
    registrar.until_logged("the file is in order again").await;

    // A node that dies is critical, and one that is back is passing.
    let at = port(&two);
    drop(two);
    until_status(&consul, "second", "critical").await;
    registrar.until_logged("critical: no connection").await;
    let metrics = || async { registrar.read("registrar.prom") };
    let counted = |text: &String| {
        let has = |line: &str| text.lines().any(|found| found == line);
        has("cbrowse_registrar_nodes{health=\"passing\"} 1")
            && has("cbrowse_registrar_nodes{health=\"critical\"} 1")
    };
    until("metrics", metrics, counted).await;
    let two = listener(at).await;
    until_status(&consul, "second", "passing").await;

    registrar.say(&json!([moved]));
    until_gone(&consul, "second").await;
    registrar.say(&json!([moved, second]));
    until_status(&consul, "second", "passing").await;
    send(registrar.child.id(), Signal::SIGTERM);
    let status = registrar.child.wait().expect("it ends");
    assert!(status.success(), "{status}");
    for id in ["first", "second"] {
        assert!(entry(&consul, id).await.is_none(), "{id}");
    }
    drop((one, two));
}

#[tokio::test]
async fn real_nodes_are_checked_by_every_kind_and_only_as_who_they_are() {
    let (consul, mut down) = (Consul::start().await.expect("Consul"), Consul::start().await.expect("Consul"));
    down.kill();
    let mut node = Node::start(Options::default().with("--health-memory", "0%,off")).await.expect("a node");
    let as_checked = |kind: &str| {
        let mut record = node.record();
        record["id"] = kind.into();
        record["meta"] = json!({"check": kind, "rack": "r1"});
        record
    };
    let mut foreign = as_checked("https");
    foreign["id"] = "foreign".into();
    foreign["identity"] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".into();
    let mut said = as_checked("none");
    said["health"] = "critical".into();
    let nodes = json!([as_checked("https"), as_checked("grpc"), as_checked("tcp"), said, foreign]);
    let _registrar = Registrar::start(&[&down, &consul], &nodes);

    for (id, status) in [
        ("https", "warning"),
        ("grpc", "passing"),
        ("tcp", "passing"),
        ("none", "critical"),
        ("foreign", "critical"),
    ] {
        let entry = until_status(&consul, id, status).await;
        assert_eq!(entry["Service"]["Meta"]["rack"], "r1");
        assert!(entry["Service"]["Meta"].get("check").is_none(), "{entry}");
    }
    node.kill();
    for id in ["https", "grpc", "tcp"] {
        until_status(&consul, id, "critical").await;
    }
    down.restart().await.expect("Consul");
    until_status(&down, "https", "critical").await;
}

#[tokio::test]
async fn many_nodes_do_not_flood_a_registry() {
    const COUNT: u16 = 300;
    // Consul's own limit is 200; every node at once would pass it, too.
    let limit = "limits { http_max_conns_per_client = 100 }";
    let consul = Consul::start_with(&[limit], None).await.expect("Consul");
    let unchecked = |port: u16| {
        let mut node = plain(&format!("n{port}"), port);
        node["meta"] = json!({"check": "none"});
        node
    };
    let registrar = Registrar::start(&[&consul], &(1..=COUNT).map(unchecked).collect());
    let count = || async {
        let path = "/v1/health/service/browser-node?passing";
        let entries = consul.request("GET", path, None).await;
        entries.map_or(0, |entries| entries.as_array().map_or(0, Vec::len))
    };
    until("all are registered", count, |count| *count == usize::from(COUNT)).await;
    let log = registrar.read("log");
    assert!(!log.contains("not registered"), "{log}");
}

#[test]
fn what_it_cannot_begin_with_is_said_at_once() {
    let run = |arguments: &'static [&'static str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_cbrowse-node")).args(arguments).env_clear().output();
        let output = output.expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, words) = run(&["registrar", "--file", "nodes.toml", "--register", "file:other.toml"]);
    assert!(code == Some(3) && words.contains("cannot register there"), "{code:?}: {words}");
    let (code, words) = run(&["registrar", "--file", "nodes.toml"]);
    assert!(code == Some(2) && words.contains("--register"), "{code:?}: {words}");
    let (code, words) = run(&["registrar", "--file", "x", "--register", "consul://", "--failures", "0"]);
    assert!(code == Some(2) && words.contains("1..=100"), "{code:?}: {words}");
}
