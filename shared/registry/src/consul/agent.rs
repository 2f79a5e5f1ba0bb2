//! One agent's HTTP API: where it is, how it is spoken to, and never where its token shows.

use std::{error::Error as _, fmt, time::Duration};

use reqwest::{Certificate, Client, Method, RequestBuilder, header::HeaderValue, redirect};
use serde::Serialize;

use super::answer::{Answer, read};
use crate::{
    environment::Environment,
    error::{Cause, root_cause},
    uri::{Authority, CONSUL_PORT, ConsulUri, authority},
};

/// Longest wait for a connection; a dead host should not use up the whole deadline of an answer.
const CONNECT_DEADLINE: Duration = Duration::from_secs(3);
/// Largest token file or certificate bundle in bytes that is read.
const MAX_FILE_LENGTH: u64 = 4 << 20;

/// How to speak to one agent.
pub(super) struct Agent {
    base: String,
    token: Option<HeaderValue>,
    client: Client,
    warnings: Vec<String>,
}

impl Agent {
    /// Takes the address from `uri`, else from `CONSUL_HTTP_ADDR`; TLS and token from the environment.
    pub(super) fn new(uri: &ConsulUri, environment: &Environment) -> Result<Self, Cause> {
        let (scheme, agent) = match &uri.agent {
            Some(agent) => (None, agent.clone()),
            None => address(environment)?,
        };
        let ssl = match scheme {
            _ if uri.ssl => true,
            Some(scheme) => scheme == Scheme::Https,
            None => switch(environment, "CONSUL_HTTP_SSL")?.unwrap_or(false),
        };
        let mut warnings = Vec::new();
        let client = client(ssl, environment, &mut warnings)?;
        let base = format!("{}://{agent}", if ssl { "https" } else { "http" });
        Ok(Self { base, token: token(environment)?, client, warnings })
    }

    /// What the user should know about these settings.
    pub(super) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Asks; any status but 200 is an error.
    pub(super) async fn get(&self, path: &str, deadline: Duration) -> Result<Answer, Cause> {
        self.send(self.request(Method::GET, path), deadline).await
    }

    /// Tells; any status but 200 is an error.
    pub(super) async fn put(
        &self,
        path: &str,
        body: &impl Serialize,
        deadline: Duration,
    ) -> Result<Answer, Cause> {
        self.send(self.request(Method::PUT, path).json(body), deadline).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.header("X-Consul-Token", token),
            None => request,
        }
    }

    async fn send(&self, request: RequestBuilder, deadline: Duration) -> Result<Answer, Cause> {
        let exchange = async { read(request.send().await.map_err(|error| unreachable(&error))?).await };
        tokio::time::timeout(deadline, exchange).await.unwrap_or(Err(Cause::Deadline(deadline)))
    }
}

impl fmt::Debug for Agent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Agent({})", self.base)
    }
}

pub(super) fn unreachable(error: &reqwest::Error) -> Cause {
    if error.is_timeout() {
        Cause::Deadline(CONNECT_DEADLINE)
    } else if is_tls(error) {
        Cause::Tls(root_cause(error))
    } else {
        Cause::Unreachable(root_cause(error))
    }
}

/// rustls reports what it cannot agree to as invalid data, in an I/O error that may sit in another one.
fn is_tls(error: &reqwest::Error) -> bool {
    use std::io::{Error, ErrorKind};
    let mut causes = std::iter::successors(error.source(), |&error| error.source());
    causes.any(|cause| {
        let outer = cause.downcast_ref::<Error>();
        let inner = outer.and_then(|outer| outer.get_ref()?.downcast_ref::<Error>());
        [outer, inner].into_iter().flatten().any(|error| error.kind() == ErrorKind::InvalidData)
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

/// `CONSUL_HTTP_ADDR`: `host:port`, with or without a scheme; without the variable Consul's own default.
fn address(environment: &Environment) -> Result<(Option<Scheme>, Authority), Cause> {
    let Some(text) = environment.get("CONSUL_HTTP_ADDR") else {
        return Ok((None, Authority { host: "127.0.0.1".into(), port: CONSUL_PORT }));
    };
    let wrong =
        |cause: String| Cause::Settings(format!("CONSUL_HTTP_ADDR {cause}; for example 127.0.0.1:8500"));
    let (scheme, rest) = match text.split_once("://") {
        None => (None, text),
        Some(("http", rest)) => (Some(Scheme::Http), rest),
        Some(("https", rest)) => (Some(Scheme::Https), rest),
        Some(("unix", _)) => {
            return Err(wrong("names a Unix socket, which is not in this version yet".into()));
        }
        Some((other, _)) => {
            return Err(wrong(format!("has the scheme {other:?} (http and https are known)")));
        }
    };
    let agent = authority(rest.trim_end_matches('/'), CONSUL_PORT);
    Ok((scheme, agent.map_err(|cause| wrong(format!("is no address: {cause}")))?))
}

fn switch(environment: &Environment, name: &str) -> Result<Option<bool>, Cause> {
    match environment.get(name) {
        None => Ok(None),
        // What Go's strconv.ParseBool takes, as Consul's own tools do.
        Some("1" | "t" | "T" | "TRUE" | "true" | "True") => Ok(Some(true)),
        Some("0" | "f" | "F" | "FALSE" | "false" | "False") => Ok(Some(false)),
        Some(other) => Err(Cause::Settings(format!("{name} is {other:?}; true or false is expected"))),
    }
}

fn token(environment: &Environment) -> Result<Option<HeaderValue>, Cause> {
    let text = match (environment.get("CONSUL_HTTP_TOKEN"), environment.get("CONSUL_HTTP_TOKEN_FILE")) {
        (Some(token), _) => token.to_owned(),
        (None, Some(path)) => String::from_utf8_lossy(&file("CONSUL_HTTP_TOKEN_FILE", path)?).into_owned(),
        (None, None) => return Ok(None),
    };
    let mut value = HeaderValue::from_str(text.trim())
        .map_err(|_| Cause::Settings("CONSUL_HTTP_TOKEN holds characters that no token has".into()))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// No redirect is followed, since it could carry the token to another host, and no proxy is used: the address that
/// answers decides which addresses the catalog may name.
fn client(ssl: bool, environment: &Environment, warnings: &mut Vec<String>) -> Result<Client, Cause> {
    let mut builder = Client::builder()
        .redirect(redirect::Policy::none())
        .no_proxy()
        .referer(false)
        .connect_timeout(CONNECT_DEADLINE)
        .user_agent(concat!("cbrowse/", env!("CARGO_PKG_VERSION")));
    if !ssl {
        // Without TLS there is no need to read the machine's certificates, nor to fail where it has none.
        builder = builder.tls_certs_only([]);
    } else if let Some(path) = environment.get("CONSUL_CACERT") {
        let bundle = Certificate::from_pem_bundle(&file("CONSUL_CACERT", path)?);
        let bundle = bundle.ok().filter(|certificates| !certificates.is_empty());
        let bundle = bundle
            .ok_or_else(|| Cause::Settings(format!("CONSUL_CACERT {path:?} holds no PEM certificate")))?;
        builder = builder.tls_certs_only(bundle);
    }
    if ssl && switch(environment, "CONSUL_HTTP_SSL_VERIFY")? == Some(false) {
        warnings
            .push("CONSUL_HTTP_SSL_VERIFY=false: whoever answers is believed to be the registry".to_owned());
        builder = builder.tls_danger_accept_invalid_certs(true);
    }
    builder.build().map_err(|error| Cause::Settings(format!("TLS cannot be set up ({})", root_cause(&error))))
}

fn file(variable: &str, path: &str) -> Result<Vec<u8>, Cause> {
    let wrong = |what: String| Cause::Settings(format!("{variable} {path:?} cannot be read ({what})"));
    let length = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?.len();
    if length > MAX_FILE_LENGTH {
        return Err(wrong(format!("{length} bytes; {MAX_FILE_LENGTH} are allowed")));
    }
    std::fs::read(path).map_err(|error| wrong(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uri::CatalogUri;

    fn agent(uri: &str, environment: &Environment) -> Result<Agent, Cause> {
        let Ok(CatalogUri::Consul(uri)) = uri.parse() else { panic!("{uri}") };
        Agent::new(&uri, environment)
    }

    #[test]
    fn the_address_comes_from_the_uri_else_from_the_environment() {
        let none = Environment::default();
        let set = |value| Environment::default().with("CONSUL_HTTP_ADDR", value);
        for (uri, environment, base) in [
            ("consul://", none.clone(), "http://127.0.0.1:8500"),
            ("consul://", set("10.0.0.1:9"), "http://10.0.0.1:9"),
            ("consul://", set("https://c.example/"), "https://c.example:8500"),
            ("consul://", set("10.0.0.1:9").with("CONSUL_HTTP_SSL", "true"), "https://10.0.0.1:9"),
            ("consul://", set("http://10.0.0.1:9").with("CONSUL_HTTP_SSL", "true"), "http://10.0.0.1:9"),
            ("consul://[::1]:1", set("https://10.0.0.1:9"), "http://[::1]:1"),
            ("consul://h:1", none.clone().with("CONSUL_HTTP_SSL", "1"), "https://h:1"),
            ("consul://h:1?ssl", none, "https://h:1"),
        ] {
            assert_eq!(agent(uri, &environment).expect(uri).base, base, "{uri} {environment:?}");
        }
    }

    #[test]
    fn wrong_settings_are_named() {
        for (name, value, part) in [
            ("CONSUL_HTTP_ADDR", "unix:///run/consul.sock", "Unix socket"),
            ("CONSUL_HTTP_ADDR", "ftp://h", "\"ftp\""),
            ("CONSUL_HTTP_ADDR", "h:x", "\"x\" is not a port"),
            ("CONSUL_HTTP_SSL", "yes", "\"yes\""),
            ("CONSUL_HTTP_TOKEN_FILE", "/nonexistent", "/nonexistent"),
        ] {
            let Err(Cause::Settings(text)) = agent("consul://", &Environment::default().with(name, value))
            else {
                panic!("{name}={value} was taken");
            };
            assert!(text.contains(name) && text.contains(part), "{text}");
        }
    }

    #[test]
    fn a_certificate_bundle_must_be_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let environment = Environment::default().with("CONSUL_CACERT", path);
        assert!(agent("consul://h:1", &environment).is_ok(), "without TLS it is not read");
        assert!(
            matches!(agent("consul://h:1?ssl", &environment), Err(Cause::Settings(text)) if text.contains("PEM"))
        );
    }

    #[test]
    fn the_token_shows_nowhere() {
        let environment = Environment::default().with("CONSUL_HTTP_TOKEN", "hunter2");
        let agent = agent("consul://", &environment).unwrap();
        assert_eq!(agent.token.as_ref().unwrap().to_str().unwrap(), "hunter2");
        let request = agent.request(Method::GET, "/v1/x");
        for text in [format!("{agent:?}"), format!("{request:?}"), format!("{:?}", agent.token)] {
            assert!(!text.contains("hunter2"), "{text}");
        }
        let environment = Environment::default().with("CONSUL_HTTP_TOKEN", "hunter2\nX: y");
        let error = self::agent("consul://", &environment).unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
}
