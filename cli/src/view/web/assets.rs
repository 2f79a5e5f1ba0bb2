//! The page's files, compiled in, and the headers that every answer carries.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;

/// What every request gets.
pub(super) type Answer = Response<Full<Bytes>>;

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Path, type and text.
const FILES: &[(&str, &str, &str)] = &[
    ("/", "text/html; charset=utf-8", include_str!("../page/index.html")),
    ("/viewer.css", "text/css; charset=utf-8", include_str!("../page/viewer.css")),
    ("/icon.svg", "image/svg+xml", include_str!("../page/icon.svg")),
    ("/viewer.js", SCRIPT, include_str!("../page/viewer.js")),
    ("/link.js", SCRIPT, include_str!("../page/link.js")),
    ("/picture.js", SCRIPT, include_str!("../page/picture.js")),
    ("/input.js", SCRIPT, include_str!("../page/input.js")),
    ("/bars.js", SCRIPT, include_str!("../page/bars.js")),
    ("/dialogs.js", SCRIPT, include_str!("../page/dialogs.js")),
    ("/figures.js", SCRIPT, include_str!("../page/figures.js")),
];

/// `SameSite=Strict` keeps the cookie from a redirect that began in a file, so the page moves on by itself.
const OPENED: &str = r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="color-scheme" content="light dark">
<meta http-equiv="refresh" content="0; url=/">
<link rel="icon" href="/icon.svg">
<title>cbrowse</title>
<p><a href="/">Open the viewer</a></p>
</html>
"#;

/// The file of this path.
pub(super) fn file(path: &str, port: u16) -> Option<Answer> {
    let (_, kind, text) = FILES.iter().find(|(name, ..)| *name == path)?;
    Some(answer(StatusCode::OK, kind, Bytes::from_static(text.as_bytes()), port))
}

/// After the code was right.
pub(super) fn opened(port: u16) -> Answer {
    answer(StatusCode::OK, "text/html; charset=utf-8", Bytes::from_static(OPENED.as_bytes()), port)
}

/// A refusal in one plain sentence.
pub(super) fn refusal(status: StatusCode, sentence: &'static str, port: u16) -> Answer {
    answer(status, "text/plain; charset=utf-8", Bytes::from_static(sentence.as_bytes()), port)
}

fn answer(status: StatusCode, kind: &'static str, body: Bytes, port: u16) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    for (name, value) in FIXED {
        headers.insert(*name, HeaderValue::from_static(value));
    }
    let policy = HeaderValue::from_str(&policy(port)).expect("a policy is ASCII");
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    answer
}

const FIXED: &[(&str, &str)] = &[
    ("cache-control", "no-store"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), microphone=(), geolocation=(), usb=(), serial=(), hid=()"),
];

/// Nothing but the page's own files and its socket; text can never become markup (Trusted Types).
fn policy(port: u16) -> String {
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
         connect-src ws://127.0.0.1:{port} ws://localhost:{port}; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_makes_markup_of_text_or_needs_what_the_policy_forbids() {
        let forbidden =
            ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", " style=", "@import"];
        for (name, _, text) in FILES {
            for word in forbidden {
                assert!(!text.contains(word), "{name} has {word}");
            }
            for (at, script) in text.match_indices("<script") {
                assert!(
                    text[at + script.len()..].starts_with(" src=\"/viewer.js\""),
                    "{name} has an inline script"
                );
            }
        }
    }

    #[test]
    fn every_answer_is_strict() {
        for answer in [file("/", 9).unwrap(), opened(9), refusal(StatusCode::FORBIDDEN, "no", 9)] {
            let headers = answer.headers();
            assert_eq!(headers[header::CACHE_CONTROL], "no-store");
            assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
            let policy = headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
            assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
            assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"));
        }
        assert!(file("/../secret", 9).is_none());
    }
}
