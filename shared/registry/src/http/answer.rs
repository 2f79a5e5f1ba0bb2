//! What came back: bounded before it is kept.

use std::{collections::VecDeque, net::IpAddr};

use cbrowse_protocol::node::printable;
use reqwest::{Response, StatusCode, header::HeaderMap};
use serde::Deserialize;

use super::{Words, unreachable};
use crate::error::Cause;

/// Largest answer in bytes: ten thousand instances with full metadata come to about half of it. Larger: a hostile
/// registry fills the client's memory.
pub(crate) const MAX_BODY_LENGTH: usize = 64 << 20;
/// Most of an error's text that is repeated, in characters.
const SHOWN_LENGTH: usize = 200;
/// Most of an error's body that is read, in bytes.
const MAX_ERROR_LENGTH: usize = 4 << 10;

/// An answer of any status.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// Who answered.
    pub(crate) peer: Option<IpAddr>,
    /// Which of the endpoints that is.
    pub(crate) endpoint: usize,
    /// At most [`MAX_BODY_LENGTH`] bytes; of an error, the first [`MAX_ERROR_LENGTH`].
    pub(crate) body: Vec<u8>,
    words: Words,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Itself if its status is 200, else the error that it means.
    pub(crate) fn ok(self) -> Result<Self, Cause> {
        if self.status == StatusCode::OK { Ok(self) } else { Err(self.refusal()) }
    }

    /// The error that this answer's status means.
    pub(crate) fn refusal(&self) -> Cause {
        let message = said(self.status, &self.body);
        match self.status.as_u16() {
            status @ (401 | 403) => Cause::Refused { status, message, token: self.words.token },
            status @ 300..=399 => {
                Cause::Status { status, message: "a redirect, which is not followed".into() }
            }
            status => Cause::Status { status, message },
        }
    }
}

/// The form in which many frameworks wrap an error's text.
#[derive(Deserialize)]
struct Wrapped {
    message: String,
    /// Where Nacos 3 says more.
    #[serde(default)]
    data: Option<String>,
}

impl Wrapped {
    fn text(self) -> String {
        match self.data {
            Some(data) => format!("{}: {data}", self.message),
            None => self.message,
        }
    }
}

/// The server's own words, where they are for people.
fn said(status: StatusCode, body: &[u8]) -> String {
    let wrapped = serde_json::from_slice::<Wrapped>(body);
    let text = wrapped.map_or_else(|_| String::from_utf8_lossy(body), |wrapped| wrapped.text().into());
    let text = text.trim();
    let reason = status.canonical_reason().unwrap_or("no text");
    if text.is_empty() {
        reason.to_owned()
    } else if text.starts_with('<') {
        format!("{reason}, as a page of HTML; is this the registry's API?")
    } else if text.contains("HTTP request to an HTTPS server") || text.contains("requires TLS") {
        format!("{}; add ?ssl to the catalog's name", printable(text.trim_end_matches('.'), SHOWN_LENGTH))
    } else {
        printable(text, SHOWN_LENGTH)
    }
}

pub(super) async fn read(mut response: Response, endpoint: usize, words: Words) -> Result<Answer, Cause> {
    let status = response.status();
    let is_error = !status.is_success();
    let limit = if is_error { MAX_ERROR_LENGTH } else { MAX_BODY_LENGTH };
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.transpose() {
        match chunk {
            Ok(chunk) if body.len() + chunk.len() <= limit => body.extend_from_slice(&chunk),
            Ok(chunk) if is_error => {
                body.extend_from_slice(&chunk[..limit - body.len()]);
                break;
            }
            Ok(_) => return Err(Cause::TooLarge { limit }),
            // The status says enough.
            Err(_) if is_error => break,
            Err(error) => return Err(unreachable(&error, words)),
        }
    }
    let peer = response.remote_addr().map(|address| address.ip());
    Ok(Answer { status, headers: response.headers().clone(), peer, endpoint, body, words })
}

/// An answer that goes on: its lines as they come.
#[derive(Debug)]
pub(crate) struct Lines {
    response: Response,
    endpoint: usize,
    words: Words,
    /// What came after the last line's end.
    rest: Vec<u8>,
    ready: VecDeque<Vec<u8>>,
}

impl Lines {
    pub(super) fn new(response: Response, endpoint: usize, words: Words) -> Self {
        Self { response, endpoint, words, rest: Vec::new(), ready: VecDeque::new() }
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// Who answers.
    pub(crate) fn peer(&self) -> Option<IpAddr> {
        self.response.remote_addr().map(|address| address.ip())
    }

    /// The whole answer, for one that is an error and ends.
    pub(crate) async fn whole(self) -> Result<Answer, Cause> {
        read(self.response, self.endpoint, self.words).await
    }

    /// The next line without its end, at most [`MAX_BODY_LENGTH`] bytes; `None` at the end of the answer. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<u8>>, Cause> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Ok(Some(line));
            }
            let chunk = self.response.chunk().await.map_err(|error| unreachable(&error, self.words))?;
            let Some(chunk) = chunk else {
                let rest = std::mem::take(&mut self.rest);
                return Ok(Some(rest).filter(|rest| !rest.is_empty()));
            };
            self.take(&chunk)?;
        }
    }

    fn take(&mut self, chunk: &[u8]) -> Result<(), Cause> {
        let mut pieces = chunk.split(|byte| *byte == b'\n');
        let first = pieces.next().unwrap_or_default();
        if self.rest.len() + first.len() > MAX_BODY_LENGTH {
            return Err(Cause::TooLarge { limit: MAX_BODY_LENGTH });
        }
        self.rest.extend_from_slice(first);
        for piece in pieces {
            self.ready.push_back(std::mem::replace(&mut self.rest, piece.to_vec()));
        }
        Ok(())
    }
}
