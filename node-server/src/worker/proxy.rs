//! Chromium's only way out: a SOCKS5 server inside the session's namespace, whose connections the server's guard opens.

mod relay;
mod socks;

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use nix::sys::socket::{AddressFamily, SockaddrLike, SockaddrStorage, getsockname};
use tokio::{
    net::{TcpListener, TcpStream, UnixStream},
    sync::Semaphore,
    task::JoinSet,
};

use self::socks::{Reply, SocksError};
use crate::guard::channel::{OpenError, Outcome, WorkerEnd};

/// Connections at once. Chromium uses at most 99 through one proxy, and 255 more for WebSockets; each costs two
/// descriptors. Past it, connections wait in the listener's queue.
const CONNECTIONS_AT_ONCE: usize = 512;
/// How long Chromium may take to say where it wants to go. Only something else in the namespace is slower.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// How long to wait after `accept` failed (descriptors ran out), lest the loop spins.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until the channel to the server ends. Dropping the future closes every connection.
pub async fn run(listener: TcpListener, channel: WorkerEnd) {
    let channel = Arc::new(channel);
    let places = Arc::new(Semaphore::new(CONNECTIONS_AT_ONCE));
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        tokio::select! {
            () = channel.closed() => return,
            Some(ended) = connections.join_next() => report(ended),
            (place, accepted) = next => match accepted {
                Ok((client, _)) => {
                    let channel = Arc::clone(&channel);
                    connections.spawn(async move {
                        let _place = place;
                        serve(client, &channel).await
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "accept a connection to the proxy");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

/// Why a connection through the proxy ended early.
#[derive(Debug, thiserror::Error)]
enum ConnectionError {
    #[error("read a SOCKS request")]
    Socks(#[from] SocksError),
    #[error("the SOCKS request took too long")]
    Deadline,
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("relay bytes")]
    Relay(#[from] io::Error),
}

async fn serve(mut client: TcpStream, channel: &WorkerEnd) -> Result<(), ConnectionError> {
    client.set_nodelay(true)?;
    let target = tokio::time::timeout(HANDSHAKE_DEADLINE, socks::accept(&mut client))
        .await
        .map_err(|_| ConnectionError::Deadline)??;
    let socket = match channel.open(&target.host, target.port).await {
        Ok(socket) => socket,
        Err(error) => {
            socks::reply(&mut client, reply_to(&error)).await?;
            return Err(error.into());
        }
    };
    socks::reply(&mut client, Reply::Succeeded).await?;
    Ok(join(client, socket).await?)
}

async fn join(client: TcpStream, socket: OwnedFd) -> io::Result<()> {
    let address = getsockname::<SockaddrStorage>(socket.as_raw_fd())?;
    if address.family() == Some(AddressFamily::Unix) {
        let stream = std::os::unix::net::UnixStream::from(socket);
        stream.set_nonblocking(true)?;
        relay::relay(client, UnixStream::from_std(stream)?).await
    } else {
        let stream = std::net::TcpStream::from(socket);
        stream.set_nonblocking(true)?;
        relay::relay(client, TcpStream::from_std(stream)?).await
    }
}

fn reply_to(error: &OpenError) -> Reply {
    match error {
        OpenError::Refused(Outcome::Forbidden) => Reply::NotAllowed,
        OpenError::Refused(Outcome::Unresolved | Outcome::Deadline) => Reply::HostUnreachable,
        OpenError::Refused(Outcome::ConnectionRefused) => Reply::ConnectionRefused,
        OpenError::Refused(Outcome::Unreachable) => Reply::NetworkUnreachable,
        OpenError::Refused(_) | OpenError::Closed | OpenError::Send(_) => Reply::GeneralFailure,
    }
}

fn report(ended: Result<Result<(), ConnectionError>, tokio::task::JoinError>) {
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection through the proxy ended early"),
        Err(error) => tracing::error!(%error, "a connection through the proxy ended badly"),
    }
}

#[cfg(test)]
mod tests;
