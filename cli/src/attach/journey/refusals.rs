//! What the refusals of several nodes mean together, and which of them ends the search.

use cbrowse_protocol::id::NodeId;

use crate::failure::{Exit, Failure};

/// So many nodes do not all have a wrong clock: then it is this machine's.
const WRONG_CLOCKS: usize = 3;

/// Whether no other node is asked. The same token is no better elsewhere; a clock may be.
pub(super) fn ends_the_search(failure: &Failure, refused_before: usize) -> bool {
    failure.exit == Exit::Authentication && (refused_before >= WRONG_CLOCKS || !is_about_clocks(failure))
}

fn is_about_clocks(failure: &Failure) -> bool {
    let code = failure.details["problem"]["code"].as_str();
    code.is_some_and(|code| matches!(code, "clock_skew" | "token_not_yet_valid"))
}

/// One refusal speaks for itself; several are listed, under the exit code of the first.
pub(super) fn all_refused(mut refusals: Vec<(NodeId, Failure)>) -> Failure {
    if refusals.len() == 1 {
        return refusals.remove(0).1;
    }
    let exit = refusals.first().map_or(Exit::Refused, |(_, failure)| failure.exit);
    let lines: Vec<_> = refusals.iter().map(|(id, failure)| format!("  {id}: {}", failure.message)).collect();
    let details: Vec<_> =
        refusals.iter().map(|(id, failure)| serde_json::json!({ "node": id, "code": failure.code, "message": failure.message })).collect();
    Failure::new(exit, "all_refused", format!("no node took the session:\n{}", lines.join("\n")))
        .hint("try again in a few seconds, or look with cbrowse nodes probe")
        .details(serde_json::json!({ "nodes": details }))
}

#[cfg(test)]
mod tests {
    use cbrowse_protocol::api::Problem;

    use super::*;
    use crate::attach::connection::ConnectionError;

    #[test]
    fn a_node_with_a_wrong_clock_does_not_end_the_search() {
        let refused = |code: &str| {
            let problem = Box::new(Problem::new(401, code, "No", "no"));
            Failure::from(ConnectionError::Refused { endpoint: "h:1".into(), problem })
        };
        assert!(ends_the_search(&refused("bad_token"), 0));
        assert!(!ends_the_search(&refused("clock_skew"), 0));
        assert!(ends_the_search(&refused("clock_skew"), WRONG_CLOCKS));
        assert!(!ends_the_search(&Failure::new(Exit::Refused, "full", "full"), 0));
    }
}
