//! `cbrowse trust`: which fleets and nodes this user trusts.

use std::{path::Path, time::SystemTime};

use cbrowse_protocol::{id::NodeId, identity::IdentityKey};
use serde_json::json;

use crate::{
    context::Globals,
    credentials::seconds,
    date,
    failure::{Exit, Failure},
    trust::{TrustStore, store::read_fleet_key},
};

/// Arguments of `cbrowse trust`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// What `cbrowse trust` can do.
#[derive(Debug, clap::Subcommand)]
pub enum Action {
    /// Trust a fleet by its public key, or one node by its identity.
    Add(AddArgs),
    /// List trusted fleets and known nodes.
    List,
    /// Forget a fleet by its name, or a node by its id.
    Forget {
        /// The name or id, as `cbrowse trust list` shows it.
        name: String,
    },
}

/// Arguments of `cbrowse trust add`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("whom").required(true))]
pub struct AddArgs {
    /// A fleet's public key (cbrowse-node fleet init prints it), or a file that holds it.
    #[arg(long, group = "whom", value_name = "KEY|FILE", allow_hyphen_values = true)]
    pub fleet: Option<String>,
    /// A name for the fleet; else the beginning of its key.
    #[arg(long, requires = "fleet", value_name = "NAME")]
    pub name: Option<NodeId>,
    /// A node's id and its identity (cbrowse-node identity prints it).
    #[arg(long, group = "whom", num_args = 2, value_names = ["ID", "KEY"], allow_hyphen_values = true)]
    pub node: Option<Vec<String>>,
}

/// Changes or shows the store.
#[expect(clippy::unused_async, reason = "every subcommand has this shape")]
pub async fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    match &args.action {
        Action::Add(AddArgs { fleet: Some(fleet), name, .. }) => add_fleet(fleet, name.as_ref(), globals),
        Action::Add(args) => add_node(args.node.as_deref().unwrap_or_default(), globals),
        Action::List => list(globals),
        Action::Forget { name } => forget(name, globals),
    }
}

fn add_fleet(text: &str, name: Option<&NodeId>, globals: &Globals) -> Result<(), Failure> {
    let key = parse_key(text).map_or_else(|| read_fleet_key(Path::new(text)), Ok)?;
    let text = key.to_string();
    // A name that begins with a dash could not be given to a command.
    let short: String = text.chars().filter(char::is_ascii_alphanumeric).take(8).collect();
    let name = name.map_or_else(|| format!("fleet-{short}"), ToString::to_string);
    TrustStore::update(&globals.paths, |store| store.add_fleet(&name, key))?.map_err(|taken| {
        Failure::new(Exit::Trust, "name_taken", taken.to_string())
            .hint(format!("choose another with --name, or cbrowse trust forget {name} first"))
    })?;
    if globals.output.is_json() {
        return globals.output.document(&json!({ "fleet": name, "key": key }));
    }
    globals
        .output
        .print(&format!("nodes that {name} has signed are trusted from now on, and no others unless pinned"))
}

fn add_node(pair: &[String], globals: &Globals) -> Result<(), Failure> {
    let [id, key] = pair else {
        return Err(usage("--node takes an id and an identity"));
    };
    let id: NodeId = id.parse().map_err(|error| usage(format!("{id:?} is no node id: {error}")))?;
    let key =
        parse_key(key).ok_or_else(|| usage(format!("{key:?} is no identity: 43 characters of base64url")))?;
    TrustStore::update(&globals.paths, |store| store.pin(&id, key, seconds(SystemTime::now())))?;
    if globals.output.is_json() {
        return globals.output.document(&json!({ "node": id, "identity": key }));
    }
    globals.output.print(&format!("{id} is trusted as {key}, and as nothing else"))
}

fn list(globals: &Globals) -> Result<(), Failure> {
    let store = TrustStore::load(&globals.paths)?;
    if globals.output.is_json() {
        let fleets: Vec<_> = store.fleets().map(|(name, key)| json!({ "name": name, "key": key })).collect();
        let nodes: Vec<_> = store
            .nodes()
            .map(|(id, node)| {
                json!({
                    "id": id, "identity": node.identity, "endpoint": node.endpoint, "first_seen": node.first_seen,
                    "pinned": node.pinned,
                })
            })
            .collect();
        return globals.output.document(&json!({ "fleets": fleets, "nodes": nodes }));
    }
    let fleets = store.fleets().map(|(name, key)| format!("fleet  {name}  {key}\n"));
    let nodes = store.nodes().map(|(id, node)| {
        let how = if node.pinned { "pinned".to_owned() } else { format!("accepted at {}", node.endpoint) };
        format!("node   {id}  {}  {how}, {}\n", node.identity, date::utc(node.first_seen))
    });
    let text: String = fleets.chain(nodes).collect();
    if text.is_empty() {
        globals.output.note("no fleet and no node is trusted yet: cbrowse trust add");
        return Ok(());
    }
    globals.output.print(&text)
}

fn forget(name: &str, globals: &Globals) -> Result<(), Failure> {
    let gone = TrustStore::update(&globals.paths, |store| store.forget(name))?;
    if gone == 0 {
        return Err(Failure::new(
            Exit::Trust,
            "not_known",
            format!("no fleet and no node is called {name:?}"),
        )
        .hint("cbrowse trust list shows the names"));
    }
    if globals.output.is_json() {
        return globals.output.document(&json!({ "forgotten": name, "entries": gone }));
    }
    globals.output.print(&format!("forgot {name}"))
}

fn parse_key(text: &str) -> Option<IdentityKey> {
    text.trim().parse().ok()
}

fn usage(message: impl Into<String>) -> Failure {
    Failure::new(Exit::Usage, "usage", message).hint("cbrowse trust add --help")
}

#[cfg(test)]
mod tests {
    use cbrowse_protocol::identity::SigningKey;

    use super::*;
    use crate::{
        context::Paths,
        output::Output,
        settings::{Flags, Settings},
    };

    fn world() -> (tempfile::TempDir, Globals) {
        let directory = tempfile::tempdir().expect("a directory");
        let paths = Paths::below(directory.path());
        let settings = Settings::resolve(&Flags::default(), &|_| None, &paths.config).expect("defaults");
        (directory, Globals::new(Output::new(true, true, true), paths, settings))
    }

    #[test]
    fn a_fleet_is_added_by_key_or_by_file_and_forgotten_by_name() {
        let (directory, globals) = world();
        let key = SigningKey::generate().public();
        let file = directory.path().join("fleet.pub");
        std::fs::write(&file, format!("{key} the main fleet\n")).expect("written");
        let name: NodeId = "main".parse().expect("a name");
        add_fleet(file.to_str().expect("UTF-8"), Some(&name), &globals).expect("added");
        add_fleet(&key.to_string(), Some(&name), &globals).expect("the same again");
        let other = SigningKey::generate().public().to_string();
        assert_eq!(add_fleet(&other, Some(&name), &globals).expect_err("taken").code, "name_taken");
        assert_eq!(add_fleet("nonsense", None, &globals).expect_err("no key").code, "fleet_key");
        forget("main", &globals).expect("forgotten");
        assert_eq!(forget("main", &globals).expect_err("gone").exit, Exit::Trust);
    }

    #[test]
    fn a_node_is_pinned_by_id_and_identity() {
        let (_directory, globals) = world();
        let key = SigningKey::generate().public();
        add_node(&["n1".into(), key.to_string()], &globals).expect("pinned");
        let store = TrustStore::load(&globals.paths).expect("read");
        let (id, node) = store.nodes().next().expect("a node");
        assert_eq!((id.as_str(), node.identity, node.pinned), ("n1", key, true));
        assert_eq!(
            add_node(&["../n1".into(), key.to_string()], &globals).expect_err("no id").exit,
            Exit::Usage
        );
        assert_eq!(add_node(&["n1".into(), "short".into()], &globals).expect_err("no key").exit, Exit::Usage);
    }
}
