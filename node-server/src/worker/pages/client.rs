//! What clients do to a session: input, addresses, history, tabs, pictures.

use cbrowse_protocol::wire::{ClientMessage, HistoryStep, NodeMessage, TabAction};
use serde_json::{Value, json};

use super::{
    Pages, home,
    text::{MAX_SHOWN_TEXT, cut},
};
use crate::{
    address,
    launch::devtools::DevTools,
    stream::{frame, input},
    worker::link::{Order, Report, Viewer},
};

/// Questions to Chromium under way at once: each may hold a picture of the whole page.
const MAX_TASKS: usize = 16;

impl Pages {
    pub(super) async fn on_order(&mut self, order: Order) {
        match order {
            Order::Attach(viewer) => {
                if self.viewers.insert(viewer) {
                    self.restart_stream();
                }
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

    pub(super) async fn on_client(&mut self, viewer: Viewer, message: ClientMessage) {
        if let Some(order) = input::order(&message, self.viewport.scale) {
            self.post_current(order.method, &order.params);
            return;
        }
        match message {
            ClientMessage::Hello { viewport } | ClientMessage::Resize { viewport } => self.resize(viewport),
            ClientMessage::DialogAnswer { accept, text } => {
                let params = json!({ "accept": accept, "promptText": text });
                if let Some(asking) = self.dialogs.first() {
                    self.tools.post(asking, "Page.handleJavaScriptDialog", &params);
                }
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

    pub(super) async fn fail(&self, viewer: Viewer, request: &str, message: String) {
        let message = NodeMessage::Failed { request: request.into(), message };
        self.outbox.send(&Report::Say(Some(viewer), message), &[]).await;
    }

    pub(super) async fn on_tab(&mut self, viewer: Viewer, action: TabAction, id: &str, url: String) {
        let known = self.tabs.iter().any(|page| page.target == id);
        match action {
            TabAction::Open => {
                let url = if url.is_empty() { home() } else { url };
                match address::check(&url) {
                    Ok(()) => {
                        self.tools.post("", "Target.createTarget", &self.new_tab(&url, false));
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

    pub(super) fn navigate(&mut self, url: String) {
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

    pub(super) fn step(&mut self, viewer: Viewer, step: HistoryStep) {
        let Some(session) = self.current().map(|page| page.session.clone()) else { return };
        let (tools, outbox) = (self.tools.clone(), self.outbox.clone());
        self.tasks.spawn(async move {
            if let Err(message) = take_step(&tools, &session, step).await {
                let message = NodeMessage::Failed { request: "history".into(), message };
                outbox.send(&Report::Say(Some(viewer), message), &[]).await;
            }
        });
    }

    pub(super) fn screenshot(&mut self, viewer: Viewer, full_page: bool) {
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
