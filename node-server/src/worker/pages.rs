//! The session's tabs: which one is shown, what it shows, and what its clients do to it.

mod client;
mod picture;
mod tabs;
mod text;
mod titles;

use std::{collections::BTreeSet, time::Duration};

use cbrowse_protocol::wire::{NodeMessage, Viewport};
use serde_json::{Value, json};
use tokio::{
    process::Child,
    sync::mpsc,
    task::JoinSet,
    time::{Instant, MissedTickBehavior},
};

use self::text::{shortened, text};
use crate::{
    launch::devtools::{DevTools, Event},
    worker::link::{Order, Outbox, Report, Start, Viewer},
};

/// A process whose pipe ended has ended too, or hangs.
const EXIT_PATIENCE: Duration = Duration::from_secs(2);
/// Longest text of a dialog, in bytes.
const MAX_DIALOG_TEXT: usize = 16 * 1024;

/// Why the pages ended.
pub struct End {
    /// In words for a person.
    pub reason: String,
    /// The profile is to be saved.
    pub save: bool,
    /// Chromium went by itself.
    pub failed: bool,
}

struct Page {
    target: String,
    session: String,
    url: String,
    title: String,
    loading: bool,
}

/// Where the first tab comes from.
pub enum FirstTab {
    /// It is there, blank.
    Blank(String),
    /// It has to be opened.
    Ordered,
    /// The profile brings its tabs back, unless something else was asked for.
    Restored,
}

/// What the first tab shows.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Opening {
    /// These addresses, the first one in front.
    Asked(Vec<String>),
    /// Whatever tabs the profile brings back.
    Restored,
    /// Done.
    Over,
}

/// All tabs of one session.
pub struct Pages {
    tools: DevTools,
    outbox: Outbox<Report>,
    tabs: Vec<Page>,
    active: String,
    viewport: Viewport,
    viewers: BTreeSet<Viewer>,
    /// Sequence number of the last frame sent.
    sequence: u32,
    /// Frames sent and not yet taken by any client: sequence, DevTools session, Chromium's number.
    untaken: Vec<(u32, String, i64)>,
    opening: Opening,
    /// A blank tab that waits for the first address.
    blank: Option<String>,
    /// The tab that was ordered for the first address.
    front: Option<String>,
    /// Until when the profile's tabs come by themselves, behind the one that was ordered.
    settles: Option<Instant>,
    /// Until when a page that has just come must have sent a picture by itself.
    unpictured: Option<Instant>,
    /// Until when restored tabs are waited for.
    restoring: Option<Instant>,
    /// Tabs that were asked for behind the active one and are still to appear.
    behind: usize,
    /// The first page asked for has begun to show; the blank one before it is nobody's business.
    revealed: bool,
    /// DevTools sessions whose page stands still until its dialog is answered, oldest first.
    dialogs: Vec<String>,
    tasks: JoinSet<()>,
    /// Orders and questions whose answers change what is known of the tabs.
    answers: JoinSet<Value>,
}

impl Pages {
    /// Pages of a browser that nobody has used yet.
    pub fn new(tools: DevTools, outbox: Outbox<Report>, start: &Start, first: FirstTab) -> Self {
        let request = &start.request;
        let opening = match &request.url {
            None if matches!(first, FirstTab::Restored) => Opening::Restored,
            url => {
                let front = url.clone().unwrap_or_else(home);
                Opening::Asked(std::iter::once(front).chain(request.tabs.iter().cloned()).collect())
            }
        };
        let settles = matches!(first, FirstTab::Restored).then(|| Instant::now() + tabs::RESTORE_PATIENCE);
        let blank = match first {
            FirstTab::Blank(target) => Some(target),
            FirstTab::Ordered | FirstTab::Restored => None,
        };
        Self {
            tools,
            outbox,
            tabs: Vec::new(),
            active: String::new(),
            viewport: start.request.viewport.clamped(),
            viewers: BTreeSet::new(),
            sequence: 0,
            untaken: Vec::new(),
            opening,
            blank,
            restoring: None,
            unpictured: None,
            behind: 0,
            revealed: false,
            dialogs: Vec::new(),
            tasks: JoinSet::new(),
            answers: JoinSet::new(),
            front: None,
            settles,
        }
    }

    /// Serves until a close order, the server's end, or Chromium's.
    pub async fn run(
        &mut self,
        events: &mut mpsc::Receiver<Event>,
        orders: &mut mpsc::Receiver<Order>,
        child: &mut Child,
    ) -> End {
        self.tools.post("", "Target.setDiscoverTargets", &json!({ "discover": true }));
        let attach = json!({ "autoAttach": true, "waitForDebuggerOnStart": false, "flatten": true });
        self.tools.post("", "Target.setAutoAttach", &attach);
        self.order_first();
        let mut looks = tokio::time::interval(titles::TITLE_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => self.on_event(&event).await,
                    None => return self.gone(child).await,
                },
                order = orders.recv() => match order {
                    Some(Order::Close { save, reason }) => return End { reason, save, failed: false },
                    None => return End { reason: "the node's server ended".into(), save: false, failed: true },
                    Some(order) => self.on_order(order).await,
                },
                Some(_) = self.tasks.join_next() => {}
                _ = looks.tick() => self.ask_shown_title(),
                Some(Ok(answer)) = self.answers.join_next() => self.on_answer(&answer).await,
                () = patience(self.restoring) => self.give_up_restoring(),
                () = patience(self.unpictured) => {
                    self.unpictured = None;
                    self.restart_stream();
                }
            }
        }
    }

    /// The pipe ended: Chromium is gone, or its pages made more events than can be read.
    async fn gone(&mut self, child: &mut Child) -> End {
        let reason = match tokio::time::timeout(EXIT_PATIENCE, child.wait()).await {
            Ok(Ok(status)) => format!("Chromium ended by itself ({status})"),
            Ok(Err(error)) => format!("Chromium cannot be waited for: {error}"),
            Err(_) => "the pages made more events than can be read".into(),
        };
        End { reason, save: true, failed: true }
    }

    async fn on_answer(&mut self, answer: &Value) {
        match answer["targetId"].as_str() {
            Some(target) => self.on_ordered(target).await,
            None => self.on_title(answer).await,
        }
    }

    async fn say(&self, message: NodeMessage) {
        self.outbox.send(&Report::Say(None, message), &[]).await;
    }

    async fn on_event(&mut self, event: &Event) {
        tracing::trace!(target: "devtools", method = event.method, params = %brief(&event.params));
        match event.method.as_str() {
            "Target.attachedToTarget" => self.on_attached(&event.params).await,
            "Target.detachedFromTarget" => self.on_detached(&event.params).await,
            "Target.targetInfoChanged" => self.on_changed(&event.params["targetInfo"]).await,
            "Page.screencastFrame" => self.on_frame(event),
            "Page.frameNavigated" => self.on_navigated(event),
            "Page.frameStartedLoading" => self.on_loading(event, true),
            "Page.frameStoppedLoading" => self.on_loading(event, false),
            "Page.lifecycleEvent" if event.params["name"] == "load" => self.on_loading(event, false),
            "Page.javascriptDialogOpening" => self.on_dialog(event).await,
            "Page.javascriptDialogClosed" => self.dialogs.retain(|asking| *asking != event.session),
            "Inspector.targetCrashed" => self.on_crashed(event).await,
            _ => {}
        }
    }

    async fn on_dialog(&mut self, event: &Event) {
        self.dialogs.push(event.session.clone());
        // The person sees who asks.
        let asking =
            self.tabs.iter().find(|page| page.session == event.session).map(|page| page.target.clone());
        if let Some(target) = asking.filter(|target| *target != self.active) {
            self.activate(&target).await;
        }
        let message = NodeMessage::Dialog {
            kind: text(&event.params["type"]),
            message: shortened(&event.params["message"], MAX_DIALOG_TEXT),
            default: shortened(&event.params["defaultPrompt"], MAX_DIALOG_TEXT),
        };
        self.say(message).await;
    }

    async fn on_crashed(&mut self, event: &Event) {
        let message = NodeMessage::Failed {
            request: "page".into(),
            message: "the page crashed and is loaded again".into(),
        };
        self.say(message).await;
        self.tools.post(&event.session, "Page.reload", &json!({}));
    }
}

/// Enough of an event for a log; a frame's picture is not for reading.
fn brief(params: &Value) -> String {
    params.to_string().chars().take(400).collect()
}

fn home() -> String {
    format!("http://{}/", crate::guard::START_HOST)
}

async fn patience(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}
