//! Selection alone: how long filter, score and pick take among ten thousand nodes.

use std::time::{Duration, Instant};

use cbrowse::{
    probe::Live,
    select::{Circumstances, Constraints, Memory, Strategy, choose_under},
};
use clap::{Parser as _, ValueEnum as _};

use super::{Options, dice::Seeded, world::World};

const NODES: usize = 10_000;
/// Odd, so that there is a middle one.
const RUNS: usize = 51;

/// Prints the median and the worst of [`RUNS`] runs for every strategy: all nodes eligible, and all but a few rejected.
/// Nothing is kept from one run to the next, as between two commands.
pub fn run(seed: u64, print: &mut dyn FnMut(String) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let options = Options::parse_from(["simulate", "--nodes", "10000", "--scenario", "world"]);
    let mut world = World::new(&options, 1_000_000);
    world.look_from(0, Duration::from_millis(5));
    for (index, node) in world.nodes.iter_mut().enumerate() {
        if let Live::Known(status) = &mut node.live {
            status.load = (index * 7919 % 1000) as f64 / 1000.0;
            status.age_ms = 1000;
        }
    }
    // Three regions of four hundred, and whatever else can be asked for.
    let picky = Constraints {
        regions: ["region-000", "region-001", "region-002"].map(str::to_owned).to_vec(),
        tags: vec!["gpu".into()],
        max_latency: Some(Duration::from_millis(120)),
        min_version: Some("0.1.0".into()),
        profile_browser: Some("156.0.1".into()),
        ..Constraints::default()
    };
    print(format!("choosing among {NODES} nodes, ms; median and worst of {RUNS}"))?;
    print("strategy              all eligible      nearly all rejected".to_owned())?;
    for strategy in Strategy::value_variants() {
        let (mut dice, memory) = (Seeded::new(seed, 9), Memory::default());
        let mut of = |constraints: &Constraints| {
            let mut took: Vec<Duration> = (0..RUNS)
                .map(|_| {
                    let started = Instant::now();
                    let mut circumstances = Circumstances {
                        dice: &mut dice,
                        memory: &memory,
                        key: Some("profile"),
                        now: Duration::ZERO,
                        table: &mut None,
                    };
                    let choice = choose_under(&world.nodes, constraints, *strategy, &mut circumstances);
                    let took = started.elapsed();
                    assert!(choice.chosen().is_some(), "nobody was eligible");
                    took
                })
                .collect();
            took.sort_unstable();
            let ms = |took: Duration| took.as_secs_f64() * 1e3;
            format!("{:>6.2} {:>6.2}", ms(took[RUNS / 2]), ms(took[RUNS - 1]))
        };
        let (all, few) = (of(&Constraints::default()), of(&picky));
        print(format!("{strategy:<20} {all}         {few}"))?;
    }
    Ok(())
}
