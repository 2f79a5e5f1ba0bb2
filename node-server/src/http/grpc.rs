//! `grpc.health.v1.Health`: the node's health for registries and meshes that speak gRPC. Needs no login, as `/health`.
//!
//! Warning is SERVING: such a node serves. The services are the empty name and the name under which nodes register.

use std::{convert::Infallible, sync::Arc};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Version, header},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use cbrowse_protocol::{
    api::Problem,
    node::{Health, SERVICE},
};
use futures_util::{Stream, StreamExt as _, stream};
use http_body_util::{BodyExt as _, Limited, StreamBody};
use hyper::body::Frame;
use tokio::sync::watch;

pub(super) use crate::grpc::{CHECK, WATCH};
use crate::{
    grpc::{CONTENT_TYPE, MAX_FRAME_LENGTH, MessageError, Serving, response, service},
    health::Report,
    http::{App, problem::Refusal},
};

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// gRPC's own status codes, as far as they are needed.
#[derive(Debug, Clone, Copy)]
enum Code {
    Ok = 0,
    InvalidArgument = 3,
    NotFound = 5,
    Unimplemented = 12,
    Unavailable = 14,
}

/// How a call ends: its code, and words for people.
type End = (Code, &'static str);
const WELL: End = (Code::Ok, "");

/// `Check`: how the service is now.
pub async fn check(State(app): State<Arc<App>>, request: Request) -> Response {
    let body = match asked(request).await {
        Ok(name) if is_known(&name) => Ok(response(serving(&app.health.report()))),
        Ok(_) => Err((Code::NotFound, "there is no such service; ask for the empty name")),
        Err(Trouble::Call(end)) => Err(end),
        Err(Trouble::Http(refusal)) => return refusal.into_response(),
    };
    match body {
        Ok(message) => answer(stream::iter([Frame::data(message), end(WELL)])),
        Err(trouble) => answer(stream::iter([end(trouble)])),
    }
}

/// `Watch`: how the service is now, and whenever that changes, until the node drains.
pub async fn watch(State(app): State<Arc<App>>, request: Request) -> Response {
    match asked(request).await {
        Ok(name) => answer(changes(app.health.subscribe(), is_known(&name))),
        Err(Trouble::Call(trouble)) => answer(stream::iter([end(trouble)])),
        Err(Trouble::Http(refusal)) => refusal.into_response(),
    }
}

fn is_known(service: &str) -> bool {
    service.is_empty() || service == SERVICE
}

fn serving(report: &Report) -> Serving {
    match report.status {
        Health::Passing | Health::Warning => Serving::Serving,
        Health::Critical => Serving::NotServing,
    }
}

/// What a watch was told last, and what comes next.
struct Watching {
    reports: watch::Receiver<Report>,
    is_known: bool,
    told: Option<Serving>,
    ended: bool,
}

fn changes(reports: watch::Receiver<Report>, is_known: bool) -> impl Stream<Item = Frame<Bytes>> {
    let start = Watching { reports, is_known, told: None, ended: false };
    stream::unfold(start, |mut watching| async move {
        if watching.ended {
            return None;
        }
        loop {
            let (serving, draining) = {
                let report = watching.reports.borrow_and_update();
                let known = if watching.is_known { serving(&report) } else { Serving::ServiceUnknown };
                (known, report.is_draining())
            };
            if watching.told != Some(serving) {
                watching.told = Some(serving);
                return Some((Frame::data(response(serving)), watching));
            }
            if draining || watching.reports.changed().await.is_err() {
                watching.ended = true;
                return Some((end((Code::Unavailable, "the node is shutting down")), watching));
            }
        }
    })
}

enum Trouble {
    /// Somebody who does not speak gRPC.
    Http(Refusal),
    /// gRPC, but not so.
    Call(End),
}

/// The service that a request asks after.
async fn asked(request: Request) -> Result<String, Trouble> {
    let kind = request.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let is_grpc = kind.is_some_and(|kind| kind.starts_with(CONTENT_TYPE.as_bytes()));
    if request.version() != Version::HTTP_2 || !is_grpc {
        let detail = "this path speaks gRPC, over HTTP/2; GET /health?format=json tells the same";
        return Err(Trouble::Http(Problem::new(415, "grpc_only", "Not gRPC", detail).into()));
    }
    let body = Limited::new(request.into_body(), MAX_FRAME_LENGTH).collect().await;
    let body =
        body.map_err(|_| Trouble::Call((Code::InvalidArgument, "the request is too long or was cut short")))?;
    service(&body.to_bytes()).map_err(|error| {
        Trouble::Call(match error {
            MessageError::Compressed => (Code::Unimplemented, "compressed messages are not understood"),
            MessageError::Frame | MessageError::Protobuf => {
                (Code::InvalidArgument, "the body is not one HealthCheckRequest")
            }
        })
    })
}

fn end((code, words): End) -> Frame<Bytes> {
    let mut trailers = HeaderMap::new();
    trailers.insert(STATUS, HeaderValue::from(code as u16));
    if !words.is_empty() {
        trailers.insert(MESSAGE, HeaderValue::from_static(words));
    }
    Frame::trailers(trailers)
}

fn answer(frames: impl Stream<Item = Frame<Bytes>> + Send + 'static) -> Response {
    let body = Body::new(StreamBody::new(frames.map(Ok::<_, Infallible>)));
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::{Monitor, Thresholds, Usage};

    #[tokio::test]
    async fn a_watch_tells_changes_only_and_ends_with_the_node() {
        let monitor = Monitor::new(Thresholds::default());
        let mut watch = std::pin::pin!(changes(monitor.subscribe(), true));
        let mut unknown = std::pin::pin!(changes(monitor.subscribe(), false));
        let data = |frame: Option<Frame<Bytes>>| frame.expect("a frame").into_data().expect("data");
        assert_eq!(data(watch.next().await), response(Serving::Serving));
        assert_eq!(data(unknown.next().await), response(Serving::ServiceUnknown));
        monitor.observe(Usage { memory: Some(0.92), ..Usage::default() });
        assert!(futures_util::poll!(watch.next()).is_pending(), "a warning serves");
        monitor.observe(Usage { memory: Some(0.99), ..Usage::default() });
        assert_eq!(data(watch.next().await), response(Serving::NotServing));
        monitor.observe(Usage { memory: Some(0.5), ..Usage::default() });
        assert_eq!(data(watch.next().await), response(Serving::Serving));
        monitor.drain();
        assert_eq!(data(watch.next().await), response(Serving::NotServing));
        for mut watch in [watch, unknown] {
            let last = watch.next().await.expect("a frame").into_trailers().expect("trailers");
            assert_eq!(last[STATUS], "14");
            assert!(watch.next().await.is_none());
        }
    }
}
