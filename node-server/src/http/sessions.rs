//! `/v1/sessions`: create, list, show, close. Another user's session does not exist.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Query, State, rejection::JsonRejection},
    http::{HeaderMap, StatusCode},
    response::IntoResponse,
};
use cbrowse_protocol::{
    api::{CloseReceipt, Problem, SessionRequest, SessionView},
    id::SessionId,
    token::Scope,
};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::oneshot;

use crate::{
    address,
    http::{App, Authenticated, problem, problem::Refusal, seats},
    session::{relay::Session, table::CreateError},
};

/// Why a session ends that its client never saw.
pub(super) const NOBODY_CAME: &str = "the client that began it never came";
/// Tabs that a session may begin with.
const MAX_FIRST_TABS: usize = 32;

/// `GET /v1/whoami`: what the node makes of the token.
pub async fn whoami(caller: Authenticated) -> impl IntoResponse {
    let principal = caller.0;
    Json(
        json!({ "subject": principal.subject, "scopes": principal.scopes.to_string(), "expires": principal.expires }),
    )
}

/// Checks a request's fields and its profile's owner, then starts the session.
pub async fn start(
    app: &Arc<App>,
    caller: &Authenticated,
    headers: &HeaderMap,
    request: SessionRequest,
) -> Result<Arc<Session>, Refusal> {
    let owner = caller.allowed(Scope::Create)?;
    check(&request)?;
    let seat = seats::brought(app, caller, headers)?;
    seats::admit(app, owner, seat.as_deref())?;
    if let Some(grant) = &request.profile {
        caller.allowed(Scope::Profile)?;
        let (objects, profile, subject) = (app.objects.clone(), grant.profile.clone(), owner.to_owned());
        super::profiles::blocking(move || objects.claim(&profile, &subject)).await?;
    }
    let session = begin(app.clone(), owner.to_owned(), request, seat).await;
    app.metrics.created(session.is_ok());
    Ok(session?)
}

/// Begins a session to its end, even when the request ends meanwhile: half begun, it would hold its seat until it idles out.
/// Nobody could find one whose request is gone, so it ends at once.
async fn begin(
    app: Arc<App>,
    owner: String,
    request: SessionRequest,
    seat: Option<String>,
) -> Result<Arc<Session>, CreateError> {
    let (sender, receiver) = oneshot::channel();
    let tracker = app.sockets.clone();
    tracker.spawn(async move {
        let session = app.table.create(&owner, request, seat.as_deref()).await;
        if let Err(Ok(session)) = sender.send(session) {
            session.close(false, NOBODY_CAME).await;
        }
    });
    receiver.await.unwrap_or(Err(CreateError::Lost))
}

fn check(request: &SessionRequest) -> Result<(), Problem> {
    let bad = |field: &str, detail: String| Problem::new(400, "address", "Bad address", detail).at(field);
    if let Some(url) = &request.url {
        address::check(url).map_err(|error| bad("url", error.to_string()))?;
    }
    if request.tabs.len() > MAX_FIRST_TABS {
        return Err(bad("tabs", format!("{} tabs; {MAX_FIRST_TABS} are allowed", request.tabs.len())));
    }
    for tab in &request.tabs {
        address::check(tab).map_err(|error| bad("tabs", error.to_string()))?;
    }
    Ok(())
}

/// `POST /v1/sessions`.
pub async fn create(
    State(app): State<Arc<App>>,
    caller: Authenticated,
    headers: HeaderMap,
    body: Result<Json<SessionRequest>, JsonRejection>,
) -> Result<impl IntoResponse, Refusal> {
    let Json(request) = body.map_err(|rejection| bad_body(&rejection))?;
    let session = start(&app, &caller, &headers, request).await?;
    Ok((StatusCode::CREATED, Json(session.view())))
}

/// A body that is not what the path expects.
pub fn bad_body(rejection: &JsonRejection) -> Refusal {
    Refusal(Problem::new(rejection.status().as_u16(), "body", "Bad request body", rejection.body_text()))
}

/// `GET /v1/sessions`.
pub async fn list(
    State(app): State<Arc<App>>,
    caller: Authenticated,
) -> Result<Json<Vec<SessionView>>, Refusal> {
    let owner = caller.allowed(Scope::View)?;
    Ok(Json(app.table.of_owner(owner).iter().map(|session| session.view()).collect()))
}

/// `GET /v1/sessions/{id}`.
pub async fn show(
    State(app): State<Arc<App>>,
    caller: Authenticated,
    Path(id): Path<String>,
) -> Result<Json<SessionView>, Refusal> {
    let owner = caller.allowed(Scope::View)?;
    find(&app, &id, owner).map(|session| Json(session.view()))
}

/// How to close.
#[derive(Debug, Deserialize)]
pub struct CloseOptions {
    #[serde(default = "yes")]
    save: bool,
}

fn yes() -> bool {
    true
}

/// `DELETE /v1/sessions/{id}?save=true|false`: answers once the worker owns the close.
pub async fn close(
    State(app): State<Arc<App>>,
    caller: Authenticated,
    Path(id): Path<String>,
    Query(options): Query<CloseOptions>,
) -> Result<impl IntoResponse, Refusal> {
    let owner = caller.allowed(Scope::Control)?;
    let session = find(&app, &id, owner)?;
    if !session.is_closing() {
        session.close(options.save, "closed by its owner").await;
    }
    let saving = options.save && session.profile.is_some();
    Ok((StatusCode::ACCEPTED, Json(CloseReceipt { id: session.id.clone(), saving })))
}

fn find(app: &App, id: &str, owner: &str) -> Result<Arc<Session>, Refusal> {
    let id: SessionId = id.parse().map_err(|_| problem::no_session())?;
    app.table.get(&id, owner).ok_or_else(problem::no_session)
}
