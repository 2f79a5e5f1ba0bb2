//! Every error of the interface is an RFC 9457 problem document.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use cbrowse_protocol::api::Problem;

use crate::{access, objects::ObjectError, session::table::CreateError};

/// Seconds after which a full node is worth asking again.
const RETRY_AFTER: &str = "5";

/// A problem on its way out.
#[derive(Debug)]
pub struct Refusal(pub Problem);

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl From<CreateError> for Refusal {
    fn from(error: CreateError) -> Self {
        let detail = error.to_string();
        Self(match error {
            CreateError::Full(_) => Problem::new(503, "full", "No free seat", detail),
            CreateError::Draining => Problem::new(503, "draining", "Draining", detail),
            CreateError::KeyUsed => {
                Problem::new(409, "session_key_used", "Session key used", detail).at("profile.session_key")
            }
            CreateError::Worker(_) | CreateError::Lost => {
                tracing::error!("create a session: {detail}");
                Problem::new(503, "worker_failed", "The node cannot start a browser", detail)
            }
        })
    }
}

impl From<ObjectError> for Refusal {
    fn from(error: ObjectError) -> Self {
        let detail = error.to_string();
        Self(match error {
            ObjectError::Name(_) => Problem::new(400, "object_name", "Bad object name", detail),
            ObjectError::Mismatch(_) => Problem::new(422, "object_mismatch", "Not the named object", detail),
            ObjectError::TooLong(_) => Problem::new(413, "too_large", "Too large", detail),
            ObjectError::Foreign => Problem::new(404, "no_profile", "No such profile", detail),
            ObjectError::Missing => Problem::new(404, "no_object", "No such object", detail),
            ObjectError::Disk { .. } => {
                // The path and the kernel's words are for the operator.
                tracing::error!("profile store: {detail}");
                Problem::new(
                    507,
                    "disk",
                    "The node's disk failed",
                    "the node could not write or read its store",
                )
            }
        })
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self(problem) = self;
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, access::challenge(&problem));
        }
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
        }
        response
    }
}

/// For paths that do not exist.
pub async fn no_route() -> Refusal {
    Refusal(Problem::new(404, "not_found", "Not found", "there is nothing at this path"))
}

/// For methods that a path does not know.
pub async fn no_method() -> Refusal {
    Refusal(Problem::new(405, "method", "Method not allowed", "this path does not know that method"))
}

/// For a session that does not exist or is somebody else's.
pub fn no_session() -> Refusal {
    Refusal(Problem::new(404, "no_session", "No such session", "there is no such session on this node"))
}
