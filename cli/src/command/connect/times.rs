//! What is kept of a connect for `cbrowse explain last`: where its time went, and why this node.

use super::{Args, report::document_of};
use crate::{
    attach::journey::Journey,
    context::Globals,
    failure::Failure,
    private_file::FileError,
    select,
    timeline::{
        Timeline,
        record::{Found, LastConnect},
    },
};

/// Why this node: as the survey was before the session began.
pub(super) fn found(args: &Args, globals: &Globals, journey: &Journey<'_>) -> Found {
    let strategy = args.filter.strategy(&globals.settings);
    let surveyed = journey.surveyed.as_ref();
    let why =
        surveyed.and_then(|surveyed| select::explain(&surveyed.report.nodes, &surveyed.choice, strategy));
    Found { choice: surveyed.map(document_of), why, strategy: strategy.to_string(), attached: true }
}

/// The first picture is here, unless the session ended before.
pub(super) async fn remember(globals: &Globals, timeline: &Timeline, found: Found, is_here: bool) {
    if !is_here || !timeline.end() {
        return;
    }
    let last = LastConnect::new(timeline, found, None);
    let paths = globals.paths.clone();
    // Disks take their time, and pictures flow by now.
    if let Ok(saved) = tokio::task::spawn_blocking(move || last.save(&paths)).await {
        tell(globals, saved);
    }
}

/// No picture came.
pub(super) fn remember_failure(
    args: &Args,
    globals: &Globals,
    timeline: &Timeline,
    outcome: &Result<(), Failure>,
) {
    let Err(failure) = outcome else { return };
    if !timeline.end() {
        return;
    }
    let strategy = args.filter.strategy(&globals.settings).to_string();
    let found = Found { strategy, ..Found::default() };
    tell(globals, LastConnect::new(timeline, found, Some(failure)).save(&globals.paths));
}

fn tell(globals: &Globals, saved: Result<(), FileError>) {
    if let Err(error) = saved {
        globals.output.warn(format_args!("cbrowse explain last will not know of this connect: {error}"));
    }
}
