//! Objects on their way to a node: only what it lacks, several at once, over connections that are replaced when they break.
//!
//! What arrived stays there, since an object is whole or absent, and the node compares it with its name before it says so.
//! After a cut at any byte, the objects that were not confirmed are sent again and nothing else. The head goes last: a node
//! that has a head has everything that it needs.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use cbrowse_profile::{
    directory::DirectoryStore,
    meter::Meter,
    object::{ObjectName, ObjectStore as _},
};
use cbrowse_protocol::id::ProfileId;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use http::Method;

use super::CarryError;
use crate::{
    attach::connection::{Ask, ConnectionError, Flow, Pace, TrustedConnection},
    credentials::Credentials,
};

/// Connections at most. More: a node's other clients wait longer; fewer: over a long road the line stands idle between an
/// object and the next.
const LANES: usize = 4;
/// Objects for which one more connection pays: opening one takes as many round trips as sending two.
const OBJECTS_PER_LANE: usize = 3;
/// The least rate of each connection where the rate is limited: an object of 8 MiB then arrives within half of the time that
/// a node gives it.
const LEAST_LANE_RATE: u64 = 96 * 1024;
/// Breaks in a row, without an object between them, after which it is given up. With [`FIRST_PAUSE`] doubling: 15 s.
const MAX_BREAKS: u32 = 6;
/// The pause after the first break; the next ones double.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// TCP and TLS over a bad link.
const CONNECT_DEADLINE: Duration = Duration::from_secs(6);
/// Longest pause that a busy node may ask for.
const MAX_PAUSE: Duration = Duration::from_secs(20);

/// What went up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Uploaded {
    /// Objects that the node lacked.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// How objects travel: who watches, and how fast at most.
#[derive(Debug, Clone, Default)]
pub struct Travel {
    /// Counts objects as files, and bytes as they leave.
    pub meter: Arc<Meter>,
    /// Bytes a second, all connections together; `None`: as fast as the link.
    pub rate: Option<u64>,
}

/// Everything that one lane needs.
struct Upload<'a, P> {
    profile: &'a ProfileId,
    store: &'a DirectoryStore,
    credentials: &'a Credentials,
    flow: Flow,
    waiting: Mutex<VecDeque<ObjectName>>,
    done: Mutex<(Uploaded, P)>,
}

/// Sends these objects, the last one last. `progress` hears of each that the node has confirmed.
pub(super) async fn send(
    profile: &ProfileId,
    store: &DirectoryStore,
    connection: &mut TrustedConnection,
    credentials: &Credentials,
    names: Vec<ObjectName>,
    travel: &Travel,
    progress: impl FnMut(Uploaded),
) -> Result<Uploaded, CarryError> {
    let lengths: u64 = names.iter().map(|name| length(store, name)).sum();
    travel.meter.expect(names.len() as u64, lengths);
    let pace = travel.rate.map(|rate| Arc::new(Pace::new(rate)));
    let flow = Flow { meter: travel.meter.clone(), pace };
    let mut waiting = VecDeque::from(names);
    let last = waiting.pop_back();
    let lanes = lanes(waiting.len(), travel.rate);
    let (waiting, done) = (Mutex::new(waiting), Mutex::new((Uploaded::default(), progress)));
    let upload = Upload { profile, store, credentials, flow, waiting, done };
    upload.side_by_side(connection, lanes).await?;
    // Whatever a lane gave back when it ended, and the head.
    upload.waiting().extend(last);
    upload.lane(connection).await?;
    let (uploaded, _) = upload.done.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(uploaded)
}

/// How many connections pay for this many objects at this rate.
fn lanes(objects: usize, rate: Option<u64>) -> usize {
    let affordable = rate.map_or(u64::MAX, |rate| rate / LEAST_LANE_RATE);
    let useful = objects.div_ceil(OBJECTS_PER_LANE).min(LANES);
    useful.min(usize::try_from(affordable).unwrap_or(LANES)).max(1)
}

/// As far as it is known; what is not there is noticed when it is read.
fn length(store: &DirectoryStore, name: &ObjectName) -> u64 {
    let text = name.to_string();
    std::fs::metadata(store.root().join(&text[..2]).join(&text)).map_or(0, |metadata| metadata.len())
}

/// The pause after this many breaks in a row.
fn pause(breaks: u32, error: &ConnectionError) -> Duration {
    let asked = error.problem().and_then(cbrowse_protocol::api::Problem::wait);
    asked.unwrap_or(FIRST_PAUSE * 2_u32.pow(breaks.saturating_sub(1).min(16))).min(MAX_PAUSE)
}

/// Whether the same object may arrive over another connection, or a little later. A store that is full stays full.
fn is_passing(error: &ConnectionError) -> bool {
    match error.problem() {
        Some(problem) => matches!(problem.status, 408 | 429 | 502 | 503 | 504),
        None => error.is_retryable(),
    }
}

impl<P: FnMut(Uploaded)> Upload<'_, P> {
    async fn side_by_side(&self, connection: &mut TrustedConnection, lanes: usize) -> Result<(), CarryError> {
        let (mut others, mut opening) = (Vec::new(), FuturesUnordered::new());
        for _ in 1..lanes {
            opening.push(connection.another(CONNECT_DEADLINE));
        }
        // Those that cannot be opened are not needed: the first one does all.
        while let Some(opened) = opening.next().await {
            others.extend(opened.ok());
        }
        drop(opening);
        let mut running: FuturesUnordered<_> =
            others.iter_mut().chain(std::iter::once(connection)).map(|line| self.lane(line)).collect();
        while let Some(ended) = running.next().await {
            ended?;
        }
        Ok(())
    }

    /// Sends what waits, one after another, until nothing does.
    async fn lane(&self, line: &mut TrustedConnection) -> Result<(), CarryError> {
        let mut breaks = 0;
        loop {
            // Not held while it travels.
            let next = self.waiting().pop_front();
            let Some(name) = next else { return Ok(()) };
            let error = match self.put(line, &name).await {
                Ok(()) => {
                    breaks = 0;
                    continue;
                }
                Err(CarryError::Node(error)) if is_passing(&error) => error,
                Err(error) => return Err(error),
            };
            self.waiting().push_front(name);
            breaks += 1;
            if breaks > MAX_BREAKS {
                return Err(error.into());
            }
            tokio::time::sleep(pause(breaks, &error)).await;
            if error.problem().is_none()
                && let Ok(fresh) = line.another(CONNECT_DEADLINE).await
            {
                *line = fresh;
            }
        }
    }

    async fn put(&self, line: &mut TrustedConnection, name: &ObjectName) -> Result<(), CarryError> {
        let (store, own) = (self.store.clone(), *name);
        let object =
            tokio::task::spawn_blocking(move || store.get(&own)).await.expect("reading does not panic")?;
        let length = object.len() as u64;
        let path = format!("/v1/profiles/{}/objects/{name}", self.profile);
        let ask = Ask::new(Method::PUT, &path).octets(Bytes::from(object)).flowing(self.flow.clone());
        let before = self.flow.meter.read().bytes;
        let sent = line.request(ask, self.credentials).await;
        if let Err(error) = sent {
            // What left in vain has to leave again. With several lanes this is a guess, and only drawn.
            let in_vain = (self.flow.meter.read().bytes - before).min(length);
            self.flow.meter.expect(0, in_vain);
            return Err(error.into());
        }
        self.flow.meter.done(1, 0);
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.0.objects += 1;
        done.0.bytes += length;
        let now = done.0;
        (done.1)(now);
        Ok(())
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<ObjectName>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use cbrowse_protocol::api::Problem;

    use super::*;

    #[test]
    fn connections_are_opened_where_they_pay() {
        for (objects, rate, expected) in [
            (0, None, 1),
            (3, None, 1),
            (4, None, 2),
            (9, None, 3),
            (10, None, 4),
            (1000, None, 4),
            (1000, Some(64 * 1024), 1),
            (1000, Some(2 * LEAST_LANE_RATE), 2),
            (1000, Some(u64::MAX), 4),
        ] {
            assert_eq!(lanes(objects, rate), expected, "{objects} objects, {rate:?}");
        }
    }

    #[test]
    fn a_full_store_is_not_asked_again_and_a_busy_one_later() {
        let refused = |problem: Problem| ConnectionError::Refused {
            endpoint: "h:1".into(),
            problem: Box::new(problem),
        };
        let status = |status| refused(Problem::new(status, "x", "x", "x"));
        for (code, passes) in
            [(503, true), (429, true), (408, true), (507, false), (413, false), (409, false)]
        {
            assert_eq!(is_passing(&status(code)), passes, "{code}");
        }
        let reset = ConnectionError::Connect {
            endpoint: "h:1".into(),
            source: std::io::ErrorKind::ConnectionReset.into(),
        };
        assert!(is_passing(&reset));
        assert_eq!([1, 2, 3].map(|breaks| pause(breaks, &reset).as_millis()), [250, 500, 1000]);
        let busy = refused(Problem::new(503, "full", "x", "x").after(Duration::from_secs(3)));
        assert_eq!(pause(1, &busy), Duration::from_secs(3));
        let long = refused(Problem::new(503, "full", "x", "x").after(Duration::from_secs(300)));
        assert_eq!(pause(1, &long), MAX_PAUSE);
    }
}
