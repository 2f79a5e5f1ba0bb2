//! The node's HTTP interface: routes, and the one place where a request becomes a principal.

pub mod attach;
#[cfg(feature = "grpc-health")]
pub mod grpc;
pub mod problem;
pub mod profiles;
pub mod public;
pub mod seats;
pub mod server;
pub mod sessions;
pub mod status;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, FromRequestParts, Request},
    http::request::Parts,
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{get, post, put},
};
use cbrowse_protocol::{
    api::{MAX_BODY_LENGTH, MAX_OBJECT_LENGTH, Problem},
    node::NodeRecord,
    token::Scope,
};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::{
    access::{Access, Principal},
    health::Monitor,
    http::{problem::Refusal, status::StatusCache},
    limiter::Limiter,
    load::LoadReader,
    metrics::Metrics,
    node::Facts,
    objects::Objects,
    peer::Prefix,
    session::table::Table,
};

/// From a request's head to its answer, body included. A sealed object of 16 MiB takes this long at 0.75 Mbit/s; a client
/// that sends slower, or nothing, holds a connection for no longer.
const REQUEST_DEADLINE: Duration = Duration::from_secs(180);

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
    /// How well the node is.
    pub health: Monitor,
    /// What registries are told; its tags, weight and facts change with the settings, its health by itself.
    pub record: watch::Sender<NodeRecord>,
    /// Counters.
    pub metrics: Metrics,
    /// The answer to `/status`, as long as it is true.
    pub status: StatusCache,
    /// How often each client may ask for it.
    pub status_limit: Limiter<Prefix>,
    /// How often each user may ask for a seat.
    pub seat_limit: Limiter<String>,
    /// Attached sockets, which outlive the requests that opened them.
    pub sockets: TaskTracker,
}

/// All routes.
pub fn router(app: Arc<App>) -> Router {
    let objects = Router::new()
        .route("/v1/profiles/{profile}/objects/{name}", put(profiles::put_object).get(profiles::get_object))
        .layer(DefaultBodyLimit::max(MAX_OBJECT_LENGTH));
    let router = Router::new();
    #[cfg(feature = "grpc-health")]
    let router = router.route(grpc::CHECK, post(grpc::check)).route(grpc::WATCH, post(grpc::watch));
    router
        .route("/health", get(public::health))
        .route("/ready", get(public::ready))
        .route("/status", get(status::status))
        .route("/metrics", get(public::metrics))
        .route("/v1/whoami", get(sessions::whoami))
        .route("/v1/seats", post(seats::reserve))
        .route("/v1/seats/{id}", axum::routing::delete(seats::release))
        .route("/v1/sessions", post(sessions::create).get(sessions::list))
        .route("/v1/sessions/{id}", get(sessions::show).delete(sessions::close))
        .route("/v1/profiles", get(profiles::list))
        .route("/v1/profiles/{profile}/head", get(profiles::head).put(profiles::put_head))
        .route("/v1/profiles/{profile}/retain", put(profiles::retain))
        .route("/v1/profiles/{profile}/key", put(profiles::put_key))
        .route("/v1/profiles/{profile}", axum::routing::delete(profiles::remove))
        .route("/v1/profiles/{profile}/missing", post(profiles::missing))
        .route("/v1/profiles/{profile}/proposals", get(profiles::proposals))
        .route("/v1/profiles/{profile}/proposals/{name}", axum::routing::delete(profiles::forget))
        .route("/ws/{id}", get(attach::attach))
        .layer(DefaultBodyLimit::max(MAX_BODY_LENGTH))
        .merge(objects)
        .fallback(problem::no_route)
        .method_not_allowed_fallback(problem::no_method)
        .layer(middleware::from_fn(answer))
        .with_state(app)
}

/// Every answer comes in time, and every error is a problem document.
async fn answer(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_DEADLINE, next.run(request)).await {
        Ok(response) => problem::as_document(response).await,
        Err(_) => problem::too_slow(REQUEST_DEADLINE).into_response(),
    }
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

#[cfg(test)]
mod tests {
    use axum::{body::Body, extract::Path};
    use http_body_util::{BodyExt as _, StreamBody};
    use hyper::service::Service as _;
    use hyper_util::service::TowerToHyperService;

    use super::*;

    async fn ask(path: &str, body: Body) -> (u16, Problem) {
        let router = Router::new()
            .route("/number/{n}", get(|Path(_): Path<u8>| async {}))
            .route("/echo", post(|body: bytes::Bytes| async { body }))
            .layer(middleware::from_fn(answer));
        let method = if path == "/echo" { "POST" } else { "GET" };
        let request = Request::builder().method(method).uri(path).body(body).expect("a request");
        let response = TowerToHyperService::new(router).call(request).await.expect("an answer");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        (status, serde_json::from_slice(&body).expect("a problem document"))
    }

    #[tokio::test]
    async fn what_a_path_or_query_cannot_be_is_a_problem_document_too() {
        let (status, problem) = ask("/number/x", Body::empty()).await;
        assert_eq!((status, problem.status), (400, 400));
        assert!(problem.detail.contains("`x`"), "{problem:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_is_given_up() {
        let body = Body::new(StreamBody::new(futures_util::stream::pending::<
            Result<hyper::body::Frame<bytes::Bytes>, std::io::Error>,
        >()));
        let (status, problem) = ask("/echo", body).await;
        assert_eq!((status, problem.code.as_str()), (408, "too_slow"));
    }
}
