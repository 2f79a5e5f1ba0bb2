//! `/v1/profiles`: sealed objects in and out, and saves that wait for their owner. The node reads none of it.

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State, rejection::JsonRejection},
    http::StatusCode,
    response::IntoResponse,
};
use cbrowse_protocol::{
    api::{MAX_OBJECT_NAMES, ObjectNames, Problem, Proposals},
    id::ProfileId,
    token::Scope,
};

use crate::{
    http::{App, Authenticated, problem::Refusal, sessions::bad_body},
    objects::ObjectError,
};

/// Runs a disk operation off the network threads.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ObjectError> + Send + 'static,
) -> Result<T, Refusal> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(Refusal(Problem::new(500, "internal", "Internal error", "the store's thread ended"))),
    }
}

fn profile_id(text: &str) -> Result<ProfileId, Refusal> {
    let hex =
        text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase());
    match text.parse() {
        Ok(id) if hex => Ok(id),
        _ => Err(Refusal(Problem::new(
            400,
            "profile_id",
            "Bad profile id",
            "a profile id has 32 hexadecimal digits",
        ))),
    }
}

/// `POST /v1/profiles/{profile}/missing`. The first question about a profile makes its asker the owner.
pub async fn missing(
    State(app): State<Arc<App>>,
    caller: Authenticated,
    Path(profile): Path<String>,
    body: Result<Json<ObjectNames>, JsonRejection>,
) -> Result<Json<ObjectNames>, Refusal> {
    let owner = caller.allowed(Scope::Profile)?.to_owned();
    let profile = profile_id(&profile)?;
    let Json(asked) = body.map_err(|rejection| bad_body(&rejection))?;
    if asked.names.len() > MAX_OBJECT_NAMES {
        let detail = format!("{} names; {MAX_OBJECT_NAMES} are allowed at once", asked.names.len());
        return Err(Problem::new(400, "too_many", "Too many names", detail).at("names").into());
    }
    let objects = app.objects.clone();
    let names = blocking(move || {
        objects.claim(&profile, &owner)?;
        objects.missing(&profile, &asked.names)
    })
    .await?;
    Ok(Json(ObjectNames { names }))
}

/// `PUT /v1/profiles/{profile}/objects/{name}`: 201 when it is new, 200 when it was here; never replaced.
pub async fn put_object(
    State(app): State<Arc<App>>,
    caller: Authenticated,
    Path((profile, name)): Path<(String, String)>,
    body: Bytes,
) -> Result<StatusCode, Refusal> {
    let owner = caller.allowed(Scope::Profile)?.to_owned();
    let profile = profile_id(&profile)?;
    app.table.renew_seat(&owner);
    let objects = app.objects.clone();
    let length = body.len() as u64;
    let new = blocking(move || {
        objects.claim(&profile, &owner)?;
        objects.put(&profile, &name, &body)
    })
    .await?;
    app.metrics.object_received(length);
    Ok(if new { StatusCode::CREATED } else { StatusCode::OK })
}

/// `GET /v1/profiles/{profile}/objects/{name}`.
pub async fn get_object(
    State(app): State<Arc<App>>,
    caller: Authenticated,
    Path((profile, name)): Path<(String, String)>,
) -> Result<impl IntoResponse, Refusal> {
    let owner = caller.allowed(Scope::Profile)?.to_owned();
    let profile = profile_id(&profile)?;
    let objects = app.objects.clone();
    blocking(move || {
        objects.check_owner(&profile, &owner)?;
        objects.get(&profile, &name)
    })
    .await
}

/// `GET /v1/profiles/{profile}/proposals`.
pub async fn proposals(
    State(app): State<Arc<App>>,
    caller: Authenticated,
    Path(profile): Path<String>,
) -> Result<Json<Proposals>, Refusal> {
    let owner = caller.allowed(Scope::Profile)?.to_owned();
    let profile = profile_id(&profile)?;
    // Counted before the proposals are read: a session that ends in between is then seen as still closing, never missed.
    let (running, closing) = app.table.of_profile(&profile);
    let objects = app.objects.clone();
    let proposals = blocking(move || {
        objects.check_owner(&profile, &owner)?;
        objects.proposals(&profile)
    })
    .await?;
    Ok(Json(Proposals { proposals, closing, running }))
}

/// `DELETE /v1/profiles/{profile}/proposals/{name}`: the owner has taken it.
pub async fn forget(
    State(app): State<Arc<App>>,
    caller: Authenticated,
    Path((profile, name)): Path<(String, String)>,
) -> Result<StatusCode, Refusal> {
    let owner = caller.allowed(Scope::Profile)?.to_owned();
    let profile = profile_id(&profile)?;
    let objects = app.objects.clone();
    let found = blocking(move || {
        objects.check_owner(&profile, &owner)?;
        objects.forget(&profile, &name)
    })
    .await?;
    if found { Ok(StatusCode::NO_CONTENT) } else { Err(ObjectError::Missing.into()) }
}

/// `DELETE /v1/profiles/{profile}`: everything this node holds of it.
pub async fn remove(
    State(app): State<Arc<App>>,
    caller: Authenticated,
    Path(profile): Path<String>,
) -> Result<StatusCode, Refusal> {
    let owner = caller.allowed(Scope::Profile)?.to_owned();
    let profile = profile_id(&profile)?;
    let objects = app.objects.clone();
    blocking(move || {
        objects.check_owner(&profile, &owner)?;
        objects.remove(&profile)
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}
