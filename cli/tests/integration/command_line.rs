//! The contracts of the command line, on the real binary: exit codes, JSON errors, pipes, Ctrl-C, settings.

#![expect(clippy::unwrap_used, reason = "a test's helpers are tests")]

use std::{
    io::{BufRead as _, BufReader, Read as _},
    net::TcpListener,
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

fn cbrowse(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cbrowse"));
    command.env_clear().env("HOME", home).env("PATH", "/usr/bin:/bin").current_dir(home);
    command
}

fn run(home: &Path, arguments: &[&str]) -> Output {
    cbrowse(home).args(arguments).output().unwrap()
}

/// The last line of standard error, as `--json` promises it; standard output has to be empty.
fn error(output: &Output) -> (i32, Value) {
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    let text = String::from_utf8_lossy(&output.stderr);
    let value: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let fields: Vec<_> = value["error"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields, ["code", "details", "exit", "hint", "message"]);
    let exit = output.status.code().unwrap();
    assert_eq!(value["error"]["exit"], exit);
    (exit, value["error"].clone())
}

fn write_catalog(home: &Path, port: u16) {
    let text = format!(
        "[[nodes]]\nid = \"eu-1\"\naddress = \"127.0.0.1\"\nport = {port}\nregion = \"eu-central\"\n\
         zone = \"a\"\nmeta = {{ rack = \"r1\" }}\n\
         [[nodes]]\nid = \"gone\"\naddress = \"127.0.0.1\"\nport = 1\nregion = \"us-east\"\n"
    );
    std::fs::write(home.join("nodes.toml"), text).unwrap();
}

#[test]
fn failures_have_their_exit_codes_and_one_json_line() {
    let home = tempfile::tempdir().unwrap();
    write_catalog(home.path(), 2);
    let catalog = ["--catalog", "file:nodes.toml"];
    for (arguments, exit, code) in [
        (vec!["dance"], 2, "usage"),
        (vec!["nodes", "probe", "--count", "0"], 2, "usage"),
        (vec!["nodes", "list", "--catalog", "nodes.toml"], 2, "invalid_catalog"),
        (vec!["nodes", "list"], 3, "no_catalog"),
        (vec!["nodes", "list", "--catalog", "local:"], 3, "no_catalog"),
        (vec!["nodes", "probe", catalog[0], catalog[1], "--plot", "probe.png"], 2, "plot_format"),
        (vec!["nodes", "probe", catalog[0], catalog[1], "--plot", "none/probe.svg"], 3, "plot_file"),
        (vec!["nodes", "probe", catalog[0], catalog[1], "--interval", "1s"], 2, "usage"),
        (vec!["explain", "last"], 3, "no_last_connect"),
        (vec!["config", "show", "--context", "x"], 3, "unknown_context"),
        (vec!["config", "show", "--config", "missing.toml"], 3, "settings_unreadable"),
        (vec!["nodes", "list", "--catalog", "consul://127.0.0.1:1"], 4, "catalog_unavailable"),
        (vec!["nodes", "list", catalog[0], catalog[1], "--region", "mars"], 5, "unknown_region"),
        (vec!["nodes", "probe", catalog[0], catalog[1], "--node", "nobody"], 5, "unknown_node"),
    ] {
        let arguments = [&arguments[..], &["--json"]].concat();
        let output = run(home.path(), &arguments);
        let (got, value) = error(&output);
        assert_eq!((got, value["code"].as_str()), (exit, Some(code)), "{arguments:?}: {value}");
    }
}

#[test]
fn an_empty_catalog_writes_nothing_to_standard_output() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("none.toml"), "nodes = []\n").unwrap();
    for command in ["list", "probe"] {
        let output = run(home.path(), &["nodes", command, "--catalog", "file:none.toml"]);
        assert!(output.status.success() && output.stdout.is_empty(), "{command}: {output:?}");
        assert!(!output.stderr.is_empty(), "{command} says nothing");
    }
}

#[test]
fn an_unknown_region_lists_those_there_are() {
    let home = tempfile::tempdir().unwrap();
    write_catalog(home.path(), 2);
    let output = run(home.path(), &["nodes", "probe", "--catalog", "file:nodes.toml", "--region", "mars"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("eu-central, us-east"), "{text}");
}

#[test]
fn a_probe_names_every_node_with_verdict_and_reasons() {
    let home = tempfile::tempdir().unwrap();
    // Accepts and never speaks.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    write_catalog(home.path(), listener.local_addr().unwrap().port());
    let output =
        run(home.path(), &["nodes", "probe", "--catalog", "file:nodes.toml", "--json", "--count", "2"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["chosen"], Value::Null);
    let reasons = |id: &str| {
        let node = document["nodes"].as_array().unwrap().iter().find(|node| node["id"] == id).unwrap();
        assert_eq!(node["verdict"], "rejected");
        node["reasons"].as_array().unwrap().iter().map(|reason| reason["code"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(reasons("eu-1"), ["not_serving"]);
    assert_eq!(reasons("gone"), ["unreachable"]);
    drop(listener);
}

#[test]
fn a_probe_is_explained_cut_short_and_drawn() {
    let home = tempfile::tempdir().unwrap();
    write_catalog(home.path(), 2);
    let probe = ["nodes", "probe", "--catalog", "file:nodes.toml", "--count", "1", "--region", "eu-central"];
    let output = run(home.path(), &[&probe[..], &["--explain", "--plot", "probe.svg"]].concat());
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("\n      in us-east, not eu-central\n"), "{text}");
    assert!(!text.contains('\u{1b}'), "a pipe gets no colour: {text}");
    let plot = std::fs::read_to_string(home.path().join("probe.svg")).unwrap();
    assert!(plot.starts_with("<svg") && plot.contains("us-east"), "{plot}");
    let output = run(home.path(), &[&probe[..], &["--limit", "1"]].concat());
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 2);
    assert!(String::from_utf8_lossy(&output.stderr).contains("and 1 more"), "{output:?}");
}

#[test]
fn a_watched_probe_writes_a_line_a_round_until_it_is_interrupted() {
    let home = tempfile::tempdir().unwrap();
    write_catalog(home.path(), 2);
    let watch =
        ["nodes", "probe", "--catalog", "file:nodes.toml", "--count", "1", "--watch", "--interval", "10ms"];
    let mut child = cbrowse(home.path()).args(watch).arg("--json").stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for round in 1..=3 {
        let line: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!((line["round"].as_u64(), line["nodes"].as_array().unwrap().len()), (Some(round), 2));
        assert!(line["time"].as_f64().is_some() && line["measured"] == 2, "{line}");
    }
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGINT).unwrap();
    // Whatever it was writing is read, so that it does not wait for us.
    for line in lines {
        serde_json::from_str::<Value>(&line.unwrap()).unwrap();
    }
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn a_connect_that_failed_is_explained_without_its_address() {
    let home = tempfile::tempdir().unwrap();
    write_catalog(home.path(), 2);
    let connect = ["connect", "https://secret.example/?token=hush", "--catalog", "file:nodes.toml", "--json"];
    let (exit, value) = error(&run(home.path(), &connect));
    let output = run(home.path(), &["explain", "last", "--json"]);
    let last: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&last["outcome"], last["failure"]["exit"].as_i64()), (&"failed".into(), Some(exit.into())));
    assert_eq!(last["failure"]["code"], value["code"]);
    assert_eq!(last["failure"]["stage"], last["stages"].as_array().unwrap().last().unwrap()["stage"]);
    let kept = std::fs::read_to_string(home.path().join(".local/share/cbrowse/last-connect.json")).unwrap();
    assert!(!kept.contains("secret.example") && !kept.contains("hush"), "{kept}");
    let text = String::from_utf8(run(home.path(), &["explain", "last"]).stdout).unwrap();
    assert!(text.starts_with("failed after") && text.contains("exit code"), "{text}");
}

/// As bash calls it when TAB is pressed: with the words as it takes them apart, at colons too.
#[test]
fn bash_completes_regions_nodes_and_strategies() {
    let home = tempfile::tempdir().unwrap();
    write_catalog(home.path(), 2);
    assert!(run(home.path(), &["nodes", "list", "--catalog", "file:nodes.toml"]).status.success());
    let programs = Path::new(env!("CARGO_BIN_EXE_cbrowse")).parent().unwrap().display();
    let ask = |words: &[&str]| {
        let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
        let script = format!(
            "eval \"$(cbrowse completions bash)\"; COMP_TYPE=9; COMP_WORDS=({}); COMP_CWORD={}\n\
             _clap_complete_cbrowse cbrowse \"${{COMP_WORDS[COMP_CWORD]}}\" ''; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            quoted.join(" "),
            words.len() - 1
        );
        let output = Command::new("bash")
            .args(["--norc", "--noprofile", "-i", "-c", &script])
            .env_clear()
            .env("HOME", home.path())
            .env("PATH", format!("{programs}:/usr/bin:/bin"))
            .current_dir(home.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>()
    };
    let catalog = ["--catalog", "file", ":", "nodes.toml"];
    let of = |before: &[&str], after: &[&str]| ask(&[&["cbrowse"], before, &catalog, after].concat());
    assert_eq!(of(&["connect"], &["--region", ""]), ["eu-central", "us-east"]);
    assert_eq!(of(&["connect"], &["--region", "=", "us"]), ["us-east"]);
    assert_eq!(of(&["nodes", "probe"], &["--prefer-node", ""]), ["eu-1", "gone"]);
    assert_eq!(of(&["connect"], &["--strategy", "round"]), ["round-robin"]);
    assert_eq!(ask(&["cbrowse", "explain", "l"]), ["last"]);
}

#[test]
fn a_listing_is_a_catalog_again() {
    let home = tempfile::tempdir().unwrap();
    write_catalog(home.path(), 2);
    let first = run(home.path(), &["nodes", "list", "--catalog", "file:nodes.toml", "--json"]);
    std::fs::write(home.path().join("again.json"), &first.stdout).unwrap();
    let second = run(home.path(), &["nodes", "list", "--catalog", "file:again.json", "--json"]);
    assert_eq!(String::from_utf8_lossy(&second.stdout), String::from_utf8_lossy(&first.stdout));
    assert_eq!(serde_json::from_slice::<Value>(&first.stdout).unwrap()[0]["id"], "eu-1");
}

#[test]
fn settings_name_their_origins_and_a_broken_file_its_line() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join(".config/cbrowse");
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join("config.toml");
    std::fs::write(&file, "[context.default]\nregion = \"eu\"\nstrategy = \"latency\"\n").unwrap();
    let output = cbrowse(home.path())
        .args(["config", "show", "--origin", "--json", "--catalog", "local:"])
        .env("CBROWSE_REGION", "us")
        .output()
        .unwrap();
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(shown["catalog"]["origin"], "flag --catalog");
    assert_eq!(shown["region"]["origin"], "environment CBROWSE_REGION");
    assert_eq!(shown["strategy"]["origin"], format!("{}:3", file.display()));
    assert_eq!(shown["max_latency"]["origin"], "default");
    std::fs::write(&file, "[context.default]\nregoin = \"eu\"\n").unwrap();
    let (exit, value) = error(&run(home.path(), &["config", "show", "--json"]));
    assert_eq!(
        (exit, value["details"]["line"].as_u64(), value["details"]["key"].as_str()),
        (3, Some(2), Some("regoin"))
    );
    // Completions are installed by people whose settings may be broken just now.
    assert!(run(home.path(), &["completions", "bash"]).status.success());
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let home = tempfile::tempdir().unwrap();
    let mut child =
        cbrowse(home.path()).arg("--help").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let status = child.wait().unwrap();
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(status.success() && text.is_empty(), "{status} {text}");
}

#[test]
fn an_interrupt_ends_a_probe_within_a_second() {
    let home = tempfile::tempdir().unwrap();
    // A documentation address: no answer, so that the probe waits.
    std::fs::write(
        home.path().join("nodes.toml"),
        "[[nodes]]\nid = \"far\"\naddress = \"192.0.2.1\"\nport = 7443\n",
    )
    .unwrap();
    let mut child = cbrowse(home.path())
        .args([
            "nodes",
            "probe",
            "--catalog",
            "file:nodes.toml",
            "--count",
            "100",
            "--timeout",
            "60s",
            "--json",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The copy of the catalog is written just before probing.
    let copies = home.path().join(".cache/cbrowse/catalogs");
    let started = Instant::now();
    while std::fs::read_dir(&copies).map_or(0, Iterator::count) == 0 && started.elapsed().as_secs() < 20 {
        std::thread::yield_now();
    }
    let asked = Instant::now();
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGINT).unwrap();
    let status = child.wait().unwrap();
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    assert_eq!(status.code(), Some(130));
}

#[test]
fn a_shell_is_answered_from_the_copies_on_disk() {
    let home = tempfile::tempdir().unwrap();
    write_catalog(home.path(), 2);
    assert!(run(home.path(), &["nodes", "list", "--catalog", "file:nodes.toml"]).status.success());
    let ask = |flag: &str| {
        let output = cbrowse(home.path())
            .args(["--", "cbrowse", "nodes", "probe", "--catalog", "file:nodes.toml", flag, ""])
            .env("COMPLETE", "fish")
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(ask("--region").lines().collect::<Vec<_>>(), ["eu-central", "us-east"]);
    assert!(ask("--node").starts_with("eu-1\teu-central"), "{}", ask("--node"));
    assert_eq!(ask("--zone").lines().collect::<Vec<_>>(), ["a\teu-central"]);
    assert_eq!(ask("--meta").lines().collect::<Vec<_>>(), ["rack=r1"]);
    let healths: Vec<String> =
        ask("--health").lines().filter_map(|line| line.split('\t').next().map(str::to_owned)).collect();
    assert_eq!(healths, ["passing", "warning", "critical", "all"]);
}
