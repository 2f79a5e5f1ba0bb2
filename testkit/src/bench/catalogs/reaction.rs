//! How late a change in a registry is heard by a watching client, next to the registry's own client, which waits for
//! the same change of the same server at the same time.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use cbrowse_protocol::node::{NodeRecord, SERVICE};
use cbrowse_registry::{CatalogUri, Change, ChangeStream, Check, open, open_registry};
use futures_util::StreamExt as _;
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    process::{Child, Command},
    sync::mpsc::{Receiver, Sender, channel},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    figure::{Figure, Limit, Results},
    population,
};
use crate::{bench::statistics::Samples, consul::Consul, etcd::Etcd};

/// Nodes beside the one that changes: every change makes both sides read all of them again.
const OTHERS: usize = 99;
/// The metadata that changes, and tells which change was heard.
const ROUND: &str = "round";
/// Shortest pause between two changes: both sides have asked their next question by then. Shorter: a change would be
/// answered at once to whoever asks late, which measures the asking.
const PAUSE: Duration = Duration::from_millis(80);
/// Pauses differ by so much, so that they meet timers of either side everywhere.
const PAUSE_STEPS: u32 = 17;
/// A change that is not heard by then never will be.
const DEADLINE: Duration = Duration::from_secs(20);
/// How often both are called until they listen.
const CALLS: u32 = 20;
/// How long each call waits for an answer.
const CALL_DEADLINE: Duration = Duration::from_millis(500);
/// What is heard and not yet looked at; a full channel holds its listener up, which nothing here comes near.
const BACKLOG: usize = 1024;

/// A change that one side heard of.
#[derive(Debug, Clone, Copy)]
struct Heard {
    round: u32,
    at: Instant,
}

/// In milliseconds, from the change to its arrival.
#[derive(Debug, Default)]
struct Delays {
    cbrowse: Samples,
    other: Samples,
    /// How much later ours came; negative when it came first.
    later: Samples,
}

/// Two listeners of one registry.
struct Pair {
    cbrowse: Receiver<Heard>,
    other: Receiver<Heard>,
    /// Ends both when it is dropped.
    listeners: JoinSet<anyhow::Result<()>>,
}

/// Next to `curl` with the same blocking query in a loop.
pub async fn consul(results: &mut Results, changes: u32) -> anyhow::Result<()> {
    let consul = Consul::start().await?;
    let records = population::records(OTHERS + 1);
    population::register(&consul, &records).await?;
    let uri: CatalogUri = consul.http_uri().parse()?;
    let url = format!("http://{}/v1/health/service/{SERVICE}?passing=1", consul.http_address());
    let pair =
        Pair::start(open(&uri, &cbrowse_registry::Options::default())?.watch(), |heard| curl(url, heard));
    let delays = pair
        .observe(changes, async |round| {
            let mut service = population::service(&records[0]);
            service["Meta"][ROUND] = round.to_string().into();
            let host = format!("host-{}", records[0].id);
            let entry = json!({ "Node": host, "Address": records[0].address, "Service": service });
            consul.request("PUT", "/v1/catalog/register", Some(&entry)).await.map(drop)
        })
        .await?;
    let keys = [
        ("consul_change_p50", "change in Consul heard, p50"),
        ("consul_change_p99", "change in Consul heard, p99"),
        ("consul_change_later_p50", "later than curl, p50 of each change"),
        ("consul_change_later_p99", "later than curl, p99 of each change"),
    ];
    tell(results, &delays, "curl", keys);
    Ok(())
}

/// Next to `etcdctl watch`.
pub async fn etcd(results: &mut Results, changes: u32) -> anyhow::Result<()> {
    let etcd = Etcd::start().await?;
    let uri: CatalogUri = etcd.uri().parse()?;
    let options = cbrowse_registry::Options::default();
    let mut records = population::records(OTHERS + 1);
    let registry = open_registry(&uri, &options)?;
    let check = Check::Heartbeat(Duration::from_secs(3600));
    let mut registrations = Vec::new();
    for record in &records {
        registrations.push(registry.register(record, check).await?);
    }
    let endpoint = etcd.address().to_string();
    let pair = Pair::start(open(&uri, &options)?.watch(), |heard| etcdctl(endpoint, heard));
    let (record, registration): (&mut NodeRecord, _) = (&mut records[0], &mut registrations[0]);
    let delays = pair
        .observe(changes, async |round| {
            record.meta.insert(ROUND.into(), round.to_string());
            Ok(registration.update(record).await?)
        })
        .await?;
    let keys = [
        ("etcd_change_p50", "change in etcd heard, p50"),
        ("etcd_change_p99", "change in etcd heard, p99"),
        ("etcd_change_later_p50", "later than etcdctl, p50 of each change"),
        ("etcd_change_later_p99", "later than etcdctl, p99 of each change"),
    ];
    tell(results, &delays, "etcdctl", keys);
    Ok(())
}

fn tell(
    results: &mut Results,
    delays: &Delays,
    other: &'static str,
    keys: [(&'static str, &'static str); 4],
) {
    let (Some(ours), Some(theirs), Some(later)) =
        (delays.cbrowse.summary(), delays.other.summary(), delays.later.summary())
    else {
        return;
    };
    let alone = |(key, label), value| Figure::alone(key, label, "ms", value);
    results.push(alone(keys[0], ours.median).beside(other, theirs.median));
    results.push(alone(keys[1], ours.p99).beside(other, theirs.p99));
    results.push(alone(keys[2], later.median));
    results.push(alone(keys[3], later.p99).at_most(Limit::Value(50.0)));
}

impl Pair {
    fn start<F>(changes: ChangeStream, other: impl FnOnce(Sender<Heard>) -> F) -> Self
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let (to_cbrowse, cbrowse) = channel(BACKLOG);
        let (to_other, others) = channel(BACKLOG);
        let mut listeners = JoinSet::new();
        listeners.spawn(listen(changes, to_cbrowse));
        listeners.spawn(other(to_other));
        Self { cbrowse, other: others, listeners }
    }

    async fn observe(
        mut self,
        changes: u32,
        mut change: impl AsyncFnMut(u32) -> anyhow::Result<()>,
    ) -> anyhow::Result<Delays> {
        self.both_listen(changes + 1, &mut change).await?;
        let mut delays = Delays::default();
        for round in 1..=changes {
            sleep(PAUSE + Duration::from_millis((round % PAUSE_STEPS).into())).await;
            let began = Instant::now();
            change(round).await?;
            let cbrowse = self.arrival(Side::Cbrowse, round, DEADLINE).await?;
            let other = self.arrival(Side::Other, round, DEADLINE).await?;
            delays.cbrowse.push_time(cbrowse.duration_since(began));
            delays.other.push_time(other.duration_since(began));
            delays.later.push(
                (cbrowse.duration_since(began).as_secs_f64() - other.duration_since(began).as_secs_f64())
                    * 1e3,
            );
        }
        Ok(delays)
    }

    /// A listener tells nobody that it has begun to listen, so it is called, with numbers from `unused` on, until it
    /// answers.
    async fn both_listen(
        &mut self,
        unused: u32,
        change: &mut impl AsyncFnMut(u32) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut last = Ok(());
        for round in unused..unused + CALLS {
            change(round).await?;
            let cbrowse = self.arrival(Side::Cbrowse, round, CALL_DEADLINE).await;
            last = cbrowse.and(self.arrival(Side::Other, round, CALL_DEADLINE).await).map(drop);
            if last.is_ok() {
                break;
            }
        }
        last
    }

    /// When this change was heard; later ones than the one asked for do not come before it.
    async fn arrival(&mut self, side: Side, round: u32, deadline: Duration) -> anyhow::Result<Instant> {
        let receiver = match side {
            Side::Cbrowse => &mut self.cbrowse,
            Side::Other => &mut self.other,
        };
        let hearing = async {
            while let Some(heard) = receiver.recv().await {
                if heard.round == round {
                    return Some(heard.at);
                }
            }
            None
        };
        if let Ok(Some(at)) = timeout(deadline, hearing).await {
            return Ok(at);
        }
        if let Some(Ok(ended)) = self.listeners.try_join_next() {
            ended.context("a listener ended")?;
        }
        bail!("{side:?} did not hear of change {round} within {deadline:?}")
    }
}

#[derive(Debug, Clone, Copy)]
enum Side {
    Cbrowse,
    Other,
}

async fn listen(mut changes: ChangeStream, heard: Sender<Heard>) -> anyhow::Result<()> {
    while let Some(change) = changes.next().await {
        let at = Instant::now();
        if let Change::Reset(listing) | Change::Add(listing) = change? {
            let rounds = listing.nodes.iter().filter_map(|node| node.meta.get(ROUND)?.parse().ok());
            for round in rounds {
                heard.send(Heard { round, at }).await?;
            }
        }
    }
    Ok(())
}

/// A new process for every question, as in a shell's loop; an answer has arrived when it is complete.
async fn curl(url: String, heard: Sender<Heard>) -> anyhow::Result<()> {
    let mut index = None;
    loop {
        let url = index.map_or(url.clone(), |index| format!("{url}&index={index}&wait=55s"));
        let mut child = start(Command::new("curl").args(["--silent", "--fail", "--include", &url]))?;
        let mut answer = String::new();
        child.stdout.take().context("its output is read")?.read_to_string(&mut answer).await?;
        let at = Instant::now();
        anyhow::ensure!(child.wait().await?.success(), "curl failed");
        index =
            answer.lines().find_map(|line| line.strip_prefix("X-Consul-Index: ")?.trim().parse::<u64>().ok());
        if let Some(round) = round_in(&answer) {
            heard.send(Heard { round, at }).await?;
        }
    }
}

/// A line has arrived when it is complete.
async fn etcdctl(endpoint: String, heard: Sender<Heard>) -> anyhow::Result<()> {
    let mut watch = Command::new("etcdctl");
    watch.env("ETCDCTL_API", "3").args(["--endpoints", &endpoint, "watch", "--prefix"]);
    let mut child = start(watch.arg(format!("{SERVICE}/")))?;
    let mut lines = BufReader::new(child.stdout.take().context("its output is read")?).lines();
    while let Some(line) = lines.next_line().await? {
        let at = Instant::now();
        if let Some(round) = round_in(&line) {
            heard.send(Heard { round, at }).await?;
        }
    }
    bail!("etcdctl ended: {}", child.wait().await?)
}

fn start(command: &mut Command) -> anyhow::Result<Child> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("start the other client")
}

/// In whatever way the JSON is laid out.
fn round_in(json: &str) -> Option<u32> {
    let (_, rest) = json.split_once(&format!("\"{ROUND}\""))?;
    let digits = rest.trim_start_matches([' ', ':', '"']);
    digits[..digits.find(|character: char| !character.is_ascii_digit())?].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_is_found_in_any_layout() {
        for (text, round) in [
            (r#"{"Meta":{"round":"17","x":""}}"#, Some(17)),
            (r#"{ "round": "0" }"#, Some(0)),
            (r#"{"round":"x"}"#, None),
            ("PUT", None),
        ] {
            assert_eq!(round_in(text), round, "{text}");
        }
    }
}
