//! What probings find is remembered per network: `--cached`, `--fresh`, `--quiet-probing`, and `nodes history`.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use cbrowse_testkit::{
    fleet::Fleet,
    node::{Node, Options},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};

use crate::user::User;

fn history_files(user: &User) -> Vec<PathBuf> {
    let directory = user.home().join(".cache/cbrowse/history");
    let files = fs::read_dir(directory).into_iter().flatten().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "json")).collect()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn by_id<'a>(document: &'a Value, id: &str) -> &'a Value {
    let nodes = document["nodes"].as_array().expect("nodes");
    nodes.iter().find(|node| node["id"] == id).unwrap_or_else(|| panic!("no {id} in {document}"))
}

#[tokio::test]
async fn what_a_probing_found_is_chosen_from_later_without_probing() {
    let fleet = Fleet::new().unwrap();
    let mut node = Node::start(Options::of(&fleet, "fra-1", "eu-central")).await.unwrap();
    let user = User::of(&fleet).await.knowing(&[&node]);
    let cached = ["nodes", "probe", "--cached", "--json"];

    // Nobody knows anything yet.
    let nothing = user.run(&cached).await.document();
    assert_eq!((&nothing["chosen"], &by_id(&nothing, "fra-1")["from"]), (&Value::Null, &Value::Null));
    assert_eq!(by_id(&nothing, "fra-1")["reasons"][0]["code"], "not_remembered");
    assert!(history_files(&user).is_empty());
    let (exit, code, _) = user.run(&["connect", "--cached", "--view", "none", "--json"]).await.error();
    assert_eq!((exit, code.as_str()), (5, "no_eligible_node"));

    let probed = user.run(&["nodes", "probe", "--json"]).await.document();
    assert_eq!(by_id(&probed, "fra-1")["from"], "probe");
    assert_eq!(by_id(&probed, "fra-1")["age_s"], 0);
    let files = history_files(&user);
    assert_eq!(files.len(), 1, "one network");
    assert_eq!((mode(&files[0]), mode(files[0].parent().unwrap())), (0o600, 0o700));

    // The node is gone, and nobody looks.
    node.kill();
    let remembered = user.run(&cached).await.document();
    assert_eq!(remembered["chosen"], "fra-1");
    let one = by_id(&remembered, "fra-1");
    assert_eq!((&one["from"], &one["rtt_ms"]), (&json!("history"), &by_id(&probed, "fra-1")["rtt_ms"]));
    assert!(one["age_s"].is_u64(), "{one}");
    let table = user.run(&["nodes", "probe", "--cached"]).await;
    assert!(table.stdout.contains("AGE") && table.stdout.contains("second"), "{}", table.stdout);
    // Whoever connects finds out.
    let (_, _, error) = user.run(&["connect", "--cached", "--view", "none", "--json"]).await.error();
    assert!(error["message"].as_str().is_some_and(|text| text.contains("fra-1")), "{error}");

    let history = user.run(&["nodes", "history", "--json"]).await.document();
    assert_eq!((&history["networks"], &history["home"]), (&json!(1), &Value::Null));
    assert_eq!(by_id(&history, "fra-1")["served"], false, "the last look found it gone");
    let forgotten = user.run(&["nodes", "history", "--clear", "--json"]).await.document();
    assert_eq!(forgotten, json!({"forgotten": 1}));
    assert!(history_files(&user).is_empty());
    let said = user.run(&["nodes", "history"]).await;
    assert!(said.stderr.contains("Nothing is remembered"), "{}", said.stderr);
}

/// Ports that accept connections and close them, and count them.
struct Doors {
    counts: Vec<Arc<AtomicUsize>>,
    records: Vec<Value>,
    accepting: JoinSet<()>,
}

impl Doors {
    async fn open(count: usize) -> Self {
        let mut doors = Self { counts: Vec::new(), records: Vec::new(), accepting: JoinSet::new() };
        for index in 0..count {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            doors.records.push(json!({"id": format!("door-{index}"), "address": "127.0.0.1", "port": port}));
            let counter = Arc::new(AtomicUsize::new(0));
            doors.counts.push(counter.clone());
            doors.accepting.spawn(async move {
                while listener.accept().await.is_ok() {
                    counter.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        doors
    }

    fn asked(&self) -> usize {
        assert_eq!(self.accepting.len(), self.counts.len(), "all are open");
        self.counts.iter().filter(|count| count.load(Ordering::SeqCst) > 0).count()
    }
}

fn codes(document: &Value, code: &str) -> usize {
    let nodes = document["nodes"].as_array().expect("nodes").iter();
    nodes
        .filter(|node| {
            node["reasons"].as_array().is_some_and(|all| all.iter().any(|one| one["code"] == code))
        })
        .count()
}

#[tokio::test]
async fn quiet_probing_leaves_all_but_a_few_alone() {
    let doors = Doors::open(8).await;
    let user = User::new().with_catalog("file:nodes.json");
    user.write_catalog(&doors.records);
    let quiet = ["nodes", "probe", "--quiet-probing=2", "--timeout", "1s", "--count", "1", "--json"];
    let document = user.run(&quiet).await.document();
    assert_eq!(codes(&document, "not_drawn"), 6, "{document}");
    assert_eq!(doors.asked(), 2);
    let user = user.with("CBROWSE_PROBING", "quiet=3");
    let by_variable =
        user.run(&["nodes", "probe", "--timeout", "1s", "--count", "1", "--json"]).await.document();
    assert_eq!(codes(&by_variable, "not_drawn"), 5);
    let by_flag = user
        .run(&["nodes", "probe", "--fresh", "--timeout", "1s", "--count", "1", "--json"])
        .await
        .document();
    assert_eq!(codes(&by_flag, "not_drawn"), 0, "the flag goes before the variable");
    for (arguments, exit) in [
        (&["nodes", "probe", "--quiet-probing=0"][..], 2),
        (&["nodes", "probe", "--fresh", "--cached"], 2),
        (&["connect", "--cached", "--quiet-probing"], 2),
        (&["nodes", "probe", "--watch", "--cached"], 2),
        (&["nodes", "probe", "--watch", "--fresh"], 2),
        (&["nodes", "probe", "--watch", "--quiet-probing=2"], 2),
    ] {
        assert_eq!(user.run(arguments).await.code, Some(exit), "{arguments:?}");
    }
    // A watch asks everybody; whoever set otherwise is not made to by a flag that does not say so.
    let before = doors.asked();
    let user = user.with("CBROWSE_PROBING", "quiet=3");
    let (exit, code, error) = user.run(&["nodes", "probe", "--watch", "--json"]).await.error();
    assert_eq!((exit, code.as_str()), (2, "watch_probing"));
    assert!(error["message"].as_str().is_some_and(|text| text.contains("CBROWSE_PROBING")), "{error}");
    let user = user.with("CBROWSE_PROBING", "cached");
    let (exit, code, _) = user.run(&["nodes", "probe", "--watch", "--json"]).await.error();
    assert_eq!((exit, code.as_str(), doors.asked()), (2, "watch_probing", before));
    let user = user.with("CBROWSE_PROBING", "loud");
    let (exit, _, error) = user.run(&["nodes", "probe", "--json"]).await.error();
    assert!(
        exit == 3 && error["message"].as_str().is_some_and(|text| text.contains("CBROWSE_PROBING")),
        "{error}"
    );
}

#[tokio::test]
async fn a_history_that_cannot_be_used_costs_a_warning_and_nothing_else() {
    let doors = Doors::open(1).await;
    let user = User::new().with_catalog("file:nodes.json");
    user.write_catalog(&doors.records);
    let probe = ["nodes", "probe", "--timeout", "1s", "--count", "1"];
    user.run(&probe).await.succeeded();
    let file = history_files(&user).remove(0);
    fs::write(&file, b"{\"version\":1,\"netw").unwrap();
    let ended = user.run(&probe).await;
    ended.succeeded();
    assert_eq!(ended.stderr.matches("makes no sense").count(), 1, "{}", ended.stderr);
    let again = user.run(&probe).await;
    assert!(!again.stderr.contains("makes no sense"), "it was written anew:\n{}", again.stderr);
    // No user can write below a file, root included.
    let directory = file.parent().unwrap();
    fs::remove_dir_all(directory).unwrap();
    fs::write(directory, b"").unwrap();
    let ended = user.run(&probe).await;
    ended.succeeded();
    assert_eq!(ended.stderr.matches("earlier probings cannot be used").count(), 1, "{}", ended.stderr);
}

#[tokio::test]
async fn two_commands_at_once_both_leave_what_they_found() {
    let doors = Doors::open(2).await;
    let user = User::new();
    for (index, record) in doors.records.iter().enumerate() {
        let text = serde_json::to_vec(&[record]).unwrap();
        fs::write(user.file(&format!("{index}.json")), text).unwrap();
    }
    let probe = async |catalog| {
        let arguments = ["nodes", "probe", "--timeout", "1s", "--count", "1", "--catalog", catalog];
        user.run(&arguments).await.succeeded();
    };
    tokio::join!(probe("file:0.json"), probe("file:1.json"));
    let history = user.run(&["nodes", "history", "--json"]).await.document();
    assert_eq!(history["nodes"].as_array().map(Vec::len), Some(2), "{history}");
}
