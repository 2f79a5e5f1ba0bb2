//! Process 1 of a session's room: starts Chromium, streams it, steers it, and ends everything by ending itself.
//!
//! ```text
//! ready (session key) -> start order -> profile opened -> Chromium running -> pages -> close order or exit -> saved -> closed
//! ```
//! The server's end of the socket closing is a close order too: a worker never outlives the server that holds its store.

pub mod browser;
pub mod cookies;
pub mod link;
pub mod pages;
pub mod proxy;
pub mod saver;
pub mod store;

use std::{
    os::{fd::AsFd as _, unix::net::UnixStream as StdUnixStream},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use cbrowse_profile::{grant::SessionSecret, secret::SystemRandom};
use cbrowse_protocol::api::SessionState;
use tokio::{net::UnixStream, sync::mpsc, task::JoinSet};

use crate::{
    guard::channel::WorkerEnd,
    launch::chromium,
    persist::{self, OpenProfile},
    sys::namespace::{self, Room},
    worker::{
        browser::{Running, Starter},
        link::{LinkError, Message, Order, Outbox, Report, Start},
        pages::{FirstTab, Pages},
        saver::Saver,
        store::RemoteStore,
    },
};

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
    /// Seconds between two saves of a profile that changes.
    #[arg(long)]
    pub autosave: u64,
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
        let starter = Starter { chromium: &self.options.chromium, proxy_port };
        // The first worker of a node shows at once that Chromium starts; later ones leave the processors to the session
        // that has just taken their predecessor.
        let at_once = self.options.warm_after == Some(0);
        let mut warm = if at_once { Some(starter.warm().await?) } else { None };
        self.outbox.send(&Report::Ready { session_key: public.to_vec() }, &[]).await;
        let start = tokio::select! {
            start = wait_for_start(&mut orders) => start,
            browser = self.warm_later(&starter), if !at_once => {
                warm = browser;
                wait_for_start(&mut orders).await
            }
        };
        self.orders = Some(orders);
        let Some(start) = start else { return Ok("never used".into()) };
        let profile = self.open_profile(secret, &start).await?.map(Arc::new);
        let (browser, first) = self.browser(&starter, warm, profile.is_some(), &start).await?;
        self.serve(browser, first, profile, start).await
    }

    /// From a browser that takes orders to the reason of the end.
    async fn serve(
        &mut self,
        mut browser: Running,
        first: FirstTab,
        profile: Option<Arc<OpenProfile>>,
        start: Start,
    ) -> anyhow::Result<String> {
        let mut pages = Pages::new(browser.tools.clone(), self.outbox.clone(), &start, first);
        let saver = Saver {
            outbox: self.outbox.clone(),
            store: self.store.clone(),
            profile,
            start,
            tools: browser.tools.clone(),
            context: pages.context(),
            data: browser.data.into(),
            interval: Duration::from_secs(self.options.autosave),
            written: tokio::sync::Mutex::default(),
        };
        let orders = self.orders.as_mut().expect("orders are read by one life only");
        let end = tokio::select! {
            end = pages.run(&mut browser.events, orders, &mut browser.child) => end,
            never = saver.save_regularly() => match never {},
        };
        self.drain_orders();
        self.outbox.send(&Report::State(SessionState::Closing, end.reason.clone()), &[]).await;
        let save = end.save && saver.profile.is_some();
        if save && !end.failed {
            // In case that it does not close as it should.
            saver.write_cookies().await;
        }
        let closed = browser::close(&browser.tools, &mut browser.child, save).await;
        if save {
            saver.save_last(closed && !end.failed).await?;
        }
        if end.failed { Err(anyhow::anyhow!(end.reason)) } else { Ok(end.reason) }
    }

    /// The browser for the session, and how its first tab comes to be.
    async fn browser(
        &self,
        starter: &Starter<'_>,
        warm: Option<Running>,
        has_profile: bool,
        start: &Start,
    ) -> anyhow::Result<(Running, FirstTab)> {
        if !has_profile {
            let mut browser = starter.fresh(warm).await?;
            let first = browser.blank.take().map_or(FirstTab::Ordered, FirstTab::Blank);
            return Ok((browser, first));
        }
        if start.request.replace_tabs {
            browser::forget_tabs(Path::new(chromium::DATA_DIRECTORY));
        }
        let told = async |reason| {
            self.outbox.send(&Report::State(SessionState::Starting, reason), &[]).await;
        };
        let (browser, loaded) = starter.with_profile(warm, told).await?;
        Ok((browser, FirstTab::Loaded(loaded)))
    }

    /// A browser for a session that may come. Without one the session starts its own, and says what is wrong.
    async fn warm_later(&self, starter: &Starter<'_>) -> Option<Running> {
        let Some(pause) = self.options.warm_after else { return std::future::pending().await };
        tokio::time::sleep(Duration::from_millis(pause)).await;
        starter.warm().await.inspect_err(|error| tracing::warn!("{error:#}")).ok()
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
