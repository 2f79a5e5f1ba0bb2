//! `cbrowse-node events` as a script uses it, on a real Consul.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, Command, Output, Stdio},
};

use cbrowse_testkit::consul::Consul;

/// Killed and reaped when dropped.
struct Watching(Child);

impl Drop for Watching {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn events(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cbrowse-node"));
    command.arg("events").args(arguments).env_clear().stdin(Stdio::null());
    command
}

fn text(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// A watch that has begun: its first word on standard error says so.
fn watching(arguments: &[&str]) -> Watching {
    let mut command = events(arguments);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut watching = Watching(child.expect("the node's binary starts"));
    let mut line = String::new();
    let errors = watching.0.stderr.take().expect("piped");
    let mut errors = BufReader::new(errors);
    errors.read_line(&mut line).expect("a line");
    assert!(line.contains("listening"), "{line}");
    // Kept open, so that what it says later does not end it.
    std::thread::spawn(move || std::io::copy(&mut errors, &mut std::io::sink()));
    watching
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_fires_the_other_prints() {
    let consul = Consul::start().await.expect("consul starts");
    let uri = consul.http_uri();
    let mut watch = watching(&["watch", "deploy", "--registry", &uri, "--json", "--count", "2"]);
    let mut ids = Vec::new();
    for payload in ["v1", "\u{1b}[31mred"] {
        let fired = events(&["fire", "deploy", payload, "--registry", &uri]).output().expect("it runs");
        let (id, errors) = text(&fired);
        assert!(fired.status.success() && id.len() == 36, "{id} {errors}");
        ids.push(id);
    }
    let mut output = String::new();
    watch.0.stdout.take().expect("piped").read_to_string(&mut output).expect("it ends after two");
    assert!(watch.0.wait().expect("it ended").success());
    assert!(!output.contains('\u{1b}'), "{output:?}");
    let mut told: Vec<String> = Vec::new();
    for line in output.lines() {
        let event: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(event["name"], "deploy");
        told.push(event["id"].as_str().expect("an id").to_owned());
    }
    // Gossip keeps no order.
    told.sort_unstable();
    ids.sort_unstable();
    assert_eq!(told, ids);
    let past = events(&["watch", "--past", "--count", "2", "--registry", &uri]).output().expect("it runs");
    assert!(text(&past).0.contains(" deploy v1"), "{:?}", text(&past));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_is_said_in_one_line() {
    let mut consul = Consul::start().await.expect("consul starts");
    let uri = consul.http_uri();
    let payload = "x".repeat(513);
    let refused = events(&["fire", "deploy", &payload, "--registry", &uri]).output().expect("it runs");
    let (out, errors) = text(&refused);
    assert_eq!((refused.status.code(), out.as_str()), (Some(3), ""));
    assert!(errors.contains("513 bytes") && errors.contains("512"), "{errors}");
    consul.kill();
    let gone = events(&["watch", "--registry", &uri]).output().expect("it runs");
    let (_, errors) = text(&gone);
    assert_eq!(gone.status.code(), Some(3));
    assert!(errors.contains(&uri) && errors.contains("cannot be reached"), "{errors}");
}
