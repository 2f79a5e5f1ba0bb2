//! A browser to open the viewer with.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
};

use nix::unistd::{AccessFlags, access};
use serde_json::json;

use super::finding::{Check, Finding};

/// What opens a file in the user's browser on Linux.
const OPENER: &str = "xdg-open";

/// Looks for a display and for the program that opens files.
pub(super) fn check() -> Finding {
    let is_set = |name: &&str| env::var_os(name).is_some_and(|value| !value.is_empty());
    let display = ["WAYLAND_DISPLAY", "DISPLAY"].into_iter().find(is_set);
    let opener = program(OPENER, env::var_os("PATH").as_deref());
    judge(display, opener.as_deref()).details(json!({"display": display, "opener": opener}))
}

fn judge(display: Option<&str>, opener: Option<&Path>) -> Finding {
    match (display, opener) {
        (None, _) => Finding::skipped(
            Check::Browser,
            "no display here, so the viewer's page is not opened by itself; connect prints a file to open in a browser",
        )
        .mend("to save a picture instead: cbrowse connect URL --view none --screenshot page.png"),
        (Some(display), None) => Finding::warning(
            Check::Browser,
            format!("{display} is set, and {OPENER} is not installed, so connect only prints which file to open"),
            "sudo apt-get install xdg-utils",
        ),
        (Some(display), Some(opener)) => {
            Finding::ok(Check::Browser, format!("{} opens the viewer ({display})", opener.display()))
        }
    }
}

/// The first program of this name on `path` that may be run.
pub(super) fn program(name: &str, path: Option<&OsStr>) -> Option<PathBuf> {
    let is_program = |file: &PathBuf| file.is_file() && access(file, AccessFlags::X_OK).is_ok();
    env::split_paths(path?).map(|directory| directory.join(name)).find(is_program)
}

#[cfg(test)]
mod tests {
    use super::{super::finding::State, *};

    #[test]
    fn without_a_display_nothing_is_wrong() {
        assert_eq!(judge(None, None).state, State::Skipped);
        assert_eq!(judge(Some("DISPLAY"), None).state, State::Warning);
        assert_eq!(judge(Some("DISPLAY"), Some(Path::new("/usr/bin/xdg-open"))).state, State::Ok);
    }

    #[test]
    fn programs_are_found_on_the_path() {
        assert_eq!(program("sh", Some(OsStr::new("/nonexistent:/bin"))), Some("/bin/sh".into()));
        assert_eq!(program("sh", Some(OsStr::new("/nonexistent"))), None);
        assert_eq!(program("sh", None), None);
    }
}
