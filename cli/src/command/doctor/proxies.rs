//! Proxies that the environment names. None is used, on purpose: a proxy would be measured instead of the node, and would
//! see every name; so a network that lets nothing else out has to be told apart from one that is merely slow.

use serde_json::json;

use super::finding::{Check, Finding};

/// What other programs look at, in either spelling.
const VARIABLES: [&str; 3] = ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"];

/// Looks at the environment of this process.
pub(super) fn check() -> Finding {
    judge(|name| std::env::var(name).ok())
}

fn judge(variable: impl Fn(&str) -> Option<String>) -> Finding {
    let set: Vec<String> = VARIABLES
        .iter()
        .flat_map(|name| [(*name).to_owned(), name.to_lowercase()])
        .filter(|name| variable(name).is_some_and(|value| !value.is_empty()))
        .collect();
    if set.is_empty() {
        return Finding::ok(
            Check::Proxies,
            "none in the environment; registries and nodes are reached directly",
        );
    }
    // The values may hold passwords.
    Finding::warning(
        Check::Proxies,
        format!("{} set, and not used: cbrowse reaches registries and nodes directly", are(&set)),
        "let this machine reach registries and nodes (TCP, and ICMP if you can) past the proxy; no setting of cbrowse uses one",
    )
    .details(json!({"variables": set}))
}

fn are(names: &[String]) -> String {
    let verb = if names.len() == 1 { "is" } else { "are" };
    format!("{} {verb}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::{super::finding::State, *};

    #[test]
    fn a_proxy_is_named_and_its_password_is_not() {
        let set = |name: &str| (name == "https_proxy").then(|| "http://ada:secret@proxy:3128".to_owned());
        let finding = judge(set);
        assert_eq!(finding.state, State::Warning);
        assert!(finding.found.starts_with("https_proxy is set"), "{}", finding.found);
        let text = serde_json::to_string(&finding).expect("JSON");
        assert!(!text.contains("secret"), "{text}");
        assert_eq!(judge(|_| Some(String::new())).state, State::Ok);
    }
}
