//! One agent's HTTP API, or several agents': asking any of them, or a certain one.

use std::{fmt, time::Duration};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, header::HeaderMap};
use serde_json::Value;

use super::settings::Settings;
use crate::{
    environment::Environment,
    error::{Cause, TlsFault},
    figures::Meter,
    http::{Answer, Question, Transport, Words},
    reach::Reach,
    uri::ConsulUri,
};

const WORDS: Words = Words { token: "CONSUL_HTTP_TOKEN", authority: "CONSUL_CACERT" };

/// What servers written in Go say of a path that they do not serve; Consul serves all that are asked for.
const ROUTER_KNOWS_NOTHING: &str = "404 page not found";

/// How to speak to the agents. Each has an index, in the order in which they are named.
#[derive(Debug)]
pub(super) struct Agent {
    transport: Transport,
    headers: HeaderMap,
    scope: Vec<(&'static str, String)>,
    is_on_this_machine: bool,
}

impl Agent {
    /// Takes the addresses from `uri`, else from `CONSUL_HTTP_ADDR`; TLS and token from the environment.
    pub(super) fn new(uri: &ConsulUri, environment: &Environment, meter: Meter) -> Result<Self, Cause> {
        let settings = Settings::new(uri, environment)?;
        let transport = Transport::over(settings.road(), &settings.agents, &settings.tls, WORDS, meter)?;
        let is_on_this_machine = settings.socket.is_some();
        Ok(Self { transport, headers: settings.headers, scope: settings.scope, is_on_this_machine })
    }

    /// What the user should know about these settings.
    pub(super) fn warnings(&self) -> &[String] {
        self.transport.warnings()
    }

    /// Where requests are counted.
    pub(super) fn meter(&self) -> &Meter {
        self.transport.meter()
    }

    /// All agents, the one that answered last first.
    pub(super) fn order(&self) -> Vec<usize> {
        self.transport.order()
    }

    /// How an agent is addressed.
    pub(super) fn base(&self, agent: usize) -> &str {
        self.transport.base(agent)
    }

    /// A path in the namespace and the partition that the settings name.
    pub(super) fn path(&self, path: impl Into<String>) -> Path {
        let scope = self.scope.iter();
        scope.fold(Path::new(path), |path, (name, value)| path.with(name, value))
    }

    /// Which addresses an answer may name.
    pub(super) fn reach(&self, answer: &Answer) -> Reach {
        match answer.peer {
            _ if self.is_on_this_machine => Reach::Loopback,
            Some(peer) => Reach::of_catalog_at(peer),
            None => Reach::Public,
        }
    }

    /// Asks whichever agent answers; any status but 200 is an error.
    pub(super) async fn get(&self, path: &Path, deadline: Duration) -> Result<Answer, Cause> {
        let question = self.admitted(Question::get(&path.0));
        self.transport.ask(&question, deadline).await.and_then(Answer::ok).map_err(explained)
    }

    /// Asks one agent.
    pub(super) async fn get_at(
        &self,
        agent: usize,
        path: &Path,
        deadline: Duration,
    ) -> Result<Answer, Cause> {
        self.send_at(agent, Question::get(&path.0), deadline).await
    }

    /// Asks one agent what it answers when something happens.
    pub(super) async fn get_held_at(
        &self,
        agent: usize,
        path: &Path,
        deadline: Duration,
    ) -> Result<Answer, Cause> {
        self.send_at(agent, Question::get(&path.0).held(), deadline).await
    }

    /// Tells one agent; any status but 200 is an error.
    pub(super) async fn put_at(
        &self,
        agent: usize,
        path: &Path,
        body: &Value,
        deadline: Duration,
    ) -> Result<Answer, Cause> {
        self.send_at(agent, Question::new(Method::PUT, &path.0).json(body), deadline).await
    }

    /// Tells one agent bytes that are nobody's business but the reader's.
    pub(super) async fn put_bytes_at(
        &self,
        agent: usize,
        path: &Path,
        body: Vec<u8>,
        deadline: Duration,
    ) -> Result<Answer, Cause> {
        let question = Question { body, ..Question::new(Method::PUT, &path.0) };
        self.send_at(agent, question, deadline).await
    }

    async fn send_at(&self, agent: usize, question: Question, deadline: Duration) -> Result<Answer, Cause> {
        let question = self.admitted(question);
        self.transport.ask_at(agent, &question, deadline).await.and_then(Answer::ok).map_err(explained)
    }

    fn admitted(&self, mut question: Question) -> Question {
        question.headers.extend(self.headers.clone());
        question
    }
}

/// A path with its query, every value encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Path(String);

impl Path {
    /// `path` holds nothing that would have to be encoded.
    pub(super) fn new(path: impl Into<String>) -> Self {
        Self(path.into())
    }

    #[must_use]
    pub(super) fn with(self, name: &str, value: &str) -> Self {
        let value = utf8_percent_encode(value, NON_ALPHANUMERIC);
        Self(format!("{}{name}={value}", self.joined()))
    }

    #[must_use]
    pub(super) fn flag(self, name: &str) -> Self {
        Self(format!("{}{name}", self.joined()))
    }

    fn joined(self) -> String {
        let joint = if self.0.contains('?') { '&' } else { '?' };
        self.0 + &joint.to_string()
    }
}

impl fmt::Display for Path {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// With what to do next, where only Consul's own settings can tell.
fn explained(cause: Cause) -> Cause {
    match cause {
        Cause::Tls { message, authority, fault } => {
            let how = match fault {
                TlsFault::Name => "; CONSUL_TLS_SERVER_NAME can name it",
                TlsFault::Client => "; CONSUL_CLIENT_CERT and CONSUL_CLIENT_KEY name one",
                TlsFault::Dates | TlsFault::Plain | TlsFault::Other => "",
            };
            Cause::Tls { message: message + how, authority, fault }
        }
        // Consul itself says 403; 401 is a proxy's word.
        Cause::Refused { status: 401, message, .. } => {
            Cause::Refused { status: 401, message, token: "CONSUL_HTTP_AUTH" }
        }
        Cause::Status { status: 400, message } if message.contains("Consul Enterprise feature") => {
            let how =
                "remove ns and partition from the catalog's name, CONSUL_NAMESPACE and CONSUL_PARTITION";
            Cause::Status { status: 400, message: format!("{message}; {how}") }
        }
        Cause::Status { status: 404, message } if message == ROUTER_KNOWS_NOTHING => {
            let message = format!("{message}; is this the address of Consul's HTTP API?");
            Cause::Status { status: 404, message }
        }
        Cause::Status { status: 500, message } if message.contains("No path to datacenter") => {
            let message =
                format!("{message}; check ?dc in the catalog's name, and that Consul's servers are joined");
            Cause::Status { status: 500, message }
        }
        Cause::Status { status: 500, message } if message.contains("No cluster leader") => {
            let how = "?stale in the catalog's name reads what any server last knew";
            Cause::Status { status: 500, message: format!("{message}; {how}") }
        }
        cause => cause,
    }
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
        let named = Environment::default().with("CONSUL_TLS_SERVER_NAME", "server.dc1.consul");
        for (uri, environment, bases) in [
            ("consul://", none.clone(), "http://127.0.0.1:8500"),
            ("consul://", set("10.0.0.1:9"), "http://10.0.0.1:9"),
            ("consul://", set("https://c.example/"), "https://c.example:8500"),
            ("consul://", set("10.0.0.1:9").with("CONSUL_HTTP_SSL", "true"), "https://10.0.0.1:9"),
            ("consul://", set("http://10.0.0.1:9").with("CONSUL_HTTP_SSL", "true"), "http://10.0.0.1:9"),
            ("consul://[::1]:1", set("https://10.0.0.1:9"), "http://[::1]:1"),
            ("consul://a:1,b:2", set("10.0.0.1:9"), "http://a:1,http://b:2"),
            ("consul://h:1", none.clone().with("CONSUL_HTTP_SSL", "1"), "https://h:1"),
            ("consul://h:1?ssl", none, "https://h:1"),
            (
                "consul://a:1,10.0.0.2:2?ssl",
                named.clone(),
                "https://server.dc1.consul:1,https://server.dc1.consul:2",
            ),
            ("consul://a:1", named, "http://a:1"),
        ] {
            let agent = agent(uri, &environment).expect(uri);
            assert_eq!(
                format!("{:?}", agent.transport),
                format!("Transport({bases})"),
                "{uri} {environment:?}"
            );
        }
    }

    #[test]
    fn a_certificate_bundle_must_be_one() {
        let directory = env!("CARGO_MANIFEST_DIR");
        for (variable, path) in
            [("CONSUL_CACERT", format!("{directory}/Cargo.toml")), ("CONSUL_CAPATH", directory.to_owned())]
        {
            let environment = Environment::default().with(variable, &path);
            assert!(agent("consul://h:1", &environment).is_ok(), "without TLS it is not read");
            let error =
                agent("consul://h:1?ssl", &environment).expect_err("no certificate in it").to_string();
            assert!(error.contains("PEM") && error.contains(variable), "{error}");
        }
    }

    #[test]
    fn the_token_shows_nowhere() {
        let environment = Environment::default().with("CONSUL_HTTP_TOKEN", "hunter2");
        let agent = agent("consul://", &environment).expect("settings that work");
        let request = agent.admitted(Question::get("/v1/x"));
        assert_eq!(request.headers["x-consul-token"], "hunter2");
        for text in [format!("{agent:?}"), format!("{request:?}")] {
            assert!(!text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn what_stands_in_a_query_is_encoded() {
        let environment = Environment::default().with("CONSUL_NAMESPACE", "a&b c");
        let agent = agent("consul://?partition=p", &environment).expect("settings that work");
        let path = agent.path("/v1/x").flag("stale").with("filter", "a == \"ü\"");
        assert_eq!(path.0, "/v1/x?ns=a%26b%20c&partition=p&stale&filter=a%20%3D%3D%20%22%C3%BC%22");
    }
}
