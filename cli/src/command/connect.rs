//! `cbrowse connect`: discover, probe, select, attach, view. The whole story on one page.

mod homecoming;
mod own;
mod report;
mod times;
mod writing;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use cbrowse_protocol::{
    api::SessionRequest,
    wire::{MAX_VIEWPORT, MIN_VIEWPORT, Viewport},
};
use cbrowse_registry::Listing;
use clap::ValueEnum;
use clap_complete::ArgValueCompleter;
use futures_util::{StreamExt as _, stream};
use tokio_util::sync::CancellationToken;

pub(super) use self::own::{credentials_for, own_credentials, start_private_node};
use self::{
    homecoming::{take_save_home, tell_settled},
    own::start_own_node,
    report::{Outcome, finish, picture_failure, show_choice},
    times::{found, remember, remember_failure},
    writing::{TermsArgs, check_terms, keep_right, open_profile},
};
use super::{
    address, complete,
    filter::{self, Filter},
    probing::ProbingArgs,
};
use crate::{
    attach::{
        self,
        finalist::{Interview, Judge, interview},
        journey::{Journey, Plan, settle_met, settle_one},
        session::{Attachment, Seen},
    },
    context::Globals,
    credentials::Credentials,
    discover::{self, start::Start},
    failure::{Exit, Failure},
    history::History,
    keyring::passphrase::PassphraseArgs,
    local::OwnNode,
    pending::{self, Pending},
    probe::Probed,
    profile::{OpenProfile, chain},
    select::Constraints,
    settings::duration::parse_age,
    survey::Probing,
    timeline::{self, Stage, Timeline},
    view::{
        Event, Hub,
        none::{self, Shot},
        web::{self, WebViewer, open_in_browser},
    },
};

/// Shown below the help.
pub const EXAMPLES: &str = "\
Examples:
  cbrowse connect
  cbrowse connect https://example.org --region eu-central --profile work
  cbrowse connect https://example.org --view none --screenshot page.png
  cbrowse connect --profile work@12 --discard      # an older version; changes are not kept
  cbrowse connect --explain --max-latency 80ms
  cbrowse connect --wait 2m
  cbrowse connect --cached                 # by what is remembered; nobody is probed
  cbrowse connect --quiet-probing=8        # eight nodes at random, not all
";

/// Saves of earlier sessions that are not complete yet are waited for this long before a new session begins.
const SAVE_PATIENCE: Duration = Duration::from_secs(20);
/// Nodes of earlier sessions that are met side by side; more sessions than this rarely end without their save.
const MET_AT_ONCE: usize = 8;
/// How long a full fleet is asked again unless --wait says otherwise. Longer: a script learns late that it has to wait; 0:
/// a place that is free in a moment is missed.
const DEFAULT_WAIT: &str = "3s";
/// A node of this machine saves and ends within this time; afterwards it does so alone.
const OWN_NODE_PATIENCE: Duration = Duration::from_secs(20);

/// Arguments of `cbrowse connect`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The page to open, such as example.org; the node's start page without one.
    #[arg(value_name = "URL", value_parser = address::parse)]
    pub url: Option<String>,
    /// Which nodes.
    #[command(flatten)]
    pub filter: Filter,
    /// Whom to probe.
    #[command(flatten)]
    pub probing: ProbingArgs,
    /// Bring this profile along, and take its changes home; NAME@12 is an older version of it (see --discard).
    #[arg(long, short, value_name = "NAME", add = ArgValueCompleter::new(complete::profiles))]
    pub profile: Option<String>,
    /// What becomes of the profile's changes.
    #[command(flatten)]
    pub terms: TermsArgs,
    /// Where the page is shown.
    #[arg(long, value_enum, value_name = "WHERE", default_value_t = View::Auto)]
    pub view: View,
    /// Save a picture of the loaded page as PNG and end the session.
    #[arg(long, value_name = "FILE")]
    pub screenshot: Option<PathBuf>,
    /// Picture the whole page instead of the visible part.
    #[arg(long, requires = "screenshot")]
    pub full_page: bool,
    /// Size of the page area, in CSS pixels.
    #[arg(long, value_name = "WIDTHxHEIGHT", value_parser = parse_size)]
    pub size: Option<Viewport>,
    /// Port of the web viewer on 127.0.0.1; 0 lets the system pick one.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub port: u16,
    /// Do not open a browser window for the web viewer; print where to find it.
    #[arg(long)]
    pub no_open: bool,
    /// Show every node with its verdict and all reasons.
    #[arg(long)]
    pub explain: bool,
    /// Where every node that fits is full, ask again for this long, such as 2m; 0 gives up at once.
    #[arg(long, value_name = "DURATION", default_value = DEFAULT_WAIT, value_parser = parse_age)]
    pub wait: Duration,
    /// Where the passphrase comes from when no keyring answers.
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
}

/// Where the page is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum View {
    /// The web viewer, or none when a picture is all that is wanted.
    Auto,
    /// A page of this machine, for this user only.
    Web,
    /// Nowhere: for pictures and programs.
    None,
}

fn parse_size(text: &str) -> Result<Viewport, String> {
    let wrong = || {
        format!("{text:?} is not a size such as 1280x720, with sides from {MIN_VIEWPORT} to {MAX_VIEWPORT}")
    };
    let (width, height) = text.split_once('x').ok_or_else(wrong)?;
    let side = |text: &str| text.parse().ok().filter(|side| (MIN_VIEWPORT..=MAX_VIEWPORT).contains(side));
    let (width, height) = side(width).zip(side(height)).ok_or_else(wrong)?;
    Ok(Viewport { width, height, scale: 1.0 })
}

/// Connects, and stays until the session ends. How the time passed is kept for `cbrowse explain last`.
pub async fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    let timeline = Timeline::begin();
    attach::seed();
    let outcome = timeline.time(Box::pin(connect_and_stay(args, globals, &timeline))).await;
    remember_failure(args, globals, &timeline, &outcome);
    outcome
}

async fn connect_and_stay(args: &Args, globals: &Globals, timeline: &Timeline) -> Result<(), Failure> {
    let started = Instant::now();
    let stop = globals.interrupt.watch();
    check_place(args)?;
    check_terms(args)?;
    let own_node = start_own_node(globals).await?;
    let connected = tokio::select! {
        biased;
        () = stop.cancelled() => Err(Failure::interrupted()),
        connected = connect(args, globals, own_node.as_ref()) => connected,
    };
    let outcome = match connected {
        Ok((mut journey, attachment)) => {
            show_choice(args, globals, &journey, &attachment);
            let clock = Clock { started, timeline };
            let stayed = stay(args, globals, &mut journey, attachment, clock, &stop).await;
            journey.settle_history().await;
            stayed
        }
        Err(failure) => Err(failure),
    };
    if let Some(node) = own_node {
        // After Ctrl-C the prompt comes back at once; the node saves and ends by itself.
        let patience = if stop.is_cancelled() { Duration::ZERO } else { OWN_NODE_PATIENCE };
        node.end(patience).await;
    }
    outcome
}

/// Better said now than after a session was opened for the picture.
fn check_place(args: &Args) -> Result<(), Failure> {
    let Some(path) = &args.screenshot else { return Ok(()) };
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    if directory.is_none_or(Path::is_dir) && !path.is_dir() {
        return Ok(());
    }
    let message = if path.is_dir() {
        format!("cannot write the picture to {}: that is a directory", path.display())
    } else {
        format!("cannot write the picture to {}: there is no such directory", path.display())
    };
    Err(Failure::new(Exit::Configuration, "screenshot", message).hint("name a file with --screenshot FILE"))
}

/// Everything up to an attached session.
async fn connect<'a>(
    args: &Args,
    globals: &'a Globals,
    own_node: Option<&OwnNode>,
) -> Result<(Journey<'a>, Attachment), Failure> {
    let mut constraints = args.filter.constraints(&globals.settings);
    let credentials = Arc::new(credentials_for(&args.passphrase, globals, own_node).await?);
    let profile = open_profile(args, globals).await?;
    let judge = match own_node {
        Some(_) => Judge::of(globals)?.of_own_record(),
        None => Judge::of(globals)?,
    };
    if let Some(profile) = &profile {
        if profile.is_kept() {
            settle_pending(globals, &judge, profile, &credentials, own_node).await;
        }
        constraints.profile_browser = profile.browser_version()?;
    }
    timeline::enter(Stage::Catalog);
    let probing = args.probing.probing(&globals.settings);
    let Start { listing, refresh } = known_nodes(globals, own_node, &constraints, probing).await?;
    let viewport = args.size.unwrap_or_default();
    let discard = profile.as_ref().is_some_and(|profile| !profile.is_kept());
    let request = SessionRequest { url: args.url.clone(), viewport, discard, ..SessionRequest::default() };
    let strategy = args.filter.strategy(&globals.settings);
    // There is one private node, and it is here.
    let history = own_node.is_none().then(|| Arc::new(History::of(&globals.paths, &globals.output)));
    let probing = if own_node.is_some() { Probing::All } else { probing };
    let plan =
        Plan { listing, judge, constraints, strategy, probing, history, request, profile, credentials };
    let mut journey =
        Journey::new(plan, &globals.paths, &globals.output).refreshed_by(refresh).waiting(args.wait);
    match journey.begin().await {
        Ok(attachment) => Ok((journey, attachment)),
        Err(failure) => {
            // Whom nobody could attach to is worth knowing the next time.
            journey.settle_history().await;
            Err(failure)
        }
    }
}

/// The nodes to begin with: the last answers, where they know what is asked for by name.
async fn known_nodes(
    globals: &Globals,
    own_node: Option<&OwnNode>,
    constraints: &Constraints,
    probing: Probing,
) -> Result<Start, Failure> {
    let mut start = match own_node {
        Some(node) => {
            let listing = Listing { nodes: vec![node.record.clone()], ..Listing::default() };
            Start { listing, refresh: None }
        }
        None => match probing {
            Probing::Cached => Start { listing: discover::start::remembered(globals).await?, refresh: None },
            Probing::Fresh => Start { listing: discover::discover(globals).await?, refresh: None },
            Probing::All | Probing::Quiet(_) => discover::start::start(globals).await?,
        },
    };
    if filter::check_known(&start.listing.nodes, constraints).is_err()
        && let Some(mut refresh) = start.refresh.take()
    {
        start.listing = refresh.wait().await?;
    }
    discover::remark(&globals.output, &start.listing);
    filter::check_known(&start.listing.nodes, constraints)?;
    Ok(start)
}

/// Takes home what earlier sessions left on their nodes. A node that does not answer keeps it for later; nodes are met side by
/// side, so that several that are gone cost no more than one.
async fn settle_pending(
    globals: &Globals,
    judge: &Judge,
    profile: &Arc<OpenProfile>,
    credentials: &Arc<Credentials>,
    own_node: Option<&OwnNode>,
) {
    let mut waiting = pending::of_profile(&globals.paths, profile.id());
    for pending in &mut waiting {
        // The private node has another port each time.
        if let Some(own) = own_node.filter(|own| own.record.identity == pending.node.identity) {
            pending.node = own.record.clone();
        }
    }
    let of_own_record = judge.of_own_record();
    let meet = |pending: &Pending| Probed::unprobed(pending.node.clone());
    let met: Vec<_> = stream::iter(waiting.iter().map(meet))
        .map(|node| async { interview(&{ node }, &of_own_record).await })
        .buffered(MET_AT_ONCE)
        .collect()
        .await;
    for (index, (pending, met)) in waiting.iter().zip(met).enumerate() {
        let paths = &globals.paths;
        let is_gone = matches!(met, Interview::Failed(_));
        let mut settled = settle_met(met, paths, profile.clone(), credentials, pending, SAVE_PATIENCE).await;
        // The connection may have become old while those before it were used.
        if settled.is_err() && index > 0 && !is_gone {
            settled = settle_one(paths, judge, profile.clone(), credentials, pending, SAVE_PATIENCE).await;
        }
        match settled {
            Ok(settled) => tell_settled(globals, &settled),
            Err(failure) => globals.output.warn(format_args!(
                "the save of an earlier session may still wait on {}: {}",
                pending.node.id, failure.message
            )),
        }
    }
}

/// Since when, and what was waited for.
#[derive(Clone, Copy)]
struct Clock<'a> {
    started: Instant,
    timeline: &'a Timeline,
}

/// From the attached session to its end.
async fn stay(
    args: &Args,
    globals: &Globals,
    journey: &mut Journey<'_>,
    attachment: Attachment,
    Clock { started, timeline }: Clock<'_>,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let found = found(args, globals, journey);
    let journey_profile = journey.profile().cloned();
    let (hub, mut inputs) = Hub::new();
    let is_web = args.view == View::Web || (args.view == View::Auto && args.screenshot.is_none());
    let mut seen = Seen { greeting: is_web.then(|| args.size.unwrap_or_default()), ..Seen::default() };
    let (end, over) = (stop.child_token(), CancellationToken::new());
    let stays = globals.output.is_json() && args.screenshot.is_none();
    let begun = report::begun(args, journey, &attachment);
    let announced = async {
        tokio::select! {
            announced = report::announce(globals, &hub, begun, started), if stays => announced,
            () = over.cancelled() => Ok(false),
        }
    };
    let relayed = async {
        let arrival = journey.travel(attachment, &hub, &mut inputs, &mut seen, &end).await;
        let reason =
            arrival.as_ref().map_or_else(|failure| failure.message.clone(), |arrival| arrival.reason.clone());
        let _only_media_is_refused = hub.publish(Event::Ended { reason });
        // Whoever watches has been told; a viewer that only waits for the end must not wait for Ctrl-C.
        over.cancel();
        arrival
    };
    let viewed = async {
        let viewed = view(args, globals, &hub, is_web, &end, &over).await;
        // A picture that is taken, or a viewer that failed, ends the session.
        end.cancel();
        viewed
    };
    let timed = async {
        tokio::select! {
            is_here = timeline::until_first_picture(&hub) => remember(globals, timeline, found, is_here).await,
            () = over.cancelled() => {}
        }
    };
    let renewed = async {
        tokio::select! {
            never = keep_right(journey_profile, &globals.output) => match never {},
            () = over.cancelled() => {}
        }
    };
    let (arrival, viewed, announced, (), ()) = tokio::join!(relayed, viewed, announced, timed, renewed);
    let mut arrival = arrival?;
    // A session that ended by itself has made its last save before it said so.
    let home = if journey.is_kept() { take_save_home(globals, journey, stop).await } else { None };
    if let Some(home) = &home {
        arrival.saving = home.waits();
    }
    viewed.map_err(|failure| match (&seen.failed, &failure.hint) {
        (Some(_), None) => failure.hint(report::what_is_safe(journey, &arrival)),
        _ => failure,
    })?;
    let outcome =
        Outcome { seen: &seen, arrival: &arrival, started, announced: announced?, home: home.as_ref() };
    finish(args, globals, journey, &outcome, stop)
}

/// Shows the session until it ends, or the picture is taken. `end` asks for the end; `over` says that the viewers were
/// told of it.
async fn view(
    args: &Args,
    globals: &Globals,
    hub: &Hub,
    is_web: bool,
    end: &CancellationToken,
    over: &CancellationToken,
) -> Result<(), Failure> {
    let viewport = args.size.unwrap_or_default();
    let shot = args.screenshot.clone().map(|path| Shot { path, full_page: args.full_page });
    let viewer = if is_web { Some(open_viewer(args, globals, hub).await?) } else { None };
    let watching = async {
        match (&shot, is_web) {
            (None, true) => {
                over.cancelled().await;
                Ok(())
            }
            (shot, _) => {
                none::watch(hub, viewport, shot.as_ref()).await.map_err(|error| picture_failure(&error))
            }
        }
    };
    let watched = tokio::select! {
        biased;
        watched = watching => watched,
        () = end.cancelled() => Ok(()),
    };
    if let Some(viewer) = viewer {
        end.cancel();
        over.cancelled().await;
        viewer.close().await;
    }
    watched
}

async fn open_viewer(args: &Args, globals: &Globals, hub: &Hub) -> Result<WebViewer, Failure> {
    let options = web::Options { port: args.port, title: args.profile.clone().unwrap_or_default() };
    let viewer = WebViewer::start(hub.clone(), options)
        .await
        .map_err(|error| Failure::new(Exit::Configuration, "viewer", chain(&error)).hint(error.remedy()))?;
    let opened = !args.no_open && open_in_browser(viewer.open_file()).await.is_ok();
    if opened {
        globals.output.note(format_args!(
            "the page is open in your browser ({}); Ctrl-C ends the session",
            viewer.page_url()
        ));
    } else {
        globals.output.note(format_args!("open this file in your browser: {}", viewer.open_file().display()));
        globals.output.note(format_args!(
            "later the same browser finds the page at {}; Ctrl-C ends the session",
            viewer.page_url()
        ));
    }
    Ok(viewer)
}
