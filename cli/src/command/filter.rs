//! Which nodes are wanted: the flags that `nodes probe` and `connect` share, and what is said when there are none.

mod offer;

use std::{collections::BTreeMap, time::Duration};

use cbrowse_protocol::{id::NodeId, node::NodeRecord};
use clap_complete::ArgValueCompleter;
use serde_json::json;

use self::offer::Offer;
use super::{complete, traits::Traits};
use crate::{
    failure::{Exit, Failure},
    probe::Probed,
    select::{
        self, Around, Choice, Constraints, Reason, RegionFallback, Strategy, Verdict,
        place::{Location, parse_country, parse_distance},
        strategy::StrategyParser,
    },
    settings::{Settings, duration::parse_duration},
};

/// Regions, nodes or tags that an error lists; a longer list is no help.
const LISTED: usize = 20;

/// Which nodes, and in which order.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Choice")]
pub struct Filter {
    /// What they are like.
    #[command(flatten)]
    pub traits: Traits,
    /// Only this node; several may be named.
    #[arg(long = "node", value_name = "ID", add = ArgValueCompleter::new(complete::nodes))]
    pub nodes: Vec<NodeId>,
    /// Only nodes in this country (two letters, such as DE), as their metadata says; several may be named.
    #[arg(long = "country", value_name = "CODE", value_delimiter = ',', value_parser = parse_country, add = ArgValueCompleter::new(complete::countries))]
    pub countries: Vec<String>,
    /// Only nodes near this place (degrees north, degrees east), as their metadata says.
    #[arg(long, value_name = "LAT,LON", allow_hyphen_values = true)]
    pub near: Option<Location>,
    /// How near, such as 500km or 300mi.
    #[arg(long, value_name = "DISTANCE", value_parser = parse_distance, default_value = "1000km", requires = "near")]
    pub within: f64,
    /// Only nodes whose median round trip is at most this, such as 80ms (CBROWSE_MAX_LATENCY).
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub max_latency: Option<Duration>,
    /// Only nodes of this version of cbrowse-node, or newer.
    #[arg(long, value_name = "VERSION", add = ArgValueCompleter::new(complete::least_versions))]
    pub min_version: Option<String>,
    /// When no node of the region is eligible, take the nearest other region instead of none.
    #[arg(long)]
    pub region_fallback: bool,
    /// Choose this node, unless another is better by more than 10 ms and by a third.
    #[arg(long, value_name = "ID", add = ArgValueCompleter::new(complete::nodes))]
    pub prefer_node: Option<NodeId>,
    /// How eligible nodes are ordered (CBROWSE_STRATEGY).
    #[arg(long, value_name = "NAME", value_parser = StrategyParser)]
    pub strategy: Option<Strategy>,
}

impl Filter {
    /// With the settings' values where no flag says otherwise.
    pub fn constraints(&self, settings: &Settings) -> Constraints {
        let Traits { regions, zones, tags, version, meta, .. } = self.traits.clone();
        let regions = Some(regions).filter(|regions| !regions.is_empty());
        Constraints {
            regions: settings.region.clone().or_flag(regions, "--region").value,
            zones,
            tags,
            version,
            meta,
            countries: self.countries.clone(),
            around: self.near.map(|center| Around { center, radius_km: self.within }),
            healths: self.traits.healths(),
            nodes: self.nodes.clone(),
            max_latency: self.max_latency.or(settings.max_latency.value),
            min_version: self.min_version.clone(),
            profile_browser: None,
            region_fallback: if self.region_fallback {
                RegionFallback::Nearest
            } else {
                RegionFallback::Refuse
            },
            prefer: self.prefer_node.clone(),
            kept_out: BTreeMap::new(),
        }
    }

    /// The strategy in force.
    pub fn strategy(&self, settings: &Settings) -> Strategy {
        settings.strategy.clone().or_flag(self.strategy, "--strategy").value
    }
}

/// Refuses wishes that contradict each other, whatever the catalog holds.
fn check_consistent(constraints: &Constraints) -> Result<(), Failure> {
    let Some(preferred) = &constraints.prefer else { return Ok(()) };
    if constraints.nodes.is_empty() || constraints.nodes.contains(preferred) {
        return Ok(());
    }
    let nodes: Vec<&str> = constraints.nodes.iter().map(NodeId::as_str).collect();
    let message = format!("--prefer-node {preferred} is none of --node {}", nodes.join(", "));
    Err(Failure::new(Exit::Usage, "contradictory_filters", message)
        .hint(format!("prefer one of them, or add --node {preferred}"))
        .details(json!({"prefer_node": preferred, "nodes": nodes})))
}

/// Of each filter that alone stands in the way, the values that there are; `None` where no single one does.
pub fn what_there_is(nodes: &[Probed], choice: &Choice) -> Option<String> {
    Offer::of(nodes, choice).in_words()
}

/// Refuses a region or node that the catalog does not know, and lists those it knows.
pub fn check_known(records: &[NodeRecord], constraints: &Constraints) -> Result<(), Failure> {
    check_consistent(constraints)?;
    if records.is_empty() {
        return Ok(());
    }
    if constraints.region_fallback == RegionFallback::Refuse
        && let Some(region) = select::unknown_region(records, constraints)
    {
        let known = select::regions(records);
        let message = format!("no node is in region {region:?}");
        return Err(Failure::new(Exit::NoEligibleNode, "unknown_region", message)
            .hint(format!("regions in the catalog: {}", shorten(&known)))
            .details(json!({"region": region, "regions": known})));
    }
    let is_known = |id: &&NodeId| records.iter().any(|record| record.id == **id);
    if let Some(id) = constraints.nodes.iter().find(|id| !is_known(id)) {
        let known: Vec<&str> = records.iter().map(|record| record.id.as_str()).collect();
        let message = format!("no node is named {:?}", id.as_str());
        return Err(Failure::new(Exit::NoEligibleNode, "unknown_node", message)
            .hint(format!("nodes in the catalog: {}", shorten(&known)))
            .details(json!({"node": id, "nodes": known})));
    }
    Ok(())
}

/// An older browser would drop what it does not know of a profile.
const OLDER_BROWSERS: &str = "the nodes that fit have older browsers than the one that saved the profile, and would lose what they do not \
     know: have their operators update; or open a version that an older browser saved (cbrowse profile history NAME; connect \
     --profile NAME@GENERATION --discard)";

/// The failure of a choice among nodes of which none is eligible: every node with its reasons.
pub fn none_eligible(nodes: &[Probed], choice: &Choice) -> Failure {
    if nodes.is_empty() {
        return Failure::new(Exit::NoEligibleNode, "no_node", "the catalog holds no node").hint(
            "register one with cbrowse-node serve --register URI, or name another catalog with --catalog",
        );
    }
    let with_reasons = || nodes.iter().zip(&choice.verdicts);
    let lines: Vec<String> = with_reasons()
        .take(LISTED)
        .map(|(node, verdict)| {
            let reasons: Vec<String> = verdict.reasons().iter().map(ToString::to_string).collect();
            format!("  {}: {}", node.record.id, reasons.join("; "))
        })
        .collect();
    let more = nodes.len().saturating_sub(LISTED);
    let more = if more > 0 { format!("\n  and {more} more") } else { String::new() };
    let details: Vec<_> = with_reasons()
        .map(|(node, verdict)| json!({"id": node.record.id, "reasons": verdict.reasons()}))
        .collect();
    let is_only = |is_meant: fn(&Reason) -> bool| {
        let speaks = move |verdict: &Verdict| {
            let reasons = verdict.reasons();
            !reasons.is_empty() && reasons.iter().all(is_meant)
        };
        choice.verdicts.iter().any(speaks)
    };
    // A node against which nothing else speaks will do in a moment, which no other filter would change.
    if is_only(|reason| matches!(reason, Reason::Full { .. })) {
        let message = format!("every node that fits is full:\n{}{more}", lines.join("\n"));
        return Failure::new(Exit::Refused, "full", message)
            .hint("try again in a moment, or let further nodes in by loosening --region, --zone, --tag, --node or --max-latency")
            .details(json!({"nodes": details}));
    }
    let message = format!("no eligible node among {}:\n{}{more}", nodes.len(), lines.join("\n"));
    let offer = Offer::of(nodes, choice);
    let usual =
        "loosen --region, --zone, --tag, --node or --max-latency, or look again with: cbrowse nodes probe";
    // No filter makes a browser younger.
    let hint = if is_only(|reason| matches!(reason, Reason::BrowserTooOld { .. })) {
        OLDER_BROWSERS.to_owned()
    } else {
        offer.in_words().unwrap_or_else(|| usual.to_owned())
    };
    Failure::new(Exit::NoEligibleNode, "no_eligible_node", message)
        .hint(hint)
        .details(json!({"nodes": details, "instead": offer.document()}))
}

pub(super) fn shorten(names: &[&str]) -> String {
    let more = names.len().saturating_sub(LISTED);
    let shown = names[..names.len() - more].join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}
