//! The benchmark: what a user waits for with cbrowse, next to the same with a bare DevTools client on this machine.
//!
//! Both sides show the same pages in the same Chromium with the same flags. They take turns, and who begins changes
//! with every run, so that a machine that becomes slower or faster meanwhile does so for both.

pub mod bare;
pub mod catalogs;
pub mod connect_profile;
pub mod network;
pub mod picture;
pub mod probing;
pub mod profiles;
pub mod remote;
pub mod report;
pub mod road;
pub mod side;
pub mod site;
pub mod statistics;
pub mod status;
pub mod sync_remote;
pub mod world;

use std::time::{Duration, Instant};

use self::{
    bare::Bare,
    remote::{Remote, Steps},
    report::{Measure, Results},
    side::{Missing, Press, Side, first_of, rate, react, rest},
    site::{STILL, Site, TOGGLE},
    world::World,
};

/// Presses of each side in one run.
const PRESSES: u32 = 10;
/// Nodes among which is chosen.
const CHOICE: usize = 3;
/// A page that rests has been pictured by then, or never will be.
const LAST_DEADLINE: Duration = Duration::from_secs(3);
/// How much longer a round trip to the far node takes: a neighbouring country, or a mobile network.
pub const DISTANCE: Duration = Duration::from_millis(50);

/// What to measure.
#[derive(Debug, Clone, clap::Parser)]
#[command(about = "Measures cbrowse next to a bare DevTools client on this machine")]
#[command(args_conflicts_with_subcommands = true)]
pub struct Options {
    /// What else to measure; without it, what a person waits for.
    #[command(subcommand)]
    pub part: Option<Part>,
    /// How often everything is measured
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub runs: u32,
    /// Print one JSON document instead of a table
    #[arg(long)]
    pub json: bool,
}

/// What is measured by itself.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Part {
    /// Reading catalogs, next to the registries' own tools
    Catalogs(catalogs::Options),
    /// What a node's /status costs it
    Status(status::Options),
    /// Choosing among a thousand nodes of an emulated network, next to fping and to connecting to all of them
    Network(network::Options),
    /// One emulated network, measured once
    #[command(hide = true)]
    NetworkOnce(network::once::Options),
    /// Probes a catalog, for the emulated network
    #[command(hide = true)]
    Prober(network::prober::Options),
    /// How well and how fast the best node is named, on a simulated network
    Probing(probing::Options),
    /// Saving and restoring a profile, next to restic and borg
    Profiles(profiles::Options),
    /// Saves or restores one profile, once
    #[command(hide = true)]
    ProfilesOnce(profiles::once::Options),
    /// Lists one catalog once, and tells what this process spent on it
    #[command(hide = true)]
    Once(catalogs::once::Options),
    /// Runs a program, and tells what it spent
    #[command(hide = true)]
    Spent(catalogs::spent::Options),
}

/// Measures everything. Call it inside a [`tokio::task::LocalSet`].
pub async fn run(options: &Options) -> anyhow::Result<Results> {
    let node = cbrowse::local::binary();
    anyhow::ensure!(
        node.is_file(),
        "cbrowse-node is not beside this program; build it: cargo build {}-p cbrowse-node",
        if cfg!(debug_assertions) { "" } else { "--release " }
    );
    let mut results = Results::new(options.runs, bare::version().await?);
    let site = Site::start().await?;
    for run in 0..options.runs {
        cold(&mut results, &site, run).await?;
    }
    let mut standing = Standing::start(site).await?;
    let measured = standing.measure(&mut results, options.runs).await;
    let ended = standing.end().await;
    measured.and(ended).map(|()| results)
}

/// What became of the last picture of a page that came to rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    Came,
    /// The viewer looks at an older one, and nothing will tell it.
    Missing,
}

impl Last {
    /// Percent of one run.
    fn share(self) -> f64 {
        if self == Self::Came { 100.0 } else { 0.0 }
    }
}

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Cbrowse,
    Bare,
}

/// Both, each first in every other run.
fn turns(run: u32) -> [Turn; 2] {
    if run.is_multiple_of(2) { [Turn::Cbrowse, Turn::Bare] } else { [Turn::Bare, Turn::Cbrowse] }
}

/// A node, and a Chromium, that are started for this picture alone.
async fn cold(results: &mut Results, site: &Site, run: u32) -> anyhow::Result<()> {
    for turn in turns(run) {
        if turn == Turn::Cbrowse {
            let world = World::start(1, site).await?;
            let steps = connect(&world, site).await;
            let started_in = world.started_in;
            world.end().await;
            if let Some(steps) = unless_missing(steps, &mut results.missing_cbrowse)? {
                results.cbrowse(Measure::Nothing).push_time(started_in + steps.pictured);
                results.cbrowse(Measure::Fresh).push_time(steps.pictured);
            }
        } else if let Some(took) = unless_missing(start_and_show(site).await, &mut results.missing_bare)? {
            results.bare(Measure::Nothing).push_time(took);
            results.bare(Measure::Fresh).push_time(took);
        }
    }
    Ok(())
}

/// A picture that never came is counted, and the others are measured all the same.
fn unless_missing<T>(measured: anyhow::Result<T>, missing: &mut u32) -> anyhow::Result<Option<T>> {
    match measured {
        Ok(measured) => Ok(Some(measured)),
        Err(error) if error.is::<Missing>() => {
            *missing += 1;
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// From `connect` to the first picture of the page, and the end of the session.
async fn connect(world: &World, site: &Site) -> anyhow::Result<Steps> {
    world.ready().await?;
    picture_of(Remote::open(world, &site.still()).await?).await
}

/// The first picture of [`Site::still`], and the end of the session.
async fn picture_of(mut remote: Remote) -> anyhow::Result<Steps> {
    let picture = first_of(&mut remote, STILL).await;
    let (began, steps) = (remote.began, remote.steps);
    remote.close().await?;
    Ok(Steps { pictured: picture?.at.duration_since(began), ..steps })
}

/// From the start of a Chromium to the first picture of the page.
async fn start_and_show(site: &Site) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let mut browser = Bare::start()?;
    browser.show(&site.still()).await?;
    let picture = first_of(&mut browser, STILL).await;
    browser.end().await?;
    Ok(picture?.at.duration_since(began))
}

/// From the order of a tab to the first picture of its page, in a browser that runs.
async fn open_tab(browser: &mut Bare, site: &Site) -> anyhow::Result<Duration> {
    let began = Instant::now();
    browser.show(&site.still()).await?;
    let picture = first_of(browser, STILL).await;
    browser.hide().await?;
    Ok(picture?.at.duration_since(began))
}

/// What runs for all measurements that do not start it themselves.
struct Standing {
    site: Site,
    world: World,
    several: World,
    far: World,
    /// Stays up between its pictures, as somebody's own browser does.
    bare: Bare,
}

impl Standing {
    async fn start(site: Site) -> anyhow::Result<Self> {
        let (world, several) = (World::start(1, &site).await?, World::start(CHOICE, &site).await?);
        let far = World::at(DISTANCE, 1, &site).await?;
        let mut bare = Bare::start()?;
        bare.keep_window().await?;
        Ok(Self { site, world, several, far, bare })
    }

    async fn measure(&mut self, results: &mut Results, runs: u32) -> anyhow::Result<()> {
        for run in 0..runs {
            results.cbrowse(Measure::Probe).push_time(self.several.probe().await?);
            results.cbrowse(Measure::Choice).push_time(self.several.choose().await?);
            for turn in turns(run) {
                self.first_pictures(results, turn).await?;
            }
            let steps = connect(&self.far, &self.site).await;
            if let Some(steps) = unless_missing(steps, &mut results.missing_cbrowse)? {
                results.cbrowse(Measure::FarPicture).push_time(steps.pictured);
                results.far_steps.push(steps);
            }
        }
        self.far.ready().await?;
        let mut remote = Remote::open(&self.world, &self.site.toggle()).await?;
        self.bare.show(&self.site.toggle()).await?;
        first_of(&mut remote, TOGGLE[0]).await?;
        first_of(&mut self.bare, TOGGLE[0]).await?;
        for count in 0..runs * PRESSES {
            for turn in turns(count) {
                if turn == Turn::Cbrowse {
                    let (reaction, trip) = press(&mut remote, count).await?;
                    results.cbrowse(Measure::Reaction).push_time(reaction);
                    results.cbrowse(Measure::Trip).push_time(trip);
                } else {
                    let (reaction, trip) = press(&mut self.bare, count).await?;
                    results.bare(Measure::Reaction).push_time(reaction);
                    results.bare(Measure::Trip).push_time(trip);
                }
            }
        }
        for run in 0..runs {
            for turn in turns(run) {
                if turn == Turn::Cbrowse {
                    let (rate, last) = moving(&mut remote, &self.site).await?;
                    results.cbrowse(Measure::Rate).push(rate);
                    results.cbrowse(Measure::Last).push(last.share());
                } else {
                    let (rate, last) = moving(&mut self.bare, &self.site).await?;
                    results.bare(Measure::Rate).push(rate);
                    results.bare(Measure::Last).push(last.share());
                }
            }
        }
        self.bare.hide().await?;
        remote.close().await?;
        self.seen_from_afar(results, runs).await
    }

    /// What distance alone does to steering and watching.
    async fn seen_from_afar(&self, results: &mut Results, runs: u32) -> anyhow::Result<()> {
        let mut remote = Remote::open(&self.far, &self.site.toggle()).await?;
        first_of(&mut remote, TOGGLE[0]).await?;
        for count in 0..runs * PRESSES {
            let (reaction, trip) = press(&mut remote, count).await?;
            results.cbrowse(Measure::FarReaction).push_time(reaction);
            results.cbrowse(Measure::FarTrip).push_time(trip);
        }
        for _ in 0..runs {
            let (rate, last) = moving(&mut remote, &self.site).await?;
            results.cbrowse(Measure::FarRate).push(rate);
            results.cbrowse(Measure::FarLast).push(last.share());
        }
        remote.close().await
    }

    async fn first_pictures(&mut self, results: &mut Results, turn: Turn) -> anyhow::Result<()> {
        if turn == Turn::Cbrowse {
            let steps = connect(&self.world, &self.site).await;
            if let Some(steps) = unless_missing(steps, &mut results.missing_cbrowse)? {
                results.cbrowse(Measure::Warm).push_time(steps.pictured);
                results.cbrowse(Measure::Tab).push_time(steps.pictured);
                results.steps.push(steps);
            }
            return Ok(());
        }
        // Nodes make their next worker when one is taken: that must not happen at the other side's expense.
        self.world.ready().await?;
        self.far.ready().await?;
        let started = start_and_show(&self.site).await;
        if let Some(took) = unless_missing(started, &mut results.missing_bare)? {
            results.bare(Measure::Warm).push_time(took);
        }
        let opened = open_tab(&mut self.bare, &self.site).await;
        if let Some(took) = unless_missing(opened, &mut results.missing_bare)? {
            results.bare(Measure::Tab).push_time(took);
        }
        Ok(())
    }

    async fn end(self) -> anyhow::Result<()> {
        self.world.end().await;
        self.several.end().await;
        self.far.end().await;
        self.bare.end().await
    }
}

/// One press, by button and key in turn, and one message with its answer.
async fn press(side: &mut impl Side, count: u32) -> anyhow::Result<(Duration, Duration)> {
    let with = if count.is_multiple_of(2) { Press::Button } else { Press::Key };
    let reaction = react(side, with, count).await?;
    rest(side).await?;
    Ok((reaction, side.round_trip().await?))
}

/// Pictures a second of a page that moves, and whether its last picture came at all once it rests.
async fn moving(side: &mut impl Side, site: &Site) -> anyhow::Result<(f64, Last)> {
    side.go(&site.moving()).await?;
    let rate = rate(side).await?;
    side.press(Press::Key).await?;
    let last = match tokio::time::timeout(LAST_DEADLINE, first_of(side, STILL)).await {
        Ok(picture) => picture.map(|_| Last::Came)?,
        Err(_) => Last::Missing,
    };
    side.release(Press::Key).await?;
    rest(side).await?;
    Ok((rate, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_missing_pictures_are_forgiven() {
        let mut missing = 0;
        assert_eq!(unless_missing(Ok(1), &mut missing).unwrap(), Some(1));
        assert_eq!(unless_missing::<u8>(Err(Missing(STILL).into()), &mut missing).unwrap(), None);
        assert!(unless_missing::<u8>(Err(anyhow::anyhow!("the node is gone")), &mut missing).is_err());
        assert_eq!(missing, 1);
    }

    #[test]
    fn both_begin_equally_often() {
        let first = (0..10).filter(|run| turns(*run)[0] == Turn::Cbrowse).count();
        assert_eq!(first, 5);
        assert!((0..10).all(|run| turns(run)[0] != turns(run)[1]));
    }
}
