//! A road of a given length: everything that passes arrives later, in both directions.
//!
//! It stands for distance only. Nothing is lost, no rate is limited, and the TCP handshake with its near end takes no
//! time: what it adds to a wait is a number of round trips, one fewer than a real road would.

use std::{net::SocketAddr, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
    time::Instant,
};

/// Bytes taken at once.
const CHUNK: usize = 64 * 1024;
/// Chunks under way in one direction. Fewer would limit the rate: 1,024 of at least 1 KiB at 60 pictures a second of
/// 100 KB are more than the longest road here holds.
const UNDER_WAY: usize = 1024;

/// The road; ends with this value.
pub struct Road {
    address: SocketAddr,
    _traffic: JoinSet<()>,
}

impl Road {
    /// A road to `node`, whose round trip is `round_trip` longer than the node's own.
    pub async fn to(node: SocketAddr, round_trip: Duration) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let mut traffic = JoinSet::new();
        traffic.spawn(carry_all(listener, node, round_trip / 2));
        Ok(Self { address, _traffic: traffic })
    }

    /// Its near end.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn carry_all(listener: TcpListener, node: SocketAddr, delay: Duration) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((near, _)) = listener.accept() => { connections.spawn(carry(near, node, delay)); }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One connection. An end that breaks is closed on the other side, which is all there is to tell.
async fn carry(near: TcpStream, node: SocketAddr, delay: Duration) {
    let Ok(far) = TcpStream::connect(node).await else { return };
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
    tokio::join!(later(near_read, far_write, delay), later(far_read, near_write, delay));
}

/// Writes what was read, `delay` after it was read.
async fn later(from: impl AsyncRead + Unpin, to: impl AsyncWrite + Unpin, delay: Duration) {
    let (sender, receiver) = mpsc::channel(UNDER_WAY);
    tokio::join!(depart(from, sender, delay), arrive(receiver, to));
}

async fn depart(mut from: impl AsyncRead + Unpin, sender: mpsc::Sender<(Instant, Bytes)>, delay: Duration) {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(CHUNK);
        match from.read_buf(&mut buffer).await {
            Ok(read) if read > 0 => {}
            _ => return,
        }
        if sender.send((Instant::now() + delay, buffer.split().freeze())).await.is_err() {
            return;
        }
    }
}

async fn arrive(mut receiver: mpsc::Receiver<(Instant, Bytes)>, mut to: impl AsyncWrite + Unpin) {
    while let Some((due, bytes)) = receiver.recv().await {
        tokio::time::sleep_until(due).await;
        if to.write_all(&bytes).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_passes_arrives_whole_and_a_round_trip_later() {
        let echo = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let node = echo.local_addr().unwrap();
        let round_trip = Duration::from_millis(60);
        let road = Road::to(node, round_trip).await.unwrap();
        let mut near = TcpStream::connect(road.address()).await.unwrap();
        let (mut far, _) = echo.accept().await.unwrap();
        let sent = Instant::now();
        near.write_all(b"there").await.unwrap();
        let mut there = [0; 5];
        far.read_exact(&mut there).await.unwrap();
        far.write_all(b"back!").await.unwrap();
        let mut back = [0; 5];
        near.read_exact(&mut back).await.unwrap();
        assert_eq!((&there, &back), (b"there", b"back!"));
        assert!(sent.elapsed() >= round_trip, "{:?}", sent.elapsed());
        drop(far);
        assert_eq!(near.read(&mut back).await.unwrap(), 0);
    }
}
