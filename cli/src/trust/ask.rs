//! First use: a person at a terminal compares the identity and says yes; everybody else is refused.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use super::{Reason, Seen};
use crate::failure::{Exit, Failure};

/// Asks on the terminal whether `seen` may be trusted; refuses where no person can answer. Blocks until there is an
/// answer: call it where blocking is allowed.
pub fn ask(seen: &Seen<'_>) -> Result<(), Failure> {
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Err(unknown(seen));
    }
    let mut terminal = io::stderr().lock();
    let question = format!(
        "{} at {} ({}) is not known yet. Its identity is\n\n    {}\n\nCompare it with what the node's operator sees: \
         cbrowse-node identity\nTrust it from now on? Type yes: ",
        seen.id, seen.endpoint, seen.region, seen.identity
    );
    let asked = terminal.write_all(question.as_bytes()).and_then(|()| terminal.flush());
    drop(terminal);
    let mut answer = String::new();
    let read = asked.and_then(|()| io::stdin().lock().read_line(&mut answer));
    read.map_err(|error| Failure::new(Exit::Trust, "first_use", format!("cannot ask: {error}")))?;
    if answer.trim() == "yes" {
        return Ok(());
    }
    Err(Failure::new(Exit::Trust, "not_trusted", format!("{} was not trusted", seen.id)))
}

/// The refusal of a first use without a person.
pub fn unknown(seen: &Seen<'_>) -> Failure {
    Failure::new(
        Exit::Trust,
        "unknown_identity",
        format!("{} at {} is not known, and nobody is here to accept its identity {}", seen.id, seen.endpoint, seen.identity),
    )
    .hint(format!(
        "compare it with what cbrowse-node identity prints there, then: cbrowse trust add --node {} {}; or add the fleet's key: \
         cbrowse trust add --fleet KEY",
        seen.id, seen.identity
    ))
    .details(serde_json::json!({ "node": seen.id, "endpoint": seen.endpoint, "identity": seen.identity }))
}

/// The failure for a [`super::Decision::Refused`].
pub fn refused(seen: &Seen<'_>, reasons: &[Reason]) -> Failure {
    let words: Vec<_> = reasons.iter().map(ToString::to_string).collect();
    let changed =
        reasons.iter().any(|reason| matches!(reason, Reason::Changed { .. } | Reason::Pinned { .. }));
    let hint = if changed {
        format!(
            "ask the operator why before anything else; if the node was set up anew: cbrowse trust forget {}",
            seen.id
        )
    } else {
        format!("if you know better: cbrowse trust add --node {} {}", seen.id, seen.identity)
    };
    let code = if changed { "identity_changed" } else { "not_trusted" };
    Failure::new(Exit::Trust, code, format!("{} at {}: {}", seen.id, seen.endpoint, words.join("; ")))
        .hint(hint)
        .details(serde_json::json!({ "node": seen.id, "identity": seen.identity, "reasons": words }))
}

#[cfg(test)]
mod tests {
    use cbrowse_protocol::{id::NodeId, identity::SigningKey};

    use super::*;

    #[test]
    fn refusals_exit_with_the_trust_code_and_name_the_way_out() {
        let id: NodeId = "n1".parse().expect("id");
        let identity = SigningKey::generate().public();
        let seen = Seen {
            id: &id,
            endpoint: "h:1",
            region: "eu",
            identity: &identity,
            statement: None,
            listed: None,
        };
        let unknown = unknown(&seen);
        assert_eq!(unknown.exit, Exit::Trust);
        assert!(unknown.hint.expect("a hint").contains(&format!("trust add --node n1 {identity}")));
        let before = SigningKey::generate().public();
        let refused = refused(&seen, &[Reason::Changed { known: "n1".into(), before, seen: identity }]);
        assert_eq!((refused.exit, refused.code), (Exit::Trust, "identity_changed"));
        assert!(refused.message.contains(&before.to_string()));
    }
}
