//! Saves of a session's profile: now and then while it runs, and at its end.

use std::{
    convert::Infallible,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

use anyhow::Context as _;
use cbrowse_protocol::wire::NodeMessage;
use serde_json::json;
use tokio::sync::Mutex;

use super::{
    cookies,
    link::{Outbox, Report, Start},
    store::RemoteStore,
};
use crate::{
    launch::devtools::DevTools,
    persist::{self, OpenProfile},
};

/// A browser that does not tell its cookies within this time is saved without them. Longer: a browser that hangs holds up
/// its own end.
const COOKIES_DEADLINE: Duration = Duration::from_secs(3);

/// Seals the session's profile and proposes it to its owner.
pub struct Saver {
    /// To the server.
    pub outbox: Outbox<Report>,
    /// Where sealed objects go.
    pub store: RemoteStore,
    /// What was granted.
    pub profile: Option<Arc<OpenProfile>>,
    /// The session.
    pub start: Start,
    /// The browser.
    pub tools: DevTools,
    /// DevTools' name of the profile, once it is loaded. Before that there is nothing to save.
    pub context: Arc<OnceLock<String>>,
    /// The browser's data directory.
    pub data: PathBuf,
    /// Between two saves of a profile that changes.
    pub interval: Duration,
    /// The cookies that were written last.
    pub written: Mutex<Vec<u8>>,
}

impl Saver {
    /// Saves whenever a file or a cookie changed since the last look. What a running browser has not written yet, cookies
    /// apart, is not in it.
    pub async fn save_regularly(&self) -> Infallible {
        if self.profile.is_none() {
            return std::future::pending().await;
        }
        let mut last = None;
        loop {
            tokio::time::sleep(self.interval).await;
            if self.context.get().is_none() {
                continue;
            }
            self.write_cookies().await;
            let data = self.data.clone();
            let looked = tokio::task::spawn_blocking(move || persist::fingerprint(&data));
            let seen = looked.await.ok();
            if seen == last {
                continue;
            }
            match self.save(false).await {
                Ok(()) => last = seen,
                Err(error) => tracing::warn!("save a running profile: {error:#}"),
            }
        }
    }

    /// Asks the browser for its cookies and keeps them beside its files. It goes on without: most of them are in its database.
    pub async fn write_cookies(&self) {
        let Some(context) = self.context.get() else { return };
        let asked = self.tools.call("", "Storage.getCookies", json!({ "browserContextId": context }));
        let bytes = match tokio::time::timeout(COOKIES_DEADLINE, asked).await {
            Ok(Ok(answer)) => cookies::encode(&answer),
            Ok(Err(error)) => return tracing::warn!("ask for cookies: {error}"),
            Err(_) => return tracing::warn!("ask for cookies: no answer in time"),
        };
        let mut written = self.written.lock().await;
        let Some(bytes) = bytes.filter(|bytes| *bytes != *written) else { return };
        match cookies::write(&self.data, &bytes) {
            Ok(()) => *written = bytes,
            Err(error) => tracing::warn!("keep cookies: {error}"),
        }
    }

    /// The last save. After a clean close the browser's own database has every cookie.
    pub async fn save_last(&self, clean: bool) -> anyhow::Result<()> {
        if clean {
            cookies::remove(&self.data);
        }
        self.save(clean).await
    }

    /// A crashed browser's files are saved too, marked so; whoever opens them decides.
    async fn save(&self, clean: bool) -> anyhow::Result<()> {
        let (Some(profile), Some(granted)) = (self.profile.clone(), &self.start.request.profile) else {
            return Ok(());
        };
        let meta =
            persist::meta(&self.start.node, &self.start.browser_version, crate::node::unix_now(), clean);
        let (store, data) = (self.store.clone(), self.data.clone());
        let saving = tokio::task::spawn_blocking(move || profile.save(Path::new(&data), &store, &meta));
        let (proposal, saved) = saving.await?.context("save the profile")?;
        self.outbox.send(&Report::Proposal { profile: granted.profile.clone() }, &proposal).await;
        let (generation, stats) = (saved.generation, saved.stats);
        let told = NodeMessage::Saved { generation, objects: stats.new_objects, bytes: stats.sent_bytes };
        self.outbox.send(&Report::Say(None, told), &[]).await;
        Ok(())
    }
}
