//! A web server that counts: what a browser kept of its cookie and its local storage tells where its profile has been.

use std::{net::SocketAddr, time::Duration};

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
    /// How often it has been here, by its cookie, this time included.
    pub(crate) by_cookie: u32,
    /// The same by its local storage.
    pub(crate) by_storage: u32,
}

impl Visit {
    pub(crate) fn number(count: u32) -> Self {
        Self { by_cookie: count, by_storage: count }
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
        let planted = planted.to_owned();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(answer(stream, planted.clone(), sender.clone()));
            }
        });
        Self { address, visits, _serving: serving }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// For a node's `--allow`.
    pub(crate) fn rule(&self) -> String {
        self.address.to_string()
    }

    /// The next page that a browser has loaded.
    pub(crate) async fn visit(&mut self) -> Visit {
        timeout(DEADLINE, self.visits.recv()).await.expect("a visit in time").expect("the server runs")
    }

    /// The same, or nothing where no page is loaded in this time.
    pub(crate) async fn visit_within(&mut self, patience: Duration) -> Option<Visit> {
        timeout(patience, self.visits.recv()).await.ok().flatten()
    }
}

async fn answer(stream: TcpStream, planted: String, visits: mpsc::Sender<Visit>) {
    let mut stream = BufReader::new(stream);
    let (mut first, mut count) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 || line == "\r\n" {
            break;
        }
        let pair = |pair: &str| pair.trim().strip_prefix("visits=")?.parse().ok();
        if let Some(cookies) = line.to_ascii_lowercase().strip_prefix("cookie:") {
            count = cookies.split(';').find_map(pair).unwrap_or(0);
        }
        if first.is_empty() {
            first = line;
        }
    }
    let path = first.split(' ').nth(1).unwrap_or_default();
    let body = match path.strip_prefix("/told?") {
        Some(stored) => {
            let visit = Visit { by_cookie: count, by_storage: stored.parse().unwrap_or(0) };
            let _nobody_looks = visits.send(visit).await;
            String::new()
        }
        None if path == "/" => PAGE.replace("PLANTED", &planted),
        None => String::new(),
    };
    let cookies = if path == "/" { cookies(count + 1, &planted) } else { String::new() };
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nCache-Control: no-store\r\nConnection: close\r\n{cookies}\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    let _gone_already = stream.write_all((head + &body).as_bytes()).await;
}

fn cookies(count: u32, planted: &str) -> String {
    let cookie = |name: &str, value: &str| format!("Set-Cookie: {name}={value}; Max-Age=86400; Path=/\r\n");
    cookie("visits", &count.to_string()) + &cookie("planted", planted)
}

const PAGE: &str = "<!doctype html><title>counted</title><link rel=icon href=data:,><body>counted<script>
const count = Number(localStorage.getItem('visits')) + 1;
localStorage.setItem('visits', count);
localStorage.setItem('planted', 'PLANTED');
fetch('/told?' + count);
</script>";
