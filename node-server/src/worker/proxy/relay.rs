//! Bytes both ways between two streams, each direction ending for itself.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::watch,
};

/// Bytes in flight per direction. Smaller costs wakeups on large downloads, larger costs memory on idle connections.
const BUFFER: usize = 32 * 1024;
/// How long one direction may be silent once the other has ended. Chromium never half-closes: for it, an end means
/// that it is gone, and without a limit a silent server would hold the connection for ever.
const HALF_CLOSED_SILENCE: Duration = Duration::from_secs(60);

/// Relays until both directions have ended, one has failed, or one has ended and the other falls silent.
pub(super) async fn relay<A, B>(client: A, server: B) -> io::Result<()>
where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    let (client_reader, client_writer) = tokio::io::split(client);
    let (server_reader, server_writer) = tokio::io::split(server);
    let (ended, half_closed) = watch::channel(false);
    let up = copy(client_reader, server_writer, &ended, half_closed.clone());
    let down = copy(server_reader, client_writer, &ended, half_closed);
    tokio::try_join!(up, down).map(|((), ())| ())
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    ended: &watch::Sender<bool>,
    half_closed: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = tokio::select! {
            length = from.read(&mut buffer) => length?,
            () = silence(half_closed.clone()) => return Err(io::ErrorKind::TimedOut.into()),
        };
        if length == 0 {
            to.shutdown().await?;
            ended.send_replace(true);
            return Ok(());
        }
        to.write_all(&buffer[..length]).await?;
    }
}

async fn silence(mut half_closed: watch::Receiver<bool>) {
    if half_closed.wait_for(|ended| *ended).await.is_err() {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(HALF_CLOSED_SILENCE).await;
}
