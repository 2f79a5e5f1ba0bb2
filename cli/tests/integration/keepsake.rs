//! A page that tells what its browser still knows of it, by every way in which browsers remember, and then writes something new.

#![expect(clippy::unwrap_used, reason = "a test's helpers are tests")]

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
    time::timeout,
};

use crate::user::DEADLINE;

/// Reports that may wait to be looked at.
const QUEUE: usize = 64;
/// Longest report.
const MAX_REPORT: usize = 64 * 1024;

/// The server. It ends when this is dropped.
pub(crate) struct Keepsakes {
    address: SocketAddr,
    reports: mpsc::Receiver<Value>,
    _serving: JoinSet<()>,
}

impl Keepsakes {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, reports) = mpsc::channel(QUEUE);
        let pages = Arc::new(Pages { written: Mutex::default(), reports: sender });
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(pages.clone().answer(stream));
            }
        });
        Self { address, reports, _serving: serving }
    }

    /// The page that writes `number` everywhere when it is loaded for the first time.
    pub(crate) fn url(&self, number: u32) -> String {
        format!("http://{}/page/{number}", self.address)
    }

    /// For a node's `--allow`.
    pub(crate) fn rule(&self) -> String {
        self.address.to_string()
    }

    /// What the browser that loads this page next knew before the page wrote anything; what it wrote is there by then.
    pub(crate) async fn report(&mut self, number: u32) -> Value {
        let found = async {
            loop {
                let report = self.reports.recv().await.unwrap();
                if report["page"] == number {
                    return report;
                }
            }
        };
        timeout(DEADLINE, found).await.unwrap_or_else(|_| panic!("page {number} is not loaded in time"))
    }
}

/// What a browser knows in which everything lasted since `number` was written.
pub(crate) fn everything(number: u32) -> Value {
    let number = number.to_string();
    let kept = |name: &str| (name.to_owned(), json!(number));
    let cookies: serde_json::Map<_, _> =
        ["kept", "session", "hidden", "parted", "parted_session"].map(kept).into_iter().collect();
    json!({ "cookies": cookies, "local": number, "indexed": number, "worker": true })
}

struct Pages {
    written: Mutex<BTreeSet<u32>>,
    reports: mpsc::Sender<Value>,
}

impl Pages {
    async fn answer(self: Arc<Self>, stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        let Some(request) = read_request(&mut stream).await else { return };
        let (mut headers, mut kind, mut body) = (String::new(), "text/html", String::new());
        if request.path == "/told" {
            if let Ok(report) = serde_json::from_slice(&request.body) {
                let _nobody_looks = self.reports.send(report).await;
            }
        } else if request.path == "/worker.js" {
            (kind, body) = ("text/javascript", WORKER.to_owned());
        } else if let Some(number) =
            request.path.strip_prefix("/page/").and_then(|number| number.parse().ok())
        {
            let is_first = self.written.lock().unwrap().insert(number);
            if is_first {
                headers = set_cookies(number);
            }
            body = PAGE
                .replace("NUMBER", &number.to_string())
                .replace("WRITES", &is_first.to_string())
                .replace("SENT", &request.cookies.to_string());
        }
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nCache-Control: no-store\r\nConnection: close\r\n\
             {headers}Content-Length: {}\r\n\r\n",
            body.len()
        );
        let _gone_already = stream.write_all((head + &body).as_bytes()).await;
    }
}

fn set_cookies(number: u32) -> String {
    let [day, parted] = ["Max-Age=86400", "Secure; SameSite=None; Partitioned"];
    [
        format!("kept={number}; {day}"),
        format!("session={number}"),
        format!("hidden={number}; {day}; HttpOnly"),
        format!("parted={number}; {day}; {parted}"),
        format!("parted_session={number}; {parted}; HttpOnly"),
    ]
    .map(|cookie| format!("Set-Cookie: {cookie}; Path=/\r\n"))
    .concat()
}

struct Request {
    path: String,
    cookies: Value,
    body: Vec<u8>,
}

async fn read_request(stream: &mut BufReader<TcpStream>) -> Option<Request> {
    let (mut path, mut cookies, mut length) = (None, json!({}), 0);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return None;
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        match line.split_once(": ").map(|(name, value)| (name.to_ascii_lowercase(), value)) {
            Some((name, value)) if name == "cookie" => {
                for (name, value) in value.split("; ").filter_map(|pair| pair.split_once('=')) {
                    cookies[name] = json!(value);
                }
            }
            Some((name, value)) if name == "content-length" => length = value.parse().ok()?,
            _ if path.is_none() => path = Some(line.split(' ').nth(1)?.to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; Some(length).filter(|length| *length <= MAX_REPORT)?];
    stream.read_exact(&mut body).await.ok()?;
    Some(Request { path: path?, cookies, body })
}

const WORKER: &str = "self.addEventListener('install', () => self.skipWaiting());
self.addEventListener('activate', (event) => event.waitUntil(self.clients.claim()));";

const PAGE: &str =
    "<!doctype html><title>page NUMBER</title><link rel=icon href=data:,><body>page NUMBER<script>
const finished = (request) => new Promise((done, fail) => {
  request.onsuccess = () => done(request.result);
  request.onerror = () => fail(request.error);
});
const tell = (report) => fetch('/told', { method: 'POST', body: JSON.stringify({ page: NUMBER, ...report }) });
let step = 'IndexedDB';
// What hangs is named.
const patience = setTimeout(() => tell({ stuck: step }), 20000);
(async () => {
  const opening = indexedDB.open('keepsakes', 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore('kept');
  const base = await finished(opening);
  const store = (mode) => base.transaction('kept', mode).objectStore('kept');
  const indexed = (await finished(store('readonly').get('number'))) ?? null;
  step = 'service worker';
  const worker = Boolean((await navigator.serviceWorker.getRegistration())?.active);
  const known = { cookies: SENT, local: localStorage.getItem('kept'), indexed, worker };
  if (WRITES) {
    localStorage.setItem('kept', 'NUMBER');
    step = 'write to IndexedDB';
    await finished(store('readwrite').put('NUMBER', 'number'));
    step = 'register';
    await navigator.serviceWorker.register('/worker.js', { scope: '/' });
    step = 'ready';
    await navigator.serviceWorker.ready;
  }
  await tell({ known });
})().catch((error) => tell({ failed: `${step}: ${error}` })).finally(() => clearTimeout(patience));
</script>";
