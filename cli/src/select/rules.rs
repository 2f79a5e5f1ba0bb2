//! What speaks against a node: each rule by itself, over what is known of it.

use std::{cmp::Ordering, sync::Arc};

use cbrowse_protocol::{id::NodeId, node::NodeRecord};

use super::{
    Constraints,
    place::{COUNTRY_KEY, Location},
    reason::Reason,
};
use crate::probe::{Live, Probed, Reach};

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
