//! The session's tabs: which one is shown, what it shows, and what its clients do to it.

use std::{collections::BTreeSet, time::Duration};

use cbrowse_protocol::{
    api::SessionState,
    wire::{ClientMessage, HistoryStep, NodeMessage, Tab, TabAction, Viewport},
};
use serde_json::{Value, json};
use tokio::{process::Child, sync::mpsc, task::JoinSet, time::Instant};

use crate::{
    address,
    launch::{
        chromium::NEW_TAB,
        devtools::{DevTools, Event},
    },
    stream::{frame, input},
    worker::link::{Order, Outbox, Report, Start, Viewer},
};

/// JPEG quality of the stream: text stays readable, a scrolling page costs about 90 KB a frame.
const FRAME_QUALITY: u8 = 80;
/// Tabs of one session; a page that opens more is refused them.
const MAX_TABS: usize = 64;
/// A page that came and drew nothing new within this time is asked for its picture: Chromium's stream follows changes, and
/// the one change of a page that rests can fall between two processes.
const PICTURE_PATIENCE: Duration = Duration::from_millis(250);
/// A process whose pipe ended has ended too, or hangs.
const EXIT_PATIENCE: Duration = Duration::from_secs(2);
/// Longest address and text of a page that is shown, in bytes: a page can make both as long as it likes, and all tabs
/// together must fit one control message.
const MAX_SHOWN_ADDRESS: usize = 2048;
const MAX_SHOWN_TEXT: usize = 1024;
/// Longest text of a dialog, in bytes.
const MAX_DIALOG_TEXT: usize = 16 * 1024;
/// Questions to Chromium under way at once: each may hold a picture of the whole page.
const MAX_TASKS: usize = 16;
/// Restored tabs appear within half a second of the blank one; without them the start page is shown after this.
const RESTORE_PATIENCE: Duration = Duration::from_secs(2);

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
    /// Until when a page that has just come must have sent a picture by itself.
    unpictured: Option<Instant>,
    /// Until when restored tabs are waited for.
    restoring: Option<Instant>,
    /// Tabs that were asked for behind the active one and are still to appear.
    behind: usize,
    /// The first page asked for has begun to show; the blank one before it is nobody's business.
    revealed: bool,
    tasks: JoinSet<()>,
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
            tasks: JoinSet::new(),
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

    async fn say(&self, message: NodeMessage) {
        self.outbox.send(&Report::Say(None, message), &[]).await;
    }

    // --- what Chromium says ---

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
            "Inspector.targetCrashed" => self.on_crashed(event).await,
            _ => {}
        }
    }

    async fn on_attached(&mut self, params: &Value) {
        let info = &params["targetInfo"];
        let (session, target) = (text(&params["sessionId"]), text(&info["targetId"]));
        if info["type"] != "page" || is_browser_ui(&info["url"]) {
            return;
        }
        if self.tabs.len() >= MAX_TABS {
            self.tools.post("", "Target.closeTarget", &json!({ "targetId": target }));
            return;
        }
        self.tools.post(&session, "Page.enable", &json!({}));
        // Tells again what a page that was there before us has done already.
        self.tools.post(&session, "Page.setLifecycleEventsEnabled", &json!({ "enabled": true }));
        self.tools.post(&session, "Inspector.enable", &json!({}));
        let (url, title) = (shown_address(&info["url"]), shortened(&info["title"], MAX_SHOWN_TEXT));
        let is_popup = info.get("openerId").is_some();
        self.tabs.push(Page { target: target.clone(), session, url, title, loading: true });
        if self.opening != Opening::Over {
            return self.consider_first(&target).await;
        }
        if self.behind > 0 && !is_popup {
            self.behind -= 1;
            return self.tell_tabs().await;
        }
        self.activate(&target).await;
    }

    /// Orders the first of the tabs that were asked for; restored ones come by themselves.
    fn order_first(&mut self) {
        match &self.opening {
            // The tab that waits takes it, once it is attached to.
            Opening::Asked(_) if self.blank.is_some() => {}
            Opening::Asked(urls) => {
                let first = urls.first().cloned().unwrap_or_else(home);
                self.tools.post("", "Target.createTarget", &json!({ "url": first }));
            }
            Opening::Restored => self.restoring = Some(Instant::now() + RESTORE_PATIENCE),
            Opening::Over => {}
        }
    }

    /// Whether `target` is the first tab to be shown. Called for every tab whose address became known, until one is.
    async fn consider_first(&mut self, target: &str) {
        let Some(page) = self.tabs.iter().find(|page| page.target == target && !page.url.is_empty()) else {
            return;
        };
        let is_restored = page.url.starts_with("http");
        let is_waiting = self.blank.as_deref() == Some(target);
        let mut front = None;
        let others = match &self.opening {
            Opening::Asked(urls) if is_waiting || (self.blank.is_none() && !is_new_tab(&page.url)) => {
                front = urls.first().filter(|_| is_waiting).cloned();
                urls.iter().skip(1).cloned().collect()
            }
            // It may have loaded before anybody looked.
            Opening::Restored if is_restored => {
                self.revealed = true;
                self.unpictured = Some(Instant::now() + PICTURE_PATIENCE);
                Vec::new()
            }
            _ => return,
        };
        (self.opening, self.restoring) = (Opening::Over, None);
        for page in self.tabs.iter().filter(|page| is_new_tab(&page.url)) {
            self.tools.post("", "Target.closeTarget", &json!({ "targetId": page.target }));
        }
        self.blank = None;
        self.activate(target).await;
        if let Some(url) = front {
            self.navigate(url);
        }
        for url in others {
            self.behind += 1;
            self.tools.post("", "Target.createTarget", &json!({ "url": url, "background": true }));
        }
        self.outbox.send(&Report::State(SessionState::Running, "Chromium is up".into()), &[]).await;
    }

    /// Nothing was restored after all.
    fn give_up_restoring(&mut self) {
        self.restoring = None;
        self.opening = Opening::Asked(vec![home()]);
        self.order_first();
    }

    async fn on_detached(&mut self, params: &Value) {
        let session = text(&params["sessionId"]);
        let Some(index) = self.tabs.iter().position(|page| page.session == session) else { return };
        let page = self.tabs.remove(index);
        if page.target == self.active {
            match self.tabs.last().map(|page| page.target.clone()) {
                Some(next) => self.activate(&next).await,
                // A browser without a tab shows nothing; a person expects a fresh one.
                None => {
                    self.tools.post("", "Target.createTarget", &json!({ "url": home() }));
                }
            }
        }
        self.tell_tabs().await;
    }

    async fn on_changed(&mut self, info: &Value) {
        let target = text(&info["targetId"]);
        let Some(page) = self.tabs.iter_mut().find(|page| page.target == target) else { return };
        let (url, title) = (shown_address(&info["url"]), shortened(&info["title"], MAX_SHOWN_TEXT));
        if (&page.url, &page.title) != (&url, &title) {
            (page.url, page.title) = (url, title);
            if self.opening != Opening::Over {
                self.consider_first(&target).await;
            }
            self.tell_tabs().await;
        }
    }

    async fn tell_tabs(&self) {
        let tab = |page: &Page| Tab {
            id: page.target.clone(),
            url: page.url.clone(),
            title: page.title.clone(),
            active: page.target == self.active,
        };
        self.say(NodeMessage::Tabs { tabs: self.tabs.iter().map(tab).collect() }).await;
        if let Some(page) = self.current() {
            let report = Report::Page { url: page.url.clone(), title: page.title.clone() };
            self.outbox.send(&report, &[]).await;
        }
    }

    fn on_frame(&mut self, event: &Event) {
        let next = self.sequence.wrapping_add(1);
        let Some(frame) = frame::from_screencast(&event.params, next, self.viewport) else { return };
        let shown = self.revealed && self.current().is_some_and(|page| page.session == event.session);
        if !shown || self.viewers.is_empty() || !self.outbox.offer(&Report::Frame(next), &frame.message) {
            let params = json!({ "sessionId": frame.acknowledge });
            self.tools.post(&event.session, "Page.screencastFrameAck", &params);
            return;
        }
        self.sequence = next;
        self.unpictured = None;
        self.untaken.push((next, event.session.clone(), frame.acknowledge));
    }

    fn on_navigated(&mut self, event: &Event) {
        let is_main = event.params["frame"].get("parentId").is_none();
        let is_current = self.current().is_some_and(|page| page.session == event.session);
        if is_main && is_current && !self.revealed && event.params["frame"]["url"] != "about:blank" {
            self.revealed = true;
        }
        if is_main && is_current {
            self.unpictured = Some(Instant::now() + PICTURE_PATIENCE);
        }
    }

    fn on_loading(&mut self, event: &Event, loading: bool) {
        let page = self.tabs.iter_mut().find(|page| page.session == event.session);
        // A page's main frame carries the target's own id.
        let Some(page) = page.filter(|page| event.params["frameId"] == page.target.as_str()) else { return };
        page.loading = loading;
        if page.target == self.active {
            self.tell_loading();
        }
    }

    /// For the active tab, with its history.
    fn tell_loading(&mut self) {
        let Some(page) = self.current() else { return };
        let (loading, session) = (page.loading, page.session.clone());
        let (tools, outbox) = (self.tools.clone(), self.outbox.clone());
        self.tasks.spawn(async move {
            let history =
                tools.call(&session, "Page.getNavigationHistory", json!({})).await.unwrap_or_default();
            let index = history["currentIndex"].as_u64().unwrap_or(0);
            let length = history["entries"].as_array().map_or(0, Vec::len) as u64;
            let message =
                NodeMessage::Loading { loading, can_back: index > 0, can_forward: index + 1 < length };
            outbox.send(&Report::Say(None, message), &[]).await;
        });
    }

    async fn on_dialog(&mut self, event: &Event) {
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

    // --- what clients say ---

    async fn on_order(&mut self, order: Order) {
        match order {
            Order::Attach(viewer) => {
                self.viewers.insert(viewer);
                self.restart_stream();
                self.tell_tabs().await;
            }
            Order::Detach(viewer) => {
                self.viewers.remove(&viewer);
                if self.viewers.is_empty() {
                    self.post_current("Page.stopScreencast", &json!({}));
                    self.acknowledge_up_to(self.sequence);
                }
            }
            Order::Taken(sequence) => self.acknowledge_up_to(sequence),
            Order::Client(viewer, message) => self.on_client(viewer, message).await,
            Order::Start(_) | Order::Close { .. } | Order::Answer { .. } => {}
        }
    }

    async fn on_client(&mut self, viewer: Viewer, message: ClientMessage) {
        if let Some(order) = input::order(&message) {
            self.post_current(order.method, &order.params);
            return;
        }
        match message {
            ClientMessage::Hello { viewport } | ClientMessage::Resize { viewport } => self.resize(viewport),
            ClientMessage::DialogAnswer { accept, text } => {
                let params = json!({ "accept": accept, "promptText": text });
                self.post_current("Page.handleJavaScriptDialog", &params);
            }
            _ if self.tasks.len() >= MAX_TASKS => {
                self.fail(viewer, "page", "the page is busy with what was asked before".into()).await;
            }
            ClientMessage::Navigate { url } => match address::check(&url) {
                Ok(()) => self.navigate(url),
                Err(refusal) => self.fail(viewer, "navigate", refusal.to_string()).await,
            },
            ClientMessage::History { step } => self.step(viewer, step),
            ClientMessage::Tab { action, id, url } => self.on_tab(viewer, action, &id, url).await,
            ClientMessage::Screenshot { full_page } => self.screenshot(viewer, full_page),
            _ => {}
        }
    }

    async fn fail(&self, viewer: Viewer, request: &str, message: String) {
        let message = NodeMessage::Failed { request: request.into(), message };
        self.outbox.send(&Report::Say(Some(viewer), message), &[]).await;
    }

    async fn on_tab(&mut self, viewer: Viewer, action: TabAction, id: &str, url: String) {
        let known = self.tabs.iter().any(|page| page.target == id);
        match action {
            TabAction::Open => {
                let url = if url.is_empty() { home() } else { url };
                match address::check(&url) {
                    Ok(()) => {
                        self.tools.post("", "Target.createTarget", &json!({ "url": url }));
                    }
                    Err(refusal) => self.fail(viewer, "tab", refusal.to_string()).await,
                }
            }
            TabAction::Close if known => {
                self.tools.post("", "Target.closeTarget", &json!({ "targetId": id }));
            }
            TabAction::Activate if known => self.activate(id).await,
            _ => self.fail(viewer, "tab", "there is no such tab".into()).await,
        }
    }

    fn current(&self) -> Option<&Page> {
        self.tabs.iter().find(|page| page.target == self.active)
    }

    fn post_current(&self, method: &str, params: &Value) {
        if let Some(page) = self.current() {
            self.tools.post(&page.session, method, params);
        }
    }

    async fn activate(&mut self, target: &str) {
        if self.active != target {
            self.post_current("Page.stopScreencast", &json!({}));
            self.active = target.to_owned();
        }
        self.tools.post("", "Target.activateTarget", &json!({ "targetId": target }));
        self.resize(self.viewport);
        self.tell_loading();
        self.tell_tabs().await;
    }

    fn resize(&mut self, viewport: Viewport) {
        self.viewport = viewport.clamped();
        let Viewport { width, height, scale } = self.viewport;
        let metrics =
            json!({ "width": width, "height": height, "deviceScaleFactor": scale, "mobile": false });
        self.post_current("Emulation.setDeviceMetricsOverride", &metrics);
        self.restart_stream();
    }

    /// A screencast that starts anew sends the present picture at once, even of a page that rests.
    fn restart_stream(&mut self) {
        self.acknowledge_up_to(self.sequence);
        if self.viewers.is_empty() {
            return;
        }
        self.post_current("Page.stopScreencast", &json!({}));
        let params = json!({ "format": "jpeg", "quality": FRAME_QUALITY, "everyNthFrame": 1 });
        self.post_current("Page.startScreencast", &params);
    }

    fn acknowledge_up_to(&mut self, sequence: u32) {
        // Sequence numbers wrap: what lies less than half the circle behind counts as older.
        let is_taken = |sent: u32| sequence.wrapping_sub(sent) < u32::MAX / 2;
        for (_, session, number) in self.untaken.extract_if(.., |(sent, ..)| is_taken(*sent)) {
            self.tools.post(&session, "Page.screencastFrameAck", &json!({ "sessionId": number }));
        }
    }

    fn navigate(&mut self, url: String) {
        let Some(session) = self.current().map(|page| page.session.clone()) else { return };
        let (tools, outbox) = (self.tools.clone(), self.outbox.clone());
        self.tasks.spawn(async move {
            let message = match tools.call(&session, "Page.navigate", json!({ "url": url })).await {
                Ok(result) => result["errorText"]
                    .as_str()
                    .map(|error| format!("{}: {error}", cut(&url, MAX_SHOWN_TEXT))),
                Err(error) => Some(error.to_string()),
            };
            if let Some(message) = message {
                let message = NodeMessage::Failed { request: "navigate".into(), message };
                outbox.send(&Report::Say(None, message), &[]).await;
            }
        });
    }

    fn step(&mut self, viewer: Viewer, step: HistoryStep) {
        let Some(session) = self.current().map(|page| page.session.clone()) else { return };
        let (tools, outbox) = (self.tools.clone(), self.outbox.clone());
        self.tasks.spawn(async move {
            if let Err(message) = take_step(&tools, &session, step).await {
                let message = NodeMessage::Failed { request: "history".into(), message };
                outbox.send(&Report::Say(Some(viewer), message), &[]).await;
            }
        });
    }

    fn screenshot(&mut self, viewer: Viewer, full_page: bool) {
        let Some(session) = self.current().map(|page| page.session.clone()) else { return };
        let (tools, outbox, viewport) = (self.tools.clone(), self.outbox.clone(), self.viewport);
        self.tasks.spawn(async move {
            let params = json!({ "format": "png", "captureBeyondViewport": full_page });
            let result = tools.call(&session, "Page.captureScreenshot", params).await;
            let problem = match result {
                Ok(result) => match frame::from_screenshot(&result, viewport) {
                    Some(message) => {
                        outbox.send(&Report::Media(viewer), &message).await;
                        return;
                    }
                    None => "Chromium sent no picture".to_owned(),
                },
                Err(error) => error.to_string(),
            };
            let message = NodeMessage::Failed { request: "screenshot".into(), message: problem };
            outbox.send(&Report::Say(Some(viewer), message), &[]).await;
        });
    }
}

async fn take_step(tools: &DevTools, session: &str, step: HistoryStep) -> Result<(), String> {
    let call = async |method: &str, params: Value| {
        tools.call(session, method, params).await.map_err(|error| error.to_string())
    };
    let offset = match step {
        HistoryStep::Reload => return call("Page.reload", json!({})).await.map(|_| ()),
        HistoryStep::Stop => return call("Page.stopLoading", json!({})).await.map(|_| ()),
        HistoryStep::Back => -1,
        HistoryStep::Forward => 1,
    };
    let history = call("Page.getNavigationHistory", json!({})).await?;
    let index = history["currentIndex"].as_i64().unwrap_or(0) + offset;
    let entry = usize::try_from(index).ok().and_then(|index| history["entries"].get(index));
    let Some(entry) = entry else { return Err("there is no page in that direction".into()) };
    call("Page.navigateToHistoryEntry", json!({ "entryId": entry["id"] })).await.map(|_| ())
}

/// Enough of an event for a log; a frame's picture is not for reading.
fn brief(params: &Value) -> String {
    params.to_string().chars().take(400).collect()
}

/// The tab that Chromium opens by itself when it has nothing to restore.
fn is_new_tab(url: &str) -> bool {
    url.starts_with("chrome://newtab") || url.starts_with("chrome://new-tab-page") || url == NEW_TAB
}

/// Chromium's own surfaces (its address bar's list, for one) sometimes call themselves pages.
fn is_browser_ui(url: &Value) -> bool {
    url.as_str().is_some_and(|url| url.starts_with("chrome://") && url.contains(".top-chrome"))
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

/// An address that is too long to be shown is known by its origin.
fn shown_address(value: &Value) -> String {
    let url = value.as_str().unwrap_or_default();
    if url.len() <= MAX_SHOWN_ADDRESS {
        return url.to_owned();
    }
    let origin: Vec<&str> = url.splitn(4, '/').take(3).collect();
    format!("{}/", cut(&origin.join("/"), MAX_SHOWN_ADDRESS))
}

fn shortened(value: &Value, limit: usize) -> String {
    cut(value.as_str().unwrap_or_default(), limit).to_owned()
}

fn cut(text: &str, limit: usize) -> &str {
    let end = (0..=limit.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
