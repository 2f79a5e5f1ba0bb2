//! `cbrowse` on the near side of an emulated network: what it says, and what the emulator knows.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use cbrowse_testkit::emulate::{Family, Fault, SKIPPED, Scenario, World};
use serde_json::Value;
use tempfile::TempDir;

/// What is emulated.
pub(crate) struct Stage {
    world: World,
    arguments: Vec<String>,
}

/// How it came out.
pub(crate) struct Outcome {
    pub(crate) world: World,
    /// What the command printed with `--json`.
    pub(crate) document: Value,
    /// The emulator's counts.
    pub(crate) counts: Value,
    /// Home of the user.
    pub(crate) home: TempDir,
}

impl Stage {
    pub(crate) fn new(nodes: usize, scenario: Scenario, family: Family, seed: u64) -> Self {
        let mut arguments = vec![
            format!("--nodes={nodes}"),
            format!("--seed={seed}"),
            format!("--scenario={}", scenario.name()),
        ];
        arguments.extend((family == Family::V6).then(|| "--ipv6".to_owned()));
        Self { world: World::new(nodes, scenario, family, seed), arguments }
    }

    /// With a further argument of `emulate`.
    pub(crate) fn with(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Gives the nearest nodes these faults, the very nearest the first.
    pub(crate) fn with_nearest(mut self, faults: &[Fault]) -> Self {
        let faulty: Vec<_> = self.world.nearest().into_iter().zip(faults.iter().copied()).collect();
        let arguments = faulty.iter().map(|(number, fault)| format!("--fault={number}={}", fault.name()));
        self.arguments.extend(arguments);
        self.world = self.world.with_faults(faulty);
        self
    }

    /// Runs `cbrowse` with `--json` there; `None`, and a line that says so, where no such network is to be had.
    pub(crate) fn run(self, arguments: &[&str]) -> Option<Outcome> {
        let home = tempfile::tempdir().unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_emulate"))
            .args(&self.arguments)
            .arg("--files")
            .arg(home.path())
            .arg("--")
            .arg(cbrowse())
            .args(arguments)
            .arg("--json")
            .env_clear()
            .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
            .env("HOME", home.path())
            .env("TMPDIR", home.path())
            .current_dir(home.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let words = String::from_utf8_lossy(&output.stderr);
        if output.status.code() == Some(SKIPPED) {
            skip(&words);
            return None;
        }
        assert!(output.status.success(), "{}\n{words}", output.status);
        let document = serde_json::from_slice(&output.stdout).unwrap();
        let counts: Value =
            serde_json::from_slice(&std::fs::read(home.path().join("counters.json")).unwrap()).unwrap();
        // Else the emulator, and not the network that it emulates, lost packets.
        assert_eq!(counts["counts"]["overflowed"], 0, "{counts}");
        Some(Outcome { world: self.world, document, counts: counts["counts"].clone(), home })
    }
}

#[expect(
    clippy::print_stderr,
    reason = "whoever reads the outcome of the tests must not take it for a success"
)]
fn skip(words: &str) {
    eprintln!("SKIPPED: {}", words.trim());
}

/// Beside `emulate`; Cargo builds it there only when it is told to.
fn cbrowse() -> std::path::PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_emulate")).with_file_name("cbrowse");
    assert!(path.is_file(), "{} is missing: cargo build -p cbrowse", path.display());
    path
}

impl Outcome {
    /// What it says of a node.
    pub(crate) fn node(&self, number: usize) -> &Value {
        let id = World::id(number);
        self.nodes().iter().find(|node| node["id"] == id).unwrap()
    }

    pub(crate) fn nodes(&self) -> &[Value] {
        self.document["nodes"].as_array().unwrap()
    }

    /// The number of the node that it chose.
    pub(crate) fn chosen(&self) -> usize {
        number(&self.document["chosen"])
    }

    /// Numbers of the nodes at which a session could be had.
    pub(crate) fn serving(&self) -> Vec<usize> {
        (0..self.world.nodes.len()).filter(|number| self.world.nodes[*number].fault.serves()).collect()
    }
}

/// The number in a node's name.
pub(crate) fn number(id: &Value) -> usize {
    id.as_str().unwrap_or_else(|| panic!("{id} is no name")).trim_start_matches("node-").parse().unwrap()
}
