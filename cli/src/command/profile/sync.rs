//! `cbrowse profile sync`: what waits on nodes comes home, what changed here is sealed, the best node gets what it lacks.

pub(super) mod send;
mod tell;

use std::{path::PathBuf, sync::Arc, time::Duration};

use cbrowse_profile::authority::HeadRef;
use cbrowse_protocol::node::NodeRecord;
use clap::ValueHint;
use clap_complete::ArgValueCompleter;

use self::send::{Sent, send};
use super::{
    doors::Doors,
    extensions::ExtensionArgs,
    key,
    seal::{Directory, Sealed},
};
use crate::{
    attach::journey::settle_one,
    command::{complete, filter::Filter, login::blocking},
    context::Globals,
    discover::Sources,
    failure::{Exit, Failure},
    keyring::passphrase::PassphraseArgs,
    pending::{self, Pending},
    profile::{OpenProfile, chain, copies, source::Source},
    settings::size::parse_rate,
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
  cbrowse profile sync work --limit-rate 2M

A node that said within the last hour that it holds everything is not asked again; --fresh asks.
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
    /// Ask the nodes, even if one said lately that it holds everything.
    #[arg(long)]
    pub fresh: bool,
    /// Send at most this much a second, such as 2M; 0: as fast as the link (CBROWSE_LIMIT_RATE).
    #[arg(long, value_name = "RATE", value_parser = limit)]
    pub limit_rate: Option<u64>,
    /// Where the passphrase comes from when no keyring answers.
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
    /// Which nodes.
    #[command(flatten)]
    pub filter: Filter,
}

/// 0 is no limit, whatever the settings say.
fn limit(text: &str) -> Result<u64, String> {
    parse_rate(text).map(Option::unwrap_or_default)
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
                Some(refused) => {
                    Some(format!("a save was refused and stays there: {}", chain(&refused.error)))
                }
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

/// Whatever failed on the way to nodes, the user's own copy did not.
fn still_safe(failure: Failure, generation: Option<u64>) -> Failure {
    let Some(generation) = generation.filter(|_| failure.exit != Exit::Profile) else { return failure };
    let message =
        format!("{}\nthe profile is safe on this machine as generation {generation}", failure.message);
    Failure { message, ..failure }
}
