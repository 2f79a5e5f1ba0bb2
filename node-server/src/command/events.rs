//! `cbrowse-node events`: a word to every agent of a Consul datacenter, and listening for such words.
//!
//! Events carry hints between operators and scripts ("look at the new images"), at most a few hundred bytes each, in no
//! promised order. They are told by Consul's gossip, so that no server has to lead.

use std::io::{self, Write as _};

use anyhow::{Context as _, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use cbrowse_protocol::node::printable;
use cbrowse_registry::{
    CatalogUri, Options,
    events::{Event, Events, Filters, MAX_EVENT_LENGTH, Past},
};

use futures_util::StreamExt as _;

const FIRE_EXAMPLES: &str = "\
Examples:
  cbrowse-node events fire deploy v0.2.0 --registry consul://127.0.0.1:8500
  cbrowse-node events fire drain --service '^browser-node$' --tag '^eu'

The token in CONSUL_HTTP_TOKEN needs event:write for the name; CONSUL_HTTP_ADDR and its like are honoured.";

const WATCH_EXAMPLES: &str = "\
Examples:
  cbrowse-node events watch --registry consul://127.0.0.1:8500
  cbrowse-node events watch deploy --json | while read -r event; do ...; done
  cbrowse-node events watch deploy --count 1      # wait for one, then go on

The token in CONSUL_HTTP_TOKEN needs event:read for the name. Ends with Ctrl-C.";

/// Fire and watch user events of Consul.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Tell every agent of the datacenter; prints the event's id
    #[command(after_help = FIRE_EXAMPLES)]
    Fire(FireArgs),
    /// Print what is fired from now on, a line an event
    #[command(after_help = WATCH_EXAMPLES)]
    Watch(WatchArgs),
}

#[derive(Debug, clap::Args)]
struct FireArgs {
    /// The event's name; names that begin with _ are Consul's own.
    name: String,
    /// What it carries: Consul has room for some 400 bytes.
    #[arg(default_value = "", hide_default_value = true)]
    payload: String,
    /// Consul, as a catalog is named.
    #[arg(long, value_name = "URI", default_value = "consul://")]
    registry: CatalogUri,
    /// Only for agents whose name matches this regular expression.
    #[arg(long, value_name = "REGEX", default_value = "", hide_default_value = true)]
    node: String,
    /// Only for agents that run a service whose name matches.
    #[arg(long, value_name = "REGEX", default_value = "", hide_default_value = true)]
    service: String,
    /// Of those, only where one of the service's tags matches.
    #[arg(long, value_name = "REGEX", default_value = "", hide_default_value = true, requires = "service")]
    tag: String,
    /// One JSON document instead of the bare id.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct WatchArgs {
    /// Only events of this name.
    name: Option<String>,
    /// Consul, as a catalog is named.
    #[arg(long, value_name = "URI", default_value = "consul://")]
    registry: CatalogUri,
    /// A JSON document a line: id, name, payload (null if it is no text), payload_base64, filters and time (Consul's own count, no clock).
    #[arg(long)]
    json: bool,
    /// Also what the agent remembers from before, at most 256 events.
    #[arg(long)]
    past: bool,
    /// End after so many events.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

/// Runs the chosen action.
pub fn run(args: Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("start the runtime")?;
    match args.action {
        Action::Fire(args) => runtime.block_on(fire(&args)),
        Action::Watch(args) => runtime.block_on(async {
            tokio::select! {
                ended = watch(&args) => ended,
                interrupted = tokio::signal::ctrl_c() => interrupted.context("listen for Ctrl-C"),
            }
        }),
    }
}

async fn fire(args: &FireArgs) -> anyhow::Result<()> {
    let events = Events::open(&args.registry, &Options::of_process())?;
    let (node, service, tag) = (args.node.clone(), args.service.clone(), args.tag.clone());
    let filters = Filters { node, service, tag };
    let id = events.fire(&args.name, args.payload.as_bytes(), &filters).await?;
    let id = printable(&id, MAX_EVENT_LENGTH);
    let line = if args.json { serde_json::json!({"id": id, "name": args.name}).to_string() } else { id };
    writeln!(io::stdout(), "{line}").context("write the id")
}

async fn watch(args: &WatchArgs) -> anyhow::Result<()> {
    let events = Events::open(&args.registry, &Options::of_process())?;
    let past = if args.past { Past::Tell } else { Past::Skip };
    let mut stream = events.watch(args.name.as_deref(), past).await?;
    tracing::info!("listening for events at {}", args.registry);
    let mut left = args.count;
    while let Some(event) = stream.next().await {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                tracing::warn!("{error}; trying again");
                continue;
            }
        };
        match writeln!(io::stdout(), "{}", line(&event, args.json)) {
            // Whoever read this has heard enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => written.context("write an event")?,
        }
        left = left.map(|left| left - 1);
        if left == Some(0) {
            return Ok(());
        }
    }
    bail!("the events ended")
}

/// What strangers wrote never reaches the terminal as it is; `payload_base64` holds the very bytes.
fn line(event: &Event, json: bool) -> String {
    let shown = |text: &str| printable(text, MAX_EVENT_LENGTH);
    let text = std::str::from_utf8(&event.payload).ok().map(|text| printable(text, text.len()));
    let encoded = STANDARD.encode(&event.payload);
    if json {
        let Filters { node, service, tag } = &event.filters;
        return serde_json::json!({
            "id": shown(&event.id), "name": shown(&event.name), "payload": text, "payload_base64": encoded,
            "node_filter": shown(node), "service_filter": shown(service), "tag_filter": shown(tag),
            "time": event.time,
        })
        .to_string();
    }
    let payload = text.unwrap_or_else(|| format!("base64:{encoded}"));
    format!("{} {} {payload}", shown(&event.id), shown(&event.name)).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use clap::{Parser as _, Subcommand as _};

    use super::*;

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn event(payload: &[u8]) -> Event {
        let filters = Filters { node: "\u{1b}[31m".into(), ..Filters::default() };
        Event { id: "id-1".into(), name: "de\u{9b}ploy".into(), payload: payload.to_vec(), filters, time: 7 }
    }

    #[test]
    fn nothing_drives_the_terminal() {
        for (payload, shown) in [
            (&b"v1 \x1b[2J\r\nx"[..], "id-1 de\u{fffd}ploy v1 \u{fffd}[2J\u{fffd}\u{fffd}x"),
            ("größe \u{202e}".as_bytes(), "id-1 de\u{fffd}ploy größe \u{fffd}"),
            (b"\xff\x00", "id-1 de\u{fffd}ploy base64:/wA="),
            (b"", "id-1 de\u{fffd}ploy"),
        ] {
            assert_eq!(line(&event(payload), false), shown);
            let json = line(&event(payload), true);
            assert!(!json.chars().any(cbrowse_protocol::node::is_unprintable), "{json:?}");
            let read: serde_json::Value = serde_json::from_str(&json).expect("JSON");
            assert_eq!(read["payload_base64"], STANDARD.encode(payload));
            assert_eq!(read["payload"].is_null(), payload == b"\xff\x00");
            assert_eq!((&read["id"], &read["time"]), (&"id-1".into(), &7.into()));
        }
    }

    #[test]
    fn arguments_are_checked() {
        for bad in [
            &["events", "fire"][..],
            &["events", "fire", "a", "b", "c"],
            &["events", "fire", "a", "--tag", "x"],
            &["events", "fire", "a", "--registry", "nowhere"],
            &["events", "watch", "--count", "0"],
            &["events"],
        ] {
            assert!(Cli::try_parse_from(bad).is_err(), "{bad:?}");
        }
        let cli = Cli::try_parse_from(["events", "watch"]).expect("no name means all");
        assert!(matches!(cli.args.action, Action::Watch(WatchArgs { name: None, .. })));
        assert!(Action::has_subcommand("fire"));
    }
}
