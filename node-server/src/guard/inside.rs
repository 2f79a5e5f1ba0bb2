//! The node's own pages, answered in this process at the other end of a socket pair.

use std::{io, os::fd::OwnedFd, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::UnixStream;

use crate::pages::Pages;

/// How long a connection may wait for its request: browsers connect ahead. Longer lets idle ones take the places of
/// those in use; shorter costs a page on a busy machine another connection.
const REQUEST_DEADLINE: Duration = Duration::from_secs(10);
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

/// Makes a connected stream socket, and the future that answers one request on it.
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
        // A session has few places for these connections; none waits in one for a request that may never come.
        .keep_alive(false)
        .header_read_timeout(REQUEST_DEADLINE)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(ours), answer);
    let future = Box::pin(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to the node's own pages ended");
        }
    });
    Ok((theirs, future))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::pages::NodeFacts;

    async fn answer(request: &[u8]) -> String {
        let facts = NodeFacts { node: "n".into(), region: "r".into(), browser: "b".into() };
        let (socket, service) = serve(Arc::new(Pages::new(&facts)), Site::Start).unwrap();
        let mut stream = UnixStream::from_std(socket.into()).unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        // Where the request was not read to its end, a reset follows the answer.
        let ((), _end) = tokio::join!(service, stream.read_to_end(&mut answer));
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_ends_after_its_answer_or_for_want_of_a_request() {
        let two = b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n";
        let text = answer(two).await;
        assert_eq!(text.matches("HTTP/1.1 200").count(), 1);
        assert!(text.contains("connection: close"));
        let start = tokio::time::Instant::now();
        assert_eq!(answer(b"").await, "");
        assert!(start.elapsed() >= REQUEST_DEADLINE);
        answer(b"GET / HT").await;
        assert!(start.elapsed() >= 2 * REQUEST_DEADLINE, "half a request counts as none");
    }

    #[tokio::test]
    async fn endless_heads_are_cut() {
        let long = [b"GET / HTTP/1.1\r\nX: ".as_slice(), &vec![b'a'; 2 * MAX_HEAD]].concat();
        assert!(answer(&long).await.starts_with("HTTP/1.1 431"));
    }
}
