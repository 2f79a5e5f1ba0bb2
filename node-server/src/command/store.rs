//! `cbrowse-node store`: what an operator does with a store that several nodes share.

use std::{io::Write as _, time::Duration};

use anyhow::Context as _;
use cbrowse_profile::retain::GRACE_SECONDS;
use clap::Subcommand;
use serde_json::json;

use crate::{
    node::unix_now,
    objects::{
        bucket::{Bucket, BucketSettings, BucketUri, Operator},
        sweep::{Mode, Swept, sweep},
    },
};

/// Days for which the sweep keeps what no list names, unless told otherwise. A save that waits on a node for its owner to
/// come back has objects that no list names yet: less, and a holiday costs that save.
const DEFAULT_GRACE_DAYS: u64 = 30;
const SECONDS_PER_DAY: u64 = 24 * 3600;

/// Clear a store that several nodes share.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Remove what owners deleted, and old objects that no list of their owners names
    #[command(after_help = "Examples:\n  \
        cbrowse-node store sweep --store s3://fleet/profiles --dry-run\n  \
        cbrowse-node store sweep --store s3://fleet/profiles --grace-days 14 --json\n\n\
        Credentials come from the AWS_* variables. They are the operator's own: those of nodes need s3:GetObject,\n\
        s3:PutObject and s3:ListBucket, and should not have s3:DeleteObject. Run it by a timer, once a day.")]
    Sweep(Sweep),
}

/// What to sweep.
#[derive(Debug, clap::Args)]
pub struct Sweep {
    /// The bucket
    #[arg(long, value_name = "s3://BUCKET[/PREFIX]", env = "CBROWSE_NODE_STORE")]
    store: BucketUri,
    /// The bucket's server, where it is not AWS
    #[arg(long, value_name = "URL", env = "CBROWSE_NODE_STORE_ENDPOINT")]
    store_endpoint: Option<String>,
    /// Permit an endpoint in clear text that is not on this machine
    #[arg(long)]
    store_plain_http: bool,
    /// Days for which an object that no list names is kept; at least 1
    #[arg(long, value_name = "DAYS", default_value_t = DEFAULT_GRACE_DAYS, value_parser = clap::value_parser!(u64).range(GRACE_SECONDS / SECONDS_PER_DAY..=36_500))]
    grace_days: u64,
    /// Say what would be removed; remove nothing
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Does it.
pub fn run(args: Args) -> anyhow::Result<()> {
    let Command::Sweep(args) = args.command;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    let settings = BucketSettings {
        uri: args.store.clone(),
        endpoint: args.store_endpoint.clone(),
        plain_http: args.store_plain_http,
    };
    let operator = {
        let _entered = runtime.enter();
        Operator(Bucket::open(settings).context("open the store")?)
    };
    let mode = if args.dry_run { Mode::DryRun } else { Mode::Act };
    let swept =
        sweep(&operator, unix_now(), args.grace_days * SECONDS_PER_DAY, mode).context("sweep the store")?;
    let text = if args.json { document(&args, &swept) } else { sentence(&args, &swept) };
    writeln!(std::io::stdout(), "{text}")?;
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(())
}

fn document(args: &Sweep, swept: &Swept) -> String {
    json!({
        "store": args.store.to_string(),
        "dry_run": args.dry_run,
        "profiles": swept.profiles,
        "deleted_profiles": swept.deleted,
        "profiles_without_list": swept.unlisted,
        "removed_objects": swept.collected.objects,
        "removed_bytes": swept.collected.bytes,
        "young_objects": swept.collected.young,
        "removed_words": swept.words,
    })
    .to_string()
}

fn sentence(args: &Sweep, swept: &Swept) -> String {
    let verb = if args.dry_run { "would remove" } else { "removed" };
    let Swept { profiles, deleted, unlisted, collected, words } = swept;
    format!(
        "{}: {verb} {} objects ({} bytes) and {words} outdated lists and pointers; {profiles} profiles, of which {deleted} were \
         deleted by their owners and {unlisted} have no list yet; {} objects are younger than {} days and stay",
        args.store, collected.objects, collected.bytes, collected.young, args.grace_days
    )
}
