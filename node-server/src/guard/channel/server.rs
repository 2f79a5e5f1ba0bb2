//! The server's end: reads a session's requests, opens what the guard permits, hands the sockets over.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};

use super::{
    ChannelError, Outcome,
    message::{Answer, MAX_MESSAGE, Open},
    socket::{Buffer, Socket, is_end},
};
use crate::guard::{Guard, Opened, Refusal};

/// Connections one session may have in the making. Past it, requests wait in the socket, and then in the worker.
/// Fewer delays pages that load from many hosts; each costs the server a descriptor and perhaps a resolver's thread.
const OPENING_AT_ONCE: usize = 64;
/// Connections to the node's own pages one session may hold. Unlike all others, they stay in the server.
const PAGES_AT_ONCE: usize = 16;

/// The server's end of one session's channel. It owns everything that it starts: dropping the future of
/// [`ServerEnd::run`] abandons every attempt and closes every page. Connections handed over live on in the worker.
#[derive(Debug)]
pub struct ServerEnd {
    socket: Socket,
}

impl ServerEnd {
    /// Takes one end of a [`super::pair`]. Must be called within a tokio runtime.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        Ok(Self { socket: Socket::new(socket)? })
    }

    /// Serves until the worker closes its end (`Ok`), or breaks the format.
    pub async fn run(self, guard: Arc<Guard>) -> Result<(), ChannelError> {
        let session =
            Arc::new(Session { socket: self.socket, guard, pages: Arc::new(Semaphore::new(PAGES_AT_ONCE)) });
        let opening = Arc::new(Semaphore::new(OPENING_AT_ONCE));
        let mut tasks = JoinSet::new();
        loop {
            let next = async {
                let permit = Arc::clone(&opening).acquire_owned().await.map_err(io::Error::other)?;
                Ok::<_, ChannelError>((permit, session.next().await?))
            };
            tokio::select! {
                Some(ended) = tasks.join_next() => report(ended),
                next = next => match next? {
                    (permit, Some(open)) => {
                        tasks.spawn(Arc::clone(&session).serve(open, permit));
                    }
                    (_, None) => return Ok(()),
                },
            }
        }
    }
}

struct Session {
    socket: Socket,
    guard: Arc<Guard>,
    pages: Arc<Semaphore>,
}

impl Session {
    async fn next(&self) -> Result<Option<Open>, ChannelError> {
        let mut buffer: Buffer = [0; MAX_MESSAGE + 1];
        let received = match self.socket.receive(&mut buffer).await {
            Ok(received) => received,
            Err(error) if is_end(&error) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if received.truncated {
            return Err(ChannelError::Malformed);
        }
        if received.length == 0 {
            return Ok(None);
        }
        Open::decode(&buffer[..received.length]).map(Some).ok_or(ChannelError::Malformed)
    }

    async fn serve(self: Arc<Self>, open: Open, permit: OwnedSemaphorePermit) -> Result<(), ChannelError> {
        let opened = self.open(&open).await;
        let outcome = opened.as_ref().map_or_else(|refusal| (*refusal).into(), |_| Outcome::Opened);
        let answer = Answer { id: open.id, outcome }.encode();
        let socket = opened.as_ref().ok().map(|(opened, _)| opened.socket.as_fd());
        match self.socket.send(&answer, socket).await {
            Err(error) if !is_end(&error) => return Err(error.into()),
            _ => drop(permit),
        }
        if let Ok((Opened { socket, service: Some(service) }, _page)) = opened {
            // Ours must close, or the worker's closing its own would not be noticed.
            drop(socket);
            service.await;
        }
        Ok(())
    }

    /// Opens, and takes one of the session's page places where the node itself answers.
    async fn open(&self, open: &Open) -> Result<(Opened, Option<OwnedSemaphorePermit>), Refusal> {
        let opened = self.guard.open(&open.host, open.port).await?;
        let page = match opened.service {
            Some(_) => Some(Arc::clone(&self.pages).try_acquire_owned().map_err(|_| Refusal::Busy)?),
            None => None,
        };
        Ok((opened, page))
    }
}

fn report(ended: Result<Result<(), ChannelError>, tokio::task::JoinError>) {
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "an answer to a worker was lost"),
        Err(error) => tracing::error!(%error, "a request for a connection ended badly"),
    }
}
