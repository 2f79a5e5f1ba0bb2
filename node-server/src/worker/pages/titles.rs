//! Titles: Chromium tells of a tab's new address, but of no title that comes after it, so it is asked.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    Pages,
    text::{MAX_SHOWN_TEXT, shortened, shown_address, text},
};

/// How often the shown tab's title is looked at. Longer, and a tab visibly lags behind its page; shorter, and a page that
/// rests costs for nothing.
pub(super) const TITLE_INTERVAL: Duration = Duration::from_millis(500);
/// Questions under way, one a tab that has just loaded; a browser that answers none of them is asked no more.
const MAX_QUESTIONS: usize = 64;

impl Pages {
    /// The shown tab's, while somebody looks.
    pub(super) fn ask_shown_title(&mut self) {
        if !self.viewers.is_empty() && self.answers.is_empty() {
            self.ask_title(self.active.clone());
        }
    }

    /// A tab's, after it has loaded.
    pub(super) fn ask_title(&mut self, target: String) {
        if self.answers.len() >= MAX_QUESTIONS {
            return;
        }
        let tools = self.tools.clone();
        self.answers.spawn(async move {
            let answer = tools.call("", "Target.getTargetInfo", json!({ "targetId": target })).await;
            answer.unwrap_or_default()
        });
    }

    /// The answer to either. One that was overtaken by another page says nothing about that one.
    pub(super) async fn on_title(&mut self, answer: &Value) {
        let info = &answer["targetInfo"];
        let (target, url) = (text(&info["targetId"]), shown_address(&info["url"]));
        let Some(page) = self.tabs.iter_mut().find(|page| page.target == target && page.url == url) else {
            return;
        };
        let title = shortened(&info["title"], MAX_SHOWN_TEXT);
        if page.title != title {
            page.title = title;
            self.tell_tabs().await;
        }
    }
}
