//! What Consul's own tools read from the environment, taken once, so that nothing below asks the process again.

use std::{collections::BTreeMap, fmt};

/// Variables that the adapters honour; everything else stays out.
const HONOURED: [&str; 6] = [
    "CONSUL_HTTP_ADDR",
    "CONSUL_HTTP_TOKEN",
    "CONSUL_HTTP_TOKEN_FILE",
    "CONSUL_HTTP_SSL",
    "CONSUL_HTTP_SSL_VERIFY",
    "CONSUL_CACERT",
];

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
