//! What is kept of the last connect, for `cbrowse explain last`: one private file, replaced as a whole. It holds no address
//! of a page and no secret; every text in it is bounded.

use std::{path::PathBuf, time::SystemTime};

use cbrowse_protocol::node::printable;
use serde::{Deserialize, Serialize};

use super::{FailedOver, Step, Timeline};
use crate::{
    context::Paths,
    credentials::seconds,
    failure::{Exit, Failure},
    outcome::{Document, Row, milliseconds},
    private_file::{self, FileError},
};

/// The format; another one is as good as none.
const VERSION: u32 = 1;
/// Longest file in bytes: [`MOST_NODES`] rows with long reasons.
const MAX_LENGTH: u64 = 4 * 1024 * 1024;
/// Nodes that are kept, the best first.
const MOST_NODES: usize = 1000;
/// Letters of a message that are kept.
const MOST_LETTERS: usize = 500;

/// The last connect; docs/json.md has its fields.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LastConnect {
    /// Of the format.
    pub version: u32,
    /// Seconds since 1970 when the command began.
    pub time: u64,
    /// How it came out.
    pub outcome: Outcome,
    /// The node that took the session.
    pub node: Option<String>,
    /// Its region.
    pub region: Option<String>,
    /// The rule by which nodes were ordered.
    pub strategy: String,
    /// Why this node, in one sentence.
    pub why: Option<String>,
    /// Median round trip to it.
    pub rtt_ms: Option<f64>,
    /// From the command's start to the first picture, or to the end that came before.
    pub total_ms: f64,
    /// The same in round trips.
    pub total_rtts: Option<f64>,
    /// One after another; together they are the whole time.
    pub stages: Vec<StageTime>,
    /// Candidates that did not take the session, in the order in which they were asked.
    pub failed_over: Vec<Refusal>,
    /// What ended it, unless it connected.
    pub failure: Option<Ending>,
    /// What was measured and decided then; null where it did not come to that.
    pub choice: Option<Document>,
    /// Nodes that `choice` leaves out.
    pub nodes_left_out: usize,
}

/// Milliseconds. Nearer nodes are in the next room or on this machine, where the work takes the time and not the road: a
/// start of Chromium would be ten thousand round trips.
const LEAST_RTT_MS: f64 = 1.0;

/// How a connect came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A picture came.
    Connected,
    /// It ended before.
    Failed,
    /// Ctrl-C before.
    Interrupted,
}

/// Time in one stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageTime {
    /// `prepare`, `catalog`, `probe`, `pick`, `tls`, `profile`, `seat`, `browser` or `picture`.
    pub stage: String,
    /// With whom, where it is about one node.
    pub node: Option<String>,
    /// Since the command's start.
    pub start_ms: f64,
    /// How long.
    pub duration_ms: f64,
    /// The same in round trips of the node that took the session.
    pub rtts: Option<f64>,
}

/// A candidate that did not take the session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Its id.
    pub node: String,
    /// Stable name of the cause.
    pub code: String,
    /// In words.
    pub message: String,
}

/// What ended a connect without a picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// In which stage.
    pub stage: String,
    /// Stable name of the cause.
    pub code: String,
    /// The command's exit code.
    pub exit: u8,
    /// In words.
    pub message: String,
}

/// Whom a connect came to, and how.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// What was measured and decided.
    pub choice: Option<Document>,
    /// Why this node.
    pub why: Option<String>,
    /// The rule.
    pub strategy: String,
    /// Whether a session began.
    pub attached: bool,
}

impl LastConnect {
    /// Whether a person learns something from times in round trips to the node: from [`LEAST_RTT_MS`] on.
    pub fn is_worth_round_trips(&self) -> bool {
        self.rtt_ms.is_some_and(|rtt| rtt >= LEAST_RTT_MS)
    }

    /// Of a timeline that has ended. `failure` is what ended it before a picture came.
    pub fn new(timeline: &Timeline, found: Found, failure: Option<&Failure>) -> Self {
        let log = timeline.log();
        let Found { choice, why, strategy, attached } = found;
        let mut choice = choice.or_else(|| log.choice.clone());
        let chosen = choice.as_ref().and_then(|choice| choice.nodes.first()).filter(|_| attached);
        let (node, region) = (chosen.map(|row| row.id.clone()), chosen.map(|row| row.region.clone()));
        let rtt_ms = chosen.and_then(Row::p50).filter(|rtt| *rtt > 0.0);
        let rtts = |ms: f64| rtt_ms.map(|rtt| (ms / rtt * 100.0).round() / 100.0);
        let total = log.steps.last().map(|step| step.start + step.took).unwrap_or_default();
        let stage = |step: &Step| StageTime {
            stage: step.stage.name().to_owned(),
            node: step.node.as_ref().map(ToString::to_string),
            start_ms: milliseconds(step.start),
            duration_ms: milliseconds(step.took),
            rtts: rtts(milliseconds(step.took)),
        };
        let last = log.steps.last().map_or("", |step| step.stage.name());
        let nodes_left_out = choice.as_mut().map_or(0, |choice| {
            let all = choice.nodes.len();
            choice.nodes.truncate(MOST_NODES);
            all - choice.nodes.len()
        });
        Self {
            version: VERSION,
            time: seconds(SystemTime::now()).saturating_sub(log.started.elapsed().as_secs()),
            outcome: match failure {
                None => Outcome::Connected,
                Some(failure) if failure.exit == Exit::Interrupted => Outcome::Interrupted,
                Some(_) => Outcome::Failed,
            },
            node,
            region,
            strategy,
            why,
            rtt_ms,
            total_ms: milliseconds(total),
            total_rtts: rtts(milliseconds(total)),
            stages: log.steps.iter().map(stage).collect(),
            failed_over: log.failed.iter().map(refusal).collect(),
            failure: failure.map(|failure| ending(failure, last)),
            choice,
            nodes_left_out,
        }
    }

    /// Keeps it; what was kept before goes.
    pub fn save(&self, paths: &Paths) -> Result<(), FileError> {
        let path = file(paths);
        let _held = private_file::lock(&path)?;
        private_file::replace(&path, &serde_json::to_vec(self).expect("plain data serializes"))
    }

    /// The last one that was kept; `None` where there is none that can be read.
    pub fn load(paths: &Paths) -> Result<Option<Self>, FileError> {
        let bytes = private_file::read(&file(paths), MAX_LENGTH)?;
        let read = bytes.and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok());
        Ok(read.filter(|last| last.version == VERSION))
    }
}

fn file(paths: &Paths) -> PathBuf {
    paths.data.join("last-connect.json")
}

fn refusal(failed: &FailedOver) -> Refusal {
    Refusal {
        node: failed.node.to_string(),
        code: failed.failure.code.to_owned(),
        message: bounded(&failed.failure.message),
    }
}

fn ending(failure: &Failure, stage: &str) -> Ending {
    Ending {
        stage: stage.to_owned(),
        code: failure.code.to_owned(),
        exit: failure.exit.code(),
        message: bounded(&failure.message),
    }
}

/// A message without the addresses of pages and registries that it may quote.
fn bounded(message: &str) -> String {
    let hidden = |word: &str| if word.contains("://") { "[address]".to_owned() } else { word.to_owned() };
    let lines = message.lines().map(|line| line.split(' ').map(hidden).collect::<Vec<_>>().join(" "));
    // Line ends are the message's own; everything else that is not text goes.
    let lines: Vec<String> = lines.map(|line| printable(&line, MOST_LETTERS)).collect();
    lines.join("\n").chars().take(MOST_LETTERS).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::{
        outcome::tests::row,
        timeline::{Stage, enter, enter_with, failed_over},
    };

    fn document(nodes: usize) -> Document {
        let nodes = (0..nodes).map(|n| row(&format!("n{n}"), 10.0)).collect();
        Document { nodes, chosen: Some("n0".into()), icmp: true, elapsed_ms: 20.0 }
    }

    async fn timeline() -> Timeline {
        let timeline = Timeline::begin();
        let work = async {
            enter(Stage::Probe);
            let refused =
                Failure::new(Exit::Refused, "full", "full: see https://example.org/?token=abc\u{1b}[2J");
            failed_over(&"other".parse().expect("an id"), &refused);
            enter_with(Stage::Seat, &"n0".parse().expect("an id"));
        };
        timeline.time(work).await;
        timeline.end();
        timeline
    }

    fn found(choice: Option<Document>, attached: bool) -> Found {
        Found { choice, why: Some("n0: the nearest".into()), strategy: "responsive".into(), attached }
    }

    #[tokio::test]
    async fn a_connect_is_kept_privately_and_read_back() {
        let directory = tempfile::tempdir().expect("a directory");
        let paths = Paths::below(directory.path());
        assert_eq!(LastConnect::load(&paths).expect("none"), None);
        let last = LastConnect::new(&timeline().await, found(Some(document(1500)), true), None);
        last.save(&paths).expect("saved");
        assert_eq!(LastConnect::load(&paths).expect("read").as_ref(), Some(&last));
        let mode = std::fs::metadata(file(&paths)).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(
            (last.outcome, last.node.as_deref(), last.rtt_ms),
            (Outcome::Connected, Some("n0"), Some(10.0))
        );
        assert_eq!(last.choice.map(|choice| choice.nodes.len()), Some(MOST_NODES));
        assert_eq!(last.nodes_left_out, 500);
        std::fs::write(file(&paths), b"{broken").expect("written");
        assert_eq!(LastConnect::load(&paths).expect("unreadable"), None);
    }

    #[tokio::test]
    async fn no_address_and_no_escape_is_kept() {
        let failure = Failure::new(
            Exit::Refused,
            "page_not_loaded",
            "the page https://secret.example/x?y was not loaded",
        );
        let last = LastConnect::new(&timeline().await, found(None, false), Some(&failure));
        let text = serde_json::to_string(&last).expect("JSON");
        assert!(!text.contains("example") && !text.contains("token") && !text.contains("\\u001b"), "{text}");
        assert_eq!(last.failed_over[0].message, "full: see [address]");
        let ending = last.failure.expect("it failed");
        assert_eq!((ending.stage.as_str(), ending.exit), ("seat", 10));
        assert_eq!(ending.message, "the page [address] was not loaded");
        assert_eq!((last.node, last.rtt_ms, last.total_rtts), (None, None, None));
        assert_eq!(bounded(&"x".repeat(9000)).len(), MOST_LETTERS);
    }

    #[tokio::test]
    async fn stages_add_up_to_the_whole() {
        let last = LastConnect::new(&timeline().await, found(Some(document(1)), true), None);
        let sum: f64 = last.stages.iter().map(|stage| stage.duration_ms).sum();
        assert!((sum - last.total_ms).abs() < 0.01, "{sum} {}", last.total_ms);
        assert!(last.stages.iter().all(|stage| stage.rtts.is_some()));
    }
}
