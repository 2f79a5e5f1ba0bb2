//! Which probe goes out next, and when enough is known: a state machine without clock or sockets.
//!
//! Time is a [`Duration`] since the race began. The driver in [`super::drive`] asks [`Race::step`] what to do, does it,
//! and tells every answer to [`Race::answer`].

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::{
    plan::{
        ASK_AGAIN, BATCH, FINALIST_SAMPLES, FINALISTS, ICMP_PATIENCE, LEADER_SAMPLES, LEADERS, LOST_AFTER,
        SIDE_BY_SIDE, SPACING, SURVEY_SPACING, TICK, band_top, is_ruled_out, leader_top, nearest,
    },
    statistics::Samples,
    track::{Method, Track},
};

/// What the race is run for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// Find the band of the nearest nodes as soon as it is certain.
    Decide,
    /// Measure every node with this many samples.
    Survey(u32),
}

/// What is asked of the race's driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Send these now.
    Send(Vec<Probe>),
    /// Nothing to send before this time; answers may come first.
    Wait(Duration),
    /// Enough is known.
    Done,
}

/// One probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// Distinguishes all probes of a race.
    pub number: u32,
    /// Index of the node.
    pub node: usize,
    /// How it travels.
    pub method: Method,
}

/// What became of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It came back.
    Reply(Duration),
    /// The machine is there, and nothing listens on the port.
    Refused,
    /// The network says that there is no way.
    NoRoute,
    /// It could not be sent from here.
    NotSent,
}

#[derive(Debug, Clone, Copy)]
struct Flight {
    node: usize,
    method: Method,
    sent: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Screen,
    Leaders,
    Finalists,
    Over,
}

/// One race among nodes.
#[derive(Debug)]
pub struct Race {
    goal: Goal,
    icmp: bool,
    deadline: Duration,
    tracks: Vec<Track>,
    /// Due time, node, method; sorted by due time.
    queue: VecDeque<(Duration, usize, Method)>,
    flights: BTreeMap<u32, Flight>,
    next_number: u32,
    next_batch: Duration,
    phase: Phase,
    /// Round trip of the nearest node that may still be chosen.
    best: Option<Duration>,
    answered: usize,
}

impl Race {
    /// A race among `nodes` nodes, likely best first, with or without ICMP, that ends at `deadline` at the latest.
    pub fn new(nodes: usize, goal: Goal, icmp: bool, deadline: Duration) -> Self {
        let mut race = Self {
            goal,
            icmp,
            deadline,
            tracks: vec![Track::default(); nodes],
            queue: VecDeque::new(),
            flights: BTreeMap::new(),
            next_number: 0,
            next_batch: Duration::ZERO,
            phase: Phase::Screen,
            best: None,
            answered: 0,
        };
        race.plan_screen();
        race
    }

    /// What is known of each node, in the order given.
    pub fn into_tracks(self) -> Vec<Track> {
        self.tracks
    }

    /// Nodes that have answered.
    pub fn answered(&self) -> usize {
        self.answered
    }

    /// What to do at `now`.
    pub fn step(&mut self, now: Duration) -> Step {
        if now >= self.deadline {
            self.phase = Phase::Over;
        }
        self.count_lost(now);
        self.ask_the_silent(now);
        while self.phase != Phase::Over && self.is_phase_over(now) {
            self.next_phase(now);
        }
        if self.phase == Phase::Over {
            self.close(now);
            return Step::Done;
        }
        let batch = self.take_batch(now);
        if batch.is_empty() { Step::Wait(self.wake(now)) } else { Step::Send(batch) }
    }

    /// Records an answer. One that comes late, or twice, changes nothing.
    pub fn answer(&mut self, number: u32, answer: Answer) {
        let Some(flight) = self.flights.remove(&number) else { return };
        let track = &mut self.tracks[flight.node];
        match answer {
            Answer::Reply(rtt) => {
                self.answered += usize::from(track.min().is_none());
                track.samples(flight.method).replies.push(rtt);
                if !track.is_out() {
                    self.best = Some(self.best.map_or(rtt, |best| best.min(rtt)));
                }
            }
            Answer::Refused => self.rule_out(flight.node, |track| track.refused = true),
            Answer::NoRoute if flight.method == Method::Tcp => {
                self.rule_out(flight.node, |track| track.no_route = true);
            }
            // Echo requests may be barred on the way, or from here; connections need not be.
            Answer::NoRoute | Answer::NotSent if flight.method == Method::Icmp => {
                if track.asked[Method::Tcp as usize] == 0 {
                    self.plan(self.next_batch, flight.node, Method::Tcp);
                }
            }
            Answer::NoRoute | Answer::NotSent => {}
        }
    }

    fn plan_screen(&mut self) {
        let side_by_side =
            !self.icmp || self.tracks.len() <= SIDE_BY_SIDE || matches!(self.goal, Goal::Survey(_));
        let methods = [Method::Icmp, Method::Tcp];
        for node in 0..self.tracks.len() {
            for method in methods {
                if (method == Method::Icmp && self.icmp) || (method == Method::Tcp && side_by_side) {
                    self.plan(Duration::ZERO, node, method);
                }
            }
        }
        if let Goal::Survey(count) = self.goal {
            for sample in 1..count {
                for node in 0..self.tracks.len() {
                    // The method is settled when it is sent; see `settle`.
                    let method = if self.icmp { Method::Icmp } else { Method::Tcp };
                    self.plan(SURVEY_SPACING * sample, node, method);
                }
            }
        }
    }

    fn plan(&mut self, due: Duration, node: usize, method: Method) {
        *self.tracks[node].asked(method) += 1;
        let at = self.queue.partition_point(|(other, ..)| *other <= due);
        self.queue.insert(at, (due, node, method));
    }

    /// In a survey, a node that is silent on ICMP and answers on TCP gets its further samples by TCP.
    fn settle(&self, node: usize, method: Method) -> Method {
        let track = &self.tracks[node];
        let deaf = track.icmp.replies.is_empty() && !track.tcp.replies.is_empty();
        if matches!(self.goal, Goal::Survey(_)) && deaf { Method::Tcp } else { method }
    }

    fn take_batch(&mut self, now: Duration) -> Vec<Probe> {
        let mut batch = Vec::new();
        if now < self.next_batch {
            return batch;
        }
        while batch.len() < BATCH {
            let Some((_, node, method)) = self.queue.front().filter(|(due, ..)| *due <= now).copied() else {
                break;
            };
            self.queue.pop_front();
            if self.tracks[node].is_out() {
                continue;
            }
            let method = self.settle(node, method);
            let number = self.next_number;
            self.next_number += 1;
            self.flights.insert(number, Flight { node, method, sent: now });
            batch.push(Probe { number, node, method });
        }
        if !batch.is_empty() {
            self.next_batch = now + TICK;
        }
        batch
    }

    fn count_lost(&mut self, now: Duration) {
        let tracks = &mut self.tracks;
        self.flights.retain(|_, flight| {
            let lost = now.saturating_sub(flight.sent) >= LOST_AFTER;
            if lost {
                tracks[flight.node].samples(flight.method).lost += 1;
            }
            !lost
        });
    }

    /// While the band is open, a node silent on ICMP gets its chance by TCP, and one silent on TCP a second one.
    fn ask_the_silent(&mut self, now: Duration) {
        if self.phase != Phase::Screen || self.goal != Goal::Decide {
            return;
        }
        let silent: Vec<usize> = self
            .flights
            .values()
            .filter(|flight| now.saturating_sub(flight.sent) >= patience(flight.method))
            .map(|flight| flight.node)
            .collect();
        for node in silent {
            let track = &self.tracks[node];
            let tries = track.asked[Method::Tcp as usize];
            let again = tries == 0 || (tries == 1 && self.has_waited(node, Method::Tcp, now));
            if track.min().is_none() && !track.is_out() && again {
                self.plan(now, node, Method::Tcp);
            }
        }
    }

    fn has_waited(&self, node: usize, method: Method, now: Duration) -> bool {
        self.flights.values().any(|flight| {
            flight.node == node
                && flight.method == method
                && now.saturating_sub(flight.sent) >= patience(method)
        })
    }

    fn rule_out(&mut self, node: usize, mark: impl FnOnce(&mut Track)) {
        mark(&mut self.tracks[node]);
        self.best = self.tracks.iter().filter(|track| !track.is_out()).filter_map(Track::min).min();
    }

    fn is_phase_over(&self, now: Duration) -> bool {
        self.queue.is_empty() && !self.flights.values().any(|flight| self.matters(flight, now))
    }

    /// The stop rule: whether the answer to this probe could still change the choice.
    fn matters(&self, flight: &Flight, now: Duration) -> bool {
        let track = &self.tracks[flight.node];
        if track.is_out() {
            return false;
        }
        let age = now.saturating_sub(flight.sent);
        match (self.goal, self.phase) {
            (Goal::Survey(_), _) => true,
            // Side by side, whichever answers first has screened the node.
            (Goal::Decide, Phase::Screen) => track.min().is_none() && !is_ruled_out(age, self.best),
            // Later rounds know their nodes: a sample that takes longer than its own band tells enough.
            (Goal::Decide, _) => track.min().is_some_and(|min| !is_ruled_out(age, Some(min))),
        }
    }

    fn next_phase(&mut self, now: Duration) {
        self.phase = match (self.goal, self.phase) {
            (Goal::Decide, Phase::Screen) => {
                self.plan_leaders(now);
                Phase::Leaders
            }
            (Goal::Decide, Phase::Leaders) => {
                self.plan_finalists(now);
                Phase::Finalists
            }
            _ => Phase::Over,
        };
    }

    fn plan_leaders(&mut self, now: Duration) {
        let Some(best) = self.best else { return };
        for node in nearest(&self.standing(Samples::min), LEADERS, leader_top(best)) {
            self.plan_samples(now, node, LEADER_SAMPLES);
            // Reachable is not serving: a leader has to answer on its port.
            if self.tracks[node].asked[Method::Tcp as usize] == 0 {
                self.plan(now, node, Method::Tcp);
            }
        }
    }

    fn plan_finalists(&mut self, now: Duration) {
        let medians = self.standing(|samples| samples.measure().map(|measured| measured.p50));
        let Some(best) = medians.iter().flatten().min().copied() else { return };
        for node in nearest(&medians, FINALISTS, band_top(best)) {
            self.plan_samples(now, node, FINALIST_SAMPLES);
            if self.tracks[node].tcp.replies.is_empty() {
                self.plan(now, node, Method::Tcp);
            }
        }
    }

    fn plan_samples(&mut self, now: Duration, node: usize, count: u32) {
        let deaf = self.tracks[node].icmp.replies.is_empty();
        let method = if deaf { Method::Tcp } else { Method::Icmp };
        for sample in 0..count {
            self.plan(now + SPACING * sample, node, method);
        }
    }

    /// One figure per node that may still be chosen, of the method that screened it.
    fn standing(&self, figure: impl Fn(&Samples) -> Option<Duration>) -> Vec<Option<Duration>> {
        self.tracks
            .iter()
            .map(|track| {
                let samples = if track.icmp.replies.is_empty() { &track.tcp } else { &track.icmp };
                figure(samples).filter(|_| !track.is_out())
            })
            .collect()
    }

    /// When the next thing can happen without an answer.
    fn wake(&self, now: Duration) -> Duration {
        let due = self.queue.front().map(|(due, ..)| (*due).max(self.next_batch));
        let flights = self.flights.values().flat_map(|flight| {
            let best = if self.phase == Phase::Screen { self.best } else { self.tracks[flight.node].min() };
            let ruled_out = best.map(|best| flight.sent + band_top(best) + Duration::from_nanos(1));
            let patience = flight.sent + patience(flight.method);
            ruled_out.into_iter().chain([patience, flight.sent + LOST_AFTER])
        });
        let next = due.into_iter().chain(flights.filter(|time| *time > now)).min();
        next.map_or(self.deadline, |time| time.min(self.deadline)).max(now)
    }

    /// A sample that is still out counts as the time it was waited for, when its node is known to answer:
    /// dropping it would flatter a node that has become slow.
    fn close(&mut self, now: Duration) {
        for flight in std::mem::take(&mut self.flights).into_values() {
            let waited = now.saturating_sub(flight.sent);
            let track = &mut self.tracks[flight.node];
            if self.goal != Goal::Decide {
                continue;
            }
            track.not_awaited = now < self.deadline;
            if !is_ruled_out(waited, track.min()) {
                continue;
            }
            if !track.samples(flight.method).replies.is_empty() {
                track.samples(flight.method).replies.push(waited);
            } else if flight.method == Method::Tcp {
                track.given_up += 1;
            }
        }
    }
}

fn patience(method: Method) -> Duration {
    match method {
        Method::Icmp => ICMP_PATIENCE,
        Method::Tcp => ASK_AGAIN,
    }
}
