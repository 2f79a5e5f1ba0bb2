//! Time: clients come, choose, stay and go; each second every node takes down its load, and that is what clients see of it
//! once it has the age of a report.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    time::{Duration, Instant},
};

use cbrowse::{
    probe::{Live, Reach},
    select::{
        Choice, Circumstances, Constraints, Memory, Strategy, choose_under,
        strategy::{
            maglev::Table,
            responsive::{LOAD_CEILING, SERVICE, response},
        },
    },
};
use cbrowse_protocol::api::Status;

use super::{
    Ages, Options, Rule, Scenario,
    dice::Seeded,
    figures::{Figures, Ledger},
    world::{HORIZON, SESSION, World},
};

/// Microseconds of a second: time is counted in whole ones, so that a run is the same everywhere.
const SECOND: u64 = 1_000_000;
/// Nothing is counted before this second: as many have to go as come.
const WARM: u64 = 100;
/// Nodes that a client asks for a seat before it gives up.
const TRIES: usize = 8;
/// When nodes die, and when they are back.
const OUTAGE: (u64, u64) = (150, 210);
/// One node in so many dies.
const DYING: usize = 10;
/// When the crowd comes, and how many times the usual number it is.
const CROWD: (u64, u64) = (150, 170);
const CROWD_TIMES: f64 = 5.0;
/// Share of the crowd that comes in one region.
const CROWD_IN_ONE: f64 = 0.5;
/// Users in the world for each hundred clients; a user has one profile.
const USERS_PERCENT: usize = 10;

/// A node as it truly is.
#[derive(Debug, Clone, Default)]
struct Node {
    sessions: u32,
    /// Sessions that asked for it first, whether it took them or not.
    asked: u32,
    /// Raised when it dies: sessions of before are gone.
    life: u32,
    /// Sessions at each past second, the latest first.
    past: VecDeque<u32>,
    /// Age of its reports in seconds.
    age: u32,
}

/// The end of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct End {
    at: u64,
    on: u32,
    life: u32,
    asked: u32,
    asked_life: u32,
}

/// One run.
pub struct Course {
    world: World,
    nodes: Vec<Node>,
    scenario: Scenario,
    rule: Rule,
    asked: usize,
    clients: u32,
    chance: Seeded,
    dice: Seeded,
    /// What the users of a place remember; one each.
    memories: Vec<Memory>,
    table: Option<Table>,
    ends: BinaryHeap<Reverse<End>>,
    now: u64,
    ledger: Ledger,
    choosing: Duration,
}

impl Course {
    /// Before the first client.
    pub fn new(world: World, options: &Options, rule: Rule, clients: u32) -> Self {
        let Ages { least, most } = options.report_age;
        let count = world.nodes.len();
        let mut drawn = Seeded::new(options.seed, 2);
        let mut age = || {
            least
                + u32::try_from(cbrowse::select::Dice::below(&mut drawn, (most - least + 1) as usize))
                    .unwrap_or(0)
        };
        let nodes = (0..count).map(|_| Node { age: age(), ..Node::default() }).collect();
        Self {
            nodes,
            scenario: options.scenario,
            rule,
            asked: options.asked,
            clients,
            chance: Seeded::new(options.seed, 3),
            dice: Seeded::new(options.seed, 4),
            memories: vec![Memory::default(); world.places.len()],
            world,
            table: None,
            ends: BinaryHeap::new(),
            now: 0,
            ledger: Ledger::default(),
            choosing: Duration::ZERO,
        }
    }

    /// From the first client to the last.
    pub fn run(&mut self) {
        let mut tick = 0;
        for _ in 0..self.clients {
            let next = self.now + self.until_next();
            while tick * SECOND <= next {
                self.advance_to(tick * SECOND);
                self.second(tick);
                tick += 1;
            }
            self.advance_to(next);
            let place = self.where_from();
            self.arrive(place);
        }
    }

    /// What became of it, and the time that choosing took.
    pub fn end(self) -> (Figures, Duration) {
        (self.ledger.close(), self.choosing)
    }

    /// Microseconds until the next client comes.
    fn until_next(&mut self) -> u64 {
        let usual = f64::from(self.clients) / HORIZON;
        let rate = if self.is_crowded() { usual * CROWD_TIMES } else { usual };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some microseconds")]
        let micros = (self.chance.exponential(1.0 / rate) * 1e6) as u64;
        micros
    }

    fn is_crowded(&self) -> bool {
        let second = self.now / SECOND;
        self.scenario == Scenario::Crowd && (CROWD.0..CROWD.1).contains(&second)
    }

    fn where_from(&mut self) -> usize {
        let place = self.world.place(self.chance.unit());
        if !self.is_crowded() || self.chance.unit() > CROWD_IN_ONE {
            return place;
        }
        // The places of a region take turns with those of the others.
        let regions = self.world.regions.iter().max().map_or(1, |last| last + 1);
        place / regions * regions
    }

    /// Ends the sessions that end before `until`.
    fn advance_to(&mut self, until: u64) {
        while let Some(Reverse(end)) = self.ends.peek().copied().filter(|Reverse(end)| end.at <= until) {
            self.ends.pop();
            let on = &mut self.nodes[end.on as usize];
            on.sessions -= u32::from(on.life == end.life);
            let asked = &mut self.nodes[end.asked as usize];
            asked.asked -= u32::from(asked.life == end.asked_life);
        }
        self.now = until;
    }

    /// What happens once a second: nodes take down their load, clients see older ones, some die.
    fn second(&mut self, second: u64) {
        for (node, seen) in self.nodes.iter_mut().zip(&mut self.world.nodes) {
            node.past.push_front(node.sessions);
            node.past.truncate(node.age as usize + 1);
            let reported = node.past.back().copied().unwrap_or(0);
            if let Live::Known(status) = &mut seen.live {
                // Where nobody is refused, nobody says that it is full.
                let most = if self.world.seats > self.world.capacity {
                    self.world.capacity.saturating_sub(1)
                } else {
                    u32::MAX
                };
                report(status, reported.min(most), node.age);
            }
        }
        if self.scenario == Scenario::Failures && second == OUTAGE.0 {
            self.fail();
        }
        if self.scenario == Scenario::Failures && second == OUTAGE.1 {
            self.world.nodes.iter_mut().for_each(|node| node.reach = Reach::Serving);
        }
        if second >= WARM {
            let up =
                self.nodes.iter().zip(&self.world.nodes).filter(|(_, seen)| seen.reach == Reach::Serving);
            self.ledger.sample(up.map(|(node, _)| node.asked));
        }
    }

    /// Every tenth node dies; whoever was on it begins again at once.
    fn fail(&mut self) {
        let mut homeless = 0;
        for (node, seen) in self.nodes.iter_mut().zip(&mut self.world.nodes).step_by(DYING) {
            homeless += node.sessions;
            (node.sessions, node.asked) = (0, 0);
            node.life += 1;
            node.past.clear();
            seen.reach = Reach::Refused;
        }
        for _ in 0..homeless {
            let place = self.where_from();
            self.ledger.counts.moved += 1;
            self.arrive(place);
        }
    }

    /// A client chooses, and asks one node after another for a seat.
    fn arrive(&mut self, place: usize) {
        let last_mile = Duration::from_secs_f64(self.chance.exponential(6.0) / 1e3);
        let user = cbrowse::select::Dice::below(
            &mut self.chance,
            (self.clients as usize * USERS_PERCENT / 100).max(1),
        );
        let stays = self.chance.exponential(SESSION);
        self.world.look_from(place, last_mile);
        let order = self.choose(place, &format!("profile-{user}"));
        let warm = self.now >= WARM * SECOND;
        let Some(first) = order.first().copied() else {
            self.ledger.counts.unserved += u64::from(warm);
            return;
        };
        self.nodes[first].asked += 1;
        let taken = order.into_iter().take(TRIES).find(|index| {
            let full = self.nodes[*index].sessions >= self.world.seats;
            self.ledger.counts.refused += u64::from(warm && full);
            !full
        });
        let on = taken.unwrap_or(first);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some seconds")]
        let at = self.now + (stays * 1e6) as u64;
        let life = if taken.is_some() { self.nodes[on].life } else { u32::MAX };
        let number = |index: usize| u32::try_from(index).unwrap_or(u32::MAX);
        self.ends.push(Reverse(End {
            at,
            on: number(on),
            life,
            asked: number(first),
            asked_life: self.nodes[first].life,
        }));
        if taken.is_none() {
            self.ledger.counts.unserved += u64::from(warm);
            return;
        }
        self.nodes[on].sessions += 1;
        if warm {
            let ms = self.response(on);
            self.ledger.attached(ms);
        }
    }

    /// Indices in the order in which they are asked.
    fn choose(&mut self, place: usize, key: &str) -> Vec<usize> {
        let started = Instant::now();
        let strategy = match self.rule {
            Rule::Strategy(strategy) => strategy,
            Rule::Argmin => Strategy::Responsive,
        };
        let mut choice = if self.asked == 0 {
            self.ask_selection(strategy, place, key)
        } else {
            self.interview(strategy, place, key)
        };
        if self.rule == Rule::Argmin {
            let scores = &choice.scores;
            choice.order.sort_by_key(|index| scores[*index]);
        }
        if strategy.remembers() {
            let now = Duration::from_micros(self.now);
            self.memories[place].note(strategy, &self.world.nodes, &choice, now);
        }
        self.choosing += started.elapsed();
        self.ledger.counts.choices += 1;
        choice.order
    }

    fn ask_selection(&mut self, strategy: Strategy, place: usize, key: &str) -> Choice {
        let mut circumstances = Circumstances {
            dice: &mut self.dice,
            memory: &self.memories[place],
            key: Some(key),
            now: Duration::from_micros(self.now),
            table: &mut self.table,
        };
        choose_under(&self.world.nodes, &Constraints::default(), strategy, &mut circumstances)
    }

    /// Chooses without reports, asks the first few for theirs, and chooses again; those that were asked come first.
    fn interview(&mut self, strategy: Strategy, place: usize, key: &str) -> Choice {
        let hide = |node: &mut cbrowse::probe::Probed| std::mem::take(&mut node.live);
        let mut reports: Vec<Live> = self.world.nodes.iter_mut().map(hide).collect();
        let asked: Vec<usize> =
            self.ask_selection(strategy, place, key).order.into_iter().take(self.asked).collect();
        for index in &asked {
            self.world.nodes[*index].live = std::mem::take(&mut reports[*index]);
        }
        let mut choice = self.ask_selection(strategy, place, key);
        choice.order.sort_by_key(|index| !asked.contains(index));
        for (node, report) in self.world.nodes.iter_mut().zip(reports) {
            if matches!(node.live, Live::Unasked) {
                node.live = report;
            }
        }
        choice
    }

    /// What the client waits for, by the node's true load. Beyond saturation the wait grows with the sessions.
    fn response(&self, on: usize) -> f64 {
        let seen = &self.world.nodes[on];
        let load = f64::from(self.nodes[on].sessions) / f64::from(self.world.capacity);
        let Some((rtt, Live::Known(status))) = seen.rtt.zip(Some(&seen.live)) else { return 0.0 };
        let truth = Status { load: load.min(LOAD_CEILING), age_ms: 0, ..status.as_ref().clone() };
        let beyond = (load / LOAD_CEILING - 1.0).max(0.0) * SERVICE.as_secs_f64() / (1.0 - LOAD_CEILING);
        (response(&rtt, Some(&truth)).as_secs_f64() + beyond) * 1e3
    }
}

/// What a node said `age` seconds ago.
fn report(status: &mut Status, sessions: u32, age: u32) {
    let load = f64::from(sessions) / f64::from(status.capacity.max(1));
    (status.sessions, status.load, status.cpu, status.memory) = (sessions, load, load, load / 2.0);
    status.age_ms = u64::from(age) * 1000;
}
