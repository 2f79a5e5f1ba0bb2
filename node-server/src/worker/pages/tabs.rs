//! Which tabs there are, which one is shown, and how the first ones come to be.

use std::time::Duration;

use cbrowse_protocol::{
    api::SessionState,
    wire::{NodeMessage, Tab},
};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    Opening, Page, Pages, home,
    picture::PICTURE_PATIENCE,
    text::{MAX_SHOWN_TEXT, shortened, shown_address, text},
};
use crate::{launch::chromium::NEW_TAB, worker::link::Report};

/// Tabs of one session; a page that opens more is refused them.
const MAX_TABS: usize = 64;
/// The page that holds nothing.
const BLANK: &str = "about:blank";
/// Restored tabs appear within half a second of the blank one; without them the start page is shown after this.
pub(super) const RESTORE_PATIENCE: Duration = Duration::from_secs(2);

impl Pages {
    pub(super) async fn on_attached(&mut self, params: &Value) {
        let info = &params["targetInfo"];
        let (session, target) = (text(&params["sessionId"]), text(&info["targetId"]));
        if self.put_aside.as_ref() == Some(&target) {
            return;
        }
        if info["type"] != "page" || is_browser_ui(&info["url"]) {
            return self.let_run(&session);
        }
        if self.tabs.len() >= MAX_TABS {
            self.tools.post("", "Target.closeTarget", &json!({ "targetId": target }));
            return;
        }
        self.tools.post(&session, "Page.enable", &json!({}));
        // Tells again what a page that was there before us has done already.
        self.tools.post(&session, "Page.setLifecycleEventsEnabled", &json!({ "enabled": true }));
        self.tools.post(&session, "Inspector.enable", &json!({}));
        // A popup waits for this whatever was asked, and its opener with it, in the middle of `window.open`.
        self.let_run(&session);
        let (url, title) = (shown_address(&info["url"]), shortened(&info["title"], MAX_SHOWN_TEXT));
        let is_popup = info.get("openerId").is_some();
        self.tabs.push(Page {
            target: target.clone(),
            session: session.clone(),
            url,
            title,
            loading: true,
            has_run: false,
        });
        if self.is_arriving_with(&target, &session, info).await {
            return;
        }
        if self.opening != Opening::Over {
            return self.consider_first(&target).await;
        }
        if self.behind > 0 && !is_popup {
            self.behind -= 1;
            return self.tell_tabs().await;
        }
        // The profile's own tabs stay behind the one that was asked for.
        let settles = self.front.is_some() && self.settles.is_some_and(|until| Instant::now() < until);
        if settles && !is_popup {
            return self.tell_tabs().await;
        }
        self.activate(&target).await;
    }

    /// Orders the first of the tabs that were asked for; restored ones come by themselves.
    pub(super) fn order_first(&mut self) {
        match &self.opening {
            // The tab that waits takes it, once it is attached to.
            Opening::Asked(_) if self.blank.is_some() => {}
            Opening::Asked(urls) => {
                let first = urls.first().cloned().unwrap_or_else(home);
                let (tools, order) = (self.tools.clone(), self.new_tab(&first, false));
                // Told from the profile's own tabs by its id, which only the answer names.
                self.answers.spawn(async move {
                    tools.call("", "Target.createTarget", order).await.unwrap_or_default()
                });
            }
            Opening::Restored => self.restoring = Some(Instant::now() + RESTORE_PATIENCE),
            Opening::Over => {}
        }
    }

    /// The first tab is made; its attachment may be known already.
    pub(super) async fn on_ordered(&mut self, target: &str) {
        self.front = Some(target.to_owned());
        if self.opening != Opening::Over {
            self.consider_first(target).await;
        }
    }

    /// Whether `target` is the first tab to be shown. Called for every tab whose address became known, until one is.
    pub(super) async fn consider_first(&mut self, target: &str) {
        let Some(page) = self.tabs.iter().find(|page| page.target == target && !page.url.is_empty()) else {
            return;
        };
        let is_restored = page.url.starts_with("http");
        let is_waiting = self.blank.as_deref() == Some(target);
        let (mut front, mut is_blank) = (None, false);
        let others = match &self.opening {
            Opening::Asked(urls) if is_waiting || self.front.as_deref() == Some(target) => {
                is_blank = urls.first().is_some_and(|url| url == BLANK);
                // Chromium tells nothing of going from a blank page to a blank page.
                front = urls.first().filter(|_| is_waiting && !is_blank).cloned();
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
        if is_blank {
            self.show_blank(target);
        }
        (self.opening, self.restoring) = (Opening::Over, None);
        for page in self.tabs.iter().filter(|page| page.target != target && is_new_tab(&page.url)) {
            self.tools.post("", "Target.closeTarget", &json!({ "targetId": page.target }));
        }
        self.blank = None;
        self.activate(target).await;
        self.close_put_aside();
        if let Some(url) = front {
            self.navigate(url);
        }
        for url in others {
            self.behind += 1;
            self.tools.post("", "Target.createTarget", &self.new_tab(&url, true));
        }
        self.outbox.send(&Report::State(SessionState::Running, "Chromium is up".into()), &[]).await;
    }

    /// A blank page is there once its tab is; there is nothing to load, and nothing to hide before it.
    fn show_blank(&mut self, target: &str) {
        self.revealed = true;
        self.unpictured = Some(Instant::now() + PICTURE_PATIENCE);
        if let Some(page) = self.tabs.iter_mut().find(|page| page.target == target) {
            page.loading = false;
        }
    }

    /// Nothing was restored after all.
    pub(super) fn give_up_restoring(&mut self) {
        self.restoring = None;
        self.opening = Opening::Asked(vec![home()]);
        self.order_first();
    }

    pub(super) async fn on_detached(&mut self, params: &Value) {
        let session = text(&params["sessionId"]);
        let Some(index) = self.tabs.iter().position(|page| page.session == session) else { return };
        let page = self.tabs.remove(index);
        self.dialogs.retain(|asking| *asking != session);
        if page.target == self.active {
            match self.tabs.last().map(|page| page.target.clone()) {
                Some(next) => self.activate(&next).await,
                // A browser without a tab shows nothing; a person expects a fresh one.
                None => {
                    self.tools.post("", "Target.createTarget", &self.new_tab(&home(), false));
                }
            }
        }
        self.tell_tabs().await;
    }

    pub(super) async fn on_changed(&mut self, info: &Value) {
        let target = text(&info["targetId"]);
        let Some(page) = self.tabs.iter_mut().find(|page| page.target == target) else { return };
        let (url, title) = (shown_address(&info["url"]), shortened(&info["title"], MAX_SHOWN_TEXT));
        if (&page.url, &page.title) != (&url, &title) {
            (page.url, page.title) = (url, title);
            if self.opening != Opening::Over && self.arriving.is_none() {
                self.consider_first(&target).await;
            }
            self.tell_tabs().await;
        }
    }

    pub(super) async fn tell_tabs(&self) {
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

    pub(super) async fn activate(&mut self, target: &str) {
        if self.active != target {
            self.post_current("Page.stopScreencast", &json!({}));
            self.active = target.to_owned();
        }
        self.tools.post("", "Target.activateTarget", &json!({ "targetId": target }));
        self.apply_viewport();
        self.tell_loading();
        self.tell_tabs().await;
    }

    pub(super) fn current(&self) -> Option<&Page> {
        self.tabs.iter().find(|page| page.target == self.active)
    }

    pub(super) fn post_current(&self, method: &str, params: &Value) {
        if let Some(page) = self.current() {
            self.tools.post(&page.session, method, params);
        }
    }
}

/// The tab that Chromium opens by itself when it has nothing to restore.
fn is_new_tab(url: &str) -> bool {
    url.starts_with("chrome://newtab") || url.starts_with("chrome://new-tab-page") || url == NEW_TAB
}

/// Chromium's own surfaces (its address bar's list, for one) sometimes call themselves pages.
fn is_browser_ui(url: &Value) -> bool {
    url.as_str().is_some_and(|url| url.starts_with("chrome://") && url.contains(".top-chrome"))
}
