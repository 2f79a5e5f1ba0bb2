//! What is asked of a node: a method, a path, a body, and how long the answer may be.

use std::time::Duration;

use bytes::Bytes;
use cbrowse_protocol::api::{MAX_BODY_LENGTH, MAX_OBJECT_LENGTH};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::outgoing::Flow;

/// How long a node may take to answer a request, beyond what its body takes to travel. With less, a worker that restores
/// a large profile looks dead.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// The slowest link in bytes a second that still gets a body through; below it, a pack runs into its deadline.
const SLOWEST_RATE: u64 = 16 * 1024;

/// A request's body.
#[derive(Debug, Clone, Default)]
pub enum Body {
    /// None.
    #[default]
    Empty,
    /// A JSON document.
    Json(Bytes),
    /// Anything else, such as an object of a profile.
    Octets(Bytes),
}

/// What is asked of a node.
#[derive(Debug, Clone)]
pub struct Ask<'a> {
    pub(super) method: Method,
    pub(super) path: &'a str,
    pub(super) body: Body,
    pub(super) headers: HeaderMap,
    pub(super) limit: usize,
    pub(super) flow: Option<Flow>,
}

impl<'a> Ask<'a> {
    /// A request for `path` (with its query) without a body, whose answer is at most a JSON document.
    pub fn new(method: Method, path: &'a str) -> Self {
        Self {
            method,
            path,
            body: Body::Empty,
            headers: HeaderMap::new(),
            limit: MAX_BODY_LENGTH,
            flow: None,
        }
    }

    /// With a JSON body.
    #[must_use]
    pub fn json(mut self, document: &impl serde::Serialize) -> Self {
        self.body = Body::Json(serde_json::to_vec(document).expect("plain data serializes").into());
        self
    }

    /// With the bytes of an object.
    #[must_use]
    pub fn octets(mut self, bytes: Bytes) -> Self {
        self.body = Body::Octets(bytes);
        self
    }

    /// Its body leaves as `flow` permits, and is counted there.
    #[must_use]
    pub fn flowing(mut self, flow: Flow) -> Self {
        self.flow = Some(flow);
        self
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// The answer may be an object.
    #[must_use]
    pub fn for_object(mut self) -> Self {
        self.limit = MAX_OBJECT_LENGTH;
        self
    }

    pub(super) fn deadline(&self) -> Duration {
        let up = match &self.body {
            Body::Empty => 0,
            Body::Json(bytes) | Body::Octets(bytes) => bytes.len(),
        };
        let travels = u64::try_from(up.max(self.limit)).unwrap_or(u64::MAX) / SLOWEST_RATE;
        REQUEST_TIMEOUT + Duration::from_secs(travels)
    }
}
