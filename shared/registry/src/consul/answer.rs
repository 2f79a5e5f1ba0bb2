//! What came back: bounded before it is parsed, with the headers that mean something.

use std::net::IpAddr;

use cbrowse_protocol::node::printable;
use reqwest::{Response, StatusCode, header::HeaderMap};

use super::agent::unreachable;
use crate::error::Cause;

/// Largest answer in bytes: ten thousand instances with full metadata come to about half of it. Larger: a hostile
/// registry fills the client's memory.
pub(super) const MAX_BODY_LENGTH: usize = 64 << 20;
/// Most of an error's text that is repeated, in characters.
const SHOWN_LENGTH: usize = 200;
/// Most of an error's body that is read, in bytes.
const MAX_ERROR_LENGTH: usize = 4 << 10;

/// A 200.
#[derive(Debug)]
pub(super) struct Answer {
    /// `X-Consul-Index`: what to wait past.
    pub(super) index: Option<u64>,
    /// `X-Consul-Results-Filtered-By-ACLs` (Consul 1.11): the list is not all there is.
    pub(super) filtered_by_acls: bool,
    /// Who answered.
    pub(super) peer: Option<IpAddr>,
    /// At most [`MAX_BODY_LENGTH`] bytes.
    pub(super) body: Vec<u8>,
}

pub(super) async fn read(response: Response) -> Result<Answer, Cause> {
    let status = response.status();
    if status != StatusCode::OK {
        return Err(refusal(status, body(response, MAX_ERROR_LENGTH).await));
    }
    let index = header(response.headers(), "X-Consul-Index").and_then(|text| text.parse().ok());
    let filtered = header(response.headers(), "X-Consul-Results-Filtered-By-ACLs") == Some("true");
    let peer = response.remote_addr().map(|address| address.ip());
    Ok(Answer { index, filtered_by_acls: filtered, peer, body: body(response, MAX_BODY_LENGTH).await? })
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

async fn body(mut response: Response, limit: usize) -> Result<Vec<u8>, Cause> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| unreachable(&error))? {
        if body.len() + chunk.len() > limit {
            return Err(Cause::TooLarge { limit });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn refusal(status: StatusCode, body: Result<Vec<u8>, Cause>) -> Cause {
    let body = body.unwrap_or_default();
    let message = match printable(String::from_utf8_lossy(&body).trim(), SHOWN_LENGTH) {
        text if text.is_empty() => status.canonical_reason().unwrap_or("no text").to_owned(),
        text => text,
    };
    match status.as_u16() {
        status @ (401 | 403) => Cause::Refused { status, message },
        status @ 300..=399 => Cause::Status { status, message: "a redirect, which is not followed".into() },
        status => Cause::Status { status, message },
    }
}
