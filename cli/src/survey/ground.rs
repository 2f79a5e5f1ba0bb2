//! The nodes of a survey, probed as far as the choice needs: all at once, a few at a time, or not at all.

use std::{
    net::{IpAddr, SocketAddr},
    ops::Range,
};

use cbrowse_protocol::{id::NodeId, node::NodeRecord};

use super::{INTERVIEWED, preference::Preference, probing::Probing};
use crate::{
    history::Recalled,
    probe::{self, Goal, Method, Prior, Probed, Reach, Report, Road, Search, plan, resolve},
    select::{
        Constraints,
        draw::{Dice, SystemDice, shuffled},
    },
};

/// What is known of the nodes so far, and how more is found out.
pub(super) struct Ground<'a, R> {
    /// Every node that the catalog does not rule out; those that were probed first.
    pub(super) report: Report,
    recalled: &'a Recalled,
    /// None where nobody is to be probed.
    road: Option<&'a R>,
    /// Nodes at the front of the report that were probed or are not to be.
    drawn: usize,
    /// Nodes that are probed at a time.
    each: usize,
    /// By whom nodes are picked before they are probed, and from which.
    picker: Option<(&'a Preference, &'a Constraints)>,
}

impl<'a, R: Road> Ground<'a, R> {
    /// Chance and turns do not ask how far a node is, so only those that they pick are asked, unless distance counts for
    /// another reason: with `--max-latency`, and where the nearest other region is looked for (`regions_count`).
    pub(super) fn begin(
        wanted: Vec<NodeRecord>,
        preference: &'a Preference,
        constraints: &'a Constraints,
        regions_count: bool,
        road: &'a R,
    ) -> Self {
        let ranks = preference.strategy.ranks_by_measurement() || constraints.max_latency.is_some();
        if ranks || regions_count {
            Self::new(wanted, preference, road, &mut SystemDice)
        } else {
            Self::picking(wanted, preference, constraints, road)
        }
    }

    /// Nobody is probed yet; see [`Self::explore`].
    pub(super) fn new(
        wanted: Vec<NodeRecord>,
        preference: &'a Preference,
        road: &'a R,
        dice: &mut dyn Dice,
    ) -> Self {
        let recalled = &preference.recalled;
        let (wanted, each) = in_turn(wanted, preference.probing, recalled, dice);
        let nodes = wanted.into_iter().map(not_drawn).collect();
        let report = Report { nodes, icmp: road.has_icmp(), ..Report::default() };
        Self { report, recalled, road: Some(road), drawn: 0, each, picker: None }
    }

    /// Only whom `preference` picks is probed, some at a time, to see whether it serves.
    pub(super) fn picking(
        wanted: Vec<NodeRecord>,
        preference: &'a Preference,
        constraints: &'a Constraints,
        road: &'a R,
    ) -> Self {
        let literal = |record: &NodeRecord| Some(SocketAddr::new(record.address.parse().ok()?, record.port));
        let unprobed = |record| Probed { address: literal(&record), ..Probed::unprobed(record) };
        let nodes = wanted.into_iter().map(unprobed).collect();
        let report = Report { nodes, icmp: road.has_icmp(), ..Report::default() };
        let each = match preference.probing {
            Probing::Quiet(count) => count.min(INTERVIEWED),
            _ => INTERVIEWED,
        };
        let picker = Some((preference, constraints));
        Self { report, recalled: &preference.recalled, road: Some(road), drawn: 0, each, picker }
    }

    /// Nobody is to be probed.
    pub(super) fn known(report: Report, recalled: &'a Recalled) -> Self {
        Self { report, recalled, road: None, drawn: 0, each: 0, picker: None }
    }

    /// Whether a node's turn has come to be asked over TLS: it was waited for, or nobody is to be probed.
    pub(super) fn may_be_asked(&self, node: &Probed) -> bool {
        let is_left_out = match node.reach {
            Reach::NotAwaited => true,
            Reach::NotProbed => self.road.is_some(),
            _ => false,
        };
        !is_left_out && node.address.is_some()
    }

    /// Probes whoever is next: at first all, or those drawn first; then whoever the last race did not wait for; then those
    /// drawn next. False when there are none left.
    pub(super) async fn explore(&mut self, permits: impl Fn(&NodeId, IpAddr) -> bool) -> bool {
        let Some(road) = self.road else { return false };
        if let Some((preference, constraints)) = self.picker {
            let mut picked = preference.choose(&self.report.nodes, constraints).order;
            picked.retain(|index| self.report.nodes[*index].reach == Reach::NotProbed);
            picked.truncate(self.each);
            probe::probe_picked(&mut self.report, &picked, permits, road).await;
            return !picked.is_empty();
        }
        if self.drawn > 0 && probe::probe_rest(&mut self.report, road, plan::DEADLINE).await {
            return true;
        }
        let drawable =
            self.report.nodes[self.drawn..].iter().take_while(|node| node.reach == Reach::NotDrawn);
        let next = self.drawn..self.drawn + drawable.take(self.each).count();
        if next.is_empty() {
            return false;
        }
        self.drawn = next.end;
        self.probe(next, road, permits).await;
        true
    }

    async fn probe(&mut self, these: Range<usize>, road: &R, permits: impl Fn(&NodeId, IpAddr) -> bool) {
        let start = these.start;
        let records: Vec<NodeRecord> = self.report.nodes.drain(these).map(|node| node.record).collect();
        // One node alone is measured, not raced.
        let goal = if records.len() == 1 { Goal::Survey(1) } else { Goal::Decide };
        let present = records.iter().position(|record| self.recalled.is_home(record));
        let search = Search { priors: priors(&records, self.recalled), present, ..Search::new(goal) };
        let mut probed = probe::probe(records, permits, road, search, |_| {}).await;
        forget_the_moved(&mut probed.nodes, self.recalled);
        self.report.nodes.splice(start..start, probed.nodes);
        self.report.elapsed += probed.elapsed;
        self.report.sent += probed.sent;
        self.report.oddities += probed.oddities;
    }
}

/// The order in which nodes are probed, and how many at a time.
pub fn in_turn(
    wanted: Vec<NodeRecord>,
    probing: Probing,
    recalled: &Recalled,
    dice: &mut dyn Dice,
) -> (Vec<NodeRecord>, usize) {
    match probing {
        Probing::Quiet(count) => (drawn(wanted, recalled, dice), count),
        Probing::All | Probing::Fresh | Probing::Cached => (likely_first(wanted, recalled), usize::MAX),
    }
}

/// Those of `order` that an attach may dial: where a name leads, and whether its catalog may lead there, was looked up only
/// for those that were probed.
pub(super) fn dialable(mut order: Vec<usize>, nodes: &[Probed]) -> Vec<usize> {
    order.retain(|index| nodes[*index].address.is_some());
    order
}

/// A node that was left out of a draw.
pub fn not_drawn(record: NodeRecord) -> Probed {
    Probed { reach: Reach::NotDrawn, ..Probed::unprobed(record) }
}

/// What is known of each of `records`.
pub fn priors(records: &[NodeRecord], recalled: &Recalled) -> Vec<Option<Prior>> {
    records.iter().map(|record| recalled.prior(record)).collect()
}

/// A name that leads elsewhere now leads to a node of which nothing is known.
pub fn forget_the_moved(nodes: &mut [Probed], recalled: &Recalled) {
    for node in nodes {
        if node.address.map(|address| address.ip()) != recalled.address(&node.record) {
            node.prior = None;
        }
    }
}

/// As a race takes them: where this user was last, the near ones by distance, those of which nothing is known, the others.
pub fn likely_first(mut records: Vec<NodeRecord>, recalled: &Recalled) -> Vec<NodeRecord> {
    let serving = |record: &NodeRecord| recalled.prior(record).filter(|prior| prior.served);
    let best = records.iter().filter_map(serving).map(|prior| prior.measured.p50).min();
    let Some(best) = best else { return records };
    let top = plan::leader_top(best);
    records.sort_by_cached_key(|record| match recalled.prior(record) {
        _ if recalled.is_home(record) => (0, None),
        Some(prior) if prior.served && prior.measured.p50 <= top => (1, Some(prior.measured.p50)),
        None => (2, None),
        Some(prior) => (3, Some(prior.measured.p50)),
    });
    records
}

/// In random order, but for the node that this user was on last: it is asked anyway.
fn drawn(records: Vec<NodeRecord>, recalled: &Recalled, dice: &mut dyn Dice) -> Vec<NodeRecord> {
    let mut order = shuffled((0..records.len()).collect(), dice);
    order.sort_by_key(|index| !recalled.is_home(&records[*index]));
    let mut records: Vec<Option<NodeRecord>> = records.into_iter().map(Some).collect();
    order.into_iter().filter_map(|index| records[index].take()).collect()
}

/// All nodes as they are remembered; no packet is sent to any. Those that are not remembered may be chosen only where
/// `ranks` says that measurements do not decide.
pub async fn remembered(
    records: Vec<NodeRecord>,
    permits: impl Fn(&NodeId, IpAddr) -> bool,
    recalled: &Recalled,
    ranks: bool,
) -> Report {
    let mut nodes = Vec::new();
    let mut unknown = Vec::new();
    for record in records {
        let prior = recalled.prior(&record).filter(|prior| prior.served);
        match prior.zip(recalled.address(&record)) {
            Some((prior, ip)) => nodes.push(as_remembered(record, prior, ip, &permits)),
            None if ranks => nodes.push(Probed { reach: Reach::NotRemembered, ..Probed::unprobed(record) }),
            None => unknown.push(record),
        }
    }
    let addresses = resolve::resolve(&unknown, permits).await;
    nodes.extend(unknown.into_iter().zip(addresses).map(|(record, address)| {
        let reach = address.err().unwrap_or(Reach::NotProbed);
        let address = address.ok().map(|addresses| addresses.first);
        Probed { address, reach, ..Probed::unprobed(record) }
    }));
    // Whether echo requests could be sent, nobody tried.
    Report { nodes, icmp: true, ..Report::default() }
}

fn as_remembered(
    record: NodeRecord,
    prior: Prior,
    ip: IpAddr,
    permits: impl Fn(&NodeId, IpAddr) -> bool,
) -> Probed {
    if !permits(&record.id, ip) {
        return Probed { reach: Reach::Forbidden, ..Probed::unprobed(record) };
    }
    Probed {
        address: Some((ip, record.port).into()),
        reach: Reach::Remembered,
        method: match prior.method {
            Method::Icmp => "icmp",
            Method::Tcp => "tcp",
        },
        rtt: Some(prior.measured),
        prior: Some(prior),
        ..Probed::unprobed(record)
    }
}
