//! What a Nacos server's answers mean, in either dialect of its API. Pure: bytes in, plain data out.
//!
//! ```text
//! v3   {"code":0,"message":"success","data":…}                every answer; another code is an error
//! v1   {"hosts":[…],"cacheMillis":10000,…}                    instances
//! v1   {"code":10200,"clientBeatInterval":5000,…}             a heartbeat; 20404 when there is no such instance
//! v1   ok                                                     a write
//! both {"accessToken":"…","tokenTtl":18000,…}                 a login
//! ```

use std::{borrow::Cow, time::Duration};

use cbrowse_protocol::node::printable;
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{capped::Capped, error::Cause};

/// v3, all went well.
const SUCCESS: i64 = 0;
/// v1, a heartbeat was heard.
const BEAT_HEARD: i64 = 10_200;
/// The codes that mean "no such instance": v1's answer to a heartbeat, and v3's (`instance not found` and
/// `resource not found`).
const NOT_FOUND: [i64; 3] = [20_404, 21_003, 20_004];
/// How much of a server's own words an error repeats, in characters.
const SHOWN_LENGTH: usize = 200;

/// The form of every v3 answer; of v1's heartbeat and list of namespaces the code as well.
#[derive(Deserialize)]
struct Envelope<'text> {
    code: i64,
    #[serde(borrow, default)]
    message: Option<Cow<'text, str>>,
    #[serde(borrow, default)]
    data: Option<&'text RawValue>,
}

/// Instances of a service, each still as text: one of another shape does not spoil the rest.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Instances<'text> {
    #[serde(borrow)]
    pub(super) hosts: Capped<&'text RawValue>,
    /// How long the answer may be used, in milliseconds; v3 does not say.
    #[serde(default)]
    pub(super) cache_millis: Option<u64>,
    /// So few instances are healthy that the server shows all of them as such.
    #[serde(default)]
    pub(super) reach_protection_threshold: Option<bool>,
}

/// What a heartbeat came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beat {
    /// It was heard; v1 says when the next one is due.
    Heard(Option<Duration>),
    /// There is no such instance (any more).
    Unknown,
}

/// A token and how long it lives.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Granted {
    pub(super) access_token: String,
    /// In seconds.
    #[serde(default)]
    pub(super) token_ttl: u64,
}

/// A namespace: the id, which is its name for programs, and what people call it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Namespace {
    #[serde(rename = "namespace")]
    pub(super) id: String,
    #[serde(rename = "namespaceShowName", default)]
    pub(super) name: String,
}

/// Whether the server does not have what was asked for at all, in contrast to an API that answers badly: r-nacos says
/// 404 with nothing, Spring's own page says 404 without a code, Nacos's filters say 501 (`no such api`), and a
/// Nacos 3 that was told to leave v1 says 410.
pub(super) fn is_no_such_api(status: StatusCode, body: &[u8]) -> bool {
    match status {
        StatusCode::NOT_IMPLEMENTED | StatusCode::GONE => true,
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
            // v1 begins its own refusals with this word: there is an API, and no such instance.
            let own_words = body.starts_with(b"caused:");
            !own_words && serde_json::from_slice::<Envelope>(body).is_err()
        }
        _ => false,
    }
}

/// The instances in an answer of v3.
pub(super) fn instances_v3(body: &[u8]) -> Result<Instances<'_>, Cause> {
    let data = succeeded(body)?;
    Ok(Instances { hosts: parse(data.map_or("[]", RawValue::get).as_bytes())?, ..Instances::default() })
}

/// The instances in an answer of v1.
pub(super) fn instances_v1(body: &[u8]) -> Result<Instances<'_>, Cause> {
    parse(body)
}

/// A heartbeat's answer, in either dialect.
pub(super) fn beat(body: &[u8]) -> Result<Beat, Cause> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer {
        code: i64,
        #[serde(default)]
        client_beat_interval: Option<u64>,
    }
    let answer: Answer = parse(body)?;
    match answer.code {
        SUCCESS | BEAT_HEARD => Ok(Beat::Heard(answer.client_beat_interval.map(Duration::from_millis))),
        code if NOT_FOUND.contains(&code) => Ok(Beat::Unknown),
        code => {
            let message = refusal(body).unwrap_or_else(|| format!("code {code}"));
            Err(Cause::Status { status: StatusCode::OK.as_u16(), message })
        }
    }
}

/// A write's answer of v3: nothing to learn but that it was done.
pub(super) fn written_v3(body: &[u8]) -> Result<(), Cause> {
    succeeded(body).map(drop)
}

/// A write's answer of v1.
pub(super) fn written_v1(body: &[u8]) -> Result<(), Cause> {
    match body.trim_ascii() {
        b"ok" => Ok(()),
        other => Err(Cause::Malformed(format!(
            "{:?} instead of \"ok\"",
            printable(&String::from_utf8_lossy(other), SHOWN_LENGTH)
        ))),
    }
}

/// A login's answer.
pub(super) fn granted(body: &[u8]) -> Result<Granted, Cause> {
    // The parser's own words could repeat a part of the token.
    serde_json::from_slice(body).map_err(|_| Cause::Malformed("a login's answer without a token".into()))
}

/// The namespaces in an answer of either dialect.
pub(super) fn namespaces(body: &[u8]) -> Result<Vec<Namespace>, Cause> {
    let envelope: Envelope = parse(body)?;
    let known: Capped<Namespace> = parse(envelope.data.map_or("[]", RawValue::get).as_bytes())?;
    Ok(known.first)
}

/// What an answer in v3's form says went wrong; nothing when it is of another form, or nothing did.
pub(super) fn refusal(body: &[u8]) -> Option<String> {
    let envelope: Envelope = serde_json::from_slice(body).ok()?;
    if envelope.code == SUCCESS {
        return None;
    }
    let details = envelope.data.and_then(|data| serde_json::from_str::<String>(data.get()).ok());
    let message = match (envelope.message, details) {
        (Some(message), Some(details)) => format!("{message}: {details}"),
        (message, details) => message.map(Cow::into_owned).or(details).unwrap_or_default(),
    };
    Some(printable(&format!("code {} {message}", envelope.code), SHOWN_LENGTH))
}

fn succeeded(body: &[u8]) -> Result<Option<&RawValue>, Cause> {
    let envelope: Envelope = parse(body)?;
    match refusal(body) {
        Some(message) => Err(Cause::Status { status: StatusCode::OK.as_u16(), message }),
        None => Ok(envelope.data),
    }
}

fn parse<'text, Value: Deserialize<'text>>(body: &'text [u8]) -> Result<Value, Cause> {
    serde_json::from_slice(body).map_err(|error| Cause::Malformed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nacos's documentation, "Client API", sections 2.1 and 2.3 (version 3.0 to 3.3).
    const OK_V3: &str = r#"{"code":0,"message":"success","data":"ok"}"#;
    /// r-nacos 0.8.8.
    const BEAT_V1: &str = r#"{"lightBeatEnabled":true,"code":10200,"clientBeatInterval":5000}"#;

    #[test]
    fn a_beat_is_heard_or_the_instance_is_unknown() {
        assert_eq!(beat(OK_V3.as_bytes()), Ok(Beat::Heard(None)));
        assert_eq!(beat(BEAT_V1.as_bytes()), Ok(Beat::Heard(Some(Duration::from_secs(5)))));
        for code in NOT_FOUND {
            let body = format!(r#"{{"code":{code},"message":"instance not found","data":null}}"#);
            assert_eq!(beat(body.as_bytes()), Ok(Beat::Unknown), "{code}");
        }
        let error = beat(br#"{"code":21000,"message":"service name error","data":"what"}"#).unwrap_err();
        assert!(error.to_string().contains("code 21000 service name error: what"), "{error}");
        assert!(matches!(beat(b"ok"), Err(Cause::Malformed(_))));
    }

    #[test]
    fn a_missing_api_is_told_from_one_that_refuses() {
        let spring = br#"{"timestamp":"2026-01-01","status":404,"error":"Not Found","path":"/nacos/v3/x"}"#;
        let code = br#"{"code":20004,"message":"resource not found","data":"x"}"#;
        for (status, body, missing) in [
            (404, &b""[..], true),
            (404, spring, true),
            (501, b"no such api:GET:/nacos/v3/client/ns/instance/list", true),
            (410, b"", true),
            (405, b"", true),
            (404, code, false),
            (404, b"caused: no ips found for cluster DEFAULT in service a;", false),
            (500, b"error", false),
            (403, b"unknown user!", false),
            (200, b"ok", false),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(is_no_such_api(status, body), missing, "{status} {}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn a_write_is_done_or_says_why_not() {
        assert_eq!(written_v1(b"ok\n"), Ok(()));
        assert!(written_v1(b"\x1b[2Jno").unwrap_err().to_string().contains("\"\u{fffd}[2Jno\""));
        assert_eq!(written_v3(OK_V3.as_bytes()), Ok(()));
        let error =
            written_v3(br#"{"code":21001,"message":"weight error","data":"instance format invalid"}"#);
        assert!(error.unwrap_err().to_string().contains("weight error: instance format invalid"));
    }

    #[test]
    fn a_token_is_not_repeated_in_an_error() {
        let Err(error) = granted(br#"{"accessToken":"hunter2","tokenTtl":"hunter2"}"#) else {
            panic!("a time that is text")
        };
        assert!(!error.to_string().contains("hunter2"), "{error}");
        let granted = granted(br#"{"accessToken":"t","tokenTtl":18000,"globalAdmin":true}"#);
        assert!(granted.is_ok_and(|granted| granted.token_ttl == 18_000 && granted.access_token == "t"));
    }

    #[test]
    fn what_is_no_answer_is_malformed() {
        for body in ["", "{}", "<html>", "[", "null", "[{]", "{\"hosts\":7}", "{\"code\":\"0\"}"] {
            let body = body.as_bytes();
            assert!(matches!(instances_v1(body), Err(Cause::Malformed(_))), "{body:?}");
            assert!(matches!(instances_v3(body), Err(Cause::Malformed(_))), "{body:?}");
            assert!(namespaces(body).is_err() && beat(body).is_err() && granted(body).is_err());
        }
    }
}
