//! How the figures of profiles read to a person.

use cbrowse_profile::scan::{LeftBehind, Reason};

use crate::output::Output;
pub(super) use crate::words::{count, size};

/// Paths that are named one by one; of more, only the number is said.
const NAMED: usize = 20;

/// Why something stays behind.
pub(super) fn reason(reason: Reason) -> &'static str {
    match reason {
        Reason::Link => "a symbolic link; links are never followed",
        Reason::Special => "a socket, pipe or device",
        Reason::Executable => "code (an extension or a messaging host); extensions travel with --extensions",
        Reason::Settings => "settings that could start programs were left out of it",
        Reason::NotAsAllowed => {
            "it is not the extension that you let travel; look at it, then say --extensions again"
        }
        Reason::NotListed => "not part of a profile",
        Reason::Name => "its name cannot be stored",
        Reason::Changing => "it kept changing while it was read",
    }
}

/// Names what did not come along.
pub(super) fn tell_left_behind(output: &Output, left_behind: &[LeftBehind]) {
    if left_behind.is_empty() {
        return;
    }
    output.note(format_args!("left behind, besides caches and locks ({}):", left_behind.len()));
    for left in left_behind.iter().take(NAMED) {
        // A path is a stranger's text: a page may have named the file.
        let path = cbrowse_protocol::node::printable(&left.path, 200);
        output.note(format_args!("  {path}: {}", reason(left.reason)));
    }
    if left_behind.len() > NAMED {
        output.note(format_args!("  and {} more; --json names all", left_behind.len() - NAMED));
    }
}
