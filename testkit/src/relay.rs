//! A road to a server that can be made slow, silent or broken while somebody is on it, and that notes what was asked.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

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
pub enum Pace {
    /// At once.
    Free,
    /// In small pieces with pauses between them.
    Trickle,
    /// Not at all; connections stay, new ones are taken, and what is asked on them is heard.
    Silent,
    /// Connections are broken, old and new.
    Broken,
}

/// Listens on loopback and passes on what comes; ends when dropped.
#[derive(Debug)]
pub struct Relay {
    /// Where it listens.
    pub address: SocketAddr,
    pace: watch::Sender<Pace>,
    asked: Arc<Mutex<Vec<u8>>>,
    task: JoinHandle<()>,
}

impl Relay {
    /// A relay to `server`, which need not be there yet.
    pub async fn to(server: SocketAddr, pace: Pace) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (pace, paces) = watch::channel(pace);
        let asked = Arc::<Mutex<Vec<u8>>>::default();
        let heard = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(pass(client, server, paces.clone(), Arc::clone(&heard)));
            }
        });
        Ok(Self { address, pace, asked, task })
    }

    /// From now on bytes pass like this, on connections that stand, too.
    pub fn set(&self, pace: Pace) {
        self.pace.send_replace(pace);
    }

    /// The paths of all GET requests until now.
    pub fn asked(&self) -> Vec<String> {
        let bytes = self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let path = |line: &str| Some(line.strip_prefix("GET ")?.split(' ').next()?.to_owned());
        text.lines().filter_map(path).collect()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(
    client: TcpStream,
    server: SocketAddr,
    mut paces: watch::Receiver<Pace>,
    asked: Arc<Mutex<Vec<u8>>>,
) -> io::Result<()> {
    if *paces.borrow_and_update() == Pace::Broken {
        return Ok(());
    }
    let server = TcpStream::connect(server).await?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let hear =
        move |bytes: &[u8]| asked.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
    let there = pump(from_client, to_server, paces.clone(), hear);
    let back = pump(from_server, to_client, paces.clone(), |_| {});
    tokio::select! {
        both = async { tokio::try_join!(there, back) } => both.map(drop),
        _ = paces.wait_for(|pace| *pace == Pace::Broken) => Ok(()),
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut paces: watch::Receiver<Pace>,
    hear: impl Fn(&[u8]),
) -> io::Result<()> {
    let mut buffer = [0; 16 << 10];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        let mut rest = &buffer[..length];
        hear(rest);
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
