//! Takes a catalog's name apart; every refusal says which part, why, and what would do instead.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use cbrowse_protocol::node::{SERVICE, is_unprintable, printable};
use percent_encoding::percent_decode_str;

use super::{
    Authority, CONSUL_PORT, CatalogUri, Consistency, ConsulUri, DNS_PORT, DNS_TLS_PORT, ETCD_PORT, EtcdUri,
    NACOS_GROUP, NACOS_PORT, NacosUri, SrvUri, UriError,
};

/// How much of a bad value an error repeats, in characters; more would bury the cause.
const SHOWN_LENGTH: usize = 200;

const CONSUL_EXAMPLE: &str = "consul://127.0.0.1:8500/browser-node";
const SRV_EXAMPLE: &str = "dns+srv://browser-node.service.consul?server=127.0.0.1:8600";
const ETCD_EXAMPLE: &str = "etcd://127.0.0.1:2379/browser-node";
const NACOS_EXAMPLE: &str = "nacos://127.0.0.1:8848/public?group=DEFAULT_GROUP";
const FILE_EXAMPLE: &str = "file:nodes.toml";
const LOCAL_EXAMPLE: &str = "local:";

/// A cause on its way to becoming an error that also names the whole value.
type Parsed<T> = Result<T, String>;

pub(super) fn catalog(text: &str) -> Result<CatalogUri, UriError> {
    let (scheme, rest) = text.split_once(':').unwrap_or(("", text));
    let (result, example) = match scheme {
        "consul" => (consul(rest).map(CatalogUri::Consul), CONSUL_EXAMPLE),
        "dns+srv" => (srv(rest).map(CatalogUri::Srv), SRV_EXAMPLE),
        "file" => (file(rest), FILE_EXAMPLE),
        "local" => (local(rest), LOCAL_EXAMPLE),
        "etcd" => (etcd(rest).map(CatalogUri::Etcd), ETCD_EXAMPLE),
        "nacos" => (nacos(rest).map(CatalogUri::Nacos), NACOS_EXAMPLE),
        _ => (Err(unknown_scheme(text, scheme)), closest_example(text)),
    };
    result.map_err(|cause| UriError { value: masked(text), cause: printable(&cause, SHOWN_LENGTH), example })
}

fn unknown_scheme(text: &str, scheme: &str) -> String {
    if text.is_empty() {
        "it is empty".to_owned()
    } else if scheme.is_empty() || !text.contains("://") {
        "it has no scheme (consul:, dns+srv:, etcd:, nacos:, file: or local:)".to_owned()
    } else {
        let scheme = printable(scheme, SHOWN_LENGTH);
        format!("the scheme {scheme:?} is not known (consul:, dns+srv:, etcd:, nacos:, file: and local: are)")
    }
}

/// What was probably meant: a path without `file:`, another way to write a scheme, or a registry by its usual port.
fn closest_example(text: &str) -> &'static str {
    let text = text.to_ascii_lowercase();
    let (scheme, rest) = text.split_once("://").unwrap_or(("", &text));
    let is_port = |port: u16| rest.contains(&format!(":{port}"));
    match scheme {
        "" if [".toml", ".json"].iter().any(|ending| rest.ends_with(ending)) || rest.contains('/') => {
            FILE_EXAMPLE
        }
        "dns" | "srv" | "dns-srv" | "dns_srv" | "tls" | "dns+srv" => SRV_EXAMPLE,
        _ if scheme.starts_with("etcd") || is_port(ETCD_PORT) => ETCD_EXAMPLE,
        _ if scheme.starts_with("nacos") || is_port(NACOS_PORT) => NACOS_EXAMPLE,
        _ => CONSUL_EXAMPLE,
    }
}

/// The value as an error may repeat it: nothing before an `@`, and no value of an option that smells of a secret.
fn masked(text: &str) -> String {
    let (front, query) = match text.split_once('?') {
        Some((front, query)) => (front, Some(query)),
        None => (text, None),
    };
    let front = match (front.split_once("://"), front.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://…@{host}"),
        (None, Some((_, host))) => format!("…@{host}"),
        (_, None) => front.to_owned(),
    };
    let query = query.map_or(String::new(), |query| {
        let options: Vec<String> = query.split('&').map(masked_option).collect();
        format!("?{}", options.join("&"))
    });
    printable(&(front + &query), SHOWN_LENGTH)
}

fn masked_option(option: &str) -> String {
    match option.split_once('=') {
        Some((name, _)) if is_secret(name) => format!("{name}=…"),
        _ => option.to_owned(),
    }
}

fn is_secret(option: &str) -> bool {
    let option = option.to_ascii_lowercase();
    ["token", "pass", "secret", "key", "auth"].iter().any(|word| option.contains(word))
}

fn after_slashes<'a>(scheme: &str, rest: &'a str) -> Parsed<&'a str> {
    rest.strip_prefix("//").ok_or_else(|| format!("\"//\" is missing after \"{scheme}:\""))
}

fn options(query: Option<&str>) -> impl Iterator<Item = (&str, Option<&str>)> {
    query.into_iter().flat_map(|query| query.split('&')).filter(|option| !option.is_empty()).map(|option| {
        match option.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (option, None),
        }
    })
}

fn split_query(text: &str) -> (&str, Option<&str>) {
    match text.split_once('?') {
        Some((front, query)) => (front, Some(query)),
        None => (text, None),
    }
}

/// `?name`, `?name=true` and `?name=1` mean the same.
fn switch(value: Option<&str>) -> Parsed<bool> {
    match value {
        None | Some("true" | "1") => Ok(true),
        Some("false" | "0") => Ok(false),
        Some(other) => Err(format!("{other:?} is neither true nor false")),
    }
}

fn consul(rest: &str) -> Parsed<ConsulUri> {
    let (front, query) = split_query(after_slashes("consul", rest)?);
    no_user(front, "put the token into CONSUL_HTTP_TOKEN")?;
    let (agents, service) = front.split_once('/').unwrap_or((front, ""));
    let mut uri = ConsulUri {
        agents: authorities(agents, CONSUL_PORT)?,
        service: service_name(service)?,
        datacenter: None,
        namespace: None,
        partition: None,
        consistency: Consistency::Default,
        filter: None,
        ssl: false,
        local: false,
    };
    let (mut stale, mut consistent) = (false, false);
    for (name, value) in options(query) {
        match name {
            "dc" => uri.datacenter = Some(word(name, "a datacenter", value)?),
            "ns" => uri.namespace = Some(word(name, "a namespace", value)?),
            "partition" => uri.partition = Some(word(name, "a partition", value)?),
            "filter" => uri.filter = Some(decoded(name, value)?),
            "stale" => stale = switch(value)?,
            "consistent" => consistent = switch(value)?,
            "ssl" => uri.ssl = switch(value)?,
            "local" => uri.local = switch(value)?,
            name => {
                let known = "dc, ns, partition, stale, consistent, filter, ssl and local are";
                return Err(unknown_option(name, known, "put the token into CONSUL_HTTP_TOKEN"));
            }
        }
    }
    uri.consistency = match (stale, consistent) {
        (true, true) => return Err("\"stale\" and \"consistent\" exclude each other".to_owned()),
        (true, false) => Consistency::Stale,
        (false, true) => Consistency::Consistent,
        (false, false) => Consistency::Default,
    };
    Ok(uri)
}

fn no_user(front: &str, instead: &str) -> Parsed<()> {
    let authorities = front.split('/').next().unwrap_or_default();
    if authorities.contains('@') {
        return Err(format!("a catalog's name holds no user or password; {instead}"));
    }
    Ok(())
}

fn unknown_option(name: &str, known: &str, instead: &str) -> String {
    if is_secret(name) {
        format!("a catalog's name holds no secret; {instead}")
    } else {
        format!("the option {name:?} is not known ({known})")
    }
}

/// A value as it stands before it was percent-encoded, free of control characters.
fn decoded(name: &str, value: Option<&str>) -> Parsed<String> {
    let text = value.filter(|text| !text.is_empty()).ok_or_else(|| format!("{name:?} needs a value"))?;
    let text = percent_decode_str(text).decode_utf8();
    let text = text.map_err(|_| format!("the value of {name:?} is not percent-encoded UTF-8"))?;
    if text.chars().any(is_unprintable) {
        return Err(format!("{name:?} holds a control character"));
    }
    Ok(text.into_owned())
}

/// What Consul can also serve over DNS, with `.` and `_`; all of it safe in a URL as it is.
fn service_name(text: &str) -> Parsed<String> {
    let text = text.strip_suffix('/').unwrap_or(text);
    if text.is_empty() {
        return Ok(SERVICE.to_owned());
    }
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if text.len() > 128 || !text.bytes().all(fits) {
        return Err(format!("{text:?} is not a service name (letters, digits, - _ .)"));
    }
    Ok(text.to_owned())
}

/// Names that are safe in a URL as they are.
fn word(option: &str, what: &str, value: Option<&str>) -> Parsed<String> {
    let text = decoded(option, value)?;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':');
    if text.len() > 128 || !text.bytes().all(fits) {
        return Err(format!("{text:?} is not {what} (letters, digits, - _ . :)"));
    }
    Ok(text)
}

/// Authorities with commas between them; an empty text has none.
fn authorities(text: &str, default_port: u16) -> Parsed<Vec<Authority>> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    text.split(',').map(|text| authority(text, default_port)).collect()
}

/// `host`, `host:port`, `[v6]` or `[v6]:port`.
pub(crate) fn authority(text: &str, default_port: u16) -> Parsed<Authority> {
    if let Some(bracketed) = text.strip_prefix('[') {
        let (host, rest) = bracketed.split_once(']').ok_or("the bracket is not closed")?;
        host.parse::<Ipv6Addr>().map_err(|_| format!("{host:?} is not an IPv6 address"))?;
        let port = match rest.strip_prefix(':') {
            Some(digits) => port(digits)?,
            None if rest.is_empty() => default_port,
            None => return Err(format!("{rest:?} follows the bracket")),
        };
        return Ok(Authority { host: host.to_owned(), port });
    }
    let (host, port) = match text.split_once(':') {
        Some((_, rest)) if rest.contains(':') => return Err("an IPv6 address needs brackets".to_owned()),
        Some((host, digits)) => (host, port(digits)?),
        None => (text, default_port),
    };
    if !is_name(host) {
        return Err(format!("{host:?} is neither a host name nor an IP address"));
    }
    Ok(Authority { host: host.to_owned(), port })
}

fn port(digits: &str) -> Parsed<u16> {
    match digits.parse::<u16>() {
        Ok(0) => Err("port 0 cannot be dialled".to_owned()),
        Ok(port) => Ok(port),
        Err(_) => Err(format!("{digits:?} is not a port (1 to 65535)")),
    }
}

/// RFC 1035 lengths; `_` is allowed since SRV names begin with it.
fn is_name(text: &str) -> bool {
    text.len() <= 253
        && text.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        })
}

fn srv(rest: &str) -> Parsed<SrvUri> {
    let (name, query) = split_query(after_slashes("dns+srv", rest)?);
    no_user(name, "DNS asks for none")?;
    let name = name.strip_suffix('/').unwrap_or(name);
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() {
        return Err("the name is missing".to_owned());
    }
    if !is_name(name) {
        return Err(format!("{name:?} is not a DNS name"));
    }
    let mut uri = SrvUri { name: name.to_owned(), server: None, tls: None, local: false };
    let mut server_text = None;
    for (option, value) in options(query) {
        match option {
            "server" => server_text = Some(value),
            "tls" => uri.tls = Some(tls_name(value)?),
            "local" => uri.local = switch(value)?,
            option => return Err(format!("the option {option:?} is not known (server, tls and local are)")),
        }
    }
    let port = if uri.tls.is_some() { DNS_TLS_PORT } else { DNS_PORT };
    uri.server = server_text.map(|value| server(value, port)).transpose()?;
    if uri.tls.is_some() && uri.server.is_none() {
        return Err("\"tls\" needs \"server\", the address that speaks DNS over TLS".to_owned());
    }
    Ok(uri)
}

fn tls_name(value: Option<&str>) -> Parsed<String> {
    let text = decoded("tls", value)?;
    if !is_name(&text) && text.parse::<IpAddr>().is_err() {
        return Err(format!("{text:?} is not a name that a certificate can hold"));
    }
    Ok(text)
}

fn server(value: Option<&str>, default_port: u16) -> Parsed<SocketAddr> {
    let text = value.filter(|text| !text.is_empty()).ok_or("\"server\" needs a value")?;
    let Authority { host, port } = authority(text, default_port)?;
    let ip: IpAddr = host.parse().map_err(|_| format!("{host:?} is not an IP address"))?;
    Ok(SocketAddr::new(ip, port))
}

/// Longest prefix in bytes: etcd's own limit is that of a request, which no sane prefix comes near.
const MAX_PREFIX_LENGTH: usize = 512;

fn etcd(rest: &str) -> Parsed<EtcdUri> {
    const INSTEAD: &str = "put them into ETCDCTL_USER";
    let (front, query) = split_query(after_slashes("etcd", rest)?);
    no_user(front, INSTEAD)?;
    let (endpoints, prefix) = front.split_once('/').unwrap_or((front, ""));
    let prefix = if prefix.is_empty() { SERVICE.to_owned() } else { decoded("prefix", Some(prefix))? };
    if prefix.ends_with('/') {
        return Err("the prefix ends with \"/\"; a node's key is PREFIX/ID".to_owned());
    }
    if prefix.len() > MAX_PREFIX_LENGTH {
        return Err(format!("the prefix has {} bytes; {MAX_PREFIX_LENGTH} are allowed", prefix.len()));
    }
    let endpoints = authorities(endpoints, ETCD_PORT)?;
    let mut uri = EtcdUri { endpoints, prefix, ssl: false, local: false };
    for (name, value) in options(query) {
        match name {
            "ssl" => uri.ssl = switch(value)?,
            "local" => uri.local = switch(value)?,
            name => return Err(unknown_option(name, "ssl and local are", INSTEAD)),
        }
    }
    Ok(uri)
}

fn nacos(rest: &str) -> Parsed<NacosUri> {
    const INSTEAD: &str = "put them into NACOS_USERNAME and NACOS_PASSWORD";
    let (front, query) = split_query(after_slashes("nacos", rest)?);
    no_user(front, INSTEAD)?;
    let (servers, namespace) = front.split_once('/').unwrap_or((front, ""));
    let servers = authorities(servers, NACOS_PORT)?;
    if servers.is_empty() {
        return Err("the server is missing".to_owned());
    }
    let namespace = match namespace.strip_suffix('/').unwrap_or(namespace) {
        "" => String::new(),
        text => word("namespace", "a namespace", Some(text))?,
    };
    let mut uri = NacosUri {
        servers,
        namespace,
        group: NACOS_GROUP.to_owned(),
        service: SERVICE.to_owned(),
        cluster: None,
        ssl: false,
        local: false,
    };
    for (name, value) in options(query) {
        match name {
            "group" => uri.group = word(name, "a group", value)?,
            "service" => uri.service = word(name, "a service", value)?,
            "cluster" => uri.cluster = Some(word(name, "a cluster", value)?),
            "ssl" => uri.ssl = switch(value)?,
            "local" => uri.local = switch(value)?,
            name => {
                return Err(unknown_option(name, "group, service, cluster, ssl and local are", INSTEAD));
            }
        }
    }
    Ok(uri)
}

fn file(rest: &str) -> Parsed<CatalogUri> {
    // `file:///x` and `file:/x` name the same file; `file://host/x` names another machine's.
    let path = match rest.strip_prefix("//") {
        Some(path) if path.starts_with('/') => path,
        Some(path) => return Err(format!("{path:?} would be a file on another host; write file:{path}")),
        None => rest,
    };
    if path.is_empty() {
        return Err("the path is missing".to_owned());
    }
    if path.chars().any(is_unprintable) {
        return Err("the path holds a control character".to_owned());
    }
    Ok(CatalogUri::File(path.into()))
}

fn local(rest: &str) -> Parsed<CatalogUri> {
    if rest.is_empty() || rest == "//" {
        Ok(CatalogUri::Local)
    } else {
        Err("nothing may follow \"local:\"".to_owned())
    }
}
