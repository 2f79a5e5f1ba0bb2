//! `cbrowse-node registrar`: registers nodes that cannot register themselves.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use cbrowse_registry::{CatalogUri, Options, Query, open};
use clap::value_parser;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::Notify,
};

use crate::{
    register::Registries,
    registrar::{self, CheckKind, Figures, Rules, Settings},
};

/// How often the file of metrics is written; readers of such files look every fifteen seconds or more seldom.
const METRICS_INTERVAL: Duration = Duration::from_secs(5);

/// Register nodes that cannot register themselves.
///
/// The file is a catalog of nodes, TOML or JSON, as `cbrowse nodes list --json` prints one. Each node is checked, and is
/// in the registries with its health for as long as it is in the file. Two keys of a node's `meta` say how it is
/// checked, and are not registered: `check` (https, http, tcp, grpc or none) and `check_path` (for https and http).
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    cbrowse-node registrar --file nodes.toml --register consul://127.0.0.1:8500\n  \
    cbrowse-node registrar --file nodes.json --register consul://10.0.0.1 --register consul://10.1.0.1 --check tcp\n  \
    cbrowse-node registrar --file nodes.toml --register consul:// --failures 5 --metrics-file /run/registrar.prom\n\n\
    SIGTERM or Ctrl-C deregisters every node and ends. SIGHUP looks at the file at once.")]
pub struct Args {
    /// File with the nodes; it is followed as it changes
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// Registry to register in: consul://, etcd:// or nacos://, named as a catalog; repeat for more
    #[arg(long, value_name = "URI", required = true)]
    register: Vec<CatalogUri>,
    /// Check of the nodes that name none
    #[arg(long, value_name = "KIND", value_enum, default_value_t)]
    check: CheckKind,
    /// Seconds between two checks of a node
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = value_parser!(u64).range(1..=3600))]
    interval: u64,
    /// Seconds a check may take
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = value_parser!(u64).range(1..=60))]
    timeout: u64,
    /// Failed checks in a row that make a node critical
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = value_parser!(u32).range(1..=100))]
    failures: u32,
    /// Good checks in a row that end that
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = value_parser!(u32).range(1..=100))]
    successes: u32,
    /// Checks at once
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = value_parser!(u16).range(1..=1024))]
    concurrency: u16,
    /// File to write metrics to, for a collector that reads such files
    #[arg(long, value_name = "FILE")]
    metrics_file: Option<PathBuf>,
}

impl Args {
    fn settings(&self) -> Settings {
        Settings {
            check: self.check,
            interval: Duration::from_secs(self.interval),
            timeout: Duration::from_secs(self.timeout),
            rules: Rules { failures: self.failures, successes: self.successes },
            concurrency: self.concurrency.into(),
        }
    }
}

/// Registers until SIGTERM or SIGINT, then deregisters.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(follow(args))
}

async fn follow(args: &Args) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let mut hangup = signal(SignalKind::hangup()).context("listen for SIGHUP")?;
    let figures = Figures::default();
    let options = Options::of_process().with_figures(figures.registries().clone());
    let registries = Registries::open(&args.register, &options)?;
    let file = open(&CatalogUri::File(args.file.clone()), &options.with_query(Query::of_all()))?;
    let look = Arc::new(Notify::new());
    let (looking, written) = (look.clone(), figures.clone());
    let beside = async move {
        let looked = async {
            while hangup.recv().await.is_some() {
                looking.notify_one();
            }
        };
        tokio::join!(looked, write(&written, args.metrics_file.as_ref()));
    };
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("deregistering every node");
    };
    tracing::info!("registering the nodes of {}", args.file.display());
    tokio::select! {
        () = registrar::run(&*file, registries, args.settings(), figures, &look, stop) => {}
        () = beside => {}
    }
    Ok(())
}

/// Writes metrics for ever, if they are asked for.
async fn write(figures: &Figures, path: Option<&PathBuf>) {
    let Some(path) = path else { return std::future::pending().await };
    let mut ticks = tokio::time::interval(METRICS_INTERVAL);
    let mut works = true;
    loop {
        ticks.tick().await;
        let result = figures.write(path);
        if let (Err(error), true) = (&result, works) {
            tracing::warn!("write metrics to {}: {error}", path.display());
        }
        works = result.is_ok();
    }
}
