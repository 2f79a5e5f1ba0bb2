//! A server of our own, for what a real Consul of this version cannot be made to say.

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
};

/// Answers every request on loopback with the same bytes; what was asked comes back through the channel.
pub(super) async fn answering(answer: &'static [u8]) -> (String, JoinHandle<()>, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback works");
    let uri = format!("consul://{}", listener.local_addr().expect("it is bound"));
    let (asked, questions) = mpsc::channel(16);
    let server = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("loopback works");
            let mut question = vec![0; 4096];
            let length = stream.read(&mut question).await.expect("loopback works");
            let _ = asked.send(String::from_utf8_lossy(&question[..length]).into_owned()).await;
            // The client may hang up in the middle of an answer that is too long.
            let _ = stream.write_all(answer).await;
        }
    });
    (uri, server, questions)
}

/// Answers each request as it is told to; ends when dropped.
pub(super) struct Scripted {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
    server: JoinHandle<()>,
}

impl Scripted {
    /// `answer` gets the request line (`GET /v1/… HTTP/1.1`) and its number, from 0, and gives the whole answer;
    /// `None` keeps the question for ever.
    pub(super) async fn start(
        answer: impl Fn(&str, usize) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback works");
        let port = listener.local_addr().expect("it is bound").port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (asked.clone(), Arc::new(answer));
        let server = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("loopback works");
                connections.spawn(serve(stream, log.clone(), answer.clone()));
            }
        });
        Self { port, asked, server }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn uri(&self) -> String {
        format!("consul://127.0.0.1:{}", self.port)
    }

    /// The request lines so far.
    pub(super) fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no holder panics").clone()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(
    mut stream: TcpStream,
    log: Arc<Mutex<Vec<String>>>,
    answer: Arc<impl Fn(&str, usize) -> Option<String>>,
) {
    let mut question = vec![0; 16 << 10];
    let Ok(length) = stream.read(&mut question).await else { return };
    let text = String::from_utf8_lossy(&question[..length]).into_owned();
    let line = text.lines().next().unwrap_or_default().to_owned();
    let number = {
        let mut log = log.lock().expect("no holder panics");
        log.push(line.clone());
        log.len() - 1
    };
    match answer(&line, number) {
        // The client may have gone.
        Some(answer) => drop(stream.write_all(answer.as_bytes()).await),
        None => std::future::pending().await,
    }
}

/// An answer of status 200.
pub(super) fn good(headers: &str, body: &str) -> String {
    status("200 OK", headers, body)
}

/// An answer of another status.
pub(super) fn status(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}

/// One instance as Consul lists it.
pub(super) fn instance(id: &str) -> String {
    format!(
        r#"{{"Node":{{"Node":"s1","Address":"127.0.0.1"}},"Service":{{"ID":"{id}","Service":"browser-node","Address":"127.0.0.1","Port":1}},"Checks":[]}}"#
    )
}
