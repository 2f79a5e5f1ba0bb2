//! `cbrowse-node serve`: a node's life, from its settings to the end of its drain.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use cbrowse_protocol::node::NodeRecord;
use cbrowse_registry::{Check, Options};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    config::{self, CheckKind, Settings},
    health::{self, Disk},
    http::{self, App, server},
    node::Node,
    register::{Registrations, Registries},
    sys::user,
    tls,
};

/// How long a registry that is told by heartbeat waits before it thinks a node dead.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Serve browsers.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    cbrowse-node serve --listen 127.0.0.1:7443 --region eu-central\n  \
    cbrowse-node serve --config node.toml --register consul://127.0.0.1:8500/browser-node\n  \
    cbrowse-node serve --register consul://10.0.0.1 --register consul://10.1.0.1 --check ttl --meta rack=r1\n  \
    cbrowse-node serve --health-memory 80%,95% --health-disk off --health-cpu 90%\n\n\
    SIGHUP reads tags, weight, meta and the health thresholds again; SIGTERM drains and ends.")]
pub struct Args {
    /// Settings file; its keys are these flags' names with underscores
    #[arg(long, value_name = "FILE", env = "CBROWSE_NODE_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    given: config::Given,
    /// Print the listening address and identity as one JSON line on standard output once the node serves
    #[arg(long)]
    announce: bool,
    /// End when standard input ends: for whoever starts a node as a part of itself
    #[arg(long, hide = true)]
    tied: bool,
}

/// Becomes an ordinary user, then serves until SIGTERM or SIGINT and through the drain.
pub fn run(args: Args) -> anyhow::Result<()> {
    let (announce, tied) = (args.announce, args.tied);
    let read = move || config::resolve(args.given.clone(), args.config.as_deref());
    let settings = read()?;
    let changed = user::become_ordinary(settings.user.as_deref(), &settings.data_dir)?;
    if let Some(uid) = changed {
        tracing::info!("started as root; serving as user {uid}");
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(serve(settings, read, announce, tied))
}

async fn serve(
    settings: Settings,
    read: impl Fn() -> anyhow::Result<Settings> + Send + 'static,
    announce: bool,
    tied: bool,
) -> anyhow::Result<()> {
    let mut ends = Ends::new(tied)?;
    let hangup = signal(SignalKind::hangup()).context("listen for SIGHUP")?;
    let listener = server::listen(settings.listen)
        .with_context(|| format!("cannot listen on {}; choose another --listen IP:PORT", settings.listen))?;
    let node = Node::build(&settings, &listener).await?;
    let local = listener.local_addr().context("read the listening address")?;
    let stop = CancellationToken::new();
    let tls = tls::server_config(&node.identity)?;
    let server = tokio::spawn(server::serve(listener, tls, http::router(node.app.clone()), stop.clone()));
    let mut tasks = background(&node.app, &settings);
    tasks.spawn(follow_settings(node.app.clone(), hangup, read));
    let registrations = register(&settings, &node.app)?;
    tracing::info!(
        id = %node.app.facts.id, region = settings.region, identity = %node.app.facts.identity,
        chromium = node.app.facts.browser_version, "serving on https://{local}"
    );
    if announce {
        announce_on_stdout(&node, local);
    }
    ends.wait().await;
    drain(&settings, &node.app, registrations).await;
    stop.cancel();
    let _ = server.await;
    Ok(())
}

/// What goes on beside the answering, until the set is dropped.
fn background(app: &Arc<App>, settings: &Settings) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let (waiting, judging, disk) = (app.clone(), app.clone(), Disk::of(&settings.data_dir));
    tasks.spawn(async move { waiting.table.keep_worker_waiting().await });
    tasks.spawn(app.load.clone().measure());
    tasks.spawn(async move { health::keep(&judging.health, &judging.load, disk).await });
    tasks.spawn(follow_health(app.clone()));
    tasks
}

fn announce_on_stdout(node: &Node, local: std::net::SocketAddr) {
    use std::io::Write as _;
    let facts = &node.app.facts;
    let line = serde_json::json!({ "listening": local.to_string(), "id": facts.id, "identity": facts.identity, "region": facts.region });
    // Whoever does not read it any more does not need it.
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Registers the node where it is told to; its health goes along.
fn register(settings: &Settings, app: &App) -> anyhow::Result<Registrations> {
    let options = Options::of_process().with_figures(app.metrics.registries().clone());
    let registries = Registries::open(&settings.register, &options)?;
    Ok(registries.stay(&app.record, check(settings.check)?))
}

fn check(kind: CheckKind) -> anyhow::Result<Check> {
    Ok(match kind {
        CheckKind::Https => Check::Https,
        CheckKind::Http => Check::Http,
        CheckKind::Tcp => Check::Tcp,
        CheckKind::Grpc => {
            anyhow::ensure!(
                cfg!(feature = "grpc-health"),
                "this cbrowse-node is built without gRPC; use --check https"
            );
            Check::Grpc
        }
        CheckKind::Ttl => Check::Heartbeat(HEARTBEAT),
    })
}

/// Registries hear of the node's health when it changes.
async fn follow_health(app: Arc<App>) {
    let mut reports = app.health.subscribe();
    while reports.changed().await.is_ok() {
        let health = reports.borrow_and_update().status;
        app.record.send_if_modified(|record| std::mem::replace(&mut record.health, health) != health);
    }
}

/// On SIGHUP, tags, weight, facts and thresholds are what the settings say by then; the rest needs a restart.
async fn follow_settings(app: Arc<App>, mut hangup: Signal, read: impl Fn() -> anyhow::Result<Settings>) {
    while hangup.recv().await.is_some() {
        match read().and_then(|settings| apply(&app, settings)) {
            Ok(()) => {
                tracing::info!("settings read again: tags, weight, meta and health; others need a restart");
            }
            Err(error) => tracing::error!("settings read again, and left as they were: {error:#}"),
        }
    }
}

fn apply(app: &App, settings: Settings) -> anyhow::Result<()> {
    let Settings { tags, weight, meta, health, .. } = settings;
    let record = NodeRecord { tags, weight, meta, ..app.record.borrow().clone() };
    record.check().context("no registry takes this")?;
    app.health.set(health);
    app.record.send_if_modified(|current| {
        // Its health may have changed since it was copied.
        let record = NodeRecord { health: current.health, ..record };
        let changed = *current != record;
        *current = record;
        changed
    });
    Ok(())
}

/// Stop advertising, stop admitting, close and save sessions; what is left at the deadline is cut off.
async fn drain(settings: &Settings, app: &App, registrations: Registrations) {
    tracing::info!("draining, at most {} s", settings.drain_deadline.as_secs());
    app.health.drain();
    // Beside each other: a registry that does not answer must not use up the time in which sessions save, nor keep
    // clients from learning how theirs ended.
    let sessions = async {
        app.table.drain().await;
        app.sockets.close();
        app.sockets.wait().await;
    };
    let work = async { tokio::join!(registrations.end(), sessions) };
    if tokio::time::timeout(settings.drain_deadline, work).await.is_err() {
        tracing::warn!("the drain took too long; what is left is cut off");
    }
}

/// What ends a node.
struct Ends {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    tied: bool,
}

impl Ends {
    fn new(tied: bool) -> anyhow::Result<Self> {
        let terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
        let interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
        Ok(Self { terminate, interrupt, tied })
    }

    async fn wait(&mut self) {
        let tied = self.tied;
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            () = input_ends(), if tied => {}
        }
    }
}

/// Whoever holds the other end of standard input is gone.
async fn input_ends() {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    // A plain thread: tokio's own standard input would keep the runtime from ending.
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        let _ = sender.send(());
    });
    let _ = receiver.await;
}
