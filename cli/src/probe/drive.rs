//! Runs a race over a road: does what the race asks, and tells it what came back.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    race::{Answer, Goal, Oddities, Probe, Race, Step, Way},
    search::Prior,
    track::Track,
};

#[cfg(test)]
mod tests;

/// Arrivals told to the race before it may act again: whoever floods this machine does not stop it from asking others.
const AT_ONCE: usize = 1024;

/// What carries probes: real sockets, or a simulated network under a paused clock.
pub trait Road {
    /// What one race sends and receives. Dropping it gives up what is under way.
    type Traffic: Traffic;
    /// Whether echo requests can be sent at all.
    fn has_icmp(&self) -> bool;
    /// Begins a race.
    fn begin(&self) -> Self::Traffic;
}

/// The probes of one race.
pub trait Traffic {
    /// Sends one probe. What becomes of it is received, also that it could not be sent.
    fn send(&mut self, to: SocketAddr, probe: Probe);
    /// What comes back next; waits for it, for ever where nothing does. Cancel safe.
    fn receive(&mut self) -> impl Future<Output = Arrival> + Send;
    /// What has come back already.
    fn try_receive(&mut self) -> Option<Arrival>;
}

/// Something came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// The probe it answers, by its own word.
    pub number: u32,
    /// Who speaks, or on whose behalf a router does; `None` where only who was asked could answer.
    pub from: Option<IpAddr>,
    /// What it says.
    pub answer: Answer,
}

/// A node to be raced.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its address, in the family that the system would try first.
    pub first: SocketAddr,
    /// Its address in the other family.
    pub second: Option<SocketAddr>,
    /// What is remembered of it.
    pub prior: Option<Prior>,
    /// It is the node in use.
    pub is_present: bool,
}

impl From<SocketAddr> for Target {
    fn from(first: SocketAddr) -> Self {
        Self { first, second: None, prior: None, is_present: false }
    }
}

/// What a race found.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The better way to each node, in the order given: its address, and what is known of it.
    pub found: Vec<(SocketAddr, Track)>,
    /// The time it took.
    pub took: Duration,
    /// Probes sent.
    pub sent: usize,
    /// What came back besides answers.
    pub oddities: Oddities,
}

/// What is known while a race goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Heard {
    /// Nodes that have answered.
    pub answered: usize,
    /// The nearest of them so far, by its place in the list, and its shortest round trip.
    pub best: Option<(usize, Duration)>,
}

/// Races `targets`, likely best first; `heard` is told whenever another one has answered.
pub async fn drive(
    road: &impl Road,
    targets: &[Target],
    goal: Goal,
    deadline: Duration,
    mut heard: impl FnMut(Heard),
) -> Outcome {
    let start = Instant::now();
    let (ways, addresses) = ways(targets);
    let mut traffic = road.begin();
    let mut race = Race::new(ways.clone(), goal, road.has_icmp(), deadline);
    let mut answered = 0;
    loop {
        match race.step(start.elapsed()) {
            Step::Done => break,
            Step::Send(batch) => {
                for probe in batch {
                    traffic.send(addresses[probe.way], probe);
                }
            }
            Step::Wait(until) => {
                let mut arrived = tokio::select! {
                    biased;
                    arrival = traffic.receive() => Some(arrival),
                    () = tokio::time::sleep_until(start + until) => None,
                };
                for _ in 0..AT_ONCE {
                    let Some(arrival) = arrived.or_else(|| traffic.try_receive()) else { break };
                    tell(&mut race, start.elapsed(), arrival, &addresses);
                    arrived = None;
                }
            }
        }
        if race.answered() != answered {
            answered = race.answered();
            let first = |way: usize| if ways[way].is_second { ways[way].sibling } else { Some(way) };
            let best = race.best().and_then(|(way, rtt)| Some((first(way)?, rtt)));
            heard(Heard { answered, best });
        }
    }
    let (sent, oddities) = (race.sent(), race.oddities());
    let found = better(&ways, &addresses, race.into_tracks());
    Outcome { found, took: start.elapsed(), sent, oddities }
}

/// The ways to all targets: the first ones in their order, then the second ones.
fn ways(targets: &[Target]) -> (Vec<Way>, Vec<SocketAddr>) {
    let mut ways: Vec<Way> = targets
        .iter()
        .map(|target| Way { prior: target.prior, is_present: target.is_present, ..Way::default() })
        .collect();
    let mut addresses: Vec<SocketAddr> = targets.iter().map(|target| target.first).collect();
    for (index, target) in targets.iter().enumerate() {
        if let Some(second) = target.second {
            ways[index].sibling = Some(ways.len());
            ways.push(Way { sibling: Some(index), is_second: true, ..Way::default() });
            addresses.push(second);
        }
    }
    (ways, addresses)
}

/// Each node's better way.
fn better(ways: &[Way], addresses: &[SocketAddr], mut tracks: Vec<Track>) -> Vec<(SocketAddr, Track)> {
    let firsts = (0..ways.len()).filter(|way| !ways[*way].is_second);
    let better: Vec<usize> = firsts
        .map(|first| match ways[first].sibling {
            Some(second) if tracks[second].is_better_than(&tracks[first]) => second,
            _ => first,
        })
        .collect();
    better.into_iter().map(|way| (addresses[way], std::mem::take(&mut tracks[way]))).collect()
}

/// Silence needs no telling: the race counts it by its own time.
fn tell(race: &mut Race, now: Duration, arrival: Arrival, addresses: &[SocketAddr]) {
    let asked = race.asked(arrival.number).map(|way| addresses[way].ip());
    if arrival.from.is_some_and(|from| asked.is_some_and(|asked| asked != from)) {
        race.stranger();
    } else {
        race.answer(now, arrival.number, arrival.answer);
    }
}
