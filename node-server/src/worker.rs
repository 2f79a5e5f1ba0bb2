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
    os::{fd::AsFd as _, unix::net::UnixStream as StdUnixStream},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use cbrowse_profile::{grant::SessionSecret, secret::SystemRandom};
use cbrowse_protocol::{api::SessionState, wire::NodeMessage};
use tokio::{net::UnixStream, sync::mpsc, task::JoinSet};

use crate::{
    guard::channel::WorkerEnd,
    launch::{chromium, devtools},
    persist::{self, OpenProfile},
    sys::namespace::{self, Room},
    worker::{
        link::{LinkError, Message, Order, Outbox, Report, Start},
        pages::Pages,
        store::RemoteStore,
    },
};

/// Chromium flushes cookies and databases within two seconds of `Browser.close`; a busy disk takes longer.
const CLOSE_DEADLINE: Duration = Duration::from_secs(10);
/// After an interrupt signal, before the kernel ends it with the room.
const INTERRUPT_DEADLINE: Duration = Duration::from_secs(3);
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
    let mut life = Life { options, outbox, store, orders, tasks };
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
            Ok(Message { head, .. }) => {
                if orders.send(head).await.is_err() {
                    return;
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
    orders: mpsc::Receiver<Order>,
    tasks: JoinSet<()>,
}

impl Life<'_> {
    /// From ready to the reason of the end.
    async fn run(&mut self, guard: std::os::fd::OwnedFd) -> anyhow::Result<String> {
        let (secret, public) = SessionSecret::generate(&mut SystemRandom);
        self.outbox.send(&Report::Ready { session_key: public.to_vec() }, &[]).await;
        let Some(start) = self.wait_for_start().await else { return Ok("never used".into()) };
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        let proxy_port = listener.local_addr()?.port();
        self.tasks.spawn(proxy::run(listener, WorkerEnd::new(guard)?));
        let profile = self.open_profile(secret, &start).await?;
        let restores = profile.is_some() && keep_open_tabs(&start);
        let browser = chromium::start(&self.options.chromium, proxy_port, restores)?;
        let (tools, _pump, events) = devtools::connect(browser.orders, browser.answers)?;
        let mut pages = Pages::new(tools.clone(), self.outbox.clone(), &start, restores);
        let mut child = browser.child;
        let end = pages.run(events, &mut self.orders, &mut child).await;
        self.outbox.send(&Report::State(SessionState::Closing, end.reason.clone()), &[]).await;
        let save = end.save && profile.is_some();
        close(&tools, &mut child, save).await;
        if let (Some(profile), true) = (profile, save) {
            self.save_profile(profile, &start, !end.failed).await?;
        }
        if end.failed { Err(anyhow::anyhow!(end.reason)) } else { Ok(end.reason) }
    }

    async fn open_profile(
        &self,
        secret: SessionSecret,
        start: &Start,
    ) -> anyhow::Result<Option<OpenProfile>> {
        let Some(granted) = start.request.profile.clone() else { return Ok(None) };
        let (store, node, now) = (self.store.clone(), start.node.clone(), start.now);
        let target = Path::new(chromium::DATA_DIRECTORY);
        let opened =
            tokio::task::spawn_blocking(move || persist::open(secret, &granted, &node, now, &store, target))
                .await?;
        let (profile, restored) = opened?;
        let reason = format!("profile restored: {} files, {} bytes", restored.files, restored.bytes);
        self.outbox.send(&Report::State(SessionState::Starting, reason), &[]).await;
        Ok(Some(profile))
    }

    /// A crashed browser's files are saved too, marked so; whoever opens them decides.
    async fn save_profile(&self, profile: OpenProfile, start: &Start, clean: bool) -> anyhow::Result<()> {
        let meta = persist::meta(&start.node, &start.browser_version, crate::node::unix_now(), clean);
        let (store, directory) = (self.store.clone(), Path::new(chromium::DATA_DIRECTORY));
        let granted = start.request.profile.as_ref().map(|grant| grant.profile.clone());
        let saving = tokio::task::spawn_blocking(move || profile.save(directory, &store, &meta));
        let (proposal, saved) = saving.await?.context("save the profile")?;
        if let Some(profile) = granted {
            self.outbox.send(&Report::Proposal { profile }, &proposal).await;
        }
        let (generation, stats) = (saved.generation, saved.stats);
        let told = NodeMessage::Saved { generation, objects: stats.new_objects, bytes: stats.sent_bytes };
        self.outbox.send(&Report::Say(None, told), &[]).await;
        Ok(())
    }

    async fn wait_for_start(&mut self) -> Option<Start> {
        loop {
            match self.orders.recv().await? {
                Order::Start(start) => return Some(*start),
                Order::Close { .. } => return None,
                _ => {}
            }
        }
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
