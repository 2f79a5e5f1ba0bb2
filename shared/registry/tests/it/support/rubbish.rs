//! A server that answers every request with the same nonsense.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

/// What no registry would say, as it goes over the wire.
pub(crate) fn kinds() -> Vec<Rubbish> {
    let body = |body: &[u8]| answer("200 OK", body);
    vec![
        Rubbish::of(body(b"\x00\xff\x1b[31mred\x07")),
        Rubbish::of(body(b"<html><script>alert(1)</script></html>")),
        Rubbish::of(body(br#"{"header":{"revision":"7"},"data":[{"key":"YQ"#)),
        Rubbish::of(body(br#"[{"Node":{"Address":"10.0.0.1"},"Service":{"ID":"#)),
        Rubbish::of(body(br#""yes""#)),
        Rubbish::of(body(b"null")),
        Rubbish::of(body(&[b'['; 100_000])),
        Rubbish::of(body(b"")),
        Rubbish::of(answer("500 \x1b[2JNo", b"<h1>\x1b]0;title\x07</h1>")),
        Rubbish::of(answer("404 Not Found", b"not here")),
        Rubbish::of(answer("302 Found\r\nLocation: http://127.0.0.1:1/", b"")),
        Rubbish::of(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{".to_vec()),
        Rubbish::of(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()),
        Rubbish::of(Vec::new()),
        Rubbish { bytes: b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n[".to_vec(), is_endless: true },
    ]
}

#[derive(Debug, Clone)]
pub(crate) struct Rubbish {
    bytes: Vec<u8>,
    /// Blanks follow until the client hangs up.
    is_endless: bool,
}

fn answer(status: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

impl Rubbish {
    fn of(bytes: Vec<u8>) -> Self {
        Self { bytes, is_endless: false }
    }

    /// Answers on loopback until the handle is aborted.
    pub(crate) async fn serve(&self) -> (SocketAddr, Serving) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback works");
        let address = listener.local_addr().expect("it is bound");
        let rubbish = self.clone();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("loopback works");
                connections.spawn(rubbish.clone().answer(stream));
            }
        });
        (address, Serving(task))
    }

    /// The client may hang up at any moment.
    async fn answer(self, mut stream: TcpStream) -> std::io::Result<()> {
        let _question = stream.read(&mut [0; 4096]).await?;
        stream.write_all(&self.bytes).await?;
        let blanks = vec![b' '; 1 << 20];
        if self.is_endless {
            loop {
                stream.write_all(&blanks).await?;
            }
        }
        stream.shutdown().await
    }
}

/// Ends with its owner.
pub(crate) struct Serving(JoinHandle<()>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.abort();
    }
}
