//! Proxy, channel and guard in one process, with curl and plain sockets as Chromium.

use std::{
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
    process::Output,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Command,
    task::{AbortHandle, JoinHandle},
};

use super::*;
use crate::{
    guard::{
        Guard, Policy, System,
        channel::{self, ChannelError, ServerEnd},
    },
    pages::{NodeFacts, Pages},
    sys::descriptor,
};

struct Road {
    proxy: SocketAddr,
    guard: Arc<Guard>,
    server: JoinHandle<Result<(), ChannelError>>,
    worker: AbortHandle,
}

impl Drop for Road {
    fn drop(&mut self) {
        self.worker.abort();
        self.server.abort();
    }
}

fn guard(allow: &[String]) -> Arc<Guard> {
    let rules = allow.iter().map(|rule| rule.parse().unwrap()).collect();
    let facts = NodeFacts { node: "node-1".into(), region: "eu-test".into(), browser: "156.0".into() };
    Arc::new(Guard::new(Policy::new(rules, vec![], []), System::default(), Pages::new(&facts)))
}

async fn road(allow: &[String]) -> Road {
    let (ours, theirs) = channel::pair().unwrap();
    let guard = guard(allow);
    let server = tokio::spawn(ServerEnd::new(ours).unwrap().run(Arc::clone(&guard)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = listener.local_addr().unwrap();
    let worker = tokio::spawn(run(listener, WorkerEnd::new(theirs).unwrap())).abort_handle();
    Road { proxy, guard, server, worker }
}

/// A server that answers every connection with the bytes it got, until their end.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reader, mut writer) = stream.into_split();
                tokio::io::copy(&mut reader, &mut writer).await.unwrap();
            });
        }
    });
    address
}

/// Connects through the proxy; the reply code instead where it refuses.
async fn connect(proxy: SocketAddr, host: &str, port: u16) -> Result<TcpStream, u8> {
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    let mut request = vec![5, 1, 0, 5, 1, 0, 3, u8::try_from(host.len()).unwrap()];
    request.extend(host.as_bytes());
    request.extend(port.to_be_bytes());
    stream.write_all(&request).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    if answer[3] == 0 { Ok(stream) } else { Err(answer[3]) }
}

async fn curl(proxy: SocketAddr, arguments: &[&str]) -> Output {
    let proxy = proxy.to_string();
    let mut command = Command::new("curl");
    command.args(["-sS", "--noproxy", "", "--max-time", "20", "--socks5-hostname", &proxy]).args(arguments);
    command.kill_on_drop(true).output().await.unwrap()
}

#[tokio::test]
async fn curl_reaches_what_is_allowed_and_is_told_what_is_not() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let road = road(&[format!("127.0.0.1:{port}")]).await;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = [0; 4096];
        assert!(stream.read(&mut head).await.unwrap() > 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").await.unwrap();
    });
    let allowed = curl(road.proxy, &[&format!("http://127.0.0.1:{port}/")]).await;
    assert_eq!(String::from_utf8_lossy(&allowed.stdout), "hello");

    let neighbour = curl(road.proxy, &[&format!("http://127.0.0.2:{port}/")]).await;
    assert_eq!(neighbour.status.code(), Some(97), "{}", String::from_utf8_lossy(&neighbour.stderr));
    let metadata = curl(road.proxy, &["-i", "http://169.254.169.254/latest/meta-data/"]).await;
    let text = String::from_utf8_lossy(&metadata.stdout).into_owned();
    assert!(
        text.starts_with("HTTP/1.1 403") && text.contains("This node does not let pages reach"),
        "{text}"
    );

    let start = curl(road.proxy, &["-i", "-H", "Cookie: visits=6", "http://cbrowse.internal/"]).await;
    let text = String::from_utf8_lossy(&start.stdout).into_owned();
    assert!(text.contains("set-cookie: visits=7; Max-Age") && text.contains("eu-test"), "{text}");
    assert_eq!(road.guard.counters().opened(), 1);
    assert_eq!(road.guard.counters().pages(), 1);
}

#[tokio::test]
async fn reply_codes_say_what_happened() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let road = road(&[closed.to_string(), "does-not-exist.invalid:443".into()]).await;
    assert_eq!(connect(road.proxy, "127.0.0.1", closed.port()).await.unwrap_err(), 5);
    for (host, port) in
        [("localhost", 443), ("0x7f.1", 443), ("[::1]", 443), ("8.8.8.8", 25), ("a b", 443), ("", 443)]
    {
        assert_eq!(connect(road.proxy, host, port).await.unwrap_err(), 2, "{host}");
    }
    assert_eq!(connect(road.proxy, "does-not-exist.invalid", 443).await.unwrap_err(), 4);
}

/// Bytes that repeat nowhere near a buffer's length.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..length).map(next).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_megabytes_arrive_both_ways_and_one_end_does_not_end_the_other() {
    let server = echo().await;
    let road = road(&[server.to_string()]).await;
    let stream = connect(road.proxy, "127.0.0.1", server.port()).await.unwrap();
    let sent = noise(50_000_000);
    let (mut reader, mut writer) = stream.into_split();
    let upload = sent.clone();
    let writing = tokio::spawn(async move {
        writer.write_all(&upload).await.unwrap();
        writer.shutdown().await.unwrap();
        writer
    });
    let mut received = Vec::with_capacity(sent.len());
    reader.read_to_end(&mut received).await.unwrap();
    assert!(received == sent, "{} bytes came back", received.len());
    writing.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_connections_at_once() {
    let server = echo().await;
    let road = road(&[server.to_string()]).await;
    let mut all = JoinSet::new();
    for number in 0..200_u32 {
        let proxy = road.proxy;
        all.spawn(async move {
            let mut stream = connect(proxy, "127.0.0.1", server.port()).await.unwrap();
            stream.write_all(&number.to_le_bytes()).await.unwrap();
            assert_eq!(stream.read_u32_le().await.unwrap(), number);
            stream
        });
    }
    assert_eq!(all.join_all().await.len(), 200, "all were open together");
    assert_eq!(road.guard.counters().opened(), 200);
}

#[tokio::test]
async fn a_server_that_is_gone_ends_the_proxy_and_a_worker_that_is_gone_the_channel() {
    let (ours, theirs) = channel::pair().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = tokio::spawn(run(listener, WorkerEnd::new(theirs).unwrap()));
    drop(ours);
    tokio::time::timeout(Duration::from_secs(5), proxy).await.unwrap().unwrap();

    let (ours, theirs) = channel::pair().unwrap();
    let server = tokio::spawn(ServerEnd::new(ours).unwrap().run(guard(&[])));
    drop(theirs);
    assert!(tokio::time::timeout(Duration::from_secs(5), server).await.unwrap().unwrap().is_ok());
}

async fn ends_malformed(misbehave: impl FnOnce(&OwnedFd)) {
    let (ours, theirs) = channel::pair().unwrap();
    let server = tokio::spawn(ServerEnd::new(ours).unwrap().run(guard(&[])));
    misbehave(&theirs);
    let ended = tokio::time::timeout(Duration::from_secs(5), server).await.unwrap().unwrap();
    assert!(matches!(ended, Err(ChannelError::Malformed)), "{ended:?}");
}

#[tokio::test]
async fn a_malformed_message_ends_its_own_channel_only() {
    let road = road(&[]).await;
    let send = |bytes: &'static [u8]| {
        move |socket: &OwnedFd| {
            descriptor::send(socket.as_fd(), bytes, None).unwrap();
        }
    };
    ends_malformed(send(b"x")).await;
    ends_malformed(send(b"\x02\x01\0\0\0\0\x50\0a.example")).await;
    ends_malformed(send(b"\x01\x02\0\0\0\0\0")).await;
    ends_malformed(send(b"\x01\x01\0\0\0\0\x50\0a b")).await;
    ends_malformed(send(&[1; 4096])).await;
    ends_malformed(|socket| {
        let message = b"\x01\x01\0\0\0\0\x50\0a.example";
        descriptor::send(socket.as_fd(), message, Some(socket.as_fd())).unwrap();
    })
    .await;
    assert!(connect(road.proxy, "cbrowse.internal", 80).await.is_ok(), "another session goes on");
}

/// Chromium's own road: what the policies of the pages let run shows in what they did.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chromium_counts_its_visits_and_reads_why_it_is_refused() {
    let road = road(&[]).await;
    let profile = tempfile::tempdir().unwrap();
    let show = async |url: &str| {
        let mut command = Command::new("/usr/lib/chromium/chromium");
        // Tests may run as root in a container; what is tested here is the proxy.
        command.args([
            "--headless",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--dump-dom",
        ]);
        command.arg(format!("--user-data-dir={}", profile.path().display()));
        command.arg(format!("--proxy-server=socks5://{}", road.proxy));
        command.args(["--proxy-bypass-list=<-loopback>", "--disable-background-networking", url]);
        let output = tokio::time::timeout(Duration::from_secs(60), command.kill_on_drop(true).output());
        String::from_utf8(output.await.unwrap().unwrap().stdout).unwrap()
    };
    for visit in 1..=2 {
        let page = show("http://cbrowse.internal/").await;
        assert!(page.contains(&format!("id=\"visits\">{visit}<")), "{page}");
        assert!(page.contains(&format!("id=\"stored\">{visit}<")), "{page}");
    }
    for url in
        ["http://127.1/", "http://0x7f000001/", "http://[::1]/", "http://localhost/", "http://10.0.0.1./"]
    {
        let page = show(url).await;
        assert!(page.contains("This node does not let pages reach"), "{url}: {page}");
    }
    assert_eq!(road.guard.counters().opened(), 0);
    assert!(road.guard.counters().refused()["loopback"] >= 3, "{:?}", road.guard.counters());
}

#[tokio::test]
async fn pages_of_one_session_are_bounded() {
    let road = road(&[]).await;
    let mut held = Vec::new();
    for _ in 0..16 {
        held.push(connect(road.proxy, "cbrowse.internal", 80).await.unwrap());
    }
    assert_eq!(connect(road.proxy, "cbrowse.internal", 80).await.unwrap_err(), 1);
    held.clear();
    let freed = async {
        while connect(road.proxy, "cbrowse.internal", 80).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), freed).await.unwrap();
}
