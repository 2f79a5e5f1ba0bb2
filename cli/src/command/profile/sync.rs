//! `cbrowse profile sync`: what waits on nodes comes home, what changed here is sealed, the best node gets what it lacks.

use std::{path::PathBuf, sync::Arc, time::Duration};

use cbrowse_profile::authority::HeadRef;
use cbrowse_protocol::node::NodeRecord;
use clap::ValueHint;
use clap_complete::ArgValueCompleter;
use serde_json::{Value, json};

use super::{
    doors::Doors,
    extensions::ExtensionArgs,
    key,
    seal::{Directory, Sealed},
    words,
};
use crate::{
    attach::{
        finalist::{Finalist, Interview, interview},
        journey::settle_one,
    },
    command::{
        complete,
        filter::{self, Filter},
        login::blocking,
    },
    context::Globals,
    discover::{self, Sources},
    failure::{Exit, Failure},
    history::History,
    keyring::passphrase::PassphraseArgs,
    pending::{self, Pending},
    profile::{OpenProfile, Uploaded, chain, copies, source::Source},
    survey::{Preference, Survey, survey},
};

/// A session that closes has saved within this time; one that runs on is not waited for any longer.
const SAVE_PATIENCE: Duration = Duration::from_secs(10);

/// Shown below the help.
pub const EXAMPLES: &str = "\
Examples:
  cbrowse profile sync work
  cbrowse profile sync work --from ~/.config/chromium
  cbrowse profile sync work --region eu-central --catalog consul://127.0.0.1:8500
  cbrowse profile sync work --dry-run

A directory that was named once is looked at again by later syncs, as long as no session has
changed the profile since. Without a catalog nothing travels now: connect sends the private node
of this machine what it lacks.
";

/// Arguments of `cbrowse profile sync`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which profile.
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(complete::profiles))]
    pub name: String,
    /// Seal this Chromium user data directory as the next generation, whatever was saved since.
    #[arg(long, value_name = "USER_DATA_DIR", value_hint = ValueHint::DirPath)]
    pub from: Option<PathBuf>,
    /// Which extensions travel.
    #[command(flatten)]
    pub extensions: ExtensionArgs,
    /// Say what would be sealed and sent; change nothing here or anywhere.
    #[arg(long)]
    pub dry_run: bool,
    /// Where the passphrase comes from when no keyring answers.
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
    /// Which nodes.
    #[command(flatten)]
    pub filter: Filter,
}

/// Everything one sync did.
#[derive(Default)]
struct Done {
    homecomings: Vec<Homecoming>,
    sealed: Option<Sealed>,
    /// A remembered directory that was not looked at, since the profile has moved on from it.
    passed_over: Option<PathBuf>,
    sent: Option<Sent>,
}

/// What became of one noted session.
struct Homecoming {
    node: NodeRecord,
    current: Option<HeadRef>,
    kept: Vec<String>,
    /// Why something still waits there.
    waits: Option<String>,
}

struct Sent {
    node: NodeRecord,
    uploaded: Uploaded,
}

/// Syncs.
pub async fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    let (paths, source, name) = (globals.paths.clone(), args.passphrase.source(), args.name.clone());
    let profile = Arc::new(blocking(move || key::open(&paths, source, &name)).await?);
    let mut doors = Doors::new(globals, &args.passphrase)?;
    let mut done = Done::default();
    let worked = sync(args, globals, &profile, &mut doors, &mut done).await;
    doors.close().await;
    let generation = profile.head().ok().flatten().map(|head| head.generation);
    if globals.output.is_json() {
        return match worked {
            Ok(()) => globals.output.document(&done.to_json(args, generation)),
            Err(failure) => Err(still_safe(failure, generation).details(done.to_json(args, generation))),
        };
    }
    done.tell(args, globals, generation, worked.is_ok())?;
    worked.map_err(|failure| still_safe(failure, generation))
}

async fn sync(
    args: &Args,
    globals: &Globals,
    profile: &Arc<OpenProfile>,
    doors: &mut Doors<'_>,
    done: &mut Done,
) -> Result<(), Failure> {
    for noted in pending::of_profile(&globals.paths, profile.id()) {
        let homecoming =
            if args.dry_run { left_there(&noted) } else { take_home(globals, profile, doors, &noted).await };
        done.homecomings.push(homecoming);
    }
    let directory = match &args.from {
        Some(directory) => Some(directory.clone()),
        None => remembered(profile, &mut done.passed_over)?,
    };
    if let Some(directory) = directory {
        done.sealed = Some(seal(args, globals, profile, directory).await?);
    }
    if !Sources::of_settings(&globals.settings)?.private_node && profile.head()?.is_some() {
        done.sent = Some(send(args, globals, profile, doors).await?);
    }
    Ok(())
}

fn left_there(noted: &Pending) -> Homecoming {
    let waits = Some("not asked, since nothing is to change".into());
    Homecoming { node: noted.node.clone(), current: None, kept: Vec::new(), waits }
}

/// A node that does not answer keeps the save for later; that is no reason not to do the rest.
async fn take_home(
    globals: &Globals,
    profile: &Arc<OpenProfile>,
    doors: &mut Doors<'_>,
    noted: &Pending,
) -> Homecoming {
    let mut homecoming =
        Homecoming { node: noted.node.clone(), current: None, kept: Vec::new(), waits: None };
    let settled = match doors.place(&noted.node).await {
        Ok((node, credentials)) => {
            let there = Pending { node, ..noted.clone() };
            settle_one(&globals.paths, &doors.judge, profile.clone(), &credentials, &there, SAVE_PATIENCE)
                .await
        }
        Err(failure) => Err(failure),
    };
    match settled {
        Ok(settled) => {
            // It holds sealed objects of the profile, and here its name is known.
            if let Some(identity) = &noted.node.identity {
                let _known_by_address_at_least =
                    copies::note(profile.authority().directory(), identity, &noted.node);
            }
            homecoming.current = settled.current;
            homecoming.kept = settled.kept;
            homecoming.waits = match settled.refused.first() {
                Some(refused) => Some(format!("a save was refused and stays there: {}", chain(refused))),
                None if settled.running > 0 => {
                    Some("a session works with the profile there; what it has saved so far is home".into())
                }
                None if settled.closing > 0 => Some("a session there has not finished its save yet".into()),
                None => None,
            };
        }
        Err(failure) => homecoming.waits = Some(failure.message),
    }
    homecoming
}

/// The directory of an earlier sync, unless sessions have changed the profile since.
fn remembered(profile: &OpenProfile, passed_over: &mut Option<PathBuf>) -> Result<Option<PathBuf>, Failure> {
    let Some(source) = Source::of(profile.authority().directory()) else { return Ok(None) };
    if profile.head()?.as_ref() == Some(&source.head) {
        return Ok(Some(source.directory));
    }
    *passed_over = Some(source.directory);
    Ok(None)
}

async fn seal(
    args: &Args,
    globals: &Globals,
    profile: &Arc<OpenProfile>,
    directory: PathBuf,
) -> Result<Sealed, Failure> {
    let (profile, output, dry_run) = (profile.clone(), globals.output.clone(), args.dry_run);
    let extensions = args.extensions.extensions.clone();
    blocking(move || {
        let directory = Directory { extensions, ..Directory::look(&directory)? };
        if dry_run { directory.try_out(&profile, &output) } else { directory.seal(&profile, &output) }
    })
    .await
}

async fn send(
    args: &Args,
    globals: &Globals,
    profile: &OpenProfile,
    doors: &mut Doors<'_>,
) -> Result<Sent, Failure> {
    let credentials = doors.fleet().await?;
    let mut constraints = args.filter.constraints(&globals.settings);
    constraints.profile_browser = profile.browser_version()?;
    let listing = discover::discover(globals).await?;
    discover::remark(&globals.output, &listing);
    filter::check_known(&listing.nodes, &constraints)?;
    let strategy = args.filter.strategy(&globals.settings);
    let history = History::of(&globals.paths, &globals.output);
    let probing = globals.settings.probing.value;
    let recalled = history.recall_for(probing);
    let preference = Preference { probing, recalled, ..Preference::from(strategy) };
    let survey = survey(listing, &constraints, preference, &doors.judge).await;
    history.note(&survey.recalled, &survey.report);
    if survey.choice.order.is_empty() {
        return Err(survey.nobody());
    }
    let (node, mut finalist) = best(survey, globals, doors).await?;
    let connection = &mut finalist.connection;
    let uploaded = if args.dry_run {
        profile.would_upload(connection, &credentials).await?
    } else {
        let identity = *connection.identity();
        copies::note(profile.authority().directory(), &identity, &node)
            .map_err(crate::profile::CarryError::from)?;
        let mut bar = None;
        let progress = |now: Uploaded, total: u64| {
            let length = usize::try_from(total).unwrap_or(usize::MAX);
            let bar = bar.get_or_insert_with(|| globals.output.progress(length, "sending the profile"));
            bar.at(usize::try_from(now.objects).unwrap_or(usize::MAX));
        };
        profile.upload(connection, &credentials, progress).await?
    };
    history.settle().await;
    Ok(Sent { node, uploaded })
}

/// The first of the choice that answers and is trusted; a person may be asked about one that nobody knows.
async fn best(
    mut survey: Survey,
    globals: &Globals,
    doors: &Doors<'_>,
) -> Result<(NodeRecord, Finalist), Failure> {
    let mut refusals: Vec<(NodeRecord, Failure)> = Vec::new();
    for index in survey.choice.order.clone() {
        let node = &survey.report.nodes[index];
        let outcome = match survey.interviews.remove(&index) {
            Some(outcome) => outcome,
            None => interview(node, &doors.judge).await,
        };
        let opened = match outcome {
            Interview::Trusted(finalist) => Ok(*finalist),
            Interview::FirstUse(stranger) => stranger.introduce(&globals.paths).await,
            Interview::Refused(failure) => Err(*failure),
            Interview::Failed(reason) => Err(Failure::new(Exit::SessionLost, "connection", reason)),
        };
        match opened {
            Ok(finalist) => return Ok((named(node.record.clone(), &finalist), finalist)),
            Err(failure) => refusals.push((node.record.clone(), failure)),
        }
    }
    Err(nobody(refusals))
}

/// Under the name that the node has for itself, where the catalog knows none.
fn named(mut record: NodeRecord, finalist: &Finalist) -> NodeRecord {
    if record.id.as_str() == record.endpoint() {
        record.id = finalist.status.id.clone();
    }
    record
}

fn nobody(mut refusals: Vec<(NodeRecord, Failure)>) -> Failure {
    if refusals.len() == 1 {
        return refusals.remove(0).1;
    }
    let exit = refusals.first().map_or(Exit::Refused, |(_, failure)| failure.exit);
    let lines: Vec<_> =
        refusals.iter().map(|(node, failure)| format!("  {}: {}", node.id, failure.message)).collect();
    Failure::new(exit, "all_refused", format!("no node took the profile:\n{}", lines.join("\n")))
        .hint("look with cbrowse nodes probe")
}

/// Whatever failed on the way to nodes, the user's own copy did not.
fn still_safe(failure: Failure, generation: Option<u64>) -> Failure {
    let Some(generation) = generation.filter(|_| failure.exit != Exit::Profile) else { return failure };
    let message =
        format!("{}\nthe profile is safe on this machine as generation {generation}", failure.message);
    Failure { message, ..failure }
}

impl Done {
    fn changed(&self) -> bool {
        self.homecomings.iter().any(|home| home.current.is_some() || !home.kept.is_empty())
            || self.sealed.as_ref().is_some_and(|sealed| sealed.stats.changed)
            || self.sent.as_ref().is_some_and(|sent| sent.uploaded.objects > 0)
    }

    fn to_json(&self, args: &Args, generation: Option<u64>) -> Value {
        let homecomings: Vec<_> = self
            .homecomings
            .iter()
            .map(|home| {
                json!({
                    "node": home.node.id,
                    "generation": home.current.as_ref().map(|head| head.generation),
                    "kept_as": home.kept,
                    "waits": home.waits,
                })
            })
            .collect();
        json!({
            "profile": args.name,
            "generation": generation,
            "dry_run": args.dry_run,
            "changed": self.changed(),
            "taken_home": homecomings,
            "sealed": self.sealed.as_ref().map(Sealed::to_json),
            "passed_over": self.passed_over,
            "sent": self.sent.as_ref().map(|sent| json!({
                "node": sent.node.id, "objects": sent.uploaded.objects, "bytes": sent.uploaded.bytes,
            })),
        })
    }

    fn tell(
        &self,
        args: &Args,
        globals: &Globals,
        generation: Option<u64>,
        ended: bool,
    ) -> Result<(), Failure> {
        let output = &globals.output;
        for home in &self.homecomings {
            if let Some(head) = &home.current {
                output.print(&format!("taken home from {}: generation {}", home.node.id, head.generation))?;
            }
            for kept in &home.kept {
                output.warn(format_args!(
                    "the profile moved on while a session ran on {}; its save is kept as {kept} (cbrowse profile history {})",
                    home.node.id, args.name
                ));
            }
            if let Some(waits) = &home.waits {
                output.warn(format_args!("a save may still wait on {}: {waits}", home.node.id));
            }
        }
        if let Some(sealed) = &self.sealed {
            output.print(&sealed.sentence())?;
            // Who syncs often has read it the first time.
            if sealed.stats.changed {
                words::tell_left_behind(output, &sealed.left_behind);
            }
        }
        if let Some(directory) = &self.passed_over {
            let directory = directory.display();
            output.note(format_args!(
                "{directory} was not looked at: sessions have changed the profile since it was sealed from there; to take \
                 its state as the next generation: cbrowse profile sync {} --from {directory}",
                args.name
            ));
        }
        match &self.sent {
            Some(sent) => output.print(&sent.sentence(args.dry_run))?,
            None if ended => output.print(&self.stays(generation))?,
            None => {}
        }
        if ended && !self.changed() && self.sent.is_some() {
            output.print(&"nothing changed")?;
        }
        Ok(())
    }

    /// Without a catalog.
    fn stays(&self, generation: Option<u64>) -> String {
        let Some(generation) = generation else {
            return "the profile was never saved, so there is nothing to send".into();
        };
        // A directory that was looked at has said so itself.
        let nothing = if self.changed() || self.sealed.is_some() { "" } else { "nothing changed: " };
        format!(
            "{nothing}safe on this machine as generation {generation}; no catalog is named, so nothing had to travel"
        )
    }
}

impl Sent {
    fn sentence(&self, dry_run: bool) -> String {
        let Uploaded { objects, bytes } = self.uploaded;
        let what = format!("{}, {}", words::count(objects, "object"), words::size(bytes));
        match (objects, dry_run) {
            (0, _) => format!("{} holds everything already", self.node.id),
            (_, true) => format!("would send {what} to {}", self.node.id),
            (_, false) => format!("sent {what} to {}", self.node.id),
        }
    }
}
