//! A session with a keyring of its own, so that the program finds its key as it does on a desktop, and no passphrase is
//! stretched in its time.

use std::{
    env,
    path::Path,
    process::{Command, Stdio},
};

/// Set inside.
const INSIDE: &str = "CBROWSE_BENCH_KEYRING";

/// Runs this program again, with the same arguments, inside such a session; `false` if it is inside, or if there is none to
/// be had.
pub(super) fn run_inside() -> anyhow::Result<bool> {
    let has = |program: &str| {
        env::var_os("PATH")
            .is_some_and(|paths| env::split_paths(&paths).any(|path| path.join(program).is_file()))
    };
    if is_inside() || !has("dbus-run-session") || !has("gnome-keyring-daemon") {
        return Ok(false);
    }
    let home = tempfile::tempdir()?;
    let script =
        "printf bench | gnome-keyring-daemon --unlock --components=secrets >/dev/null && exec \"$0\" \"$@\"";
    let status = Command::new("dbus-run-session")
        .args(["--", "sh", "-c", script])
        .arg(env::current_exe()?)
        .args(env::args_os().skip(1))
        .env(INSIDE, "1")
        .env("XDG_DATA_HOME", home.path().join("share"))
        .env("XDG_RUNTIME_DIR", runtime_directory(home.path())?)
        .env_remove("DISPLAY")
        .env_remove("WAYLAND_DISPLAY")
        .stdin(Stdio::null())
        .status()?;
    anyhow::ensure!(status.success(), "the benchmark ended with {status}");
    Ok(true)
}

/// Sockets' paths are short.
fn runtime_directory(home: &Path) -> anyhow::Result<std::path::PathBuf> {
    use std::os::unix::fs::DirBuilderExt as _;
    let path = home.join("run");
    std::fs::DirBuilder::new().mode(0o700).create(&path)?;
    Ok(path)
}

pub(super) fn is_inside() -> bool {
    env::var_os(INSIDE).is_some()
}

/// For the report.
pub(super) fn key_comes_from() -> &'static str {
    if is_inside() { "a keyring (Secret Service)" } else { "a file under a passphrase, stretched every time" }
}
