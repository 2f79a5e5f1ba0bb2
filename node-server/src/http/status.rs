//! `GET /status`: who the node is, its load, and the key for the next session's grant. The one question that a thousand
//! clients ask who will go elsewhere, so it costs little: written once for all who ask meanwhile, and counted by client.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Extension,
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use cbrowse_protocol::api::{Problem, Status};

use crate::{
    http::{App, problem::Refusal},
    limiter::Rate,
    peer::{Connection, Prefix},
};

/// How long an answer is given to all who ask, unless what it says has changed. Longer: its load is older than it says;
/// shorter: a crowd makes the node write it again for each.
const LASTS: Duration = Duration::from_millis(200);
/// How often one client may ask. A connect asks each finalist once or twice, and a front may stand for a whole office; more:
/// one address keeps a processor busy with TLS.
pub const RATE: Rate = Rate { burst: 200, every: Duration::from_millis(20) };

/// The last answer.
#[derive(Debug, Default)]
pub struct StatusCache(Mutex<Option<Answer>>);

#[derive(Debug)]
struct Answer {
    version: u64,
    at: Instant,
    body: Bytes,
}

impl StatusCache {
    /// The last answer while it is true, else a new one.
    fn get(&self, version: u64, now: Instant, write: impl FnOnce() -> Bytes) -> Bytes {
        let mut cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*cached {
            Some(answer) if answer.version == version && now.saturating_duration_since(answer.at) < LASTS => {
                answer.body.clone()
            }
            _ => cached.insert(Answer { version, at: now, body: write() }).body.clone(),
        }
    }
}

/// `GET /status`.
pub async fn status(
    State(app): State<Arc<App>>,
    connection: Option<Extension<Arc<Connection>>>,
) -> Result<Response, Refusal> {
    let now = Instant::now();
    if let Some(Extension(connection)) = connection
        && let Err(wait) = app.status_limit.admit(&Prefix::of(connection.peer), now)
    {
        app.metrics.status_refused();
        let detail = "this address asks for the status too often";
        return Err(Problem::new(429, "too_many_requests", "Too many requests", detail).after(wait).into());
    }
    let body = app.status.get(app.table.version(), now, || {
        serde_json::to_vec(&describe(&app)).expect("plain data serializes").into()
    });
    let kind = HeaderValue::from_static("application/json");
    Ok(([(header::CONTENT_TYPE, kind)], body).into_response())
}

fn describe(app: &App) -> Status {
    let (load, age) = app.load.read();
    let (sessions, capacity) = (app.table.running(), app.table.capacity());
    let reserved = app.table.reserved();
    let seats = f64::from(sessions + reserved) / f64::from(capacity.max(1));
    let facts = &app.facts;
    Status {
        id: facts.id.clone(),
        identity: facts.identity,
        statement: facts.statement.clone(),
        region: facts.region.clone(),
        zone: facts.zone.clone(),
        tags: app.record.borrow().tags.clone(),
        version: facts.version.clone(),
        browser_version: facts.browser_version.clone(),
        sessions,
        capacity,
        reserved,
        load: seats.max(load.worst()).clamp(0.0, 1.0),
        cpu: load.cpu,
        memory: load.memory,
        bandwidth: load.bandwidth,
        bytes_per_second: load.bytes_per_second,
        draining: app.table.is_draining(),
        age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
        session_key: app.table.session_key(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_written_once_until_it_is_old_or_untrue() {
        let (cache, now) = (StatusCache::default(), Instant::now());
        let get = |version, after, text: &'static str| cache.get(version, now + after, || text.into());
        assert_eq!(get(1, Duration::ZERO, "a"), "a");
        assert_eq!(get(1, LASTS.saturating_sub(Duration::from_nanos(1)), "b"), "a");
        assert_eq!(get(1, LASTS, "c"), "c");
        assert_eq!(get(2, LASTS, "d"), "d", "it has changed");
        assert_eq!(get(2, LASTS, "e"), "d");
    }
}
