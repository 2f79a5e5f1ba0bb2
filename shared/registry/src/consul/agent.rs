//! One agent's HTTP API, or several agents': where they are, and how they are spoken to.

use std::time::Duration;

use reqwest::{
    Method,
    header::{HeaderName, HeaderValue},
};
use serde_json::Value;

use crate::{
    environment::Environment,
    error::Cause,
    figures::Meter,
    http::{Answer, Question, Tls, Transport, Words, file},
    uri::{Authority, CONSUL_PORT, ConsulUri, authority},
};

const WORDS: Words = Words { token: "CONSUL_HTTP_TOKEN", authority: "CONSUL_CACERT" };

/// How to speak to the agents.
#[derive(Debug)]
pub(super) struct Agent {
    transport: Transport,
    token: Option<HeaderValue>,
}

impl Agent {
    /// Takes the addresses from `uri`, else from `CONSUL_HTTP_ADDR`; TLS and token from the environment.
    pub(super) fn new(uri: &ConsulUri, environment: &Environment, meter: Meter) -> Result<Self, Cause> {
        let (scheme, agents) = match &*uri.agents {
            [] => address(environment).map(|(scheme, agent)| (scheme, vec![agent]))?,
            agents => (None, agents.to_vec()),
        };
        let is_on = match scheme {
            _ if uri.ssl => true,
            Some(scheme) => scheme == Scheme::Https,
            None => environment.switch("CONSUL_HTTP_SSL")?.unwrap_or(false),
        };
        let unverified = is_on && environment.switch("CONSUL_HTTP_SSL_VERIFY")? == Some(false);
        let tls = Tls {
            is_on,
            authority: environment.named("CONSUL_CACERT"),
            certificate: environment.named("CONSUL_CLIENT_CERT"),
            key: environment.named("CONSUL_CLIENT_KEY"),
            unverified: unverified.then_some("CONSUL_HTTP_SSL_VERIFY=false"),
        };
        let transport = Transport::new(&agents, &tls, WORDS, meter)?;
        Ok(Self { transport, token: token(environment)? })
    }

    /// What the user should know about these settings.
    pub(super) fn warnings(&self) -> &[String] {
        self.transport.warnings()
    }

    /// Where requests are counted.
    pub(super) fn meter(&self) -> &Meter {
        self.transport.meter()
    }

    /// Asks; any status but 200 is an error.
    pub(super) async fn get(&self, path: &str, deadline: Duration) -> Result<Answer, Cause> {
        self.send(Question::get(path), deadline).await
    }

    /// Asks what the agent answers when something happens.
    pub(super) async fn get_held(&self, path: &str, deadline: Duration) -> Result<Answer, Cause> {
        self.send(Question::get(path).held(), deadline).await
    }

    /// Tells; any status but 200 is an error.
    pub(super) async fn put(&self, path: &str, body: &Value, deadline: Duration) -> Result<Answer, Cause> {
        self.send(Question::new(Method::PUT, path).json(body), deadline).await
    }

    async fn send(&self, question: Question, deadline: Duration) -> Result<Answer, Cause> {
        self.transport.ask(&self.with_token(question), deadline).await?.ok()
    }

    fn with_token(&self, question: Question) -> Question {
        match &self.token {
            Some(token) => question.header(HeaderName::from_static("x-consul-token"), token.clone()),
            None => question,
        }
    }
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

fn token(environment: &Environment) -> Result<Option<HeaderValue>, Cause> {
    let text = match (environment.get("CONSUL_HTTP_TOKEN"), environment.named("CONSUL_HTTP_TOKEN_FILE")) {
        (Some(token), _) => token.to_owned(),
        (None, Some(named)) => String::from_utf8_lossy(&file(named)?).into_owned(),
        (None, None) => return Ok(None),
    };
    let mut value = HeaderValue::from_str(text.trim())
        .map_err(|_| Cause::Settings("CONSUL_HTTP_TOKEN holds characters that no token has".into()))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{figures::Figures, uri::CatalogUri};

    fn agent(uri: &str, environment: &Environment) -> Result<Agent, Cause> {
        let Ok(CatalogUri::Consul(uri)) = uri.parse() else { panic!("{uri}") };
        Agent::new(&uri, environment, Figures::default().meter(&uri))
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
            let agent = agent(uri, &environment).expect(uri);
            assert_eq!(
                format!("{:?}", agent.transport),
                format!("Transport({base})"),
                "{uri} {environment:?}"
            );
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
        let request = agent.with_token(Question::get("/v1/x"));
        for text in [format!("{agent:?}"), format!("{request:?}"), format!("{:?}", agent.token)] {
            assert!(!text.contains("hunter2"), "{text}");
        }
        let environment = Environment::default().with("CONSUL_HTTP_TOKEN", "hunter2\nX: y");
        let error = self::agent("consul://", &environment).unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
}
