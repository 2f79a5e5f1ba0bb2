//! How a catalog is named on a command line, in the environment and in a settings file.
//!
//! ```text
//! consul://[host:port,…][/service][?dc=NAME&ns=NAME&partition=NAME&stale|consistent&filter=EXPRESSION&ssl]
//!                                                    Consul's HTTP API
//! dns+srv://name[?server=ip:port&tls=NAME]           SRV records of a DNS name
//! etcd://host:port,…[/prefix][?ssl]                  keys of etcd v3 below a prefix
//! nacos://host:port,…[/namespace][?group=NAME&service=NAME&cluster=NAME&ssl]
//!                                                    a service of Nacos
//! file:PATH                                          a TOML or JSON file of the user's own
//! local:                                             a private node, started on demand
//! ```
//!
//! `local=true` in any query marks a catalog as one that may name any address. Values of a query are percent-encoded.

mod parse;

pub(crate) use parse::authority;

use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr};

use cbrowse_protocol::node::SERVICE;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// The port of Consul's HTTP API.
pub const CONSUL_PORT: u16 = 8500;
/// The port of DNS.
pub const DNS_PORT: u16 = 53;
/// The port of DNS over TLS (RFC 7858).
pub const DNS_TLS_PORT: u16 = 853;
/// The port of etcd's clients.
pub const ETCD_PORT: u16 = 2379;
/// The port of Nacos's HTTP API.
pub const NACOS_PORT: u16 = 8848;
/// The group that Nacos puts a service in unless told otherwise.
pub const NACOS_GROUP: &str = "DEFAULT_GROUP";

/// A catalog's name. Holds no secret: tokens come from the environment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CatalogUri {
    /// Consul's HTTP API.
    Consul(ConsulUri),
    /// SRV records.
    Srv(SrvUri),
    /// etcd v3.
    Etcd(EtcdUri),
    /// Nacos.
    Nacos(NacosUri),
    /// A file of the user's own.
    File(PathBuf),
    /// A private node on this machine. Nothing to open: the CLI starts it.
    Local,
}

/// Where Consul's agents answer, and what to ask them for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConsulUri {
    /// The agents, the first one preferred; none leaves it to `CONSUL_HTTP_ADDR`, and without that to `127.0.0.1:8500`.
    pub agents: Vec<Authority>,
    /// The service under which nodes register.
    pub service: String,
    /// `?dc=`: another datacenter than the agent's own.
    pub datacenter: Option<String>,
    /// `?ns=`: a namespace (Consul Enterprise), before `CONSUL_NAMESPACE`.
    pub namespace: Option<String>,
    /// `?partition=`: an admin partition (Consul Enterprise), before `CONSUL_PARTITION`.
    pub partition: Option<String>,
    /// `?stale` or `?consistent`.
    pub consistency: Consistency,
    /// `?filter=`: an expression in Consul's own filter language, evaluated by the server.
    pub filter: Option<String>,
    /// `?ssl`: HTTPS, whatever `CONSUL_HTTP_SSL` says.
    pub ssl: bool,
    /// `?local=true`: the user's mark that this catalog may name any address.
    pub local: bool,
}

/// Which of Consul's servers may answer a read (Consul's documentation, "Consistency Modes").
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Consistency {
    /// The leader, which may have lost its office a moment ago.
    #[default]
    Default,
    /// Any server, so reads survive a lost quorum.
    Stale,
    /// The leader, once it made sure that it still is.
    Consistent,
}

/// A DNS name whose SRV records are the catalog.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SrvUri {
    /// The name, without a final dot.
    pub name: String,
    /// `?server=`: this server instead of the system's.
    pub server: Option<SocketAddr>,
    /// `?tls=`: DNS over TLS; the name that the server's certificate must hold. Needs a server.
    pub tls: Option<String>,
    /// `?local=true`: the user's mark that this catalog may name any address.
    pub local: bool,
}

/// Where an etcd cluster answers, and below which keys nodes stand.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EtcdUri {
    /// The members, the first one preferred; none leaves it to `ETCDCTL_ENDPOINTS`, else to `127.0.0.1:2379`.
    pub endpoints: Vec<Authority>,
    /// A node's key is `PREFIX/ID`. Without a final slash.
    pub prefix: String,
    /// `?ssl`: HTTPS.
    pub ssl: bool,
    /// `?local=true`: the user's mark that this catalog may name any address.
    pub local: bool,
}

/// Where Nacos answers, and which of its services nodes are instances of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NacosUri {
    /// The servers, the first one preferred. Not empty.
    pub servers: Vec<Authority>,
    /// The namespace's id; empty for the public one.
    pub namespace: String,
    /// `?group=`.
    pub group: String,
    /// `?service=`.
    pub service: String,
    /// `?cluster=`: of the service's clusters, only this one.
    pub cluster: Option<String>,
    /// `?ssl`: HTTPS.
    pub ssl: bool,
    /// `?local=true`: the user's mark that this catalog may name any address.
    pub local: bool,
}

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Authority {
    /// Host name or IP address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// Why a text names no catalog. Names the value (without what could be a secret in it), the cause and an example.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not a catalog: {cause}; for example {example}")]
pub struct UriError {
    /// What was given; user names, passwords and tokens in it are masked.
    pub value: String,
    /// What is wrong with it.
    pub cause: String,
    /// One that would do.
    pub example: &'static str,
}

impl CatalogUri {
    /// Whether the catalog is a file the user keeps, so that the identities in it are the user's own word.
    pub fn is_own_file(&self) -> bool {
        matches!(self, Self::File(_))
    }
}

impl FromStr for CatalogUri {
    type Err = UriError;
    fn from_str(text: &str) -> Result<Self, UriError> {
        parse::catalog(text)
    }
}

impl fmt::Display for CatalogUri {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Consul(uri) => uri.fmt(formatter),
            Self::Srv(uri) => uri.fmt(formatter),
            Self::Etcd(uri) => uri.fmt(formatter),
            Self::Nacos(uri) => uri.fmt(formatter),
            Self::File(path) => {
                let path = path.display().to_string();
                // Two slashes would begin the name of a host.
                let empty_host = if path.starts_with("//") { "//" } else { "" };
                write!(formatter, "file:{empty_host}{path}")
            }
            Self::Local => formatter.write_str("local:"),
        }
    }
}

impl fmt::Display for ConsulUri {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "consul://{}", Authorities(&self.agents))?;
        if self.service != SERVICE {
            write!(formatter, "/{}", self.service)?;
        }
        let consistency = match self.consistency {
            Consistency::Default => None,
            Consistency::Stale => Some("stale".to_owned()),
            Consistency::Consistent => Some("consistent".to_owned()),
        };
        let options = [
            option("dc", self.datacenter.as_deref()),
            option("ns", self.namespace.as_deref()),
            option("partition", self.partition.as_deref()),
            consistency,
            option("filter", self.filter.as_deref()),
            self.ssl.then(|| "ssl".to_owned()),
        ];
        write_options(formatter, options, self.local)
    }
}

impl fmt::Display for SrvUri {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "dns+srv://{}", self.name)?;
        let server = self.server.map(|server| format!("server={server}"));
        write_options(formatter, [server, option("tls", self.tls.as_deref())], self.local)
    }
}

impl fmt::Display for EtcdUri {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "etcd://{}", Authorities(&self.endpoints))?;
        if self.prefix != SERVICE {
            write!(formatter, "/{}", encoded(&self.prefix))?;
        }
        write_options(formatter, [self.ssl.then(|| "ssl".to_owned())], self.local)
    }
}

impl fmt::Display for NacosUri {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "nacos://{}", Authorities(&self.servers))?;
        if !self.namespace.is_empty() {
            write!(formatter, "/{}", self.namespace)?;
        }
        let options = [
            option("group", Some(&*self.group).filter(|group| *group != NACOS_GROUP)),
            option("service", Some(&*self.service).filter(|service| *service != SERVICE)),
            option("cluster", self.cluster.as_deref()),
            self.ssl.then(|| "ssl".to_owned()),
        ];
        write_options(formatter, options, self.local)
    }
}

/// With commas between them.
struct Authorities<'a>(&'a [Authority]);

impl fmt::Display for Authorities<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, authority) in self.0.iter().enumerate() {
            write!(formatter, "{}{authority}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// What a value of a query, or a prefix, cannot hold as it is.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b'&').add(b'#').add(b'+').add(b'?').add(b'"');

fn encoded(text: &str) -> impl fmt::Display + '_ {
    utf8_percent_encode(text, ENCODED)
}

fn option(name: &str, value: Option<&str>) -> Option<String> {
    value.map(|value| format!("{name}={}", encoded(value)))
}

impl fmt::Display for Authority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(formatter, "[{}]:{}", self.host, self.port)
        } else {
            write!(formatter, "{}:{}", self.host, self.port)
        }
    }
}

fn write_options(
    formatter: &mut fmt::Formatter<'_>,
    options: impl IntoIterator<Item = Option<String>>,
    local: bool,
) -> fmt::Result {
    let local = local.then(|| "local=true".to_owned());
    let options: Vec<String> = options.into_iter().flatten().chain(local).collect();
    if options.is_empty() { Ok(()) } else { write!(formatter, "?{}", options.join("&")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> CatalogUri {
        text.parse().expect(text)
    }

    #[test]
    fn every_form_survives_its_text() {
        for text in [
            "consul://",
            "consul://127.0.0.1:8500",
            "consul://[::1]:8500",
            "consul://consul.example.com:8501/browsers?dc=eu&stale&ssl&local=true",
            "consul://a:8500,[::1]:8501?ns=team&partition=default&consistent&filter=Service.Meta.a%20==%20b%26c",
            "dns+srv://browser-node.service.consul?server=127.0.0.1:8600",
            "dns+srv://_browser-node._tcp.example.com",
            "dns+srv://x.example?server=[::1]:53&local=true",
            "dns+srv://x.example?server=9.9.9.9:853&tls=dns.quad9.net",
            "etcd://",
            "etcd://h1:2379,h2:2379/prefix",
            "etcd://h1:2379//a/b%20c?ssl&local=true",
            "nacos://127.0.0.1:8848",
            "nacos://h1:8848,h2:8849/dev-1?group=browsers&service=nodes&cluster=c1&ssl",
            "file:nodes.toml",
            "file:/etc/a b/nodes.json",
            "file:////etc/nodes.toml",
            "local:",
        ] {
            assert_eq!(parsed(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_left_out_has_its_usual_value() {
        let CatalogUri::Consul(uri) = parsed("consul://agent/") else { panic!("a Consul URI") };
        assert_eq!(uri.agents, [Authority { host: "agent".into(), port: CONSUL_PORT }]);
        assert_eq!(uri.service, SERVICE);
        assert!(!uri.local && !uri.ssl && uri.consistency == Consistency::Default);
        let CatalogUri::Consul(uri) = parsed("consul:///other") else { panic!("a Consul URI") };
        assert_eq!((uri.agents.len(), uri.service.as_str()), (0, "other"));
        let CatalogUri::Srv(uri) = parsed("dns+srv://n.example.?server=10.0.0.1") else {
            panic!("an SRV URI")
        };
        assert_eq!(uri.name, "n.example");
        assert_eq!(uri.server, Some("10.0.0.1:53".parse().unwrap()));
        let CatalogUri::Srv(uri) = parsed("dns+srv://n.example?tls=dns.example&server=10.0.0.1") else {
            panic!("an SRV URI")
        };
        assert_eq!(uri.server, Some("10.0.0.1:853".parse().unwrap()));
        let CatalogUri::Etcd(uri) = parsed("etcd://h/") else { panic!("an etcd URI") };
        assert_eq!((uri.endpoints[0].port, uri.prefix.as_str()), (ETCD_PORT, SERVICE));
        let CatalogUri::Nacos(uri) = parsed("nacos://h/") else { panic!("a Nacos URI") };
        assert_eq!((uri.servers[0].port, uri.namespace.as_str()), (NACOS_PORT, ""));
        assert_eq!((uri.group.as_str(), uri.service.as_str()), (NACOS_GROUP, SERVICE));
        assert_eq!(parsed("file:///etc/nodes.toml"), CatalogUri::File("/etc/nodes.toml".into()));
    }

    #[test]
    fn each_mistake_is_named_with_an_example() {
        for (text, cause) in [
            ("", "it is empty"),
            ("nodes.toml", "it has no scheme"),
            ("127.0.0.1:8500", "it has no scheme"),
            ("http://127.0.0.1:8500", "the scheme \"http\" is not known"),
            ("consul://h1,,h2", "\"\" is neither a host name nor an IP address"),
            ("consul://h?stale&consistent", "exclude each other"),
            ("consul://h?filter=%ff", "is not percent-encoded UTF-8"),
            ("consul://h?ns=a/b", "\"a/b\" is not a namespace"),
            ("etcd://h:2379/a/", "the prefix ends with \"/\""),
            ("etcd://h:2379/%0a", "control character"),
            ("etcd://u:p@h", "no user or password"),
            ("nacos://", "the server is missing"),
            ("nacos://h?group=a b", "\"a b\" is not a group"),
            ("nacos://h/a/b", "\"a/b\" is not a namespace"),
            ("dns+srv://n?tls=dns.example", "\"tls\" needs \"server\""),
            ("consul:127.0.0.1:8500", "\"//\" is missing after \"consul:\""),
            ("consul://h:0", "port 0"),
            ("consul://h:65536", "\"65536\" is not a port"),
            ("consul://h:x/y", "\"x\" is not a port"),
            ("consul://[::1:8500", "the bracket is not closed"),
            ("consul://::1:8500", "an IPv6 address needs brackets"),
            ("consul://a b:8500", "\"a b\" is neither a host name nor an IP address"),
            ("consul://h/a/b", "\"a/b\" is not a service name"),
            ("consul://h?dc=", "\"dc\" needs a value"),
            ("consul://h?color=red", "the option \"color\" is not known"),
            ("consul://h?stale=maybe", "\"maybe\" is neither true nor false"),
            ("dns+srv://", "the name is missing"),
            ("dns+srv://a..b", "\"a..b\" is not a DNS name"),
            ("dns+srv://n?server=localhost", "\"localhost\" is not an IP address"),
            ("dns+srv://n?server=1.2.3.4:0", "port 0"),
            ("file:", "the path is missing"),
            ("file:a\u{1b}[2J", "control character"),
            ("dns+srv://u:p@n", "no user or password"),
            ("local:x", "nothing may follow"),
        ] {
            let error = text.parse::<CatalogUri>().expect_err(text);
            assert!(error.cause.contains(cause), "{text}: {error}");
            assert!(error.example.parse::<CatalogUri>().is_ok(), "{text}: {error}");
        }
    }

    #[test]
    fn the_example_is_what_was_probably_meant() {
        for (text, example) in [
            ("nodes.toml", "file:"),
            ("./nodes", "file:"),
            ("127.0.0.1:8500", "consul:"),
            ("10.0.0.1:2379", "etcd:"),
            ("http://h:8848", "nacos:"),
            ("dns://n", "dns+srv:"),
            ("etcd3://h", "etcd:"),
            ("NACOS://h", "nacos:"),
            ("zk://h", "consul:"),
        ] {
            let error = text.parse::<CatalogUri>().expect_err(text);
            assert!(error.example.starts_with(example), "{text}: {error}");
        }
    }

    #[test]
    fn a_secret_in_the_value_is_refused_and_not_repeated() {
        for text in
            ["consul://user:hunter2@h:1", "consul://h:1?token=hunter2", "consul://h:1?password=hunter2"]
        {
            let error = text.parse::<CatalogUri>().expect_err(text).to_string();
            assert!(!error.contains("hunter2"), "{error}");
            assert!(error.contains("CONSUL_HTTP_TOKEN"), "{error}");
        }
        let error = "dns+srv://user:hunter2@n".parse::<CatalogUri>().expect_err("a user").to_string();
        assert!(!error.contains("hunter2"), "{error}");
        let error = "htp://user:hunter2@h?Token=hunter2&x".parse::<CatalogUri>().expect_err("no scheme");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn terminal_escapes_do_not_reach_the_message() {
        let error = "\u{1b}[2J\u{202e}://x".parse::<CatalogUri>().expect_err("garbage").to_string();
        assert!(!error.chars().any(cbrowse_protocol::node::is_unprintable), "{error:?}");
    }
}
