//! The servers of one Nacos, and the dialect of its API that they speak.
//!
//! ```text
//! what         v3 (Nacos 3)                                    v1 (Nacos 1, 2; r-nacos)
//! instances    GET    /nacos/v3/client/ns/instance/list        GET    /nacos/v1/ns/instance/list
//! register     POST   /nacos/v3/client/ns/instance             POST   /nacos/v1/ns/instance
//! heartbeat    POST   /nacos/v3/client/ns/instance heartBeat   PUT    /nacos/v1/ns/instance/beat
//! deregister   DELETE /nacos/v3/client/ns/instance             DELETE /nacos/v1/ns/instance
//! one instance                                                 GET    /nacos/v1/ns/instance
//! namespaces   GET    /nacos/v3/admin/core/namespace/list      GET    /nacos/v1/console/namespaces
//! ```
//!
//! v3 is tried first; what answers is remembered until it no longer answers, or cannot be reached.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    sync::atomic::{AtomicU8, Ordering},
    time::Duration,
};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use tokio::time::Instant;

use super::{answer, entry::Spot, login::Login};
use crate::{
    environment::Environment,
    error::Cause,
    figures::Meter,
    http::{Answer, Question, Tls, Transport, Words},
    uri::NacosUri,
};

pub(super) const WORDS: Words =
    Words { token: "NACOS_USERNAME and NACOS_PASSWORD", authority: "NACOS_CACERT" };
/// What Nacos calls the namespace that has no id.
const PUBLIC: &str = "public";

/// A version of Nacos's API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Dialect {
    V1 = 1,
    V3 = 3,
}

/// What is asked; each is one request.
#[derive(Debug, Clone, Copy)]
pub(super) enum Call<'a> {
    /// All instances of the service, the unhealthy too.
    List,
    /// Writes an instance, whether or not it is there.
    Register {
        spot: &'a Spot,
        weight: &'a str,
        meta: &'a BTreeMap<String, String>,
    },
    Beat(&'a Spot),
    Deregister(&'a Spot),
    /// One instance; v1 only.
    Peek(&'a Spot),
    Namespaces,
}

/// Which service: what every request says.
#[derive(Debug)]
pub(super) struct Place {
    /// Empty for the public one.
    pub(super) namespace: String,
    pub(super) group: String,
    pub(super) service: String,
    pub(super) cluster: Option<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, group, service, cluster } = self;
        write!(formatter, "service {service:?} of group {group:?}")?;
        if let Some(cluster) = cluster {
            write!(formatter, ", cluster {cluster:?}")?;
        }
        let namespace = if namespace.is_empty() { PUBLIC } else { namespace };
        write!(formatter, ", namespace {namespace:?}")
    }
}

/// How to speak to them.
pub(super) struct Server {
    transport: Transport,
    login: Login,
    pub(super) place: Place,
    /// 0, or a [`Dialect`].
    dialect: AtomicU8,
}

impl Server {
    /// Connects to nothing yet.
    pub(super) fn new(uri: &NacosUri, environment: &Environment, meter: Meter) -> Result<Self, Cause> {
        let (wished, verified) = (environment.switch("NACOS_SSL")?, environment.switch("NACOS_SSL_VERIFY")?);
        let is_on = uri.ssl || wished == Some(true);
        let unverified = is_on && verified == Some(false);
        let tls = Tls {
            is_on,
            authority: environment.named("NACOS_CACERT"),
            certificate: environment.named("NACOS_CERT"),
            key: environment.named("NACOS_KEY"),
            unverified: unverified.then_some("NACOS_SSL_VERIFY=false"),
            secret: environment.get("NACOS_PASSWORD").map(|_| "NACOS_PASSWORD"),
        };
        let namespace = if uri.namespace == PUBLIC { String::new() } else { uri.namespace.clone() };
        Ok(Self {
            transport: Transport::new(&uri.servers, &tls, WORDS, meter)?,
            login: Login::new(environment)?,
            place: Place {
                namespace,
                group: uri.group.clone(),
                service: uri.service.clone(),
                cluster: uri.cluster.clone(),
            },
            dialect: AtomicU8::new(0),
        })
    }

    /// What the user should know about these settings.
    pub(super) fn warnings(&self) -> &[String] {
        self.transport.warnings()
    }

    /// Where requests are counted.
    pub(super) fn meter(&self) -> &Meter {
        self.transport.meter()
    }

    /// Asks in the dialect that the server speaks, and says which one that is; any status but 200 is an error.
    pub(super) async fn call(&self, call: Call<'_>, deadline: Duration) -> Result<(Dialect, Answer), Cause> {
        let until = Instant::now() + deadline;
        for dialect in self.dialects() {
            if let Some(answer) = self.try_call(dialect, call, until).await? {
                return Ok((dialect, succeeded(answer)?));
            }
        }
        Err(speaks_neither())
    }

    /// The dialects to try, in that order.
    pub(super) fn dialects(&self) -> [Dialect; 2] {
        if self.dialect.load(Ordering::Relaxed) == Dialect::V1 as u8 {
            [Dialect::V1, Dialect::V3]
        } else {
            [Dialect::V3, Dialect::V1]
        }
    }

    /// Asks in one dialect, and answers nothing if the server does not speak it; any status is an answer.
    pub(super) async fn try_call(
        &self,
        dialect: Dialect,
        call: Call<'_>,
        until: Instant,
    ) -> Result<Option<Answer>, Cause> {
        let answer = self.send(question(dialect, call, &self.place), until).await;
        match &answer {
            Ok(answer) if answer::is_no_such_api(answer.status, &answer.body) => return Ok(None),
            // A refusal says nothing: servers ask for a token before they look what was asked for.
            Ok(answer) if answer.status.is_success() => self.dialect.store(dialect as u8, Ordering::Relaxed),
            Ok(_) => {}
            // Who comes back at that address may be another version.
            Err(_) => self.dialect.store(0, Ordering::Relaxed),
        }
        answer.map(Some)
    }

    /// Asks with a token; once more with a new one where that is refused.
    async fn send(&self, question: Question, until: Instant) -> Result<Answer, Cause> {
        let signed = self.login.sign(&self.transport, question.clone(), until).await?;
        let answer = self.transport.ask(&signed, remaining(until)).await?;
        if !matches!(answer.status.as_u16(), 401 | 403) || !self.login.distrust(&signed).await {
            return Ok(answer);
        }
        let signed = self.login.sign(&self.transport, question, until).await?;
        self.transport.ask(&signed, remaining(until)).await
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Server({:?}, {:?})", self.transport, self.place)
    }
}

/// What is left of a call's deadline.
pub(super) fn remaining(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

/// An answer, or what it says went wrong.
pub(super) fn succeeded(answer: Answer) -> Result<Answer, Cause> {
    let said = match answer.status.as_u16() {
        200 => return Ok(answer),
        401 | 403 => None,
        status => answer::refusal(&answer.body).map(|message| Cause::Status { status, message }),
    };
    Err(said.unwrap_or_else(|| answer.refusal()))
}

pub(super) fn speaks_neither() -> Cause {
    Cause::Malformed("it serves neither Nacos's v3 client API nor v1".into())
}

fn question(dialect: Dialect, call: Call<'_>, place: &Place) -> Question {
    let base = match dialect {
        Dialect::V1 => "/nacos/v1/ns/instance",
        Dialect::V3 => "/nacos/v3/client/ns/instance",
    };
    match (call, dialect) {
        (Call::List, Dialect::V1) => {
            let clusters =
                place.cluster.as_ref().map_or(String::new(), |name| format!("&clusters={}", encoded(name)));
            Question::get(format!("{base}/list?{}&healthyOnly=false{clusters}", service(place)))
        }
        (Call::List, Dialect::V3) => {
            let cluster = place
                .cluster
                .as_ref()
                .map_or(String::new(), |name| format!("&clusterName={}", encoded(name)));
            Question::get(format!("{base}/list?{}{cluster}", service(place)))
        }
        (Call::Register { spot, weight, meta }, _) => {
            let meta = encoded(&serde_json::json!(meta).to_string());
            let form = format!(
                "{}&weight={weight}&enabled=true&healthy=true&ephemeral=true&metadata={meta}",
                instance(place, spot)
            );
            Question::new(Method::POST, base).form(form)
        }
        (Call::Beat(spot), Dialect::V1) => {
            let path = format!("{base}/beat?{}&ephemeral=true", instance(place, spot));
            Question::new(Method::PUT, path)
        }
        (Call::Beat(spot), Dialect::V3) => Question::new(Method::POST, base)
            .form(format!("{}&ephemeral=true&heartBeat=true", instance(place, spot))),
        (Call::Deregister(spot), _) => {
            let path = format!("{base}?{}&ephemeral=true", instance(place, spot));
            Question::new(Method::DELETE, path)
        }
        (Call::Peek(spot), _) => Question::get(format!("{base}?{}", instance(place, spot))),
        (Call::Namespaces, Dialect::V1) => Question::get("/nacos/v1/console/namespaces"),
        (Call::Namespaces, Dialect::V3) => Question::get("/nacos/v3/admin/core/namespace/list"),
    }
}

/// Namespace, group and service as parameters; the public namespace is the one that is not named.
fn service(place: &Place) -> String {
    let mut text = format!("serviceName={}&groupName={}", encoded(&place.service), encoded(&place.group));
    if !place.namespace.is_empty() {
        let _ = write!(text, "&namespaceId={}", encoded(&place.namespace));
    }
    text
}

fn instance(place: &Place, spot: &Spot) -> String {
    let mut text = format!("{}&ip={}&port={}", service(place), encoded(&spot.ip), spot.port);
    if let Some(cluster) = &place.cluster {
        let _ = write!(text, "&clusterName={}", encoded(cluster));
    }
    text
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests;
