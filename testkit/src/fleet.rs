//! A fleet: its key, which signs nodes, and an issuer of tokens that all of its nodes accept.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tempfile::TempDir;

/// How long statements and tokens hold: longer than any test.
const LIFETIME: &str = "1h";

/// A fleet whose keys lie in a directory of their own.
#[derive(Debug)]
pub struct Fleet {
    directory: TempDir,
    key: String,
    issuer_key: String,
}

impl Fleet {
    /// Makes both keys, as an operator would.
    pub fn new() -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("fleet-").tempdir().context("make a directory")?;
        let key = run(&["fleet", "init", "--dir", text(directory.path())?])?;
        let mut fleet = Self { directory, key, issuer_key: String::new() };
        let document: Value =
            serde_json::from_str(&fleet.issue("nobody", &["--json"])?).context("read a token")?;
        document["issuer"].as_str().context("an issuer")?.clone_into(&mut fleet.issuer_key);
        Ok(fleet)
    }

    /// Its public key, for `cbrowse trust add --fleet`.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The public key of its issuer, for `cbrowse-node serve --token-key`.
    pub fn issuer_key(&self) -> &str {
        &self.issuer_key
    }

    /// A credential for `CBROWSE_TOKEN`; every node of the fleet accepts it.
    pub fn token(&self, user: &str) -> anyhow::Result<String> {
        self.issue(user, &[])
    }

    /// Its word about a node: a file for `cbrowse-node serve --statement`.
    pub fn sign(&self, identity: &str, id: &str, region: &str) -> anyhow::Result<PathBuf> {
        let identity = format!("--identity={identity}");
        let place = ["--dir", text(self.directory.path())?];
        let about = ["--id", id, "--region", region, "--lifetime", LIFETIME];
        let statement = run(&[&["fleet", "sign", &identity][..], &place, &about].concat())?;
        let file = self.directory.path().join(format!("{id}.statement"));
        std::fs::write(&file, statement).context("write a statement")?;
        Ok(file)
    }

    fn issue(&self, user: &str, more: &[&str]) -> anyhow::Result<String> {
        let issuer = self.directory.path().join("issuer.key");
        let base = ["token", "--user", user, "--lifetime", LIFETIME, "--issuer-key", text(&issuer)?];
        run(&[&base[..], more].concat())
    }
}

/// Runs `cbrowse-node` to its end; its standard output without the last newline.
pub fn run(arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(binary()?)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("run cbrowse-node {}", arguments.join(" ")))?;
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cbrowse-node {}: {}: {words}", arguments.join(" "), output.status);
    Ok(String::from_utf8(output.stdout).context("UTF-8")?.trim_end().to_owned())
}

/// The program under test. Cargo builds it beside the tests of other packages only when it is told to.
pub fn binary() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("find the test's own program")?;
    // target/debug/emulate, or target/debug/deps/test-0123, and target/debug/cbrowse-node
    let beside = own.with_file_name("cbrowse-node");
    let above = own.parent().and_then(Path::parent).context("a target directory")?.join("cbrowse-node");
    let path = [beside, above].into_iter().find(|path| path.is_file());
    path.with_context(|| format!("cbrowse-node is not near {}: cargo build -p cbrowse-node", own.display()))
}

/// A path as an argument.
pub fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("a path in UTF-8")
}
