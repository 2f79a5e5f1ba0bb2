//! Which probe goes out next, and when enough is known: a state machine without clock or sockets.
//!
//! Time is a [`Duration`] since the race began. The driver in [`super::drive`] asks [`Race::step`] what to do, does it,
//! and tells every answer to [`Race::answer`]. What the rounds are, and whom each of them asks, stands in [`rounds`].

mod flights;
mod rounds;
#[cfg(test)]
mod tests;

use std::{collections::VecDeque, time::Duration};

use self::{
    flights::{Fate, Flight, Overdue},
    rounds::Phase,
};
use super::{
    plan::{
        ASK_AGAIN, BATCH, ICMP_PATIENCE, LOST_AFTER, RESERVE_SHARE, SIDE_BY_SIDE, SILENCE, TICK, WARY_SHARE,
        band_top, batches, budget, is_ruled_out,
    },
    search::Prior,
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
    /// Distinguishes all probes of a race, and counts them from 0.
    pub number: u32,
    /// Index of the way it takes.
    pub way: usize,
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

/// One way to a node: an address of one family.
#[derive(Debug, Clone, Copy, Default)]
pub struct Way {
    /// Index of the other way to the same node.
    pub sibling: Option<usize>,
    /// Taken only while it can still change something: where the first way shows the node to be near, or fails.
    pub is_second: bool,
    /// What an earlier probing found on this way.
    pub prior: Option<Prior>,
    /// To the node that is used now: with history, it is measured well in any case.
    pub is_present: bool,
}

/// Answers that were not simply the one to a question.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Oddities {
    /// Further answers to a probe that was answered.
    pub duplicates: u64,
    /// Answers after their node was ruled out, or after they were counted as lost; the count of losses was put right.
    pub late: u64,
    /// Answers from another address than the one that was asked.
    pub strangers: u64,
}

impl std::ops::AddAssign for Oddities {
    fn add_assign(&mut self, other: Self) {
        self.duplicates += other.duplicates;
        self.late += other.late;
        self.strangers += other.strangers;
    }
}

/// A probe that waits to be sent.
#[derive(Debug, Clone, Copy)]
struct Due {
    at: Duration,
    way: usize,
    method: Method,
    /// Not to be sent when the port has answered meanwhile.
    only_unless_served: bool,
}

/// One race among ways to nodes.
#[derive(Debug)]
pub struct Race {
    goal: Goal,
    icmp: bool,
    deadline: Duration,
    ways: Vec<Way>,
    /// Nodes, each with one way or two.
    nodes: usize,
    tracks: Vec<Track>,
    /// To be asked for the first time, likely best first.
    unasked: VecDeque<usize>,
    /// Asked by TCP when nobody's echo has come back.
    unheard: VecDeque<usize>,
    /// Asked only when what is remembered turns out to be wrong; nearest first.
    held_back: VecDeque<usize>,
    /// Sorted by time.
    queue: VecDeque<Due>,
    flights: Vec<Flight>,
    lost: Overdue,
    /// Echo requests that make their node be asked by TCP, and connections that are tried again.
    silent: [Overdue; 2],
    /// Probes that reached nobody, so that they cost nobody anything.
    spared: usize,
    next_batch: Duration,
    phase: Phase,
    /// Round trip of the nearest node that may still be chosen.
    best: Option<Duration>,
    /// A sample of the later rounds that takes longer tells enough.
    bar: Duration,
    /// Best median that was remembered.
    recalled: Option<Duration>,
    /// Echo requests sent, and whether one came back.
    echoes: usize,
    is_echoed: bool,
    /// The nodes that were asked for an echo in vain were lined up to be asked by TCP.
    is_silence_noted: bool,
    answered: usize,
    oddities: Oddities,
}

impl Race {
    /// A race over `ways`, likely best first where nothing is remembered, with or without ICMP, that ends at `deadline`
    /// at the latest.
    pub fn new(ways: Vec<Way>, goal: Goal, icmp: bool, deadline: Duration) -> Self {
        let mut race = Self {
            goal,
            icmp,
            deadline,
            nodes: ways.iter().filter(|way| !way.is_second).count(),
            tracks: vec![Track::default(); ways.len()],
            ways,
            unasked: VecDeque::new(),
            unheard: VecDeque::new(),
            held_back: VecDeque::new(),
            queue: VecDeque::new(),
            flights: Vec::new(),
            lost: Overdue::new(LOST_AFTER, None),
            silent: [
                Overdue::new(ICMP_PATIENCE, Some(Method::Icmp)),
                Overdue::new(ASK_AGAIN, Some(Method::Tcp)),
            ],
            spared: 0,
            next_batch: Duration::ZERO,
            phase: Phase::Screen,
            best: None,
            bar: Duration::ZERO,
            recalled: None,
            echoes: 0,
            is_echoed: false,
            is_silence_noted: false,
            answered: 0,
            oddities: Oddities::default(),
        };
        race.begin();
        race
    }

    /// What is known of each way, in the order given.
    pub fn into_tracks(self) -> Vec<Track> {
        self.tracks
    }

    /// Nodes that have answered.
    pub fn answered(&self) -> usize {
        self.answered
    }

    /// The shortest round trip among those that are not out, and the way that it took.
    pub fn best(&self) -> Option<(usize, Duration)> {
        let best = self.best?;
        let is_best = |track: &Track| !track.is_out() && track.min() == Some(best);
        self.tracks.iter().position(is_best).map(|way| (way, best))
    }

    /// What came back and was not simply an answer.
    pub fn oddities(&self) -> Oddities {
        self.oddities
    }

    /// The way that a probe took.
    pub fn asked(&self, number: u32) -> Option<usize> {
        self.flights.get(usize::try_from(number).ok()?).map(|flight| flight.way)
    }

    /// Probes sent so far.
    pub fn sent(&self) -> usize {
        self.flights.len()
    }

    /// What to do at `now`.
    pub fn step(&mut self, now: Duration) -> Step {
        if now >= self.deadline {
            self.phase = Phase::Over;
        }
        self.count_lost(now);
        self.ask_the_silent(now);
        self.note_silence(now);
        loop {
            while self.phase != Phase::Over && self.is_phase_over(now) {
                self.next_phase(now);
            }
            if self.phase == Phase::Over {
                self.close(now);
                return Step::Done;
            }
            let batch = self.take_batch(now);
            if !batch.is_empty() {
                return Step::Send(batch);
            }
            // What was planned may all have become moot, and then there is nothing left to wait for.
            if !self.is_phase_over(now) {
                return Step::Wait(self.wake(now));
            }
        }
    }

    /// Records what came back at `now`. A duplicate changes nothing but its count; what was counted as lost and comes
    /// after all is no longer counted as lost.
    pub fn answer(&mut self, now: Duration, number: u32, answer: Answer) {
        let Some(flight) = usize::try_from(number).ok().and_then(|number| self.flights.get_mut(number))
        else {
            return;
        };
        let Flight { way, method, fate, .. } = *flight;
        let age = flight.age(now);
        flight.fate = Fate::Answered;
        match fate {
            Fate::Answered => {
                self.oddities.duplicates += 1;
                return;
            }
            Fate::Lost => {
                self.oddities.late += 1;
                self.tracks[way].samples(method).lost -= 1;
            }
            Fate::Out => self.oddities.late += u64::from(is_ruled_out(age, self.best)),
        }
        match answer {
            Answer::Reply(rtt) => self.replied(way, method, rtt),
            Answer::Refused => self.rule_out(way, |track| track.refused = true),
            Answer::NoRoute | Answer::NotSent => self.went_nowhere(now, way, method, answer),
        }
    }

    fn went_nowhere(&mut self, now: Duration, way: usize, method: Method, answer: Answer) {
        self.spared += 1;
        let is_known = self.tracks[way].min().is_some();
        if method == Method::Tcp && answer == Answer::NoRoute {
            self.rule_out(way, |track| track.no_route = true);
        }
        let is_tried = self.tracks[way].asked[Method::Tcp as usize] > 0;
        // Echo requests may be barred on the way, or from here; connections need not be.
        if !self.ask_sibling(now, way) && method == Method::Icmp && !is_tried && !is_known {
            self.plan(self.next_batch, way, Method::Tcp);
        }
    }

    /// Counts an answer that came from an address that was not asked.
    pub fn stranger(&mut self) {
        self.oddities.strangers += 1;
    }

    fn replied(&mut self, way: usize, method: Method, rtt: Duration) {
        let sibling = self.ways[way].sibling.map(|sibling| self.tracks[sibling].min());
        let track = &mut self.tracks[way];
        self.answered += usize::from(track.min().is_none() && sibling.flatten().is_none());
        track.samples(method).replies.push(rtt);
        self.is_echoed |= method == Method::Icmp;
        if !track.is_out() {
            self.best = Some(self.best.map_or(rtt, |best| best.min(rtt)));
        }
    }

    fn is_side_by_side(&self) -> bool {
        self.nodes <= SIDE_BY_SIDE || matches!(self.goal, Goal::Survey(_))
    }

    fn plan(&mut self, at: Duration, way: usize, method: Method) {
        self.line_up(Due { at, way, method, only_unless_served: false });
    }

    fn line_up(&mut self, due: Due) {
        *self.tracks[due.way].asked(due.method) += 1;
        let at = self.queue.partition_point(|other| other.at <= due.at);
        self.queue.insert(at, due);
    }

    /// Packets that may still be spent on top of those that are planned.
    fn left(&self) -> usize {
        let planned = self.flights.len() + self.queue.len() + self.unasked.len() + self.unheard.len();
        (budget(self.nodes) + self.spared).saturating_sub(planned)
    }

    /// Whether there is something to spend on the silent, with what the later rounds need set aside.
    fn can_ask_more(&self) -> bool {
        self.left() > budget(self.nodes) / RESERVE_SHARE
    }

    /// In a survey, a node's further samples go the way, and by the method, that has answered.
    fn settle(&self, way: usize, method: Method) -> (usize, Method) {
        if !matches!(self.goal, Goal::Survey(_)) {
            return (way, method);
        }
        let sibling = self.ways[way].sibling.filter(|sibling| {
            let other = self.tracks[*sibling].min();
            other.is_some_and(|other| self.tracks[way].min().is_none_or(|own| other < own))
        });
        let way = sibling.unwrap_or(way);
        let track = &self.tracks[way];
        let deaf = track.icmp.replies.is_empty() && !track.tcp.replies.is_empty();
        (way, if deaf { Method::Tcp } else { method })
    }

    fn take_batch(&mut self, now: Duration) -> Vec<Probe> {
        let mut batch = Vec::new();
        let Some(late) = now.checked_sub(self.next_batch) else { return batch };
        let batches = batches(late);
        while batch.len() < BATCH * batches as usize {
            let next = self.pop_due(now).or_else(|| self.pop_unasked(now));
            let Some((way, method)) = next else { break };
            self.echoes += usize::from(method == Method::Icmp);
            let number = u32::try_from(self.flights.len()).unwrap_or(u32::MAX);
            self.flights.push(Flight { way, method, sent: now, fate: Fate::Out });
            batch.push(Probe { number, way, method });
        }
        if !batch.is_empty() {
            let next = self.next_batch + TICK * batches;
            self.next_batch = if next > now { next } else { now + TICK };
        }
        batch
    }

    fn pop_due(&mut self, now: Duration) -> Option<(usize, Method)> {
        while let Some(due) = self.queue.front().filter(|due| due.at <= now).copied() {
            self.queue.pop_front();
            let track = &self.tracks[due.way];
            let is_moot = due.only_unless_served && !track.tcp.replies.is_empty();
            if !track.is_out() && !is_moot {
                return Some(self.settle(due.way, due.method));
            }
        }
        None
    }

    fn pop_unasked(&mut self, now: Duration) -> Option<(usize, Method)> {
        let method = self.screens_by(now)?;
        while let Some(way) = self.unasked.pop_front() {
            if !self.tracks[way].is_out() {
                *self.tracks[way].asked(method) += 1;
                if method == Method::Icmp && self.is_side_by_side() {
                    self.plan(now, way, Method::Tcp);
                }
                return Some((way, method));
            }
        }
        while let Some(way) = self.unheard.pop_front() {
            let track = &self.tracks[way];
            let is_moot = self.is_echoed || track.asked[Method::Tcp as usize] > 0 || track.is_out();
            if !is_moot {
                *self.tracks[way].asked(Method::Tcp) += 1;
                return Some((way, Method::Tcp));
            }
        }
        None
    }

    /// How the next node is asked for the first time; `None`: not yet.
    fn screens_by(&self, now: Duration) -> Option<Method> {
        let is_known_to_pass = self.is_echoed || self.is_side_by_side();
        match self.icmp {
            false => Some(Method::Tcp),
            true if is_known_to_pass || self.echoes < self.nodes / WARY_SHARE => Some(Method::Icmp),
            true => (now >= SILENCE).then_some(Method::Tcp),
        }
    }

    fn count_lost(&mut self, now: Duration) {
        while let Some(number) = self.lost.pop(&self.flights, now) {
            let flight = &mut self.flights[number];
            flight.fate = Fate::Lost;
            self.tracks[flight.way].samples(flight.method).lost += 1;
        }
    }

    /// Where nothing but silence answers echo requests, those who were sent one are asked by TCP like the others.
    fn note_silence(&mut self, now: Duration) {
        let is_silent = self.icmp && !self.is_echoed && !self.is_side_by_side();
        if now < SILENCE || self.is_silence_noted || !is_silent || self.phase != Phase::Screen {
            return;
        }
        self.is_silence_noted = true;
        let asked =
            self.flights.iter().filter(|flight| flight.method == Method::Icmp).map(|flight| flight.way);
        let mut asked: Vec<usize> =
            asked.filter(|way| self.tracks[*way].asked[Method::Tcp as usize] == 0).collect();
        asked.dedup();
        self.unheard = asked.into();
    }

    /// While the band is open, a node silent on ICMP gets its chance by TCP, and one silent on TCP a second one, as far
    /// as the budget goes; in a survey, a port that is silent is tried once more.
    fn ask_the_silent(&mut self, now: Duration) {
        for method in [Method::Icmp, Method::Tcp] {
            while let Some(number) = self.silent[method as usize].pop(&self.flights, now) {
                let way = self.flights[number].way;
                let track = &self.tracks[way];
                let is_new = track.asked[Method::Tcp as usize] == u32::from(method == Method::Tcp);
                let age = self.flights[number].age(now);
                // Where somebody is nearer than that, its chance has passed.
                let is_open =
                    self.phase == Phase::Screen && self.goal == Goal::Decide && !is_ruled_out(age, self.best);
                if is_open && is_new && track.min().is_none() && !track.is_out() && self.can_ask_more() {
                    self.plan(now, way, Method::Tcp);
                    self.ask_sibling(now, way);
                }
                // A survey says of each node whether it serves, and one lost packet must not decide that.
                let track = &self.tracks[way];
                let is_unsure = method == Method::Tcp && is_new && track.tcp.replies.is_empty();
                if matches!(self.goal, Goal::Survey(_)) && is_unsure && !track.is_out() {
                    self.plan(now, way, Method::Tcp);
                }
            }
        }
    }

    /// The other way to the same node, when this one fails. False when there is none, or it was asked already.
    fn ask_sibling(&mut self, now: Duration, way: usize) -> bool {
        let sibling = self.ways[way].sibling;
        let Some(sibling) = sibling.filter(|sibling| self.tracks[*sibling].asked == [0, 0]) else {
            return false;
        };
        let method = if self.icmp { Method::Icmp } else { Method::Tcp };
        self.plan(now, sibling, method);
        if self.icmp && self.is_side_by_side() {
            self.plan(now, sibling, Method::Tcp);
        }
        true
    }

    fn rule_out(&mut self, way: usize, mark: impl FnOnce(&mut Track)) {
        mark(&mut self.tracks[way]);
        if self.tracks[way].min().is_some_and(|min| self.best == Some(min)) {
            self.best = self.tracks.iter().filter(|track| !track.is_out()).filter_map(Track::min).min();
        }
    }

    fn is_phase_over(&self, now: Duration) -> bool {
        self.queue.is_empty()
            && self.unasked.is_empty()
            && self.unheard.is_empty()
            && self.last_to_matter(now).is_none()
    }

    /// When the last of the probes under way stops mattering, unless it is answered before. `None` when none matters.
    fn last_to_matter(&self, now: Duration) -> Option<Duration> {
        // The youngest matter longest, but for a few; see `matters_for`.
        let limit = match (self.goal, self.phase, self.best) {
            (Goal::Survey(_), ..) | (_, Phase::Screen, None) => LOST_AFTER,
            (_, Phase::Screen, Some(best)) => band_top(best),
            _ => band_top(self.bar),
        };
        let young = self.flights.iter().rev().take_while(|flight| flight.age(now) <= limit);
        let mattering = young.filter(|flight| flight.is_out()).filter_map(|flight| {
            let matters_for = self.matters_for(flight)?;
            (flight.age(now) <= matters_for).then_some(flight.sent + matters_for)
        });
        match self.phase {
            Phase::Screen => mattering.take(1).next(),
            _ => mattering.max(),
        }
    }

    /// The stop rule: up to which age the answer to this probe could still change the choice.
    fn matters_for(&self, flight: &Flight) -> Option<Duration> {
        let track = &self.tracks[flight.way];
        if track.is_out() {
            return None;
        }
        match (self.goal, self.phase) {
            (Goal::Survey(_), _) => Some(LOST_AFTER),
            // Side by side, whichever answers first has screened the node.
            (Goal::Decide, Phase::Screen) => {
                track.min().is_none().then(|| self.best.map_or(LOST_AFTER, band_top))
            }
            // Reachable is not serving: who is in the band by echo is given the time to accept a connection.
            (Goal::Decide, _) if flight.method == Method::Tcp && track.tcp.replies.is_empty() => {
                let near = track.min().filter(|min| *min <= self.bar);
                Some(near.map_or(self.bar, band_top).max(self.bar))
            }
            (Goal::Decide, _) => Some(self.bar),
        }
    }

    /// When the next thing can happen without an answer.
    fn wake(&mut self, now: Duration) -> Duration {
        let due = self.queue.front().map(|due| due.at.max(self.next_batch));
        let unasked =
            (!self.unasked.is_empty() || !self.unheard.is_empty()).then(|| match self.screens_by(now) {
                Some(_) => self.next_batch,
                None => SILENCE,
            });
        // Just when it stops mattering it still does.
        let settled = self.last_to_matter(now).map(|last| last + Duration::from_nanos(1));
        let [icmp, tcp] = &mut self.silent;
        let overdue = [icmp, tcp, &mut self.lost].map(|overdue| overdue.due(&self.flights));
        let times = [due, unasked, settled].into_iter().chain(overdue).flatten();
        let next = times.filter(|time| *time > now).min();
        next.map_or(self.deadline, |time| time.min(self.deadline)).max(now)
    }

    /// What is still out when the race ends: a sample counts as the time it was waited for, when its node is known to answer.
    fn close(&mut self, now: Duration) {
        if self.goal != Goal::Decide {
            return;
        }
        for flight in self.flights.iter().filter(|flight| flight.is_out()) {
            let waited = flight.age(now);
            let track = &mut self.tracks[flight.way];
            track.not_awaited = now < self.deadline;
            track.waited = track.waited.max(waited);
            if waited <= self.bar || track.min().is_none() {
                continue;
            }
            let samples = track.samples(flight.method);
            if !samples.replies.is_empty() {
                samples.cut.push(waited);
            } else if flight.method == Method::Tcp {
                track.given_up += 1;
            }
        }
        for track in self.tracks.iter_mut().filter(|track| track.asked == [0, 0]) {
            track.not_awaited = true;
        }
    }
}
