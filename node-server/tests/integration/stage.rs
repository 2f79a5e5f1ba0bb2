//! What tests of registering stand on: what a Consul says of a node, waiting for it, and requests to a node.

use std::{fmt::Debug, fs::Permissions, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use cbrowse_testkit::consul::Consul;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

/// Consul checks every few seconds, and believes what changed after one more; a loaded machine takes longer.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

/// Asks until the answer will do; the last one is in the message of a test that waited in vain.
pub(crate) async fn until<Answer: Debug>(
    what: &str,
    ask: impl AsyncFn() -> Answer,
    done: impl Fn(&Answer) -> bool,
) -> Answer {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = ask().await;
        if done(&answer) {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what}: still {answer:?}");
        sleep(POLL).await;
    }
}

/// What Consul says of a node: its entry with the only check, `None` when it is not there.
pub(crate) async fn entry(consul: &Consul, id: &str) -> Option<Value> {
    let path = "/v1/health/service/browser-node";
    let entries = consul.request("GET", path, None).await.expect("Consul answers");
    entries.as_array().expect("a list").iter().find(|entry| entry["Service"]["ID"] == id).cloned()
}

/// The node's own check.
pub(crate) fn check(entry: &Value) -> &Value {
    let checks = entry["Checks"].as_array().expect("checks");
    let own = |check: &&Value| check["ServiceID"] == entry["Service"]["ID"];
    checks.iter().find(own).expect("a check of the node")
}

/// Waits until Consul says so of a node, and answers its entry.
pub(crate) async fn until_status(consul: &Consul, id: &str, status: &str) -> Value {
    let is_so = |entry: &Option<Value>| entry.as_ref().is_some_and(|entry| check(entry)["Status"] == status);
    let entry = until(&format!("{id} is {status}"), || entry(consul, id), is_so).await;
    entry.expect("it is there")
}

pub(crate) async fn until_gone(consul: &Consul, id: &str) {
    until(&format!("{id} is gone"), || entry(consul, id), Option::is_none).await;
}

/// A directory that a node may read that became another user.
pub(crate) fn open_directory() -> TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).expect("opened");
    directory
}

/// Replaces a file as an editor does.
pub(crate) fn save(path: &Path, text: &str) {
    let fresh = path.with_extension("fresh");
    std::fs::write(&fresh, text).expect("written");
    std::fs::set_permissions(&fresh, Permissions::from_mode(0o644)).expect("opened");
    std::fs::rename(fresh, path).expect("replaced");
}

pub(crate) fn send(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid.cast_signed()), signal).expect("a signal");
}

/// Status and body of a path of a node, over HTTP/1.1 and whatever certificate.
pub(crate) async fn get(endpoint: &str, path: &str) -> (u16, String) {
    let output = tokio::process::Command::new("curl")
        .args(["--silent", "--show-error", "--insecure", "--max-time", "20", "--write-out", "\n%{http_code}"])
        .arg(format!("https://{endpoint}{path}"))
        .output()
        .await
        .expect("curl runs");
    assert!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let (body, status) = text.rsplit_once('\n').expect("a status at the end");
    (status.parse().expect("a status"), body.to_owned())
}
