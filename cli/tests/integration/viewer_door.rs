//! The viewer's door against everyone who is not the user's own page: plain HTTP requests, byte by byte.

use std::{net::SocketAddr, time::Duration};

use cbrowse::view::{
    Hub,
    web::{Options, StartError, WebViewer},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

async fn start() -> (WebViewer, SocketAddr, String) {
    let (hub, _inputs) = Hub::new();
    let viewer = WebViewer::start(hub, Options::default()).await.expect("start the viewer");
    let page = std::fs::read_to_string(viewer.open_file()).expect("read the file");
    let code = page.split("name=\"code\" value=\"").nth(1).and_then(|rest| rest.split('"').next());
    let (address, code) = (viewer.address(), code.expect("the file holds a code").to_owned());
    (viewer, address, code)
}

/// Status line, headers and body of the answer to one request.
async fn ask(address: SocketAddr, line: &str, headers: &[&str], body: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connect");
    let host = format!("Host: {address}");
    let own_host = if headers.iter().any(|header| header.starts_with("Host:")) { "" } else { host.as_str() };
    let length = format!("Content-Length: {}", body.len());
    let lines = [&[line, own_host, "Connection: close", &length], headers].concat();
    let lines: Vec<&str> = lines.into_iter().filter(|line| !line.is_empty()).collect();
    let head = lines.join("\r\n");
    stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).await.expect("send");
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    timeout(Duration::from_secs(10), read).await.expect("an answer in time").expect("an answer");
    answer
}

async fn open(address: SocketAddr, code: &str, headers: &[&str]) -> String {
    ask(address, "POST /open HTTP/1.1", headers, &format!("code={code}")).await
}

fn cookie(answer: &str) -> String {
    let line = answer.lines().find_map(|line| line.strip_prefix("set-cookie: ")).expect("a cookie");
    format!("Cookie: {}", line.split(';').next().expect("a pair"))
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).expect("a status")
}

#[tokio::test]
async fn without_the_cookie_everything_is_closed() {
    let (_viewer, address, _) = start().await;
    for path in ["/", "/viewer.js", "/viewer.css", "/icon.svg", "/socket", "/nothing", "/open"] {
        let answer = ask(address, &format!("GET {path} HTTP/1.1"), &[], "").await;
        assert_eq!(status(&answer), "403", "{path}");
        assert!(answer.contains("content-security-policy: default-src 'none'"), "{answer}");
    }
}

#[tokio::test]
async fn the_code_opens_once_from_a_file_and_never_from_a_foreign_page() {
    let (viewer, address, code) = start().await;
    assert_eq!(status(&open(address, "guess", &["Origin: null"]).await), "403");
    assert_eq!(status(&open(address, &code, &["Origin: https://evil.example"]).await), "403");
    assert_eq!(status(&open(address, &code, &["Host: evil.example"]).await), "403");
    let long = "x".repeat(1000);
    assert_eq!(status(&open(address, &long, &["Origin: null"]).await), "400");
    assert!(viewer.open_file().exists(), "who guesses does not take the file away");

    let answer = open(address, &code, &["Origin: null"]).await;
    assert_eq!(status(&answer), "200");
    assert!(answer.contains("HttpOnly; SameSite=Strict") && answer.contains("cache-control: no-store"));
    assert!(!viewer.open_file().exists());
    assert_eq!(status(&open(address, &code, &["Origin: null"]).await), "403");
}

#[tokio::test]
async fn the_cookie_opens_the_page_for_its_own_origin_only() {
    let (_viewer, address, code) = start().await;
    let cookie = cookie(&open(address, &code, &[]).await);
    let get = "GET / HTTP/1.1";
    assert_eq!(status(&ask(address, get, &[&cookie], "").await), "200");
    let own = format!("Origin: http://{address}");
    assert_eq!(status(&ask(address, get, &[&cookie, &own], "").await), "200");
    for foreign in ["Origin: null", "Origin: http://127.0.0.1:1", "Host: evil.example"] {
        assert_eq!(status(&ask(address, get, &[&cookie, foreign], "").await), "403", "{foreign}");
    }
    assert_eq!(status(&ask(address, "GET /x HTTP/1.1", &[&cookie], "").await), "404");
    assert_eq!(status(&ask(address, "POST / HTTP/1.1", &[&cookie], "").await), "405");
}

#[tokio::test]
async fn the_socket_wants_cookie_origin_and_protocol() {
    let (_viewer, address, code) = start().await;
    let cookie = cookie(&open(address, &code, &[]).await);
    let own = format!("Origin: http://{address}");
    let all = [
        cookie.as_str(),
        own.as_str(),
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Protocol: cbrowse.v1",
    ];
    for missing in 0..all.len() {
        let headers: Vec<&str> =
            all.iter().enumerate().filter(|(at, _)| *at != missing).map(|(_, header)| *header).collect();
        let answer = ask(address, "GET /socket HTTP/1.1", &headers, "").await;
        assert!(["400", "403"].contains(&status(&answer)), "without {}: {answer}", all[missing]);
    }
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET /socket HTTP/1.1\r\nHost: {address}\r\n{}\r\n\r\n", all.join("\r\n"));
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 101");
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let (viewer, address, _) = start().await;
    let (hub, _inputs) = Hub::new();
    let options = Options { port: address.port(), ..Options::default() };
    let error = WebViewer::start(hub, options).await.unwrap_err();
    assert!(matches!(error, StartError::Listen { port, .. } if port == address.port()));
    assert!(error.to_string().contains(&address.port().to_string()));
    drop(viewer);
}

#[tokio::test]
async fn dropping_the_viewer_closes_the_port_and_takes_the_file() {
    let (viewer, address, _) = start().await;
    let directory = viewer.open_file().parent().unwrap().to_owned();
    viewer.close().await;
    assert!(!directory.exists());
    assert!(TcpStream::connect(address).await.is_err());
}

/// What a process of this user gets from the page's address.
async fn as_user(user: u32, address: SocketAddr) -> String {
    let script = "exec 3<>/dev/tcp/127.0.0.1/$0; \
        printf 'GET / HTTP/1.1\\r\\nHost: 127.0.0.1:%s\\r\\nConnection: close\\r\\n\\r\\n' $0 >&3; cat <&3";
    let mut command = tokio::process::Command::new("bash");
    command.args(["-c", script, &address.port().to_string()]).uid(user).current_dir("/");
    let output =
        timeout(Duration::from_secs(10), command.output()).await.expect("in time").expect("bash runs");
    String::from_utf8(output.stdout).expect("text")
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn another_user_of_this_machine_is_not_answered() {
    let (_viewer, address, _) = start().await;
    let own = nix::unistd::geteuid();
    assert_eq!(status(&as_user(own.as_raw(), address).await), "403");
    // Only root can become another user, so only root can try.
    if own.is_root() {
        assert_eq!(as_user(65534, address).await, "");
    }
}
