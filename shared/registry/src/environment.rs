//! What the registries' own tools read from the environment, taken once, so that nothing below asks the process again.

use std::{collections::BTreeMap, fmt};

use crate::error::Cause;

/// Variables that the adapters honour; everything else stays out.
const HONOURED: [&str; 29] = [
    // https://developer.hashicorp.com/consul/commands#environment-variables
    "CONSUL_HTTP_ADDR",
    "CONSUL_HTTP_TOKEN",
    "CONSUL_HTTP_TOKEN_FILE",
    "CONSUL_HTTP_AUTH",
    "CONSUL_HTTP_SSL",
    "CONSUL_HTTP_SSL_VERIFY",
    "CONSUL_CACERT",
    "CONSUL_CAPATH",
    "CONSUL_CLIENT_CERT",
    "CONSUL_CLIENT_KEY",
    "CONSUL_TLS_SERVER_NAME",
    "CONSUL_NAMESPACE",
    "CONSUL_PARTITION",
    // Every flag of etcdctl has one.
    "ETCDCTL_ENDPOINTS",
    "ETCDCTL_USER",
    "ETCDCTL_PASSWORD",
    "ETCDCTL_CACERT",
    "ETCDCTL_CERT",
    "ETCDCTL_KEY",
    "ETCDCTL_INSECURE_TRANSPORT",
    "ETCDCTL_INSECURE_SKIP_TLS_VERIFY",
    // Nacos has no tool of its own that reads any.
    "NACOS_USERNAME",
    "NACOS_PASSWORD",
    "NACOS_CACERT",
    "NACOS_CERT",
    "NACOS_KEY",
    "NACOS_SSL",
    "NACOS_SSL_VERIFY",
    // Our own: no tool of DNS reads one.
    "CBROWSE_DNS_CACERT",
];

/// A variable and its value, so that an error can name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Named<'a> {
    pub(crate) variable: &'static str,
    pub(crate) value: &'a str,
}

/// The registries' variables. Holds a token, so it prints names only.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// This process's environment.
    pub fn of_process() -> Self {
        Self(
            HONOURED
                .iter()
                .filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)))
                .collect(),
        )
    }

    /// Sets one variable, as a test or a settings file does.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.0.insert(name.to_owned(), value.to_owned());
        self
    }

    /// A variable's value; an empty one counts as absent, as with Consul's tools.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A variable that is set.
    pub(crate) fn named(&self, variable: &'static str) -> Option<Named<'_>> {
        self.get(variable).map(|value| Named { variable, value })
    }

    /// A variable that is on or off.
    pub(crate) fn switch(&self, name: &str) -> Result<Option<bool>, Cause> {
        match self.get(name) {
            None => Ok(None),
            // What Go's strconv.ParseBool takes, as the registries' own tools do.
            Some("1" | "t" | "T" | "TRUE" | "true" | "True") => Ok(Some(true)),
            Some("0" | "f" | "F" | "FALSE" | "false" | "False") => Ok(Some(false)),
            Some(other) => Err(Cause::Settings(format!("{name} is {other:?}; true or false is expected"))),
        }
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_not_printed() {
        let environment =
            Environment::default().with("CONSUL_HTTP_TOKEN", "hunter2").with("CONSUL_CACERT", "");
        let text = format!("{environment:?}");
        assert!(text.contains("CONSUL_HTTP_TOKEN") && !text.contains("hunter2"), "{text}");
        assert_eq!(environment.get("CONSUL_CACERT"), None);
    }
}
