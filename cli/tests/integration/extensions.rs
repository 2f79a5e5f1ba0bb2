//! An extension goes with its profile from node to node, with its state, by the user's word, and its code is the user's.

use std::{collections::BTreeSet, fs, time::Duration};

use cbrowse_testkit::{
    fleet::Fleet,
    node::{Node, Options},
};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    task::JoinSet,
    time::timeout,
};

use crate::{
    profile_sealing::profile,
    user::{DEADLINE, User},
};

/// What this browser calls the extension that was loaded from a directory of the user's.
const KNOWN_AS: &str = "abcdefghijklmnopabcdefghijklmnop";
/// How long a page waits for the extension. It is told that it need not where none is expected.
const GATE: Duration = Duration::from_secs(30);

/// A page that finishes loading when the extension has told what it knows.
struct Site {
    port: u16,
    told: mpsc::Receiver<(String, String)>,
    _serving: JoinSet<()>,
}

impl Site {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, told) = mpsc::channel(16);
        let gate = watch::Sender::new(BTreeSet::new());
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(answer(stream, sender.clone(), gate.clone()));
            }
        });
        Self { port, told, _serving: serving }
    }

    fn url(&self, page: &str) -> String {
        format!("http://127.0.0.1:{}/{page}", self.port)
    }

    /// What the extension told of this page. Others, which come back with the profile's tabs, are passed over.
    async fn told(&mut self, page: &str) -> String {
        let found = async {
            loop {
                let (told, what) = self.told.recv().await.expect("the server runs");
                if told == page {
                    return what;
                }
            }
        };
        timeout(DEADLINE, found).await.expect("in time")
    }
}

async fn answer(
    stream: TcpStream,
    told: mpsc::Sender<(String, String)>,
    gate: watch::Sender<BTreeSet<String>>,
) {
    let mut stream = BufReader::new(stream);
    let mut first = String::new();
    let _ = stream.read_line(&mut first).await;
    let mut line = String::new();
    while stream.read_line(&mut line).await.unwrap_or(0) > 2 {
        line.clear();
    }
    let path = first.split(' ').nth(1).unwrap_or_default();
    let mut kind = "text/html";
    let body = match path.trim_start_matches('/').split('/').collect::<Vec<_>>()[..] {
        ["told", page, what] => {
            let _ = told.send((page.to_owned(), what.to_owned())).await;
            gate.send_modify(|open| open.extend([page.to_owned()]));
            String::new()
        }
        ["gate", page] => {
            kind = "text/javascript";
            let _ = timeout(GATE, gate.subscribe().wait_for(|open| open.contains(page))).await;
            String::new()
        }
        ["waits", page] => {
            format!("<!doctype html><title>waits</title><body><script src=/gate/{page}></script>")
        }
        _ => "<!doctype html><title>plain</title><body>page".into(),
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nCache-Control: no-store\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all((head + &body).as_bytes()).await;
}

/// An extension that writes down the pages it has seen, in its own storage; its worker says which release it is.
fn make_extension(user: &User, release: &str) {
    let root = user.file("counter");
    fs::create_dir_all(&root).unwrap();
    let manifest = json!({
        "manifest_version": 3, "name": "Counter", "version": "1.0", "permissions": ["storage"],
        // As one has that was installed from the store.
        "update_url": "https://clients2.google.com/service/update2/crx",
        "background": { "service_worker": "worker.js" },
        "content_scripts": [{ "matches": ["http://127.0.0.1/*"], "js": ["page.js"], "run_at": "document_start" }],
    });
    fs::write(root.join("manifest.json"), manifest.to_string()).unwrap();
    let worker = format!(
        "let turn = Promise.resolve();
         chrome.runtime.onMessage.addListener((page, _, answer) => {{
           turn = turn.then(async () => {{
             const {{ seen }} = await chrome.storage.local.get({{ seen: [] }});
             if (!seen.includes(page)) seen.push(page);
             await chrome.storage.local.set({{ seen }});
             answer(seen.join('') + '-{release}');
           }});
           return true;
         }});"
    );
    fs::write(root.join("worker.js"), worker).unwrap();
    let page = "const page = location.pathname.split('/')[2];
        if (page) chrome.runtime.sendMessage(page, answer => fetch(`/told/${page}/${answer}`));";
    fs::write(root.join("page.js"), page).unwrap();
}

/// As a browser describes an extension that was loaded unpacked.
fn describe(user: &User, source: &str) {
    let settings = json!({ KNOWN_AS: { "location": 4, "path": user.file("counter") } });
    let preferences = json!({ "extensions": { "settings": settings } });
    fs::write(user.file(source).join("Default/Secure Preferences"), preferences.to_string()).unwrap();
}

async fn visit(user: &User, node: &str, url: &str) {
    let connect =
        ["connect", url, "--profile", "work", "--node", node, "--view", "none", "--screenshot", "p.png"];
    let ended = user.run(&[&connect[..], &["--passphrase-fd", "0", "--json"]].concat()).await;
    assert_eq!(ended.document()["node"], node, "{}", ended.stderr);
}

#[tokio::test]
async fn an_unpacked_extension_and_its_state_travel_by_the_users_word() {
    let (mut site, fleet) = (Site::start().await, Fleet::new().unwrap());
    let allowed = format!("127.0.0.1:{}", site.port);
    let options = |id| Options::of(&fleet, id, "eu-central").with("--allow", &allowed);
    let mut strict = options("strict");
    strict.arguments.push("--no-extensions".into());
    let (here, there, strict) =
        tokio::join!(Node::start(options("here")), Node::start(options("there")), Node::start(strict));
    let nodes = [here.unwrap(), there.unwrap(), strict.unwrap()];
    let user = User::of(&fleet).await.knowing(&[&nodes[0], &nodes[1], &nodes[2]]);
    make_extension(&user, "one");
    fs::create_dir_all(user.file("source/Default")).unwrap();
    fs::write(user.file("source/Default/Bookmarks"), "{\"roots\":{}}").unwrap();
    describe(&user, "source");

    let unknown = ["create", "work", "--from", "source", "--extensions", &"a".repeat(32)];
    assert!(profile(&user, &unknown).await.stderr.contains("no_extension"));
    profile(&user, &["create", "work", "--from", "source", "--extensions", "all"]).await.succeeded();
    visit(&user, "here", &site.url("waits/1")).await;
    assert_eq!(site.told("1").await, "1-one");
    visit(&user, "there", &site.url("waits/2")).await;
    assert_eq!(site.told("2").await, "12-one", "its state came along");
    visit(&user, "strict", &site.url("plain")).await;
    visit(&user, "here", &site.url("waits/3")).await;
    assert_eq!(site.told("3").await, "123-one", "a node that runs none loses none");

    // The directory that a session left holds the worker's script, as registered: a node could have changed it there.
    user.run(&["profile", "export", "work", "clear", "--passphrase-fd", "0"]).await.succeeded();
    assert!(
        user.file("clear/Default/Service Worker/ScriptCache").is_dir(),
        "there is something to be forgotten"
    );
    make_extension(&user, "two");
    describe(&user, "clear");
    let again = ["sync", "work", "--from", "clear", "--extensions", KNOWN_AS];
    profile(&user, &again).await.succeeded();
    visit(&user, "there", &site.url("waits/4")).await;
    assert_eq!(site.told("4").await, "1234-two", "what runs is what the user's word let in");
    profile(&user, &["sync", "work", "--from", "clear", "--extensions", "none"]).await.succeeded();
    while site.told.try_recv().is_ok() {}
    visit(&user, "here", &site.url("plain")).await;
    assert_eq!(site.told.try_recv(), Err(mpsc::error::TryRecvError::Empty), "taken back");
}
