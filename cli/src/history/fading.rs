//! How a new measurement joins what is known: pure, with every rate named.

use std::{net::IpAddr, time::Duration};

use super::content::{By, Entry, NodeName};
use crate::probe::{Failing, Live, Measurement, Prior, Probed, Reach};

/// After this time a counted probe weighs half. Shorter forgets that a path loses packets every evening; longer holds last
/// week's broken cable against it.
pub const HALF_LIFE: Duration = Duration::from_secs(24 * 3600);
/// Probes that count at most: beyond, old ones make room. More: a path that has become bad is believed to be good for as
/// many probes as it was good.
pub const MOST_PROBES: f64 = 200.0;
/// What is known weighs at most as much as this many samples, so that a finalist's fifteen decide, and the one sample of a
/// node that was only screened moves its figures by a fifth.
pub const OLD_WEIGHT: f64 = 4.0;

/// What a probing found of one node.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Which node.
    pub node: NodeName,
    /// Where it was probed.
    pub ip: IpAddr,
    /// Its figures. With none answered, the time for which it was silent: it is farther than that, or dead. `None` where
    /// nothing was found out about its distance.
    pub measured: Option<Measurement>,
    /// By which method.
    pub method: By,
    /// Whether it serves.
    pub serves: Serves,
}

/// Whether a node serves, as far as a probing found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serves {
    /// Its port accepts connections, and who answers there is trusted as far as anybody asked.
    Yes,
    /// It does not.
    No,
    /// Nobody found out.
    Unknown,
}

impl Found {
    /// What there is to remember of a node; nothing where it was not asked.
    pub fn of(node: &Probed) -> Option<Self> {
        let serves = serves(node)?;
        let prior = Prior::of(node).filter(|_| node.reach != Reach::Remembered);
        Some(Self {
            node: NodeName::of(&node.record),
            ip: node.address?.ip(),
            measured: prior.map(|prior| prior.measured),
            method: prior.map_or(By::Icmp, |prior| prior.method.into()),
            serves,
        })
    }

    /// For how long it was silent, where that is all there is to know of its distance.
    fn silence(&self) -> Option<Duration> {
        self.measured.filter(|measured| measured.answered == 0).map(|measured| measured.p50)
    }
}

fn serves(node: &Probed) -> Option<Serves> {
    use Reach::{
        Forbidden, NoRoute, NotAwaited, NotDrawn, NotProbed, NotRemembered, PortSilent, Refused, Remembered,
        Serving, Silent, Unconfirmed, Unresolved,
    };
    match (node.reach, &node.live) {
        (Unresolved | NotProbed | Forbidden | NotDrawn | NotRemembered, _) => None,
        // Asked, and still silent when nearer ones had settled the race.
        (NotAwaited, _) => node.silent_for.map(|_| Serves::Unknown),
        // Others were quicker to answer over TLS; that is no fault.
        (Serving, Live::Failed(failed)) if failed.failing == Failing::Slow => Some(Serves::Yes),
        (Remembered, Live::Failed(failed)) if failed.failing == Failing::Slow => None,
        (_, Live::Failed(_) | Live::Untrusted(_)) => Some(Serves::No),
        // Its figures are those of the last time.
        (Remembered, _) => None,
        (_, Live::Known(_) | Live::FirstUse(_)) | (Serving, _) => Some(Serves::Yes),
        (Unconfirmed, _) => Some(Serves::Unknown),
        (PortSilent | Refused | NoRoute | Silent, _) => Some(Serves::No),
    }
}

/// The first entry of a node; none where nothing is known of its distance.
pub fn first(found: &Found, now: u64) -> Option<Entry> {
    let measured = found.measured?;
    Some(Entry {
        node: found.node.clone(),
        ip: found.ip,
        min: micros(measured.min),
        p50: micros(measured.p50),
        jitter: micros(measured.jitter),
        answered: f64::from(measured.answered),
        lost: f64::from(measured.lost),
        method: found.method,
        served: found.serves == Serves::Yes,
        at: now,
        counted: now,
    })
}

impl Entry {
    /// Its probes as they count at `now`.
    pub(super) fn faded(&self, now: u64) -> Self {
        // A clock that was set back fades nothing.
        let age = Duration::from_secs(now.saturating_sub(self.counted));
        let left = (-age.as_secs_f64() / HALF_LIFE.as_secs_f64()).exp2();
        Self { answered: self.answered * left, lost: self.lost * left, counted: now, ..self.clone() }
    }

    /// The entry after another probing. Figures of another method, or from another address, are not mixed: they start anew.
    #[must_use]
    pub fn then(&self, found: &Found, now: u64) -> Self {
        let Some(measured) = found.measured else { return self.missed(now) };
        if let Some(silence) = found.silence() {
            return self.silent(found, silence, now);
        }
        let other = self.is_bound() || found.method != self.method || found.ip != self.ip;
        if let Some(entry) = first(found, now).filter(|_| other) {
            return entry;
        }
        let old = self.faded(now);
        let samples = f64::from(measured.answered);
        let weight = old.answered.min(OLD_WEIGHT);
        let p50 = between(self.p50, weight, micros(measured.p50), samples);
        Self {
            p50,
            // A shorter one proves itself; a longer one could be chance, and could be a new road.
            min: micros(measured.min).min(between(self.min, weight, micros(measured.min), samples)).min(p50),
            // One sample has no spread.
            jitter: between(self.jitter, weight, micros(measured.jitter), samples - 1.0),
            answered: old.answered + samples,
            lost: old.lost + f64::from(measured.lost),
            served: match found.serves {
                Serves::Yes => true,
                Serves::No => false,
                Serves::Unknown => self.served,
            },
            at: now,
            ..old
        }
        .with_room()
    }

    /// Whether what was found by somebody who wants to know nothing of earlier probings takes the place of this. Silence
    /// does not, unless it contradicts: that a node is farther than 40 ms is true of one 80 ms away.
    pub(super) fn yields_to(&self, new: &Self) -> bool {
        !new.is_bound() || self.is_bound() || (new.node == self.node && new.p50 > self.p50)
    }

    /// A probing that was silent for so long: what was lost counts as lost, what was not waited for as one long sample.
    fn silent(&self, found: &Found, silence: Duration, now: u64) -> Self {
        let silence = micros(silence);
        let is_elsewhere = found.ip != self.ip;
        match (self.is_bound(), found.serves) {
            // Known to be farther than that already, and just as true today.
            (true, _) if !is_elsewhere && silence < self.p50 => {
                Self { at: now, counted: now, ..self.clone() }
            }
            (true, _) => first(found, now).unwrap_or_else(|| self.clone()),
            (false, Serves::Unknown) if is_elsewhere => first(found, now).unwrap_or_else(|| self.clone()),
            // Its shortest round trip stays: the one probe may have been lost, and the next race looks at it again.
            (false, Serves::Unknown) if silence > self.p50 => {
                let old = self.faded(now);
                Self { p50: between(self.p50, old.answered.min(OLD_WEIGHT), silence, 1.0), ..self.clone() }
            }
            (false, Serves::Unknown) => self.clone(),
            (false, _) => self.missed(now),
        }
    }

    /// A probing that it did not answer. Its figures stay as old as they are.
    fn missed(&self, now: u64) -> Self {
        if self.is_bound() {
            return self.clone();
        }
        let old = self.faded(now);
        Self { lost: old.lost + 1.0, served: false, ..old }.with_room()
    }

    fn with_room(self) -> Self {
        let scale = (MOST_PROBES / (self.answered + self.lost)).min(1.0);
        Self { answered: self.answered * scale, lost: self.lost * scale, ..self }
    }
}

/// The mean of two figures by their weights; the newer one where neither has any.
fn between(old: u32, old_weight: f64, new: u32, new_weight: f64) -> u32 {
    let (old_weight, new_weight) = (old_weight.max(0.0), new_weight.max(0.0));
    if old_weight + new_weight <= 0.0 {
        return new;
    }
    let mean = (f64::from(old) * old_weight + f64::from(new) * new_weight) / (old_weight + new_weight);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between two that fit")]
    let mean = mean.round() as u32;
    mean
}

fn micros(time: Duration) -> u32 {
    // Rounded, as figures are shown.
    u32::try_from((time.as_nanos() + 500) / 1000).unwrap_or(u32::MAX)
}
