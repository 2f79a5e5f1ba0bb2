//! A headless Chromium that takes orders on a pipe, for looking at pages the way a person's browser does.

use std::{
    env,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use nix::{
    sys::{
        signal::{Signal, killpg},
        stat::Mode,
    },
    unistd::{Pid, mkfifo},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::unix::pipe,
    process::{Child, Command},
    time::{sleep, timeout},
};

/// A browser that answers nothing for this long is broken.
const DEADLINE: Duration = Duration::from_secs(30);
/// Killed processes are gone within this time.
const REAP_DEADLINE: Duration = Duration::from_secs(5);
/// Between two looks at a page that navigates.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// One browser with one page. It is killed when this is dropped.
pub(crate) struct Chromium {
    child: Child,
    home: Option<TempDir>,
    orders: pipe::Sender,
    answers: BufReader<pipe::Receiver>,
    count: u64,
    page: Option<String>,
}

impl Chromium {
    /// Starts it with an empty page of 800x600 CSS pixels at two device pixels each.
    pub(crate) async fn start() -> Self {
        let home = tempfile::tempdir().expect("a home for the browser");
        let data = home.path().join("data");
        Self::launch(home, &data, &["--headless"], &[]).await
    }

    /// Starts a full browser, without a display, on a user data directory that stays. `store` is where it keeps the key of
    /// what it encrypts, `bus` the session bus for that.
    pub(crate) async fn start_on(data: &Path, store: &str, bus: Option<&str>) -> Self {
        let home = tempfile::tempdir().expect("a home for the browser");
        let store = format!("--password-store={store}");
        let bus: Vec<_> = bus.into_iter().map(|bus| ("DBUS_SESSION_BUS_ADDRESS", bus)).collect();
        Self::launch(home, data, &["--ozone-platform=headless", &store], &bus).await
    }

    async fn launch(home: TempDir, data: &Path, flags: &[&str], variables: &[(&str, &str)]) -> Self {
        let [orders, answers] = ["orders", "answers"].map(|name| {
            let path = home.path().join(name);
            mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).expect("make a pipe");
            path
        });
        let mut options = pipe::OpenOptions::new();
        options.read_write(true);
        let (sender, receiver) = (options.open_sender(&orders), options.open_receiver(&answers));
        let child = Command::new("sh")
            .args(["-c", r#"orders=$1 answers=$2; shift 2; exec "$@" 3<"$orders" 4>"$answers""#, "sh"])
            .args([&orders, &answers])
            .arg(binary())
            .args(flags)
            .args(["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
            .arg("--remote-debugging-pipe")
            .arg(format!("--user-data-dir={}", data.display()))
            .env_clear()
            .env("HOME", home.path())
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .expect("start Chromium");
        let mut chromium = Self {
            child,
            home: Some(home),
            orders: sender.expect("open the pipe for orders"),
            answers: BufReader::new(receiver.expect("open the pipe for answers")),
            count: 0,
            page: None,
        };
        chromium.open_page().await;
        chromium
    }

    async fn open_page(&mut self) {
        let target = self.call("Target.createTarget", json!({ "url": "about:blank" })).await;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = self.call("Target.attachToTarget", attach).await;
        self.page = attached["sessionId"].as_str().map(str::to_owned);
        let size = json!({ "width": 800, "height": 600, "deviceScaleFactor": 2, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", size).await;
    }

    /// Closes it as a person does, and waits until its files are written.
    pub(crate) async fn close(mut self) {
        self.page = None;
        self.count += 1;
        let order = json!({ "id": self.count, "method": "Browser.close" }).to_string() + "\0";
        self.orders.write_all(order.as_bytes()).await.expect("give an order");
        timeout(DEADLINE, self.child.wait()).await.expect("it closes").expect("its status");
    }

    /// Sends one order, to the page once there is one, and waits for its answer.
    pub(crate) async fn call(&mut self, method: &str, params: Value) -> Value {
        let mut answer = self.ask(method, params).await;
        assert!(answer["error"].is_null(), "{answer}");
        answer["result"].take()
    }

    /// The same, whatever the answer.
    async fn ask(&mut self, method: &str, params: Value) -> Value {
        self.count += 1;
        let mut order = json!({ "id": self.count, "method": method, "params": params });
        if let Some(page) = &self.page {
            order["sessionId"] = json!(page);
        }
        let mut bytes = order.to_string().into_bytes();
        bytes.push(0);
        self.orders.write_all(&bytes).await.expect("give an order");
        timeout(DEADLINE, self.answer()).await.unwrap_or_else(|_| panic!("{order} was not answered"))
    }

    async fn answer(&mut self) -> Value {
        loop {
            let mut bytes = Vec::new();
            self.answers.read_until(0, &mut bytes).await.expect("read an answer");
            bytes.pop();
            let answer: Value = serde_json::from_slice(&bytes).expect("an answer is JSON");
            if answer["id"] == self.count {
                return answer;
            }
        }
    }

    pub(crate) async fn navigate(&mut self, url: &str) {
        self.call("Page.navigate", json!({ "url": url })).await;
    }

    /// The value of a JavaScript expression, awaited if it is a promise.
    pub(crate) async fn evaluate(&mut self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let mut answer = self.call("Runtime.evaluate", params).await;
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].take()
    }

    /// Returns when the expression is true; the page looks once a picture.
    pub(crate) async fn until(&mut self, condition: &str) {
        let wait = format!(
            "new Promise((done) => {{ const look = () => ({condition}) ? done(true) : setTimeout(look, 5); look(); }})"
        );
        self.evaluate(&wait).await;
    }

    /// The same across navigations, which take the page's questions with them.
    pub(crate) async fn until_there(&mut self, condition: &str) {
        let end = Instant::now() + DEADLINE;
        loop {
            let params = json!({ "expression": condition, "returnByValue": true });
            let answer = self.ask("Runtime.evaluate", params).await;
            if answer["result"]["result"]["value"] == true {
                return;
            }
            assert!(Instant::now() < end, "never true: {condition}: {answer}");
            sleep(LOOK_INTERVAL).await;
        }
    }

    /// Presses and releases the left button without any key.
    pub(crate) async fn click(&mut self, x: f64, y: f64) {
        for (kind, buttons) in [("mouseMoved", 0), ("mousePressed", 1), ("mouseReleased", 0)] {
            let params = json!({ "type": kind, "x": x, "y": y, "button": "left", "buttons": buttons, "clickCount": 1 });
            self.call("Input.dispatchMouseEvent", params).await;
        }
    }

    pub(crate) async fn mouse(&mut self, kind: &str, x: f64, y: f64) {
        let params =
            json!({ "type": kind, "x": x, "y": y, "button": "left", "clickCount": 1, "modifiers": 8 });
        self.call("Input.dispatchMouseEvent", params).await;
    }

    pub(crate) async fn press_key(&mut self, key: &str, code: &str, number: u32, text: &str) {
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" { text } else { "" };
            let params = json!({ "type": kind, "key": key, "code": code, "windowsVirtualKeyCode": number, "text": text });
            self.call("Input.dispatchKeyEvent", params).await;
        }
    }
}

impl Drop for Chromium {
    /// Its processes write to its home until the last of them is gone.
    fn drop(&mut self) {
        let group = self.child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        let Some((group, home)) = group.zip(self.home.take()) else { return };
        let _gone_already = killpg(group, Signal::SIGKILL);
        let (home, end) = (home.keep(), Instant::now() + REAP_DEADLINE);
        while Instant::now() < end
            && (matches!(self.child.try_wait(), Ok(None)) || std::fs::remove_dir_all(&home).is_err())
        {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// `CHROMIUM`, or where distributions put it.
pub(crate) fn binary() -> PathBuf {
    let known = ["/usr/lib/chromium/chromium", "/usr/bin/chromium", "/usr/bin/google-chrome"];
    env::var_os("CHROMIUM")
        .map(PathBuf::from)
        .or_else(|| known.iter().map(PathBuf::from).find(|path| path.exists()))
        .expect("Chromium is installed, or named by CHROMIUM")
}
