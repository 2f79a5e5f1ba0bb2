//! What a node tells everybody: that it lives, and how busy it is.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
};
use cbrowse_protocol::api::Status;
use serde_json::json;

use crate::http::App;

/// `GET /health`: the process answers.
pub async fn health(State(app): State<Arc<App>>) -> impl IntoResponse {
    Json(json!({ "status": "ok", "id": app.facts.id }))
}

/// `GET /ready`: new sessions are welcome.
pub async fn ready(State(app): State<Arc<App>>) -> impl IntoResponse {
    let (status, word) = if app.table.is_draining() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining")
    } else if app.table.running() >= app.table.capacity() {
        (StatusCode::SERVICE_UNAVAILABLE, "full")
    } else {
        (StatusCode::OK, "ready")
    };
    (status, Json(json!({ "status": word })))
}

/// `GET /status`: who the node is, its load, and the key for the next session's grant.
pub async fn status(State(app): State<Arc<App>>) -> Json<Status> {
    let (load, age) = app.load.read();
    let (sessions, capacity) = (app.table.running(), app.table.capacity());
    let seats = f64::from(sessions) / f64::from(capacity.max(1));
    let facts = &app.facts;
    Json(Status {
        id: facts.id.clone(),
        identity: facts.identity,
        statement: facts.statement.clone(),
        region: facts.region.clone(),
        zone: facts.zone.clone(),
        tags: facts.tags.clone(),
        version: facts.version.clone(),
        browser_version: facts.browser_version.clone(),
        sessions,
        capacity,
        load: seats.max(load.cpu).max(load.memory).clamp(0.0, 1.0),
        cpu: load.cpu,
        memory: load.memory,
        draining: app.table.is_draining(),
        age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
        session_key: app.table.session_key(),
    })
}

/// `GET /metrics`: Prometheus text.
pub async fn metrics(State(app): State<Arc<App>>) -> impl IntoResponse {
    app.metrics.observe(app.table.running(), app.table.capacity(), app.load.read().0);
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], app.metrics.encode())
}
