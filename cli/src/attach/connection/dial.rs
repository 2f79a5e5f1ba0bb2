//! From a name to a TLS stream whose other end has an identity.

use std::{net::SocketAddr, sync::Arc};

use cbrowse_protocol::identity::IdentityKey;
use rustls::pki_types::{ServerName, UnixTime};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    super::verifier::{IdentityError, client_config, identity_of},
    ConnectionError, late,
};

/// Tries the addresses of a name one after another; each gets an equal share of the time that is left.
pub(super) async fn dial(
    host: &str,
    port: u16,
    endpoint: &str,
    until: Instant,
) -> Result<TcpStream, ConnectionError> {
    let found = tokio::net::lookup_host((host, port)).await;
    let addresses: Vec<_> =
        found.map_err(|source| ConnectionError::Resolve { host: host.to_owned(), source })?.collect();
    let refused = |source| ConnectionError::Connect { endpoint: endpoint.to_owned(), source };
    let mut last = refused(std::io::ErrorKind::AddrNotAvailable.into());
    for (index, address) in addresses.iter().enumerate() {
        let left = until.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
        match timeout_at(Instant::now() + share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(source)) => last = refused(source),
            Err(_) => last = late(endpoint, "accept a connection", share),
        }
    }
    Err(last)
}

/// Shakes hands and tells whose hand it was.
pub(super) async fn shake(
    stream: TcpStream,
    host: &str,
    peer: SocketAddr,
    endpoint: &str,
) -> Result<(TlsStream<TcpStream>, IdentityKey), ConnectionError> {
    // The name is for fronts that route by it; the certificate is not compared with it.
    let name = ServerName::try_from(host.to_owned()).unwrap_or_else(|_| peer.ip().into());
    let connected = TlsConnector::from(client_config()).connect(name, stream).await;
    let stream = connected.map_err(|source| tls_error(endpoint, source))?;
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let identity = identity_of(chain, UnixTime::now())
        .map_err(|source| ConnectionError::Identity { endpoint: endpoint.to_owned(), source })?;
    Ok((stream, identity))
}

/// The verifier's own reason, where it was the verifier that refused.
fn tls_error(endpoint: &str, source: std::io::Error) -> ConnectionError {
    let endpoint = endpoint.to_owned();
    let inner = source.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    if let Some(rustls::Error::InvalidCertificate(rustls::CertificateError::Other(other))) = inner
        && let Some(identity) = Arc::clone(&other.0).downcast_ref::<IdentityError>()
    {
        return ConnectionError::Identity { endpoint, source: identity.clone() };
    }
    ConnectionError::Tls { endpoint, source }
}
