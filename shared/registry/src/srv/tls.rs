//! DNS over TLS (RFC 7858): whose certificates are believed, and what to say when one is not.

use std::{io, net::SocketAddr, sync::Arc};

use hickory_resolver::net::tls::client_config;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::{
    environment::{Environment, Named},
    error::{Cause, TlsFault},
    http::file,
};

/// Names a PEM bundle of the authorities to believe, instead of the machine's.
const AUTHORITY: &str = "CBROWSE_DNS_CACERT";

/// The authorities that the environment names, or else the machine's.
pub(super) fn believing(environment: &Environment) -> Result<ClientConfig, Cause> {
    match environment.named(AUTHORITY) {
        Some(named) => with_roots(authorities(named)?),
        None => client_config().map_err(|error| {
            Cause::Settings(format!(
                "the machine's certificate authorities cannot be used ({error}); name one's file in {AUTHORITY}"
            ))
        }),
    }
}

/// For roads without TLS: the library wants one, and nothing is ever believed by it.
pub(super) fn unused() -> Result<ClientConfig, Cause> {
    with_roots(RootCertStore::empty())
}

fn with_roots(roots: RootCertStore) -> Result<ClientConfig, Cause> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Cause::Settings(format!("TLS cannot be set up ({error})")))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn authorities(named: Named<'_>) -> Result<RootCertStore, Cause> {
    let mut roots = RootCertStore::empty();
    let bundle = file(named)?;
    let certificates = CertificateDer::pem_slice_iter(&bundle).filter_map(Result::ok);
    roots.add_parsable_certificates(certificates);
    if roots.is_empty() {
        let Named { variable, value } = named;
        return Err(Cause::Settings(format!("{variable} {value:?} holds no PEM certificate")));
    }
    Ok(roots)
}

/// One server, to learn why it cannot be asked.
#[derive(Debug)]
pub(super) struct Server {
    address: SocketAddr,
    tls: Option<(ServerName<'static>, Arc<ClientConfig>)>,
}

impl Server {
    pub(super) fn plain(address: SocketAddr) -> Self {
        Self { address, tls: None }
    }

    pub(super) fn over_tls(address: SocketAddr, name: &str, mut config: ClientConfig) -> Result<Self, Cause> {
        let name = ServerName::try_from(name.to_owned())
            .map_err(|error| Cause::Settings(format!("{name:?} cannot stand in a certificate ({error})")))?;
        // As the resolver connects.
        config.enable_sni = false;
        Ok(Self { address, tls: Some((name, Arc::new(config))) })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connects, and agrees on TLS where that is asked for, without a question.
    pub(super) async fn connect(&self) -> io::Result<()> {
        let stream = TcpStream::connect(self.address).await?;
        if let Some((name, config)) = &self.tls {
            TlsConnector::from(config.clone()).connect(name.clone(), stream).await?;
        }
        Ok(())
    }
}

/// What TLS could not agree to, if that is what went wrong: it comes as an I/O error.
pub(super) fn refusal(error: &io::Error) -> Option<Cause> {
    let refusal = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    let (fault, told) = (TlsFault::of(refusal), TlsFault::told(refusal));
    let message = if fault == TlsFault::Name { format!("{told}; ?tls= says which to expect") } else { told };
    Some(Cause::Tls { message, authority: AUTHORITY, fault })
}
