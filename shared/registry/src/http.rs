//! Speaking HTTP to a registry: to whichever of its endpoints answers, bounded, counted, and with a token that shows
//! nowhere.
//!
//! No redirect is followed, since it could carry the token to another host, and no proxy is used: the address that
//! answers decides which addresses the catalog may name.

mod answer;
mod tls;

use std::{
    error::Error as _,
    fmt,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use reqwest::{
    Client, Method, RequestBuilder,
    header::{HeaderMap, HeaderName, HeaderValue},
};

pub(crate) use self::{
    answer::{Answer, Lines},
    tls::{Tls, file},
};
use crate::{
    error::{Cause, TlsFault, root_cause},
    figures::Meter,
    uri::Authority,
};

/// Longest wait for a connection; a dead host should not use up the whole deadline of an answer.
pub(crate) const CONNECT_DEADLINE: Duration = Duration::from_secs(3);
/// How long an endpoint may be silent before a reader asks the next one beside it. Longer: a hanging endpoint is felt
/// at every command; shorter: a slow one is asked twice for nothing.
const HEDGE_DELAY: Duration = Duration::from_millis(500);

/// What errors call this registry's settings, so that each says what to do next.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Words {
    /// The variable that holds the token or the user.
    pub(crate) token: &'static str,
    /// The variable that names the authority's certificates.
    pub(crate) authority: &'static str,
}

/// Whom to ask after an endpoint that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spread {
    /// A read: whoever answers well first. A silent endpoint gets company after [`HEDGE_DELAY`], one that is down or
    /// has trouble of its own (5xx) at once.
    Race,
    /// A write, or a question that the registry holds back: the next endpoint only when one cannot be spoken to.
    InTurn,
}

/// A request, as plain data: it may have to be sent more than once.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) method: Method,
    /// With the query.
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) spread: Spread,
    /// The registry answers when something happens, so that the answer's delay says nothing about the registry.
    pub(crate) held: bool,
}

impl Question {
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            path: path.into(),
            headers: HeaderMap::new(),
            body: Vec::new(),
            spread: Spread::Race,
            held: false,
        }
    }

    /// A write.
    pub(crate) fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, spread: Spread::InTurn, ..Self::get(path) }
    }

    /// The registry holds it back until something happens.
    pub(crate) fn held(mut self) -> Self {
        self.held = true;
        self.spread = Spread::InTurn;
        self
    }

    /// Although it is no GET, it only reads.
    pub(crate) fn reading(mut self) -> Self {
        self.spread = Spread::Race;
        self
    }

    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    pub(crate) fn json(mut self, body: &serde_json::Value) -> Self {
        self.body = body.to_string().into_bytes();
        self.header(reqwest::header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
    }

    /// `application/x-www-form-urlencoded`; `body` is encoded already.
    pub(crate) fn form(mut self, body: String) -> Self {
        self.body = body.into_bytes();
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        self.header(reqwest::header::CONTENT_TYPE, form)
    }
}

/// How connections are made where the endpoint's address alone does not say it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Road<'a> {
    /// The name that an endpoint's certificate must hold, instead of the one that the endpoint is dialled by.
    pub(crate) server_name: Option<&'a str>,
    /// A Unix socket that is dialled for every endpoint.
    pub(crate) socket: Option<&'a Path>,
}

struct Endpoint {
    base: String,
    client: Client,
}

/// One registry's endpoints.
pub(crate) struct Transport {
    endpoints: Vec<Endpoint>,
    /// Index of the endpoint that answered last.
    preferred: AtomicUsize,
    words: Words,
    meter: Meter,
    warnings: Vec<String>,
}

impl Transport {
    /// Connects to nothing yet. `endpoints` is not empty.
    pub(crate) fn new(
        endpoints: &[Authority],
        tls: &Tls<'_>,
        words: Words,
        meter: Meter,
    ) -> Result<Self, Cause> {
        Self::over(Road::default(), endpoints, tls, words, meter)
    }

    /// The same over another road.
    pub(crate) fn over(
        road: Road<'_>,
        endpoints: &[Authority],
        tls: &Tls<'_>,
        words: Words,
        meter: Meter,
    ) -> Result<Self, Cause> {
        let scheme = if tls.is_on { "https" } else { "http" };
        let (client, mut warnings) = tls::client(tls, &tls::Dial::of(road, None))?;
        warnings.extend(tls::exposure(tls, road, endpoints));
        let endpoint = |endpoint: &Authority| match road.server_name {
            Some(name) => {
                let (client, _) = tls::client(tls, &tls::Dial::of(road, Some(endpoint)))?;
                Ok(Endpoint { base: format!("{scheme}://{name}:{}", endpoint.port), client })
            }
            None => Ok(Endpoint { base: format!("{scheme}://{endpoint}"), client: client.clone() }),
        };
        let endpoints = endpoints.iter().map(endpoint).collect::<Result<_, Cause>>()?;
        Ok(Self { endpoints, preferred: AtomicUsize::new(0), words, meter, warnings })
    }

    /// What the user should know about these settings.
    pub(crate) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Where requests are counted.
    pub(crate) fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Sends and reads the whole answer, whatever its status; the deadline covers all endpoints together.
    pub(crate) async fn ask(&self, question: &Question, deadline: Duration) -> Result<Answer, Cause> {
        let asking = async {
            match question.spread {
                Spread::Race => self.race(question).await,
                Spread::InTurn => self.ask_in_turn(question).await,
            }
        };
        tokio::time::timeout(deadline, asking).await.unwrap_or_else(|_| {
            self.avoid(self.preferred.load(Ordering::Relaxed));
            self.meter.failed(&Cause::Deadline(deadline));
            Err(Cause::Deadline(deadline))
        })
    }

    /// The same of one endpoint, by its index, and of no other.
    pub(crate) async fn ask_at(
        &self,
        index: usize,
        question: &Question,
        deadline: Duration,
    ) -> Result<Answer, Cause> {
        let attempt = tokio::time::timeout(deadline, self.attempt(index, question)).await;
        let (_, outcome) = attempt.unwrap_or_else(|_| {
            self.meter.failed(&Cause::Deadline(deadline));
            (index, Err(Cause::Deadline(deadline)))
        });
        match &outcome {
            Ok(_) => self.preferred.store(index, Ordering::Relaxed),
            Err(_) => self.avoid(index),
        }
        outcome
    }

    /// Sends, and leaves the answer's body to be read line by line as it comes; `deadline` is for its head.
    pub(crate) async fn lines(&self, question: &Question, deadline: Duration) -> Result<Lines, Cause> {
        let mut outcome = Err(Cause::Deadline(deadline));
        for index in self.order() {
            let sending = self.request(index, question).send();
            outcome = match tokio::time::timeout(deadline, sending).await {
                Ok(Ok(response)) => {
                    self.preferred.store(index, Ordering::Relaxed);
                    self.meter.answered(None);
                    return Ok(Lines::new(response, index, self.words));
                }
                Ok(Err(error)) => Err(unreachable(&error, self.words)),
                Err(_) => Err(Cause::Deadline(deadline)),
            };
            self.count(&outcome, None);
        }
        self.avoid(self.preferred.load(Ordering::Relaxed));
        outcome
    }

    async fn race(&self, question: &Question) -> Result<Answer, Cause> {
        let mut waiting = self.order().into_iter();
        let mut running = FuturesUnordered::new();
        let mut worst = None;
        running.extend(waiting.next().map(|index| self.attempt(index, question)));
        loop {
            tokio::select! {
                Some((index, outcome)) = running.next() => {
                    if outcome.as_ref().is_ok_and(|answer| !answer.status.is_server_error()) {
                        self.preferred.store(index, Ordering::Relaxed);
                        return outcome;
                    }
                    // An answer, even a bad one, says more than silence.
                    if worst.as_ref().is_none_or(Result::is_err) {
                        worst = Some(outcome);
                    }
                    running.extend(waiting.next().map(|index| self.attempt(index, question)));
                    if running.is_empty() {
                        return worst.expect("an attempt ended just now");
                    }
                }
                () = tokio::time::sleep(HEDGE_DELAY), if waiting.len() > 0 => {
                    running.extend(waiting.next().map(|index| self.attempt(index, question)));
                }
            }
        }
    }

    async fn ask_in_turn(&self, question: &Question) -> Result<Answer, Cause> {
        let mut outcome = Err(Cause::Settings("no endpoint is named".into()));
        for index in self.order() {
            let (index, found) = self.attempt(index, question).await;
            outcome = found;
            if outcome.is_ok() {
                self.preferred.store(index, Ordering::Relaxed);
                break;
            }
        }
        outcome
    }

    async fn attempt(&self, index: usize, question: &Question) -> (usize, Result<Answer, Cause>) {
        let started = Instant::now();
        let outcome = match self.request(index, question).send().await {
            Ok(response) => answer::read(response, index, self.words).await,
            // A question that is held back breaks when the registry restarts, whatever it speaks.
            Err(error) if question.held => Err(unreachable(&error, self.words)),
            Err(error) => Err(perhaps_the_other(unreachable(&error, self.words), &error)),
        };
        self.count(&outcome, Some(started.elapsed()).filter(|_| !question.held));
        (index, outcome)
    }

    fn count<T>(&self, outcome: &Result<T, Cause>, took: Option<Duration>) {
        match outcome {
            Ok(_) => self.meter.answered(took),
            Err(cause) => self.meter.failed(cause),
        }
    }

    fn request(&self, index: usize, question: &Question) -> RequestBuilder {
        let Endpoint { base, client } = &self.endpoints[index];
        let url = format!("{base}{}", question.path);
        let request = client.request(question.method.clone(), url).headers(question.headers.clone());
        if question.body.is_empty() { request } else { request.body(question.body.clone()) }
    }

    /// All endpoints by their index, the one that answered last first.
    pub(crate) fn order(&self) -> Vec<usize> {
        let (first, count) = (self.preferred.load(Ordering::Relaxed), self.endpoints.len());
        (0..count).map(|step| (first + step) % count).collect()
    }

    /// How an endpoint is addressed.
    pub(crate) fn base(&self, index: usize) -> &str {
        &self.endpoints[index].base
    }

    /// Begins with the next endpoint from now on.
    fn avoid(&self, index: usize) {
        let next = (index + 1) % self.endpoints.len();
        let _ = self.preferred.compare_exchange(index, next, Ordering::Relaxed, Ordering::Relaxed);
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bases: Vec<&str> = self.endpoints.iter().map(|endpoint| &*endpoint.base).collect();
        write!(formatter, "Transport({})", bases.join(","))
    }
}

fn unreachable(error: &reqwest::Error, words: Words) -> Cause {
    if error.is_timeout() {
        Cause::Deadline(CONNECT_DEADLINE)
    } else if let Some((fault, message)) = tls_fault(error) {
        Cause::Tls { message, authority: words.authority, fault }
    } else {
        Cause::Unreachable(root_cause(error))
    }
}

/// A server that is spoken to with TLS and knows none, or the other way round, may just hang up.
fn perhaps_the_other(cause: Cause, error: &reqwest::Error) -> Cause {
    let Cause::Unreachable(message) = cause else { return cause };
    let is_plain = error.url().is_some_and(|url| url.scheme() == "http");
    Cause::Unreachable(match &*message {
        "tls handshake eof" => "it hung up on TLS; if it speaks none, leave out ?ssl".to_owned(),
        _ if is_plain && !error.is_connect() => format!("{message}; if it speaks TLS, add ?ssl"),
        _ => message,
    })
}

/// What is wrong with TLS, if it is TLS that failed. rustls reports what it cannot agree to as invalid data, in an I/O
/// error that may sit in another one.
fn tls_fault(error: &reqwest::Error) -> Option<(TlsFault, String)> {
    use std::io::{Error, ErrorKind};
    let causes = std::iter::successors(error.source(), |&error| error.source());
    let io = causes.filter_map(|cause| {
        let outer = cause.downcast_ref::<Error>();
        let inner = outer.and_then(|outer| outer.get_ref()?.downcast_ref::<Error>());
        inner.or(outer)
    });
    let invalid = io.filter(|error| error.kind() == ErrorKind::InvalidData).last()?;
    let rustls = invalid.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    Some(match rustls {
        Some(rustls) => (TlsFault::of(rustls), TlsFault::told(rustls)),
        None => (TlsFault::Other, root_cause(error)),
    })
}

#[cfg(test)]
mod tests;
