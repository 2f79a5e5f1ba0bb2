//! A web server that counts: what a browser kept of its cookie and its local storage tells where its profile has been.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
    time::timeout,
};

use crate::user::DEADLINE;

/// Visits that may wait to be looked at.
const QUEUE: usize = 64;

/// One loaded page, as the browser knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Visit {
    /// Which page. It counts when it is loaded first, anywhere; restored tabs load it again and only tell.
    page: u32,
    /// How often it has been here, by its cookie, this time included.
    pub(crate) by_cookie: u32,
    /// The same by its local storage.
    pub(crate) by_storage: u32,
}

impl Visit {
    /// Of a page by a browser that has been here so often.
    pub(crate) fn new(page: u32, count: u32) -> Self {
        Self { page, by_cookie: count, by_storage: count }
    }
}

/// The server. It ends when this is dropped.
pub(crate) struct Site {
    address: SocketAddr,
    visits: mpsc::Receiver<Visit>,
    _serving: JoinSet<()>,
}

impl Site {
    /// `planted`: a value that every visitor's browser is told to keep, in both places.
    pub(crate) async fn start(planted: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
        let address = listener.local_addr().expect("an address");
        let (sender, visits) = mpsc::channel(QUEUE);
        let mut serving = JoinSet::new();
        let seen = Arc::new(Pages { planted: planted.to_owned(), counted: Mutex::default(), visits: sender });
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(seen.clone().answer(stream));
            }
        });
        Self { address, visits, _serving: serving }
    }

    /// Address of a page.
    pub(crate) fn url(&self, page: u32) -> String {
        format!("http://{}/page/{page}", self.address)
    }

    /// For a node's `--allow`.
    pub(crate) fn rule(&self) -> String {
        self.address.to_string()
    }

    /// Waits until a browser has loaded this page; others, which it restored, are passed over.
    pub(crate) async fn visit(&mut self, page: u32) -> Visit {
        let found = async {
            loop {
                let visit = self.visits.recv().await.expect("the server runs");
                if visit.page == page {
                    return visit;
                }
            }
        };
        timeout(DEADLINE, found).await.expect("a visit in time")
    }
}

struct Pages {
    planted: String,
    counted: Mutex<BTreeSet<u32>>,
    visits: mpsc::Sender<Visit>,
}

impl Pages {
    async fn answer(self: Arc<Self>, stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        let (path, count) = read_request(&mut stream).await;
        let (mut cookies, mut body) = (String::new(), String::new());
        if let Some(told) = path.strip_prefix("/told/") {
            let mut numbers = told.split('/').filter_map(|number| number.parse().ok());
            if let (Some(page), Some(by_storage)) = (numbers.next(), numbers.next()) {
                let _nobody_looks = self.visits.send(Visit { page, by_cookie: count, by_storage }).await;
            }
        } else if let Some(page) = path.strip_prefix("/page/").and_then(|page| page.parse().ok()) {
            let is_first = self.counted.lock().expect("no holder panics").insert(page);
            let step = u32::from(is_first);
            if is_first {
                cookies = cookie("visits", &(count + 1).to_string()) + &cookie("planted", &self.planted);
            }
            body = PAGE.replace("STEP", &step.to_string()).replace("PLANTED", &self.planted);
            body = body.replace("NUMBER", &page.to_string());
        }
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nCache-Control: no-store\r\nConnection: close\r\n\
             {cookies}Content-Length: {}\r\n\r\n",
            body.len()
        );
        let _gone_already = stream.write_all((head + &body).as_bytes()).await;
    }
}

/// The path, and the count in the cookie.
async fn read_request(stream: &mut BufReader<TcpStream>) -> (String, u32) {
    let (mut first, mut count) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 || line == "\r\n" {
            return (first.split(' ').nth(1).unwrap_or_default().to_owned(), count);
        }
        let visits = |pair: &str| pair.trim().strip_prefix("visits=")?.parse().ok();
        if let Some(cookies) = line.to_ascii_lowercase().strip_prefix("cookie:") {
            count = cookies.split(';').find_map(visits).unwrap_or(0);
        }
        if first.is_empty() {
            first = line;
        }
    }
}

fn cookie(name: &str, value: &str) -> String {
    format!("Set-Cookie: {name}={value}; Max-Age=86400; Path=/\r\n")
}

const PAGE: &str =
    "<!doctype html><title>page NUMBER</title><link rel=icon href=data:,><body>page NUMBER<script>
const count = Number(localStorage.getItem('visits')) + STEP;
if (STEP) {
  localStorage.setItem('visits', count);
  localStorage.setItem('planted', 'PLANTED');
}
fetch(`/told/NUMBER/${count}`);
</script>";
