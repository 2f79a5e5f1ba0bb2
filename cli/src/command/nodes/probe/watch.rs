//! `nodes probe --watch`: one round after another, drawn where the last one stood, or a line of JSON each.

use std::{
    collections::HashSet,
    time::{Duration, SystemTime},
};

use cbrowse_protocol::id::NodeId;
use cbrowse_registry::Listing;
use serde::Serialize;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, MissedTickBehavior, interval},
};

use super::{
    Args,
    change::{Change, changes},
    rounds::Known,
    surveyor::{MOST_ASKED, Surveyor},
    table::{self, Look},
};
use crate::{
    command::nodes::screen::{Screen, Size},
    context::Globals,
    date::clock,
    discover,
    failure::{Exit, Failure},
    outcome::{Document, Row},
    output::{
        Output, Style,
        line::{Line, broken},
    },
    probe::{Probed, Report},
    select::{self, Constraints},
    settings::Settings,
    survey::Probing,
    words::count,
};

/// After this, the catalogs are asked again who is there. Less would ask registries about what hardly changes.
const LIST_AGAIN: Duration = Duration::from_secs(30);
/// Nodes asked over TLS after the first round: those that may be chosen next.
const ASKED_AGAIN: usize = 4;
/// The head of the table, what is said below it in sentences of two lines, and the cursor.
const LINES_BESIDE: usize = 9;

/// One round. With `--json`, a line.
#[derive(Serialize)]
struct Round {
    /// From 1.
    #[serde(rename = "round")]
    number: u64,
    /// Seconds since 1970 when it ended.
    time: f64,
    /// Nodes that were measured in it; of the others, the figures of an earlier one stand.
    measured: usize,
    #[serde(flatten)]
    document: Document,
    #[serde(skip)]
    why: Option<String>,
}

/// A watch measures all nodes, by no memory of earlier probings. Whoever set that nobody, or only a few, be asked is not
/// made to by a flag that does not say so.
pub(super) fn check(settings: &Settings) -> Result<(), Failure> {
    let probing = &settings.probing;
    if matches!(probing.value, Probing::All | Probing::Fresh) {
        return Ok(());
    }
    let message = format!(
        "--watch measures every node again and again, but probing is {} ({})",
        probing.value, probing.origin
    );
    Err(Failure::new(Exit::Usage, "watch_probing", message)
        .hint("watch with CBROWSE_PROBING=all, or leave out --watch"))
}

/// Measures until it is interrupted.
pub(super) async fn run(args: &Args, globals: &Globals, surveyor: &Surveyor<'_>) -> Result<(), Failure> {
    let stop = globals.interrupt.watch();
    let mut resized = signal(SignalKind::window_change())
        .map_err(|error| Failure::new(Exit::Bug, "signals", format!("cannot hear signals: {error}")))?;
    let watching = async {
        let mut watch = Watch::new(globals, surveyor, surveyor.list().await?);
        let mut telling = Telling::new(args, &globals.output);
        let mut rounds = interval(args.interval);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = rounds.tick() => {}
                () = telling.redraw_when(&mut resized) => continue,
            }
            let round = watch.round().await;
            telling.tell(round)?;
        }
    };
    let ended: Result<std::convert::Infallible, Failure> = tokio::select! {
        biased;
        () = stop.cancelled() => Err(Failure::interrupted()),
        failed = watching => failed,
    };
    ended.map(|never| match never {})
}

/// What is measured from round to round.
struct Watch<'a> {
    globals: &'a Globals,
    surveyor: &'a Surveyor<'a>,
    listing: Listing,
    listed: Instant,
    known: Known,
    /// When the last round ended.
    last: Instant,
    rounds: u64,
    chosen: Option<NodeId>,
}

impl<'a> Watch<'a> {
    fn new(globals: &'a Globals, surveyor: &'a Surveyor<'a>, listing: Listing) -> Self {
        let now = Instant::now();
        Self {
            globals,
            surveyor,
            listing,
            listed: now,
            known: Known::default(),
            last: now,
            rounds: 0,
            chosen: None,
        }
    }

    async fn round(&mut self) -> Round {
        self.list_again().await;
        let started = Instant::now();
        let (wanted, others) = select::split(self.listing.nodes.clone(), &self.surveyor.measured);
        let due = self.known.due(wanted);
        let measured: HashSet<NodeId> = due.records.iter().map(|record| record.id.clone()).collect();
        let progress = self.globals.output.silent();
        let mut report = self.surveyor.measure(&self.listing, due.records, due.priors, &progress).await;
        report.nodes.extend(due.kept);
        self.surveyor.ask(&mut report.nodes, if self.rounds == 0 { MOST_ASKED } else { ASKED_AGAIN }).await;
        self.known.carry_on(&mut report.nodes);
        report.nodes.extend(others.into_iter().map(Probed::unprobed));
        self.settle(&report, &measured, started)
    }

    fn settle(&mut self, report: &Report, measured: &HashSet<NodeId>, started: Instant) -> Round {
        let choice = self.surveyor.preference().choose(&report.nodes, &self.constraints());
        let document = Document::new(report, &choice, started.elapsed());
        let why = select::explain(&report.nodes, &choice, self.surveyor.strategy);
        self.chosen = choice.chosen().map(|index| report.nodes[index].record.id.clone());
        let rest = (0..report.nodes.len()).filter(|index| !choice.verdicts[*index].is_eligible());
        let ranking = choice.order.iter().copied().chain(rest).map(|index| &report.nodes[index]);
        self.known.learn(ranking, measured, self.last.elapsed());
        (self.last, self.rounds) = (Instant::now(), self.rounds + 1);
        let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let time = (time.as_secs_f64() * 1e3).round() / 1e3;
        Round { number: self.rounds, time, measured: measured.len(), document, why }
    }

    /// Whoever is somewhere stays there, as a session would: until another node is better by enough to be felt.
    fn constraints(&self) -> Constraints {
        let mut constraints = self.surveyor.constraints_now(&self.listing.nodes);
        if self.surveyor.strategy.ranks_by_measurement() {
            constraints.prefer = constraints.prefer.or_else(|| self.chosen.clone());
        }
        constraints
    }

    /// A registry that is down leaves the nodes that are known.
    async fn list_again(&mut self) {
        if self.listed.elapsed() < LIST_AGAIN {
            return;
        }
        self.listed = Instant::now();
        if let Ok(listing) = discover::discover(self.globals).await
            && !listing.nodes.is_empty()
        {
            self.listing = listing;
        }
    }
}

/// How rounds are told.
struct Telling<'a> {
    args: &'a Args,
    output: &'a Output,
    screen: Option<Screen<'a>>,
    last: Option<Round>,
    /// Lines of the last round, for a window of another size.
    before: Option<Document>,
    /// When which node took over, and from whom.
    moved: Option<String>,
}

impl<'a> Telling<'a> {
    fn new(args: &'a Args, output: &'a Output) -> Self {
        Self { args, output, screen: Screen::open(output), last: None, before: None, moved: None }
    }

    fn tell(&mut self, round: Round) -> Result<(), Failure> {
        if self.output.is_json() {
            return self.output.document(&round);
        }
        self.before = self.last.take().map(|last| last.document);
        if let Some(before) = &self.before
            && before.chosen != round.document.chosen
        {
            self.moved = Some(moved(before, &round));
        }
        self.last = Some(round);
        if self.screen.is_some() { self.draw() } else { self.print() }
    }

    /// Never ends while there is nothing to draw again.
    async fn redraw_when(&mut self, resized: &mut Signal) {
        resized.recv().await;
        if self.screen.is_some() {
            // A terminal that is gone is noticed by the next round.
            let _ = self.draw();
        }
    }

    fn draw(&mut self) -> Result<(), Failure> {
        let Some(mut screen) = self.screen.take() else { return Ok(()) };
        let drawn = screen.draw(|size| self.lines(size));
        self.screen = Some(screen);
        drawn
    }

    fn lines(&self, size: Size) -> Vec<Line> {
        let Some(round) = &self.last else { return Vec::new() };
        let room = size.rows.saturating_sub(LINES_BESIDE).max(1);
        let limit =
            self.args.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX).min(room);
        // The last column stays free: some terminals break the line there.
        let look =
            Look { columns: Some(size.columns.saturating_sub(1)), ..Look::of_stdout(self.output, false) };
        let mut lines = self.table(round, look, Some(limit));
        lines.push(Line::default());
        let mut say = |style, text: &str| {
            let broken = broken(text, size.columns.saturating_sub(1));
            lines.extend(broken.into_iter().map(|part| Line::new(style, part)));
        };
        if let Some(moved) = &self.moved {
            say(Some(Style::Warning), moved);
        }
        if let Some(why) = &round.why {
            say(None, &format!("* {why}"));
        }
        say(Some(Style::Faint), &Self::count(round, limit));
        lines.truncate(size.rows.saturating_sub(1).max(1));
        lines
    }

    fn table(&self, round: &Round, look: Look, limit: Option<usize>) -> Vec<Line> {
        let changes = changes(self.before.as_ref(), &round.document);
        let change = |row: &Row| changes.get(&row.id).copied().unwrap_or(Change::None).cell(look.unicode);
        let rows = table::shown(&round.document.nodes, limit);
        table::table_of_changes(&rows, round.document.chosen.as_deref(), look, change).styled_lines()
    }

    fn count(round: &Round, limit: usize) -> String {
        let nodes = &round.document.nodes;
        let hidden = nodes.len().saturating_sub(limit);
        let hidden = if hidden > 0 { format!(", {hidden} not shown") } else { String::new() };
        format!(
            "round {}, {} UTC: {}{hidden}, {} measured. Ctrl-C ends the watch",
            round.number,
            clock(seconds(round)),
            count(nodes.len() as u64, "node"),
            round.measured
        )
    }

    /// For a file, or a terminal that cannot be drawn on: one table after another.
    fn print(&self) -> Result<(), Failure> {
        let Some(round) = &self.last else { return Ok(()) };
        let lines = self.table(round, Look::of_stdout(self.output, false), self.args.limit(self.output));
        let text: String = lines.iter().map(|line| line.render(self.output) + "\n").collect();
        self.output.print(&format!("{}\n{text}", Self::count(round, usize::MAX)))
    }
}

fn seconds(round: &Round) -> u64 {
    Duration::try_from_secs_f64(round.time).map_or(0, |time| time.as_secs())
}

fn moved(before: &Document, round: &Round) -> String {
    let name = |chosen: &Option<String>| chosen.clone().unwrap_or_else(|| "none".into());
    let clock = clock(seconds(round));
    format!("{clock} UTC: chosen changed from {} to {}", name(&before.chosen), name(&round.document.chosen))
}
