//! `cbrowse-node serve`: a node's life, from its settings to the end of its drain.

use std::path::PathBuf;

use anyhow::Context as _;
use cbrowse_registry::{Check, Options, open_registry, stay_registered};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    config::{self, CheckKind, Settings},
    http::{self, server},
    node::Node,
    sys::user,
    tls,
};

/// How long a registry that is told by heartbeat waits before it thinks a node dead.
const HEARTBEAT: std::time::Duration = std::time::Duration::from_secs(15);

/// Serve browsers.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    cbrowse-node serve --listen 127.0.0.1:7443 --region eu-central\n  \
    cbrowse-node serve --config node.toml --register consul://127.0.0.1:8500/browser-node")]
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
    let settings = config::resolve(args.given, args.config.as_deref())?;
    let changed = user::become_ordinary(settings.user.as_deref(), &settings.data_dir)?;
    if let Some(uid) = changed {
        tracing::info!("started as root; serving as user {uid}");
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(serve(settings, args.announce, args.tied))
}

async fn serve(settings: Settings, announce: bool, tied: bool) -> anyhow::Result<()> {
    let mut ends = Ends::new(tied)?;
    let listener = TcpListener::bind(settings.listen)
        .await
        .with_context(|| format!("cannot listen on {}; choose another --listen IP:PORT", settings.listen))?;
    let node = Node::build(&settings, &listener).await?;
    let local = listener.local_addr().context("read the listening address")?;
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let tls = tls::server_config(&node.identity)?;
    let server = tokio::spawn(server::serve(listener, tls, http::router(node.app.clone()), stop.clone()));
    let app = node.app.clone();
    tasks.spawn(async move { app.table.keep_worker_waiting().await });
    tasks.spawn(node.app.load.clone().measure());
    let leave = CancellationToken::new();
    let mut registrations = register(&settings, &node, &leave)?;
    tracing::info!(
        id = %node.record.id, region = settings.region, identity = %node.app.facts.identity,
        chromium = node.app.facts.browser_version, "serving on https://{local}"
    );
    if announce {
        announce_on_stdout(&node, local);
    }
    ends.wait().await;
    drain(&settings, &node, &leave, &mut registrations).await;
    stop.cancel();
    let _ = server.await;
    Ok(())
}

fn announce_on_stdout(node: &Node, local: std::net::SocketAddr) {
    use std::io::Write as _;
    let facts = &node.app.facts;
    let line = serde_json::json!({ "listening": local.to_string(), "id": facts.id, "identity": facts.identity, "region": facts.region });
    // Whoever does not read it any more does not need it.
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn register(settings: &Settings, node: &Node, leave: &CancellationToken) -> anyhow::Result<JoinSet<()>> {
    let options = Options::of_process();
    let check = match settings.check {
        CheckKind::Https => Check::Https,
        CheckKind::Ttl => Check::Heartbeat(HEARTBEAT),
    };
    let mut tasks = JoinSet::new();
    for uri in &settings.register {
        let registry = open_registry(uri, &options).with_context(|| format!("register in {uri}"))?;
        let (record, leave, uri) = (node.record.clone(), leave.clone(), uri.clone());
        tasks.spawn(async move {
            let (_sender, records) = watch::channel(record);
            if let Err(error) =
                stay_registered(registry.as_ref(), records, check, leave.cancelled_owned()).await
            {
                tracing::error!("registration in {uri}: {error}");
            }
        });
    }
    Ok(tasks)
}

/// Stop advertising, stop admitting, close and save sessions; what is left at the deadline is cut off.
async fn drain(settings: &Settings, node: &Node, leave: &CancellationToken, registrations: &mut JoinSet<()>) {
    tracing::info!("draining, at most {} s", settings.drain_deadline.as_secs());
    leave.cancel();
    // Beside each other: a registry that does not answer must not use up the time in which sessions save.
    let work = async {
        let deregistered = async { while registrations.join_next().await.is_some() {} };
        tokio::join!(deregistered, node.app.table.drain());
        // Clients are told how their sessions ended before the process does.
        node.app.sockets.close();
        node.app.sockets.wait().await;
    };
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
