//! Where the machine permits no such network, that is said and is no failure.

use std::process::{Command, Output, Stdio};

use cbrowse_testkit::emulate::SKIPPED;

fn emulate(launcher: &[&str]) -> Output {
    let words = [launcher, &[env!("CARGO_BIN_EXE_emulate")]].concat();
    Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()).output().unwrap()
}

/// In a user namespace that allows no further one. Where there are no user namespaces at all, the second half is shown
/// by the first.
#[test]
fn a_machine_without_namespaces_is_told_from_a_failure() {
    let alone = emulate(&[]);
    let words = String::from_utf8_lossy(&alone.stderr).into_owned();
    match alone.status.code() {
        Some(0) => assert!(words.contains("is permitted here"), "{words}"),
        code => assert!(code == Some(SKIPPED) && words.starts_with("no emulated network here: "), "{words}"),
    }
    if alone.status.success() {
        let forbid = "echo 0 >/proc/sys/user/max_user_namespaces && exec \"$0\"";
        let inside = emulate(&["unshare", "--user", "--map-root-user", "sh", "-c", forbid]);
        let words = String::from_utf8_lossy(&inside.stderr);
        assert_eq!(inside.status.code(), Some(SKIPPED), "{words}");
        assert!(words.contains("make namespaces"), "{words}");
    }
}
