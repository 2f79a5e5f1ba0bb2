//! How a catalog is named on a command line, in the environment and in a settings file.
//!
//! ```text
//! consul://[host:port][/service][?dc=NAME&stale&ssl&local=true]   Consul's HTTP API
//! dns+srv://name[?server=ip:port&local=true]                      SRV records of a DNS name
//! file:PATH                                                       a TOML or JSON file of the user's own
//! local:                                                          a private node, started on demand
//! ```

mod parse;

pub(crate) use parse::authority;

use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr};

use cbrowse_protocol::node::SERVICE;

/// The port of Consul's HTTP API.
pub const CONSUL_PORT: u16 = 8500;
/// The port of DNS.
pub const DNS_PORT: u16 = 53;

/// A catalog's name. Holds no secret: tokens come from the environment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CatalogUri {
    /// Consul's HTTP API.
    Consul(ConsulUri),
    /// SRV records.
    Srv(SrvUri),
    /// A file of the user's own.
    File(PathBuf),
    /// A private node on this machine. Nothing to open: the CLI starts it.
    Local,
}

/// Where a Consul agent answers, and what to ask it for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConsulUri {
    /// The agent; `None` leaves it to `CONSUL_HTTP_ADDR`, and without that to `127.0.0.1:8500`.
    pub agent: Option<Authority>,
    /// The service under which nodes register.
    pub service: String,
    /// `?dc=`: another datacenter than the agent's own.
    pub datacenter: Option<String>,
    /// `?stale`: any server may answer, so reads survive a lost quorum.
    pub stale: bool,
    /// `?ssl`: HTTPS, whatever `CONSUL_HTTP_SSL` says.
    pub ssl: bool,
    /// `?local=true`: the user's mark that this catalog may name any address.
    pub local: bool,
}

/// A DNS name whose SRV records are the catalog.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SrvUri {
    /// The name, without a final dot.
    pub name: String,
    /// `?server=`: this server instead of the system's.
    pub server: Option<SocketAddr>,
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
            Self::File(path) => write!(formatter, "file:{}", path.display()),
            Self::Local => formatter.write_str("local:"),
        }
    }
}

impl fmt::Display for ConsulUri {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("consul://")?;
        if let Some(agent) = &self.agent {
            agent.fmt(formatter)?;
        }
        if self.service != SERVICE {
            write!(formatter, "/{}", self.service)?;
        }
        let mut options = Vec::new();
        options.extend(self.datacenter.as_ref().map(|name| format!("dc={name}")));
        options.extend(self.stale.then(|| "stale".to_owned()));
        options.extend(self.ssl.then(|| "ssl".to_owned()));
        options.extend(self.local.then(|| "local=true".to_owned()));
        write_options(formatter, &options)
    }
}

impl fmt::Display for SrvUri {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "dns+srv://{}", self.name)?;
        let mut options = Vec::new();
        options.extend(self.server.map(|server| format!("server={server}")));
        options.extend(self.local.then(|| "local=true".to_owned()));
        write_options(formatter, &options)
    }
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

fn write_options(formatter: &mut fmt::Formatter<'_>, options: &[String]) -> fmt::Result {
    if options.is_empty() {
        return Ok(());
    }
    write!(formatter, "?{}", options.join("&"))
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
            "dns+srv://browser-node.service.consul?server=127.0.0.1:8600",
            "dns+srv://_browser-node._tcp.example.com",
            "dns+srv://x.example?server=[::1]:53&local=true",
            "file:nodes.toml",
            "file:/etc/a b/nodes.json",
            "local:",
        ] {
            assert_eq!(parsed(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_left_out_has_its_usual_value() {
        let CatalogUri::Consul(uri) = parsed("consul://agent/") else { panic!("a Consul URI") };
        assert_eq!(uri.agent, Some(Authority { host: "agent".into(), port: CONSUL_PORT }));
        assert_eq!(uri.service, SERVICE);
        assert!(!uri.local && !uri.stale && !uri.ssl);
        let CatalogUri::Consul(uri) = parsed("consul:///other") else { panic!("a Consul URI") };
        assert_eq!((uri.agent, uri.service.as_str()), (None, "other"));
        let CatalogUri::Srv(uri) = parsed("dns+srv://n.example.?server=10.0.0.1") else {
            panic!("an SRV URI")
        };
        assert_eq!(uri.name, "n.example");
        assert_eq!(uri.server, Some("10.0.0.1:53".parse().unwrap()));
        assert_eq!(parsed("file:///etc/nodes.toml"), CatalogUri::File("/etc/nodes.toml".into()));
    }

    #[test]
    fn each_mistake_is_named_with_an_example() {
        for (text, cause) in [
            ("", "it is empty"),
            ("nodes.toml", "it has no scheme"),
            ("127.0.0.1:8500", "it has no scheme"),
            ("http://127.0.0.1:8500", "the scheme \"http\" is not known"),
            ("etcd://127.0.0.1:2379/x", "not in this version"),
            ("nacos://127.0.0.1:8848", "not in this version"),
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
            ("local:x", "nothing may follow"),
        ] {
            let error = text.parse::<CatalogUri>().expect_err(text);
            assert!(error.cause.contains(cause), "{text}: {error}");
            assert!(error.example.parse::<CatalogUri>().is_ok(), "{text}: {error}");
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
        let error = "htp://user:hunter2@h?Token=hunter2&x".parse::<CatalogUri>().expect_err("no scheme");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn terminal_escapes_do_not_reach_the_message() {
        let error = "\u{1b}[2J\u{202e}://x".parse::<CatalogUri>().expect_err("garbage").to_string();
        assert!(!error.chars().any(cbrowse_protocol::node::is_unprintable), "{error:?}");
    }
}
