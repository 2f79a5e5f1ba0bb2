//! The bare side: one Chromium with a DevTools pipe and the smallest client that shows and steers a page.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use cbrowse_node::launch::chromium::FLAGS;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use super::{
    picture::Picture,
    side::{Press, SIZE, Side},
};

/// Where Debian puts the binary itself; the node looks here first, too.
pub const CHROMIUM: &str = "/usr/lib/chromium/chromium";
/// Quality that the node asks for, so that both sides encode and carry the same pictures.
const QUALITY: u8 = 80;
/// A browser that has not answered by then hangs.
const CALL_DEADLINE: Duration = Duration::from_secs(20);
/// A browser without a profile to save ends within this time.
const CLOSE_DEADLINE: Duration = Duration::from_secs(5);
/// Whom root becomes: Chromium's sandbox refuses root, and so do we.
const NOBODY: u32 = 65534;
/// A Chromium of our own, with the node's own flags: the browser is the same, and only the road differs.
pub struct Bare {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// Of the message that is being read.
    partial: Vec<u8>,
    /// Events that came while an answer was waited for.
    waiting: VecDeque<Value>,
    next: u64,
    /// The page that is shown: its target and its DevTools session.
    page: Option<(String, String)>,
    home: tempfile::TempDir,
}

impl Bare {
    /// Starts Chromium with a directory of its own; shows nothing yet.
    pub fn start() -> anyhow::Result<Self> {
        let home = tempfile::Builder::new().prefix("cbrowse-bench-bare-").tempdir()?;
        let mut command = Command::new("/bin/sh");
        // Chromium reads its orders from descriptor 3 and answers on 4.
        command
            .args(["-c", "exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null", "sh", CHROMIUM])
            .args(FLAGS)
            .arg("--no-startup-window");
        command.arg(format!("--user-data-dir={}", home.path().join("data").display()));
        command.env_clear().env("HOME", home.path()).env("TMPDIR", home.path());
        command.env("PATH", "/usr/bin:/bin").env("LANG", "C.UTF-8").current_dir(home.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        become_nobody(&mut command, home.path())?;
        let mut child = command.spawn().context("start a Chromium to compare with")?;
        let orders = child.stdin.take().context("standard input is piped")?;
        let answers = child.stdout.take().context("standard output is piped")?;
        Ok(Self {
            child,
            orders,
            answers: BufReader::with_capacity(256 * 1024, answers),
            partial: Vec::new(),
            waiting: VecDeque::new(),
            next: 0,
            page: None,
            home,
        })
    }

    /// Opens a window that stays: who uses a browser has one, and tabs need not wait for it.
    pub async fn keep_window(&mut self) -> anyhow::Result<()> {
        self.call("", "Target.createTarget", json!({ "url": "about:blank" })).await.map(|_| ())
    }

    /// Opens `url` in a tab of its own and has its pictures sent.
    pub async fn show(&mut self, url: &str) -> anyhow::Result<()> {
        let created = self.call("", "Target.createTarget", json!({ "url": url })).await?;
        let target = text(&created["targetId"]);
        let attach = json!({ "targetId": target, "flatten": true });
        let attached = self.call("", "Target.attachToTarget", attach).await?;
        let session = text(&attached["sessionId"]);
        let (width, height) = SIZE;
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.post(&session, "Page.enable", json!({})).await?;
        self.post(&session, "Emulation.setDeviceMetricsOverride", size).await?;
        let cast = json!({ "format": "jpeg", "quality": QUALITY, "everyNthFrame": 1 });
        self.post(&session, "Page.startScreencast", cast).await?;
        self.page = Some((target, session));
        Ok(())
    }

    /// Closes the tab again.
    pub async fn hide(&mut self) -> anyhow::Result<()> {
        if let Some((target, _)) = self.page.take() {
            self.call("", "Target.closeTarget", json!({ "targetId": target })).await?;
        }
        self.waiting.clear();
        Ok(())
    }

    /// Ends the browser and removes what it wrote.
    pub async fn end(mut self) -> anyhow::Result<()> {
        self.post("", "Browser.close", json!({})).await?;
        drop(self.orders);
        if tokio::time::timeout(CLOSE_DEADLINE, self.child.wait()).await.is_err() {
            self.child.kill().await?;
        }
        self.home.close().context("remove the directory of the Chromium to compare with")
    }

    fn session(&self) -> String {
        self.page.as_ref().map(|(_, session)| session.clone()).unwrap_or_default()
    }

    async fn post(&mut self, session: &str, method: &str, params: Value) -> anyhow::Result<u64> {
        self.next += 1;
        let mut order = json!({ "id": self.next, "method": method, "params": params });
        if !session.is_empty() {
            order["sessionId"] = json!(session);
        }
        let mut bytes = serde_json::to_vec(&order)?;
        bytes.push(0);
        self.orders.write_all(&bytes).await?;
        self.orders.flush().await?;
        Ok(self.next)
    }

    async fn call(&mut self, session: &str, method: &str, params: Value) -> anyhow::Result<Value> {
        let id = self.post(session, method, params).await?;
        let answered = tokio::time::timeout(CALL_DEADLINE, async {
            loop {
                let mut message = self.read().await?;
                if message["id"] != id {
                    self.waiting.push_back(message);
                    continue;
                }
                if let Some(error) = message["error"]["message"].as_str() {
                    bail!("{method}: {error}");
                }
                return Ok(message["result"].take());
            }
        });
        answered.await.with_context(|| format!("{method} was not answered"))?
    }

    /// The next message. Cancel safe: what was read of it stays.
    async fn read(&mut self) -> anyhow::Result<Value> {
        let read = self.answers.read_until(0, &mut self.partial).await?;
        if read == 0 || self.partial.pop() != Some(0) {
            bail!("the Chromium to compare with is gone");
        }
        let message = serde_json::from_slice(&self.partial);
        self.partial.clear();
        Ok(message?)
    }

    async fn mouse(&mut self, kind: &str, buttons: u8) -> anyhow::Result<()> {
        let (x, y) = (SIZE.0 / 2, SIZE.1 / 2);
        let params =
            json!({ "type": kind, "x": x, "y": y, "button": "left", "buttons": buttons, "clickCount": 1 });
        self.post(&self.session(), "Input.dispatchMouseEvent", params).await.map(|_| ())
    }

    async fn key(&mut self, mut params: Value) -> anyhow::Result<()> {
        for (name, value) in
            [("key", json!("a")), ("code", json!("KeyA")), ("windowsVirtualKeyCode", json!(65))]
        {
            params[name] = value;
        }
        self.post(&self.session(), "Input.dispatchKeyEvent", params).await.map(|_| ())
    }
}

impl Side for Bare {
    async fn press(&mut self, press: Press) -> anyhow::Result<()> {
        match press {
            Press::Button => self.mouse("mousePressed", 1).await,
            Press::Key => self.key(json!({ "type": "keyDown", "text": "a" })).await,
        }
    }

    async fn release(&mut self, press: Press) -> anyhow::Result<()> {
        match press {
            Press::Button => self.mouse("mouseReleased", 0).await,
            Press::Key => self.key(json!({ "type": "keyUp" })).await,
        }
    }

    async fn go(&mut self, url: &str) -> anyhow::Result<()> {
        self.call(&self.session(), "Page.navigate", json!({ "url": url })).await.map(|_| ())
    }

    async fn picture(&mut self) -> anyhow::Result<Picture> {
        loop {
            let message = match self.waiting.pop_front() {
                Some(message) => message,
                None => self.read().await?,
            };
            if message["method"] != "Page.screencastFrame" || message["sessionId"] != self.session() {
                continue;
            }
            let params = &message["params"];
            let jpeg = STANDARD.decode(params["data"].as_str().unwrap_or_default())?.into();
            let picture = Picture { at: Instant::now(), jpeg };
            let acknowledged = json!({ "sessionId": params["sessionId"] });
            self.post(&self.session(), "Page.screencastFrameAck", acknowledged).await?;
            return Ok(picture);
        }
    }

    async fn round_trip(&mut self) -> anyhow::Result<Duration> {
        let started = Instant::now();
        self.call("", "Browser.getVersion", json!({})).await?;
        Ok(started.elapsed())
    }
}

fn become_nobody(command: &mut Command, home: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::{MetadataExt as _, chown};
    // Nobody else's directory was just made: its owner is who we are.
    if std::fs::metadata(home)?.uid() == 0 {
        chown(home, Some(NOBODY), Some(NOBODY))?;
        command.uid(NOBODY).gid(NOBODY);
    }
    Ok(())
}

/// Version of the browser, as it says itself.
pub async fn version() -> anyhow::Result<String> {
    let output = Command::new(CHROMIUM).arg("--version").env_clear().output().await;
    let output = output.with_context(|| {
        format!("start {}: install the package chromium", PathBuf::from(CHROMIUM).display())
    })?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
