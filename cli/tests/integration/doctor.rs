//! `cbrowse doctor`, with each fault provoked for real: in network namespaces of its own, on files that are not as they
//! should be, with registries that are down. Only a clock that lies is a fake's: no test sets this machine's.

use std::{
    net::{Ipv4Addr, UdpSocket},
    os::unix::fs::{PermissionsExt as _, chown},
    process::Stdio,
};

use cbrowse_protocol::identity::SigningKey;
use cbrowse_testkit::{
    consul::Consul,
    fleet::Fleet,
    node::{Node, Options},
    ports::free_ports,
};
use nix::unistd::geteuid;
use serde_json::{Value, json};

use crate::{
    hostile::{Fake, Says},
    user::{Ended, User},
};

async fn doctor(user: &User, more: &[&str]) -> Ended {
    user.run(&[&["doctor", "--json"], more].concat()).await
}

/// The document, whatever the exit code; a problem is told there, too.
fn document(ended: &Ended) -> Value {
    let document: Value =
        serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}", ended.stderr));
    let is_problem = document["problems"].as_u64().unwrap() > 0;
    assert_eq!(ended.code, Some(if is_problem { 3 } else { 0 }), "{document}");
    assert_eq!(ended.stderr.contains("\"problems_found\""), is_problem, "{}", ended.stderr);
    document
}

fn check<'a>(document: &'a Value, name: &str) -> &'a Value {
    let checks = document["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("{name} is not in {document}"))
}

async fn one(user: &User, name: &str, more: &[&str]) -> Value {
    let ended = doctor(user, &[&["--only", name], more].concat()).await;
    check(&document(&ended), name).clone()
}

fn words<'a>(check: &'a Value, field: &str) -> &'a str {
    check[field].as_str().unwrap_or_default()
}

/// Runs it in namespaces of its own after `script`, which may set `without`, a command to run it under; `None` where
/// namespaces are not permitted.
fn in_namespaces(user: &User, script: &str, arguments: &str) -> Option<Ended> {
    let probe = std::process::Command::new("unshare").args(["-Urn", "true"]).stderr(Stdio::null()).status();
    if !probe.is_ok_and(|status| status.success()) {
        return None;
    }
    let program = env!("CARGO_BIN_EXE_cbrowse");
    let output = std::process::Command::new("unshare")
        .args([
            "-Urmn",
            "--",
            "sh",
            "-c",
            &format!("{script}; exec $without {program} doctor --json {arguments}"),
        ])
        .env_clear()
        .env("HOME", user.home())
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .output()
        .unwrap();
    Some(output.into())
}

#[tokio::test]
async fn a_machine_is_checked_as_a_whole_with_everything_in_its_place() {
    let fleet = Fleet::new().unwrap();
    let node = Node::start(Options::of(&fleet, "fra-1", "eu-central")).await.unwrap();
    let user = User::of(&fleet).await.knowing(&[&node]);
    let whole = document(&doctor(&user, &[]).await);
    let names: Vec<&str> =
        whole["checks"].as_array().unwrap().iter().map(|check| words(check, "name")).collect();
    for name in
        ["icmp-v4", "dns-udp", "dns-tcp", "catalogs", "clock", "keyring", "login", "trust", "private-node"]
    {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    for (name, found) in [
        ("catalogs", "1 node in"),
        ("clock", "as that of a node you trust"),
        ("login", "ada, until"),
        ("trust", "1 fleet"),
    ] {
        let check = check(&whole, name);
        assert_ne!(check["state"], "problem", "{check}");
        assert!(words(check, "found").contains(found), "{check}");
    }
    // Each says in one line how to mend it, where something is to be mended.
    for check in whole["checks"].as_array().unwrap() {
        let must_mend = matches!(words(check, "state"), "warning" | "problem");
        assert!(!must_mend || !words(check, "mend").is_empty(), "{check}");
        assert!(!words(check, "found").contains('\n'), "{check}");
    }
    let told = user.run(&["doctor", "--only", "catalogs,clock"]).await;
    told.succeeded();
    assert!(told.stdout.contains("Catalogs and nodes") && told.stdout.contains("2 ok"), "{}", told.stdout);
    assert!(!told.stdout.contains('\u{1b}'), "no colour into a pipe: {}", told.stdout);
    let (exit, code, _) = doctor(&user, &["--only", "dance"]).await.error();
    assert_eq!((exit, code.as_str()), (2, "usage"));
    let (exit, code, _) = doctor(&user, &["--only", "clock", "--skip", "clock"]).await.error();
    assert_eq!((exit, code.as_str()), (2, "usage"));
}

#[tokio::test]
async fn closed_echo_requests_are_told_with_the_range_and_the_command() {
    let user = User::new();
    // A new network namespace permits nobody; without capabilities, there are no raw sockets, either.
    let script = "ip link set lo up; without='setpriv --bounding-set=-all --inh-caps=-all'";
    let Some(closed) = in_namespaces(&user, script, "--only icmp-v4") else {
        eprintln!("skipped: this machine permits no namespaces");
        return;
    };
    let closed = document(&closed);
    let icmp = check(&closed, "icmp-v4");
    assert_eq!(icmp["state"], "warning", "{icmp}");
    // "1 0", in the numbers of this user namespace.
    assert!(words(icmp, "found").contains("which no group is in"), "{icmp}");
    assert!(
        words(icmp, "mend").starts_with("sudo sysctl -w net.ipv4.ping_group_range='0 2147483647'"),
        "{icmp}"
    );

    let script = "ip link set lo up; echo 0 0 > /proc/sys/net/ipv4/ping_group_range";
    let open = document(&in_namespaces(&user, script, "--only icmp-v4").unwrap());
    let icmp = check(&open, "icmp-v4");
    assert_eq!((&icmp["state"], &icmp["details"]["socket"]), (&json!("ok"), &json!("datagram")), "{icmp}");
    assert!(icmp["details"]["loopback_ms"].is_f64(), "{icmp}");
}

#[tokio::test]
async fn a_machine_without_a_resolver_and_without_any_network_is_told_so_in_time() {
    let user = User::new();
    let script = "ip link set lo up; mount --bind /dev/null /etc/resolv.conf";
    let Some(none) = in_namespaces(&user, script, "--catalog dns+srv://_browser-node._tcp.fleet.test") else {
        eprintln!("skipped: this machine permits no namespaces");
        return;
    };
    let none = document(&none);
    for name in ["dns-udp", "dns-tcp", "catalogs"] {
        assert_eq!(check(&none, name)["state"], "problem", "{}", check(&none, name));
    }
    assert!(words(check(&none, "dns-udp"), "found").contains("needs names"), "{none}");
    assert_eq!(check(&none, "clock")["state"], "skipped");
    // A resolver that hears and never answers: every check ends by its own deadline.
    let script =
        "ip link set lo up; echo nameserver 127.0.0.1 > $HOME/r; mount --bind $HOME/r /etc/resolv.conf";
    let closed = document(&in_namespaces(&user, script, "--only dns-udp,dns-tcp").unwrap());
    assert!(words(check(&closed, "dns-udp"), "found").contains("connection refused"), "{closed}");
    assert_eq!(check(&closed, "dns-udp")["state"], "warning", "nothing here needs names: {closed}");
}

#[tokio::test]
async fn a_catalog_that_is_down_is_a_problem_until_a_copy_stands_in() {
    let consul = Consul::start().await.unwrap();
    crate::catalog_watch::register(&consul, "eu-1", json!({})).await;
    let user = User::new().with_catalog(consul.http_uri());
    let up = one(&user, "catalogs", &[]).await;
    assert_eq!((&up["state"], &up["details"]["nodes"]), (&json!("ok"), &json!(1)), "{up}");
    assert_eq!(one(&user, "copies", &[]).await["state"], "warning", "nothing is kept yet");
    user.run(&["nodes", "list"]).await.succeeded();
    assert_eq!(one(&user, "copies", &[]).await["state"], "ok");
    drop(consul);
    let down = one(&user, "catalogs", &[]).await;
    assert_eq!(down["state"], "warning", "{down}");
    assert!(
        words(&down, "found").contains("cannot be reached") && words(&down, "found").contains("the copy of"),
        "{down}"
    );

    let [port] = free_ports().unwrap();
    let uri = format!("dns+srv://_browser-node._tcp.fleet.test?server=127.0.0.1:{port}");
    let refused = one(&User::new().with_catalog(uri.clone()), "catalogs", &[]).await;
    assert_eq!((&refused["state"], &refused["subject"]), (&json!("problem"), &json!(uri)), "{refused}");
    assert!(words(&refused, "found").contains("refuses the connection"), "{refused}");
    let wrong = one(&User::new().with_catalog("nodes.toml"), "catalogs", &[]).await;
    assert!(wrong["state"] == "problem" && words(&wrong, "mend").contains("CBROWSE_CATALOG"), "{wrong}");
}

#[tokio::test]
async fn directories_that_are_not_as_they_should_be_are_named_with_the_command() {
    let user = User::new();
    let data = user.file(".local/share/cbrowse");
    assert_eq!(one(&user, "storage", &[]).await["state"], "ok", "nothing is there yet");
    std::fs::create_dir_all(data.join("profiles")).unwrap();
    std::fs::set_permissions(data.join("profiles"), std::fs::Permissions::from_mode(0o777)).unwrap();
    let open = one(&user, "storage", &[]).await;
    assert_eq!(open["state"], "problem", "{open}");
    assert_eq!(words(&open, "mend"), format!("chmod go-w {}", data.join("profiles").display()));
    std::fs::set_permissions(data.join("profiles"), std::fs::Permissions::from_mode(0o700)).unwrap();
    if geteuid().is_root() {
        chown(&data, Some(1234), None).unwrap();
        let foreign = one(&user, "storage", &[]).await;
        assert!(
            foreign["state"] == "problem" && words(&foreign, "found").contains("belongs to user 1234"),
            "{foreign}"
        );
        chown(&data, Some(0), None).unwrap();
    }
    // For root, too, nothing can be written to a file system that is mounted for reading.
    let script = "mount -t tmpfs -o ro none $HOME/.local/share/cbrowse";
    if let Some(ended) = in_namespaces(&user, script, "--only storage") {
        let read_only = document(&ended);
        let storage = check(&read_only, "storage");
        assert!(
            storage["state"] == "problem" && words(storage, "found").contains("nothing can be written"),
            "{storage}"
        );
    }
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::write(&data, "in the way").unwrap();
    assert!(words(&one(&user, "storage", &[]).await, "found").contains("is a file"));
}

#[tokio::test]
async fn broken_settings_are_a_finding_and_keep_nobody_from_the_rest() {
    let user = User::new();
    let directory = user.file(".config/cbrowse");
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("config.toml"), "[context.default]\nregoin = \"eu\"\n").unwrap();
    let document = document(&doctor(&user, &["--only", "settings,disk"]).await);
    let settings = check(&document, "settings");
    assert!(settings["state"] == "problem" && words(settings, "found").contains("regoin"), "{settings}");
    assert_eq!(settings["details"]["line"], 2);
    assert_ne!(check(&document, "disk")["state"], "skipped");
}

#[tokio::test]
async fn a_clock_that_differs_from_a_trusted_nodes_is_a_problem_and_a_strangers_word_is_a_hint() {
    let identity = SigningKey::generate();
    let fake = Fake::start(identity, Says::Body(b"{}".to_vec()), "Thu, 01 Jan 2026 00:00:00 GMT").await;
    let user = User::new().with_catalog("file:nodes.json");
    user.write_catalog(&[fake.record("early")]);
    let clock = one(&user, "clock", &[]).await;
    assert_eq!((&clock["state"], &clock["details"]["trusted"]), (&json!("problem"), &json!(true)), "{clock}");
    assert!(words(&clock, "found").contains("days ahead of that of a node you trust"), "{clock}");
    assert!(clock["details"]["offset_s"].as_i64().unwrap() > 86_400, "{clock}");
    // The same without anybody who vouches for it.
    let mut record = fake.record("early");
    record.as_object_mut().unwrap().remove("identity");
    user.write_catalog(&[record]);
    let clock = one(&user, "clock", &[]).await;
    assert_eq!(
        (&clock["state"], &clock["details"]["trusted"]),
        (&json!("warning"), &json!(false)),
        "{clock}"
    );
    assert!(words(&clock, "mend").contains("a clock you trust"), "{clock}");
}

#[tokio::test]
async fn secrets_are_looked_at_and_nobody_is_asked() {
    let user = User::new();
    let none = one(&user, "keyring", &[]).await;
    assert_eq!(
        (&none["state"], &none["details"]["service"]),
        (&json!("warning"), &json!("absent")),
        "{none}"
    );
    assert_eq!(one(&user, "login", &[]).await["state"], "skipped", "a private node needs none");
    let [port] = free_ports().unwrap();
    let of_fleet = format!("consul://127.0.0.1:{port}");
    let nobody = one(&user, "login", &["--catalog", &of_fleet]).await;
    assert_eq!(
        (&nobody["state"], &nobody["details"]["code"]),
        (&json!("problem"), &json!("not_logged_in")),
        "{nobody}"
    );

    // The keys of this user were in a keyring that is gone.
    let data = user.file(".local/share/cbrowse");
    std::fs::create_dir_all(&data).unwrap();
    std::fs::write(data.join("secrets.in-keyring"), "x").unwrap();
    let gone = one(&user, "keyring", &[]).await;
    assert!(
        gone["state"] == "problem"
            && words(&gone, "found").contains("your keys are in the desktop's keyring"),
        "{gone}"
    );
    std::fs::remove_file(data.join("secrets.in-keyring")).unwrap();

    user.run(&["login", "--show-key", "--passphrase-fd", "0"]).await.succeeded();
    let sealed = one(&user, "keyring", &[]).await;
    assert!(sealed["state"] == "ok" && words(&sealed, "found").contains("mode 0600"), "{sealed}");
    let unopened = one(&user, "login", &["--catalog", &of_fleet]).await;
    assert!(unopened["state"] == "skipped" && words(&unopened, "found").contains("not open"), "{unopened}");
    let opened = one(&user, "login", &["--catalog", &of_fleet, "--passphrase-fd", "0"]).await;
    assert_eq!(opened["details"]["code"], "not_logged_in", "{opened}");
    std::fs::set_permissions(data.join("secrets.sealed"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let readable = one(&user, "keyring", &[]).await;
    assert!(words(&readable, "mend").starts_with("chmod 600 "), "{readable}");
    let spoilt = one(&user.with_token("nonsense"), "login", &[]).await;
    assert_eq!(
        (&spoilt["state"], &spoilt["details"]["code"]),
        (&json!("problem"), &json!("token_malformed")),
        "{spoilt}"
    );
}

#[tokio::test]
async fn a_resolver_that_never_answers_costs_its_own_deadline_and_is_named() {
    let user = User::new();
    let deaf = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let uri = format!("dns+srv://_browser-node._tcp.fleet.test?server={}", deaf.local_addr().unwrap());
    let catalogs = one(&user, "catalogs", &["--catalog", &uri]).await;
    assert_eq!(catalogs["state"], "problem", "{catalogs}");
    let proxied = one(&user.with("https_proxy", "http://ada:secret@127.0.0.1:1"), "proxies", &[]).await;
    assert!(proxied["state"] == "warning" && !proxied.to_string().contains("secret"), "{proxied}");
}
