//! `/v1/profiles`: sealed objects in and out, and saves that wait for their owner. The node reads none of it.

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State, rejection::JsonRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use cbrowse_protocol::{
    api::{
        DeletionReceipt, DeletionRequest, KeyRequest, MAX_OBJECT_NAMES, ObjectNames, PointerView, Problem,
        ProfileList, Proposals, RetainRequest, Retained,
    },
    id::ProfileId,
    token::Scope,
};

use crate::{
    http::{App, Authenticated, problem::Refusal, sessions::bad_body},
    node::unix_now,
    objects::{ObjectError, Removal},
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

/// `DELETE /v1/profiles/{profile}`: 204 when everything is gone; 202 when a store that several nodes share has its owner's
/// word, and its operator removes it.
pub async fn remove(
    State(app): State<Arc<App>>,
    caller: Authenticated,
    Path(profile): Path<String>,
    body: Bytes,
) -> Result<Response, Refusal> {
    let owner = caller.allowed(Scope::Profile)?.to_owned();
    let profile = profile_id(&profile)?;
    // Clients of earlier versions send none.
    let word: Option<DeletionRequest> = if body.is_empty() {
        None
    } else {
        Some(serde_json::from_slice(&body).map_err(|error| unreadable(&error))?)
    };
    let (objects, store) = (app.objects.clone(), app.objects.describe());
    let removal = blocking(move || {
        match objects.check_owner(&profile, &owner) {
            Err(ObjectError::Deleted) => Err(ObjectError::Foreign),
            checked => checked,
        }?;
        objects.remove(&profile, word.as_ref())
    })
    .await?;
    Ok(match removal {
        Removal::Gone => StatusCode::NO_CONTENT.into_response(),
        Removal::Marked => {
            let receipt = DeletionReceipt { outcome: "marked".into(), store };
            (StatusCode::ACCEPTED, Json(receipt)).into_response()
        }
    })
}

/// `GET /v1/profiles`: the caller's profiles.
pub async fn list(State(app): State<Arc<App>>, caller: Authenticated) -> Result<Json<ProfileList>, Refusal> {
    let owner = caller.allowed(Scope::Profile)?.to_owned();
    let objects = app.objects.clone();
    Ok(Json(blocking(move || objects.profiles_of(&owner)).await?))
}

/// `GET /v1/profiles/{profile}/head`.
pub async fn head(
    State(app): State<Arc<App>>,
    caller: Authenticated,
    Path(profile): Path<String>,
) -> Result<Json<PointerView>, Refusal> {
    let owner = caller.allowed(Scope::Profile)?.to_owned();
    let profile = profile_id(&profile)?;
    let objects = app.objects.clone();
    let current = blocking(move || {
        objects.check_owner(&profile, &owner)?;
        objects.head(&profile)
    })
    .await?;
    let none =
        || Problem::new(404, "no_head", "No head", "nothing was made current of this profile here").into();
    current.map(Json).ok_or_else(none)
}

/// `PUT /v1/profiles/{profile}/head`: compare and swap.
pub async fn put_head(
    State(app): State<Arc<App>>,
    caller: Authenticated,
    Path(profile): Path<String>,
    body: Result<Json<PointerView>, JsonRejection>,
) -> Result<StatusCode, Refusal> {
    let owner = caller.allowed(Scope::Profile)?.to_owned();
    let profile = profile_id(&profile)?;
    let Json(view) = body.map_err(|rejection| bad_body(&rejection))?;
    let objects = app.objects.clone();
    blocking(move || {
        objects.claim(&profile, &owner)?;
        objects.advance(&profile, &view)
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `PUT /v1/profiles/{profile}/retain`.
pub async fn retain(
    State(app): State<Arc<App>>,
    caller: Authenticated,
    Path(profile): Path<String>,
    body: Result<Json<RetainRequest>, JsonRejection>,
) -> Result<Json<Retained>, Refusal> {
    let owner = caller.allowed(Scope::Profile)?.to_owned();
    let profile = profile_id(&profile)?;
    let Json(request) = body.map_err(|rejection| bad_body(&rejection))?;
    let (running, closing) = app.table.of_profile(&profile);
    let objects = app.objects.clone();
    let retained = blocking(move || {
        objects.claim(&profile, &owner)?;
        objects.retain(&profile, &request, running + closing > 0, unix_now())
    });
    Ok(Json(retained.await?))
}

/// `PUT /v1/profiles/{profile}/key`: the key that speaks for the profile hands over to another.
pub async fn put_key(
    State(app): State<Arc<App>>,
    caller: Authenticated,
    Path(profile): Path<String>,
    body: Result<Json<KeyRequest>, JsonRejection>,
) -> Result<StatusCode, Refusal> {
    let owner = caller.allowed(Scope::Profile)?.to_owned();
    let profile = profile_id(&profile)?;
    let Json(next) = body.map_err(|rejection| bad_body(&rejection))?;
    let objects = app.objects.clone();
    blocking(move || {
        objects.claim(&profile, &owner)?;
        objects.hand_over(&profile, &next)
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

fn unreadable(error: &serde_json::Error) -> Refusal {
    Problem::new(400, "bad_request", "Bad request", format!("the body cannot be read: {error}")).into()
}
