//! `cbrowse nodes watch`: the merged catalogs as they change, until Ctrl-C; a registry that restarts is asked again.

mod lines;
mod view;

use std::{
    future::pending,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use cbrowse_registry::{Event, EventStream, Options, watch_all};
use clap::ValueHint;
use futures_util::StreamExt as _;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};
use tokio_util::sync::CancellationToken;

use self::view::{HIGHLIGHT, Live};
use super::{figures_file::FiguresFile, screen::Screen};
use crate::{
    command::traits::Traits,
    context::Globals,
    discover,
    failure::{Exit, Failure},
    output::Output,
};

/// Shown below the help.
pub const EXAMPLES: &str = "\
Examples:
  cbrowse nodes watch --catalog consul://127.0.0.1:8500
  cbrowse nodes watch --region eu-central --health all
  cbrowse nodes watch --json | jq -r 'select(.event == \"removed\") | .node.id'
  cbrowse nodes watch --quiet --metrics-file /var/lib/node_exporter/cbrowse.prom > /dev/null

With --json, one line for each event; times are seconds since 1970, with milliseconds:
  {\"event\":\"source_up\",\"time\":1795000000.123,\"catalog\":\"consul://127.0.0.1:8500\"}
  {\"event\":\"added\",\"time\":…,\"node\":{…}}          a node as in nodes list --json
  {\"event\":\"ready\",\"time\":…,\"nodes\":3}           every catalog has answered once, or failed to
  {\"event\":\"updated\",\"time\":…,\"node\":{…},\"changed\":[\"health\",\"tags\"]}
  {\"event\":\"removed\",\"time\":…,\"node\":{…}}        the node as it was
  {\"event\":\"source_down\",\"time\":…,\"catalog\":\"consul://127.0.0.1:8500\",\"error\":\"cannot be reached …\"}
  {\"event\":\"warning\",\"time\":…,\"message\":\"…\"}
  {\"event\":\"resolved\",\"time\":…,\"message\":\"…\"}   a warning that holds no longer
What is known of a catalog that is down stays; it is asked again until it answers.
";

/// Shortest time between two pictures of the table. Shorter: a catalog that changes all at once floods a slow terminal;
/// longer: changes are seen late.
const LEAST_PAUSE: Duration = Duration::from_millis(100);
/// How often counters are written.
const METRICS_INTERVAL: Duration = Duration::from_secs(5);

/// Arguments of `cbrowse nodes watch`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write what registries were asked, and how they answered, to this file as OpenMetrics text, every few seconds.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub metrics_file: Option<PathBuf>,
    /// Which nodes.
    #[command(flatten)]
    pub traits: Traits,
}

/// Watches until it is interrupted.
pub async fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    let stop = globals.interrupt.watch();
    let options = Options::of_process().with_query(args.traits.query());
    let catalogs = discover::open_all(globals, &options)?;
    let file = args.metrics_file.as_deref().map(|path| FiguresFile::new(path, &options.figures));
    let file = file.transpose()?;
    let events = watch_all(&catalogs, &options.figures);
    let names = catalogs.iter().map(|catalog| catalog.uri().to_string());
    let telling = Telling::new(&globals.output, names);
    let followed = follow(events, telling, file.as_ref(), &globals.output, &stop).await;
    file.map_or(Ok(()), |file| file.write())?;
    followed.and(Err(Failure::interrupted()))
}

/// How events are told.
enum Telling<'a> {
    /// A line each.
    Lines(&'a Output),
    /// A table that is drawn again and again.
    Table(Box<Table<'a>>),
}

struct Table<'a> {
    live: Live,
    screen: Screen<'a>,
    drawn: Instant,
    /// When it is drawn next.
    due: Option<Instant>,
}

impl<'a> Telling<'a> {
    fn new(output: &'a Output, catalogs: impl Iterator<Item = String>) -> Self {
        match Screen::open(output) {
            Some(screen) => {
                let now = Instant::now();
                Self::Table(Box::new(Table { live: Live::new(catalogs), screen, drawn: now, due: Some(now) }))
            }
            None => Self::Lines(output),
        }
    }

    fn tell(&mut self, event: Event, now: Duration) -> Result<(), Failure> {
        match self {
            Self::Lines(output) if output.is_json() => output.document(&lines::document(&event, now)),
            Self::Lines(output) => output.print(&lines::sentence(&event, now.as_secs())),
            Self::Table(table) => {
                table.live.learn(event, now);
                table.draw_by(table.drawn + LEAST_PAUSE);
                Ok(())
            }
        }
    }

    fn resized(&mut self) {
        if let Self::Table(table) = self {
            table.draw_by(Instant::now());
        }
    }

    /// Ends when there is something to draw.
    async fn due(&self) {
        match self {
            Self::Table(table) if table.due.is_some() => sleep_until(table.due.unwrap_or(table.drawn)).await,
            _ => pending().await,
        }
    }

    fn draw(&mut self, now: Duration) -> Result<(), Failure> {
        let Self::Table(table) = self else { return Ok(()) };
        let is_settling = table.live.settle(now);
        table.screen.draw(|size| table.live.lines(size, now))?;
        table.drawn = Instant::now();
        // What stands out now is drawn once more when it does not any longer.
        table.due = is_settling.then(|| table.drawn + HIGHLIGHT);
        Ok(())
    }
}

impl Table<'_> {
    fn draw_by(&mut self, time: Instant) {
        self.due = Some(self.due.map_or(time, |due| due.min(time)));
    }
}

async fn follow(
    mut events: EventStream,
    mut telling: Telling<'_>,
    file: Option<&FiguresFile>,
    output: &Output,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let mut resized = signal(SignalKind::window_change())
        .map_err(|error| Failure::new(Exit::Bug, "signals", format!("cannot hear signals: {error}")))?;
    let mut metrics = interval(METRICS_INTERVAL);
    metrics.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_written = true;
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            event = events.next() => match event {
                Some(event) => telling.tell(event, since_epoch())?,
                // A watch has no end.
                None => pending().await,
            },
            () = telling.due() => telling.draw(since_epoch())?,
            _ = resized.recv() => telling.resized(),
            _ = metrics.tick() => {
                let written = file.map_or(Ok(()), FiguresFile::write);
                if let (true, Err(failure)) = (is_written, &written) {
                    output.warn(failure);
                }
                is_written = written.is_ok();
            }
        }
    }
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
