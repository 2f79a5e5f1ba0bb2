//! What a running session keeps to, read from the kernel: no port, no network, a sandbox.

use cbrowse_testkit::{
    fleet::Fleet,
    node::{Node, Options},
    process::descendants,
};
use nix::sys::signal::Signal;

use crate::user::User;

/// `TCP_LISTEN` in `/proc/PID/net/tcp` (proc(5)).
const LISTENING: &str = "0A";
/// 127.0.0.1 as the same file writes it.
const LOOPBACK: &str = "0100007F:";

fn read(pid: i32, file: &str) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default()
}

fn arguments(pid: i32) -> Vec<String> {
    read(pid, "cmdline").split(['\0', ' ']).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// Local addresses on which something listens, in the network namespace of a process.
fn listening(pid: i32, file: &str) -> Vec<String> {
    let text = read(pid, file);
    let fields = text.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    fields.filter(|fields| fields[3] == LISTENING).map(|fields| fields[1].to_owned()).collect()
}

fn interfaces(pid: i32) -> Vec<String> {
    let text = read(pid, "net/dev");
    text.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim().to_owned()).collect()
}

fn of_type(browser: &[(i32, Vec<String>)], kind: &str) -> Vec<i32> {
    let has = |words: &[String]| words.iter().any(|word| word == &format!("--type={kind}"));
    browser.iter().filter(|(_, words)| has(words)).map(|(pid, _)| *pid).collect()
}

#[tokio::test]
async fn a_running_session_has_its_sandbox_on_no_debugging_port_and_no_network() {
    let fleet = Fleet::new().unwrap();
    let node = Node::start(Options::of(&fleet, "fra-1", "eu-central")).await.unwrap();
    let user = User::of(&fleet).await.knowing(&[&node]);
    let mut running = user.start(&["connect", "--view", "web", "--no-open"]).await;
    running.until("open this file in your browser").await;

    let chromium = |name: &str| name.starts_with("chromium");
    let browser: Vec<(i32, Vec<String>)> = descendants(node.pid())
        .into_iter()
        .filter(|process| chromium(&process.name))
        .map(|process| (process.pid, arguments(process.pid)))
        .filter(|(_, words)| !words.is_empty())
        .collect();
    let mains: Vec<i32> = browser
        .iter()
        // Renderers inherit some of its arguments.
        .filter(|(_, words)| words.iter().any(|word| word == "--remote-debugging-pipe"))
        .filter(|(_, words)| !words.iter().any(|word| word.starts_with("--type=")))
        .map(|(pid, _)| *pid)
        .collect();
    assert!(!mains.is_empty(), "{browser:?}");
    for (pid, words) in &browser {
        let opens = |word: &String| word == "--no-sandbox" || word.starts_with("--remote-debugging-port");
        assert!(!words.iter().any(opens), "{pid}: {words:?}");
    }
    for main in mains {
        assert_eq!(interfaces(main), ["lo"]);
        // The worker's proxy, and nothing else.
        let open = listening(main, "net/tcp");
        assert!(open.len() == 1 && open[0].starts_with(LOOPBACK), "{open:?}");
        assert_eq!(listening(main, "net/tcp6"), Vec::<String>::new());
    }
    let renderers = of_type(&browser, "renderer");
    assert!(!renderers.is_empty(), "{browser:?}");
    for renderer in renderers {
        let status = read(renderer, "status");
        // 2 is SECCOMP_MODE_FILTER (seccomp(2)).
        assert!(status.contains("Seccomp:\t2"), "{status}");
        assert!(status.contains("NoNewPrivs:\t1"), "{status}");
        // Not even the session's own `lo`, where the proxy is.
        assert_eq!(listening(renderer, "net/tcp"), Vec::<String>::new());
    }
    running.signal(Signal::SIGINT);
    assert_eq!(running.end().await.code, Some(130));
}
