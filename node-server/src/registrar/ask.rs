//! One check of one node, over the network, within a deadline.

#[cfg(feature = "grpc-health")]
mod grpc;

use std::{io, time::Duration};

use bytes::Bytes;
use cbrowse_protocol::node::Health;
use http::{Request, StatusCode, header};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinSet,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{CheckKind, Target, verifier};

/// What checks call themselves in servers' logs.
const USER_AGENT: &str = concat!("cbrowse-node/", env!("CARGO_PKG_VERSION"), " registrar");

/// What a check found, with words for the log.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) health: Health,
    pub(super) words: String,
}

/// Why a check did not come to an answer.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error("no connection ({0})")]
    Connect(#[source] io::Error),
    #[error("no TLS ({0})")]
    Tls(#[source] io::Error),
    #[error("no TLS ({0})")]
    Settings(#[from] rustls::Error),
    #[error("{0:?} is no name that TLS knows")]
    Name(String),
    #[error("no HTTP ({0})")]
    Http(#[from] hyper::Error),
    #[error("no request can be made of it ({0})")]
    Request(#[from] http::Error),
    #[cfg(feature = "grpc-health")]
    #[error("no gRPC ({0})")]
    Grpc(String),
}

/// Asks; a failure is a finding, too.
pub(super) async fn ask(target: &Target, deadline: Duration) -> Finding {
    let critical = |words| Finding { health: Health::Critical, words };
    match tokio::time::timeout(deadline, answer(target)).await {
        Ok(Ok(finding)) => finding,
        Ok(Err(error)) => critical(error.to_string()),
        Err(_) => critical(format!("no answer within {} s", deadline.as_secs_f64())),
    }
}

async fn answer(target: &Target) -> Result<Finding, AskError> {
    let record = &target.record;
    let socket =
        TcpStream::connect((record.address.as_str(), record.port)).await.map_err(AskError::Connect)?;
    match target.check {
        CheckKind::Tcp | CheckKind::None => {
            Ok(Finding { health: Health::Passing, words: "takes connections".into() })
        }
        CheckKind::Http => http(target, socket).await,
        CheckKind::Https => http(target, tls(target, socket, b"http/1.1").await?).await,
        #[cfg(feature = "grpc-health")]
        CheckKind::Grpc => grpc::ask(target, tls(target, socket, b"h2").await?).await,
        #[cfg(not(feature = "grpc-health"))]
        CheckKind::Grpc => unreachable!("no target is made with it"),
    }
}

async fn tls(target: &Target, socket: TcpStream, protocol: &[u8]) -> Result<TlsStream<TcpStream>, AskError> {
    let config = verifier::client_config(target.record.identity, protocol)?;
    let address = target.record.address.clone();
    let name = ServerName::try_from(address.clone()).map_err(|_| AskError::Name(address))?;
    TlsConnector::from(config).connect(name, socket).await.map_err(AskError::Tls)
}

async fn http<Stream>(target: &Target, stream: Stream) -> Result<Finding, AskError>
where
    Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let request = Request::get(&target.path)
        .header(header::HOST, target.record.endpoint())
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Ends with this function, whatever the other side does: the answer's body is nobody's business.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let status = sender.send_request(request).await?.status();
    Ok(Finding { health: health_of(status), words: format!("answers with status {}", status.as_u16()) })
}

/// As Consul reads it.
fn health_of(status: StatusCode) -> Health {
    match status {
        StatusCode::TOO_MANY_REQUESTS => Health::Warning,
        status if status.is_success() => Health::Passing,
        _ => Health::Critical,
    }
}

#[cfg(test)]
mod tests;
