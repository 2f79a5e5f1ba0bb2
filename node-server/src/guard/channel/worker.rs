//! The worker's end: many connections asked for at once, each answered with a socket or a reason.

use std::{
    collections::HashMap,
    io,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use tokio::{sync::oneshot, task::AbortHandle};
use tokio_util::sync::CancellationToken;

use super::{
    ChannelError, Outcome,
    message::{Answer, MAX_MESSAGE, Open, is_sendable},
    socket::{Buffer, Socket, is_end},
};

/// Why the worker got no connection.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The server's answer.
    #[error("the server opened no connection: {0:?}")]
    Refused(Outcome),
    /// The channel is gone, or ended before the answer came.
    #[error("the channel to the server ended")]
    Closed,
    /// The request could not be sent.
    #[error("ask the server for a connection")]
    Send(#[source] io::Error),
}

/// The worker's end of the channel. Dropping it closes the channel and fails what waits.
#[derive(Debug)]
pub struct WorkerEnd {
    shared: Arc<Shared>,
    reader: AbortHandle,
}

#[derive(Debug)]
struct Shared {
    socket: Socket,
    next: AtomicU32,
    waiting: Mutex<HashMap<u32, Waiter>>,
    closed: CancellationToken,
}

type Waiter = oneshot::Sender<Result<OwnedFd, Outcome>>;

impl WorkerEnd {
    /// Takes one end of a [`super::pair`]. Must be called within a tokio runtime.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            socket: Socket::new(socket)?,
            next: AtomicU32::new(0),
            waiting: Mutex::default(),
            closed: CancellationToken::new(),
        });
        let reader = tokio::spawn(Arc::clone(&shared).read()).abort_handle();
        Ok(Self { shared, reader })
    }

    /// Asks for a connected socket. Safe to cancel: an answer that comes too late is closed.
    pub async fn open(&self, host: &str, port: u16) -> Result<OwnedFd, OpenError> {
        if !is_sendable(host.as_bytes()) {
            return Err(OpenError::Refused(Outcome::Forbidden));
        }
        let (id, answer) = self.shared.enlist();
        let _place = Place { shared: &self.shared, id };
        let message = Open { id, port, host: host.to_owned() }.encode();
        self.shared.socket.send(&message, None).await.map_err(OpenError::Send)?;
        tokio::select! {
            answer = answer => answer.map_err(|_| OpenError::Closed)?.map_err(OpenError::Refused),
            () = self.shared.closed.cancelled() => Err(OpenError::Closed),
        }
    }

    /// Completes when the server's end is gone.
    pub async fn closed(&self) {
        self.shared.closed.cancelled().await;
    }
}

impl Drop for WorkerEnd {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, HashMap<u32, Waiter>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enlist(&self) -> (u32, oneshot::Receiver<Result<OwnedFd, Outcome>>) {
        let (sender, receiver) = oneshot::channel();
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.waiting().insert(id, sender);
        (id, receiver)
    }

    async fn read(self: Arc<Self>) {
        let end = self.closed.clone().drop_guard();
        if let Err(error) = self.deliver_all().await {
            tracing::error!(%error, "the channel to the server broke");
        }
        drop(end);
    }

    async fn deliver_all(&self) -> Result<(), ChannelError> {
        loop {
            let mut buffer: Buffer = [0; MAX_MESSAGE + 1];
            let received = match self.socket.receive_descriptor(&mut buffer).await {
                Ok(received) if received.truncated => return Err(ChannelError::Malformed),
                Ok(received) if received.length == 0 => return Ok(()),
                Ok(received) => received,
                Err(error) if is_end(&error) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let answer = Answer::decode(&buffer[..received.length]).ok_or(ChannelError::Malformed)?;
            self.deliver(answer, received.descriptor)?;
        }
    }

    fn deliver(&self, answer: Answer, descriptor: Option<OwnedFd>) -> Result<(), ChannelError> {
        let result = match (answer.outcome, descriptor) {
            (Outcome::Opened, Some(descriptor)) => Ok(descriptor),
            (Outcome::Opened, None) => return Err(ChannelError::Malformed),
            (outcome, _) => Err(outcome),
        };
        // Whoever asked may be gone; the descriptor then closes here.
        if let Some(waiter) = self.waiting().remove(&answer.id) {
            drop(waiter.send(result));
        }
        Ok(())
    }
}

/// A waiter's entry, gone with the waiter.
struct Place<'a> {
    shared: &'a Shared,
    id: u32,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.shared.waiting().remove(&self.id);
    }
}
