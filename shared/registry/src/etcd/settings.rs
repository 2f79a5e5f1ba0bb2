//! Where etcd is and who asks: from the URI, else from what etcdctl reads.

use std::fmt;

use super::USER;
use crate::{
    environment::Environment,
    error::Cause,
    figures::Meter,
    http::{Tls, Transport, Words},
    uri::{Authority, ETCD_PORT, EtcdUri, authority},
};

const WORDS: Words = Words { token: USER, authority: "ETCDCTL_CACERT" };
const ENDPOINTS: &str = "ETCDCTL_ENDPOINTS";
const UNVERIFIED: &str = "ETCDCTL_INSECURE_SKIP_TLS_VERIFY";

/// A name and a password, which shows nowhere.
pub(super) struct User {
    pub(super) name: String,
    pub(super) password: String,
}

impl fmt::Debug for User {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "User({:?})", self.name)
    }
}

/// Whom to speak to, and how.
pub(super) fn transport(uri: &EtcdUri, environment: &Environment, meter: Meter) -> Result<Transport, Cause> {
    let (scheme, endpoints) = match &*uri.endpoints {
        [] => endpoints(environment)?,
        endpoints => (None, endpoints.to_vec()),
    };
    let is_on = match scheme {
        _ if uri.ssl => true,
        Some(scheme) => scheme == Scheme::Https,
        None => wants_tls(environment)?,
    };
    let unverified = is_on && environment.switch(UNVERIFIED)? == Some(true);
    let tls = Tls {
        is_on,
        authority: environment.named("ETCDCTL_CACERT"),
        certificate: environment.named("ETCDCTL_CERT"),
        key: environment.named("ETCDCTL_KEY"),
        unverified: unverified.then_some(UNVERIFIED),
        secret: environment.get(USER).map(|_| USER),
    };
    Transport::new(&endpoints, &tls, WORDS, meter)
}

/// `ETCDCTL_USER`: `name:password`, or the name alone beside `ETCDCTL_PASSWORD`.
pub(super) fn user(environment: &Environment) -> Result<Option<User>, Cause> {
    let Some(text) = environment.get(USER) else { return Ok(None) };
    let (name, password) = match (text.split_once(':'), environment.get("ETCDCTL_PASSWORD")) {
        (Some((name, password)), None) => (name, password),
        (_, Some(password)) => (text, password),
        (None, None) => {
            return Err(Cause::Settings(format!(
                "{USER} names a user without a password; write name:password, or set ETCDCTL_PASSWORD"
            )));
        }
    };
    Ok(Some(User { name: name.to_owned(), password: password.to_owned() }))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

/// Where no scheme says it: as etcdctl does, and whoever names certificates wants them used.
fn wants_tls(environment: &Environment) -> Result<bool, Cause> {
    let certificates = ["ETCDCTL_CACERT", "ETCDCTL_CERT", "ETCDCTL_KEY"];
    let is_plain = environment.switch("ETCDCTL_INSECURE_TRANSPORT")?;
    Ok(is_plain.map_or_else(|| certificates.iter().any(|name| environment.get(name).is_some()), |is| !is))
}

/// `ETCDCTL_ENDPOINTS`: with commas between them, each with or without a scheme; without the variable etcdctl's default.
fn endpoints(environment: &Environment) -> Result<(Option<Scheme>, Vec<Authority>), Cause> {
    let Some(text) = environment.get(ENDPOINTS) else {
        return Ok((None, vec![Authority { host: "127.0.0.1".into(), port: ETCD_PORT }]));
    };
    let mut found = Vec::new();
    for text in text.split(',') {
        found.push(endpoint(text.trim())?);
    }
    let scheme = found[0].0;
    if found.iter().any(|(other, _)| *other != scheme) {
        return Err(wrong("mixes http:// and https://, and one connection setting is for all"));
    }
    Ok((scheme, found.into_iter().map(|(_, endpoint)| endpoint).collect()))
}

fn endpoint(text: &str) -> Result<(Option<Scheme>, Authority), Cause> {
    let (scheme, rest) = match text.split_once("://") {
        None => (None, text),
        Some(("http", rest)) => (Some(Scheme::Http), rest),
        Some(("https", rest)) => (Some(Scheme::Https), rest),
        Some((other, _)) => {
            return Err(wrong(&format!("has the scheme {other:?} (http and https are known)")));
        }
    };
    let endpoint = authority(rest.trim_end_matches('/'), ETCD_PORT);
    Ok((scheme, endpoint.map_err(|cause| wrong(&format!("names no address: {cause}")))?))
}

fn wrong(cause: &str) -> Cause {
    Cause::Settings(format!("{ENDPOINTS} {cause}; for example 127.0.0.1:2379,127.0.0.2:2379"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{figures::Figures, uri::CatalogUri};

    fn opened(uri: &str, environment: &Environment) -> Result<Transport, Cause> {
        let Ok(CatalogUri::Etcd(uri)) = uri.parse() else { panic!("{uri}") };
        transport(&uri, environment, Figures::default().meter(&uri))
    }

    #[test]
    fn endpoints_come_from_the_uri_else_from_the_environment() {
        let none = Environment::default();
        let set = |value| Environment::default().with(ENDPOINTS, value);
        let plain = |is: &str| Environment::default().with("ETCDCTL_INSECURE_TRANSPORT", is);
        for (uri, environment, bases) in [
            ("etcd://", none.clone(), "http://127.0.0.1:2379"),
            ("etcd://", set("10.0.0.1:9, h"), "http://10.0.0.1:9,http://h:2379"),
            ("etcd://", set("https://a:1/,https://[::1]:2"), "https://a:1,https://[::1]:2"),
            ("etcd://?ssl", set("http://a:1"), "https://a:1"),
            ("etcd://", set("http://a:1").with("ETCDCTL_INSECURE_TRANSPORT", "false"), "http://a:1"),
            ("etcd://h1,h2:1", set("https://a:1"), "http://h1:2379,http://h2:1"),
            ("etcd://h?ssl", none, "https://h:2379"),
            ("etcd://h", plain("false"), "https://h:2379"),
            ("etcd://h", plain("true").with("ETCDCTL_CACERT", "/nonexistent"), "http://h:2379"),
        ] {
            let transport = opened(uri, &environment).expect(uri);
            assert_eq!(format!("{transport:?}"), format!("Transport({bases})"), "{uri} {environment:?}");
        }
    }

    #[test]
    fn wrong_settings_are_named() {
        for (name, value, part) in [
            (ENDPOINTS, "unix:///run/etcd.sock", "\"unix\""),
            (ENDPOINTS, "a:1,,b:2", "neither a host name"),
            (ENDPOINTS, "a:x", "\"x\" is not a port"),
            (ENDPOINTS, "http://a:1,https://b:1", "mixes"),
            ("ETCDCTL_INSECURE_TRANSPORT", "yes", "\"yes\""),
            ("ETCDCTL_CACERT", "/nonexistent", "/nonexistent"),
            ("ETCDCTL_CERT", "/nonexistent", "counterpart"),
        ] {
            let Err(Cause::Settings(text)) = opened("etcd://", &Environment::default().with(name, value))
            else {
                panic!("{name}={value} was taken");
            };
            assert!(text.contains(name) && text.contains(part), "{text}");
        }
    }

    #[test]
    fn the_password_stands_behind_the_name_or_beside_it_and_shows_nowhere() {
        let with = |name: &str, password: &str| {
            user(&Environment::default().with(USER, name).with("ETCDCTL_PASSWORD", password))
        };
        for (name, password, expected) in
            [("a:b:c", "", ("a", "b:c")), ("a", "b", ("a", "b")), ("a:x", "b", ("a:x", "b"))]
        {
            let user = with(name, password).expect(name).expect(name);
            assert_eq!((&*user.name, &*user.password), expected);
        }
        assert!(user(&Environment::default()).expect("none is fine").is_none());
        let error = with("root", "").expect_err("no password").to_string();
        assert!(error.contains("ETCDCTL_PASSWORD"), "{error}");
        assert!(!format!("{:?}", with("root:hunter2", "")).contains("hunter2"));
    }
}
