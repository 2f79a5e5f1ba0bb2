//! How the figures of profiles read to a person.

use cbrowse_profile::scan::{LeftBehind, Reason};

use crate::output::Output;

/// Paths that are named one by one; of more, only the number is said.
const NAMED: usize = 20;

/// Bytes in decimal units, as disks and links are sold: `999 B`, `1.2 MB`.
pub(super) fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in ["kB", "MB", "GB", "TB"] {
        // Half of the last digit shown: 999.95 kB would round to 1000.0 kB.
        if value < 999.95 {
            break;
        }
        (value, unit) = (value / 1000.0, next);
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

/// `1 file`, `2 files`.
pub(super) fn count(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// Why something stays behind.
pub(super) fn reason(reason: Reason) -> &'static str {
    match reason {
        Reason::Link => "a symbolic link; links are never followed",
        Reason::Special => "a socket, pipe or device",
        Reason::Executable => "code (an extension or a messaging host); code does not travel",
        Reason::Settings => "settings that could start programs were left out of it",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_stand_in_the_unit_a_person_would_choose() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (999_949, "999.9 kB"),
            (999_950, "1.0 MB"),
            (2_340_000, "2.3 MB"),
            (16 << 30, "17.2 GB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
