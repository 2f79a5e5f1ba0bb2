//! Where the time of a connect goes: one stage after another, from the command's start to the first picture.
//!
//! Stages are told from deep inside ([`enter`]), as log lines are: whoever connects runs [`Timeline::time`], and nobody in
//! between needs to know. Every moment belongs to exactly one stage. Outside of a timed command nothing is noted.

pub mod record;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use cbrowse_protocol::{api::SessionState, id::NodeId, wire::NodeMessage};
use serde::{Deserialize, Serialize};

use crate::{
    failure::Failure,
    outcome::Document,
    probe::Report,
    select::Choice,
    view::{Delivery, Hub, Left},
};

/// Steps that are noted; a fleet of which many refuse makes some four for each.
const MOST_STEPS: usize = 400;
/// Nodes that failed and are noted.
const MOST_FAILED: usize = 100;

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Settings, keys, the login; the private node, where that is meant.
    Prepare,
    /// Which nodes there are.
    Catalog,
    /// How far they are.
    Probe,
    /// Which of them is asked first.
    Pick,
    /// Connections to the finalists, their handshakes, and their state.
    Tls,
    /// What the node lacks of the profile goes up.
    Profile,
    /// The session is asked for, until the node has taken it.
    Seat,
    /// Until the browser is up.
    Browser,
    /// Until the first picture is whole on this machine.
    Picture,
}

impl Stage {
    /// Its name, the same as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Catalog => "catalog",
            Self::Probe => "probe",
            Self::Pick => "pick",
            Self::Tls => "tls",
            Self::Profile => "profile",
            Self::Seat => "seat",
            Self::Browser => "browser",
            Self::Picture => "picture",
        }
    }
}

/// Time spent in one stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Which.
    pub stage: Stage,
    /// With whom, where it is about one node.
    pub node: Option<NodeId>,
    /// Since the command's start.
    pub start: Duration,
    /// How long.
    pub took: Duration,
}

/// A candidate that did not take the session.
#[derive(Debug, Clone, PartialEq)]
pub struct FailedOver {
    /// Which.
    pub node: NodeId,
    /// Why.
    pub failure: Failure,
}

tokio::task_local! {
    static PRESENT: Timeline;
}

/// The times of one connect. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Timeline(Arc<Mutex<Log>>);

#[derive(Debug)]
struct Log {
    started: Instant,
    steps: Vec<Step>,
    failed: Vec<FailedOver>,
    choice: Option<Document>,
    /// Nothing more is noted.
    ended: bool,
}

impl Timeline {
    /// Begins now, with [`Stage::Prepare`].
    pub fn begin() -> Self {
        let first = Step { stage: Stage::Prepare, node: None, start: Duration::ZERO, took: Duration::ZERO };
        let log = Log {
            started: Instant::now(),
            steps: vec![first],
            failed: Vec::new(),
            choice: None,
            ended: false,
        };
        Self(Arc::new(Mutex::new(log)))
    }

    /// Notes what `work` and everything it waits for tell.
    pub async fn time<T>(&self, work: impl Future<Output = T>) -> T {
        PRESENT.scope(self.clone(), work).await
    }

    /// Ends the last stage; whether it had not ended before.
    pub fn end(&self) -> bool {
        let mut log = self.log();
        let was_running = !log.ended;
        log.close();
        log.ended = true;
        was_running
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    fn close(&mut self) {
        let now = self.started.elapsed();
        if let Some(step) = self.steps.last_mut().filter(|_| !self.ended) {
            step.took = now.saturating_sub(step.start);
        }
    }

    fn enter(&mut self, stage: Stage, node: Option<&NodeId>) {
        let is_same = |step: &Step| step.stage == stage && step.node.as_ref() == node;
        if self.ended || self.steps.last().is_some_and(is_same) || self.steps.len() >= MOST_STEPS {
            return;
        }
        self.close();
        let start = self.steps.last().map_or(Duration::ZERO, |step| step.start + step.took);
        self.steps.push(Step { stage, node: node.cloned(), start, took: Duration::ZERO });
    }
}

/// From now on time is spent on this.
pub fn enter(stage: Stage) {
    with_present(|log| log.enter(stage, None));
}

/// The same with one node.
pub fn enter_with(stage: Stage, node: &NodeId) {
    with_present(|log| log.enter(stage, Some(node)));
}

/// A candidate did not take the session.
pub fn failed_over(node: &NodeId, failure: &Failure) {
    with_present(|log| {
        if !log.ended && log.failed.len() < MOST_FAILED {
            log.failed.push(FailedOver { node: node.clone(), failure: failure.clone() });
        }
    });
}

/// What was measured and decided before it came to nothing.
pub fn in_vain(report: &Report, choice: &Choice) {
    with_present(|log| {
        if !log.ended {
            log.choice = Some(Document::new(report, choice, report.elapsed));
        }
    });
}

fn with_present(note: impl FnOnce(&mut Log)) {
    // Outside of a timed command nobody asks.
    let _ = PRESENT.try_with(|timeline| note(&mut timeline.log()));
}

/// Follows a session that has begun to its first picture; false when it ended before.
pub async fn until_first_picture(hub: &Hub) -> bool {
    let mut subscriber = hub.subscribe();
    loop {
        match subscriber.next().await {
            Ok(Delivery::Frame(_)) => return true,
            Ok(Delivery::Message(text)) if is_up(&text) => enter(Stage::Picture),
            Ok(_) => {}
            Err(Left::Behind(_)) => subscriber = hub.subscribe(),
            Err(Left::Gone) => return false,
        }
    }
}

fn is_up(text: &str) -> bool {
    matches!(
        serde_json::from_str(text),
        Ok(NodeMessage::State { state: SessionState::Running, .. } | NodeMessage::Tabs { .. })
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{failure::Exit, view::Event};

    fn stages(timeline: &Timeline) -> Vec<(Stage, Option<String>)> {
        let log = timeline.log();
        log.steps.iter().map(|step| (step.stage, step.node.as_ref().map(ToString::to_string))).collect()
    }

    fn id(text: &str) -> NodeId {
        text.parse().expect("an id")
    }

    #[tokio::test]
    async fn every_moment_belongs_to_one_stage() {
        let timeline = Timeline::begin();
        timeline
            .time(async {
                enter(Stage::Catalog);
                enter(Stage::Probe);
                tokio::task::yield_now().await;
                enter(Stage::Probe);
                enter_with(Stage::Seat, &id("a"));
                failed_over(&id("a"), &Failure::new(Exit::Refused, "full", "full"));
                enter_with(Stage::Seat, &id("b"));
            })
            .await;
        assert!(timeline.end() && !timeline.end());
        let seat = |node: &str| (Stage::Seat, Some(node.to_owned()));
        let expected =
            [(Stage::Prepare, None), (Stage::Catalog, None), (Stage::Probe, None), seat("a"), seat("b")];
        assert_eq!(stages(&timeline), expected);
        let log = timeline.log();
        let joined = log.steps.windows(2).all(|pair| pair[0].start + pair[0].took == pair[1].start);
        assert!(joined, "{:?}", log.steps);
        assert_eq!(log.failed.len(), 1);
    }

    #[tokio::test]
    async fn what_happens_after_the_end_or_elsewhere_is_not_noted() {
        let timeline = Timeline::begin();
        enter(Stage::Probe);
        timeline.end();
        timeline.time(async { enter(Stage::Probe) }).await;
        assert_eq!(stages(&timeline), [(Stage::Prepare, None)]);
    }

    #[tokio::test]
    async fn steps_are_bounded() {
        let timeline = Timeline::begin();
        let storm = async {
            for n in 0..2 * MOST_STEPS {
                enter_with(Stage::Tls, &id(&format!("n{n}")));
                failed_over(&id("a"), &Failure::new(Exit::Refused, "full", "full"));
            }
        };
        timeline.time(storm).await;
        let log = timeline.log();
        assert_eq!((log.steps.len(), log.failed.len()), (MOST_STEPS, MOST_FAILED));
    }

    #[tokio::test]
    async fn a_browser_that_is_up_is_told_from_its_first_picture() {
        let (hub, _inputs) = Hub::new();
        let timeline = Timeline::begin();
        let state = NodeMessage::State { state: SessionState::Running, reason: "up".into() };
        hub.publish(Event::Control(state)).expect("control");
        let frame = cbrowse_protocol::wire::MediaHeader {
            kind: cbrowse_protocol::wire::MediaKind::Frame,
            sequence: 1,
            captured: 0,
            x: 0,
            y: 0,
            width: 1,
            height: 1,
            css_width: 1,
            css_height: 1,
        };
        let node = async {
            tokio::task::yield_now().await;
            hub.publish(Event::Control(NodeMessage::Tabs { tabs: Vec::new() })).expect("control");
            tokio::task::yield_now().await;
            hub.publish(Event::Media([&frame.encode()[..], b"jpeg"].concat().into())).expect("a frame");
        };
        enter(Stage::Browser);
        let work = async {
            enter(Stage::Browser);
            tokio::join!(until_first_picture(&hub), node).0
        };
        assert!(timeline.time(work).await);
        let names: Vec<_> = stages(&timeline).into_iter().map(|(stage, _)| stage.name()).collect();
        assert_eq!(names, ["prepare", "browser", "picture"]);
    }
}
