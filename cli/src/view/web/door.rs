//! The door is a private file with a one-time code in a form that posts itself; it opens the page in the user's browser.

use std::{
    env, fs,
    fs::OpenOptions,
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tempfile::TempDir;
use tokio::process::Command;

use super::gate::Secret;

/// How long the opener may take to fail. Some openers *are* the browser and stay; waiting longer delays the session's
/// first line on the terminal, less misses an opener that finds no browser.
const OPENER_DEADLINE: Duration = Duration::from_secs(2);

/// The file, in a directory of its own; both go on drop.
#[derive(Debug)]
pub(super) struct Door {
    _directory: TempDir,
    file: PathBuf,
}

impl Door {
    /// Writes `open.html`, mode 0600, into a new directory of mode 0700. An error names the directory above.
    pub(super) fn make(port: u16, code: &Secret) -> Result<Self, (PathBuf, io::Error)> {
        let above = private_place();
        Self::make_below(&above, port, code).map_err(|error| (above, error))
    }

    fn make_below(above: &Path, port: u16, code: &Secret) -> io::Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("cbrowse-")
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir_in(above)?;
        let file = directory.path().join("open.html");
        let mut handle = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file)?;
        handle.write_all(page(port, code).as_bytes())?;
        Ok(Self { _directory: directory, file })
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }
}

/// `XDG_RUNTIME_DIR` lives in memory and is the user's alone.
fn private_place() -> PathBuf {
    env::var_os("XDG_RUNTIME_DIR")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute() && path.is_dir())
        .unwrap_or_else(env::temp_dir)
}

/// The form. A code is letters, digits, `-` and `_`, so nothing needs escaping.
fn page(port: u16, code: &Secret) -> String {
    let code = code.text();
    format!(
        r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>cbrowse</title>
<style>body {{ font: 15px system-ui, sans-serif; display: grid; place-items: center; height: 90vh }}</style>
<form method="post" action="http://127.0.0.1:{port}/open">
<input type="hidden" name="code" value="{code}">
<button>Open the viewer</button>
</form>
<script>document.forms[0].submit()</script>
</html>
"#
    )
}

/// Why no browser was started; the file can still be opened by hand.
#[derive(Debug, thiserror::Error)]
pub enum NotOpened {
    /// No display, such as over ssh.
    #[error("there is no display")]
    NoDisplay,
    /// The opener did not start.
    #[error("start {0}")]
    Start(&'static str, #[source] io::Error),
    /// The opener found no browser.
    #[error("{0} found no browser ({1})")]
    Failed(&'static str, ExitStatus),
}

/// Opens a file in the user's default browser. Takes two seconds at most; an opener that stays is left running.
pub async fn open_in_browser(file: &Path) -> Result<(), NotOpened> {
    let opener = opener(|name| env::var_os(name).is_some_and(|value| !value.is_empty()))?;
    let mut command = Command::new(opener);
    command.arg(file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| NotOpened::Start(opener, error))?;
    match tokio::time::timeout(OPENER_DEADLINE, child.wait()).await {
        Ok(Ok(status)) if !status.success() => Err(NotOpened::Failed(opener, status)),
        Ok(Err(error)) => Err(NotOpened::Start(opener, error)),
        Ok(Ok(_)) | Err(_) => Ok(()),
    }
}

/// The system's opener, given which environment variables are set.
fn opener(is_set: impl Fn(&str) -> bool) -> Result<&'static str, NotOpened> {
    if cfg!(target_os = "macos") {
        return Ok("open");
    }
    if is_set("DISPLAY") || is_set("WAYLAND_DISPLAY") { Ok("xdg-open") } else { Err(NotOpened::NoDisplay) }
}

#[cfg(test)]
mod tests {
    use super::{super::gate::Gate, *};

    #[test]
    fn the_door_is_private_and_goes_with_its_owner() {
        let above = tempfile::tempdir().unwrap();
        let code = Gate::new(1).code();
        let door = Door::make_below(above.path(), 4321, &code).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(door.file()), 0o600);
        assert_eq!(mode(door.file().parent().unwrap()), 0o700);
        let text = fs::read_to_string(door.file()).unwrap();
        assert!(text.contains(r#"action="http://127.0.0.1:4321/open""#) && text.contains(code.text()));
        assert!(!text.contains('?'), "no query string");
        drop(door);
        assert_eq!(fs::read_dir(above.path()).unwrap().count(), 0);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_browser_is_opened_only_where_there_is_a_display() {
        assert!(matches!(opener(|_| false), Err(NotOpened::NoDisplay)));
        assert_eq!(opener(|name| name == "DISPLAY").unwrap(), "xdg-open");
        assert_eq!(opener(|name| name == "WAYLAND_DISPLAY").unwrap(), "xdg-open");
    }
}
