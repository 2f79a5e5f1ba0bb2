//! What `cbrowse connect` says: why this node, what became of the profile, how it ended.

use std::time::Instant;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{
    Args,
    homecoming::{Home, NOT_AWAITED},
};
use crate::{
    attach::{
        journey::{Arrival, Journey, Surveyed},
        session::{Attachment, Seen},
    },
    command::nodes::probe,
    context::Globals,
    failure::{Exit, Failure},
    outcome::Document,
    output::Style,
    select,
    survey::Probing,
    view::{Delivery, Hub, Left, none::PictureError},
    words::{count, size},
};

pub(super) fn show_choice(args: &Args, globals: &Globals, journey: &Journey<'_>, attachment: &Attachment) {
    let Some(surveyed) = &journey.surveyed else { return };
    let output = &globals.output;
    if args.explain && !output.is_json() {
        output.note(probe::explanation(output, &document_of(surveyed)));
    }
    let strategy = args.filter.strategy(&globals.settings);
    if let Some(why) = select::explain(&surveyed.report.nodes, &surveyed.choice, strategy) {
        let eligible = surveyed.choice.order.len();
        let ms = surveyed.report.elapsed.as_millis();
        let how = match args.probing.probing(&globals.settings) {
            Probing::Cached => " by what is remembered, asked",
            Probing::All | Probing::Fresh | Probing::Quiet(_) => ", measured",
        };
        output.note(format_args!(
            "{}, {eligible} eligible{how} in {ms} ms",
            count(surveyed.report.nodes.len() as u64, "node")
        ));
        output.note(format_args!(
            "{} {} in {}",
            output.styled(Style::Good, "connected to"),
            attachment.node,
            attachment.region
        ));
        output.note(format_args!("  {why}"));
    }
    if let Some(uploaded) = journey.uploaded {
        output.note(if uploaded.objects == 0 {
            "profile sealed for this session; the node has all of it".to_owned()
        } else {
            let (objects, bytes) = (count(uploaded.objects, "object"), size(uploaded.bytes));
            format!("profile sealed for this session; {objects}, {bytes} sent")
        });
    }
}

/// What a program is told of a session that has begun.
pub(super) fn begun(args: &Args, journey: &Journey<'_>, attachment: &Attachment) -> Value {
    json!({
        "session": attachment.session,
        "node": attachment.node,
        "region": attachment.region,
        "first_picture_ms": null,
        "profile": args.profile,
        "kept": args.profile.is_some().then(|| journey.is_kept()),
        "choice": args.explain.then(|| explained(journey)),
    })
}

/// For a program that stays attached: the document as soon as the first picture is here. Whether it was written.
pub(super) async fn announce(
    globals: &Globals,
    hub: &Hub,
    document: Value,
    started: Instant,
) -> Result<bool, Failure> {
    let mut subscriber = hub.subscribe();
    loop {
        match subscriber.next().await {
            Ok(Delivery::Frame(_)) => break,
            Ok(_) => {}
            Err(Left::Behind(_)) => subscriber = hub.subscribe(),
            Err(Left::Gone) => return Ok(false),
        }
    }
    let mut document = document;
    document["first_picture_ms"] = milliseconds(started.elapsed().as_secs_f64());
    globals.output.document(&document).map(|()| true)
}

fn milliseconds(seconds: f64) -> Value {
    json!((seconds * 1e4).round() / 10.0)
}

/// The same as `cbrowse nodes probe --json`.
pub(super) fn explained(journey: &Journey<'_>) -> Option<Document> {
    journey.surveyed.as_ref().map(document_of)
}

pub(super) fn document_of(surveyed: &Surveyed) -> Document {
    Document::new(&surveyed.report, &surveyed.choice, surveyed.report.elapsed)
}

pub(super) fn picture_failure(error: &PictureError) -> Failure {
    match error {
        PictureError::Ended(_) => Failure::new(Exit::SessionLost, "session_ended", error.to_string()),
        PictureError::Write { .. } => Failure::new(Exit::Configuration, "screenshot", error.to_string()),
        PictureError::NotLoaded(_) => Failure::new(Exit::Refused, "page_not_loaded", error.to_string())
            .hint("check the address; a node lets pages reach public addresses only, unless its operator allows more"),
        _ => Failure::new(Exit::Refused, "screenshot", error.to_string()),
    }
}

/// How a session went.
pub(super) struct Outcome<'a> {
    pub(super) seen: &'a Seen,
    pub(super) arrival: &'a Arrival,
    pub(super) started: Instant,
    /// The document is on standard output already.
    pub(super) announced: bool,
    /// What became of the last save; `None` where nothing is kept, and where nobody waited for it.
    pub(super) home: Option<&'a Home>,
}

pub(super) fn finish(
    args: &Args,
    globals: &Globals,
    journey: &Journey<'_>,
    outcome: &Outcome<'_>,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    if !stop.is_cancelled()
        && let Some(reason) = &outcome.seen.failed
    {
        return Err(session_failed(args, journey, outcome, reason));
    }
    let failure = outcome
        .home
        .filter(|_| !stop.is_cancelled())
        .and_then(|home| home.failure(args.profile.as_deref(), journey.node()));
    if let Some(failure) = failure {
        if !globals.output.is_json() {
            say_end(args, globals, outcome, stop);
        }
        return Err(failure.details(document(args, journey, outcome)));
    }
    if globals.output.is_json() {
        let document = document(args, journey, outcome);
        // Standard output stays as it is on failure, and Ctrl-C is one to a program.
        if stop.is_cancelled() {
            return Err(Failure::interrupted().details(document));
        }
        return if outcome.announced { Ok(()) } else { globals.output.document(&document) };
    }
    say_end(args, globals, outcome, stop);
    if stop.is_cancelled() { Err(Failure::interrupted()) } else { Ok(()) }
}

/// The node ended it, and not because anybody asked.
fn session_failed(args: &Args, journey: &Journey<'_>, outcome: &Outcome<'_>, reason: &str) -> Failure {
    let message = format!("the session failed: {}", cbrowse_protocol::node::printable(reason, 500));
    Failure::new(Exit::SessionLost, "session_failed", message)
        .hint(what_is_safe(journey, outcome.arrival))
        .details(document(args, journey, outcome))
}

/// What became of the profile in a session that failed.
pub(super) fn what_is_safe(journey: &Journey<'_>, arrival: &Arrival) -> &'static str {
    match (journey.is_kept(), arrival.saving) {
        (true, false) => "the profile's last save is safe on this machine; connect again",
        (true, true) => {
            "the profile is safe on this machine as it was saved last; a later save may wait on the node, and the next \
             command takes it home"
        }
        (false, _) => "connect again",
    }
}

fn document(args: &Args, journey: &Journey<'_>, outcome: &Outcome<'_>) -> Value {
    let Outcome { seen, arrival, started, .. } = outcome;
    let node = journey.node();
    json!({
        "session": journey.session(),
        "node": node.map(|node| &node.id),
        "region": node.map(|node| &node.region),
        "first_picture_ms": seen.first_picture.map(|at| milliseconds(at.duration_since(*started).as_secs_f64())),
        "screenshot": args.screenshot,
        "profile": args.profile,
        "kept": args.profile.is_some().then(|| journey.is_kept()),
        "saving": arrival.saving,
        "save": outcome.home.map(Home::code).or_else(|| journey.is_kept().then_some(NOT_AWAITED)),
        "reason": cbrowse_protocol::node::printable(&arrival.reason, 500),
        "choice": args.explain.then(|| explained(journey)),
    })
}

fn say_end(args: &Args, globals: &Globals, outcome: &Outcome<'_>, stop: &CancellationToken) {
    let Outcome { seen, arrival, started, .. } = outcome;
    let first_picture = seen.first_picture.map(|at| at.duration_since(*started).as_millis());
    if let Some(ms) = first_picture.filter(|_| args.screenshot.is_some()) {
        globals.output.note(format_args!("first picture after {ms} ms"));
    }
    // After Ctrl-C there is none.
    if let Some(path) = args.screenshot.as_ref().filter(|_| !stop.is_cancelled()) {
        globals.output.note(format_args!("picture saved: {}", path.display()));
    }
    let is_told = outcome.home.is_some() && !stop.is_cancelled();
    let after = if arrival.saving && !is_told {
        "; the node saves the profile, the next command takes it home"
    } else {
        ""
    };
    // What this side ended needs no reason.
    let ours = stop.is_cancelled() || args.screenshot.is_some();
    let reason = cbrowse_protocol::node::printable(&arrival.reason, 500);
    let reason = if ours { String::new() } else { format!(": {reason}") };
    globals.output.note(format_args!("session ended{reason}{after}"));
}
