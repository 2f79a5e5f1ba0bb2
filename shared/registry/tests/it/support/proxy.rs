//! A road to a server that can be made slow, silent or broken while somebody is on it.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::{JoinHandle, JoinSet},
};

/// Bytes that pass at once where they only trickle.
const DROP_LENGTH: usize = 64;
/// The pause before each of those.
const DROP_PAUSE: Duration = Duration::from_millis(2);

/// How bytes pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    Free,
    /// In small pieces with pauses between them.
    Trickle,
    /// Not at all; connections stay, and new ones are taken.
    Silent,
    /// Connections are broken, old and new.
    Broken,
}

/// Listens on loopback and passes on what comes; ends when dropped.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    pace: watch::Sender<Pace>,
    task: JoinHandle<()>,
}

impl Proxy {
    pub(crate) async fn to(server: SocketAddr, pace: Pace) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback works");
        let address = listener.local_addr().expect("it is bound");
        let (pace, paces) = watch::channel(pace);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.expect("loopback works");
                connections.spawn(pass(client, server, paces.clone()));
            }
        });
        Self { address, pace, task }
    }

    pub(crate) fn set(&self, pace: Pace) {
        self.pace.send_replace(pace);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(client: TcpStream, server: SocketAddr, mut paces: watch::Receiver<Pace>) -> io::Result<()> {
    if *paces.borrow_and_update() == Pace::Broken {
        return Ok(());
    }
    let server = TcpStream::connect(server).await?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let there = pump(from_client, to_server, paces.clone());
    let back = pump(from_server, to_client, paces.clone());
    tokio::select! {
        both = async { tokio::try_join!(there, back) } => both.map(drop),
        _ = paces.wait_for(|pace| *pace == Pace::Broken) => Ok(()),
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut paces: watch::Receiver<Pace>,
) -> io::Result<()> {
    let mut buffer = [0; 16 << 10];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        let mut rest = &buffer[..length];
        while !rest.is_empty() {
            let _ = paces.wait_for(|pace| *pace != Pace::Silent).await;
            let mut piece = rest.len();
            if *paces.borrow() == Pace::Trickle {
                tokio::time::sleep(DROP_PAUSE).await;
                piece = piece.min(DROP_LENGTH);
            }
            to.write_all(&rest[..piece]).await?;
            rest = &rest[piece..];
        }
    }
}
