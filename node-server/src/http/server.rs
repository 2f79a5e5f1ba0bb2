//! The listener: TLS 1.3, HTTP/1.1, bounded connections, and an end that lets answers finish.

use std::{sync::Arc, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// Open connections at once; a node serves tens of sessions, and the rest are probes.
const MAX_CONNECTIONS: usize = 4096;
/// A TLS handshake takes two round trips.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// A request's head arrives at once or not at all.
const HEADER_DEADLINE: Duration = Duration::from_secs(20);
/// Pause when the kernel has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Answers under way at the end get this long.
const FINISH_DEADLINE: Duration = Duration::from_secs(2);

/// Accepts until `stop`, then lets open connections finish briefly.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    router: Router,
    stop: CancellationToken,
) {
    let acceptor = TlsAcceptor::from(tls);
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => continue,
        };
        let socket = match accepted {
            Ok((socket, _)) => socket,
            Err(error) => {
                tracing::warn!("accept a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Over the limit a connection is dropped at once: a probe then sees a node that is too busy.
        let Ok(permit) = permits.clone().try_acquire_owned() else { continue };
        let (acceptor, router, stop) = (acceptor.clone(), router.clone(), stop.clone());
        connections.spawn(async move {
            serve_connection(socket, acceptor, router, stop).await;
            drop(permit);
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(FINISH_DEADLINE, async { while connections.join_next().await.is_some() {} })
        .await;
}

async fn serve_connection(socket: TcpStream, acceptor: TlsAcceptor, router: Router, stop: CancellationToken) {
    let _ = socket.set_nodelay(true);
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_DEADLINE, acceptor.accept(socket)).await else {
        return;
    };
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_DEADLINE);
    let service = TowerToHyperService::new(router);
    let connection = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => {}
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}
