//! `cbrowse profile status`: where a profile stands, without any key.

use std::{fs, path::Path, time::SystemTime};

use cbrowse_profile::{
    authority::{Authority, HeadRecord, ProfileRecord},
    head::Closing,
};
use cbrowse_protocol::node::{NodeRecord, printable};
use clap_complete::ArgValueCompleter;
use serde_json::{Value, json};

use super::{diff, list, words};
use crate::{
    command::{complete, login::blocking},
    context::{Globals, Paths},
    credentials::seconds,
    date,
    failure::Failure,
    output::Style,
    pending::{self, Pending},
    profile::{chain, copies, source::Source},
};

/// Shown below the help.
pub const EXAMPLES: &str = "\
Examples:
  cbrowse profile status
  cbrowse profile status work --json | jq .generation
";

/// Longest label of a head that is shown, in bytes.
const MAX_LABEL: usize = 128;

/// Arguments of `cbrowse profile status`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which profile; all of them without one.
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(complete::profiles))]
    pub name: Option<String>,
}

/// What is known of a profile without its key.
pub(super) struct Facts {
    pub record: ProfileRecord,
    /// `None` before the first save.
    pub current: Option<HeadRecord>,
    /// Versions kept beside, oldest first.
    pub kept: Vec<HeadRecord>,
    /// Why the current generation cannot be told.
    pub problem: Option<String>,
    pub stored_objects: u64,
    pub stored_bytes: u64,
    /// Sessions whose saves may wait on nodes.
    pub waiting: Vec<Pending>,
    /// Nodes that hold sealed copies.
    pub copies: Vec<NodeRecord>,
    pub source: Option<Source>,
}

/// Shows.
pub async fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    let (paths, name) = (globals.paths.clone(), args.name.clone());
    let is_one = name.is_some();
    let shown = blocking(move || match name {
        Some(name) => Ok(vec![Facts::gather(&paths, &name)?]),
        None => list::all(&paths),
    })
    .await?;
    let output = &globals.output;
    if output.is_json() {
        let mut documents: Vec<Value> = shown.iter().map(Facts::to_json).collect();
        return if is_one { output.document(&documents.remove(0)) } else { output.document(&documents) };
    }
    if shown.is_empty() {
        output.note("there are no profiles on this machine; make one: cbrowse profile create NAME");
    }
    let now = seconds(SystemTime::now());
    for (index, facts) in shown.iter().enumerate() {
        if index > 0 {
            output.print(&"")?;
        }
        output.print(&output.styled(Style::Strong, &facts.record.name))?;
        for (what, value) in facts.lines(now) {
            output.print(&format!("  {what:<11} {value}"))?;
        }
    }
    Ok(())
}

impl Facts {
    /// Reads them from the disk.
    pub(super) fn gather(paths: &Paths, name: &str) -> Result<Self, Failure> {
        let authority = Authority::open(&paths.profiles(), name)?;
        let (current, kept, problem) = match current(&authority) {
            Ok((current, kept)) => (current, kept, None),
            Err(error) => (None, Vec::new(), Some(chain(&error))),
        };
        let (stored_objects, stored_bytes) = stored(authority.store().root());
        let id = &authority.record().id;
        Ok(Self {
            waiting: pending::of_profile(paths, id),
            copies: copies::list(authority.directory()),
            source: Source::of(authority.directory()),
            record: authority.record().clone(),
            current,
            kept,
            problem,
            stored_objects,
            stored_bytes,
        })
    }

    /// For programs.
    pub(super) fn to_json(&self) -> Value {
        let current = self.current.as_ref();
        let waiting: Vec<_> = self
            .waiting
            .iter()
            .map(|one| json!({"node": one.node.id, "session": one.session, "started": one.started}))
            .collect();
        let copies: Vec<_> =
            self.copies.iter().map(|node| json!({"node": node.id, "endpoint": node.endpoint()})).collect();
        json!({
            "profile": self.record.name,
            "id": self.record.id,
            "created": self.record.created,
            "generation": current.map(|current| current.head.generation),
            "saved": current.map(|current| current.time),
            "closing": current.map(|current| current.closing),
            "browser_version": current.map(|current| &current.browser_version),
            "device": current.map(|current| &current.device),
            "files": current.map(|current| current.files),
            "bytes": current.map(|current| current.bytes),
            "kept": self.kept.iter().map(|kept| &kept.kept_as).collect::<Vec<_>>(),
            "stored_objects": self.stored_objects,
            "stored_bytes": self.stored_bytes,
            "waiting": waiting,
            "copies": copies,
            "source": self.source.as_ref().map(|source| &source.directory),
            "problem": self.problem,
        })
    }

    fn lines(&self, now: u64) -> Vec<(&'static str, String)> {
        let mut lines = Vec::new();
        match (&self.problem, &self.current) {
            (Some(problem), _) => lines.push(("problem", problem.clone())),
            (None, None) => lines.push(("generation", "none; it was never saved".into())),
            (None, Some(current)) => lines.extend(current_lines(current, now)),
        }
        for kept in &self.kept {
            let what = format!("{}, {}", words::count(kept.files, "file"), words::size(kept.bytes));
            lines.push(("kept beside", format!("{}: {what}", diff::name_of(kept))));
        }
        let objects = words::count(self.stored_objects, "sealed object");
        lines.push(("stored", format!("{} in {objects} on this machine", words::size(self.stored_bytes))));
        if let Some(source) = &self.source {
            lines.push(("sealed from", source.directory.display().to_string()));
        }
        for waiting in &self.waiting {
            let since = date::relative(now, waiting.started);
            lines.push((
                "waiting",
                format!("a session began on {} {since}; its save may wait there", waiting.node.id),
            ));
        }
        for node in &self.copies {
            lines.push(("sealed copy", format!("on {}", with_endpoint(node))));
        }
        lines.push(("id", self.record.id.to_string()));
        lines
    }
}

/// A node's name and where it was; one of them where there is no other.
pub(super) fn with_endpoint(node: &NodeRecord) -> String {
    let endpoint = node.endpoint();
    if node.id.as_str() == endpoint { endpoint } else { format!("{} ({endpoint})", node.id) }
}

fn current_lines(current: &HeadRecord, now: u64) -> Vec<(&'static str, String)> {
    let known = |text: &str| if text.is_empty() { "unknown".to_owned() } else { printable(text, MAX_LABEL) };
    let crash = if current.closing == Closing::Crash { ", as a crash would leave it" } else { "" };
    let ago = if current.time == now { "just now".to_owned() } else { date::relative(now, current.time) };
    let date = date::utc(current.time);
    vec![
        ("generation", format!("{}{crash}", current.head.generation)),
        ("saved", format!("{date} ({ago}) by {}", known(&current.device))),
        ("browser", known(&current.browser_version)),
        ("contents", format!("{}, {}", words::count(current.files, "file"), words::size(current.bytes))),
    ]
}

/// The current version and those kept beside.
type Versions = (Option<HeadRecord>, Vec<HeadRecord>);

fn current(authority: &Authority) -> Result<Versions, cbrowse_profile::authority::AuthorityError> {
    let head = authority.head()?;
    let (kept, line): (Vec<_>, Vec<_>) =
        authority.history()?.into_iter().partition(|record| record.kept_as.is_some());
    Ok((line.into_iter().find(|record| head.as_ref() == Some(&record.head)), kept))
}

/// Number and bytes of the objects below `root`; what vanishes meanwhile is not counted.
fn stored(root: &Path) -> (u64, u64) {
    let directories = fs::read_dir(root).into_iter().flatten().flatten();
    let files =
        directories.flat_map(|directory| fs::read_dir(directory.path()).into_iter().flatten().flatten());
    let lengths = files.filter_map(|file| file.metadata().ok()).filter(fs::Metadata::is_file);
    lengths.fold((0, 0), |(count, bytes), metadata| (count + 1, bytes + metadata.len()))
}
