//! `/v1/seats`: a place kept for some seconds, while the profile travels; and who is admitted at all.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Extension, Json,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::IntoResponse,
};
use cbrowse_protocol::{
    api::Problem,
    node::Health,
    seat::{SEAT_HEADER, Seat},
    token::Scope,
};

use crate::{
    http::{App, Authenticated, problem::Refusal},
    limiter::Rate,
    peer::Connection,
};

/// How often a user may ask for a seat. A client asks once for each node and journey; more often: whoever asks in a loop
/// keeps the node signing.
pub const RATE: Rate = Rate { burst: 8, every: Duration::from_secs(2) };
/// A node that is overloaded is judged anew every two seconds, and a figure has to fall well below its threshold.
const AFTER_OVERLOAD: Duration = Duration::from_secs(10);

/// `POST /v1/seats`: 201 with a seat, or when to ask again.
pub async fn reserve(
    State(app): State<Arc<App>>,
    caller: Authenticated,
    Extension(connection): Extension<Arc<Connection>>,
) -> Result<impl IntoResponse, Refusal> {
    let user = caller.allowed(Scope::Create)?;
    let seat = limited(&app, user)
        .and_then(|()| admit(&app, user, None))
        .and_then(|()| Ok(app.table.reserve(user, &caller.0.client_thumbprint, &connection)?));
    app.metrics.asked_for_a_seat(seat.is_ok());
    Ok((StatusCode::CREATED, Json(seat?)))
}

fn limited(app: &App, user: &str) -> Result<(), Refusal> {
    app.seat_limit.admit(&user.to_owned(), Instant::now()).map_err(|wait| {
        let detail = "this user asks for seats too often; one is enough for each session";
        Problem::new(429, "too_many_requests", "Too many requests", detail).after(wait).into()
    })
}

/// `DELETE /v1/seats/{id}`: the place is free at once.
pub async fn release(
    State(app): State<Arc<App>>,
    caller: Authenticated,
    Path(id): Path<String>,
) -> Result<StatusCode, Refusal> {
    let user = caller.allowed(Scope::Create)?;
    if app.table.release(user, &id) {
        return Ok(StatusCode::NO_CONTENT);
    }
    let detail = "there is no such seat; it may have ended, or a session may have begun on it";
    Err(Problem::new(404, "no_seat", "No such seat", detail).into())
}

/// Whether new sessions are welcome. A seat is a promise, given before the load came.
pub(super) fn admit(app: &App, user: &str, seat: Option<&str>) -> Result<(), Refusal> {
    let report = app.health.report();
    let is_promised = seat.is_some_and(|id| app.table.holds_seat(user, id));
    if report.status != Health::Critical || report.is_draining() || is_promised {
        return Ok(());
    }
    let detail = format!("this node is overloaded and takes no new session: {}", report.troubles());
    Err(Problem::new(503, "overloaded", "Overloaded", detail).after(AFTER_OVERLOAD).into())
}

/// The id of the seat that a request brings. One that has ended is as good as none; a forged or borrowed one is refused.
pub(super) fn brought(
    app: &App,
    caller: &Authenticated,
    headers: &HeaderMap,
) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(SEAT_HEADER) else { return Ok(None) };
    let refused = |status, code, detail| Problem::new(status, code, "Seat refused", detail).at(SEAT_HEADER);
    let seat = value.to_str().ok().and_then(Seat::from_text);
    let seat = seat.ok_or_else(|| refused(400, "seat_malformed", "the seat cannot be read"))?;
    if seat.node != app.facts.id || !seat.is_of(&app.facts.identity) {
        return Err(refused(403, "seat_forged", "this seat is not of this node"));
    }
    if seat.subject != caller.0.subject || seat.client != caller.0.client_thumbprint {
        return Err(refused(403, "seat_foreign", "this seat is kept for another user or key"));
    }
    Ok(Some(seat.id))
}
