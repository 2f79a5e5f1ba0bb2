//! `cbrowse profile verify`: every generation opened, every object read and checked; nothing is written.

use std::sync::Arc;

use cbrowse_profile::{
    authority::HeadRecord,
    meter::Meter,
    verify::{Damage, Verifier},
};
use clap_complete::ArgValueCompleter;
use serde_json::{Value, json};

use super::{diff::short, key, words};
use crate::{
    command::{complete, login::blocking},
    context::Globals,
    failure::{Exit, Failure},
    keyring::passphrase::PassphraseArgs,
    output::Output,
    profile::{OpenProfile, chain},
};

/// Objects that a message names; `--json` names all.
const NAMED: usize = 10;

/// Shown below the help.
pub const EXAMPLES: &str = "\
Examples:
  cbrowse profile verify work
  cbrowse profile verify work --json

Exit code 8 where something is damaged; the error names the generations and the files.
";

/// Arguments of `cbrowse profile verify`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which profile.
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(complete::profiles))]
    pub name: String,
    /// Where the passphrase comes from when no keyring answers.
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
}

/// How one generation came out.
struct Verdict {
    record: HeadRecord,
    problems: Vec<Problem>,
}

struct Problem {
    object: Option<String>,
    text: String,
    files: Vec<String>,
}

/// Verifies.
pub async fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    let (paths, source, name) = (globals.paths.clone(), args.passphrase.source(), args.name.clone());
    let output = globals.output.clone();
    let (verdicts, objects) = blocking(move || verify(&key::open(&paths, source, &name)?, &output)).await?;
    let bad: Vec<&Verdict> = verdicts.iter().filter(|verdict| !verdict.problems.is_empty()).collect();
    if !bad.is_empty() {
        return Err(damaged(&args.name, &verdicts, &bad));
    }
    if globals.output.is_json() {
        return globals.output.document(&json!({
            "profile": args.name, "objects": objects, "generations": verdicts.iter().map(Verdict::to_json).collect::<Vec<_>>(),
        }));
    }
    let generations = words::count(verdicts.len() as u64, "generation");
    globals.output.print(&format!(
        "{} is whole: {generations}, {} opened",
        args.name,
        words::count(objects, "object")
    ))
}

fn verify(profile: &OpenProfile, output: &Output) -> Result<(Vec<Verdict>, u64), Failure> {
    let history = profile.authority().history()?;
    let mut verifier = Verifier::default();
    let mut verdicts = Vec::new();
    let meter = Arc::new(Meter::default());
    meter.expect(history.len() as u64, history.iter().map(|record| record.bytes).sum());
    let drawn = output.follow("verifying", "generations", meter.clone());
    for record in history {
        let problems = match profile.authority().snapshot_at(&record.head.name, profile.keys()) {
            Ok(snapshot) => {
                let mut told = 0;
                verifier.check(&snapshot, profile.authority().store(), |done, all| {
                    // Packs are alike in size; what a generation shares with those before it is there at once.
                    let bytes = record.bytes / all as u64 * done as u64;
                    meter.done(0, bytes - told);
                    told = bytes;
                });
                meter.done(0, record.bytes - told);
                std::mem::take(&mut verifier.damage).into_iter().map(Problem::of).collect()
            }
            Err(error) => vec![Problem { object: None, text: chain(&error), files: Vec::new() }],
        };
        verdicts.push(Verdict { record, problems });
        meter.done(1, 0);
    }
    drop(drawn);
    Ok((verdicts, verifier.objects.len() as u64))
}

fn damaged(name: &str, verdicts: &[Verdict], bad: &[&Verdict]) -> Failure {
    let lines: Vec<String> = bad
        .iter()
        .flat_map(|verdict| verdict.problems.iter().map(move |problem| (verdict, problem)))
        .take(NAMED)
        .map(|(verdict, problem)| {
            format!("  {}: {}{}", version(&verdict.record), problem.text, problem.files())
        })
        .collect();
    let message = format!("profile {name} is damaged:\n{}", lines.join("\n"));
    let whole = verdicts.iter().rev().find(|verdict| verdict.problems.is_empty());
    let hint = match whole.map(|verdict| verdict.record.head.generation) {
        Some(generation) => format!(
            "generation {generation} is whole: cbrowse profile restore {name} --at {generation} makes it current again; or restore the damaged \
             objects from a backup. Nothing was changed"
        ),
        None => "restore the damaged objects from a backup. Nothing was changed".into(),
    };
    let generations: Vec<_> = verdicts.iter().map(Verdict::to_json).collect();
    Failure::new(Exit::Profile, "profile_damaged", message)
        .hint(hint)
        .details(json!({ "generations": generations }))
}

fn version(record: &HeadRecord) -> String {
    match &record.kept_as {
        Some(kept) => format!("version {}", short(kept)),
        None => format!("generation {}", record.head.generation),
    }
}

impl Verdict {
    fn to_json(&self) -> Value {
        let problems: Vec<_> = self
            .problems
            .iter()
            .map(|problem| json!({"object": problem.object, "problem": problem.text, "files": problem.files}))
            .collect();
        json!({
            "generation": self.record.head.generation,
            "kept_as": self.record.kept_as,
            "whole": self.problems.is_empty(),
            "problems": problems,
        })
    }
}

impl Problem {
    fn of(damage: Damage) -> Self {
        Self {
            object: Some(damage.object.to_string()),
            text: chain(&damage.error),
            files: damage.files.into_iter().collect(),
        }
    }

    fn files(&self) -> String {
        match self.files.len() as u64 {
            0 => String::new(),
            files => format!(" ({} cannot be restored)", words::count(files, "file")),
        }
    }
}
