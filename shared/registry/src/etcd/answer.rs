//! What etcd's JSON gateway says, understood: pure functions over bytes from a stranger.
//!
//! ```text
//! range        {"header":{"revision":"7"},"kvs":[{"key":B64,"value":B64,"create_revision":"3","mod_revision":"7","lease":"9"}],
//!               "more":true,"count":"1500"}
//! put          {"header":{"revision":"8"}}
//! lease/grant  {"ID":"9","TTL":"15"}
//! keepalive    {"result":{"ID":"9","TTL":"15"}}                       one line; without a TTL the lease is gone
//! watch        {"result":{"header":{…},"created":true}}               the first line
//!              {"result":{"header":{…},"events":[{"type":"DELETE","kv":{…}}],"fragment":true}}
//!              {"result":{"header":{…},"canceled":true,"compact_revision":"5","cancel_reason":"…"}}
//!              {"error":{"grpc_code":14,"message":"…"}}               the last line
//! error        {"error":"…","message":"…","code":5}                   with a status other than 200; of a stream as above
//! ```
//!
//! 64-bit numbers are strings and fields of value zero are left out (the JSON mapping of Protocol Buffers).

use std::{borrow::Cow, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Deserialize, Deserializer, de};

use super::{Revision, fault::Fault};
use crate::{capped::Capped, error::Cause};

/// Longest lease that is believed. Longer: a registry that answers nonsense keeps a node from ever saying that it lives.
const LONGEST_LEASE: Duration = Duration::from_secs(24 * 60 * 60);

/// A lease's number, of the server's choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LeaseId(i64);

impl LeaseId {
    /// As it is written in a question.
    pub(crate) fn text(self) -> String {
        self.0.to_string()
    }
}

/// Which writing of a key this is. No two clusters share one where a lease is involved, since leases have random numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) created: Revision,
    pub(crate) modified: Revision,
    pub(crate) lease: Option<LeaseId>,
}

/// A key and what stands there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: Vec<u8>,
    /// Empty where only keys were asked for.
    pub(crate) value: Vec<u8>,
    pub(crate) mark: Mark,
}

/// Part of a range of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page {
    /// When the server answered.
    pub(crate) revision: Revision,
    pub(crate) entries: Vec<Entry>,
    /// Whether the range goes on behind the last entry.
    pub(crate) more: bool,
    /// How many keys the whole range has.
    pub(crate) count: u64,
}

/// A line of a watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Word {
    /// It has begun.
    Created,
    /// These keys changed, in this order.
    Events(Events),
    /// Nothing changed up to here.
    Progress(Revision),
    /// The past that was asked for is forgotten, or so much happened that a listing says it sooner.
    Compacted,
    /// It is over.
    Over(Fault),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Events {
    pub(crate) events: Vec<Event>,
    /// The last of them; of a part that others follow, the one before.
    pub(crate) revision: Option<Revision>,
}

/// What happened to a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    Put(Entry),
    Delete(Vec<u8>),
}

#[derive(Deserialize)]
struct Header {
    #[serde(deserialize_with = "number")]
    revision: Revision,
}

#[derive(Deserialize)]
struct KeyValue<'text> {
    #[serde(borrow)]
    key: Cow<'text, str>,
    #[serde(borrow, default)]
    value: Cow<'text, str>,
    #[serde(default, deserialize_with = "number")]
    create_revision: Revision,
    #[serde(default, deserialize_with = "number")]
    mod_revision: Revision,
    #[serde(default, deserialize_with = "number")]
    lease: i64,
}

impl KeyValue<'_> {
    fn decoded(self) -> Result<Entry, Cause> {
        let lease = Some(LeaseId(self.lease)).filter(|lease| lease.0 != 0);
        let mark = Mark { created: self.create_revision, modified: self.mod_revision, lease };
        Ok(Entry { key: decoded("key", &self.key)?, value: decoded("value", &self.value)?, mark })
    }
}

/// Of `/v3/kv/range`.
pub(crate) fn range(body: &[u8]) -> Result<Page, Cause> {
    #[derive(Deserialize)]
    struct Range<'text> {
        header: Header,
        #[serde(borrow, default)]
        kvs: Capped<KeyValue<'text>>,
        #[serde(default)]
        more: bool,
        #[serde(default, deserialize_with = "number")]
        count: i64,
    }
    let range: Range<'_> = parsed(body)?;
    // A server that gives more than it was asked for.
    let more = range.more || range.kvs.unread > 0;
    let entries = range.kvs.first.into_iter().map(KeyValue::decoded).collect::<Result<_, _>>()?;
    let count = u64::try_from(range.count).unwrap_or_default();
    Ok(Page { revision: range.header.revision, entries, more, count })
}

/// Of `/v3/kv/put`: when it was written.
pub(crate) fn put(body: &[u8]) -> Result<Revision, Cause> {
    #[derive(Deserialize)]
    struct Put {
        header: Header,
    }
    Ok(parsed::<Put>(body)?.header.revision)
}

#[derive(Deserialize)]
struct Lease {
    #[serde(rename = "ID", deserialize_with = "number")]
    id: i64,
    #[serde(rename = "TTL", default, deserialize_with = "number")]
    ttl: i64,
}

impl Lease {
    fn time_to_live(&self) -> Option<Duration> {
        let seconds = u64::try_from(self.ttl).ok().filter(|seconds| *seconds > 0)?;
        Some(Duration::from_secs(seconds).min(LONGEST_LEASE))
    }
}

/// Of `/v3/lease/grant`: the lease, and how long it lasts without a word.
pub(crate) fn grant(body: &[u8]) -> Result<(LeaseId, Duration), Cause> {
    let lease: Lease = parsed(body)?;
    match lease.time_to_live() {
        Some(time) if lease.id != 0 => Ok((LeaseId(lease.id), time)),
        _ => Err(Cause::Malformed("a lease without a number or a time to live".to_owned())),
    }
}

/// Of `/v3/lease/keepalive`: how long the lease lasts from now on, unless it is gone.
pub(crate) fn keepalive(line: &[u8]) -> Result<Option<Duration>, Cause> {
    match parsed(line)? {
        Line::Result(lease) => Ok(Lease::time_to_live(&lease)),
        Line::Error(fault) => Err(Fault::from(fault).cause()),
    }
}

/// Of `/v3/auth/authenticate`.
pub(crate) fn token(body: &[u8]) -> Result<String, Cause> {
    #[derive(Deserialize)]
    struct Authenticated {
        token: String,
    }
    // What the parser says could repeat the token.
    let answer: Option<Authenticated> = serde_json::from_slice(body).ok();
    answer.map(|answer| answer.token).ok_or_else(|| Cause::Malformed("an answer without a token".to_owned()))
}

/// A line of `/v3/watch`.
pub(crate) fn watch_line(line: &[u8]) -> Result<Word, Cause> {
    #[derive(Deserialize)]
    struct Said<'text> {
        // Absent revisions are zero: a cancellation has none.
        #[serde(default)]
        header: MaybeHeader,
        #[serde(default)]
        created: bool,
        #[serde(default)]
        canceled: bool,
        #[serde(default, deserialize_with = "number")]
        compact_revision: Revision,
        #[serde(default)]
        cancel_reason: String,
        #[serde(default)]
        fragment: bool,
        #[serde(borrow, default)]
        events: Capped<Happened<'text>>,
    }
    #[derive(Default, Deserialize)]
    struct MaybeHeader {
        #[serde(default, deserialize_with = "number")]
        revision: Revision,
    }
    let said: Said<'_> = match parsed(line)? {
        Line::Result(said) => said,
        Line::Error(fault) => return Ok(Word::Over(fault.into())),
    };
    if said.compact_revision > Revision::default() || said.events.unread > 0 {
        Ok(Word::Compacted)
    } else if said.canceled {
        Ok(Word::Over(Fault::of_cancellation(said.cancel_reason)))
    } else if said.created {
        Ok(Word::Created)
    } else if said.events.first.is_empty() {
        Ok(Word::Progress(said.header.revision))
    } else {
        events(said.events.first, said.fragment).map(Word::Events)
    }
}

#[derive(Deserialize)]
struct Happened<'text> {
    #[serde(rename = "type", default)]
    kind: Kind,
    #[serde(borrow)]
    kv: KeyValue<'text>,
}

#[derive(Default, Deserialize)]
enum Kind {
    #[default]
    #[serde(rename = "PUT")]
    Put,
    #[serde(rename = "DELETE")]
    Delete,
}

fn events(happened: Vec<Happened<'_>>, fragment: bool) -> Result<Events, Cause> {
    let last = happened.iter().map(|happened| happened.kv.mod_revision).max();
    let event = |Happened { kind, kv }| {
        let entry = KeyValue::decoded(kv)?;
        Ok(match kind {
            Kind::Put => Event::Put(entry),
            Kind::Delete => Event::Delete(entry.key),
        })
    };
    let events = happened.into_iter().map(event).collect::<Result<_, Cause>>()?;
    // More of the same revision may follow.
    Ok(Events { events, revision: last.filter(|_| !fragment) })
}

/// What a status other than 200 means, if etcd itself says so; streams say it in another way.
pub(crate) fn fault(body: &[u8]) -> Option<Fault> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Said {
        Unary { error: String, code: u32 },
        Stream { error: StreamFault },
    }
    Some(match serde_json::from_slice(body).ok()? {
        Said::Unary { error, code } => Fault { code, message: error },
        Said::Stream { error } => error.into(),
    })
}

#[derive(Deserialize)]
struct StreamFault {
    #[serde(alias = "code")]
    grpc_code: u32,
    #[serde(default)]
    message: String,
}

impl From<StreamFault> for Fault {
    fn from(fault: StreamFault) -> Self {
        Self { code: fault.grpc_code, message: fault.message }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line<T> {
    Result(T),
    Error(StreamFault),
}

fn parsed<'text, T: Deserialize<'text>>(body: &'text [u8]) -> Result<T, Cause> {
    serde_json::from_slice(body).map_err(|error| Cause::Malformed(error.to_string()))
}

fn decoded(what: &str, text: &str) -> Result<Vec<u8>, Cause> {
    BASE64_STANDARD.decode(text).map_err(|error| Cause::Malformed(format!("a {what} is not base64: {error}")))
}

/// A 64-bit number as text; other gateways write it as a number.
fn number<'text, D: Deserializer<'text>, T: TryFrom<i64>>(deserializer: D) -> Result<T, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Number<'text> {
        Text(#[serde(borrow)] Cow<'text, str>),
        Plain(i64),
    }
    let number = match Number::deserialize(deserializer)? {
        Number::Plain(number) => Some(number),
        Number::Text(text) => text.parse().ok(),
    };
    let number = number.and_then(|number| T::try_from(number).ok());
    number.ok_or_else(|| de::Error::custom("a 64-bit number is expected"))
}

#[cfg(test)]
mod tests;
