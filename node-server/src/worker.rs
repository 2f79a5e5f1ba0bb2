//! Process 1 of a session's room: starts Chromium, streams it, steers it, and ends everything by ending itself.
//!
//! ```text
//! ready (session key) -> start order -> profile opened -> Chromium running -> pages -> close order or exit -> saved -> closed
//! ```
//! The server's end of the socket closing is a close order too: a worker never outlives the server that holds its store.

pub mod link;
pub mod pages;
pub mod proxy;
pub mod store;

use std::{
    convert::Infallible,
    os::{fd::AsFd as _, unix::net::UnixStream as StdUnixStream},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use cbrowse_profile::{grant::SessionSecret, secret::SystemRandom};
use cbrowse_protocol::{api::SessionState, wire::NodeMessage};
use tokio::{net::UnixStream, sync::mpsc, task::JoinSet};

use crate::{
    guard::channel::WorkerEnd,
    launch::{chromium, devtools, extensions},
    persist::{self, OpenProfile},
    sys::namespace::{self, Room},
    worker::{
        link::{LinkError, Message, Order, Outbox, Report, Start},
        pages::{FirstTab, Pages},
        store::RemoteStore,
    },
};

/// Chromium flushes cookies and databases within two seconds of `Browser.close`; a busy disk takes longer.
const CLOSE_DEADLINE: Duration = Duration::from_secs(10);
/// After an interrupt signal, before the kernel ends it with the room.
const INTERRUPT_DEADLINE: Duration = Duration::from_secs(3);
/// Lost at most by a node that dies, beside what Chromium itself has not written yet (cookies reach its disk within 30 s).
const AUTOSAVE_INTERVAL: Duration = Duration::from_secs(20);
/// The last report leaves within this time, or the server is gone.
const FAREWELL_DEADLINE: Duration = Duration::from_secs(5);
/// Orders that may wait for the pages; the reader then waits, and with it the server's queue for this session only.
const ORDER_QUEUE: usize = 256;

/// What the server decides before a session is known.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Size of the room's writable file system in bytes.
    #[arg(long)]
    pub disk: u64,
    /// The browser's binary.
    #[arg(long)]
    pub chromium: PathBuf,
    /// Milliseconds after which the browser is started even without a session; never when absent.
    #[arg(long)]
    pub warm_after: Option<u64>,
    /// Extensions that a profile carries stay sealed.
    #[arg(long)]
    pub no_extensions: bool,
}

/// The worker's whole life. Descriptor 0 is the link to the server, descriptor 1 the guard's channel.
pub fn main(options: &Options) -> ExitCode {
    if let Err(error) = build_room(options) {
        tell_unfit(&format!("{error}; {}", namespace::NAMESPACE_HINT));
        return ExitCode::FAILURE;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return ExitCode::FAILURE };
    match runtime.block_on(live(options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("worker: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn build_room(options: &Options) -> Result<(), namespace::NamespaceError> {
    namespace::enter()?;
    let outside_usr = !options.chromium.starts_with("/usr");
    let browser_directory = options.chromium.parent().filter(|_| outside_usr).map(PathBuf::from);
    namespace::furnish(&Room { disk: options.disk, browser_directory, policy: chromium::policy() })
}

/// Without a runtime yet: one blocking write on the link.
fn tell_unfit(reason: &str) {
    use std::io::Write as _;
    if let Ok(descriptor) = std::io::stdin().as_fd().try_clone_to_owned() {
        let message = link::encode(&Report::Unfit(reason.to_owned()), &[]);
        let _ = StdUnixStream::from(descriptor).write_all(&message);
    }
}

async fn live(options: &Options) -> anyhow::Result<()> {
    let control = StdUnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let guard = std::io::stdout().as_fd().try_clone_to_owned()?;
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    nix::unistd::dup2_stdin(&null)?;
    nix::unistd::dup2_stdout(&null)?;
    control.set_nonblocking(true)?;
    let (reader, writer) = UnixStream::from_std(control)?.into_split();
    let (outbox, pump) = Outbox::new(writer);
    let mut tasks = JoinSet::new();
    let farewell = tasks.spawn(pump);
    let store = RemoteStore::new(outbox.clone());
    let (order_sender, orders) = mpsc::channel(ORDER_QUEUE);
    let reading = tasks.spawn(read_orders(reader, store.clone(), order_sender));
    let mut life = Life { options, outbox, store, orders: Some(orders), tasks };
    let (reason, failed) = match life.run(guard).await {
        Ok(reason) => (reason, false),
        Err(error) => (format!("{error:#}"), true),
    };
    let Life { outbox, store, mut tasks, .. } = life;
    outbox.send(&Report::Closed { reason, failed }, &[]).await;
    // The writer ends when nobody can give it anything more; then all is sent.
    reading.abort();
    drop((outbox, store));
    let _ = tokio::time::timeout(FAREWELL_DEADLINE, async {
        while !farewell.is_finished() && tasks.join_next().await.is_some() {}
    })
    .await;
    Ok(())
}

async fn read_orders(
    mut socket: tokio::net::unix::OwnedReadHalf,
    store: RemoteStore,
    orders: mpsc::Sender<Order>,
) {
    loop {
        match link::read::<Order>(&mut socket).await {
            Ok(Message { head: Order::Answer { id, missing, error }, tail }) => {
                store.answer(id, missing, error, tail);
            }
            // Input that nobody has time for is dropped: answers of the store travel behind it, and a restore waits for them.
            Ok(Message { head: head @ (Order::Client(..) | Order::Taken(_)), .. }) => {
                let _ = orders.try_send(head);
            }
            Ok(Message { head, .. }) => {
                if orders.send(head).await.is_err() {
                    break;
                }
            }
            Err(LinkError::Closed(_)) => break,
            Err(error) => {
                tracing::error!("read an order: {error}");
                break;
            }
        }
    }
    store.close();
}

struct Life<'a> {
    options: &'a Options,
    outbox: Outbox<Report>,
    store: RemoteStore,
    orders: Option<mpsc::Receiver<Order>>,
    tasks: JoinSet<()>,
}

impl Life<'_> {
    /// From ready to the reason of the end.
    async fn run(&mut self, guard: std::os::fd::OwnedFd) -> anyhow::Result<String> {
        let (secret, public) = SessionSecret::generate(&mut SystemRandom);
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        let proxy_port = listener.local_addr()?.port();
        self.tasks.spawn(proxy::run(listener, WorkerEnd::new(guard)?));
        let mut orders = self.orders.take().expect("orders are read by one life only");
        // The first worker of a node shows at once that Chromium starts; later ones leave the processors to the session
        // that has just taken their predecessor.
        let at_once = self.options.warm_after == Some(0);
        let mut warm = if at_once { Some(self.warm_browser(proxy_port).await?) } else { None };
        self.outbox.send(&Report::Ready { session_key: public.to_vec() }, &[]).await;
        let start = tokio::select! {
            start = wait_for_start(&mut orders) => start,
            browser = self.warm_later(proxy_port), if !at_once => {
                warm = browser;
                wait_for_start(&mut orders).await
            }
        };
        self.orders = Some(orders);
        let Some(start) = start else { return Ok("never used".into()) };
        // A profile is read when Chromium starts, so the one that waits cannot take it.
        let warm = if start.request.profile.is_some() { end_unused(warm).await } else { warm };
        let profile = self.open_profile(secret, &start).await?.map(Arc::new);
        let restores = profile.is_some() && keep_open_tabs(&start);
        let mut browser = match warm {
            Some(browser) => browser,
            None => self.start_browser(proxy_port, chromium::DATA_DIRECTORY, restores).await?,
        };
        let first = match browser.blank.take() {
            Some(blank) => FirstTab::Blank(blank),
            None if restores => FirstTab::Restored,
            None => FirstTab::Ordered,
        };
        let mut pages = Pages::new(browser.tools.clone(), self.outbox.clone(), &start, first);
        let saver = Saver { outbox: self.outbox.clone(), store: self.store.clone(), profile, start };
        let orders = self.orders.as_mut().expect("orders are read by one life only");
        let end = tokio::select! {
            end = pages.run(&mut browser.events, orders, &mut browser.child) => end,
            never = saver.save_regularly() => match never {},
        };
        self.drain_orders();
        self.outbox.send(&Report::State(SessionState::Closing, end.reason.clone()), &[]).await;
        let save = end.save && saver.profile.is_some();
        close(&browser.tools, &mut browser.child, save).await;
        if save {
            saver.save(!end.failed).await?;
        }
        if end.failed { Err(anyhow::anyhow!(end.reason)) } else { Ok(end.reason) }
    }

    /// Starts Chromium and waits until it takes orders.
    async fn start_browser(&self, proxy_port: u16, data: &str, restores: bool) -> anyhow::Result<Running> {
        let browser = chromium::start(&self.options.chromium, proxy_port, data, restores)?;
        let (tools, pump, events) = devtools::connect(browser.orders, browser.answers)?;
        tools.call("", "Browser.getVersion", serde_json::json!({})).await.context("start Chromium")?;
        for refused in extensions::load(&tools).await {
            tracing::warn!("{refused}");
        }
        Ok(Running { child: browser.child, tools, events, blank: None, _pump: pump })
    }

    /// A browser for a session that may come. Without one the session starts its own, and says what is wrong.
    async fn warm_later(&self, proxy_port: u16) -> Option<Running> {
        let Some(pause) = self.options.warm_after else { return std::future::pending().await };
        tokio::time::sleep(Duration::from_millis(pause)).await;
        self.warm_browser(proxy_port).await.inspect_err(|error| tracing::warn!("{error:#}")).ok()
    }

    /// With a window and a blank tab: making the first window is most of what is left of a start.
    async fn warm_browser(&self, proxy_port: u16) -> anyhow::Result<Running> {
        let mut browser = self.start_browser(proxy_port, chromium::WAITING_DIRECTORY, false).await?;
        let blank = serde_json::json!({ "url": "about:blank" });
        let tab = browser.tools.call("", "Target.createTarget", blank).await.context("open the first tab")?;
        browser.blank = tab["targetId"].as_str().map(str::to_owned);
        Ok(browser)
    }

    /// What still comes is too late. Unread, it would hold up the answers that a save waits for.
    fn drain_orders(&mut self) {
        if let Some(mut orders) = self.orders.take() {
            self.tasks.spawn(async move { while orders.recv().await.is_some() {} });
        }
    }

    async fn open_profile(
        &self,
        secret: SessionSecret,
        start: &Start,
    ) -> anyhow::Result<Option<OpenProfile>> {
        let Some(granted) = start.request.profile.clone() else { return Ok(None) };
        let (store, node, now) = (self.store.clone(), start.node.clone(), start.now);
        let target = Path::new(chromium::DATA_DIRECTORY);
        let extensions = !self.options.no_extensions;
        let opened = tokio::task::spawn_blocking(move || {
            persist::open(secret, &granted, &node, now, &store, target, extensions)
        })
        .await?;
        let (profile, restored) = opened?;
        let reason = format!("profile restored: {} files, {} bytes", restored.files, restored.bytes);
        self.outbox.send(&Report::State(SessionState::Starting, reason), &[]).await;
        Ok(Some(profile))
    }
}

async fn wait_for_start(orders: &mut mpsc::Receiver<Order>) -> Option<Start> {
    loop {
        match orders.recv().await? {
            Order::Start(start) => return Some(*start),
            Order::Close { .. } => return None,
            _ => {}
        }
    }
}

/// A Chromium that takes orders.
struct Running {
    child: tokio::process::Child,
    tools: devtools::DevTools,
    events: mpsc::Receiver<devtools::Event>,
    /// A tab that waits for its first address.
    blank: Option<String>,
    _pump: devtools::Pump,
}

/// Ends the browser that waited, and gives back what it wrote.
async fn end_unused(warm: Option<Running>) -> Option<Running> {
    if let Some(mut browser) = warm {
        let _ = browser.child.kill().await;
        let _ = std::fs::remove_dir_all(chromium::WAITING_DIRECTORY);
    }
    None
}

/// Seals the session's profile and proposes it to its owner: now and then, and at the end.
struct Saver {
    outbox: Outbox<Report>,
    store: RemoteStore,
    profile: Option<Arc<OpenProfile>>,
    start: Start,
}

impl Saver {
    /// Saves every [`AUTOSAVE_INTERVAL`] in which a file changed. What a running browser has not written yet is not in it.
    async fn save_regularly(&self) -> Infallible {
        if self.profile.is_none() {
            return std::future::pending().await;
        }
        let mut last = None;
        loop {
            tokio::time::sleep(AUTOSAVE_INTERVAL).await;
            let looked =
                tokio::task::spawn_blocking(|| persist::fingerprint(Path::new(chromium::DATA_DIRECTORY)));
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

    /// A crashed browser's files are saved too, marked so; whoever opens them decides.
    async fn save(&self, clean: bool) -> anyhow::Result<()> {
        let (Some(profile), Some(granted)) = (self.profile.clone(), &self.start.request.profile) else {
            return Ok(());
        };
        let meta =
            persist::meta(&self.start.node, &self.start.browser_version, crate::node::unix_now(), clean);
        let (store, directory) = (self.store.clone(), Path::new(chromium::DATA_DIRECTORY));
        let saving = tokio::task::spawn_blocking(move || profile.save(directory, &store, &meta));
        let (proposal, saved) = saving.await?.context("save the profile")?;
        self.outbox.send(&Report::Proposal { profile: granted.profile.clone() }, &proposal).await;
        let (generation, stats) = (saved.generation, saved.stats);
        let told = NodeMessage::Saved { generation, objects: stats.new_objects, bytes: stats.sent_bytes };
        self.outbox.send(&Report::Say(None, told), &[]).await;
        Ok(())
    }
}

/// Whether the profile brings open tabs along. A session that moves has its tabs told by the client, who saw the newest.
fn keep_open_tabs(start: &Start) -> bool {
    let sessions = Path::new(chromium::DATA_DIRECTORY).join("Default/Sessions");
    if start.request.replace_tabs {
        let _ = std::fs::remove_dir_all(&sessions);
    }
    std::fs::read_dir(&sessions).is_ok_and(|mut entries| entries.next().is_some())
}

/// Lets Chromium write everything down before it goes. Never SIGTERM: it loses cookies of the last seconds.
async fn close(tools: &devtools::DevTools, child: &mut tokio::process::Child, save: bool) {
    if !save {
        let _ = child.kill().await;
        return;
    }
    tools.post("", "Browser.close", &serde_json::json!({}));
    if tokio::time::timeout(CLOSE_DEADLINE, child.wait()).await.is_ok() {
        return;
    }
    if let Some(id) = child.id().and_then(|id| i32::try_from(id).ok()) {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(id), nix::sys::signal::Signal::SIGINT);
    }
    if tokio::time::timeout(INTERRUPT_DEADLINE, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
}
