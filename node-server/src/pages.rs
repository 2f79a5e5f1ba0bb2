//! The node's own pages, as pages see them under `http://cbrowse.internal/`: self-contained, never cached.

mod html;

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;

use self::html::escape;

const START: &str = include_str!("pages/start.html");
const COLOURS: &str = include_str!("pages/colours.html");
const ECHO: &str = include_str!("pages/echo.html");
const NOTICE: &str = include_str!("pages/notice.html");

/// The cookie that counts visits; the server sets it, so that it proves that cookies travel with a profile.
const VISITS_COOKIE: &str = "visits";
/// How long the count is kept, in seconds: a year. Chromium caps cookies at 400 days.
const VISITS_MAX_AGE: u32 = 365 * 24 * 60 * 60;
/// Where the count stops: more digits than this are somebody's joke.
const MAX_VISITS: u32 = 1_000_000;

/// What the start page says about the node.
#[derive(Debug, Clone)]
pub struct NodeFacts {
    /// The node's id.
    pub node: String,
    /// Its region.
    pub region: String,
    /// Its browser's version, as `156.0.7204.0`.
    pub browser: String,
}

/// The pages of one node.
#[derive(Debug, Clone)]
pub struct Pages {
    /// The start page, in the two parts around the number of visits.
    start: Document,
    colours: Document,
    echo: Document,
    missing: Document,
    refused: Document,
}

/// A page and the policy that lets its own inline parts run, and nothing else.
#[derive(Debug, Clone)]
struct Document {
    html: String,
    policy: HeaderValue,
}

impl Pages {
    /// Writes the node's facts into its pages.
    pub fn new(facts: &NodeFacts) -> Self {
        let start = START
            .replace("{{node}}", &escape(&facts.node))
            .replace("{{region}}", &escape(&facts.region))
            .replace("{{browser}}", &escape(&facts.browser));
        Self {
            start: Document::new(start),
            colours: Document::new(COLOURS.to_owned()),
            echo: Document::new(ECHO.to_owned()),
            missing: notice("Nothing here", "This node has no page at this address."),
            refused: notice(
                "This node does not let pages reach that address",
                "It belongs to the node itself, to its network or to a range that is not on the public Internet, \
                 or whoever runs the node has closed it.",
            ),
        }
    }

    /// Answers a request to `cbrowse.internal`.
    pub fn respond<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return self.missing.answer(StatusCode::METHOD_NOT_ALLOWED);
        }
        match request.uri().path() {
            "/" => self.start(visits(request).saturating_add(1).min(MAX_VISITS)),
            "/colours" => self.colours.answer(StatusCode::OK),
            "/echo" => self.echo.answer(StatusCode::OK),
            _ => self.missing.answer(StatusCode::NOT_FOUND),
        }
    }

    /// Answers any request to a destination that the guard refuses.
    pub fn refuse(&self) -> Response<Full<Bytes>> {
        self.refused.answer(StatusCode::FORBIDDEN)
    }

    fn start(&self, visits: u32) -> Response<Full<Bytes>> {
        let visits = visits.to_string();
        let html = self.start.html.replacen("{{visits}}", &visits, 1);
        let mut response = Document { html, policy: self.start.policy.clone() }.answer(StatusCode::OK);
        let cookie =
            format!("{VISITS_COOKIE}={visits}; Max-Age={VISITS_MAX_AGE}; Path=/; HttpOnly; SameSite=Lax");
        if let Ok(cookie) = HeaderValue::try_from(cookie) {
            response.headers_mut().insert(header::SET_COOKIE, cookie);
        }
        response
    }
}

impl Document {
    fn new(html: String) -> Self {
        let styles = hashes(&html, "<style>", "</style>");
        let scripts = hashes(&html, "<script>", "</script>");
        let policy = format!(
            "default-src 'none'; style-src {styles}; script-src {scripts}; img-src data:; base-uri 'none'; \
             form-action 'none'; frame-ancestors 'none'"
        );
        let policy = HeaderValue::try_from(policy).expect("base64 and ASCII text make a header");
        Self { html, policy }
    }

    fn answer(&self, status: StatusCode) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from(self.html.clone())));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_SECURITY_POLICY, self.policy.clone());
        for (name, value) in FIXED_HEADERS {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

const FIXED_HEADERS: [(HeaderName, &str); 5] = [
    (header::CONTENT_TYPE, "text/html; charset=utf-8"),
    (header::CACHE_CONTROL, "no-store"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
];

fn notice(title: &str, text: &str) -> Document {
    Document::new(NOTICE.replace("{{title}}", &escape(title)).replace("{{text}}", &escape(text)))
}

/// The CSP sources that allow exactly the inline elements of a page.
fn hashes(html: &str, open: &str, close: &str) -> String {
    let bodies = html.split(open).skip(1).filter_map(|rest| rest.split_once(close));
    let sources: Vec<String> = bodies
        .map(|(body, _)| format!("'sha256-{}'", BASE64_STANDARD.encode(digest(&SHA256, body.as_bytes()))))
        .collect();
    if sources.is_empty() { "'none'".to_owned() } else { sources.join(" ") }
}

/// How often the browser has been here, by its cookie.
fn visits<B>(request: &Request<B>) -> u32 {
    let cookies = request.headers().get_all(header::COOKIE).into_iter();
    let mut pairs = cookies.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(';'));
    pairs
        .find_map(|pair| pair.trim().strip_prefix(VISITS_COOKIE)?.strip_prefix('=')?.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests;
