//! Asking a running Chromium for another profile, as a second start of the same browser would: by its singleton socket.
//!
//! ```text
//! asked:    "START", 0, working directory, 0, argument 0, 0, argument 1, ...; then our half of the stream ends
//! answered: "ACK" when it takes the words over; "SHUTDOWN" when it is about to end
//! ```
//! The socket lies in the session's own room: nobody but the worker and the browser itself reaches it.

use std::{path::Path, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
};

/// The link to the socket in a data directory.
const SOCKET: &str = "SingletonSocket";
const TAKEN: &[u8] = b"ACK";
/// Longest answer that means anything.
const MAX_ANSWER: u64 = 64;
/// A browser that takes orders has its socket; one that has just started makes it within milliseconds, a loaded machine
/// within seconds. Longer than this, it hangs.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks for the socket.
const PAUSE: Duration = Duration::from_millis(5);

/// Why the browser did not take it.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// No socket, or nobody behind it.
    #[error("reach the running browser: {0}")]
    Unreachable(#[from] std::io::Error),
    /// It answered something else.
    #[error("the running browser refused to load the profile: it said {0:?}")]
    Refused(String),
    /// It answered nothing.
    #[error("the running browser did not answer within {} s", PATIENCE.as_secs())]
    Silent,
}

/// Makes the browser with this data directory load the profile directory `name` inside it, in a window with the tabs that
/// the profile had open, or with an empty one. Returns when it has agreed to, before anything is loaded.
pub async fn load_profile(data: &Path, name: &str) -> Result<(), LoadError> {
    tokio::time::timeout(PATIENCE, ask(data, name)).await.map_err(|_| LoadError::Silent)?
}

async fn ask(data: &Path, name: &str) -> Result<(), LoadError> {
    let mut socket = loop {
        match UnixStream::connect(data.join(SOCKET)).await {
            Ok(socket) => break socket,
            // It comes to be while the browser starts.
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    };
    socket.write_all(&message(name)).await?;
    socket.shutdown().await?;
    let mut answer = Vec::new();
    socket.take(MAX_ANSWER).read_to_end(&mut answer).await?;
    if answer == TAKEN {
        return Ok(());
    }
    Err(LoadError::Refused(cbrowse_protocol::node::printable(&String::from_utf8_lossy(&answer), 64)))
}

fn message(name: &str) -> Vec<u8> {
    ["START", "/", "chromium", &format!("--profile-directory={name}")].join("\0").into_bytes()
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    /// A browser's end of the socket: what it was asked, and `answer` in return.
    async fn asked(answer: &'static [u8]) -> (Vec<u8>, Result<(), LoadError>) {
        let directory = tempfile::tempdir().expect("a directory");
        let listener = UnixListener::bind(directory.path().join(SOCKET)).expect("a socket");
        let browser = async {
            let (mut stream, _) = listener.accept().await.expect("somebody asks");
            let mut words = Vec::new();
            stream.read_to_end(&mut words).await.expect("words");
            stream.write_all(answer).await.expect("an answer");
            words
        };
        tokio::join!(browser, load_profile(directory.path(), "Default"))
    }

    #[tokio::test]
    async fn a_running_browser_is_asked_as_a_second_start_would_ask_it() {
        let (words, outcome) = asked(b"ACK").await;
        assert_eq!(words, b"START\0/\0chromium\0--profile-directory=Default");
        outcome.expect("it agreed");
        let (_, outcome) = asked(b"SHUTDOWN").await;
        assert!(outcome.expect_err("it ends").to_string().contains("SHUTDOWN"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_browser_without_a_socket_is_given_up() {
        let directory = tempfile::tempdir().expect("a directory");
        assert!(matches!(load_profile(directory.path(), "Default").await, Err(LoadError::Silent)));
    }
}
