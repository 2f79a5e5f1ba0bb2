//! What a catalog's name and the variables of Consul's own tools say together: where the agents are, how they are
//! spoken to, and in whose name.

use std::path::{Path, PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

use crate::{
    environment::Environment,
    error::Cause,
    http::{Road, Tls, file},
    uri::{Authority, CONSUL_PORT, ConsulUri, authority},
};

/// What every request carries to be let in. `Debug` shows no value: each is marked as sensitive.
const TOKEN_HEADER: HeaderName = HeaderName::from_static("x-consul-token");

/// The variables that it comes from.
const SECRETS: [&str; 3] = ["CONSUL_HTTP_TOKEN", "CONSUL_HTTP_TOKEN_FILE", "CONSUL_HTTP_AUTH"];

/// How to speak to the agents.
#[derive(Debug)]
pub(super) struct Settings<'a> {
    /// Not empty.
    pub(super) agents: Vec<Authority>,
    pub(super) tls: Tls<'a>,
    pub(super) socket: Option<PathBuf>,
    server_name: Option<&'a str>,
    /// Token and password.
    pub(super) headers: HeaderMap,
    /// `ns` and `partition`, with their values.
    pub(super) scope: Vec<(&'static str, String)>,
}

impl<'a> Settings<'a> {
    /// Addresses come from `uri`, else from `CONSUL_HTTP_ADDR`; TLS and secrets from the environment.
    pub(super) fn new(uri: &ConsulUri, environment: &'a Environment) -> Result<Self, Cause> {
        let place = match &*uri.agents {
            [] => place(environment)?,
            agents => Place { scheme: None, agents: agents.to_vec(), socket: None },
        };
        let is_on = match place.scheme {
            _ if uri.ssl => true,
            Some(scheme) => scheme == Scheme::Https,
            None => environment.switch("CONSUL_HTTP_SSL")?.unwrap_or(false),
        };
        if is_on && place.socket.is_some() {
            return Err(Cause::Settings(
                "CONSUL_HTTP_ADDR names a Unix socket, which needs no TLS; remove ssl from the catalog's name"
                    .into(),
            ));
        }
        let unverified = is_on && environment.switch("CONSUL_HTTP_SSL_VERIFY")? == Some(false);
        let tls = Tls {
            is_on,
            authority: environment.named("CONSUL_CACERT").or_else(|| environment.named("CONSUL_CAPATH")),
            certificate: environment.named("CONSUL_CLIENT_CERT"),
            key: environment.named("CONSUL_CLIENT_KEY"),
            unverified: unverified.then_some("CONSUL_HTTP_SSL_VERIFY=false"),
            secret: SECRETS.into_iter().find(|name| environment.get(name).is_some()),
        };
        let server_name = if is_on { server_name(environment)? } else { None };
        let (headers, scope) = (headers(environment)?, scope(uri, environment));
        Ok(Self { agents: place.agents, tls, socket: place.socket, server_name, headers, scope })
    }

    pub(super) fn road(&self) -> Road<'_> {
        Road { server_name: self.server_name, socket: self.socket.as_deref() }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

/// What the address says.
struct Place {
    scheme: Option<Scheme>,
    agents: Vec<Authority>,
    socket: Option<PathBuf>,
}

/// `CONSUL_HTTP_ADDR`: `host:port`, with or without a scheme, or `unix://PATH`; without the variable Consul's own
/// default.
fn place(environment: &Environment) -> Result<Place, Cause> {
    let local = || Authority { host: "127.0.0.1".into(), port: CONSUL_PORT };
    let Some(text) = environment.get("CONSUL_HTTP_ADDR") else {
        return Ok(Place { scheme: None, agents: vec![local()], socket: None });
    };
    let wrong =
        |cause: String| Cause::Settings(format!("CONSUL_HTTP_ADDR {cause}; for example 127.0.0.1:8500"));
    let (scheme, rest) = match text.split_once("://") {
        None => (None, text),
        Some(("http", rest)) => (Some(Scheme::Http), rest),
        Some(("https", rest)) => (Some(Scheme::Https), rest),
        Some(("unix", path)) => {
            if !Path::new(path).is_absolute() {
                return Err(wrong(format!("names the Unix socket {path:?}, which is no absolute path")));
            }
            // Whatever CONSUL_HTTP_SSL says: it is about addresses.
            let (agents, socket) = (vec![local()], Some(path.into()));
            return Ok(Place { scheme: Some(Scheme::Http), agents, socket });
        }
        Some((other, _)) => {
            return Err(wrong(format!("has the scheme {other:?} (http, https and unix are known)")));
        }
    };
    let agent = authority(rest.trim_end_matches('/'), CONSUL_PORT);
    let agent = agent.map_err(|cause| wrong(format!("is no address: {cause}")))?;
    Ok(Place { scheme, agents: vec![agent], socket: None })
}

/// An address would be dialled as it stands, instead of the agent.
fn server_name(environment: &Environment) -> Result<Option<&str>, Cause> {
    let Some(name) = environment.get("CONSUL_TLS_SERVER_NAME") else { return Ok(None) };
    let is_name =
        authority(name, 1).is_ok_and(|read| read.host == name) && name.parse::<std::net::IpAddr>().is_err();
    if !is_name {
        return Err(Cause::Settings(format!(
            "CONSUL_TLS_SERVER_NAME is {name:?}, which is no host name; for example server.dc1.consul"
        )));
    }
    Ok(Some(name))
}

fn headers(environment: &Environment) -> Result<HeaderMap, Cause> {
    let mut headers = HeaderMap::new();
    let mut put = |name: HeaderName, text: &str, source: &str| {
        let value = HeaderValue::from_str(text);
        let mut value =
            value.map_err(|_| Cause::Settings(format!("{source} holds characters that none has")))?;
        value.set_sensitive(true);
        headers.insert(name, value);
        Ok::<_, Cause>(())
    };
    if let Some(token) = environment.get("CONSUL_HTTP_TOKEN") {
        put(TOKEN_HEADER, token.trim(), "CONSUL_HTTP_TOKEN")?;
    } else if let Some(named) = environment.named("CONSUL_HTTP_TOKEN_FILE") {
        let token = String::from_utf8_lossy(&file(named)?).into_owned();
        put(TOKEN_HEADER, token.trim(), "CONSUL_HTTP_TOKEN_FILE")?;
    }
    if let Some(text) = environment.get("CONSUL_HTTP_AUTH") {
        // As Consul's own tools read it: a user, and a password after the first colon.
        let pair = if text.contains(':') { text.to_owned() } else { format!("{text}:") };
        put(AUTHORIZATION, &format!("Basic {}", STANDARD.encode(pair)), "CONSUL_HTTP_AUTH")?;
    }
    Ok(headers)
}

fn scope(uri: &ConsulUri, environment: &Environment) -> Vec<(&'static str, String)> {
    let of = |option, own: &Option<String>, variable| {
        let value = own.as_deref().or_else(|| environment.get(variable));
        value.map(|value| (option, value.to_owned()))
    };
    let namespace = of("ns", &uri.namespace, "CONSUL_NAMESPACE");
    let partition = of("partition", &uri.partition, "CONSUL_PARTITION");
    namespace.into_iter().chain(partition).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uri::CatalogUri;

    fn consul(uri: &str) -> ConsulUri {
        let Ok(CatalogUri::Consul(uri)) = uri.parse() else { panic!("{uri}") };
        uri
    }

    #[test]
    fn wrong_settings_are_named() {
        for (name, value, part) in [
            ("CONSUL_HTTP_ADDR", "unix://run/consul.sock", "no absolute path"),
            ("CONSUL_HTTP_ADDR", "ftp://h", "\"ftp\""),
            ("CONSUL_HTTP_ADDR", "h:x", "\"x\" is not a port"),
            ("CONSUL_HTTP_SSL", "yes", "\"yes\""),
            ("CONSUL_HTTP_TOKEN_FILE", "/nonexistent", "/nonexistent"),
        ] {
            let environment = Environment::default().with(name, value);
            let Err(Cause::Settings(text)) = Settings::new(&consul("consul://"), &environment) else {
                panic!("{name}={value} was taken");
            };
            assert!(text.contains(name) && text.contains(part), "{text}");
        }
        for name in ["127.0.0.1", "a b", "server:8501", "user@host", "a/b"] {
            let environment = Environment::default().with("CONSUL_TLS_SERVER_NAME", name);
            let error = Settings::new(&consul("consul://h:1?ssl"), &environment).expect_err(name).to_string();
            assert!(error.contains("CONSUL_TLS_SERVER_NAME") && error.contains(name), "{error}");
            assert!(
                Settings::new(&consul("consul://h:1"), &environment).is_ok(),
                "without TLS it is not read"
            );
        }
    }

    #[test]
    fn a_unix_socket_is_plain_and_never_over_tls() {
        let environment = Environment::default().with("CONSUL_HTTP_ADDR", "unix:///run/consul.sock");
        let environment = environment.with("CONSUL_HTTP_SSL", "true");
        let uri = consul("consul://");
        let settings = Settings::new(&uri, &environment).expect("settings that work");
        assert_eq!(settings.road().socket, Some(Path::new("/run/consul.sock")));
        assert!(!settings.tls.is_on);
        let error = Settings::new(&consul("consul://?ssl"), &environment).expect_err("both").to_string();
        assert!(error.contains("Unix socket"), "{error}");
        let elsewhere = consul("consul://h:1");
        assert_eq!(Settings::new(&elsewhere, &environment).expect("an address").road().socket, None);
    }

    #[test]
    fn what_the_uri_says_comes_before_the_environment() {
        let environment = Environment::default();
        let environment = environment.with("CONSUL_NAMESPACE", "env-ns").with("CONSUL_PARTITION", "env-part");
        let scope = |uri: &str| Settings::new(&consul(uri), &environment).expect(uri).scope;
        assert_eq!(scope("consul://"), [("ns", "env-ns".into()), ("partition", "env-part".into())]);
        assert_eq!(
            scope("consul://?ns=a&partition=b"),
            [("ns", "a".to_owned()), ("partition", "b".to_owned())]
        );
        let none = Environment::default();
        assert_eq!(Settings::new(&consul("consul://"), &none).expect("none").scope, []);
    }

    #[test]
    fn secrets_show_nowhere() {
        let set = |name: &str, value: &str| Environment::default().with(name, value);
        for (environment, header, value) in [
            (set("CONSUL_HTTP_TOKEN", "hunter2"), "x-consul-token", "hunter2"),
            // RFC 7617, section 2.
            (
                set("CONSUL_HTTP_AUTH", "Aladdin:open sesame"),
                "authorization",
                "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
            ),
            (set("CONSUL_HTTP_AUTH", "Aladdin"), "authorization", "Basic QWxhZGRpbjo="),
        ] {
            let uri = consul("consul://");
            let settings = Settings::new(&uri, &environment).expect("settings that work");
            assert_eq!(settings.headers[header], value);
            let text = format!("{settings:?}");
            assert!(!text.contains("hunter2") && !text.contains("QWx"), "{text}");
        }
        let environment = set("CONSUL_HTTP_TOKEN", "hunter2\nX: y");
        let error = Settings::new(&consul("consul://"), &environment).expect_err("no header").to_string();
        assert!(!error.contains("hunter2") && error.contains("CONSUL_HTTP_TOKEN"), "{error}");
    }
}
