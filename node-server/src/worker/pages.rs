//! The session's tabs: which one is shown, what it shows, and what its clients do to it.

mod arriving;
mod client;
mod picture;
mod tabs;
mod text;
mod titles;

use std::{
    collections::BTreeSet,
    sync::{Arc, OnceLock},
    time::Duration,
};

use cbrowse_protocol::wire::{NodeMessage, Viewport};
use serde_json::{Value, json};
use tokio::{
    process::Child,
    sync::mpsc,
    task::JoinSet,
    time::{Instant, MissedTickBehavior},
};

use self::{
    arriving::Arriving,
    text::{shortened, text},
};
use crate::{
    launch::devtools::{DevTools, Event},
    worker::{
        browser::Loaded,
        link::{Order, Outbox, Report, Start, Viewer},
    },
};

/// A process whose pipe ended has ended too, or hangs.
const EXIT_PATIENCE: Duration = Duration::from_secs(2);
/// How long a close waits for a profile that is on its way in. Longer, and a user who has changed their mind waits for nothing.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);
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
    /// It has shown something.
    has_run: bool,
}

/// Where the first tab comes from.
pub enum FirstTab {
    /// It is there, blank.
    Blank(String),
    /// It has to be opened.
    Ordered,
    /// The browser is loading a profile, whose tabs come back by themselves.
    Loaded(Loaded),
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
    /// A profile that the browser is loading.
    arriving: Option<Arriving>,
    /// A close that waits for it, and until when.
    closing: Option<(End, Instant)>,
    /// The tab of the browser that waited, which has no part in the session.
    put_aside: Option<String>,
    /// DevTools' name of the profile that the session's pages belong to.
    context: Arc<OnceLock<String>>,
    tasks: JoinSet<()>,
    /// Orders and questions whose answers change what is known of the tabs.
    answers: JoinSet<Value>,
}

impl Pages {
    /// Pages of a browser that nobody has used yet.
    pub fn new(tools: DevTools, outbox: Outbox<Report>, start: &Start, first: FirstTab) -> Self {
        let request = &start.request;
        let opening = match &request.url {
            None if matches!(&first, FirstTab::Loaded(loaded) if loaded.has_tabs) => Opening::Restored,
            url => {
                let front = url.clone().unwrap_or_else(home);
                Opening::Asked(std::iter::once(front).chain(request.tabs.iter().cloned()).collect())
            }
        };
        let (blank, put_aside, arriving) = match first {
            FirstTab::Blank(target) => (Some(target), None, None),
            FirstTab::Ordered => (None, None, None),
            FirstTab::Loaded(loaded) => (None, loaded.waiting.clone(), Some(Arriving::of(loaded))),
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
            settles: None,
            arriving,
            closing: None,
            put_aside,
            context: Arc::default(),
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
        let holds = self.arriving.as_ref().is_some_and(Arriving::holds);
        let attach = json!({ "autoAttach": true, "waitForDebuggerOnStart": holds, "flatten": true });
        self.tools.post("", "Target.setAutoAttach", &attach);
        if self.arriving.is_none() {
            self.order_first();
        }
        let mut looks = tokio::time::interval(titles::TITLE_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if self.arriving.is_none()
                && let Some((end, _)) = self.closing.take()
            {
                return end;
            }
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => self.on_event(&event).await,
                    None => return self.gone(child).await,
                },
                order = orders.recv() => match order {
                    Some(Order::Close { save, reason }) => self.close(End { reason, save, failed: false }),
                    None => return End { reason: "the node's server ended".into(), save: false, failed: true },
                    Some(order) => self.on_order(order).await,
                },
                Some(_) = self.tasks.join_next() => {}
                _ = looks.tick() => self.ask_shown_title(),
                Some(Ok(answer)) = self.answers.join_next() => self.on_answer(&answer).await,
                () = patience(self.restoring) => self.give_up_restoring(),
                () = patience(self.arriving.as_ref().map(|arriving| arriving.until)) => return Self::never_arrived(),
                () = patience(self.closing.as_ref().map(|(_, until)| *until)) => self.arriving = None,
                () = patience(self.unpictured) => {
                    self.unpictured = None;
                    self.restart_stream();
                }
            }
        }
    }

    /// A profile that is being loaded is first let in: closed midway, it may be left half written.
    fn close(&mut self, end: End) {
        self.closing.get_or_insert((end, Instant::now() + CLOSE_PATIENCE));
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
        if self.is_handed_over(answer).await {
            return;
        }
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
        // A tab that came back and has not been looked at has no process yet, which reads the same.
        let has_run = self.tabs.iter().any(|page| page.session == event.session && page.has_run);
        if !has_run {
            return;
        }
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
