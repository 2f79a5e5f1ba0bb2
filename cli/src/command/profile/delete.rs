//! `cbrowse profile delete`: the sealed copies on nodes that can be reached, then this machine's copy, and a word on the rest.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::SystemTime,
};

use cbrowse_profile::authority::Authority;
use cbrowse_protocol::{api::DeletionRequest, id::ProfileId, identity::IdentityKey, node::NodeRecord};
use clap_complete::ArgValueCompleter;
use serde_json::json;

use super::{
    doors::Doors,
    key,
    status::{Facts, with_endpoint},
    words,
};
use crate::{
    command::{complete, login::blocking},
    context::Globals,
    credentials::seconds,
    failure::{Exit, Failure},
    keyring::passphrase::PassphraseArgs,
    pending,
    profile::{Removed, chain, copies, remove, right},
};

/// Shown below the help.
pub const EXAMPLES: &str = "\
Examples:
  cbrowse profile delete work
  cbrowse profile delete work --yes --json

Copies on nodes that cannot be reached stay there, sealed: nobody but you could ever open them.
";

/// Arguments of `cbrowse profile delete`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which profile.
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(complete::profiles))]
    pub name: String,
    /// Do not ask.
    #[arg(long)]
    pub yes: bool,
    /// Where the passphrase comes from when no keyring answers.
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
}

/// What became of a node's copy.
struct Reached {
    node: NodeRecord,
    outcome: Outcome,
}

enum Outcome {
    Deleted,
    /// There was none any more.
    Absent,
    /// It lies in a store that several nodes share, whose operator removes it.
    Marked(String),
    Kept(String),
}

/// Deletes.
pub async fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    let (paths, name) = (globals.paths.clone(), args.name.clone());
    let facts = blocking(move || {
        let facts = Facts::gather(&paths, &name)?;
        right::check_unused(&Authority::open(&paths.profiles(), facts.record.id.as_str())?)?;
        Ok(facts)
    })
    .await?;
    let nodes = holders(&facts);
    if !args.yes {
        let (facts, nodes) = (question(&facts, &nodes), facts.record.name.to_string());
        blocking(move || ask(&facts, &nodes)).await?;
    }
    let word = if nodes.is_empty() { None } else { word(args, globals).await };
    let mut doors = Doors::new(globals, &args.passphrase)?;
    let mut reached = Vec::new();
    for node in nodes {
        let outcome = delete_there(&mut doors, &node, &facts.record.id, word.as_ref()).await;
        reached.push(Reached { node, outcome });
    }
    doors.close().await;
    let (paths, id, waiting) = (globals.paths.clone(), facts.record.id.clone(), facts.waiting);
    blocking(move || {
        let _held = key::hold_all(&paths)?;
        let authority = Authority::open(&paths.profiles(), id.as_str())?;
        for Reached { node, outcome } in &reached {
            if let (Some(identity), Outcome::Deleted | Outcome::Absent | Outcome::Marked(_)) =
                (&node.identity, outcome)
            {
                copies::forget(authority.directory(), identity);
            }
        }
        authority.delete()?;
        for one in &waiting {
            pending::forget(&paths, &one.session);
        }
        Ok(reached)
    })
    .await
    .and_then(|reached| report(args, globals, &facts.record.id, &reached))
}

/// Each node once, whether it was sent the profile or ran a session with it.
fn holders(facts: &Facts) -> Vec<NodeRecord> {
    let mut seen: Vec<Option<IdentityKey>> = Vec::new();
    let all = facts.copies.iter().chain(facts.waiting.iter().map(|one| &one.node));
    let mut nodes = Vec::new();
    for node in all {
        if !seen.contains(&node.identity) {
            seen.push(node.identity);
            nodes.push(node.clone());
        }
    }
    nodes
}

/// Signed with the profile's key, for stores that several nodes share. Whoever has lost the key may still delete elsewhere.
async fn word(args: &Args, globals: &Globals) -> Option<DeletionRequest> {
    let (paths, source, name) = (globals.paths.clone(), args.passphrase.source(), args.name.clone());
    let opened = blocking(move || key::open(&paths, source, &name)).await;
    opened.ok().map(|profile| profile.deletion(seconds(SystemTime::now())))
}

async fn delete_there(
    doors: &mut Doors<'_>,
    node: &NodeRecord,
    profile: &ProfileId,
    word: Option<&DeletionRequest>,
) -> Outcome {
    let mut door = match doors.open(node).await {
        Ok(door) => door,
        Err(failure) => return Outcome::Kept(failure.message),
    };
    match remove(&mut door.finalist.connection, &door.credentials, profile, word).await {
        Ok(Removed::Gone) => Outcome::Deleted,
        Ok(Removed::Absent) => Outcome::Absent,
        Ok(Removed::Marked { store }) => Outcome::Marked(store),
        Err(error) => Outcome::Kept(chain(&error)),
    }
}

fn question(facts: &Facts, nodes: &[NodeRecord]) -> String {
    let generation = match &facts.current {
        Some(current) => {
            format!("generation {}, {}", current.head.generation, words::count(current.files, "file"))
        }
        None => "never saved".to_owned(),
    };
    let copies = match nodes.len() as u64 {
        0 => String::new(),
        count => format!(" and the sealed copies on {}", words::count(count, "node")),
    };
    let waiting = match facts.waiting.len() as u64 {
        0 => String::new(),
        count => format!("\n{} may still wait on nodes and would be lost.", words::count(count, "save")),
    };
    let name = &facts.record.name;
    format!(
        "This deletes profile {name} ({generation}) with its whole history on this machine{copies}.{waiting}\nType its name to go on: "
    )
}

fn ask(question: &str, name: &str) -> Result<(), Failure> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        let message = "deleting a profile cannot be undone, and nobody is at a terminal to ask";
        return Err(Failure::new(Exit::Usage, "confirm", message).hint("if that is meant, add --yes"));
    }
    let failed = |error: io::Error| Failure::new(Exit::Usage, "confirm", format!("cannot ask: {error}"));
    write!(io::stderr(), "{question}").map_err(failed)?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(failed)?;
    if answer.trim() == name {
        return Ok(());
    }
    Err(Failure::new(Exit::Usage, "not_confirmed", "that is not its name; nothing was deleted"))
}

fn report(args: &Args, globals: &Globals, id: &ProfileId, reached: &[Reached]) -> Result<(), Failure> {
    let output = &globals.output;
    if output.is_json() {
        let nodes: Vec<_> = reached
            .iter()
            .map(|Reached { node, outcome }| {
                let (word, reason) = match outcome {
                    Outcome::Deleted => ("deleted", None),
                    Outcome::Absent => ("absent", None),
                    Outcome::Marked(store) => ("marked", Some(store)),
                    Outcome::Kept(reason) => ("kept", Some(reason)),
                };
                json!({"node": node.id, "endpoint": node.endpoint(), "outcome": word, "reason": reason})
            })
            .collect();
        return output.document(&json!({"profile": args.name, "id": id, "deleted": true, "nodes": nodes}));
    }
    for Reached { node, outcome } in reached {
        match outcome {
            Outcome::Deleted => output.print(&format!("deleted on {}", node.id))?,
            Outcome::Absent => output.print(&format!("{} held nothing of it any more", node.id))?,
            Outcome::Marked(store) => output.print(&format!(
                "deleted on {}, and marked in {store}: no node gives it out any more, and its operator's next sweep removes it",
                node.id
            ))?,
            Outcome::Kept(reason) => output.warn(format_args!(
                "{} still holds a sealed copy: {reason}; its operator can remove profile {id}",
                with_endpoint(node)
            )),
        }
    }
    output.print(&format!("profile {} is deleted on this machine", args.name))
}
