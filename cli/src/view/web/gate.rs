//! Who may come in: the rules over Host, Origin, cookie and one-time code, without a socket or a clock.

use std::{
    fmt,
    time::{Duration, Instant},
};

use aws_lc_rs::{constant_time, rand};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderName, header};
use zeroize::Zeroizing;

/// How long the file opens the page. Shorter strands whoever fetches a coffee while a browser updates; longer leaves a
/// working code lying in a file that nobody used.
pub(super) const CODE_LIFETIME: Duration = Duration::from_secs(600);
/// Bytes of randomness in a code and a cookie.
const SECRET_LENGTH: usize = 32;

/// A random value that a browser carries. Compared in constant time, erased on drop, never printed.
#[derive(Clone)]
pub(super) struct Secret(Zeroizing<String>);

impl Secret {
    /// A fresh one.
    fn random() -> Self {
        let mut bytes = Zeroizing::new([0; SECRET_LENGTH]);
        rand::fill(&mut *bytes).expect("the system has randomness");
        Self(Zeroizing::new(URL_SAFE_NO_PAD.encode(*bytes)))
    }

    /// Letters, digits, `-` and `_`.
    pub(super) fn text(&self) -> &str {
        &self.0
    }

    fn matches(&self, text: &str) -> bool {
        constant_time::verify_slices_are_equal(self.0.as_bytes(), text.as_bytes()).is_ok()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret")
    }
}

/// What a one-time code was worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Redeemed {
    /// Right, for the first time, in time.
    Yes,
    /// It opened the page before.
    Used,
    /// Right, but too late.
    Expired,
    /// Not the code.
    Wrong,
}

/// Where a request says it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// No such header: a typed address, a script or style of the page itself.
    Absent,
    /// The page itself.
    Same,
    /// `null`: a page from a file, or one in a sandbox.
    Null,
    /// Somebody else, or unreadable.
    Foreign,
}

/// The rules of one viewer.
#[derive(Debug)]
pub(super) struct Gate {
    port: u16,
    cookie: Secret,
    code: Secret,
    made: Instant,
    used: bool,
}

impl Gate {
    pub(super) fn new(port: u16) -> Self {
        Self { port, cookie: Secret::random(), code: Secret::random(), made: Instant::now(), used: false }
    }

    pub(super) fn code(&self) -> Secret {
        self.code.clone()
    }

    /// A right code counts as used even when it came too late.
    pub(super) fn redeem(&mut self, code: &str, now: Instant) -> Redeemed {
        if !self.code.matches(code) {
            return Redeemed::Wrong;
        }
        if std::mem::replace(&mut self.used, true) {
            return Redeemed::Used;
        }
        if now.saturating_duration_since(self.made) > CODE_LIFETIME {
            return Redeemed::Expired;
        }
        Redeemed::Yes
    }

    /// The `Set-Cookie` value. Browsers keep cookies by host and not by port, so the name holds the port.
    pub(super) fn set_cookie(&self) -> String {
        format!("{}={}; Path=/; HttpOnly; SameSite=Strict", self.cookie_name(), self.cookie.text())
    }

    /// Whether the request carries this viewer's cookie.
    pub(super) fn has_cookie(&self, headers: &HeaderMap) -> bool {
        let name = self.cookie_name();
        headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .any(|(key, value)| key == name && self.cookie.matches(value))
    }

    /// Whether `Host` names this server: another name that leads here is DNS rebinding.
    pub(super) fn is_our_host(&self, headers: &HeaderMap) -> bool {
        let Some(host) = only(headers, &header::HOST) else { return false };
        [format!("127.0.0.1:{}", self.port), format!("localhost:{}", self.port)].iter().any(|our| our == host)
    }

    /// Judges `Origin`; the same origin is the one that `Host` names.
    pub(super) fn origin(headers: &HeaderMap) -> Origin {
        if !headers.contains_key(header::ORIGIN) {
            return Origin::Absent;
        }
        let Some(origin) = only(headers, &header::ORIGIN) else { return Origin::Foreign };
        let host = only(headers, &header::HOST);
        match (origin, origin.strip_prefix("http://")) {
            ("null", _) => Origin::Null,
            (_, Some(rest)) if Some(rest) == host => Origin::Same,
            _ => Origin::Foreign,
        }
    }

    fn cookie_name(&self) -> String {
        format!("cbrowse-{}", self.port)
    }
}

/// The value of a header that occurs exactly once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// The code in the body that `open.html` posts.
pub(super) fn code_in(body: &[u8]) -> Option<&str> {
    std::str::from_utf8(body).ok()?.strip_prefix("code=")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(name.clone(), value.parse().unwrap());
        }
        map
    }

    #[test]
    fn only_the_own_host_passes() {
        let gate = Gate::new(4000);
        let ours = |host: &str| gate.is_our_host(&headers(&[(header::HOST, host)]));
        assert!(ours("127.0.0.1:4000") && ours("localhost:4000"));
        for foreign in [
            "127.0.0.1",
            "127.0.0.1:4001",
            "evil.example:4000",
            "127.0.0.1:4000.evil.example",
            "[::1]:4000",
            "",
        ] {
            assert!(!ours(foreign), "{foreign}");
        }
        assert!(!gate.is_our_host(&HeaderMap::new()));
        let twice = [(header::HOST, "127.0.0.1:4000"), (header::HOST, "127.0.0.1:4000")];
        assert!(!gate.is_our_host(&headers(&twice)));
    }

    #[test]
    fn origins_are_told_apart() {
        let judge = |origin: &str| {
            Gate::origin(&headers(&[(header::HOST, "127.0.0.1:4000"), (header::ORIGIN, origin)]))
        };
        assert_eq!(Gate::origin(&HeaderMap::new()), Origin::Absent);
        assert_eq!(judge("http://127.0.0.1:4000"), Origin::Same);
        assert_eq!(judge("null"), Origin::Null);
        for foreign in [
            "http://localhost:4000",
            "https://127.0.0.1:4000",
            "http://127.0.0.1",
            "http://127.0.0.1:40000",
            "file://",
            "",
        ] {
            assert_eq!(judge(foreign), Origin::Foreign, "{foreign}");
        }
        let twice = [(header::ORIGIN, "null"), (header::ORIGIN, "null")];
        assert_eq!(Gate::origin(&headers(&twice)), Origin::Foreign);
    }

    #[test]
    fn the_cookie_must_be_this_viewers() {
        let gate = Gate::new(4000);
        let set = gate.set_cookie();
        let (pair, attributes) = set.split_once("; ").unwrap();
        assert_eq!(attributes, "Path=/; HttpOnly; SameSite=Strict");
        let has = |cookie: &str| gate.has_cookie(&headers(&[(header::COOKIE, cookie)]));
        assert!(has(pair) && has(&format!("a=b; {pair}; c=d")));
        let value = pair.split_once('=').unwrap().1;
        for wrong in
            [format!("cbrowse-4001={value}"), format!("{pair}x"), "cbrowse-4000=".into(), value.into()]
        {
            assert!(!has(&wrong), "{wrong}");
        }
        assert!(!gate.has_cookie(&HeaderMap::new()));
        let (other, _) = { Gate::new(4000) }
            .set_cookie()
            .split_once("; ")
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .unwrap();
        assert!(!has(&other));
    }

    #[test]
    fn the_code_opens_once_and_in_time() {
        let mut gate = Gate::new(1);
        let (code, made) = (gate.code(), gate.made);
        assert_eq!(gate.redeem("guess", made), Redeemed::Wrong);
        assert_eq!(gate.redeem("", made), Redeemed::Wrong);
        assert_eq!(gate.redeem(code.text(), made + CODE_LIFETIME), Redeemed::Yes);
        assert_eq!(gate.redeem(code.text(), made), Redeemed::Used);
        let mut late = Gate::new(1);
        let (code, after) = (late.code(), late.made + CODE_LIFETIME + Duration::from_nanos(1));
        assert_eq!(late.redeem(code.text(), after), Redeemed::Expired);
        assert_eq!(late.redeem(code.text(), late.made), Redeemed::Used);
    }

    #[test]
    fn a_secret_has_256_bits_and_no_readable_debug() {
        let (one, other) = (Secret::random(), Secret::random());
        assert_eq!(URL_SAFE_NO_PAD.decode(one.text()).unwrap().len(), SECRET_LENGTH);
        assert_ne!(one.text(), other.text());
        assert!(!format!("{:?}", Gate::new(1)).contains(Gate::new(1).code().text()));
        assert_eq!(format!("{one:?}"), "Secret");
    }

    #[test]
    fn the_body_is_one_field() {
        assert_eq!(code_in(b"code=abc-_"), Some("abc-_"));
        assert_eq!(code_in(b"other=abc"), None);
        assert_eq!(code_in(&[0xff]), None);
    }
}
