//! Why a node may not be chosen: one reason a rule, with the values that decided.

use std::{cmp::Ordering, fmt, sync::Arc, time::Duration};

use cbrowse_protocol::{
    id::NodeId,
    node::{Health, NodeRecord},
};
use cbrowse_registry::VersionRange;
use serde::{Serialize, Serializer, ser::SerializeStruct as _};

use super::{
    Constraints,
    place::{Around, COUNTRY_KEY, Location},
};
use crate::{
    breaker::KeptOut,
    probe::{Failed, Live, Probed, Reach},
    words::count,
};

/// One thing that speaks against a node.
#[derive(Debug, Clone, PartialEq)]
pub enum Reason {
    /// In another region.
    Region {
        /// Where it stands.
        is: String,
        /// Where it should; one list for all nodes.
        wanted: Arc<[String]>,
    },
    /// A region is wanted, and it names none.
    RegionUnknown,
    /// In another zone, or in one that it does not name.
    Zone {
        /// Where it stands; empty when it names none.
        is: String,
        /// Where it should.
        wanted: Vec<String>,
    },
    /// Lacks a tag.
    Tag(String),
    /// Lacks a pair of metadata.
    Meta {
        /// The pair's key.
        key: String,
        /// The pair's value.
        value: String,
        /// What stands there instead.
        is: Option<String>,
    },
    /// In another country, or in one that it does not name.
    Country {
        /// Where it stands; `None` when it does not say.
        is: Option<String>,
        /// Where it should.
        wanted: Vec<String>,
    },
    /// Too far from the point asked for, or nobody knows.
    Distance {
        /// How far it stands, in kilometres; `None` when it does not say.
        is: Option<f64>,
        /// What was asked for.
        around: Around,
    },
    /// Its registry holds it for healthier, or less healthy, than asked for.
    Health {
        /// What its health check said.
        is: Health,
        /// What was asked for.
        wanted: Vec<Health>,
    },
    /// Its `cbrowse-node` is of another version than asked for.
    VersionRange {
        /// Its version; empty when it names none.
        is: String,
        /// What was asked for.
        range: VersionRange,
    },
    /// Not one of the nodes asked for.
    NotAsked,
    /// Its `cbrowse-node` is too old.
    Version {
        /// Its version; empty when it names none.
        is: String,
        /// The least that was asked for.
        least: String,
    },
    /// Its browser is older than the one that wrote the profile.
    BrowserTooOld {
        /// Its browser; empty when it names none.
        is: String,
        /// The profile's.
        profile: String,
    },
    /// Its weight is 0: the operator sends no new sessions there.
    NoWeight,
    /// No free seat.
    Full {
        /// Sessions running.
        sessions: u32,
        /// Sessions it admits.
        capacity: u32,
    },
    /// It failed this user lately, or asked to be left alone.
    KeptOut(KeptOut),
    /// It will end soon.
    Draining,
    /// Farther away than asked for.
    TooFar {
        /// Its median round trip.
        rtt: Duration,
        /// The limit.
        limit: Duration,
    },
    /// It cannot be reached, or does not serve.
    Unreachable(Reach),
    /// Quiet probing drew others.
    NotDrawn,
    /// What is remembered decides, and it is not remembered.
    NotRemembered,
    /// It answers, and its status cannot be had.
    NotServing(Failed),
    /// It is not who it should be.
    NotTrusted(String),
}

impl Reason {
    /// Stable name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Region { .. } => "region",
            Self::RegionUnknown => "region_unknown",
            Self::Zone { .. } => "zone",
            Self::Tag(_) => "tag",
            Self::Meta { .. } => "meta",
            Self::Country { .. } => "country",
            Self::Distance { .. } => "distance",
            Self::Health { .. } => "health",
            Self::VersionRange { .. } => "version_range",
            Self::NotAsked => "node",
            Self::Version { .. } => "version",
            Self::BrowserTooOld { .. } => "browser_too_old",
            Self::NoWeight => "weight",
            Self::Full { .. } => "full",
            Self::KeptOut(_) => "kept_out",
            Self::Draining => "draining",
            Self::TooFar { .. } => "max_latency",
            Self::Unreachable(_) => "unreachable",
            Self::NotDrawn => "not_drawn",
            Self::NotRemembered => "not_remembered",
            Self::NotServing(_) => "not_serving",
            Self::NotTrusted(_) => "not_trusted",
        }
    }
}

impl Reason {
    /// Which of several things it is that the code sums up; a stable name for programs.
    pub fn cause(&self) -> Option<&'static str> {
        match self {
            Self::Unreachable(reach) => Some(match reach {
                Reach::Refused => "refused",
                Reach::NoRoute => "no_route",
                Reach::PortSilent => "port_silent",
                Reach::Forbidden => "forbidden",
                Reach::Unresolved => "unresolved",
                Reach::Silent
                | Reach::NotAwaited
                | Reach::NotProbed
                | Reach::Serving
                | Reach::Unconfirmed
                | Reach::Remembered
                | Reach::NotRemembered
                | Reach::NotDrawn => "silent",
            }),
            Self::NotServing(failed) => Some(failed.failing.name()),
            _ => None,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |duration: &Duration| duration.as_secs_f64() * 1e3;
        match self {
            Self::Region { is, wanted } => write!(f, "in {is}, not {}", wanted.join(" or ")),
            Self::RegionUnknown => f.write_str("does not name its region"),
            Self::Zone { is, wanted } => write!(f, "zone {}, not {}", or_unknown(is), wanted.join(" or ")),
            Self::Tag(tag) => write!(f, "lacks the tag {tag}"),
            Self::Meta { key, value, is: None } => write!(f, "lacks the metadata {key}={value}"),
            Self::Meta { key, value, is: Some(is) } => write!(f, "metadata {key}={is}, not {value}"),
            Self::Country { is, wanted } => {
                write!(f, "country {}, not {}", is.as_deref().unwrap_or("unknown"), wanted.join(" or "))
            }
            Self::Distance { is: None, around } => {
                write!(f, "does not say where it is, so not how far from {}", around.center)
            }
            Self::Distance { is: Some(km), around } => {
                write!(f, "{km:.0} km from {}, over {:.0} km", around.center, around.radius_km)
            }
            Self::Health { is, wanted } => {
                let wanted: Vec<String> = wanted.iter().map(ToString::to_string).collect();
                write!(f, "health {is}, not {}", wanted.join(" or "))
            }
            Self::VersionRange { is, range } => write!(f, "version {}, not {range}", or_unknown(is)),
            Self::NotAsked => f.write_str("not one of --node"),
            Self::Version { is, least } => write!(f, "version {}, {least} is needed", or_unknown(is)),
            Self::BrowserTooOld { is, profile } => {
                write!(f, "browser {} is older than the profile's {profile}", or_unknown(is))
            }
            Self::NoWeight => f.write_str("weight 0: takes no new sessions"),
            Self::Full { sessions, capacity } => write!(f, "full ({sessions} of {capacity} seats)"),
            Self::KeptOut(KeptOut { failures: 0, wait }) => {
                write!(f, "kept out as it asked for, tried again in {} s", wait.as_secs() + 1)
            }
            Self::KeptOut(KeptOut { failures, wait }) => {
                let times = count(u64::from(*failures), "failure");
                write!(f, "kept out after {times}, tried again in {} s", wait.as_secs() + 1)
            }
            Self::Draining => f.write_str("draining"),
            Self::TooFar { rtt, limit } => write!(f, "{:.1} ms away, over {:.1} ms", ms(rtt), ms(limit)),
            Self::Unreachable(reach) => f.write_str(match reach {
                Reach::Refused => "nothing listens on its port",
                Reach::NoRoute => "no route to it",
                Reach::PortSilent => "answers ping, its port does not",
                Reach::Forbidden => "its name leads where its catalog may not point",
                Reach::Unresolved => "its name does not resolve",
                Reach::Silent
                | Reach::NotAwaited
                | Reach::NotProbed
                | Reach::Serving
                | Reach::Unconfirmed
                | Reach::Remembered
                | Reach::NotRemembered
                | Reach::NotDrawn => "no answer",
            }),
            Self::NotDrawn => f.write_str("not among the few that quiet probing drew"),
            Self::NotRemembered => f.write_str("no earlier probing on this network found it serving"),
            Self::NotServing(why) => write!(f, "does not serve: {why}"),
            Self::NotTrusted(why) => write!(f, "not trusted: {why}"),
        }
    }
}

fn or_unknown(text: &str) -> &str {
    if text.is_empty() { "unknown" } else { text }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let cause = self.cause();
        let mut object = serializer.serialize_struct("Reason", 2 + usize::from(cause.is_some()))?;
        object.serialize_field("code", self.code())?;
        if let Some(cause) = cause {
            object.serialize_field("cause", cause)?;
        }
        object.serialize_field("message", &self.to_string())?;
        object.end()
    }
}

/// What is judged about a node, by its own word where it is trusted, else by the catalog's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    id: &'a NodeId,
    region: &'a str,
    zone: &'a str,
    tags: &'a [String],
    version: &'a str,
    browser: &'a str,
    weight: u16,
    /// What only the catalog tells.
    record: &'a NodeRecord,
    /// An empty region is a reason only when nobody is left who could name it.
    region_final: bool,
}

pub(super) fn facts(node: &Probed) -> Facts<'_> {
    let catalog = of_catalog(&node.record);
    let Some(status) = node.live.status() else {
        return Facts { region_final: !matches!(node.live, Live::Unasked), ..catalog };
    };
    Facts {
        region: &status.region,
        zone: &status.zone,
        tags: &status.tags,
        version: &status.version,
        browser: &status.browser_version,
        region_final: true,
        ..catalog
    }
}

fn of_catalog(record: &NodeRecord) -> Facts<'_> {
    Facts {
        id: &record.id,
        region: &record.region,
        zone: &record.zone,
        tags: &record.tags,
        version: &record.version,
        browser: &record.browser_version,
        weight: record.weight,
        record,
        region_final: false,
    }
}

/// Like [`of_facts`], by the catalog alone; what it leaves open (as plain DNS does) is not held against the node.
pub(super) fn of_record(record: &NodeRecord, constraints: &Constraints, wanted: &Wanted) -> Vec<Reason> {
    of_facts(&of_catalog(record), constraints, wanted)
}

/// The wanted regions, shared by all reasons that name them: ten thousand copies would take longer than the choice.
pub(super) type Wanted = Arc<[String]>;

pub(super) fn of_facts(facts: &Facts<'_>, constraints: &Constraints, wanted: &Wanted) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if !constraints.nodes.is_empty() && !constraints.nodes.contains(facts.id) {
        reasons.push(Reason::NotAsked);
    }
    reasons.extend(of_region(facts, wanted));
    // A node that names neither version nor region is known by DNS alone: its tags are not known either.
    let bare = !facts.region_final && facts.region.is_empty() && facts.version.is_empty();
    let lacking = constraints.tags.iter().filter(|tag| !bare && !facts.tags.contains(tag));
    let open = |text: &str| text.is_empty() && !facts.region_final;
    if !constraints.zones.is_empty()
        && !open(facts.zone)
        && !constraints.zones.iter().any(|zone| zone == facts.zone)
    {
        reasons.push(Reason::Zone { is: facts.zone.into(), wanted: constraints.zones.clone() });
    }
    reasons.extend(lacking.cloned().map(Reason::Tag));
    reasons.extend(of_catalog_alone(facts.record, constraints));
    if let Some(range) = &constraints.version
        && !open(facts.version)
        && !range.admits(facts.version)
    {
        reasons.push(Reason::VersionRange { is: facts.version.into(), range: range.clone() });
    }
    if let Some(least) = &constraints.min_version
        && !open(facts.version)
        && compare_versions(facts.version, least).is_lt()
    {
        reasons.push(Reason::Version { is: facts.version.into(), least: least.clone() });
    }
    if let Some(profile) = &constraints.profile_browser
        && !open(facts.browser)
        && major(facts.browser) < major(profile)
    {
        reasons.push(Reason::BrowserTooOld { is: facts.browser.into(), profile: profile.clone() });
    }
    if facts.weight == 0 {
        reasons.push(Reason::NoWeight);
    }
    reasons
}

/// Nodes do not tell these of themselves.
fn of_catalog_alone(record: &NodeRecord, constraints: &Constraints) -> Vec<Reason> {
    let mut reasons = Vec::new();
    for (key, value) in &constraints.meta {
        let is = record.meta.get(key);
        if is != Some(value) {
            reasons.push(Reason::Meta { key: key.clone(), value: value.clone(), is: is.cloned() });
        }
    }
    reasons.extend(of_place(record, constraints));
    if let Some(healths) = &constraints.healths
        && !healths.contains(&record.health)
    {
        reasons.push(Reason::Health { is: record.health, wanted: healths.iter().copied().collect() });
    }
    reasons
}

fn of_place(record: &NodeRecord, constraints: &Constraints) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let country = record.meta.get(COUNTRY_KEY);
    let is_wanted = |is: &String| constraints.countries.iter().any(|wanted| wanted.eq_ignore_ascii_case(is));
    if !constraints.countries.is_empty() && !country.is_some_and(is_wanted) {
        reasons.push(Reason::Country { is: country.cloned(), wanted: constraints.countries.clone() });
    }
    if let Some(around) = constraints.around {
        let is = Location::of_meta(&record.meta).map(|location| location.distance_km(&around.center));
        if is.is_none_or(|km| km > around.radius_km) {
            reasons.push(Reason::Distance { is, around });
        }
    }
    reasons
}

fn of_region(facts: &Facts<'_>, wanted: &Wanted) -> Option<Reason> {
    if wanted.is_empty() || wanted.iter().any(|region| region == facts.region) {
        return None;
    }
    if !facts.region.is_empty() {
        return Some(Reason::Region { is: facts.region.into(), wanted: wanted.clone() });
    }
    facts.region_final.then_some(Reason::RegionUnknown)
}

pub(super) fn of_probe(node: &Probed, constraints: &Constraints) -> Vec<Reason> {
    let mut reasons = Vec::new();
    reasons.extend(match node.reach {
        Reach::Serving | Reach::Unconfirmed | Reach::NotAwaited | Reach::NotProbed | Reach::Remembered => {
            None
        }
        Reach::NotDrawn => Some(Reason::NotDrawn),
        Reach::NotRemembered => Some(Reason::NotRemembered),
        Reach::PortSilent
        | Reach::Refused
        | Reach::NoRoute
        | Reach::Silent
        | Reach::Unresolved
        | Reach::Forbidden => Some(Reason::Unreachable(node.reach)),
    });
    if let (Some(rtt), Some(limit)) = (node.rtt, constraints.max_latency)
        && rtt.p50 > limit
    {
        reasons.push(Reason::TooFar { rtt: rtt.p50, limit });
    }
    if let Some(kept_out) = constraints.kept_out.get(&node.record.id) {
        reasons.push(Reason::KeptOut(*kept_out));
    }
    match &node.live {
        Live::Unasked => {}
        Live::Untrusted(why) => reasons.push(Reason::NotTrusted(why.clone())),
        Live::Failed(why) => reasons.push(Reason::NotServing(why.clone())),
        Live::Known(status) | Live::FirstUse(status) => {
            if status.draining {
                reasons.push(Reason::Draining);
            }
            let sessions = status.sessions.saturating_add(status.reserved);
            if sessions >= status.capacity {
                reasons.push(Reason::Full { sessions, capacity: status.capacity });
            }
        }
    }
    reasons
}

/// Chromium's first number; profiles move between builds of one milestone unharmed. Nothing readable counts as 0.
fn major(version: &str) -> u64 {
    numbers(version).next().unwrap_or(0)
}

/// Dotted numbers, compared one by one; a missing one is 0, as is one that is no number.
pub fn compare_versions(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (numbers(left), numbers(right));
    loop {
        match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (one, other) => match one.unwrap_or(0).cmp(&other.unwrap_or(0)) {
                Ordering::Equal => {}
                unequal => return unequal,
            },
        }
    }
}

fn numbers(version: &str) -> impl Iterator<Item = u64> + '_ {
    let plain = version.trim_start_matches('v').split(['-', '+']).next().unwrap_or("");
    plain.split('.').filter(|part| !part.is_empty()).map(|part| part.parse().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_their_numbers() {
        let compared = |left, right| compare_versions(left, right);
        assert!(compared("0.9.0", "0.10.0").is_lt());
        assert!(compared("1.0", "1.0.0").is_eq());
        assert!(compared("v1.2.3-rc1", "1.2.3").is_eq());
        assert!(compared("", "0.0.1").is_lt());
        assert!(compared("garbage", "0").is_eq());
    }
}
