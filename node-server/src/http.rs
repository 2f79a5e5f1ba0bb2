//! The node's HTTP interface: routes, and the one place where a request becomes a principal.

pub mod attach;
pub mod problem;
pub mod profiles;
pub mod public;
pub mod server;
pub mod sessions;

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, FromRequestParts},
    http::request::Parts,
    routing::{get, post, put},
};
use cbrowse_protocol::{
    api::{MAX_BODY_LENGTH, MAX_OBJECT_LENGTH, Problem},
    token::Scope,
};

use crate::{
    access::{Access, Principal},
    http::problem::Refusal,
    load::LoadReader,
    metrics::Metrics,
    node::Facts,
    objects::Objects,
    session::table::Table,
};

/// What every handler may use.
pub struct App {
    /// Who the node is.
    pub facts: Facts,
    /// Who may ask.
    pub access: Access,
    /// Sessions.
    pub table: Table,
    /// Sealed profiles.
    pub objects: Objects,
    /// How busy the machine is.
    pub load: LoadReader,
    /// Counters.
    pub metrics: Metrics,
}

/// All routes.
pub fn router(app: Arc<App>) -> Router {
    let objects = Router::new()
        .route("/v1/profiles/{profile}/objects/{name}", put(profiles::put_object).get(profiles::get_object))
        .layer(DefaultBodyLimit::max(MAX_OBJECT_LENGTH));
    Router::new()
        .route("/health", get(public::health))
        .route("/ready", get(public::ready))
        .route("/status", get(public::status))
        .route("/metrics", get(public::metrics))
        .route("/v1/whoami", get(sessions::whoami))
        .route("/v1/sessions", post(sessions::create).get(sessions::list))
        .route("/v1/sessions/{id}", get(sessions::show).delete(sessions::close))
        .route("/v1/profiles/{profile}", axum::routing::delete(profiles::remove))
        .route("/v1/profiles/{profile}/missing", post(profiles::missing))
        .route("/v1/profiles/{profile}/proposals", get(profiles::proposals))
        .route("/v1/profiles/{profile}/proposals/{name}", axum::routing::delete(profiles::forget))
        .route("/ws/{id}", get(attach::attach))
        .layer(DefaultBodyLimit::max(MAX_BODY_LENGTH))
        .merge(objects)
        .fallback(problem::no_route)
        .method_not_allowed_fallback(problem::no_method)
        .with_state(app)
}

/// A principal, proven by token and proof. Handlers then ask for the scope they need.
pub struct Authenticated(pub Principal);

impl Authenticated {
    /// The subject, if the token allows `scope`.
    pub fn allowed(&self, scope: Scope) -> Result<&str, Problem> {
        self.0.require(scope)?;
        Ok(&self.0.subject)
    }
}

impl FromRequestParts<Arc<App>> for Authenticated {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refusal> {
        let path = parts.uri.path();
        let principal =
            app.access.authenticate(&parts.method, path, &parts.headers, crate::node::unix_now())?;
        Ok(Self(principal))
    }
}
