//! `cbrowse doctor`: what is possible on this machine, what is wrong, and how to mend it.
//!
//! All checks run side by side, each within its own deadline; none talks to anybody but what is configured: the system's
//! resolvers, the catalogs in force, the nodes they name, this machine's gateway and keyring.

mod browser;
mod catalogs;
mod clock;
mod dns;
mod echo;
mod examine;
mod finding;
mod icmp;
mod ipv6;
mod limits;
mod private_node;
mod proxies;
mod routes;
mod secrets;
mod storage;
mod table;
mod terminal;
mod trusted;

use std::time::Instant;

use serde_json::{Value, json};

pub use self::finding::{Check, Finding, Group, State};
use crate::{
    context::Globals,
    failure::{Exit, Failure},
    keyring::passphrase::PassphraseArgs,
    words::count,
};

/// Shown below the help.
pub const EXAMPLES: &str = "\
Examples:
  cbrowse doctor
  cbrowse doctor --only icmp-v4,dns-udp,dns-tcp
  cbrowse doctor --skip terminal --catalog consul://10.0.0.5:8500
  cbrowse doctor --json | jq '.checks[] | select(.state == \"problem\")'

Each check ends as ok, warning (it works, and could work better), problem, or skipped.
Exit code 0: nothing is a problem. Exit code 3: something is.
";

/// Arguments of `cbrowse doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only these checks; separated by commas, or repeated.
    #[arg(long, value_enum, value_name = "CHECK", value_delimiter = ',')]
    pub only: Vec<Check>,
    /// All checks but these; separated by commas, or repeated.
    #[arg(long, value_enum, value_name = "CHECK", value_delimiter = ',')]
    pub skip: Vec<Check>,
    /// Where the passphrase of the sealed file comes from; without it, nothing in that file is looked at.
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
    /// What is wrong with the settings, if that kept them from being read.
    #[arg(skip)]
    pub broken_settings: Option<Failure>,
}

impl Args {
    /// Whether this check is asked for.
    fn wants(&self, check: Check) -> bool {
        (self.only.is_empty() || self.only.contains(&check)) && !self.skip.contains(&check)
    }
}

/// Checks, and tells what was found.
pub async fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    let started = Instant::now();
    let findings = examine::examine(args, globals).await;
    if findings.is_empty() {
        let message = "no check is left: --skip names all that --only asks for";
        return Err(Failure::new(Exit::Usage, "usage", message));
    }
    if globals.output.is_json() {
        globals.output.document(&document(&findings, started))?;
    } else {
        let width = terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
        globals.output.print(&table::render(&findings, width, &globals.output))?;
    }
    conclude(&findings)
}

fn document(findings: &[Finding], started: Instant) -> Value {
    let of = |state| findings.iter().filter(|finding| finding.state == state).count();
    json!({
        "checks": findings,
        "ok": of(State::Ok),
        "warnings": of(State::Warning),
        "problems": of(State::Problem),
        "skipped": of(State::Skipped),
        "elapsed_ms": u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
    })
}

/// Anything that is a problem is one for the exit code, too.
fn conclude(findings: &[Finding]) -> Result<(), Failure> {
    let problems: Vec<&Finding> = findings.iter().filter(|finding| finding.state == State::Problem).collect();
    if problems.is_empty() {
        return Ok(());
    }
    let mut names: Vec<String> = problems.iter().map(|finding| finding.check.to_string()).collect();
    names.dedup();
    let message = format!("{}: {}", count(problems.len() as u64, "problem"), names.join(", "));
    Err(Failure::new(Exit::Configuration, "problems_found", message)
        .hint("what the lines above name, then cbrowse doctor again")
        .details(json!({"checks": names})))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(only: &[Check], skip: &[Check]) -> Args {
        Args {
            only: only.to_vec(),
            skip: skip.to_vec(),
            passphrase: PassphraseArgs::default(),
            broken_settings: None,
        }
    }

    #[test]
    fn only_narrows_and_skip_always_wins() {
        assert!(args(&[], &[]).wants(Check::Clock));
        assert!(!args(&[Check::Disk], &[]).wants(Check::Clock));
        assert!(args(&[Check::Disk], &[]).wants(Check::Disk));
        assert!(!args(&[Check::Disk], &[Check::Disk]).wants(Check::Disk));
    }

    #[test]
    fn one_problem_decides_the_exit_code_and_warnings_do_not() {
        let warning = Finding::warning(Check::IcmpV4, "closed", "open it");
        assert_eq!(conclude(&[Finding::ok(Check::Disk, "12 GB free"), warning.clone()]), Ok(()));
        let problem = Finding::problem(Check::Catalogs, "down", "start it");
        let failure = conclude(&[warning, problem.clone(), problem]).expect_err("two problems");
        assert_eq!((failure.exit, failure.code), (Exit::Configuration, "problems_found"));
        assert_eq!(failure.message, "2 problems: catalogs");
    }
}
