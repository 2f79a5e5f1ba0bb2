//! What a profile adds to the first picture of a warm node, near and far.
//!
//! A profile of 5 MB is sealed, a session works with it once, its save comes home, and the node gets what it still lacks: from
//! then on it is synced, and it is what a Chromium leaves. Then sessions with it and without take turns. The time with it
//! holds the opening of the profile and the taking of its lease, and not the keyring, which is asked before.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, ensure};
use cbrowse::{
    attach::finalist::Finalist,
    profile::{OpenProfile, Travel, right::Right, settle},
};
use cbrowse_profile::{
    authority::{Authority, lease::Manner},
    head::Closing,
    keys::AccountKey,
    save::SaveMeta,
    secret::SystemRandom,
};
use serde_json::{Value, json};

use super::{
    picture_of,
    remote::{Remote, Steps},
    report::{STEPS, medians, write_rows},
    site::Site,
    statistics::Samples,
    world::World,
};
use crate::profile::{self, Shape};

/// Next door, and on a neighbouring continent.
const ROADS: [Duration; 2] = [Duration::ZERO, Duration::from_millis(80)];
/// A tenth of it travels: the 5 MB that the issue speaks of.
const SHAPE: Shape = Shape { bytes: 50_000_000, files: 500, travels: 10, seed: 1 };
/// What may be added to a round trip.
const ALLOWANCE: Duration = Duration::from_millis(250);
/// A save of 5 MB takes a fraction of a second; a busy machine needs longer.
const SAVE_PATIENCE: Duration = Duration::from_secs(20);
/// What the profile is called.
const NAME: &str = "bench";
/// Nothing depends on it.
const KEY: [u8; 32] = [9; 32];

/// A profile of the world's user, opened anew for each session as `connect` does.
#[derive(Debug, Clone)]
pub struct Brought {
    root: PathBuf,
}

impl Brought {
    /// Makes the profile of what is in `data`.
    fn make(root: &Path, data: &Path) -> anyhow::Result<Self> {
        let account = AccountKey::from_bytes(KEY);
        let authority = Authority::create(root, &NAME.parse()?, &account, 1, &mut SystemRandom)?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
        let (device, closing) = ("bench".into(), Closing::Clean);
        // Any node's browser may open it.
        let meta = SaveMeta { now, device, browser_version: String::new(), closing };
        authority.sync(data, &authority.keys(&account)?, &meta, &mut SystemRandom)?;
        Ok(Self { root: root.into() })
    }

    /// Opens it, to be written.
    pub(super) fn open(&self) -> anyhow::Result<OpenProfile> {
        let right = Right::take(&self.root, NAME, Manner::Polite).map_err(super::world::plain)?;
        Ok(OpenProfile::open(&self.root, NAME, &AccountKey::from_bytes(KEY))?.writing(right))
    }
}

/// What was measured over one road.
#[derive(Debug, Default)]
struct Rows {
    round_trip: Duration,
    without: Vec<Steps>,
    with: Vec<Steps>,
}

impl Rows {
    fn added_ms(&self) -> f64 {
        picture_ms(&self.with) - picture_ms(&self.without)
    }

    fn limit_ms(&self) -> f64 {
        (self.round_trip + ALLOWANCE).as_secs_f64() * 1e3
    }

    /// What is added, in multiples of the road; `None` next door.
    fn trips(&self) -> Option<f64> {
        let trip = self.round_trip.as_secs_f64() * 1e3;
        (trip > 0.0).then(|| self.added_ms() / trip)
    }

    fn to_json(&self) -> Value {
        json!({
            "round_trip_ms": self.round_trip.as_secs_f64() * 1e3,
            "without_ms": picture_ms(&self.without),
            "with_ms": picture_ms(&self.with),
            "added_ms": self.added_ms(),
            "added_round_trips": self.trips(),
            "limit_ms": self.limit_ms(),
            "kept": self.added_ms() <= self.limit_ms(),
            "steps_without_ms": medians(&self.without),
            "steps_with_ms": medians(&self.with),
        })
    }
}

fn picture_ms(ways: &[Steps]) -> f64 {
    let mut samples = Samples::default();
    ways.iter().for_each(|steps| samples.push_time(steps.pictured));
    samples.summary().map_or(0.0, |summary| summary.median)
}

/// Everything that was measured.
#[derive(Debug)]
pub struct Figures {
    runs: u32,
    bytes: u64,
    roads: Vec<Rows>,
}

impl Figures {
    /// For programs; stable.
    pub fn to_json(&self) -> Value {
        let roads: Vec<Value> = self.roads.iter().map(Rows::to_json).collect();
        json!({ "runs": self.runs, "profile_bytes": self.bytes, "roads": roads })
    }

    /// For people.
    pub fn to_table(&self) -> String {
        let mut text = format!(
            "first picture of a warm node, without and with a synced profile of {:.1} MB; {} runs in turns, medians, ms\n\n",
            self.bytes as f64 / 1e6,
            self.runs
        );
        let mut rows = vec![["road", "without", "with", "added", "in RTT", "limit", ""].map(String::from)];
        for road in &self.roads {
            let ms = |ms: f64| format!("{ms:.0}");
            let word = if road.added_ms() <= road.limit_ms() { "kept" } else { "MISSED" };
            rows.push([
                format!("{} ms", road.round_trip.as_millis()),
                ms(picture_ms(&road.without)),
                ms(picture_ms(&road.with)),
                ms(road.added_ms()),
                road.trips().map_or_else(|| "-".into(), |trips| format!("{trips:.1}")),
                ms(road.limit_ms()),
                word.into(),
            ]);
        }
        write_rows(&mut text, &rows);
        text.push_str("\nWhere it goes (medians of each step, ms):\n\n");
        let mut rows = vec![["step".to_owned(), String::new(), "without".into(), "with".into()]];
        for road in &self.roads {
            let (without, with) = (medians(&road.without), medians(&road.with));
            for ((name, without), with) in STEPS.into_iter().zip(without).zip(with) {
                let away = format!("{} ms", road.round_trip.as_millis());
                rows.push([name.into(), away, format!("{without:.1}"), format!("{with:.1}")]);
            }
        }
        write_rows(&mut text, &rows);
        let _ = writeln!(text, "\nOf the session with a profile, its opening here is in the first step.");
        text
    }
}

/// Measures each `runs` times. Call it inside a [`tokio::task::LocalSet`].
pub async fn run(runs: u32) -> anyhow::Result<Figures> {
    let site = Site::start().await?;
    let ground = tempfile::Builder::new().prefix("cbrowse-bench-").tempdir()?;
    let data = ground.path().join("data");
    let made = profile::make(&data, &SHAPE)?;
    let mut roads = Vec::new();
    for road in ROADS {
        let world = World::at(road, 1, &site).await?;
        let rows = measure(&world, &site, &data, road, runs).await;
        world.end().await;
        roads.push(rows?);
    }
    Ok(Figures { runs, bytes: made.travelling_bytes, roads })
}

async fn measure(
    world: &World,
    site: &Site,
    data: &Path,
    round_trip: Duration,
    runs: u32,
) -> anyhow::Result<Rows> {
    let brought = Brought::make(&world.globals.paths.profiles(), data)?;
    picture(world, site, Some(&brought)).await?;
    sync(world, &brought).await?;
    let mut rows = Rows { round_trip, ..Rows::default() };
    for run in 0..runs {
        let (mut first, mut second) = (None, Some(&brought));
        if !run.is_multiple_of(2) {
            std::mem::swap(&mut first, &mut second);
        }
        for brought in [first, second] {
            let steps = picture(world, site, brought).await?;
            if brought.is_some() { rows.with.push(steps) } else { rows.without.push(steps) }
        }
    }
    Ok(rows)
}

async fn picture(world: &World, site: &Site, brought: Option<&Brought>) -> anyhow::Result<Steps> {
    world.ready().await?;
    picture_of(Remote::bringing(world, &site.still(), brought.cloned()).await?).await
}

/// The session's save comes home, and the node gets what the new generation has more.
async fn sync(world: &World, brought: &Brought) -> anyhow::Result<()> {
    let Finalist { mut connection, .. } = world.meet().await?;
    let profile = Arc::new(brought.open()?);
    let settled = settle(profile.clone(), &mut connection, &world.credentials, SAVE_PATIENCE).await?;
    ensure!(settled.current.is_some(), "the first session's save did not come home: {settled:?}");
    profile.upload(&mut connection, &world.credentials, &Travel::default()).await?;
    let missing = profile.missing(&mut connection, &world.credentials).await.context("ask the node")?;
    ensure!(missing.is_empty(), "the node lacks {} objects after all went up", missing.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ways(pictured: u64) -> Vec<Steps> {
        vec![Steps { pictured: Duration::from_millis(pictured), ..Steps::default() }]
    }

    #[test]
    fn what_is_added_is_held_against_a_round_trip_and_the_allowance() {
        let rows = |with| Rows { round_trip: ROADS[1], without: ways(300), with: ways(with) };
        for (with, kept) in [(300, true), (629, true), (631, false)] {
            assert_eq!(rows(with).to_json()["kept"], kept, "{with}");
        }
        assert!((rows(460).trips().unwrap() - 2.0).abs() < 1e-9);
        assert_eq!(Rows::default().trips(), None);
        let table = Figures { runs: 1, bytes: 5_000_000, roads: vec![rows(631)] }.to_table();
        assert!(table.contains("MISSED") && table.contains("331"), "{table}");
    }
}
