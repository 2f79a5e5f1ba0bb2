//! The stream of pictures: of the tab that is shown, at the viewer's size, no faster than it is taken.

use std::time::Duration;

use cbrowse_protocol::wire::{NodeMessage, Viewport};
use serde_json::json;
use tokio::time::Instant;

use super::Pages;
use crate::{launch::devtools::Event, stream::frame, worker::link::Report};

/// JPEG quality of the stream: text stays readable, a scrolling page costs about 90 KB a frame.
const FRAME_QUALITY: u8 = 80;
/// Chromium draws nothing more while this many frames are unacknowledged.
const CHROMIUM_WAITS_AT: usize = 3;
/// A page that came and drew nothing new within this time is asked for its picture: Chromium's stream follows changes, and
/// the one change of a page that rests can fall between two processes.
pub(super) const PICTURE_PATIENCE: Duration = Duration::from_millis(250);

impl Pages {
    pub(super) fn on_frame(&mut self, event: &Event) {
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
        if self.untaken.len() >= CHROMIUM_WAITS_AT {
            // What changes now is dropped and never sent again; a page that comes to rest meanwhile would stay as it was.
            self.unpictured = Some(Instant::now() + PICTURE_PATIENCE);
        }
    }

    pub(super) fn on_navigated(&mut self, event: &Event) {
        if let Some(page) = self.tabs.iter_mut().find(|page| page.session == event.session) {
            page.has_run = true;
        }
        let is_main = event.params["frame"].get("parentId").is_none();
        let is_current = self.current().is_some_and(|page| page.session == event.session);
        if is_main && is_current && !self.revealed && event.params["frame"]["url"] != "about:blank" {
            self.revealed = true;
        }
        if is_main && is_current {
            self.unpictured = Some(Instant::now() + PICTURE_PATIENCE);
        }
    }

    pub(super) fn on_loading(&mut self, event: &Event, loading: bool) {
        let mut page = self.tabs.iter_mut().find(|page| page.session == event.session);
        if let Some(page) = &mut page {
            page.has_run = true;
        }
        // A page's main frame carries the target's own id.
        let Some(page) = page.filter(|page| event.params["frameId"] == page.target.as_str()) else { return };
        page.loading = loading;
        let (target, is_web) = (page.target.clone(), page.url.starts_with("http"));
        if target == self.active {
            self.tell_loading();
            // A page can have come before anybody looked; then this is the first that is heard of it.
            if !loading && is_web && !self.revealed {
                self.revealed = true;
                self.restart_stream();
            }
        }
        if !loading {
            self.ask_title(target);
        }
    }

    /// For the active tab, with its history.
    pub(super) fn tell_loading(&mut self) {
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

    pub(super) fn resize(&mut self, viewport: Viewport) {
        let viewport = viewport.clamped();
        if viewport != self.viewport {
            self.viewport = viewport;
            self.apply_viewport();
        }
    }

    pub(super) fn apply_viewport(&mut self) {
        let Viewport { width, height, scale } = self.viewport;
        let metrics =
            json!({ "width": width, "height": height, "deviceScaleFactor": scale, "mobile": false });
        self.post_current("Emulation.setDeviceMetricsOverride", &metrics);
        self.restart_stream();
    }

    /// A screencast that starts anew sends the present picture at once, even of a page that rests.
    pub(super) fn restart_stream(&mut self) {
        self.acknowledge_up_to(self.sequence);
        if self.viewers.is_empty() {
            return;
        }
        self.post_current("Page.stopScreencast", &json!({}));
        let params = json!({ "format": "jpeg", "quality": FRAME_QUALITY, "everyNthFrame": 1 });
        self.post_current("Page.startScreencast", &params);
    }

    pub(super) fn acknowledge_up_to(&mut self, sequence: u32) {
        // Sequence numbers wrap: what lies less than half the circle behind counts as older.
        let is_taken = |sent: u32| sequence.wrapping_sub(sent) < u32::MAX / 2;
        for (_, session, number) in self.untaken.extract_if(.., |(sent, ..)| is_taken(*sent)) {
            self.tools.post(&session, "Page.screencastFrameAck", &json!({ "sessionId": number }));
        }
    }
}
