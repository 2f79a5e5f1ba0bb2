//! Every error of the interface is an RFC 9457 problem document.

use std::time::Duration;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use cbrowse_protocol::api::Problem;

use crate::{
    access,
    objects::{ObjectError, WordError, quota::Refused, shelf::ShelfError},
    session::table::CreateError,
};

/// When a node that could not start a worker, or says nothing else, is worth asking again.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// A node that drains is gone within its deadline (30 s unless set), and another may stand in its place.
const AFTER_DRAIN: Duration = Duration::from_secs(30);

const DOCUMENT: &str = "application/problem+json";
/// Longest text of an error that is not ours, in bytes.
const MAX_FOREIGN_TEXT: usize = 4096;

/// Marks an answer that is a document of its own, although its status says that something is not well.
#[derive(Debug, Clone, Copy)]
pub struct Finished;

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
            CreateError::Full { wait, .. } => Problem::new(503, "full", "No free seat", detail).after(wait),
            CreateError::Draining => Problem::new(503, "draining", "Draining", detail).after(AFTER_DRAIN),
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
            ObjectError::Deleted => Problem::new(410, "profile_deleted", "Profile deleted", detail),
            ObjectError::Damaged(_) => Problem::new(500, "object_damaged", "Damaged object", detail),
            ObjectError::TooMany(_) => Problem::new(409, "too_many_profiles", "Too many profiles", detail),
            ObjectError::Full(refused) => no_room(refused),
            ObjectError::Word(word) => unheard(&word),
            ObjectError::Shelf(ShelfError::Elsewhere { .. }) => {
                // What the store says of itself is for the operator.
                tracing::error!("profile store: {detail}");
                let told = "the store behind this node does not answer; what it took before is safe, and so is your own copy";
                Problem::new(503, "store_unavailable", "Store unavailable", told)
            }
            ObjectError::Shelf(_) => {
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

/// Nothing was half written, and what was kept before stays: that is said, since it is the first question.
fn no_room(refused: Refused) -> Problem {
    let safe = "nothing was lost: what is here stays, and your own copy is whole";
    let (code, title, detail) = match refused {
        Refused::Owner { used, quota } => (
            "quota_exceeded",
            "Quota exceeded",
            format!(
                "you keep {used} bytes here and may keep {quota}; {safe}; delete a profile you need no more, or ask the \
                 operator for more (--profile-quota)"
            ),
        ),
        Refused::Store { used, quota } => (
            "store_full",
            "Store full",
            format!(
                "this store keeps {used} bytes of {quota}; {safe}; try another node, or ask the operator (--store-quota)"
            ),
        ),
        Refused::Disk => (
            "disk_full",
            "Disk full",
            format!("the node's disk is nearly full; {safe}; try another node, or ask the operator"),
        ),
    };
    Problem::new(507, code, title, detail)
}

fn unheard(word: &WordError) -> Problem {
    let detail = word.to_string();
    match word {
        WordError::OtherKey => Problem::new(403, "other_key", "Another key", detail),
        WordError::Unsigned(_) => Problem::new(422, "bad_signature", "Not the owner's word", detail),
        WordError::Conflict { .. } => Problem::new(409, "head_conflict", "Not the successor", detail),
        WordError::Older { .. } => Problem::new(409, "outdated", "Older than what is here", detail),
        WordError::NoDeletion => Problem::new(400, "unsigned_deletion", "Signed word needed", detail),
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self(mut problem) = self;
        if matches!(problem.status, 429 | 503) && problem.retry_after.is_none() {
            problem = problem.after(RETRY_AFTER);
        }
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(DOCUMENT));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, access::challenge(&problem));
        }
        if let Some(seconds) = problem.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.get().into());
        }
        response
    }
}

/// An error that is not ours, such as a path or a query that cannot be read, in the form of ours.
pub async fn as_document(response: Response) -> Response {
    let status = response.status();
    let error = status.is_client_error() || status.is_server_error();
    let kind = response.headers().get(header::CONTENT_TYPE);
    let finished = response.extensions().get::<Finished>().is_some();
    if !error || finished || kind.is_some_and(|kind| kind == DOCUMENT) {
        return response;
    }
    let text = axum::body::to_bytes(response.into_body(), MAX_FOREIGN_TEXT).await.unwrap_or_default();
    let title = status.canonical_reason().unwrap_or("Error");
    Refusal(Problem::new(status.as_u16(), "request", title, String::from_utf8_lossy(&text))).into_response()
}

/// For a request that did not arrive, or could not be answered, in time.
pub fn too_slow(deadline: Duration) -> Refusal {
    let detail = format!("the request took longer than {} s", deadline.as_secs());
    Refusal(Problem::new(408, "too_slow", "Request timeout", detail))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_turned_away_hears_when_to_come_again() {
        let wait = Duration::from_secs(7);
        let waits = |refusal: Refusal| {
            let response = refusal.into_response();
            let told = response
                .headers()
                .get(header::RETRY_AFTER)
                .map(|value| value.to_str().unwrap_or("?").to_owned());
            (response.status().as_u16(), told)
        };
        let after = |seconds: &str| Some(seconds.to_owned());
        assert_eq!(waits(CreateError::Full { capacity: 1, wait }.into()), (503, after("7")));
        assert_eq!(waits(CreateError::Draining.into()), (503, after("30")));
        assert_eq!(waits(CreateError::Lost.into()), (503, after("5")));
        assert_eq!(waits(CreateError::KeyUsed.into()), (409, None));
        assert_eq!(waits(Problem::new(429, "x", "x", "x").into()), (429, after("5")));
        assert_eq!(waits(Problem::new(429, "x", "x", "x").after(wait).into()), (429, after("7")));
    }
}
