//! The rounds of a race: all are screened, the leaders get a second look, the finalists are measured well. With history
//! the likely ones are measured well straight away, and the rest only when that shows history to be wrong.

use std::time::Duration;

use super::{
    super::{
        plan::{
            CONFIRM_AGAIN, FINALIST_SAMPLES, FINALISTS, LEADER_SAMPLES, LEADERS, RECALL_LOOKED_AT,
            RECALL_SAMPLES, RECALLED, RENEWED, SPACING, SURPRISE, SURVEY_SPACING, afford, band_top,
            leader_top, nearest,
        },
        search::Prior,
        statistics::Samples,
        track::Method,
    },
    Due, Goal, Race,
};

/// Where a race stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Those that were near the last time are measured.
    Recall,
    /// All are asked once.
    Screen,
    /// The nearest are asked a few times.
    Leaders,
    /// The best are measured well.
    Finalists,
    /// Enough is known.
    Over,
}

/// What is remembered of a way, for sorting: who served first, by its median; then the unknown; then who did not.
fn standing_before(prior: Option<&Prior>) -> (u8, Duration) {
    match prior {
        Some(prior) if prior.served || prior.method == Method::Icmp => (0, prior.measured.p50),
        None => (1, Duration::ZERO),
        Some(prior) => (2, prior.measured.p50),
    }
}

impl Race {
    /// Plans the first round.
    pub(super) fn begin(&mut self) {
        let mut order: Vec<usize> = (0..self.ways.len()).filter(|way| !self.ways[*way].is_second).collect();
        order.sort_by_key(|way| standing_before(self.ways[*way].prior.as_ref()));
        match self.goal {
            Goal::Survey(count) => self.begin_survey(&order, count),
            Goal::Decide if self.is_history_enough() => self.begin_with_history(&order),
            Goal::Decide => self.unasked = order.into(),
        }
    }

    fn begin_survey(&mut self, order: &[usize], count: u32) {
        self.unasked = order
            .iter()
            .copied()
            .chain((0..self.ways.len()).filter(|way| self.ways[*way].is_second))
            .collect();
        for sample in 1..count {
            for way in order {
                // The way and the method are settled when it is sent.
                let method = if self.icmp { Method::Icmp } else { Method::Tcp };
                self.plan(SURVEY_SPACING * sample, *way, method);
            }
        }
    }

    /// Whether an earlier probing knew most of the nodes.
    fn is_history_enough(&self) -> bool {
        let known = self.ways.iter().filter(|way| !way.is_second && way.prior.is_some()).count();
        self.nodes > 1 && known * 2 > self.nodes
    }

    fn begin_with_history(&mut self, order: &[usize]) {
        let prior = |way: usize| self.ways[way].prior.as_ref();
        let served = |way: &usize| prior(*way).is_some_and(|prior| prior.served);
        let Some(best) = order.iter().copied().filter(served).find_map(prior).map(|prior| prior.measured.p50)
        else {
            self.unasked = order.iter().copied().collect();
            return;
        };
        let is_present = |way: usize| self.ways[way].is_present;
        let is_near = |way: usize| {
            is_present(way) || prior(way).is_some_and(|prior| prior.measured.min <= band_top(best))
        };
        let (near, rest): (Vec<usize>, Vec<usize>) = order.iter().partition(|way| is_near(**way));
        let likely = near.iter().copied().filter(|way| served(way) && !is_present(*way)).take(RECALLED);
        let measured: Vec<usize> =
            near.iter().copied().filter(|way| is_present(*way)).chain(likely).collect();
        let looked_at = near.iter().copied().filter(|way| !measured.contains(way));
        let (unknown, mut known): (Vec<usize>, Vec<usize>) =
            rest.iter().partition(|way| prior(**way).is_none());
        let mut oldest = known.clone();
        oldest.sort_by_key(|way| std::cmp::Reverse(prior(*way).map(|prior| prior.age)));
        oldest.truncate(RENEWED);
        known.retain(|way| !oldest.contains(way));
        let mut asked: Vec<usize> = looked_at.collect();
        known.splice(0..0, asked.split_off(asked.len().min(RECALL_LOOKED_AT)));
        asked.extend(unknown.into_iter().chain(oldest));
        let methods: Vec<Method> =
            measured.iter().map(|way| prior(*way).map_or(Method::Icmp, |prior| prior.method)).collect();
        self.unasked = asked.into();
        self.held_back = known.into();
        (self.phase, self.recalled, self.bar) = (Phase::Recall, Some(best), band_top(best));
        for (way, method) in measured.into_iter().zip(methods) {
            let method = if self.icmp { method } else { Method::Tcp };
            self.plan_samples(Duration::ZERO, way, method, RECALL_SAMPLES);
            self.confirm(Duration::ZERO, way);
        }
    }

    pub(super) fn next_phase(&mut self, now: Duration) {
        self.phase = match (self.goal, self.phase) {
            (Goal::Decide, Phase::Recall) => self.judge_history(now),
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

    /// Whether what is remembered still holds. It does not when the best of it is silent, or much farther than it was:
    /// then all are screened. Where it is a little farther, whoever could be as near by what is remembered is asked, too.
    fn judge_history(&mut self, now: Duration) -> Phase {
        let medians = self.medians(now);
        let well_measured = |way: usize| {
            let track = &self.tracks[way];
            track.asked.iter().sum::<u32>() > 1 && !track.tcp.replies.is_empty()
        };
        let best = (0..medians.len()).filter(|way| well_measured(*way)).filter_map(|way| medians[way]).min();
        let holds = best.zip(self.recalled).is_some_and(|(best, recalled)| best <= leader_top(recalled));
        let Some(best) = best.filter(|_| holds) else {
            self.unasked.extend(std::mem::take(&mut self.held_back));
            return Phase::Screen;
        };
        let near = |way: &usize| {
            self.ways[*way].prior.as_ref().is_none_or(|prior| prior.measured.min <= band_top(best))
        };
        let (near, far): (Vec<usize>, Vec<usize>) = self.held_back.iter().partition(|way| near(way));
        self.held_back = far.into();
        self.unasked.extend(near);
        let nearest =
            (0..medians.len()).filter(|way| well_measured(*way)).filter_map(|way| self.tracks[way].min());
        let nearest = nearest.min().unwrap_or(best);
        let is_surprised = self.best.is_some_and(|best| best + SURPRISE < nearest);
        if self.unasked.is_empty() && !is_surprised { Phase::Over } else { Phase::Screen }
    }

    fn plan_leaders(&mut self, now: Duration) {
        let Some(best) = self.best else { return };
        self.bar = band_top(best);
        let mut leaders = nearest(&self.standing(Samples::min), LEADERS, leader_top(best));
        // The second way of a leader may be the shorter one.
        let siblings: Vec<usize> = leaders.iter().filter_map(|way| self.ways[*way].sibling).collect();
        leaders.extend(siblings.into_iter().filter(|way| self.tracks[*way].asked == [0, 0]));
        // Likely by what is remembered, and silent: its one probe may have been lost.
        let silent = (0..self.ways.len()).filter(|way| {
            let is_likely = self.ways[*way].prior.is_some_and(|prior| prior.measured.p50 <= self.bar);
            is_likely && self.tracks[*way].min().is_none() && !self.tracks[*way].is_out()
        });
        leaders.extend(silent.take(LEADERS));
        leaders.dedup();
        // Half of what is left is for the finalists.
        let (count, samples) = afford(self.left() / 2, leaders.len(), LEADER_SAMPLES);
        for way in leaders.into_iter().take(count) {
            let method = self.method_for(way);
            self.plan_samples(now, way, method, samples);
            // Reachable is not serving: a leader has to answer on its port.
            if self.tracks[way].asked[Method::Tcp as usize] == 0 {
                self.plan(now, way, Method::Tcp);
            }
        }
    }

    fn plan_finalists(&mut self, now: Duration) {
        let medians = self.medians(now);
        let Some(best) = medians.iter().flatten().min().copied() else { return };
        self.bar = band_top(best);
        let finalists = nearest(&medians, FINALISTS, self.bar);
        let (count, samples) = afford(self.left(), finalists.len(), FINALIST_SAMPLES);
        for way in finalists.into_iter().take(count) {
            let method = self.method_for(way);
            self.plan_samples(now, way, method, samples);
            self.confirm(now, way);
        }
    }

    /// Asks a port that has not answered yet, and once more if it goes on like that.
    fn confirm(&mut self, now: Duration, way: usize) {
        for at in [now, now + CONFIRM_AGAIN] {
            if self.tracks[way].tcp.replies.is_empty() {
                self.line_up(Due { at, way, method: Method::Tcp, only_unless_served: true });
            }
        }
    }

    fn method_for(&self, way: usize) -> Method {
        let track = &self.tracks[way];
        let is_deaf = track.icmp.replies.is_empty() && !track.tcp.replies.is_empty();
        if is_deaf || !self.icmp { Method::Tcp } else { Method::Icmp }
    }

    fn plan_samples(&mut self, now: Duration, way: usize, method: Method, count: u32) {
        for sample in 0..count {
            self.plan(now + SPACING * sample, way, method);
        }
    }

    /// One figure per way that may still be chosen, of the method that screened it.
    fn standing(&self, figure: impl Fn(&Samples) -> Option<Duration>) -> Vec<Option<Duration>> {
        let tracks = self.tracks.iter().map(|track| {
            let samples = if track.icmp.replies.is_empty() { &track.tcp } else { &track.icmp };
            figure(samples).filter(|_| !track.is_out())
        });
        tracks.collect()
    }

    /// The median of each way that may still be chosen. What is still out counts as the time it was waited for.
    fn medians(&self, now: Duration) -> Vec<Option<Duration>> {
        let mut tracks = self.tracks.clone();
        for flight in self.flights.iter().filter(|flight| flight.is_out() && flight.age(now) > self.bar) {
            tracks[flight.way].samples(flight.method).cut.push(flight.age(now));
        }
        let median = |samples: &Samples| samples.measure().map(|measured| measured.p50);
        let medians = tracks.iter().map(|track| {
            let samples = if track.icmp.replies.is_empty() { &track.tcp } else { &track.icmp };
            median(samples).filter(|_| !track.is_out())
        });
        medians.collect()
    }
}
