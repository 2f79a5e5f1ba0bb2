//! The listener: TLS 1.3, HTTP/1.1 and for gRPC HTTP/2, bounded connections, and an end that lets answers finish.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, response::Response};
use hyper::{
    Request,
    body::Incoming,
    service::{Service as HyperService, service_fn},
};
#[cfg(feature = "grpc-health")]
use hyper_util::rt::TokioExecutor;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
#[cfg(feature = "grpc-health")]
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    time::timeout,
};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;

use crate::{
    limiter::{Crowd, Place},
    peer::{Connection, Prefix},
};

/// Connections that may wait to be accepted; the kernel caps it by `net.core.somaxconn`. Fewer: when hundreds of clients
/// probe in the same millisecond, the kernel drops what does not fit, and this node looks dead or a second away.
const BACKLOG: u32 = 4096;
/// Open connections at once; a node serves tens of sessions, and the rest are probes.
const MAX_CONNECTIONS: usize = 4096;
/// Of those, the ones of one address (IPv4) or network (IPv6), attached sockets apart. More: one client that opens many and
/// says nothing keeps the others out; fewer: an office behind one address does.
const MAX_CONNECTIONS_OF_ONE: u32 = 512;
/// Of those in turn, the ones that shake hands. A handshake is what costs a node most of all that it does for strangers.
const MAX_HANDSHAKES_OF_ONE: u32 = 64;
/// Of those, the ones that speak HTTP/2. They may be silent for as long as they live, so that a client which opens many
/// must not use up what the others need.
#[cfg(feature = "grpc-health")]
const MAX_HTTP2_CONNECTIONS: usize = 256;
/// A connection of that kind is ended after this long, watches on it included; clients connect again by themselves.
/// Longer: whoever only holds connections holds them for as long; shorter: more handshakes.
#[cfg(feature = "grpc-health")]
const MAX_HTTP2_AGE: Duration = Duration::from_secs(600);
/// Requests at once on one of those: a health checker has one, or a few services to watch.
#[cfg(feature = "grpc-health")]
const MAX_STREAMS: u32 = 16;
/// A token, a proof and the rest fit into a few KiB.
#[cfg(feature = "grpc-health")]
const MAX_HEADERS_LENGTH: u32 = 16 * 1024;
/// A TLS handshake takes two round trips.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// A request's head arrives at once or not at all.
const HEADER_DEADLINE: Duration = Duration::from_secs(20);
/// Pause when the kernel has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Answers under way at the end get this long.
const FINISH_DEADLINE: Duration = Duration::from_secs(2);

/// Listens on `address`. Needs a tokio runtime.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A node that starts again must not wait for the connections of its former life.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Accepts until `stop`, then lets open connections finish briefly.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    router: Router,
    stop: CancellationToken,
) {
    let desk = Desk {
        acceptor: TlsAcceptor::from(tls),
        router,
        stop: stop.clone(),
        connected: Crowd::new(MAX_CONNECTIONS_OF_ONE),
        shaking: Crowd::new(MAX_HANDSHAKES_OF_ONE),
        #[cfg(feature = "grpc-health")]
        http2: Arc::new(Semaphore::new(MAX_HTTP2_CONNECTIONS)),
    };
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => continue,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("accept a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Over the limit a connection is dropped at once: a probe then sees a node that is too busy.
        let Ok(permit) = permits.clone().try_acquire_owned() else { continue };
        let Some(place) = desk.connected.enter(Prefix::of(peer)) else { continue };
        let Some(shaking) = desk.shaking.enter(Prefix::of(peer)) else { continue };
        let desk = desk.clone();
        connections.spawn(async move {
            desk.serve(socket, peer, shaking).await;
            drop((permit, place));
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(FINISH_DEADLINE, async { while connections.join_next().await.is_some() {} })
        .await;
}

/// What every connection is served with.
#[derive(Clone)]
struct Desk {
    acceptor: TlsAcceptor,
    router: Router,
    stop: CancellationToken,
    connected: Crowd,
    shaking: Crowd,
    #[cfg(feature = "grpc-health")]
    http2: Arc<Semaphore>,
}

impl Desk {
    async fn serve(self, socket: TcpStream, peer: SocketAddr, shaking: Place) {
        let _ = socket.set_nodelay(true);
        let handshake = tokio::time::timeout(HANDSHAKE_DEADLINE, self.acceptor.accept(socket)).await;
        drop(shaking);
        let Ok(Ok(stream)) = handshake else { return };
        #[cfg(feature = "grpc-health")]
        if stream.get_ref().1.alpn_protocol() == Some(crate::tls::HTTP2) {
            return self.serve_http2(stream, peer).await;
        }
        self.serve_http1(stream, peer).await;
    }

    async fn serve_http1(self, stream: TlsStream<TcpStream>, peer: SocketAddr) {
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEADER_DEADLINE);
        let service = on_connection(self.router, peer);
        let connection = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            _ = connection.as_mut() => {}
            () = self.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                let _ = connection.await;
            }
        }
    }

    #[cfg(feature = "grpc-health")]
    async fn serve_http2(self, stream: TlsStream<TcpStream>, peer: SocketAddr) {
        let Ok(_permit) = self.http2.try_acquire() else { return };
        let mut stream = BufReader::new(stream);
        // The library waits for the first bytes without end.
        if !matches!(timeout(HEADER_DEADLINE, stream.fill_buf()).await, Ok(Ok([_, ..]))) {
            return;
        }
        let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEADERS_LENGTH)
            .keep_alive_interval(HEADER_DEADLINE)
            .keep_alive_timeout(HEADER_DEADLINE);
        let service = on_connection(self.router, peer);
        let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
        tokio::select! {
            _ = connection.as_mut() => return,
            () = self.stop.cancelled() => {}
            () = tokio::time::sleep(MAX_HTTP2_AGE) => {}
        }
        connection.as_mut().graceful_shutdown();
        // A watch has no end of its own.
        let _ = timeout(FINISH_DEADLINE, connection).await;
    }
}

/// Tells every request on which connection it came; the connection is over when this is dropped.
fn on_connection(
    router: Router,
    peer: SocketAddr,
) -> impl HyperService<
    Request<Incoming>,
    Response = Response,
    Error = Infallible,
    Future = impl Future<Output = Result<Response, Infallible>> + Send + 'static,
> + Send
+ 'static {
    let (service, connection) = (TowerToHyperService::new(router), Arc::new(Connection { peer }));
    service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(connection.clone());
        service.call(request)
    })
}

#[cfg(test)]
mod tests;
