//! A profile on its way into the browser: its first page is waited for, its cookies are handed over, and only then pages load.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{End, Opening, Pages, tabs::RESTORE_PATIENCE};
use crate::{
    launch::devtools::{CallError, DevTools},
    worker::{browser::Loaded, cookies},
};

/// A profile's first page comes 50 to 100 ms after the browser agreed to load it. One that takes this long never comes; a
/// session without its profile would look like a loss, so it ends.
const ARRIVAL_PATIENCE: Duration = Duration::from_secs(30);
/// A thousand cookies are handed over one by one within a second. Longer than this, pages wait for nothing.
const HANDING_PATIENCE: Duration = Duration::from_secs(5);
/// Marks the answer of [`hand_over`] among others.
const HANDED: &str = "handedOver";

/// A profile whose first page is not there yet, or waits for its cookies.
pub(super) struct Arriving {
    has_tabs: bool,
    /// To be handed over; pages stand still until they are.
    cookies: Option<Vec<Value>>,
    /// DevTools sessions that stand still.
    held: Vec<String>,
    first: Option<String>,
    /// When it counts as lost.
    pub(super) until: Instant,
}

impl Arriving {
    pub(super) fn of(loaded: Loaded) -> Self {
        let Loaded { has_tabs, cookies, waiting: _ } = loaded;
        let cookies = Some(cookies).filter(|cookies| !cookies.is_empty());
        Self { has_tabs, cookies, held: Vec::new(), first: None, until: Instant::now() + ARRIVAL_PATIENCE }
    }

    /// Whether pages come standing still.
    pub(super) fn holds(&self) -> bool {
        self.cookies.is_some()
    }
}

impl Pages {
    /// DevTools' name of the profile that the session's pages belong to, once the first of them is there.
    pub fn context(&self) -> Arc<OnceLock<String>> {
        self.context.clone()
    }

    /// Lets a target run that has just been attached to, unless its profile's cookies are still to come.
    pub(super) fn let_run(&mut self, session: &str) {
        match self.arriving.as_mut().filter(|arriving| arriving.holds()) {
            Some(arriving) => arriving.held.push(session.to_owned()),
            None => self.resume(session),
        }
    }

    fn resume(&self, session: &str) {
        self.tools.post(session, "Runtime.runIfWaitingForDebugger", &json!({}));
    }

    /// A page of the session is there. The profile's first one takes the cookies; `true` where the profile has thereby
    /// arrived, or has not yet.
    pub(super) async fn is_arriving_with(&mut self, target: &str, session: &str, info: &Value) -> bool {
        if let Some(context) = info["browserContextId"].as_str() {
            // Every page of the session is of the same one.
            let _known = self.context.set(context.to_owned());
        }
        let Some(arriving) = &mut self.arriving else { return false };
        if arriving.first.is_some() {
            return true;
        }
        arriving.first = Some(target.to_owned());
        match arriving.cookies.clone() {
            Some(saved) => {
                let (tools, session) = (self.tools.clone(), session.to_owned());
                self.answers
                    .spawn(async move { json!({ HANDED: hand_over(&tools, &session, &saved).await }) });
            }
            None => self.arrive().await,
        }
        true
    }

    /// Whether this answers [`hand_over`].
    pub(super) async fn is_handed_over(&mut self, answer: &Value) -> bool {
        let Some(handed) = answer[HANDED].as_u64() else { return false };
        tracing::info!("{handed} cookies that the last browser held in memory are handed over");
        let attach = json!({ "autoAttach": true, "waitForDebuggerOnStart": false, "flatten": true });
        self.tools.post("", "Target.setAutoAttach", &attach);
        self.arrive().await;
        true
    }

    /// The profile is there as it was: its pages load, and what was asked for is opened.
    async fn arrive(&mut self) {
        let Some(arriving) = self.arriving.take() else { return };
        for session in &arriving.held {
            self.resume(session);
        }
        if arriving.has_tabs {
            let is_asked = matches!(self.opening, Opening::Asked(_));
            self.settles = is_asked.then(|| Instant::now() + RESTORE_PATIENCE);
            self.order_first();
        } else {
            // The window came with an empty tab, which takes the first address.
            self.blank = arriving.first;
        }
        let there: Vec<_> = self.tabs.iter().map(|page| page.target.clone()).collect();
        for target in there {
            self.consider_first(&target).await;
        }
    }

    /// No page of the profile ever came.
    pub(super) fn never_arrived() -> End {
        let reason = format!(
            "the browser did not load the profile within {} s; nothing of it was changed",
            ARRIVAL_PATIENCE.as_secs()
        );
        End { reason, save: false, failed: true }
    }

    /// The window of the browser that waited goes once the session has its own: without any, the browser would end.
    pub(super) fn close_put_aside(&mut self) {
        if let Some(target) = self.put_aside.clone() {
            self.tools.post("", "Target.closeTarget", &json!({ "targetId": target }));
        }
    }

    /// What `Target.createTarget` takes for a tab of the session, and not of the browser that waited.
    pub(super) fn new_tab(&self, url: &str, background: bool) -> Value {
        let mut order = json!({ "url": url, "background": background });
        if let Some(context) = self.context.get() {
            order["browserContextId"] = json!(context);
        }
        order
    }
}

/// Gives the browser what its database lacks; how many that were. One that it refuses does not keep the others out, and many
/// that it refuses do not keep the pages waiting for long: the profile's last node wrote them.
async fn hand_over(tools: &DevTools, session: &str, saved: &[Value]) -> u64 {
    let present = tools.call(session, "Storage.getCookies", json!({})).await.unwrap_or_default();
    let present = present["cookies"].as_array().cloned().unwrap_or_default();
    let given = cookies::to_hand_over(saved, &present, crate::node::unix_now());
    if given.is_empty() {
        return 0;
    }
    match set(tools, session, &given).await {
        Ok(()) => return given.len() as u64,
        Err(error) => tracing::warn!("hand over {} cookies, now one by one: {error}", given.len()),
    }
    let mut taken = 0;
    let one_by_one = async {
        for cookie in &given {
            taken += u64::from(set(tools, session, std::slice::from_ref(cookie)).await.is_ok());
        }
    };
    if tokio::time::timeout(HANDING_PATIENCE, one_by_one).await.is_err() {
        tracing::warn!("cookies of the last browser are left out: it takes too long to hand them over");
    }
    taken
}

async fn set(tools: &DevTools, session: &str, cookies: &[Value]) -> Result<(), CallError> {
    tools.call(session, "Storage.setCookies", json!({ "cookies": cookies })).await.map(drop)
}
