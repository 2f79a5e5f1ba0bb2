//! Bytes both ways between two streams, each direction ending for itself.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::watch,
};

/// Bytes in flight per direction. Smaller costs wakeups on large downloads, larger costs memory on idle connections:
/// Chromium's hundred take 3 MB of the worker's 10.
const BUFFER: usize = 16 * 1024;
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

#[cfg(test)]
mod tests {
    use tokio::{
        io::{DuplexStream, duplex},
        time::Instant,
    };

    use super::*;

    /// The far ends of a relay between two streams, and the relay.
    fn scene() -> (DuplexStream, DuplexStream, tokio::task::JoinHandle<io::Result<()>>) {
        let ((client, near), (far, server)) = (duplex(64), duplex(64));
        (client, server, tokio::spawn(relay(near, far)))
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_connection_lives_until_one_side_ends() {
        let (mut client, mut server, relay) = scene();
        tokio::time::sleep(100 * HALF_CLOSED_SILENCE).await;
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut question = Vec::new();
        server.read_to_end(&mut question).await.unwrap();
        assert_eq!(question, b"question");
        for _ in 0..3 {
            tokio::time::sleep(HALF_CLOSED_SILENCE.mul_f64(0.999)).await;
            server.write_all(b"a").await.unwrap();
            assert_eq!(client.read_u8().await.unwrap(), b'a', "words keep the other half open");
        }
        let start = Instant::now();
        assert_eq!(relay.await.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(start.elapsed(), HALF_CLOSED_SILENCE);
    }

    #[tokio::test]
    async fn both_ends_make_an_end() {
        let (mut client, mut server, relay) = scene();
        server.shutdown().await.unwrap();
        client.write_all(b"late").await.unwrap();
        client.shutdown().await.unwrap();
        let mut late = Vec::new();
        server.read_to_end(&mut late).await.unwrap();
        assert_eq!(late, b"late");
        relay.await.unwrap().unwrap();
    }
}
