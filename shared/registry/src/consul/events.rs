//! User events: a word and a few bytes that reach every agent of a datacenter by gossip, told once each.
//!
//! ```text
//! PUT /v1/event/fire/NAME[?node=…&service=…&tag=…]   the body is the payload; answers with the event and its id
//! GET /v1/event/list[?name=NAME][&index=N&wait=55s]  the last 256 that this agent heard; blocks while the last is still N
//! ```
//!
//! The index is made of the last event's id, so that it goes up and down, and only whether it is another one means
//! anything. Gossip promises no order and no delivery: an event is a hint to look, not a record of what happened.

mod seen;

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use cbrowse_protocol::node::is_unprintable;
use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use tokio::time::Instant;

use self::seen::Seen;
use super::{
    LIST_DEADLINE,
    agent::{Agent, Path},
    watch::{LEAST_PAUSE, Place, follow, index_of, pause_after},
};
use crate::{
    capped::Capped,
    changes::{Stepping, steps},
    error::{CatalogError, Cause},
    http::Answer,
    options::Options,
    retry::Backoff,
    uri::CatalogUri,
};

/// Largest event in bytes, everything included, that Consul's gossip carries.
pub const MAX_EVENT_LENGTH: usize = 512;
/// What Consul itself puts into an event at most: its id, lengths, its own prefix of the name, a clock.
const OVERHEAD: usize = 108;
/// The same for each filter.
const FILTER_OVERHEAD: usize = 6;

/// Errors mean that no agent could be asked just now; the stream goes on by itself, with growing pauses.
pub type EventStream = BoxStream<'static, Result<Event, CatalogError>>;

/// An event as an agent heard it: input from strangers, none of it safe for a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Unique.
    pub id: String,
    /// The word.
    pub name: String,
    /// Any bytes.
    pub payload: Vec<u8>,
    /// Whom it was meant for.
    pub filters: Filters,
    /// The gossip's own clock: of two events where one's maker knew of the other, the later one has the greater time.
    pub time: u64,
}

/// Whom an event is meant for; each is a regular expression, empty for everybody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters {
    /// Names of agents.
    pub node: String,
    /// Names of services that an agent runs.
    pub service: String,
    /// Tags of those services; needs a service.
    pub tag: String,
}

/// What a watch does with events that agents still remember from before it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Past {
    /// Leaves them out.
    Skip,
    /// Tells them first.
    Tell,
}

/// The events of one Consul datacenter.
#[derive(Debug, Clone)]
pub struct Events {
    agent: Arc<Agent>,
    datacenter: Option<String>,
    uri: Arc<CatalogUri>,
}

impl Events {
    /// Reads what the environment says; connects to nothing yet.
    pub fn open(uri: &CatalogUri, options: &Options) -> Result<Self, CatalogError> {
        let CatalogUri::Consul(consul) = uri else {
            let text = "only Consul has user events; for example consul://127.0.0.1:8500";
            return Err(Cause::Settings(text.into()).of(uri));
        };
        let agent = Agent::new(consul, &options.environment, options.figures.meter(uri));
        let agent = Arc::new(agent.map_err(|cause| cause.of(uri))?);
        Ok(Self { agent, datacenter: consul.datacenter.clone(), uri: Arc::new(uri.clone()) })
    }

    /// Tells everybody, and answers with the event's id. Of several agents the next one is told when one breaks off, so
    /// that an event may, rarely, be fired twice.
    pub async fn fire(&self, name: &str, payload: &[u8], filters: &Filters) -> Result<String, CatalogError> {
        let fired = async {
            check_fits(name, payload, filters)?;
            self.fire_now(name, payload, filters).await
        };
        fired.await.map_err(|cause| cause.of(&self.uri))
    }

    async fn fire_now(&self, name: &str, payload: &[u8], filters: &Filters) -> Result<String, Cause> {
        let path = Path::new(format!("/v1/event/fire/{}", utf8_percent_encode(name, NON_ALPHANUMERIC)));
        let options = [
            ("dc", self.datacenter.as_deref().unwrap_or_default()),
            ("node", &filters.node),
            ("service", &filters.service),
            ("tag", &filters.tag),
        ];
        let given = options.into_iter().filter(|(_, value)| !value.is_empty());
        let path = given.fold(path, |path, (name, value)| path.with(name, value));
        let mut failure = Cause::Settings("no agent is named".into());
        for agent in self.agent.order() {
            match self.agent.put_bytes_at(agent, &path, payload.to_vec(), LIST_DEADLINE).await {
                Ok(answer) => return Ok(understand_one(&answer)?.id),
                Err(cause @ Cause::Unreachable(_)) => failure = cause,
                Err(cause) => return Err(cause),
            }
        }
        Err(failure)
    }

    /// The events called `name`, or all of them. Ends in an error only at the start; what is fired once this has
    /// answered is told.
    pub async fn watch(&self, name: Option<&str>, past: Past) -> Result<EventStream, CatalogError> {
        let path = Path::new("/v1/event/list");
        let path = match name {
            Some(name) => path.with("name", name),
            None => path,
        };
        let mut watch = Watch {
            events: self.clone(),
            path,
            place: None,
            seen: Seen::new(past),
            backoff: Backoff::default(),
            pause: LEAST_PAUSE,
        };
        let first = watch.ask().await.map_err(|cause| cause.of(&self.uri))?;
        Ok(stream::iter(first.into_iter().map(Ok)).chain(steps(watch)).boxed())
    }
}

struct Watch {
    events: Events,
    path: Path,
    place: Option<Place>,
    seen: Seen,
    backoff: Backoff,
    pause: Duration,
}

impl Stepping for Watch {
    type Item = Event;

    fn take_pause(&mut self) -> Duration {
        std::mem::take(&mut self.pause)
    }

    async fn step(&mut self) -> Vec<Result<Event, CatalogError>> {
        match self.ask().await {
            Ok(events) => {
                self.backoff.succeeded();
                events.into_iter().map(Ok).collect()
            }
            Err(cause) => {
                self.place = None;
                self.pause = self.backoff.failed();
                vec![Err(cause.of(&self.events.uri))]
            }
        }
    }
}

impl Watch {
    async fn ask(&mut self) -> Result<Vec<Event>, Cause> {
        let agent = &self.events.agent;
        let started = Instant::now();
        let (answer, waited) = follow(agent, &self.path, self.place, LIST_DEADLINE).await?;
        let took = started.elapsed();
        let events = understand(&answer)?;
        agent.meter().heard();
        let asked = self.place.filter(|_| waited).map(|place| place.index);
        // 0 would not wait.
        let index = index_of(&answer).map(|index| index.max(1));
        self.place = index.map(|index| Place { agent: answer.endpoint, index });
        self.pause = pause_after(asked, index, took);
        Ok(self.seen.news(events))
    }
}

/// An event as Consul writes it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Wire {
    #[serde(rename = "ID")]
    id: String,
    name: String,
    payload: Option<String>,
    #[serde(default)]
    node_filter: String,
    #[serde(default)]
    service_filter: String,
    #[serde(default)]
    tag_filter: String,
    #[serde(default, rename = "LTime")]
    time: u64,
}

impl Wire {
    fn event(self) -> Result<Event, Cause> {
        let payload = STANDARD.decode(self.payload.unwrap_or_default());
        let payload = payload.map_err(|error| Cause::Malformed(format!("an event's payload: {error}")))?;
        let filters = Filters { node: self.node_filter, service: self.service_filter, tag: self.tag_filter };
        Ok(Event { id: self.id, name: self.name, payload, filters, time: self.time })
    }
}

fn understand(answer: &Answer) -> Result<Vec<Event>, Cause> {
    let events: Capped<Wire> = parsed(answer)?;
    events.first.into_iter().map(Wire::event).collect()
}

fn understand_one(answer: &Answer) -> Result<Event, Cause> {
    parsed::<Wire>(answer)?.event()
}

fn parsed<Read: serde::de::DeserializeOwned>(answer: &Answer) -> Result<Read, Cause> {
    serde_json::from_slice(&answer.body).map_err(|error| Cause::Malformed(error.to_string()))
}

fn check_fits(name: &str, payload: &[u8], filters: &Filters) -> Result<(), Cause> {
    let wrong = |what: String| Err(Cause::Settings(what));
    if name.is_empty() || name.chars().any(is_unprintable) {
        return wrong(format!("{name:?} cannot name an event; for example deploy"));
    }
    if name.starts_with('_') {
        return wrong(format!("the event {name:?} is Consul's own: names that begin with _ are reserved"));
    }
    if !filters.tag.is_empty() && filters.service.is_empty() {
        return wrong("a filter on tags needs one on services, too".into());
    }
    let room = room(name, filters);
    if payload.len() > room {
        let length = payload.len();
        return wrong(format!(
            "the payload has {length} bytes; Consul carries {MAX_EVENT_LENGTH} for a whole event, \
             which leaves {room} with this name and these filters: send where to look instead"
        ));
    }
    Ok(())
}

/// How long a payload may be. The name travels twice.
fn room(name: &str, filters: &Filters) -> usize {
    let filters = [&filters.node, &filters.service, &filters.tag].into_iter();
    let filters: usize =
        filters.filter(|text| !text.is_empty()).map(|text| FILTER_OVERHEAD + text.len()).sum();
    MAX_EVENT_LENGTH.saturating_sub(OVERHEAD + 2 * name.len() + filters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_with_the_numbers() {
        let fits = |name: &str, length: usize| {
            check_fits(name, &vec![b'x'; length], &Filters::default()).map_err(|cause| cause.to_string())
        };
        assert_eq!(fits("deploy", 392), Ok(()));
        let error = fits("deploy", 393).expect_err("too long");
        assert!(error.contains("393") && error.contains("392") && error.contains("512"), "{error}");
        assert!(fits(&"n".repeat(600), 1).expect_err("no room").contains("leaves 0"));
        for name in ["", "_rexec", "a\u{1b}[2J", "a\nb"] {
            let error = fits(name, 0).expect_err("no name");
            assert!(!error.contains('\u{1b}') && !error.contains('\n'), "{error:?}");
        }
        let tagged = Filters { tag: "a".into(), ..Filters::default() };
        assert!(check_fits("deploy", b"", &tagged).is_err());
    }

    #[test]
    fn only_consul_has_events() {
        let error =
            Events::open(&"file:x".parse().expect("a catalog"), &Options::default()).expect_err("none");
        assert!(error.to_string().contains("consul://"), "{error}");
    }
}
