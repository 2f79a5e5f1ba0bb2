//! The node's own pages, answered in this process at the other end of a socket pair.

use std::{io, os::fd::OwnedFd, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::UnixStream;

use crate::pages::Pages;

/// How long a connection may wait for its next request. It holds a descriptor and a few kilobytes of the server.
const IDLE_DEADLINE: Duration = Duration::from_secs(30);
/// Most bytes of a request's head; the worker's user chooses them.
const MAX_HEAD: usize = 16 * 1024;

/// Which pages a connection sees.
#[derive(Debug, Clone)]
pub(crate) enum Site {
    /// The start page and its neighbours.
    Start,
    /// A word about a destination that is refused.
    Refused,
}

/// Makes a connected stream socket, and the future that answers on it until it closes.
pub(crate) fn serve(pages: Arc<Pages>, site: Site) -> io::Result<(OwnedFd, BoxFuture<'static, ()>)> {
    let (ours, theirs) = UnixStream::pair()?;
    let theirs = theirs.into_std()?.into();
    let answer = service_fn(move |request: hyper::Request<Incoming>| {
        let response = match site {
            Site::Start => pages.respond(&request),
            Site::Refused => pages.refuse(),
        };
        async move { Ok::<_, std::convert::Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_DEADLINE)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(ours), answer);
    let future = Box::pin(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to the node's own pages ended");
        }
    });
    Ok((theirs, future))
}
