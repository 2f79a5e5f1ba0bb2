//! The last save of a session: waited for, taken home, and what it means where it did not come.

use std::time::Duration;

use cbrowse_protocol::node::NodeRecord;
use tokio_util::sync::CancellationToken;

use crate::{
    attach::journey::Journey,
    context::Globals,
    failure::{Exit, Failure},
    profile::{Settled, chain},
};

/// A node cuts off a session that has not saved within 60 s; who waits a little longer learns what became of every save. Ctrl-C
/// does not wait.
const LAST_SAVE_PATIENCE: Duration = Duration::from_secs(75);
/// Where nobody waited for the save: after Ctrl-C.
pub(super) const NOT_AWAITED: &str = "waiting";

/// What became of the last save.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Home {
    /// It is on this machine, or there was nothing to save.
    Here,
    /// It was refused here, and stays on the node.
    Refused(String),
    /// It is on the node, or still being made there.
    Waiting(String),
    /// The node could not make or keep it.
    Lost(String),
}

impl Home {
    /// For programs.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Here => "home",
            Self::Refused(_) => "refused",
            Self::Waiting(_) => NOT_AWAITED,
            Self::Lost(_) => "lost",
        }
    }

    /// Whether something of it is on the node still.
    pub(super) fn waits(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Waiting(_))
    }

    /// What a program must not take for a success.
    pub(super) fn failure(&self, profile: Option<&str>, node: Option<&NodeRecord>) -> Option<Failure> {
        let node = node.map_or("the node", |node| node.id.as_str());
        let sync = format!("cbrowse profile sync {}", profile.unwrap_or("NAME"));
        let (code, message, hint) = match self {
            Self::Here => return None,
            Self::Refused(why) => (
                "save_refused",
                format!(
                    "the session's last save was refused: {why}; the profile on this machine is unchanged by it"
                ),
                format!("it stays on {node}; when the cause is mended, this takes it home: {sync}"),
            ),
            Self::Waiting(why) => (
                "save_waiting",
                format!(
                    "the session's last save is not home yet: {why}; the profile is safe as it was saved before"
                ),
                format!("it waits on {node}; take it home: {sync}"),
            ),
            Self::Lost(why) => (
                "save_lost",
                format!(
                    "{node} could not save the session's last changes: {why}; the profile is safe on this machine as it was \
                     saved before"
                ),
                "connect again, to another node (--node) if this one has no room".to_owned(),
            ),
        };
        Some(Failure::new(Exit::Profile, code, message).hint(hint))
    }
}

/// Takes it home. `None` after Ctrl-C: the next command does it.
pub(super) async fn take_save_home(
    globals: &Globals,
    journey: &Journey<'_>,
    stop: &CancellationToken,
) -> Option<Home> {
    let settled = tokio::select! {
        biased;
        () = stop.cancelled() => return None,
        settled = journey.settle_last(LAST_SAVE_PATIENCE) => settled,
    };
    match settled {
        Ok(settled) => {
            let settled = settled.unwrap_or_default();
            let home = judge(&settled, journey);
            tell(globals, &settled);
            // What ends the command says the rest.
            let is_own = |session| matches!(home, Home::Refused(_)) && journey.session() == Some(session);
            for refused in settled.refused.iter().filter(|refused| !is_own(&refused.session)) {
                globals.output.warn(format_args!("an older save was refused: {}", chain(&refused.error)));
            }
            Some(home)
        }
        Err(failure) => Some(Home::Waiting(failure.message)),
    }
}

/// A save of another session that is refused again and again is no reason to fail every session after it.
fn judge(settled: &Settled, journey: &Journey<'_>) -> Home {
    let own = settled.refused.iter().find(|refused| Some(&refused.session) == journey.session());
    match (own, &settled.failed) {
        (Some(refused), _) => Home::Refused(chain(&refused.error)),
        (None, _) if settled.closing > 0 => Home::Waiting("the node has not finished it".into()),
        (None, Some(reason)) => Home::Lost(reason.clone()),
        (None, None) => Home::Here,
    }
}

/// What came home of earlier sessions.
pub(super) fn tell_settled(globals: &Globals, settled: &Settled) {
    tell(globals, settled);
    for refused in &settled.refused {
        globals.output.warn(format_args!("a save was refused: {}", chain(&refused.error)));
    }
    if let Some(reason) = &settled.failed {
        globals.output.warn(format_args!(
            "an earlier session ended with an error; what it changed after its last save is lost: {reason}"
        ));
    }
}

fn tell(globals: &Globals, settled: &Settled) {
    if let Some(head) = &settled.current {
        globals.output.note(format_args!("profile saved: generation {}", head.generation));
    }
    for name in &settled.kept {
        globals.output.warn(format_args!(
            "the profile moved on meanwhile; this save is kept as {name} (cbrowse profile history)"
        ));
    }
    if let Some(why) = &settled.unpublished {
        globals.output.warn(format_args!(
            "the save is safe here; other devices get it after the next cbrowse profile sync: {why}"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_save_that_is_home_is_a_success() {
        assert_eq!((Home::Here.failure(Some("work"), None), Home::Here.waits()), (None, false));
        for (home, code, waits, words) in [
            (Home::Refused("why".into()), "save_refused", true, "unchanged"),
            (Home::Waiting("why".into()), "save_waiting", true, "safe as it was saved before"),
            (Home::Lost("why".into()), "save_lost", false, "safe on this machine"),
        ] {
            let failure = home.failure(Some("work"), None).unwrap();
            assert_eq!((failure.exit, failure.code, home.waits()), (Exit::Profile, code, waits));
            assert!(
                failure.message.contains(words) && failure.message.contains("why"),
                "{}",
                failure.message
            );
            let hint = failure.hint.unwrap();
            assert!(hint.contains("cbrowse profile sync work") == waits, "{hint}");
        }
    }
}
