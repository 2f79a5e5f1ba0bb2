//! What a node tells whoever watches it: that it lives, how well it is, and its counters.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{RawQuery, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use cbrowse_protocol::node::Health;
use serde_json::json;

use crate::http::{App, problem::Finished};

/// Which `/health` is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    /// Does the process answer? For whoever restarts one that does not: a busy node is no dead one.
    Liveness,
    /// How well is it? With status 200 whatever the answer.
    Report,
    /// How well is it, by the status, as Consul reads it: 200 passing, 429 warning, anything else critical.
    Consul,
}

impl Question {
    fn of(query: &str) -> Self {
        query.split('&').fold(Self::Liveness, |question, word| match word {
            "consul" | "consul=" => Self::Consul,
            "format=json" if question == Self::Liveness => Self::Report,
            _ => question,
        })
    }
}

/// `GET /health`: the process answers. With `?format=json` each check, with `?consul` the status follows them, too.
pub async fn health(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Response {
    let report = match Question::of(query.as_deref().unwrap_or_default()) {
        Question::Liveness => {
            return Json(json!({ "status": "ok", "id": app.facts.id })).into_response();
        }
        Question::Report => return Json(app.health.report()).into_response(),
        Question::Consul => app.health.report(),
    };
    (status_of(report.status), Extension(Finished), Json(report)).into_response()
}

fn status_of(health: Health) -> StatusCode {
    match health {
        Health::Passing => StatusCode::OK,
        Health::Warning => StatusCode::TOO_MANY_REQUESTS,
        Health::Critical => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// `GET /ready`: new sessions are welcome.
pub async fn ready(State(app): State<Arc<App>>) -> impl IntoResponse {
    let (status, word) = if app.table.is_draining() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining")
    } else if app.table.running() + app.table.reserved() >= app.table.capacity() {
        (StatusCode::SERVICE_UNAVAILABLE, "full")
    } else if app.health.status() == Health::Critical {
        (StatusCode::SERVICE_UNAVAILABLE, "critical")
    } else {
        (StatusCode::OK, "ready")
    };
    (status, Json(json!({ "status": word })))
}

/// `GET /metrics`: Prometheus text.
pub async fn metrics(State(app): State<Arc<App>>) -> impl IntoResponse {
    let (load, _) = app.load.read();
    let seats = (app.table.running(), app.table.reserved(), app.table.capacity());
    app.metrics.observe(seats, load, &app.health.report());
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], app.metrics.encode())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn liveness_is_what_is_asked_for_unless_said_otherwise() {
        for (query, question) in [
            ("", Question::Liveness),
            ("x=1&format=xml", Question::Liveness),
            ("consulate", Question::Liveness),
            ("format=json", Question::Report),
            ("consul", Question::Consul),
            ("format=json&consul", Question::Consul),
            ("consul=&format=json", Question::Consul),
        ] {
            assert_eq!(Question::of(query), question, "{query}");
        }
    }

    #[test]
    fn statuses_are_those_that_consul_reads() {
        assert_eq!(Health::ALL.map(|health| status_of(health).as_u16()), [200, 429, 503]);
    }
}
