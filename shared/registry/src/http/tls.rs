//! The client behind a registry's HTTP: whose certificates it believes, and which it shows.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    time::Duration,
};

use reqwest::{
    Certificate, Client, ClientBuilder, Identity,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect,
};

use super::{CONNECT_DEADLINE, Road};
use crate::{
    environment::Named,
    error::{Cause, root_cause},
    uri::Authority,
};

/// Largest token file or certificate bundle in bytes that is read.
const MAX_FILE_LENGTH: u64 = 4 << 20;
/// Most files of a directory of certificates: the largest distributions ship some hundred authorities.
const MAX_FILES: usize = 2_000;
/// How soon a connection is asked whether the other end still exists, and how often. A registry that vanished without
/// a farewell is noticed within a minute. Shorter: traffic on every idle watch.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// Unanswered questions of that kind that end a connection.
const KEEPALIVE_RETRIES: u32 = 2;

/// TLS settings, each with the variable it came from.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tls<'a> {
    /// HTTPS rather than HTTP; without it no file below is read.
    pub(crate) is_on: bool,
    /// The authorities to believe, instead of the machine's: a PEM bundle, or a directory of PEM files.
    pub(crate) authority: Option<Named<'a>>,
    /// The client's own certificate chain, PEM.
    pub(crate) certificate: Option<Named<'a>>,
    /// Its key, PEM.
    pub(crate) key: Option<Named<'a>>,
    /// The variable that says to believe anybody.
    pub(crate) unverified: Option<&'static str>,
    /// The variable that holds what is to stay between us and the registry, if one does.
    pub(crate) secret: Option<&'static str>,
}

/// Where a client's connections lead.
#[derive(Debug)]
pub(super) enum Dial<'a> {
    /// To the host of the URL.
    Url,
    /// To a Unix socket.
    Socket(&'a Path),
    /// To this endpoint, whatever name the URL holds: the one that its certificate must hold.
    Endpoint(&'a Authority),
}

impl<'a> Dial<'a> {
    pub(super) fn of(road: Road<'a>, endpoint: Option<&'a Authority>) -> Self {
        match (road.socket, endpoint) {
            (Some(path), _) => Self::Socket(path),
            (None, Some(endpoint)) => Self::Endpoint(endpoint),
            (None, None) => Self::Url,
        }
    }

    fn apply(&self, builder: ClientBuilder) -> ClientBuilder {
        match *self {
            Self::Url => builder,
            Self::Socket(path) => builder.unix_socket(path),
            Self::Endpoint(endpoint) => builder.dns_resolver(Leading(endpoint.clone())),
        }
    }
}

/// Resolves every name to one endpoint's addresses.
struct Leading(Authority);

impl Resolve for Leading {
    fn resolve(&self, _: Name) -> Resolving {
        let target = (self.0.host.clone(), self.0.port);
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host(target).await?.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// The client, and what the user should know about its settings.
pub(super) fn client(tls: &Tls<'_>, dial: &Dial<'_>) -> Result<(Client, Vec<String>), Cause> {
    let mut warnings = Vec::new();
    let builder = Client::builder()
        // An error of TLS keeps its cause this way, and registries gain nothing from the other. Said here, since what else is
        // built into the program decides what is offered.
        .http1_only()
        .redirect(redirect::Policy::none())
        .no_proxy()
        .referer(false)
        .connect_timeout(CONNECT_DEADLINE)
        .tcp_keepalive(KEEPALIVE)
        .tcp_keepalive_interval(KEEPALIVE)
        .tcp_keepalive_retries(KEEPALIVE_RETRIES)
        .user_agent(concat!("cbrowse/", env!("CARGO_PKG_VERSION")));
    let builder = dial.apply(builder);
    let builder = if tls.is_on {
        secured(builder, tls, &mut warnings)?
    } else {
        // Without TLS there is no need to read the machine's certificates, nor to fail where it has none.
        builder.tls_certs_only([])
    };
    let client = builder.build();
    let client =
        client.map_err(|error| Cause::Settings(format!("TLS cannot be set up ({})", root_cause(&error))))?;
    Ok((client, warnings))
}

/// What to say of a secret that goes over a network in the clear.
pub(super) fn exposure(tls: &Tls<'_>, road: Road<'_>, endpoints: &[Authority]) -> Option<String> {
    let secret = tls.secret.filter(|_| !tls.is_on && road.socket.is_none())?;
    let far = endpoints.iter().find(|endpoint| !is_this_machine(&endpoint.host))?;
    Some(format!("{secret} goes to {far} without TLS, where anybody on the way can read it; add ?ssl"))
}

fn is_this_machine(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or_default();
    host.parse::<IpAddr>().map_or(last.eq_ignore_ascii_case("localhost"), |address| address.is_loopback())
}

fn secured(
    mut builder: ClientBuilder,
    tls: &Tls<'_>,
    warnings: &mut Vec<String>,
) -> Result<ClientBuilder, Cause> {
    if let Some(authority) = tls.authority {
        builder = builder.tls_certs_only(authorities(authority)?);
    }
    if let Some(variable) = tls.unverified {
        warnings.push(format!("{variable}: whoever answers is believed to be the registry"));
        builder = builder.tls_danger_accept_invalid_certs(true);
    }
    match (tls.certificate, tls.key) {
        (Some(certificate), Some(key)) => Ok(builder.identity(identity(certificate, key)?)),
        (None, None) => Ok(builder),
        (Some(lonely), None) | (None, Some(lonely)) => Err(Cause::Settings(format!(
            "{} is set, and its counterpart is not: a client certificate needs its key",
            lonely.variable
        ))),
    }
}

fn authorities(named: Named<'_>) -> Result<Vec<Certificate>, Cause> {
    let found = if Path::new(named.value).is_dir() {
        let mut found = Vec::new();
        for path in files(named)? {
            // Among them may be what is no certificate: a README, a list of revocations.
            found.extend(certificates(&file(Named { value: &path, ..named })?));
        }
        found
    } else {
        certificates(&file(named)?)
    };
    if found.is_empty() {
        let Named { variable, value } = named;
        return Err(Cause::Settings(format!("{variable} {value:?} holds no PEM certificate")));
    }
    Ok(found)
}

fn certificates(pem: &[u8]) -> Vec<Certificate> {
    Certificate::from_pem_bundle(pem).unwrap_or_default()
}

/// The files of a directory, links to files among them, in the order of their names.
fn files(named: Named<'_>) -> Result<Vec<String>, Cause> {
    let Named { variable, value } = named;
    let wrong = |what: String| Cause::Settings(format!("{variable} {value:?} cannot be read ({what})"));
    let entries = std::fs::read_dir(value).map_err(|error| wrong(error.to_string()))?;
    let mut files: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.path().is_file())
        .filter_map(|entry| entry.path().to_str().map(str::to_owned))
        .take(MAX_FILES + 1)
        .collect();
    if files.len() > MAX_FILES {
        return Err(wrong(format!("more than {MAX_FILES} files")));
    }
    files.sort_unstable();
    Ok(files)
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
