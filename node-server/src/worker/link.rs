//! What the server and a worker say to each other over their Unix socket.
//!
//! ```text
//! message = u32 head length (LE) | u32 tail length (LE) | head: JSON | tail: bytes (a picture, an object; often empty)
//! ```
//! Both ends are the same binary; neither trusts the other's lengths.

use cbrowse_protocol::{
    api::{SessionRequest, SessionState},
    id::{NodeId, ProfileId, SessionId},
    wire::{ClientMessage, MAX_MEDIA_LENGTH, NodeMessage},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    sync::mpsc,
};

/// Longest head in bytes: a session request with its sealed grant and many tabs.
const MAX_HEAD: usize = 4 * 1024 * 1024;
/// Longest tail in bytes.
const MAX_TAIL: usize = MAX_MEDIA_LENGTH;
/// Messages that may wait to be written; the sender then waits, frames excepted (see [`Outbox::offer`]).
pub const QUEUE: usize = 64;

/// Names one attached client of a session.
pub type Viewer = u64;

/// From the server to the worker.
#[derive(Debug, Serialize, Deserialize)]
pub enum Order {
    /// The session begins.
    Start(Box<Start>),
    /// A client is there; pictures are wanted.
    Attach(Viewer),
    /// It is gone.
    Detach(Viewer),
    /// What a client said; its role has been checked.
    Client(Viewer, ClientMessage),
    /// Some client took this frame: Chromium may draw more.
    Taken(u32),
    /// End, and save if so asked.
    Close {
        /// Keep what changed.
        save: bool,
        /// In words for a person.
        reason: String,
    },
    /// Answers [`Report::Ask`]; an object is the tail.
    Answer {
        /// The question's number.
        id: u64,
        /// Which of the names are missing.
        missing: Vec<String>,
        /// Why there is no answer.
        error: Option<String>,
    },
}

/// What a worker needs to begin.
#[derive(Debug, Serialize, Deserialize)]
pub struct Start {
    /// The session.
    pub session: SessionId,
    /// The node.
    pub node: NodeId,
    /// Version of the node's Chromium.
    pub browser_version: String,
    /// What the client asked for; the server has checked addresses and sizes.
    pub request: SessionRequest,
    /// Seconds since the Unix epoch.
    pub now: u64,
}

/// From the worker to the server.
#[derive(Debug, Serialize, Deserialize)]
pub enum Report {
    /// The room stands; grants may be sealed to this X25519 public key.
    Ready {
        /// 32 bytes.
        session_key: Vec<u8>,
    },
    /// The room cannot be made; the worker ends.
    Unfit(String),
    /// The session changed state.
    State(SessionState, String),
    /// For one client, or all.
    Say(Option<Viewer>, NodeMessage),
    /// Active tab's address and title changed.
    Page {
        /// Address.
        url: String,
        /// Title, a stranger's text.
        title: String,
    },
    /// A media message for all (tail).
    Frame(u32),
    /// A media message for one client (tail).
    Media(Viewer),
    /// Something about the profile's objects.
    Ask(u64, Question),
    /// A signed save (tail) that the user's machine should take.
    Proposal {
        /// Of which profile.
        profile: ProfileId,
    },
    /// Last message.
    Closed {
        /// In words for a person.
        reason: String,
        /// Ended with an error.
        failed: bool,
    },
}

/// A worker's question to the node's object store.
#[derive(Debug, Serialize, Deserialize)]
pub enum Question {
    /// Which of these are missing?
    Missing(Vec<String>),
    /// Give me this one.
    Get(String),
    /// Keep this one (tail).
    Put(String),
}

/// A head and its tail.
#[derive(Debug)]
pub struct Message<T> {
    /// The JSON part.
    pub head: T,
    /// The bytes part.
    pub tail: Vec<u8>,
}

/// Why the link is no more.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The socket failed or the other side closed it.
    #[error("the link closed: {0}")]
    Closed(#[from] std::io::Error),
    /// A length over its limit.
    #[error("a message of {head} + {tail} bytes is over the link's limits")]
    TooLong {
        /// Head length in bytes.
        head: usize,
        /// Tail length in bytes.
        tail: usize,
    },
    /// Not our JSON.
    #[error("a message could not be read: {0}")]
    Garbled(#[from] serde_json::Error),
}

/// Reads the next message. Not cancel safe: give each socket one reader task.
pub async fn read<T: DeserializeOwned>(
    socket: &mut (impl AsyncRead + Unpin),
) -> Result<Message<T>, LinkError> {
    let head = socket.read_u32_le().await? as usize;
    let tail = socket.read_u32_le().await? as usize;
    if head > MAX_HEAD || tail > MAX_TAIL {
        return Err(LinkError::TooLong { head, tail });
    }
    let mut bytes = vec![0; head];
    socket.read_exact(&mut bytes).await?;
    let mut rest = vec![0; tail];
    socket.read_exact(&mut rest).await?;
    Ok(Message { head: serde_json::from_slice(&bytes)?, tail: rest })
}

/// Encodes one message.
pub(super) fn encode<T: Serialize>(head: &T, tail: &[u8]) -> Vec<u8> {
    let head = serde_json::to_vec(head).expect("link messages serialize");
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("limits are below 4 GiB").to_le_bytes();
    [&length(&head), &length(tail), &head[..], tail].concat()
}

/// The sending half: a bounded queue in front of one writer task.
pub struct Outbox<T> {
    queue: mpsc::Sender<Vec<u8>>,
    kind: std::marker::PhantomData<fn(T)>,
}

impl<T> Clone for Outbox<T> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), kind: self.kind }
    }
}

impl<T: Serialize> Outbox<T> {
    /// The queue, and the task's future that empties it into `socket` until all senders are gone.
    pub fn new(mut socket: impl AsyncWrite + Unpin) -> (Self, impl Future<Output = ()>) {
        let (queue, mut messages) = mpsc::channel::<Vec<u8>>(QUEUE);
        let pump = async move {
            while let Some(message) = messages.recv().await {
                if socket.write_all(&message).await.is_err() {
                    return;
                }
            }
            let _ = socket.shutdown().await;
        };
        (Self { queue, kind: std::marker::PhantomData }, pump)
    }

    /// Waits for room; `false` when the other side is gone.
    pub async fn send(&self, head: &T, tail: &[u8]) -> bool {
        self.queue.send(encode(head, tail)).await.is_ok()
    }

    /// Sends only if there is room: for pictures, which a newer one replaces.
    pub fn offer(&self, head: &T, tail: &[u8]) -> bool {
        match self.queue.try_reserve() {
            Ok(room) => {
                room.send(encode(head, tail));
                true
            }
            Err(_) => false,
        }
    }

    /// Like [`Outbox::send`], from a blocking thread.
    pub fn send_blocking(&self, head: &T, tail: &[u8]) -> bool {
        self.queue.blocking_send(encode(head, tail)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_cross_whole_and_lies_about_length_do_not() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 20);
        let (outbox, pump) = Outbox::new(ours);
        let sent = outbox.send(&Report::Frame(7), b"jpeg");
        assert!(sent.await);
        drop(outbox);
        pump.await;
        let message: Message<Report> = read(&mut theirs).await.expect("the message sent");
        assert!(matches!(message.head, Report::Frame(7)));
        assert_eq!(message.tail, b"jpeg");
        assert!(matches!(read::<Report>(&mut theirs).await, Err(LinkError::Closed(_))));

        let lie = [&u32::MAX.to_le_bytes()[..], &[0; 4]].concat();
        assert!(matches!(read::<Report>(&mut &lie[..]).await, Err(LinkError::TooLong { .. })));
    }
}
