//! What `connect` without a catalog needs: `cbrowse-node`, Chromium, and user namespaces to put it in.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde_json::json;
use tokio::process::Command;

use super::{
    browser::program,
    finding::{Check, Finding},
};
use crate::local;

/// Both programs that are run here answer in milliseconds.
const DEADLINE: Duration = Duration::from_secs(2);
/// Where distributions put the browser itself, as the node looks for it.
const CHROMIUM: [&str; 6] = [
    "/usr/lib/chromium/chromium",
    "/usr/lib64/chromium-browser/chromium-browser",
    "/usr/lib/chromium-browser/chromium-browser",
    "/opt/google/chrome/chrome",
    "/opt/brave.com/brave/brave",
    "/opt/microsoft/msedge/msedge",
];
/// Switches that keep ordinary users from making namespaces, and the value that does.
const SWITCHES: [(&str, &str, &str); 3] = [
    ("kernel.unprivileged_userns_clone", "0", "1"),
    ("user.max_user_namespaces", "0", "15000"),
    ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
];

/// What there is.
#[derive(Debug, Default)]
struct Seen {
    node: Option<PathBuf>,
    chromium: Option<PathBuf>,
    /// Whether namespaces could be made; `None` where there is no program to try it with.
    namespaces: Option<bool>,
    /// Whether one can be made, without a try.
    switch: Option<(&'static str, &'static str)>,
}

/// Looks for the programs, and makes namespaces for a moment.
pub(super) async fn check() -> Finding {
    let mut seen = Seen { node: node(), ..Seen::default() };
    if seen.node.is_some() {
        seen.chromium = CHROMIUM.iter().map(PathBuf::from).find(|path| path.is_file());
        seen.switch =
            forbidden_by(|name| fs::read_to_string(format!("/proc/sys/{}", name.replace('.', "/"))).ok());
        seen.namespaces = namespaces().await;
    }
    judge(&seen)
}

fn node() -> Option<PathBuf> {
    let binary = local::binary();
    let name = binary.to_str().filter(|_| binary.is_relative());
    match name {
        Some(name) => program(name, env::var_os("PATH").as_deref()),
        None => Some(binary),
    }
}

/// The same kinds that a session's room is made of.
async fn namespaces() -> Option<bool> {
    let unshare = program("unshare", env::var_os("PATH").as_deref())?;
    let mut command = Command::new(unshare);
    command.args(["--user", "--map-root-user", "--pid", "--fork", "--mount", "--net", "true"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let ended = tokio::time::timeout(DEADLINE, command.status()).await.ok()?.ok()?;
    Some(ended.success())
}

fn forbidden_by(read: impl Fn(&str) -> Option<String>) -> Option<(&'static str, &'static str)> {
    let forbids =
        |(name, forbids, _): &&(&str, &str, &str)| read(name).is_some_and(|value| value.trim() == *forbids);
    SWITCHES.iter().find(forbids).map(|(name, _, permits)| (*name, *permits))
}

fn judge(seen: &Seen) -> Finding {
    let details = json!({
        "node": seen.node, "chromium": seen.chromium, "namespaces": seen.namespaces,
    });
    let finding = match (&seen.node, &seen.chromium, seen.namespaces) {
        (None, ..) => Finding::skipped(
            Check::PrivateNode,
            "cbrowse-node is not installed here, so connect needs a catalog of nodes elsewhere",
        )
        .mend("to have one on this machine: ./install.sh"),
        (Some(_), None, _) => Finding::warning(
            Check::PrivateNode,
            "cbrowse-node is here, and no Chromium for it",
            "sudo apt-get install chromium",
        ),
        (Some(_), Some(_), Some(false)) => cannot(seen.switch),
        (Some(node), Some(chromium), namespaces) => {
            Finding::ok(Check::PrivateNode, fine(node, chromium, namespaces))
        }
    };
    finding.details(details)
}

fn fine(node: &Path, chromium: &Path, namespaces: Option<bool>) -> String {
    let namespaces =
        if namespaces.is_some() { "namespaces can be made" } else { "namespaces were not tried" };
    format!("{}, {}, {namespaces}", node.display(), chromium.display())
}

fn cannot(switch: Option<(&str, &str)>) -> Finding {
    let found = "user namespaces cannot be made here, and sessions of a node on this machine live in them";
    match switch {
        Some((name, permits)) => Finding::warning(
            Check::PrivateNode,
            format!("{found}: {name} forbids it"),
            format!("sudo sysctl -w {name}={permits}"),
        ),
        None => Finding::warning(
            Check::PrivateNode,
            format!("{found}; a container or seccomp filter forbids it"),
            "run it outside that container, or with: --security-opt seccomp=unconfined (Docker, Podman)",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::finding::State, *};

    #[test]
    fn what_is_missing_first_is_named_first() {
        let judged = |node: bool, chromium: bool, namespaces, switch| {
            let path = |there: bool| there.then(|| PathBuf::from("/x"));
            judge(&Seen { node: path(node), chromium: path(chromium), namespaces, switch })
        };
        assert_eq!(judged(false, true, None, None).state, State::Skipped);
        assert!(judged(true, false, Some(false), None).mend.is_some_and(|mend| mend.contains("chromium")));
        assert_eq!(judged(true, true, Some(true), None).state, State::Ok);
        assert_eq!(judged(true, true, None, None).state, State::Ok);
        let switch = judged(true, true, Some(false), Some(("user.max_user_namespaces", "15000")));
        assert_eq!(switch.mend.as_deref(), Some("sudo sysctl -w user.max_user_namespaces=15000"));
        assert!(judged(true, true, Some(false), None).found.contains("container"));
    }

    #[test]
    fn a_switch_counts_by_its_value() {
        let read = |value: &'static str| move |name: &str| (name == SWITCHES[2].0).then(|| value.to_owned());
        assert_eq!(forbidden_by(read("1\n")), Some((SWITCHES[2].0, "0")));
        assert_eq!(forbidden_by(read("0\n")), None);
        assert_eq!(forbidden_by(|_| None), None);
    }
}
