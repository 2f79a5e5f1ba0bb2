//! The client behind a registry's HTTP: whose certificates it believes, and which it shows.

use std::time::Duration;

use reqwest::{Certificate, Client, Identity, redirect};

use super::CONNECT_DEADLINE;
use crate::{
    environment::Named,
    error::{Cause, root_cause},
};

/// Largest token file or certificate bundle in bytes that is read.
const MAX_FILE_LENGTH: u64 = 4 << 20;
/// How soon a connection is asked whether the other end still exists, and how often. A registry that vanished without
/// a farewell is noticed within a minute. Shorter: traffic on every idle watch.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// Unanswered questions of that kind that end a connection.
const KEEPALIVE_RETRIES: u32 = 2;

/// TLS settings, each with the variable it came from.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tls<'a> {
    /// HTTPS rather than HTTP; without it nothing below is read.
    pub(crate) is_on: bool,
    /// PEM bundle of the authorities to believe, instead of the machine's.
    pub(crate) authority: Option<Named<'a>>,
    /// The client's own certificate chain, PEM.
    pub(crate) certificate: Option<Named<'a>>,
    /// Its key, PEM.
    pub(crate) key: Option<Named<'a>>,
    /// The variable that says to believe anybody.
    pub(crate) unverified: Option<&'static str>,
}

pub(super) fn client(tls: &Tls<'_>, warnings: &mut Vec<String>) -> Result<Client, Cause> {
    let mut builder = Client::builder()
        .redirect(redirect::Policy::none())
        .no_proxy()
        .referer(false)
        .connect_timeout(CONNECT_DEADLINE)
        .tcp_keepalive(KEEPALIVE)
        .tcp_keepalive_interval(KEEPALIVE)
        .tcp_keepalive_retries(KEEPALIVE_RETRIES)
        .user_agent(concat!("cbrowse/", env!("CARGO_PKG_VERSION")));
    if !tls.is_on {
        // Without TLS there is no need to read the machine's certificates, nor to fail where it has none.
        builder = builder.tls_certs_only([]);
    } else if let Some(authority) = tls.authority {
        builder = builder.tls_certs_only(authorities(authority)?);
    }
    if let (true, Some(variable)) = (tls.is_on, tls.unverified) {
        warnings.push(format!("{variable}: whoever answers is believed to be the registry"));
        builder = builder.tls_danger_accept_invalid_certs(true);
    }
    if tls.is_on {
        builder = match (tls.certificate, tls.key) {
            (Some(certificate), Some(key)) => builder.identity(identity(certificate, key)?),
            (None, None) => builder,
            (Some(lonely), None) | (None, Some(lonely)) => {
                return Err(Cause::Settings(format!(
                    "{} is set, and its counterpart is not: a client certificate needs its key",
                    lonely.variable
                )));
            }
        };
    }
    builder.build().map_err(|error| Cause::Settings(format!("TLS cannot be set up ({})", root_cause(&error))))
}

fn authorities(named: Named<'_>) -> Result<Vec<Certificate>, Cause> {
    let bundle = Certificate::from_pem_bundle(&file(named)?);
    let bundle = bundle.ok().filter(|certificates| !certificates.is_empty());
    bundle.ok_or_else(|| {
        Cause::Settings(format!("{} {:?} holds no PEM certificate", named.variable, named.value))
    })
}

fn identity(certificate: Named<'_>, key: Named<'_>) -> Result<Identity, Cause> {
    let mut pem = file(certificate)?;
    pem.push(b'\n');
    pem.extend(file(key)?);
    // The library's error could repeat what it read.
    Identity::from_pem(&pem).map_err(|_| {
        Cause::Settings(format!(
            "{} {:?} and {} {:?} are not a PEM certificate and its key",
            certificate.variable, certificate.value, key.variable, key.value
        ))
    })
}

/// The file that a variable names.
pub(crate) fn file(named: Named<'_>) -> Result<Vec<u8>, Cause> {
    let Named { variable, value } = named;
    let wrong = |what: String| Cause::Settings(format!("{variable} {value:?} cannot be read ({what})"));
    let length = std::fs::metadata(value).map_err(|error| wrong(error.to_string()))?.len();
    if length > MAX_FILE_LENGTH {
        return Err(wrong(format!("{length} bytes; {MAX_FILE_LENGTH} are allowed")));
    }
    std::fs::read(value).map_err(|error| wrong(error.to_string()))
}
